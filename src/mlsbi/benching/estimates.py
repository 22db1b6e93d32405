"""How long cells will take: by what the same or similar ones took, else by a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

from mlsbi.benching.cells import Cell
from mlsbi.benching.names import EQUAL, EXACT, RIVALS
from mlsbi.benching.results import Row
from mlsbi.benching.step_times import TIMED

__all__ = ["Estimate", "Remaining", "estimates"]

Estimate = Callable[[Cell], float]

# Seconds of a fit on one idle core of 2024, at the paper's budgets: rounded up.
_FITS = {
    "single": 3.0,
    "default": 22.0,
    "multilevel": 15.0,
    "transfer": 9.0,
    "emulator": 7.0,
    "bridge": 11.0,
    "pooled": 4.0,
    "stack": 22.0,
}
_OTHER_FIT = 15.0
_SBI, _SBI_EQUAL = 8.0, 14.0
_STEPS = 6.0  # of table 1
_EPOCH = {"g-and-k-nle": 0.029, "toggle": 0.042}  # seconds, multilevel, full batches, one member
_OTHER_EPOCH = 0.027  # five members
_ALONE = 0.25  # an epoch of one level, beside
# Data and score, which `seconds` in results leaves out.
_AROUND = {"toggle": 6.0, "g-and-k-nle": 2.0}
_OTHER_AROUND = 2.5


def estimates(rows: Iterable[Row]) -> Estimate:
    """What to expect of cells, from rows of cells like them (but for the seed), else a table."""
    seen: dict[tuple[object, ...], dict[int, float]] = {}
    for row in rows:
        seen.setdefault(_kind(row.cell), {})[row.cell.seed] = row.seconds
    known = {key: median(seconds.values()) for key, seconds in seen.items()}

    def seconds(cell: Cell) -> float:
        around = 0.0 if cell.task in TIMED else _AROUND.get(cell.task, _OTHER_AROUND)
        return around + known.get(_kind(cell), _guess(cell))

    return seconds


def _kind(cell: Cell) -> tuple[object, ...]:
    return cell.task, cell.budget, cell.strategy, cell.estimator


def _guess(cell: Cell) -> float:
    stem = cell.strategy.removesuffix(EQUAL)
    if cell.task in TIMED:
        return _STEPS
    if stem == EXACT:
        return 1.0
    if stem in RIVALS:
        return _SBI if stem == cell.strategy else _SBI_EQUAL
    if stem.startswith("paper"):
        epoch = _EPOCH.get(cell.task, _OTHER_EPOCH)
        alone = _ALONE if stem.startswith("paper-high") else 1.0
        return 1.0 + epoch * alone * int(stem.partition("@")[2] or 1000)
    return _FITS.get(stem.partition("-")[0], _OTHER_FIT)


class Remaining:
    """How long the rest will take, as the work goes on.

    Attributes:
        left: Seconds that are expected.
    """

    def __init__(self, seconds: Iterable[float], *, jobs: int) -> None:
        self._total = sum(seconds) / jobs
        self._jobs = jobs
        self._done = 0.0
        self.left = self._total

    def after(self, seconds: float, *, elapsed: float) -> float:
        """What is left once work that was expected to take `seconds` is done, `elapsed` in all.

        The more is done, the more the pace so far counts rather than what was expected of it.
        """
        self._done += seconds / self._jobs
        share = self._done / self._total if self._total else 1.0
        pace = 1 + share * (elapsed / self._done - 1) if self._done else 1.0
        self.left = max(0.0, self._total - self._done) * pace
        return self.left
