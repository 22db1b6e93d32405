"""One call of a level's simulators, both members of a pair, in the process that this runs in."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mlsbi._noise import pick_rows
from mlsbi.hierarchy import Level, RowError
from mlsbi.simulate._rows import Fault

__all__ = ["CallResult", "InProcess", "Request", "Runner", "run_pair"]

_TRACEBACK = 3000  # characters of a traceback that are kept, its end


@dataclass(frozen=True)
class CallResult:
    """What a call gave: arrays, or a fault.

    Attributes:
        x: Outputs of the level, float32, shape `(m, *event)`.
        x_coarse: Outputs of the level below, None for level 0.
        seconds: Wall-clock time of one row of the level.
        seconds_coarse: The same of the level below.
        fault: Why there are no outputs, or None.
    """

    x: np.ndarray | None = None
    x_coarse: np.ndarray | None = None
    seconds: float = float("nan")
    seconds_coarse: float = float("nan")
    fault: Fault | None = None


@dataclass(frozen=True)
class Request:
    """Calls to make, one after the other.

    Attributes:
        level: Which level.
        groups: The rows of each call, as positions in theta and u.
        theta: Parameters, shape `(m, d)`.
        u: Noise with m rows.
        timeout: Seconds that one run of one simulator may take, or None.
    """

    level: int
    groups: Sequence[np.ndarray]
    theta: Tensor
    u: Any
    timeout: float | None = None


class Runner(Protocol):
    """Something that makes calls: in this process, or in one that can be killed."""

    def run(self, request: Request) -> Iterator[tuple[int, CallResult]]:
        """Yield the number of each group with its result, in any order, each once."""
        ...


class InProcess:
    """Runs simulators right here: nothing to pickle, and a debugger stops in them."""

    def __init__(self, levels: Sequence[Level]) -> None:
        """Keep the levels."""
        self._levels = levels

    def run(self, request: Request) -> Iterator[tuple[int, CallResult]]:
        """See `Runner`. A timeout cannot be kept here; `simulate` asks for another runner then."""
        for number, group in enumerate(request.groups):
            theta, u = request_rows(request, group)
            yield number, run_pair(self._levels, request.level, theta, u)


def request_rows(request: Request, group: np.ndarray) -> tuple[Tensor, Any]:
    """theta and u of a group; views where the group is a run of rows."""
    first, last = int(group[0]), int(group[-1]) + 1
    if last - first == len(group):
        return request.theta[first:last], pick_rows(request.u, slice(first, last))
    index = torch.from_numpy(group)
    return request.theta[index], pick_rows(request.u, index)


def run_pair(
    levels: Sequence[Level],
    level: int,
    theta: Tensor,
    u: Any,
    *,
    on_start: Callable[[int], None] = lambda simulator: None,
) -> CallResult:
    """Run a level, and the level below it with the same theta and u.

    Args:
        levels: All levels.
        level: Which one.
        theta: Parameters, shape `(m, d)`.
        u: Noise with m rows.
        on_start: Called with a simulator's level before it runs.

    Returns:
        The outputs, which may hold NaN, or a fault; nothing that an `Exception` says is raised.
    """
    coarse, seconds_coarse = None, float("nan")
    if level > 0:
        on_start(level - 1)
        coarse, seconds_coarse = _run_one(levels, level - 1, theta, u)
        if isinstance(coarse, Fault):
            return CallResult(fault=coarse)
    on_start(level)
    fine, seconds = _run_one(levels, level, theta, u)
    if isinstance(fine, Fault):
        return CallResult(fault=fine)
    return CallResult(fine, coarse, seconds / len(theta), seconds_coarse / len(theta))


def _run_one(
    levels: Sequence[Level], level: int, theta: Tensor, u: Any
) -> tuple[np.ndarray | Fault, float]:
    begin = time.perf_counter()
    try:
        value = levels[level]._call(theta, u)
    except (Exception, SystemExit) as error:
        inner = error.__cause__ if isinstance(error, RowError) and error.__cause__ else error
        return Fault(level, "exception", _describe(inner), cause=inner), 0.0
    seconds = time.perf_counter() - begin
    try:
        return levels[level]._output(value, rows=len(theta)).numpy(), seconds
    except (TypeError, ValueError) as error:
        return Fault(level, "shape", str(error), cause=error), seconds


def _describe(error: BaseException) -> str:
    """The exception in one line, then the end of its traceback."""
    text = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n{text[-_TRACEBACK:]}"
