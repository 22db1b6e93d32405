"""Opening a store to go on: levels get their length, and files that are damaged are found."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlsbi.simulate._rows import FAILED, PENDING
from mlsbi.simulate._store_failures import FAILURES, read_records
from mlsbi.simulate._store_files import (
    Damage,
    clean_folder,
    drop_folder,
    read_json,
    sync_folder,
    write_files,
)
from mlsbi.simulate._store_layout import Layout, level_folder, mended_layout, read_layout
from mlsbi.simulate._store_level import LevelWriter

__all__ = ["open_levels"]

_SHOWN = 10  # damaged files that are named


@dataclass
class _Findings:
    """What was wrong."""

    store: Path
    lines: list[str] = field(default_factory=list)

    def add(self, damage: Damage, consequence: str) -> None:
        name = os.path.relpath(damage.path, self.store)
        self.lines.append(f"{name}: {damage.why}; {consequence}")

    def warn(self) -> None:
        if not self.lines:
            return
        lines = self.lines[:_SHOWN]
        if len(self.lines) > _SHOWN:
            lines.append(f"and {len(self.lines) - _SHOWN} more")
        warnings.warn(
            f"the store {str(self.store)!r} has damaged files:\n  " + "\n  ".join(lines),
            UserWarning,
            stacklevel=5,
        )


def open_levels(
    store: Path, counts: list[int], *, theta_dim: int, seeds: bool
) -> list[LevelWriter]:
    """The levels of a store, each with as many rows as asked for; whatever is damaged is pending.

    Everything found is mended on disk before this returns, so that it is found once.
    """
    clean_folder(store)
    findings = _Findings(store)
    levels = []
    for level, count in enumerate(counts):
        folder = level_folder(store, level)
        layout = _open_arrays(folder, count, level, findings)
        writer = LevelWriter(folder, count, layout, theta_dim=theta_dim, seeds=seeds)
        if layout is not None:
            _load(writer, layout, level, findings)
        levels.append(writer)
    _check_records(store, levels, findings)
    findings.warn()
    return levels


def _open_arrays(folder: Path, count: int, level: int, findings: _Findings) -> Layout | None:
    """The layout of a level whose `zarr.json` files all are as they should be."""
    clean_folder(folder)
    started = _holds_rows(folder)
    try:
        layout = read_layout(folder)
        if layout is None and started:
            raise Damage(folder / "zarr.json", "it is missing")
    except Damage as damage:
        layout = mended_layout(folder)
        consequence = "it was written anew from those of the arrays"
        if layout is None:
            drop_folder(folder)
            consequence = f"level {level} is run again, as its arrays' files do not say it either"
        else:
            write_files([layout.group_file(folder)])
        findings.add(damage, consequence)
    if layout is not None:
        for name in layout.names():
            _open_array(folder, layout, name, count, findings if started else None)
    return layout


def _holds_rows(folder: Path) -> bool:
    try:
        with os.scandir(folder / "status") as entries:
            return any(entry.name.startswith("c") for entry in entries)
    except FileNotFoundError:
        return False


def _open_array(
    folder: Path, layout: Layout, name: str, count: int, findings: _Findings | None
) -> None:
    (folder / name).mkdir(exist_ok=True)
    clean_folder(folder / name)
    path, expected = folder / name / "zarr.json", layout.metadata(name, count)
    consequence = "it was written anew from the level's"
    try:
        stored = read_json(path)
        if stored == expected:
            return
        if stored is None:
            raise Damage(path, "it is missing")
        if {**stored, "shape": expected["shape"]} != expected:
            raise Damage(path, "it does not describe this array")
    except Damage as damage:
        if findings is not None:
            findings.add(damage, consequence)
    write_files([layout.metadata_file(folder, name, count)])
    sync_folder(folder)


def _load(writer: LevelWriter, layout: Layout, level: int, findings: _Findings) -> None:
    """Read the status of all rows, and check every file that a finished row relies on."""
    count, size = len(writer.status), layout.chunk_rows
    bad = []
    for index in range(-(-count // size)):
        own = writer.status[index * size : (index + 1) * size]
        try:
            status = layout.read(writer.folder, "status", index)
        except Damage as damage:
            findings.add(damage, f"{len(own)} rows of level {level} are run again")
            bad.append(index)
            continue
        if status is None or not status.any():
            continue
        try:
            for name in layout.data_names():
                layout.read_rows(writer.folder, name, index, status)
        except Damage as damage:
            again = int((status != PENDING).sum())
            findings.add(damage, f"{again} rows of level {level} are run again")
            bad.append(index)
            continue
        own[:] = status[: len(own)]
    writer.rewrite_status(np.array(bad, dtype=np.int64))


def _check_records(store: Path, levels: list[LevelWriter], findings: _Findings) -> None:
    """Failed rows whose record is gone are run again: nobody could say why they failed."""
    if not any((writer.status == FAILED).any() for writer in levels):
        return
    lost = [writer.status == FAILED for writer in levels]
    for record in read_records(store):
        level, row = record["level"], record["row"]
        if 0 <= level < len(lost) and 0 <= row < len(lost[level]):
            lost[level][row] = False
    for level, (writer, rows) in enumerate(zip(levels, lost, strict=True)):
        if rows.any():
            why = "records of failed rows are missing in it"
            consequence = f"{int(rows.sum())} rows of level {level} are run again"
            findings.add(Damage(store / FAILURES, why), consequence)
            writer.reopen(np.flatnonzero(rows))
