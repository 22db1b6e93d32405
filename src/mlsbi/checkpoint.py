"""One file that an interrupted training goes on from: tensors and JSON, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlsbi._replaced import replaced

__all__ = ["Snapshot", "read", "write"]

_FORMAT = 1


@dataclass
class Snapshot:
    """State of a training between two steps: named tensors, and figures that fit JSON."""

    tensors: dict[str, Tensor]
    state: dict[str, Any] = field(default_factory=dict)


def write(path: Path, snapshot: Snapshot, *, fingerprint: str) -> None:
    """Replace `path` in one move: a kill leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {
        "format": str(_FORMAT),
        "fingerprint": fingerprint,
        "state": json.dumps(snapshot.state),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in snapshot.tensors.items()}
    with replaced(path) as part:
        save_file(tensors, part, metadata=meta)


def read(path: Path, *, fingerprint: str) -> Snapshot | None:
    """The snapshot in `path`, or None where there is no file.

    Raises:
        ValueError: The file is not a checkpoint, or belongs to another training.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"checkpoint: {path} cannot be read as a checkpoint ({error}); "
            "delete it to train from the start, or name another file"
        ) from error
    if meta.get("format") != str(_FORMAT):
        raise ValueError(
            f"checkpoint: {path} has format {meta.get('format')!r}, expected {_FORMAT}; "
            "delete it to train from the start, or name another file"
        )
    if meta.get("fingerprint") != fingerprint:
        raise ValueError(
            f"checkpoint: {path} belongs to a training with other data, options or seed; "
            "call with those it was started with, delete it, or name another file"
        )
    return Snapshot(tensors, json.loads(meta["state"]))
