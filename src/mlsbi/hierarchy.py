"""What the user brings: simulators of increasing fidelity, a prior, and the noise they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_level, check_positive, check_type
from mlsbi._noise import check_noise, clone_noise, default_noise, noise_row
from mlsbi._subset import KEEP, check_kept
from mlsbi.prior import Prior, as_prior

__all__ = ["Hierarchy", "Level", "RowError"]


class RowError(RuntimeError):
    """A row-by-row simulator failed; `row` is the row within the rows it was given."""

    def __init__(self, message: str, row: int = -1) -> None:
        """Keep the message and the row."""
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Level:
    """One simulator of a hierarchy.

    Attributes:
        simulator: `f(theta, u) -> x` with theta a float32 tensor `(n, d)`, u the noise as drawn (n
            rows), and x array-like `(n, *event)`. With `batched=False` it is called a row at a
            time: theta a float32 NumPy array `(d,)`, u the row's seed (a Python int) or, for
            explicit noise, the row as NumPy arrays (numbers where the row is one number).
        cost: Cost of one run, in the same unit for all levels; None if not known.
        batched: Whether the simulator takes many rows at once.
        name: Name used in messages.
        batch_size: Most rows that `mlsbi.simulate` gives a batched simulator at once (it never
            gives more than 1024). Smaller batches need less memory, spread over more workers, and
            are what a failure or a lost machine costs.
    """

    simulator: Callable[..., Any]
    cost: float | None = field(default=None, kw_only=True)
    batched: bool = field(default=True, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the fields."""
        if not callable(self.simulator):
            raise TypeError(
                f"simulator must be callable; got {type(self.simulator).__name__}. "
                "Pass a function f(theta, u) -> x."
            )
        check_type(self.batched, bool, name="batched", remedy="Pass True or False.")
        if self.name is not None:
            check_type(self.name, str, name="name", remedy="Pass a string or None.")
        if self.cost is not None:
            object.__setattr__(self, "cost", check_positive(self.cost, name="cost"))
        if self.batch_size is not None:
            check_count(self.batch_size, name="batch_size")
            if not self.batched:
                raise ValueError(
                    f"batch_size must be None with batched=False; got {self.batch_size}. Such a "
                    "simulator always runs one row at a time: leave batch_size out."
                )

    def run(self, theta: Tensor, u: Any) -> Tensor:
        """Run the simulator.

        The simulator gets copies, so that one which works in place cannot break a coupled pair.

        Args:
            theta: Parameters, shape `(n, d)`.
            u: Noise with n rows, as `Hierarchy.draw` returns it.

        Returns:
            Outputs, float32 on the CPU, shape `(n, *event)`; NaN and infinite values are passed
            on. Scalar outputs get the event shape `(1,)`.

        Raises:
            TypeError: If an argument, or what the simulator returns, is not array-like.
            ValueError: If a shape is wrong.
            RowError: If a row-by-row simulator raises an exception.
        """
        theta = as_tensor(
            theta, name="theta", ndim=2, finite=False, remedy="Pass one row per run, (n, d)."
        )
        if len(theta) == 0:
            raise ValueError("theta must have at least 1 row; got 0. Pass one row per run, (n, d).")
        check_noise(u, rows=len(theta), name="u")
        return self._output(self._call(theta, u), rows=len(theta))

    def _call(self, theta: Tensor, u: Any) -> Any:
        """What the simulator returns, unchecked: one value, or a list of the rows' values."""
        if self.batched:
            return self.simulator(theta.clone(), clone_noise(u))
        values = []
        for i, row in enumerate(theta.cpu()):
            try:
                values.append(self.simulator(row.numpy().copy(), noise_row(u, i)))
            except Exception as error:
                raise RowError(
                    f"{self._label()} failed at row {i}: {type(error).__name__}: {error}", i
                ) from error
        return values

    def _output(self, value: Any, *, rows: int) -> Tensor:
        """Check what `_call` returned, and make it a tensor of shape `(rows, *event)`."""
        x = self._as_output(value) if self.batched else self._stack(value)
        if x.ndim == 1:
            x = x.unsqueeze(1)
        if x.ndim < 2 or len(x) != rows or x.numel() == 0:
            raise ValueError(
                f"{self._label()} must return x of shape (n, *event) with n = {rows}; got "
                f"{tuple(x.shape)}. Return one row per row of theta, or set batched=False for a "
                "simulator that runs one row at a time."
            )
        return x.cpu()

    def _label(self) -> str:
        return f"simulator {self.name or getattr(self.simulator, '__name__', 'of this level')!r}"

    def _as_output(self, value: Any) -> Tensor:
        if isinstance(value, (bool, int, float, np.generic)):
            value = np.asarray([value])
        return as_tensor(value, name=f"the output of {self._label()}", finite=False)

    def _array(self, value: Any, *, rows: int) -> np.ndarray:
        """As `_output`, as an array; of a simulator that runs row by row, a single row's value."""
        if self.batched:
            return self._output(value, rows=rows).numpy()
        if type(value) is np.ndarray and value.ndim and value.size and value.dtype.kind == "f":
            with np.errstate(over="ignore"):  # what most return, without detours
                return value[None].astype(np.float32)
        return self._output([value], rows=1).numpy()

    def _stack(self, values: Sequence[Any]) -> Tensor:
        rows = [self._as_output(value) for value in values]
        for i, row in enumerate(rows):
            if row.shape != rows[0].shape:
                raise ValueError(
                    f"{self._label()} must return the same shape for every row; got "
                    f"{tuple(rows[0].shape)} at row 0 and {tuple(row.shape)} at row {i}. Pad or "
                    "summarise the output."
                )
        x = torch.stack(rows)
        return x.unsqueeze(1) if x.ndim == 1 else x


class Hierarchy:
    """All levels, coarsest first, with the prior and the noise that coupled pairs share."""

    def __init__(
        self,
        prior: Any,
        levels: Sequence[Level],
        *,
        noise: Callable[[int, torch.Generator], Any] | None = None,
    ) -> None:
        """Put levels together.

        Args:
            prior: Anything `mlsbi.prior.as_prior` takes.
            levels: The levels, coarsest first.
            noise: `noise(n, generator)` returns u: a tensor, or a tuple or dict of tensors, with n
                rows. By default u is one seed a row: int64 in `[0, 2**63)`, shape `(n,)`.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If there is no level, or the prior cannot be used.
        """
        self._prior = as_prior(prior)
        check_type(levels, (list, tuple), name="levels", remedy="Pass a list of mlsbi.Level.")
        if not levels:
            raise ValueError("levels must have at least one entry; got none. Add an mlsbi.Level.")
        for i, level in enumerate(levels):
            check_type(level, Level, name=f"levels[{i}]", remedy="Wrap it: mlsbi.Level(simulator).")
        if noise is not None and not callable(noise):
            raise TypeError(
                f"noise must be callable; got {type(noise).__name__}. Pass a function "
                "noise(n, generator) -> u, or None for one seed a row."
            )
        self._levels = tuple(levels)
        self._noise = noise

    def __repr__(self) -> str:
        lines = [f"Hierarchy({self.num_levels} level(s), {self._prior.dim} parameter(s))"]
        for i, level in enumerate(self._levels):
            cost = "not known" if level.cost is None else f"{level.cost:g}"
            lines.append(f"  level {i}: {level._label()}, cost {cost}")
        return "\n".join(lines)

    @property
    def prior(self) -> Prior:
        """The prior."""
        return self._prior

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, coarsest first."""
        return self._levels

    @property
    def num_levels(self) -> int:
        """Number of levels, L + 1."""
        return len(self._levels)

    @property
    def costs(self) -> tuple[float | None, ...]:
        """Cost of one run of each level, None where not known."""
        return tuple(level.cost for level in self._levels)

    @property
    def row_seeds(self) -> bool:
        """Whether u is one seed a row: the noise is not the user's own."""
        return self._noise is None

    def subset(self, levels: Sequence[int]) -> Hierarchy:
        """The hierarchy of some levels, with the same prior and noise.

        Args:
            levels: Numbers of the levels to keep, ascending. They count from 0 anew: a pair of
                the smaller hierarchy is two levels that follow each other in this list.

        Returns:
            The smaller hierarchy.

        Raises:
            TypeError: If `levels` is no sequence of integers.
            ValueError: If it is empty, not ascending, or there is no such level.
        """
        if isinstance(levels, (np.ndarray, Tensor)):
            levels = levels.tolist()
        if isinstance(levels, (list, tuple, range)) and not levels:
            raise ValueError(f"levels must have at least one entry; got none. {KEEP}")
        kept = check_kept(levels, num_levels=self.num_levels)
        return Hierarchy(self._prior, [self._levels[i] for i in kept], noise=self._noise)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Draw parameters and noise.

        Args:
            n: Number of rows.
            generator: Source of randomness.

        Returns:
            theta, float32, shape `(n, d)`, and u with n rows.

        Raises:
            TypeError: If an argument, or the noise drawn, has the wrong type.
            ValueError: If `n` is less than 1, or the noise has not n rows.
        """
        n = check_count(n, name="n")
        theta = self._prior.sample(n, generator)
        u = (self._noise or default_noise)(n, generator)
        check_noise(u, rows=n, name="noise(n, generator)")
        return theta, u

    def pair(self, level: int, theta: Tensor, u: Any) -> tuple[Tensor | None, Tensor]:
        """Run a level, and the level below it with the same theta and u.

        Args:
            level: Which level.
            theta: Parameters, shape `(n, d)`.
            u: Noise with n rows.

        Returns:
            Outputs of level l-1 (None for level 0) and of level l.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If there is no such level, or a shape is wrong.
            RowError: If a row-by-row simulator raises an exception.
        """
        number = check_level(level, num_levels=self.num_levels)
        coarse = None if number == 0 else self._levels[number - 1].run(theta, u)
        return coarse, self._levels[number].run(theta, u)
