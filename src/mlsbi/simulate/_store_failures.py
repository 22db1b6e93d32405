"""Failed rows of a store: `failures.jsonl`, one line a failure, written before the row's status."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlsbi.simulate._rows import Outcome

__all__ = ["FAILURES", "append", "lines_of", "read_records"]

FAILURES = "failures.jsonl"
_MESSAGE = 4000  # characters
_SHORT_MESSAGE, _LONG_MESSAGES = 300, 1000  # how short, after how many


def lines_of(outcome: Outcome, *, before: int) -> list[bytes]:
    """The failures of an outcome, one line each.

    Args:
        outcome: What a task gave.
        before: How many the file holds already; of a great many, later messages are cut shorter.
    """
    lines: list[bytes] = []
    for position, fault in outcome.faults.items():
        limit = _MESSAGE if before + len(lines) < _LONG_MESSAGES else _SHORT_MESSAGE
        seed = None if outcome.row_seed is None else int(outcome.row_seed[position])
        record = {
            "level": outcome.task.level,
            "row": int(outcome.task.rows[position]),
            "simulator": fault.simulator,
            "kind": fault.kind,
            "message": _cut(fault.message, limit),
            "attempts": fault.attempts,
            "theta": [float(value) for value in outcome.theta[position]],
            "row_seed": seed,
        }
        lines.append(json.dumps(record).encode() + b"\n")
    return lines


def _cut(message: str, limit: int) -> str:
    """Both ends: the first says what happened, the last where."""
    if len(message) <= limit:
        return message
    half = (limit - 5) // 2
    return f"{message[:half]} ... {message[-half:]}"


def append(store: Path, lines: list[bytes]) -> None:
    """Add lines; they are on disk when this returns."""
    with open(store / FAILURES, "a+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            if stream.read(1) != b"\n":  # a line that was cut short must not spoil the next one
                lines = [b"\n", *lines]
        try:
            stream.write(b"".join(lines))
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), size)
            raise


def read_records(store: Path) -> Iterator[dict[str, Any]]:
    """All failures in the order in which they were written; lines that are none are left out."""
    try:
        stream = open(store / FAILURES, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and {"level", "row"} <= record.keys():
                yield record
