"""One call of a level's simulators, both members of a pair, in the process that this runs in."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mlsbi._noise import noise_arrays, noise_row, pick_rows
from mlsbi.hierarchy import Level
from mlsbi.simulate._rows import Fault

__all__ = ["CallResult", "InProcess", "Inputs", "Request", "Runner", "rows_index", "run_pair"]

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

    def run(self, request: Request) -> Generator[tuple[int, CallResult], None, None]:
        """Yield the number of each group with its result, in any order, each once.

        Whoever stops reading before the end closes the generator, which gives up the rest.
        """
        ...


class Inputs:
    """What simulators get of a request's rows."""

    def __init__(self, request: Request) -> None:
        """Arrays are made once: row by row they are much quicker to take apart than tensors."""
        self._theta, self._u = request.theta, request.u
        self._theta_array, self._u_arrays = request.theta.numpy(), noise_arrays(request.u)

    def batch(self, group: np.ndarray) -> tuple[Tensor, Any]:
        """Theta and u of some rows; views where they follow each other."""
        index = rows_index(group)
        return self._theta[index], pick_rows(self._u, index)

    def row(self, position: int) -> tuple[np.ndarray, Any]:
        """Theta and u of one row, as arrays or numbers that may be changed in place."""
        return self._theta_array[position].copy(), noise_row(self._u_arrays, position)


def rows_index(rows: np.ndarray) -> slice | Tensor:
    """Ascending row numbers as an index of tensors: a slice, which copies nothing, if they can."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    return slice(first, last) if last - first == len(rows) else torch.from_numpy(rows)


class InProcess:
    """Runs simulators right here: nothing to pickle, and a debugger stops in them."""

    def __init__(self, levels: Sequence[Level]) -> None:
        """Keep the levels."""
        self._levels = levels

    def run(self, request: Request) -> Generator[tuple[int, CallResult], None, None]:
        """See `Runner`. A timeout cannot be kept here; `simulate` asks for another runner then."""
        inputs = Inputs(request)
        for number, group in enumerate(request.groups):
            yield number, run_pair(self._levels, request.level, inputs, group)


def run_pair(
    levels: Sequence[Level],
    level: int,
    inputs: Inputs,
    group: np.ndarray,
    *,
    on_start: Callable[[int], None] = lambda simulator: None,
) -> CallResult:
    """Run a level, and the level below it with the same theta and u.

    Args:
        levels: All levels.
        level: Which one.
        inputs: What the simulators get.
        group: Which rows; a single one if a member of the pair runs row by row.
        on_start: Called with a simulator's level before it runs.

    Returns:
        The outputs, which may hold NaN, or a fault; nothing that an `Exception` says is raised.
    """
    result = CallResult()
    if level > 0:
        on_start(level - 1)
        coarse, seconds = _run_one(levels, level - 1, inputs, group)
        if isinstance(coarse, Fault):
            return CallResult(fault=coarse)
        result = CallResult(x_coarse=coarse, seconds_coarse=seconds / len(group))
    on_start(level)
    fine, seconds = _run_one(levels, level, inputs, group)
    if isinstance(fine, Fault):
        return CallResult(fault=fine)
    return replace(result, x=fine, seconds=seconds / len(group))


def _run_one(
    levels: Sequence[Level], level: int, inputs: Inputs, group: np.ndarray
) -> tuple[np.ndarray | Fault, float]:
    own = levels[level]
    arguments = inputs.batch(group) if own.batched else inputs.row(int(group[0]))
    begin = time.perf_counter()
    try:
        value = own._call(*arguments) if own.batched else own.simulator(*arguments)
    except (Exception, SystemExit) as error:
        return Fault(level, "exception", _describe(error), cause=error), 0.0
    seconds = time.perf_counter() - begin
    try:
        return own._array(value, rows=len(group)), seconds
    except (TypeError, ValueError) as error:
        return Fault(level, "shape", str(error), cause=error), seconds


def _describe(error: BaseException) -> str:
    """The exception in one line, then the end of its traceback."""
    text = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n{text[-_TRACEBACK:]}"
