"""The benchmark harness: tasks x budgets x strategies x seeds, one row of a table per metric.

Plain functions: `plan` lists the cells, `run_cell` runs one, `run_cells` runs many in processes.
Results are kept and shown by `mlsbi.benching.results`. Tasks, budgets and the paper's settings are
those of Hikida et al. (2025, arXiv:2506.06087).
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mlsbi._compare import level_alone
from mlsbi._random import derive_seed
from mlsbi.benching.names import (
    HIGH_ALONE,
    TASKS,
    Budget,
    library_estimator,
    make_strategy,
    make_task,
    parse_estimator,
)
from mlsbi.data import MultilevelData
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.options import Training
from mlsbi.tasks import Task

__all__ = ["Cell", "Outcome", "plan", "run_cell", "run_cells"]


@dataclass(frozen=True)
class Cell:
    """One fit of the benchmark.

    Attributes:
        task: A key of `TASKS`.
        budget: Runs of each level, coarsest first. A level with 0 is not run: `(0, 800)` is 800
            runs of the highest level alone.
        strategy: A name that `make_strategy` knows.
        estimator: A name, or `name:k` for an ensemble of k.
        seed: Seed of data, fit and score.
    """

    task: str
    budget: Budget
    strategy: str
    estimator: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its metrics and the seconds of the fit, or the error."""

    cell: Cell
    metrics: dict[str, float]
    seconds: float
    error: str = ""


def plan(
    name: str,
    task: Task,
    *,
    strategies: Sequence[str],
    seeds: Sequence[int],
    budgets: Sequence[Budget] | None = None,
    single_runs: Sequence[int] = (),
    estimator: str | None = None,
    paper_estimator: str | None = None,
    paper_epochs: int | None = None,
) -> list[Cell]:
    """All cells of a task, seed by seed, so that every prefix of the list is a fair comparison.

    Args:
        name: Key of `TASKS`.
        task: The task.
        strategies: Names that `make_strategy` knows.
        seeds: Seeds.
        budgets: Runs of each level; None: the task's official budgets.
        single_runs: Numbers of runs of the highest level alone that "single" is trained on besides.
        estimator: Of all strategies; None: the library's.
        paper_estimator: Of the strategies named "paper..."; None: `estimator`.
        paper_epochs: Of the strategies named "paper..." without "@"; None: the paper's own.
    """
    estimator = estimator or library_estimator()
    levels = len(task.budgets[0])
    high_alone = [(0,) * (levels - 1) + (n,) for n in single_runs]
    cells = []
    for seed in seeds:
        for budget in [*(task.budgets if budgets is None else budgets), *high_alone]:
            for strategy in ["single"] if 0 in budget else strategies:
                label, chosen = strategy, estimator
                if strategy.startswith("paper"):
                    epochs = paper_epochs or TASKS[name].paper_epochs
                    label = strategy if "@" in strategy else f"{strategy}@{epochs}"
                    chosen = paper_estimator or estimator
                cells.append(Cell(name, budget, label, chosen, seed))
    return list(dict.fromkeys(cells))


def run_cell(
    cell: Cell,
    *,
    folder: Path | None = None,
    max_steps: int | None = None,
    score: Callable[..., dict[str, float]] | None = None,
) -> Outcome:
    """Make the data, fit, and score.

    Args:
        cell: What to run.
        folder: Folder of stored runs, for the tasks that need it.
        max_steps: Cuts every training short, to try the harness out.
        score: `score(task, fit, theta_test, x_test, seed=)` in place of the task's own score.
    """
    task = make_task(cell.task, folder=folder)
    strategy = make_strategy(cell.strategy)
    data, theta, x = task.data(tuple(max(n, 1) for n in cell.budget), cell.seed)
    data = _own_runs(data, cell)
    estimator, ensemble = parse_estimator(cell.estimator)
    options: dict[str, Any] = {} if ensemble is None else {"ensemble": ensemble}
    if max_steps is not None:
        training = (strategy and strategy.training) or Training()
        training = replace(training, max_steps=min(max_steps, training.max_steps))
        strategy = replace(strategy, training=training) if strategy else None
        options["training"] = training
    fit = fit_posterior if task.kind == "posterior" else fit_likelihood
    start = time.perf_counter()
    result = fit(
        data,
        strategy=strategy,
        estimator=estimator,
        seed=derive_seed(cell.seed, "bench", "fit"),
        **options,
    )
    seconds = time.perf_counter() - start
    metrics = (score or Task.score)(task, result, theta, x, seed=cell.seed)
    status = result.status
    how = {
        "steps": result.history["step"][-1],
        "status_ok": status.ok,
        f"status_{status.name}": 1.0,  # rows hold numbers alone, so the name is in the metric
    }
    return Outcome(cell, {**metrics, **how}, seconds)


def _own_runs(data: MultilevelData, cell: Cell) -> MultilevelData:
    """The runs that a cell's strategy may see: of one level alone for "single"."""
    if 0 in cell.budget:
        return level_alone(data, next(i for i, n in enumerate(cell.budget) if n))
    alone = cell.strategy == "single" or cell.strategy.startswith(HIGH_ALONE)
    return data.top() if alone else data


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
