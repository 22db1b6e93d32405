"""A simulator in the form that sbi takes, as a level: `mlsbi.sbi_level`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlsbi._checks import as_tensor, check_type
from mlsbi._random import isolated_rng
from mlsbi.hierarchy import Level

__all__ = ["sbi_level"]


def sbi_level(
    simulator: Callable[[Any], Any],
    *,
    cost: float | None = None,
    batched: bool = True,
    name: str | None = None,
) -> Level:
    """A level of a simulator `simulator(theta) -> x` that draws its own noise.

    Such a simulator, as sbi takes it, draws from the global generators of torch, NumPy or Python.
    Here it is called for one row at a time, with all three seeded by the row's own seed, and put
    back afterwards. Both levels of a pair get the same seed, so that simulators that draw the same
    numbers in the same order are coupled; use the hierarchy's default noise.

    Args:
        simulator: What `simulate_for_sbi` takes, such as what `process_simulator` returns.
        cost: Cost of one run, in the same unit for all levels; None if not known.
        batched: Whether it takes theta `(1, d)` and returns x `(1, *event)`; if not, theta `(d,)`
            and x `(*event)`. theta is a float32 tensor.
        name: Name used in messages.

    Returns:
        The level. It can be used wherever an `mlsbi.Level` can.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `cost` is not positive.
    """
    if not callable(simulator):
        raise TypeError(
            f"simulator must be callable; got {type(simulator).__name__}. Pass a function "
            "simulator(theta) -> x."
        )
    check_type(batched, bool, name="batched", remedy="Pass True or False.")
    label = name or getattr(simulator, "__name__", None)
    return Level(_Seeded(simulator, batched), cost=cost, batched=False, name=label)


@dataclass(frozen=True)
class _Seeded:
    """One run: `(theta, seed) -> x`; an object, so that it goes to other processes."""

    simulator: Callable[[Any], Any]
    batched: bool

    def __call__(self, theta: np.ndarray, seed: int) -> np.ndarray:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(
                f"u must be one seed a row for a level of sbi_level; got {type(seed).__name__}. "
                "Leave the hierarchy's noise out, or write the simulator as f(theta, u)."
            )
        row = torch.from_numpy(np.ascontiguousarray(theta))
        with _all_seeded(int(seed)):
            value = self.simulator(row[None] if self.batched else row)
        x = as_tensor(
            [value] if isinstance(value, (int, float, np.number)) else value,
            name="the output of the simulator",
            finite=False,
        )
        if self.batched and (x.ndim < 1 or len(x) != 1):
            raise ValueError(
                f"the simulator must return x of shape (1, *event) for theta {(1, len(theta))}; "
                f"got {tuple(x.shape)}. Return one row per row of theta, or set batched=False."
            )
        return (x[0] if self.batched else x).cpu().numpy()


@contextmanager
def _all_seeded(seed: int) -> Iterator[None]:
    """Global generators of torch, NumPy and Python seeded for a while; one thread at a time."""
    with isolated_rng(seed):
        own, numpys = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed([seed % 2**32, seed >> 32])
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(numpys)
