"""`mlsbi sample`: draws from the posterior that a study has learned."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import numpy as np
import typer

from mlsbi._json import to_json
from mlsbi.commands._options import AsJson, StudyFile
from mlsbi.commands._session import opened
from mlsbi.commands._words import ending

if TYPE_CHECKING:
    from mlsbi.study import Study

__all__ = ["sample"]

_SUFFIXES = (".csv", ".parquet", ".npy", ".npz")


def _as_file(value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"{value} must end in {', '.join(_SUFFIXES)}.")
    if value is not None and value.is_dir():
        raise typer.BadParameter(f"{value} is a folder; name a file.")
    return value


_Number = Annotated[int, typer.Option("-n", "--n", min=1, help="Number of draws.")]
_File = Annotated[
    Optional[Path],  # noqa: UP045  typer reads it at run time
    typer.Option(
        "--out",
        help="File to write: .csv, .parquet, .npy or .npz; by default CSV on stdout.",
        callback=_as_file,
    ),
]
_Observation = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--x",
        help="The observation: numbers with commas, or FILE or FILE:NAME; by default the file's.",
    ),
]
_Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=0, help="Same seed, same draws; by default the study's."),
]
_Folder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", help="Output folder of the study; by default the file's."),
]


def sample(
    study: StudyFile = Path("study.toml"),
    *,
    n: _Number = 1000,
    out: _File = None,
    x: _Observation = None,
    seed: _Seed = None,
    output: _Folder = None,
    as_json: AsJson = False,
) -> None:
    """Draw from the posterior of the study's fit; a column a parameter."""
    with opened(study, output=output, as_json=True) as loaded:
        draws = loaded.sample(n, x=_observation(x, loaded), seed=seed).numpy()
        names = loaded.parameter_names or tuple(f"theta_{i + 1}" for i in range(draws.shape[1]))
        if out is not None:
            _write(out, draws, names)
    record = {"study": loaded.name, "n": n, "parameters": list(names)}
    if out is None:
        typer.echo(to_json(record | {"draws": draws.tolist()}) if as_json else _csv(draws, names))
        return
    figures = {
        name: {"mean": float(own.mean()), "sd": float(own.std()), "q05": low, "q95": high}
        for name, own in zip(names, draws.T.astype(float), strict=True)
        for low, high in [map(float, np.quantile(own, [0.05, 0.95]))]
    }
    if as_json:
        typer.echo(to_json(record | {"path": str(out), "posterior": figures}))
        return
    width = max(map(len, names))
    for name, own in figures.items():
        typer.echo(
            f"{name:<{width}}  {own['mean']:.4g} +- {own['sd']:.2g}, "
            f"90 % between {own['q05']:.4g} and {own['q95']:.4g}"
        )
    typer.echo(ending([out], [_python(out)]))


def _observation(text: str | None, study: Study) -> Any:
    """The observation that an option names: numbers, or an array on disk."""
    if text is None:
        return None
    try:
        return np.array([float(word) for word in text.split(",")])
    except ValueError:
        from mlsbi.studies.formats import place_of, read_place

        return read_place(place_of(text, Path.cwd(), key="--x"), default="x").squeeze(0)


def _write(path: Path, draws: np.ndarray, names: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        np.save(path, draws)
    elif suffix == ".npz":
        np.savez(path, samples=draws, names=np.array(names))
    elif suffix == ".csv":
        path.write_text(_csv(draws, names) + "\n", encoding="utf-8")
    else:
        _write_parquet(path, draws, names)


def _write_parquet(path: Path, draws: np.ndarray, names: tuple[str, ...]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            "--out must end in .csv, .npy or .npz, as the package pyarrow is not installed; got "
            f"{str(path)!r}. For Parquet: pip install 'mlsbi[parquet]'."
        ) from error
    parquet.write_table(pa.table(dict(zip(names, draws.T, strict=True))), path)


def _csv(draws: np.ndarray, names: tuple[str, ...]) -> str:
    text = io.StringIO()
    quoted = [f'"{name}"' if "," in name or '"' in name else name for name in names]
    np.savetxt(text, draws, fmt="%.9g", delimiter=",", header=",".join(quoted), comments="")
    return text.getvalue().rstrip("\n")


def _python(path: Path) -> str:
    how = {".npy": f'numpy.load("{path}")', ".npz": f'numpy.load("{path}")["samples"]'}
    how |= {".csv": f'pandas.read_csv("{path}")', ".parquet": f'pandas.read_parquet("{path}")'}
    return f"in Python: samples = {how[path.suffix.lower()]}"
