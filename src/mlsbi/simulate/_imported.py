"""Results of runs that were made elsewhere as outcomes, which a store or memory takes in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsbi._checks import check_counts, check_seed, check_type
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._chunks import CHUNK_ROWS, Draws
from mlsbi.simulate._results import Results, as_results, run_name
from mlsbi.simulate._rows import Fault, Outcome, Task

__all__ = ["Wanted", "blocks", "check_plan", "outcomes_from_results"]

Wanted = Callable[[int], np.ndarray]
"""Of a level, a mask of its rows."""


def blocks(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Level, number and rows of each block of draws, in order."""
    for level, count in enumerate(counts):
        for block in range(-(-count // CHUNK_ROWS)):
            yield level, block, min(CHUNK_ROWS, count - block * CHUNK_ROWS)


def outcomes_from_results(
    hierarchy: Hierarchy,
    n: Sequence[int],
    results: Any,
    seed: int,
    *,
    allow_missing: bool = False,
    wanted: Wanted | None = None,
) -> Iterator[Outcome]:
    """Results as outcomes, block by block, in the order of the rows.

    Rows with a missing run are left out. Unless that is allowed, they are an error in the end, when
    all others were handed out.

    Args:
        hierarchy: The hierarchy.
        n: Rows of each level.
        results: As in `import_runs`.
        seed: The campaign's seed.
        allow_missing: Whether runs may be missing.
        wanted: Of a level, which rows to look for, a mask of shape `(n,)`; all if None.

    Returns:
        The outcomes of blocks that have any.
    """
    counts, seed = check_plan(hierarchy, n, seed)
    check_type(allow_missing, bool, name="allow_missing", remedy="Pass True or False.")
    found = as_results(results, counts, hierarchy.prior.dim)
    everything = wanted or (lambda level: np.ones(counts[level], dtype=bool))
    return _outcomes(hierarchy, counts, found, seed, everything, allow_missing=allow_missing)


def _outcomes(
    hierarchy: Hierarchy,
    counts: Sequence[int],
    found: Results,
    seed: int,
    wanted: Wanted,
    *,
    allow_missing: bool,
) -> Iterator[Outcome]:
    draws, missing = Draws(hierarchy, seed), _Missing()
    shapes: dict[int, tuple[int, ...]] = {}
    for level, block, rows in blocks(counts):
        theta, u = (part.numpy() for part in draws.block(level, block))
        outputs: dict[int, list[np.ndarray]] = {s: [] for s in range(max(level - 1, 0), level + 1)}
        offsets, start = [], block * CHUNK_ROWS
        for offset in np.flatnonzero(wanted(level)[start : start + rows]).tolist():
            row = start + offset
            pair = {s: found.find(level, row, s) for s in outputs}
            there = {s: x for s, x in pair.items() if x is not None}
            for s in there:
                found.check(level, row, s, theta[offset], int(u[offset]))
            if len(there) < len(pair):
                missing.add(run_name(level, row, s) for s in pair if s not in there)
                continue
            offsets.append(offset)
            for s, x in there.items():
                outputs[s].append(x)
        if offsets:
            task = Task(level, start + np.array(offsets, dtype=np.int64))
            yield _outcome(task, theta[offsets], u[offsets], outputs, shapes)
    if missing.count and not allow_missing:
        raise missing.error(sum(count * (2 if level else 1) for level, count in enumerate(counts)))


@dataclass
class _Missing:
    """Runs without a result: how many, and the first few."""

    count: int = 0
    first: tuple[str, ...] = ()

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            self.count += 1
            if len(self.first) < 5:
                self.first = (*self.first, name)

    def error(self, total: int) -> ValueError:
        return ValueError(
            f"results must hold all {total} runs; {self.count} are missing, the first "
            f"{list(self.first)}. Run them, or pass allow_missing=True to leave their rows out."
        )


def _outcome(
    task: Task,
    theta: np.ndarray,
    seeds: np.ndarray,
    outputs: dict[int, list[np.ndarray]],
    shapes: dict[int, tuple[int, ...]],
) -> Outcome:
    faults: dict[int, Fault] = {}
    for simulator, values in outputs.items():
        for position, x in enumerate(values):
            text = ""
            if x.size == 0:
                text = "returned no values"
            elif x.shape != shapes.setdefault(simulator, x.shape):
                raise ValueError(
                    f"results of run {run_name(task.level, int(task.rows[position]), simulator)!r} "
                    f"must have the shape of that simulator's others, {shapes[simulator]}; got "
                    f"{x.shape}. Pad or summarise the outputs."
                )
            elif not np.isfinite(x).all():
                count = int((~np.isfinite(x)).sum())
                text = f"returned NaN or infinite values (as float32) in {count} of {x.size}"
            if text:
                faults.setdefault(position, Fault(simulator, "non-finite", text))
    ok = np.ones(len(task), dtype=bool)
    ok[list(faults)] = False
    good = np.flatnonzero(ok).tolist()
    stacked = {s: np.stack([x[i] for i in good]) for s, x in outputs.items()} if good else {}
    unknown = np.full(len(task), np.nan, dtype=np.float32)
    return Outcome(
        task=task,
        theta=theta,
        row_seed=seeds,
        ok=ok,
        x=stacked.get(task.level),
        x_coarse=stacked.get(task.level - 1),
        seconds=unknown,
        seconds_coarse=unknown if task.level else None,
        faults=faults,
    )


def check_plan(hierarchy: Hierarchy, n: Any, seed: int) -> tuple[tuple[int, ...], int]:
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    if not hierarchy.row_seeds:
        raise ValueError(
            "hierarchy must have the default noise, one seed a row, which a table can hold; got "
            "one with a noise of its own. Leave noise out, and let the simulators draw from seed."
        )
    counts = check_counts(n, hierarchy.num_levels)
    return counts, check_seed(seed)
