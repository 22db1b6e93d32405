"""Arrays on disk, as a study's file names them: `FILE` or `FILE:NAME`.

Files of arrays (.npy, .npz, HDF5, Zarr) hold one by each name; tables (.csv, .txt, Parquet) hold
columns, and NAME is a list of these with commas, in which `*` stands for anything. Nothing is
loaded by pickle.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlsbi.studies.columns import read_parquet, read_text

__all__ = ["Place", "place_of", "read_place", "take_rows"]

_TABLES = {".csv": read_text, ".txt": read_text, ".dat": read_text, ".parquet": read_parquet}
_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".zarr", *_TABLES)


@dataclass(frozen=True)
class Place:
    """Where an array is.

    Attributes:
        path: The file, absolute.
        name: The array or the columns in it; None: left out.
        key: The key of the study that names it, for messages.
    """

    path: Path
    name: str | None
    key: str

    def error(self, wanted: str, found: str) -> ValueError:
        """An error that names the key, the file and what is in it."""
        return ValueError(f"{self.key} must {wanted}; {str(self.path)!r} {found}")


def place_of(text: str, folder: Path, *, key: str) -> Place:
    """Take `FILE` or `FILE:NAME` apart; paths start at `folder`.

    A colon that follows no known suffix belongs to the file's name, as in `C:/runs.npy`.

    Raises:
        ValueError: The file has no known suffix, or there is none of that name.
    """
    name: str | None = None
    before, colon, after = text.rpartition(":")
    if colon and Path(before).suffix.lower() in _SUFFIXES:
        text, name = before, after.strip()
    path = folder / Path(text).expanduser()
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"{key} must name a file that ends in {', '.join(_SUFFIXES)}, with a colon before the "
            f"name of the array where one is given; got {text!r}"
        )
    if not path.exists():
        raise ValueError(f"{key} must name a file that is there; got {text!r}, and {path} is not")
    if name == "":
        raise ValueError(f"{key} must have a name after the colon, or no colon; got {text + ':'!r}")
    return Place(path, name, key)


def read_place(place: Place, *, default: str, labels: Sequence[str] | None = None) -> np.ndarray:
    """The array at a place.

    Args:
        place: Where it is.
        default: Its name where the place has none: "theta", "x" or "x_coarse".
        labels: Columns that stand for it in a table, where the place has no name.

    Returns:
        The array; of a table shape `(rows, columns)`, float64, NaN where a cell is empty.

    Raises:
        ValueError: The file cannot be read, or does not hold it; the message says what it holds.
    """
    suffix = place.path.suffix.lower()
    try:
        if suffix in _TABLES:
            return _TABLES[suffix](
                place.path, lambda names: _columns(place, names, default, labels)
            )
        return _ARRAYS[suffix](place, default)
    except ImportError as error:
        extra = "parquet" if suffix == ".parquet" else "hdf5"
        raise place.error(
            f"be of a format that can be read here (pip install 'mlsbi[{extra}]')",
            f"needs the package {error.name}, which is not installed",
        ) from error
    except _Unreadable as error:
        raise place.error(error.wanted, error.found) from error
    except (OSError, EOFError) as error:
        raise place.error("name a file that can be read", f"cannot be: {error}") from error
    except ValueError as error:
        if str(error).startswith(place.key):
            raise
        raise place.error("name a file that can be read", f"cannot be: {error}") from error


def take_rows(array: np.ndarray, rows: str | None, place: Place) -> np.ndarray:
    """The rows `START:STOP`; None: all.

    Raises:
        ValueError: There are no such rows.
    """
    if rows is None or array.ndim == 0:
        return array
    first, _, last = (part.strip() for part in rows.partition(":"))
    start, stop = int(first or 0), int(last or len(array))
    if not start < stop <= len(array):
        key = place.key.rpartition(".")[0]
        raise ValueError(
            f"{key}.rows must lie within the {len(array)} rows of {str(place.path)!r}, the first "
            f"before the last; got {rows!r}"
        )
    return array[start:stop]


class _Unreadable(Exception):
    def __init__(self, wanted: str, found: str) -> None:
        super().__init__(found)
        self.wanted, self.found = wanted, found


def _read_npy(place: Place, default: str) -> np.ndarray:
    if place.name is not None:
        raise _Unreadable("have no name after the file", "holds one array, which has none")
    array: np.ndarray = np.load(place.path, allow_pickle=False)
    return array


def _read_npz(place: Place, default: str) -> np.ndarray:
    with np.load(place.path, allow_pickle=False) as file:
        array: np.ndarray = file[_one(place, file.files, default)]
        return array


def _read_hdf5(place: Place, default: str) -> np.ndarray:
    import h5py

    with h5py.File(place.path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, found: names.append(name) if hasattr(found, "dtype") else None)
        return np.asarray(file[_one(place, names, default)][()])


def _read_zarr(place: Place, default: str) -> np.ndarray:
    import zarr

    try:
        found = zarr.open(str(place.path), mode="r")
    except Exception as error:  # of the many kinds that zarr raises
        raise _Unreadable("name a Zarr array or group", f"cannot be read: {error}") from error
    if isinstance(found, zarr.Array):
        if place.name is not None:
            raise _Unreadable("have no name after the file", "is one array, which has none")
        return np.asarray(found[...])
    if found.attrs.get("format") in {"mlsbi.MultilevelData", "mlsbi.campaign"}:
        raise _Unreadable(
            "name arrays", 'holds runs of all levels: say [data] path = "..." instead'
        )
    members = found.members(max_depth=None)
    inside = {name: part for name, part in members if isinstance(part, zarr.Array)}
    names = list(inside)
    return np.asarray(inside[_one(place, names, default)][...])


_ARRAYS: dict[str, Callable[[Place, str], np.ndarray]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".zarr": _read_zarr,
}


def _one(place: Place, names: Sequence[str], default: str) -> str:
    """Which of a file's arrays is meant."""
    if place.name is not None:
        name = place.name.strip("/")
        if name in names:
            return name
        raise _Unreadable(f"name an array of the file; got {name!r}", _holds(names, "arrays"))
    if default in names:
        return default
    if len(names) == 1:
        return names[0]
    raise _Unreadable(
        f"say which array, as in 'FILE:NAME', for none is {default!r}", _holds(names, "arrays")
    )


def _holds(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"holds {what} {shown}" if names else f"holds no {what}"


def _columns(
    place: Place, names: Sequence[str], default: str, labels: Sequence[str] | None
) -> list[str]:
    """Which columns of a table are meant."""
    if place.name is not None:
        found = []
        for word in (word.strip() for word in place.name.split(",")):
            own = sorted(fnmatch.filter(names, word), key=_natural) if "*" in word else [word]
            if not own or own[0] not in names:
                raise _Unreadable(
                    f"name columns of the file; got {word!r}", _holds(names, "columns")
                )
            found += own
        return found
    for choice in _defaults(names, default, labels):
        if choice and set(choice) <= set(names):
            return list(choice)
    tried = ", ".join(labels) if labels else f"{default}_*"
    raise _Unreadable(
        f"say which columns, as in 'FILE:a,b' or 'FILE:{default}_*', for there are none of {tried}",
        _holds(names, "columns"),
    )


def _defaults(
    names: Sequence[str], default: str, labels: Sequence[str] | None
) -> Iterator[Sequence[str]]:
    yield labels or ()
    yield [default]
    yield sorted((n for n in names if re.fullmatch(rf"{default}_?\d+", n)), key=_natural)
    others = (n for n in names if n.startswith(f"{default}_") and not n.startswith("x_coarse"))
    yield sorted(others, key=_natural)


def _natural(name: str) -> list[Any]:
    """A key that puts x_2 before x_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
