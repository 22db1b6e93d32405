"""`simulate`: run every chunk of a plan in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from mlsbi._checks import check_count, check_option, check_seed, check_type
from mlsbi._noise import equal_noise
from mlsbi._progress import progress_bar
from mlsbi._random import make_generator
from mlsbi.data import MultilevelData
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._chunks import (
    ChunkResult,
    non_finite_rows,
    plan_chunks,
    reproduce,
    run_chunk,
)

__all__ = ["simulate"]


def simulate(
    hierarchy: Hierarchy,
    n: Sequence[int],
    *,
    seed: int,
    progress: bool = False,
    on_failure: str = "raise",
) -> MultilevelData:
    """Run a hierarchy.

    Row i of level l has the same parameters and noise whatever `n` is: they come from a stream of
    its own for each block of `CHUNK_ROWS` rows of a level.

    Args:
        hierarchy: The simulators, coarsest first, their prior and noise.
        n: Number of runs (level 0) and of coupled pairs (levels above), one entry a level.
        seed: The data depend on nothing else.
        progress: Whether to show a progress bar (on a terminal's stderr).
        on_failure: `"raise"`, or `"drop"` to leave out runs whose output has NaN or infinite
            values (both members of a pair), with a warning. An exception is raised in either case.

    Returns:
        The runs.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `n` has not one entry a level, an entry is less than 1, an option or the
            seed is out of range, or the noise is not drawn from its generator.
        RuntimeError: If a simulator fails; the message names the level and the rows.
    """
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    counts = _check_n(n, hierarchy.num_levels)
    seed = check_seed(seed)
    check_type(progress, bool, name="progress", remedy="Pass True or False.")
    drop = check_option(on_failure, name="on_failure", allowed=("raise", "drop")) == "drop"
    _check_draws(hierarchy, seed)

    plan = plan_chunks(counts)
    results, done = [], 0
    with progress_bar("runs", sum(counts), enabled=progress and _attached()) as update:
        for chunk in plan:
            result = run_chunk(hierarchy, chunk, seed)
            if not drop:
                _refuse_non_finite(result, seed)
            results.append(result)
            done += chunk.rows
            update(done, f"level {chunk.level}")
    return _assemble(hierarchy, results, on_invalid="drop" if drop else "raise")


def _attached() -> bool:
    """Whether someone can see a bar on stderr: a terminal or a notebook."""
    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


def _check_n(n: Any, num_levels: int) -> tuple[int, ...]:
    if isinstance(n, (np.ndarray, Tensor)):
        n = n.tolist()
    hint = "Pass the number of runs of each level, coarsest first."
    check_type(n, (list, tuple), name="n", remedy=hint)
    if len(n) != num_levels:
        raise ValueError(f"n must have one entry a level, {num_levels}; got {len(n)}. {hint}")
    return tuple(check_count(count, name=f"n[{level}]") for level, count in enumerate(n))


def _check_draws(hierarchy: Hierarchy, seed: int) -> None:
    """Refuse noise that ignores its generator: the same seed would not give the same data."""
    first, second = (hierarchy.draw(2, make_generator(seed, "check draws")) for _ in range(2))
    if not (torch.equal(first[0], second[0]) and equal_noise(first[1], second[1])):
        raise ValueError(
            "noise must depend on its generator only; two calls with the same seed differ. Pass "
            "generator=generator to every torch draw in noise(n, generator)."
        )


def _refuse_non_finite(result: ChunkResult, seed: int) -> None:
    for level, rows in non_finite_rows(result).items():
        raise RuntimeError(
            f"the simulator of level {level} returned NaN or infinite values in {len(rows)} of "
            f"{result.chunk.rows} runs for level {result.chunk.level} (first rows "
            f"{rows[:5].tolist()}). {reproduce(result.chunk, seed)} Pass on_failure='drop' to "
            "leave such runs out."
        )


def _assemble(
    hierarchy: Hierarchy, results: Iterable[ChunkResult], *, on_invalid: str
) -> MultilevelData:
    """Put chunks together in the order of their rows, whatever order they finished in."""
    ordered = sorted(results, key=lambda r: (r.chunk.level, r.chunk.index))
    levels = []
    for level in range(hierarchy.num_levels):
        own = [r for r in ordered if r.chunk.level == level]
        theta = torch.cat([r.theta for r in own])
        fine = _join([r.x for r in own], level)
        coarse = [r.x_coarse for r in own if r.x_coarse is not None]
        levels.append((theta, _join(coarse, level - 1), fine) if coarse else (theta, fine))
    costs = [cost for cost in hierarchy.costs if cost is not None]
    return MultilevelData.from_arrays(
        hierarchy.prior,
        levels,
        costs=costs if len(costs) == hierarchy.num_levels else None,
        on_invalid=on_invalid,
    )


def _join(parts: Sequence[Tensor], level: int) -> Tensor:
    shapes = sorted({tuple(part.shape[1:]) for part in parts})
    if len(shapes) > 1:
        raise RuntimeError(
            f"the simulator of level {level} must return the same event shape for all rows; got "
            f"{shapes}. Pad or summarise its output."
        )
    return torch.cat(list(parts))
