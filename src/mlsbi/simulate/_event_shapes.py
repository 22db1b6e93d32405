"""All runs of a simulator have one event shape: the one that most of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from mlsbi.simulate._rows import DONE, Fault, Outcome

__all__ = ["EventShapes"]

Shape = tuple[int, ...]


class _Known(Protocol):
    def status(self, level: int) -> np.ndarray: ...

    def event_shape(self, level: int) -> Shape | None: ...


class EventShapes:
    """Counts the shapes that simulators return.

    The first run of a simulator says which shape its outputs have. If that run was the odd one, the
    others outvote it: so what is kept does not depend on which run finished first.
    """

    def __init__(
        self, sink: _Known, counts: Sequence[int], fixed: Sequence[Shape] | None = None
    ) -> None:
        """Start with what a sink has.

        Args:
            sink: Where rows are.
            counts: Rows of each level that are wanted.
            fixed: Shapes that are not put to the vote: those of runs that are there already.
        """
        self._seen: list[Counter[Shape]] = [Counter() for _ in counts]
        self._known: dict[int, Shape] = {}
        self._fixed = fixed is not None
        for level in range(len(counts)):
            shape = sink.event_shape(level) if fixed is None else tuple(fixed[level])
            if shape is not None:
                self._known[level] = shape
                above = range(level, min(level + 2, len(counts)))
                done = sum(int((sink.status(i)[: counts[i]] == DONE).sum()) for i in above)
                self._seen[level][shape] = done if self._fixed else max(done, 1)

    def see(self, outcome: Outcome) -> None:
        """Count an outcome."""
        for simulator, x in _members(outcome):
            shape = tuple(x.shape[1:])
            self._seen[simulator][shape] += len(x)
            self._known.setdefault(simulator, shape)

    def outvoted(self) -> int | None:
        """A simulator most of whose runs had another shape than known; known is theirs now."""
        if self._fixed:
            return None
        for simulator, known in self._known.items():
            seen = self._seen[simulator]
            most = max(seen, key=seen.__getitem__)  # of equals, the first seen
            if seen[most] > seen[known]:
                self._known[simulator] = most
                return simulator
        return None

    def contradicted(self) -> tuple[int, Shape, Shape] | None:
        """A simulator no run of which had the shape that is fixed: which, the shape, and theirs."""
        for simulator, known in self._known.items() if self._fixed else ():
            seen = self._seen[simulator]
            if seen.total() and not seen[known]:
                return simulator, known, max(seen, key=seen.__getitem__)
        return None

    def odd(self, outcome: Outcome) -> int | None:
        """The simulator whose output has another shape than known."""
        for simulator, x in _members(outcome):
            if tuple(x.shape[1:]) != self._known[simulator]:
                return simulator
        return None

    def refuse(self, outcome: Outcome, simulator: int) -> Outcome:
        """The outcome with its results turned into failures."""
        shape = next(x.shape[1:] for number, x in _members(outcome) if number == simulator)
        others = "the runs in extend" if self._fixed else "most runs of this simulator so far"
        text = (
            f"returned an event of shape {tuple(shape)}, while {others} "
            f"had {self._known[simulator]}. Pad or summarise the output so that all runs of a "
            "level have the same event shape"
        )
        fault = Fault(simulator, "shape", text)
        faults = dict.fromkeys(np.flatnonzero(outcome.ok).tolist(), fault) | outcome.faults
        return replace(
            outcome,
            ok=np.zeros_like(outcome.ok),
            x=None,
            x_coarse=None,
            faults=dict(sorted(faults.items())),
        )


def _members(outcome: Outcome) -> Iterator[tuple[int, np.ndarray]]:
    level = outcome.task.level
    if outcome.x_coarse is not None:
        yield level - 1, outcome.x_coarse
    if outcome.x is not None:
        yield level, outcome.x
