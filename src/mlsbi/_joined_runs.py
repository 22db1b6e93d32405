"""Runs of one level that lie in several places, of which a store is one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlsbi._runs import AnyRuns, Runs, StoredRuns

__all__ = ["JoinedRuns", "join_runs"]


def join_runs(first: AnyRuns, second: AnyRuns) -> AnyRuns:
    """All rows of one, then all rows of the other; nothing is read for it."""
    parts = [part for part in (first, second) if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else first
    if isinstance(first, Runs) and isinstance(second, Runs):
        return JoinedRuns(parts).loaded()
    return JoinedRuns(parts)


class JoinedRuns:
    """Rows of several runs, one after the other: arrays are put together when first used."""

    def __init__(self, parts: Sequence[AnyRuns], order: Tensor | None = None) -> None:
        """Name the parts; nothing is read.

        Args:
            parts: The runs, each with a row at least. Of those in stores copies are kept, so that
                arrays which are read for this are not held twice.
            order: The order of all their rows, int64, shape `(n,)`; None as they are.
        """
        self._parts = [_own(part) for part in parts]
        self._order = order
        self._arrays: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}  # whoever loads it reads what it needs

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        return self._parts[0].event_shape

    @property
    def theta(self) -> Tensor:
        """Parameters, shape `(n, d)`."""
        return self._array("theta")

    @property
    def x(self) -> Tensor:
        """Outputs of the level, shape `(n, *event)`."""
        return self._array("x")

    @property
    def x_coarse(self) -> Tensor | None:
        """Outputs of the level below, shape `(n, *event)`, or None."""
        return self._array("x_coarse") if self.paired else None

    @property
    def paired(self) -> bool:
        """Whether there are outputs of the level below."""
        return self._parts[0].paired

    @property
    def num_bytes(self) -> int:
        """Size of the arrays in memory."""
        return sum(part.num_bytes for part in self._parts)

    def loaded(self) -> Runs:
        """The same runs in memory."""
        return Runs(self.theta, self.x_coarse, self.x)

    def pick(self, index: Tensor | None) -> JoinedRuns:
        """Some rows, by their numbers; None for all. Arrays that were read are not read again."""
        if index is None:
            return self
        rows = index if self._order is None else self._order[index]
        parts, places, start = list[AnyRuns](), list[Tensor](), 0
        for part in self._parts:
            own = (rows >= start) & (rows < start + len(part))
            if bool(own.any()):
                parts.append(part.pick(rows[own] - start))
                places.append(own.nonzero().flatten())
            start += len(part)
        order = torch.cat(places).argsort()
        sorted_already = bool((order[1:] > order[:-1]).all())
        picked = JoinedRuns(parts, None if sorted_already else order)
        picked._arrays = {name: array[index] for name, array in self._arrays.items()}
        return picked

    def unpaired(self) -> JoinedRuns:
        """The same without the coarse member."""
        rest = JoinedRuns([part.unpaired() for part in self._parts], self._order)
        rest._arrays = {k: v for k, v in self._arrays.items() if k != "x_coarse"}
        return rest

    def _array(self, name: str) -> Tensor:
        if name not in self._arrays:
            array = torch.cat([getattr(part, name) for part in self._parts])
            self._arrays[name] = array if self._order is None else array[self._order]
            for part in self._parts:
                if isinstance(part, (StoredRuns, JoinedRuns)):
                    part._arrays.pop(name, None)  # it is in the whole one now
        return self._arrays[name]


def _own(part: AnyRuns) -> AnyRuns:
    """A part that may forget arrays without anybody else missing them."""
    if not isinstance(part, (StoredRuns, JoinedRuns)):
        return part
    own = copy.copy(part)
    own._arrays = dict(part._arrays)
    return own
