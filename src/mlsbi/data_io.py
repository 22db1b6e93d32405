"""`MultilevelData` on disk: one Zarr (version 3) folder, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsbi._checks import check_type
from mlsbi._data_checks import warn_dropped
from mlsbi._folders import as_folder, written_whole
from mlsbi.data import MultilevelData, from_store
from mlsbi.failures import Failure
from mlsbi.prior import Prior, as_prior

if TYPE_CHECKING:
    import zarr

__all__ = ["FORMAT_VERSION", "load_data", "save_data"]

FORMAT_VERSION = 1
_FORMAT = "mlsbi.MultilevelData"
_FAILURES = 1000  # that are saved with the data; a campaign's store has all of them


def save_data(data: MultilevelData, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write data next to `path` first, then rename; see `MultilevelData.save`."""
    target = as_folder(path)
    check_type(overwrite, bool, name="overwrite", remedy="Pass True or False.")
    if target.exists():
        _check_replaceable(target, overwrite=overwrite)
    with written_whole(target) as folder:
        _write(data, folder)


def _check_replaceable(target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        raise ValueError(
            f"path {str(target)!r} exists already. Choose another, or pass overwrite=True."
        )
    try:
        _read_attributes(target)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"path {str(target)!r} exists and holds something other than saved data, so that "
            "overwrite=True does not apply. Choose another path."
        ) from error


def _write(data: MultilevelData, folder: Path) -> None:
    import zarr

    root = zarr.open_group(str(folder), mode="w", zarr_format=3)
    for level in range(data.num_levels):
        group = root.create_group(f"level_{level}")
        group.create_array("theta", data=data.theta(level).numpy())
        group.create_array("x", data=data.x(level).numpy())
        if level > 0:
            group.create_array("x_coarse", data=data.x_coarse(level).numpy())
    # Last, so that a folder with attributes is a whole one.
    root.attrs.update(
        {
            "format": _FORMAT,
            "format_version": FORMAT_VERSION,
            "n": list(data.n),
            "costs": None if data.costs is None else list(data.costs),
            "dropped": list(data.dropped),
            "prior": data.prior.to_dict(),
            "seconds": None if data.seconds is None else list(data.seconds),
            "seconds_sd": None if data.seconds_sd is None else list(data.seconds_sd),
            "seeds": sorted(data._facts["seeds"]),
            "failures": [failure.to_dict() for failure in data.failures[:_FAILURES]],
            # as dropped counts them, too, in a set that was saved with only the first before
            "num_failures": max(len(data.failures), sum(data.dropped) if data.failures else 0),
        }
    )


def _open(folder: Path) -> zarr.Group:
    import zarr

    if not folder.is_dir():
        raise ValueError(
            f"path {str(folder)!r} is not a folder. Pass the path given to MultilevelData.save, "
            "or a campaign's store."
        )
    try:
        return zarr.open_group(str(folder), mode="r", zarr_format=3)
    except Exception as error:
        raise _not_ours(folder, str(error)) from error


def _not_ours(folder: Path, found: str) -> ValueError:
    return ValueError(
        f"path {str(folder)!r} does not hold saved data ({found}). Pass a folder written by "
        "MultilevelData.save, or a campaign's store."
    )


def _read_attributes(folder: Path) -> dict[str, Any]:
    attributes: dict[str, Any] = dict(_open(folder).attrs)
    if attributes.get("format") != _FORMAT:
        raise _not_ours(folder, f"its format is {attributes.get('format')!r}")
    if attributes.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"path {str(folder)!r} has format version {attributes.get('format_version')}; this "
            f"mlsbi reads version {FORMAT_VERSION}. Use the version of mlsbi that wrote it."
        )
    return attributes


def load_data(path: str | os.PathLike[str], *, prior: Any) -> MultilevelData:
    """Read data and validate them again; see `MultilevelData.load`."""
    from mlsbi.simulate._store import is_store  # it imports mlsbi.data

    folder = as_folder(path)
    if is_store(folder):
        return _load_campaign(folder, prior)
    attributes = _read_attributes(folder)
    own_prior = prior if prior is not None else _stored_prior(attributes)
    root = _open(folder)
    try:
        levels = [_read_level(root, level, n) for level, n in enumerate(attributes["n"])]
        dropped = tuple(int(count) for count in attributes["dropped"])
        costs = attributes["costs"]
        failures = tuple(Failure.from_dict(f) for f in attributes.get("failures", ()))
        seconds, spread = (_tuple(attributes.get(name)) for name in ("seconds", "seconds_sd"))
        seeds = frozenset(int(seed) for seed in attributes.get("seeds", ()))
    except Exception as error:
        raise _not_ours(folder, f"it is damaged: {type(error).__name__}: {error}") from error
    data = MultilevelData.from_arrays(own_prior, levels, costs=costs)
    runs = [
        (data.theta(i), data.x_coarse(i) if i else None, data.x(i)) for i in range(data.num_levels)
    ]
    return MultilevelData(
        data.prior,
        runs,
        costs=data.costs,
        dropped=dropped,
        failures=failures,
        seconds=seconds,
        seconds_sd=spread,
        seeds=seeds,
    )


def _tuple(values: Any) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _load_campaign(folder: Path, prior: Any) -> MultilevelData:
    """Rows that a campaign has finished so far."""
    from mlsbi.simulate._store import read_store

    reader = read_store(folder)
    own_prior = as_prior(prior) if prior is not None else _campaign_prior(reader.manifest)
    data = from_store(reader, prior=own_prior)
    pairs = zip(data.n, data.dropped, strict=True)
    warn_dropped(data.dropped, [done + failed for done, failed in pairs])
    return data


def _campaign_prior(manifest: Mapping[str, Any]) -> Prior:
    return Prior.from_dict(manifest["prior"]["description"])


def _stored_prior(attributes: Mapping[str, Any]) -> Prior:
    try:
        description = attributes["prior"]
    except KeyError as error:
        raise ValueError("the saved data name no prior. Pass it: prior=...") from error
    return Prior.from_dict(description)


def _read_level(root: Any, level: int, n: int) -> tuple[np.ndarray, ...]:
    names = ("theta", "x") if level == 0 else ("theta", "x_coarse", "x")
    group = root[f"level_{level}"]
    arrays = tuple(np.asarray(group[name][...]) for name in names)
    if any(len(array) != n or array.dtype != np.float32 for array in arrays):
        raise ValueError(f"level {level} must have {n} rows of float32")
    return arrays
