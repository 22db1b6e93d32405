"""Cells of the benchmark: tasks x budgets x strategies x seeds, one fit each.

Tasks, budgets and the paper's settings are those of Hikida et al. (2025, arXiv:2506.06087).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlsbi.benching.names import EQUAL, EXACT, RIVALS, TASKS, Budget, library_estimator
from mlsbi.tasks import Task

__all__ = ["Cell", "Outcome", "cell_of", "drawn_runs", "plan"]


@dataclass(frozen=True)
class Cell:
    """One fit of the benchmark.

    Attributes:
        task: A key of `TASKS`.
        budget: Runs of each level, coarsest first. A level with 0 is not run: `(0, 800)` is 800
            runs of the highest level alone.
        strategy: A name that `check_strategy` passes.
        estimator: A name, or `name:k` for an ensemble of k; "sbi" for sbi's default.
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
        strategies: Names that `check_strategy` passes.
        seeds: Seeds.
        budgets: Runs of each level; None: the task's official budgets.
        single_runs: Numbers of runs of the highest level alone that "single" is trained on besides.
        estimator: Of all strategies; None: the library's.
        paper_estimator: Of the strategies named "paper..."; None: `estimator`.
        paper_epochs: Of the strategies named "paper..." without "@"; None: the paper's own.
    """
    levels = len(task.budgets[0])
    high_alone = [(0,) * (levels - 1) + (n,) for n in single_runs]
    cells = [
        cell_of(
            name,
            budget,
            strategy,
            seed,
            estimator=paper_estimator or estimator if strategy.startswith("paper") else estimator,
            paper_epochs=paper_epochs,
        )
        for seed in seeds
        for budget in [*(task.budgets if budgets is None else budgets), *high_alone]
        for strategy in (["single"] if 0 in budget else strategies)
    ]
    return list(dict.fromkeys(cells))


def cell_of(
    task: str,
    budget: Budget,
    strategy: str,
    seed: int,
    *,
    estimator: str | None = None,
    paper_epochs: int | None = None,
) -> Cell:
    """A cell under the names that results go by: epochs are said, and what does not matter is not.

    Args:
        task: Key of `TASKS`.
        budget: Runs of each level.
        strategy: A name that `check_strategy` passes.
        seed: The seed.
        estimator: None: the library's.
        paper_epochs: Of a strategy named "paper..." without "@"; None: the paper's own.
    """
    stem = strategy.removesuffix(EQUAL)
    if stem in RIVALS:
        return Cell(task, budget, strategy, "sbi", seed)
    if strategy == EXACT:
        return Cell(task, (*(0 for _ in budget[1:]), 1), strategy, "none", seed)
    if stem.startswith("paper") and "@" not in stem:
        tail = strategy.removeprefix(stem)
        strategy = f"{stem}@{paper_epochs or TASKS[task].paper_epochs}{tail}"
    return Cell(task, budget, strategy, estimator or library_estimator(), seed)


def drawn_runs(cell: Cell, costs: Sequence[float | None] | None) -> Budget:
    """How many runs of each level a cell draws, at least one of each.

    Args:
        cell: The cell.
        costs: Of a run of each level.

    Raises:
        ValueError: The cell wants as many runs as its budget buys, and runs have no costs.
    """
    if not cell.strategy.endswith(EQUAL):
        return tuple(max(n, 1) for n in cell.budget)
    each = [cost for cost in costs or () if cost is not None]
    if len(each) != len(cell.budget):
        raise ValueError(f"{cell.strategy} needs the costs of runs, which {cell.task} has not.")
    below = [0.0, *each[:-1]]
    spent = sum(n * (a + b) for n, a, b in zip(cell.budget, each, below, strict=True))
    return (*(1 for _ in each[1:]), max(1, int(spent // each[-1])))
