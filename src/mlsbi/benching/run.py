"""Running cells of the benchmark: data, fit, score; one after another or in processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlsbi._compare import level_alone
from mlsbi._random import derive_seed
from mlsbi.benching.cells import Cell, Outcome, drawn_runs
from mlsbi.benching.names import (
    EQUAL,
    EXACT,
    HIGH_ALONE,
    RIVALS,
    make_strategy,
    make_task,
    parse_estimator,
)
from mlsbi.benching.results import CURVE
from mlsbi.benching.step_times import TIMED, run_timed
from mlsbi.data import MultilevelData
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.metrics import Coverage, expected_coverage, nlpd
from mlsbi.options import Training
from mlsbi.tasks import Task

__all__ = ["curve_of", "run_cell", "run_cells", "scored"]

Score = Callable[..., dict[str, float]]


def run_cell(
    cell: Cell,
    *,
    folder: Path | None = None,
    max_steps: int | None = None,
    score: Score | None = None,
) -> Outcome:
    """Make the data, fit, and score.

    Args:
        cell: What to run.
        folder: Folder of stored runs, for the tasks that need it.
        max_steps: Cuts every training short, to try the harness out.
        score: `score(task, fit, theta_test, x_test, seed=)` in place of the task's own score.
    """
    if cell.task in TIMED:
        return run_timed(cell) if max_steps is None else run_timed(cell, repeats=max_steps)
    task = make_task(cell.task, folder=folder)
    data, theta, x = task.data(drawn_runs(cell, task.costs), cell.seed)
    if cell.strategy == EXACT:
        return Outcome(cell, _exact(task, theta, x), 0.0)
    result, seconds, how = _fitted(cell, _own_runs(data, cell), task, max_steps)
    metrics = (score or scored)(task, result, theta, x, seed=cell.seed)
    return Outcome(cell, {**metrics, **how}, seconds)


def _fitted(
    cell: Cell, data: MultilevelData, task: Task, max_steps: int | None
) -> tuple[Any, float, dict[str, float]]:
    """The fit of a cell, the seconds it took, and how it ended."""
    seed = derive_seed(cell.seed, "bench", "fit")
    stem = cell.strategy.removesuffix(EQUAL)
    if stem in RIVALS:
        import sbi.inference  # noqa: F401  before the clock starts; it takes seconds

        from mlsbi.benching.rivals import fit_by_sbi

        start = time.perf_counter()
        rival = fit_by_sbi(data, task.kind, seed=seed, max_epochs=max_steps)
        return rival, time.perf_counter() - start, {"epochs": rival.epochs, "status_ok": 1.0}
    strategy = make_strategy(stem)
    estimator, ensemble = parse_estimator(cell.estimator)
    options: dict[str, Any] = {} if ensemble is None else {"ensemble": ensemble}
    if max_steps is not None:
        training = (strategy and strategy.training) or Training()
        training = replace(training, max_steps=min(max_steps, training.max_steps))
        strategy = replace(strategy, training=training) if strategy else None
        options["training"] = training
    fit = fit_posterior if task.kind == "posterior" else fit_likelihood
    start = time.perf_counter()
    result = fit(data, strategy=strategy, estimator=estimator, seed=seed, **options)
    seconds, status = time.perf_counter() - start, result.status
    return (
        result,
        seconds,
        {
            "steps": result.history["step"][-1],
            "status_ok": status.ok,
            f"status_{status.name}": 1.0,  # rows hold numbers alone, so the name is in the metric
        },
    )


def scored(task: Task, fit: Any, theta: Tensor, x: Tensor, *, seed: int) -> dict[str, float]:
    """The task's own score; of a posterior, the curve of its coverage too."""
    if task.kind == "likelihood":
        return task.score(fit, theta, x, seed=seed)
    found = expected_coverage(fit, theta, x, seed=derive_seed(seed, "coverage"))
    return {**nlpd(fit.log_prob(theta, x)).to_dict(), **found.to_dict(), **curve_of(found)}


def curve_of(found: Coverage) -> dict[str, float]:
    """The empirical coverage of each credibility, as metrics."""
    curve = zip(found.levels.tolist(), found.empirical.tolist(), strict=True)
    return {f"{CURVE}{level:.2f}": share for level, share in curve}


def _exact(task: Task, theta: Tensor, x: Tensor) -> dict[str, float]:
    if task.reference_posterior is None:
        raise ValueError(f"{task.name} has no exact posterior; leave {EXACT} out.")
    return {**nlpd(task.reference_posterior(theta, x)).to_dict(), "status_ok": 1.0}


def _own_runs(data: MultilevelData, cell: Cell) -> MultilevelData:
    """The runs that a cell's strategy may see: of one level alone for "single"."""
    if 0 in cell.budget:
        return level_alone(data, next(i for i, n in enumerate(cell.budget) if n))
    alone = (*RIVALS, "single", HIGH_ALONE)
    return data.top() if cell.strategy.startswith(alone) else data


def run_cells(
    cells: Sequence[Cell],
    *,
    jobs: int = 1,
    folder: Path | None = None,
    max_steps: int | None = None,
) -> Iterator[Outcome]:
    """Run cells, and yield each outcome as it comes; an error in one does not stop the others.

    Args:
        cells: What to run.
        jobs: Processes; each gets an equal share of the cores.
        folder: As in `run_cell`.
        max_steps: As in `run_cell`.
    """
    work = partial(_guarded, folder=folder, max_steps=max_steps)
    yield from map(work, (cell for cell in cells if cell.task in TIMED))  # by themselves
    cells = [cell for cell in cells if cell.task not in TIMED]
    if jobs == 1:
        yield from map(work, cells)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(threads,),
    )
    with pool:
        for future in as_completed([pool.submit(work, cell) for cell in cells]):
            yield future.result()


def _guarded(cell: Cell, *, folder: Path | None, max_steps: int | None) -> Outcome:
    try:
        return run_cell(cell, folder=folder, max_steps=max_steps)
    except Exception as error:  # a night's benchmark must not end with one bad cell
        return Outcome(cell, {}, 0.0, f"{type(error).__name__}: {error}")
