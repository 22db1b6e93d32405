"""What every fit is: a frozen density in the user's units that knows how it came about."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed
from mlsbi._random import make_generator
from mlsbi._table import Table
from mlsbi.calibration import Calibration
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.estimator import Estimator
from mlsbi.history import History, Status
from mlsbi.multilevel_table import MultilevelLosses, printed
from mlsbi.options import Training
from mlsbi.prior import Prior
from mlsbi.recipe import Recipe
from mlsbi.strategies.base import Strategy
from mlsbi.summaries import Summary

if TYPE_CHECKING:
    from mlsbi.data import MultilevelData

__all__ = ["Fit"]


@dataclass(frozen=True, eq=False)
class Fit:
    """What a posterior fit and a likelihood fit share.

    Attributes:
        estimator: The trained density.
        blueprint: How to build it again.
        prior: Over theta.
        event_shape: Shape of one x.
        strategy: How the levels were combined.
        training: Options of the loop.
        status: How the training ended; its value says what to try.
        history: Losses at each evaluation.
        n: Runs of each level, 0 .. L.
        cost: sum_l n_l (C_l + C_(l-1)) in the units of the levels' costs; None if not given.
        seed: The seed of the fit.
        multilevel: Losses at the runs of every level; None in fits saved before they had them.
        recipe: What was asked for, to make it again from other data; None likewise.
        seconds: Wall-clock time of making it; None likewise.
        calibration: How it was widened or narrowed afterwards; None: it is as it was trained.
    """

    estimator: Estimator = field(repr=False)
    blueprint: Blueprint = field(repr=False)
    prior: Prior = field(repr=False)
    event_shape: tuple[int, ...]
    strategy: Strategy
    training: Training = field(repr=False)
    status: Status
    history: History = field(repr=False)
    n: tuple[int, ...]
    cost: float | None
    seed: int
    multilevel: MultilevelLosses | None = field(default=None, repr=False)
    recipe: Recipe | None = field(default=None, repr=False)
    seconds: float | None = field(default=None, repr=False)
    calibration: Calibration | None = None

    density: ClassVar[str] = "p"  # of what, given what; each kind says it

    def __str__(self) -> str:
        """What it is a density of, what it was learned from, and how that went, a line each."""
        level, pairs = len(self.n) - 1, "" if len(self.n) == 1 else " coupled"
        runs = " + ".join(f"{n:,}" for n in self.n)
        cost = "" if self.cost is None else f", cost {self.cost:,.6g}"
        time = "" if self.seconds is None else f", fitted in {self.seconds:.1f} s"
        lines = [
            f"{self.density} of level {level} by {type(self.strategy).__name__}: theta "
            f"({self.theta_dim},), x {self.event_shape}",
            f"Learned from {runs}{pairs} runs{cost}, seed {self.seed}{time}",
            f"{self.status.name}: {self.status.value}",
        ]
        return "\n".join(lines if self.calibration is None else [*lines, repr(self.calibration)])

    @property
    def theta_dim(self) -> int:
        """Number of parameters, d."""
        return self.prior.dim

    @property
    def device(self) -> torch.device:
        """Where the density is evaluated."""
        return next(self.estimator.parameters()).device

    @property
    def summary(self) -> Summary | None:
        """From x to the learned summary that stands for it; None where x is modelled as it is."""
        transforms = (self.estimator.context_transform, self.estimator.value_transform)
        return next((t for t in transforms if isinstance(t, Summary)), None)

    def summarise(self, x: Any) -> Tensor:  # noqa: ANN401
        """Learned summaries of x, standardised.

        Args:
            x: Observations, shape `(n, *event)`.

        Returns:
            Shape `(n, s)`.

        Raises:
            TypeError: `x` is not an array of numbers.
            ValueError: `x` has the wrong shape or is not finite, or the fit models x as it is.
        """
        many = self._many(x, self.event_shape, name="x")
        summary = self.summary
        if summary is None:
            raise ValueError(
                "x has no summary: this fit models it as it is (fit.summary is None). Use x itself."
            )
        found: Tensor = summary(many)
        return found

    def table(self) -> Table:
        """Print the multilevel table of the trained loss, and return it; `fit.multilevel`.

        Raises:
            ValueError: The fit was saved by a version of mlsbi that made no table.
        """
        return printed(self.multilevel)

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fit to a folder: weights as safetensors, the rest as JSON.

        Args:
            path: The folder; it must not exist unless `overwrite`.
            overwrite: Replace a fit that is there.

        Raises:
            ValueError: `path` exists and `overwrite` is false, or it holds something else.
        """
        from mlsbi.fit_io import save_fit

        save_fit(self, path, overwrite=overwrite)

    def to_arviz(
        self,
        x_o: Any,  # noqa: ANN401
        *,
        num_samples: int = 2000,
        num_chains: int = 4,
        data: MultilevelData | None = None,
        predictive: Any = None,  # noqa: ANN401
        labels: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> Any:  # noqa: ANN401  of an optional package
        """All that the fit says of one observation, as ArviZ data; see `mlsbi.to_arviz.to_arviz`.

        Args:
            x_o: The observation, shape `(*event,)`; of a likelihood fit also `(m, *event)`.
            num_samples: Posterior draws, all chains together.
            num_chains: Chains; it must divide `num_samples`.
            data: The runs that the fit was made of, to note their fingerprint.
            predictive: Your own simulations at posterior draws, shape `(k, *event)`.
            labels: Names of the parameters.
            outputs: Names of the outputs, where x is a vector.
            seed: Of all draws.
            progress: Whether sbi's MCMC shows a progress bar.

        Raises:
            ImportError: ArviZ is not installed.
            TypeError: An argument has the wrong type.
            ValueError: An argument has the wrong shape or a value that is not allowed.
        """
        from mlsbi.to_arviz import to_arviz

        return to_arviz(
            self, x_o, num_samples=num_samples, num_chains=num_chains, data=data,
            predictive=predictive, labels=labels, outputs=outputs, seed=seed, progress=progress,
        )  # fmt: skip

    def _theta(self, theta: Any, *, name: str = "theta") -> Tensor:  # noqa: ANN401
        checked = as_tensor(theta, name=name, ndim=2, shape=(None, self.theta_dim))
        if isinstance(theta, Tensor) and theta.requires_grad:
            checked = theta.to(checked.dtype)  # the user's graph, not a copy off it
        return checked.to(self.device)

    def _x(self, x: Any, rows: int, *, name: str = "x") -> Tensor:  # noqa: ANN401
        """X as `(rows, *event)`; one x is repeated."""
        event = self.event_shape
        tensor = as_tensor(x, name=name).to(self.device)
        if tuple(tensor.shape) == event or tuple(tensor.shape) == (1, *event):
            return tensor.reshape(1, *event).expand(rows, *event)
        if tuple(tensor.shape) != (rows, *event):
            raise ValueError(
                f"{name} must have shape {(rows, *event)} (a row for each theta) or {event} (one "
                f"for all); got {tuple(tensor.shape)}. Pass one observation, or as many as theta "
                "has rows."
            )
        return tensor

    def _one(self, value: Any, shape: tuple[int, ...], *, name: str) -> Tensor:  # noqa: ANN401
        tensor = as_tensor(value, name=name).to(self.device)
        if tuple(tensor.shape) not in (shape, (1, *shape)):
            raise ValueError(
                f"{name} must have shape {shape} (one value); got {tuple(tensor.shape)}. For many "
                "at once use sample_batched."
            )
        return tensor.reshape(shape)

    def _many(self, value: Any, shape: tuple[int, ...], *, name: str) -> Tensor:  # noqa: ANN401
        tensor = as_tensor(value, name=name).to(self.device)
        if tensor.dim() != len(shape) + 1 or tuple(tensor.shape[1:]) != shape:
            raise ValueError(
                f"{name} must have shape {('b', *shape)}; got {tuple(tensor.shape)}. For a single "
                "one use sample."
            )
        return tensor

    def _draw(self, n: int, contexts: Tensor, seed: int | None) -> Tensor:
        """N draws at each of b contexts, `(n, b, d)`."""
        check_count(n, name="n")
        # No seed: fresh entropy from the operating system, and no global generator is touched.
        seed = secrets.randbits(63) if seed is None else check_seed(seed)
        generator = make_generator(seed, "sample", device=self.device)
        b = contexts.shape[0]
        if b == 0:
            return contexts.new_zeros(n, 0, self.blueprint.value_dim)
        rows = contexts.unsqueeze(0).expand(n, *contexts.shape).reshape(n * b, *contexts.shape[1:])
        drawn = self.estimator.sample(rows, generator=generator, period=b)
        return drawn.reshape(n, b, -1)

    def _log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        if len(value) == 0:
            return value.new_zeros(0)
        with torch.set_grad_enabled(value.requires_grad or context.requires_grad):
            return self.estimator.log_prob(value, context)
