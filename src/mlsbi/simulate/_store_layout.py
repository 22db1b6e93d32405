"""How a level's arrays lie on disk: names, types, chunks, and what Zarr is told of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlsbi.simulate._rows import DONE, PENDING, Outcome
from mlsbi.simulate._store_files import Damage, File, json_file, read_chunk, read_json

__all__ = ["Layout", "level_folder", "mended_layout", "read_layout"]

_MAX_CHUNKS = 4096  # files of an array, where that does not make files too large
_MAX_ROWS = 8192
_CHUNK_BYTES, _MAX_CHUNK_BYTES = 2**20, 2**24
_CHUNK_SECONDS = 60.0  # what a damaged file costs
_FLOAT, _INT, _BYTE = np.dtype("<f4"), np.dtype("<i8"), np.dtype("u1")


def level_folder(store: Path, level: int) -> Path:
    """The folder of a level's group."""
    return store / f"level_{level}"


@dataclass(frozen=True)
class Layout:
    """The arrays of one level.

    Attributes:
        chunk_rows: Rows of a chunk, of every array.
        theta_dim: Number of parameters.
        seeds: Whether rows have seeds.
        event_shape: Shape of one output of the level's simulator.
        coarse_shape: The same of the level below; None for level 0.
    """

    chunk_rows: int
    theta_dim: int
    seeds: bool
    event_shape: tuple[int, ...]
    coarse_shape: tuple[int, ...] | None

    @classmethod
    def choose(cls, outcome: Outcome, *, count: int, theta_dim: int, seeds: bool) -> Layout:
        """A layout for a level of `count` rows, of which `outcome` holds the first."""
        x, coarse = outcome.x, outcome.x_coarse
        if x is None:
            raise ValueError("outcome must have a row with a result; got none. Pass one that has.")
        row_bytes = x[0].nbytes + (0 if coarse is None else coarse[0].nbytes)
        seconds = outcome.seconds
        if outcome.seconds_coarse is not None:
            seconds = seconds + outcome.seconds_coarse
        known = seconds[np.isfinite(seconds) & (seconds > 0)]
        rows = _CHUNK_BYTES / row_bytes
        if len(known):
            rows = min(rows, _CHUNK_SECONDS / float(known.min()))
        rows = min(max(rows, math.ceil(count / _MAX_CHUNKS)), _MAX_CHUNK_BYTES / row_bytes)
        rows = min(max(int(rows), 1), _MAX_ROWS)
        return cls(
            chunk_rows=1 << (rows.bit_length() - 1),
            theta_dim=theta_dim,
            seeds=seeds,
            event_shape=tuple(x.shape[1:]),
            coarse_shape=None if coarse is None else tuple(coarse.shape[1:]),
        )

    def data_names(self) -> tuple[str, ...]:
        """Names of all arrays but the status, which is written after them."""
        coarse = self.coarse_shape is not None
        names = ["theta", "x", *(["x_coarse"] if coarse else [])]
        names += ["row_seed"] if self.seeds else []
        return (*names, "seconds", *(["seconds_coarse"] if coarse else []))

    def names(self) -> tuple[str, ...]:
        """Names of all arrays, in the order in which they are written."""
        return (*self.data_names(), "status")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row of an array."""
        if name == "x_coarse" and self.coarse_shape is not None:
            return self.coarse_shape
        return {"theta": (self.theta_dim,), "x": self.event_shape}.get(name, ())

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of an array."""
        return _INT if name == "row_seed" else _BYTE if name == "status" else _FLOAT

    def empty(self, name: str) -> np.ndarray:
        """A chunk of rows that were not run."""
        fill = {"row_seed": -1, "status": 0}.get(name, np.nan)
        return np.full((self.chunk_rows, *self.shape(name)), fill, dtype=self.dtype(name))

    def path(self, folder: Path, name: str, chunk: int) -> Path:
        """The file of a chunk."""
        return folder / name / ".".join(["c", str(chunk), *("0" for _ in self.shape(name))])

    def read(self, folder: Path, name: str, chunk: int) -> np.ndarray | None:
        """A chunk, shape `(chunk_rows, *shape)`, read-only; None if it was never written.

        Raises:
            Damage: It is not what was written.
        """
        shape = (self.chunk_rows, *self.shape(name))
        return read_chunk(self.path(folder, name, chunk), shape, self.dtype(name))

    def read_rows(self, folder: Path, name: str, chunk: int, status: np.ndarray) -> np.ndarray:
        """A chunk that must hold the rows that its status says it does; rows of no other are read.

        Raises:
            Damage: It is not what was written.
        """
        held = status == DONE if name in ("x", "x_coarse") else status != PENDING
        if not held.any():
            return self.empty(name)
        path, data = self.path(folder, name, chunk), self.read(folder, name, chunk)
        if data is None:
            raise Damage(path, "it is missing")
        if name in ("theta", "x", "x_coarse"):
            good = np.isfinite(data.reshape(len(data), -1)).all(axis=1)
            if not good[held].all():
                raise Damage(path, "rows that were finished are missing in it")
        return data

    def metadata(self, name: str, count: int) -> dict[str, Any]:
        """What Zarr is told of an array of `count` rows."""
        shape, dtype = self.shape(name), self.dtype(name)
        axes = (
            ["parameter"] if name == "theta" else [f"{name}_{axis}" for axis in range(len(shape))]
        )
        codec: dict[str, Any] = {"name": "bytes"}
        if dtype.itemsize > 1:
            codec["configuration"] = {"endian": "little"}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [count, *shape],
            "data_type": dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.chunk_rows, *shape]},
            },
            # With dots, not slashes: no folder for each chunk.
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": {"row_seed": -1, "status": 0}.get(name, "NaN"),
            "codecs": [codec, {"name": "crc32c"}],
            "attributes": {},
            "dimension_names": ["row", *axes],
        }

    def group_file(self, folder: Path) -> File:
        """The level's own `zarr.json`; it repeats the layout, so that arrays' can be mended."""
        attributes = asdict(self)
        value = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        return json_file(folder / "zarr.json", value)

    def metadata_file(self, folder: Path, name: str, count: int) -> File:
        """An array's `zarr.json`."""
        return json_file(folder / name / "zarr.json", self.metadata(name, count))


def read_layout(folder: Path) -> Layout | None:
    """The layout of a level, None where nothing of it was written.

    Raises:
        Damage: The file that says it is none.
    """
    path = folder / "zarr.json"
    value = read_json(path)
    if value is None:
        return None
    try:
        stored = value["attributes"]
        coarse = stored["coarse_shape"]
        return Layout(
            chunk_rows=int(stored["chunk_rows"]),
            theta_dim=int(stored["theta_dim"]),
            seeds=bool(stored["seeds"]),
            event_shape=tuple(int(size) for size in stored["event_shape"]),
            coarse_shape=None if coarse is None else tuple(int(size) for size in coarse),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Damage(path, f"it says nothing of the level's arrays ({error!r})") from error


def mended_layout(folder: Path) -> Layout | None:
    """The layout as the arrays have it, None if their files do not say."""

    def chunk_shape(name: str) -> Sequence[int] | None:
        value = read_json(folder / name / "zarr.json")
        return None if value is None else value["chunk_grid"]["configuration"]["chunk_shape"]

    try:
        theta, x, coarse = chunk_shape("theta"), chunk_shape("x"), chunk_shape("x_coarse")
    except (Damage, KeyError, TypeError):
        return None
    if theta is None or x is None:
        return None
    return Layout(
        chunk_rows=int(x[0]),
        theta_dim=int(theta[1]),
        seeds=(folder / "row_seed").is_dir(),
        event_shape=tuple(x[1:]),
        coarse_shape=None if coarse is None else tuple(coarse[1:]),
    )
