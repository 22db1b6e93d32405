"""The cells of `mlsbi bench --all`: the paper's experiments, our default and the rivals beside.

In full as published, or quick: one budget or two of each task, the paper's trainings cut short.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlsbi.benching.cells import Cell, cell_of
from mlsbi.benching.names import EXACT, TASKS, Budget, metric_of
from mlsbi.benching.results import CURVE, Row
from mlsbi.benching.step_times import timed_cells
from mlsbi.tasks import STRESS

__all__ = [
    "FIRST_SEED",
    "OTHERS",
    "OURS",
    "PAPER_TASKS",
    "SEEDS",
    "Wanted",
    "paper_cells",
    "quick_cells",
    "unfinished",
]

FIRST_SEED = 10  # settings were chosen while looking at seeds 0, 1 and 100 to 104
SEEDS = 5
_PAPER_SEEDS = 3  # of trainings that take minutes each
QUICK_EPOCHS = 200

OURS = ("single", "default", "multilevel", "transfer", "emulator")
_PAPERS = ("paper", "paper-high")
_EQUAL = ("single-equal", "sbi-equal")
_ABLATED = ("paper", "paper-rescale", "paper-project", "paper-none")
_ABLATION_EPOCHS = 2000  # as in the paper's ablation of the toggle switch; for both likelihoods

_OU = ((1000, 10), (1000, 50), (1000, 100))
_TOGGLE = ((10_000, 500, 100), (9260, 200, 300), (1077, 1077, 1077))
BUDGETS: dict[str, tuple[Budget, ...]] = {
    "g-and-k-nle": ((10_000, 50), (10_000, 100), (10_000, 300)),
    "g-and-k-npe": _OU,
    "ou": _OU,
    "toggle": _TOGGLE,
    "camels-sigma8": ((980, 20), (900, 100)),
    "camels-2": ((980, 20), (900, 100)),
}
PAPER_TASKS = tuple(BUDGETS)
# Beside the paper: what is known in closed form, and what misleads.
OTHERS: dict[str, tuple[Budget, ...]] = {
    "linear-gaussian": ((1000, 20, 20), (1000, 100, 20)),
    **{f"stress-{name}": ((1000, 20), (1000, 100)) for name in STRESS},
}
_OTHER_SEEDS = 2
# Level L alone, or a lower one, at the paper's numbers of runs: figures 2 and 4, table 3.
ALONE: dict[str, tuple[Budget, ...]] = {
    "g-and-k-nle": ((10_000, 0), (0, 300)),
    "g-and-k-npe": ((1000, 0),),
    "toggle": ((0, 0, 2010), (0, 7537, 0), (12_060, 0, 0)),
}
# Level L alone at many sizes, to say how many runs of it a result is worth.
CURVES: dict[str, tuple[int, ...]] = {
    "g-and-k-nle": (50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000),
    "g-and-k-npe": (10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
    "ou": (10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
    "toggle": (50, 100, 200, 500, 1000, 2000, 5000, 10_000),
    "camels-sigma8": (10, 20, 50, 100, 200, 400, 800),
    "camels-2": (10, 20, 50, 100, 200, 400, 800),
}
ABLATIONS: dict[str, Budget] = {
    "g-and-k-npe": (1000, 100),
    "g-and-k-nle": (10_000, 300),
    "toggle": (10_000, 500, 100),
}
# Whose curves of coverage figures 2 and 5 show.
COVERAGE_SHOWN: dict[str, Budget] = {"g-and-k-npe": (1000, 100), "camels-sigma8": (980, 20)}
# The paper's density of one number is a mixture; five of them would take its long trainings hours.
_ONE_MEMBER = {"g-and-k-nle": "mdn:1", "toggle": "mdn:1"}
_QUICK: dict[str, tuple[Budget, ...]] = {
    "g-and-k-nle": ((10_000, 50),),
    "g-and-k-npe": ((1000, 10), (1000, 100)),
    "ou": ((1000, 10), (1000, 100)),
    "toggle": ((10_000, 500, 100),),
    "camels-sigma8": ((980, 20),),
    "camels-2": ((980, 20),),
}


@dataclass(frozen=True)
class Wanted:
    """What to reproduce.

    Attributes:
        tasks: Of `PAPER_TASKS` and `OTHERS`; those that need data are left out where there is no
            folder.
        strategies: Only these; empty: all.
        seeds: First and number.
    """

    tasks: tuple[str, ...] = (*PAPER_TASKS, *OTHERS)
    strategies: tuple[str, ...] = ()
    seeds: tuple[int, int] = (FIRST_SEED, SEEDS)

    def without_data(self, folder: Path | None) -> tuple[str, ...]:
        """The tasks that can run."""
        return tuple(name for name in self.tasks if folder or not TASKS[name].needs_data)

    def timed(self) -> list[Cell]:
        """Those of table 1, which go with the g-and-k distribution."""
        first, count = self.seeds
        about = any(name.startswith("g-and-k") for name in self.tasks)
        return timed_cells(range(first, first + count)) if about else []

    def kept(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those of the strategies, each once, seed by seed."""
        chosen = [
            cell
            for cell in dict.fromkeys(cells)
            if not self.strategies or cell.strategy.split("@")[0] in self.strategies
        ]
        return sorted(chosen, key=lambda cell: cell.seed)


def paper_cells(wanted: Wanted, folder: Path | None) -> list[Cell]:
    """All cells of the full reproduction, seed by seed."""
    first, count = wanted.seeds
    cells: list[Cell] = []
    for task in wanted.without_data(folder):
        for seed in range(first, first + count):
            if task in BUDGETS:
                cells += _main(task, seed, few=seed - first < _PAPER_SEEDS)
            elif seed - first < _OTHER_SEEDS:
                cells += [cell_of(task, b, name, seed) for b in OTHERS[task] for name in OURS]
    return wanted.kept([*cells, *wanted.timed()])


def _main(task: str, seed: int, *, few: bool) -> list[Cell]:
    """One task, one seed; `few`: the trainings that take minutes too."""
    paper = _ONE_MEMBER.get(task)
    levels = len(BUDGETS[task][0])
    equal = () if TASKS[task].needs_data else _EQUAL
    cells = [
        cell_of(task, budget, strategy, seed)
        for budget in BUDGETS[task]
        for strategy in (*OURS, "sbi", *equal)
    ]
    cells += [
        cell_of(task, (*(0 for _ in range(levels - 1)), n), "single", seed) for n in CURVES[task]
    ]
    if task == "ou":
        cells.append(cell_of(task, BUDGETS[task][0], EXACT, seed))
    if paper is None or few:
        cells += _of_paper(task, seed, BUDGETS[task], estimator=paper)
        cells += _ablation(task, seed, estimator=paper)
    return cells


def _of_paper(
    task: str,
    seed: int,
    budgets: Sequence[Budget],
    *,
    estimator: str | None,
    epochs: int | None = None,
) -> list[Cell]:
    """The paper's own trainings: multilevel, and of one level alone."""
    pairs = [(budget, name) for budget in budgets for name in _PAPERS]
    pairs += [(budget, "paper-high") for budget in ALONE.get(task, ())]
    return [
        cell_of(task, budget, name, seed, estimator=estimator, paper_epochs=epochs)
        for budget, name in pairs
    ]


def _ablation(
    task: str, seed: int, *, estimator: str | None, epochs: int | None = None
) -> list[Cell]:
    """Table 4."""
    if task not in ABLATIONS:
        return []
    if epochs is None and estimator is not None:
        epochs = _ABLATION_EPOCHS
    return [
        cell_of(task, ABLATIONS[task], name, seed, estimator=estimator, paper_epochs=epochs)
        for name in _ABLATED
    ]


def quick_cells(wanted: Wanted, folder: Path | None) -> list[Cell]:
    """A cut of the paper's experiments that runs in minutes."""
    first, count = wanted.seeds
    cells: list[Cell] = []
    for task in (name for name in wanted.without_data(folder) if name in _QUICK):
        equal = () if TASKS[task].needs_data else _EQUAL
        for seed in range(first, first + count):
            cells += [
                cell_of(task, budget, strategy, seed)
                for budget in _QUICK[task]
                for strategy in ("single", "default", "multilevel", "transfer", "sbi", *equal)
            ]
            if task == "ou":
                cells.append(cell_of(task, BUDGETS[task][0], EXACT, seed))
            one = "mdn:1"
            cells += _of_paper(task, seed, _QUICK[task], estimator=one, epochs=QUICK_EPOCHS)
            cells += _ablation(task, seed, estimator=one, epochs=QUICK_EPOCHS)
    return wanted.kept([*cells, *wanted.timed()])


def unfinished(cells: Iterable[Cell], rows: Iterable[Row]) -> list[Cell]:
    """The cells that rows lack: their metric, and the curve of coverage where a figure shows it."""
    found = {(row.cell, row.metric) for row in rows}
    return [cell for cell in cells if any((cell, metric) not in found for metric in _needed(cell))]


def _needed(cell: Cell) -> tuple[str, ...]:
    metric = metric_of(cell.task)
    shown = cell.budget == COVERAGE_SHOWN.get(cell.task)
    return (metric, f"{CURVE}0.50") if shown else (metric,)
