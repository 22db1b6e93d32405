"""Fits on disk: a folder of JSON and safetensors; reading one runs no code from it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mlsbi import strategies
from mlsbi._checks import check_type
from mlsbi._device import check_device
from mlsbi._folders import as_folder, written_whole
from mlsbi._json import to_json
from mlsbi.estimators import specs
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Standardise, Support, Transform
from mlsbi.history import History, Status
from mlsbi.options import Training
from mlsbi.prior import Prior, as_prior
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

if TYPE_CHECKING:
    from mlsbi.estimators.specs import EstimatorSpec

__all__ = ["load_fit", "save_fit"]

FORMAT = 1
_JSON, _WEIGHTS = "fit.json", "weights.safetensors"
_CUSTOM = "custom"
_SPECS: dict[str, type[EstimatorSpec]] = {c.__name__: c for c in (specs.MDN, specs.MAF, specs.NSF)}
_TRANSFORMS: dict[str, type[Standardise] | type[Support]] = {
    c.__name__: c for c in (Standardise, Support)
}
_KINDS: dict[str, type[PosteriorFit] | type[LikelihoodFit]] = {
    "posterior": PosteriorFit,
    "likelihood": LikelihoodFit,
}
_PREFIXES = ("value_transform", "context_transform")
_T = TypeVar("_T")


def save_fit(fit: Fit, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write `fit` to the folder `path`: whole, or not at all."""
    folder = as_folder(path)
    check_type(overwrite, bool, name="overwrite", remedy="Pass True or False.")
    if folder.exists():
        _check_replaceable(folder, overwrite=overwrite)
    with written_whole(folder) as fresh:
        fresh.mkdir()
        # Cloned: tied weights share memory, which safetensors refuses.
        state = fit.estimator.state_dict().items()
        save_file({n: t.detach().cpu().clone().contiguous() for n, t in state}, fresh / _WEIGHTS)
        (fresh / _JSON).write_text(to_json(_describe(fit)) + "\n", encoding="utf-8")


def _check_replaceable(folder: Path, *, overwrite: bool) -> None:
    if not overwrite:
        raise ValueError(f"path: {folder} exists; name another folder, or pass overwrite=True")
    names = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    if _JSON not in names:
        raise ValueError(f"path: {folder} exists and holds no fit; name another folder")
    if names - {_JSON, _WEIGHTS}:
        others = ", ".join(sorted(names - {_JSON, _WEIGHTS})[:3])
        raise ValueError(
            f"path: {folder} holds files that are no part of a fit ({others}), which overwriting "
            "would delete; move them, or name another folder"
        )


def load_fit(
    path: str | os.PathLike[str],
    *,
    prior: Any = None,  # noqa: ANN401
    estimator: Callable[..., Any] | None = None,
    embedding_net: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> PosteriorFit | LikelihoodFit:
    """Read a fit that `fit.save(path)` wrote; densities are the same bit for bit.

    Args:
        path: The folder.
        prior: The prior, needed only if it was a class of one's own.
        estimator: The sbi builder, needed only if the fit was made with one.
        embedding_net: The embedding net, needed only if the fit was made with one; its weights
            come from the file.
        device: Where to evaluate.

    Returns:
        The posterior or the likelihood fit.

    Raises:
        ValueError: No fit there, one of another format, or one that needs an argument left out.
    """
    folder = as_folder(path)
    if embedding_net is not None:
        check_type(embedding_net, nn.Module, name="embedding_net")
    place = check_device(device)
    config, weights = _read(folder)
    with _damage_named(folder):
        blueprint = _blueprint(config["blueprint"], estimator, embedding_net)
        kind = _known(blueprint.kind, _KINDS, "kind")
        transforms = [
            _transform(name, prefix, weights)
            for name, prefix in zip(config["transforms"], _PREFIXES, strict=True)
        ]
        record: dict[str, Any] = {
            "event_shape": tuple(config["event_shape"]),
            "strategy": _strategy(config["strategy"]),
            "training": Training(**config["training"]),
            "status": Status[config["status"]],
            "history": History(tuple(_numbers(row) for row in config["history"])),
            "n": tuple(config["n"]),
            "cost": config["cost"],
            "seed": config["seed"],
        }
        described = config["prior"]
    whole = _weighted(Estimator(blueprint.build(seed=0), *transforms), weights, folder)
    return kind(
        estimator=whole.to(place).eval().requires_grad_(requires_grad=False),
        blueprint=blueprint,
        prior=_prior(described, prior, blueprint),
        **record,
    )


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    """Name the file where reading it fails for want of an entry, or over one of a wrong kind."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"path: {folder / _JSON} is damaged, or of another version of mlsbi "
            f"({type(error).__name__}: {error}). Use the version that wrote it, or save it again."
        ) from error


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The two files of a fit."""
    if not (folder / _JSON).is_file():
        raise ValueError(f"path: {folder} holds no {_JSON}; pass the folder given to fit.save")
    try:
        config = json.loads((folder / _JSON).read_text(encoding="utf-8"))
        weights = load_file(folder / _WEIGHTS)
    except (ValueError, SafetensorError, OSError) as error:
        raise ValueError(
            f"path: the fit in {folder} cannot be read: {error}. Save it again."
        ) from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"path: {folder} has format {found!r}, this version reads {FORMAT}; "
            "use the version of mlsbi that wrote it"
        )
    return config, weights


def _numbers(row: Mapping[str, float | str]) -> dict[str, float]:
    """A row of the history, its NaN and infinities numbers again."""
    return {name: float(value) for name, value in row.items()}


def _known(name: str, known: Mapping[str, _T], what: str) -> _T:
    """Look `name` up, so that no code named by a file ever runs."""
    if name not in known:
        raise ValueError(
            f"path: the fit names a {what} {name!r} that this version does not have; it has "
            f"{sorted(known)}. Use the version of mlsbi that wrote it."
        )
    return known[name]


def _describe(fit: Fit) -> dict[str, Any]:
    from mlsbi import __version__

    blueprint = {f.name: getattr(fit.blueprint, f.name) for f in fields(Blueprint)}
    blueprint["estimator"] = _describe_estimator(fit.blueprint.estimator)
    blueprint["embedding_net"] = None if fit.blueprint.embedding_net is None else _CUSTOM
    return {
        "format": FORMAT,
        "mlsbi": __version__,
        "torch": torch.__version__,
        "blueprint": blueprint,
        "transforms": [
            type(t).__name__
            for t in (fit.estimator.value_transform, fit.estimator.context_transform)
        ],
        "prior": fit.prior.to_dict(),
        "event_shape": list(fit.event_shape),
        "strategy": {"name": type(fit.strategy).__name__, **asdict(fit.strategy)},
        "training": asdict(fit.training),
        "status": fit.status.name,
        "history": list(fit.history),
        "n": list(fit.n),
        "cost": fit.cost,
        "seed": fit.seed,
    }


def _describe_estimator(estimator: object) -> Any:  # noqa: ANN401
    if isinstance(estimator, specs.EstimatorSpec):
        return {"name": type(estimator).__name__, **asdict(estimator)}
    return estimator if isinstance(estimator, str) else _CUSTOM


def _blueprint(
    described: Mapping[str, Any],
    estimator: Callable[..., Any] | None,
    embedding_net: nn.Module | None,
) -> Blueprint:
    values = dict(described)
    found = values["estimator"]
    if isinstance(found, dict):
        options = dict(found)
        options["hidden"] = tuple(options["hidden"])
        values["estimator"] = _known(options.pop("name"), _SPECS, "estimator")(**options)
    elif found == _CUSTOM:
        if estimator is None:
            raise ValueError("estimator: this fit was made with an sbi builder; pass it again")
        values["estimator"] = estimator
    if values["embedding_net"] is not None:
        if embedding_net is None:
            raise ValueError(
                "embedding_net: this fit was made with an embedding net; pass a module of the same "
                "architecture (its weights come from the file)"
            )
        values["embedding_net"] = embedding_net
    values["context_shape"] = tuple(values["context_shape"])
    return Blueprint(**values)


def _weighted(whole: Estimator, weights: Mapping[str, Tensor], folder: Path) -> Estimator:
    try:
        whole.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"path: the weights in {folder} do not fit the architecture: {error}. Pass the "
            "estimator and embedding_net of the fit that was saved."
        ) from error
    return whole


def _transform(name: str, prefix: str, weights: Mapping[str, Tensor]) -> Transform:
    """An empty transform of the right shapes; `load_state_dict` fills it."""
    start = f"{prefix}."
    return _known(name, _TRANSFORMS, "transform")(
        **{n[len(start) :]: t.clone() for n, t in weights.items() if n.startswith(start)}
    )


def _prior(described: Mapping[str, Any], prior: Any, blueprint: Blueprint) -> Prior:  # noqa: ANN401
    if prior is None:
        return Prior.from_dict(described)
    given, posterior = as_prior(prior), blueprint.kind == "posterior"
    dim = blueprint.value_dim if posterior else blueprint.context_shape[0]
    if given.dim != dim:
        raise ValueError(
            f"prior must be over {dim} parameters, as the fit is; got one over {given.dim}. "
            "Pass the prior of the data that the fit was trained on."
        )
    return given


def _strategy(described: Mapping[str, Any]) -> strategies.Strategy:
    options = dict(described)
    kind = _known(options.pop("name"), strategies.NAMED, "strategy")
    if options.get("training") is not None:
        options["training"] = Training(**options["training"])
    return kind(**options)
