"""What `fit_posterior` and `fit_likelihood` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor
from mlsbi._fit_base import Fit

__all__ = ["Fit", "LikelihoodFit", "PosteriorFit"]


@dataclass(frozen=True, eq=False)
class PosteriorFit(Fit):
    """p(theta | x) of level L, amortised over x."""

    density = "p(theta | x)"

    def log_prob(self, theta: Any, x: Any) -> Tensor:  # noqa: ANN401
        """Log posterior density in the units of theta.

        Args:
            theta: Parameters, shape `(n, d)`. Gradients flow if it requires them.
            x: Observations, shape `(n, *event)`, or one observation for all, `(*event,)`.

        Returns:
            Shape `(n,)`; minus infinity outside the prior's support.

        Raises:
            TypeError: An argument is not an array of numbers.
            ValueError: An argument has the wrong shape or is not finite.
        """
        points = self._theta(theta)
        x = self._x(x, points.shape[0])
        inside = self.prior.contains(points.detach().cpu()).to(self.device)
        value = self._log_prob(points, x)
        return torch.where(inside, value, torch.full_like(value, -torch.inf))

    def sample(self, n: int, *, x: Any, seed: int | None = None) -> Tensor:  # noqa: ANN401
        """Draws from the posterior at one observation, inside the prior's support.

        Args:
            n: Number of draws.
            x: The observation, shape `(*event,)`.
            seed: Same seed, same draws; None: fresh ones.

        Returns:
            Shape `(n, d)`.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has the wrong shape or is not finite.
        """
        return self._draw(n, self._one(x, self.event_shape, name="x").unsqueeze(0), seed)[:, 0]

    def sample_batched(self, n: int, *, x: Any, seed: int | None = None) -> Tensor:  # noqa: ANN401
        """Draws from the posteriors at b observations `(b, *event)`; shape `(n, b, d)`."""
        return self._draw(n, self._many(x, self.event_shape, name="x"), seed)

    def posterior(self, x_o: Any) -> Any:  # noqa: ANN401  an sbi class, imported when needed
        """The posterior at `x_o` as an sbi `DirectPosterior`.

        Args:
            x_o: The observation, shape `(*event,)` or `(1, *event)`.
        """
        from mlsbi.sbi_posterior import direct_posterior

        return direct_posterior(self, self._one(x_o, self.event_shape, name="x_o").cpu())


@dataclass(frozen=True, eq=False)
class LikelihoodFit(Fit):
    """p(x | theta) of level L.

    Where the fit has a `summary`, this is p(summary(x) | theta): x is passed as it is, the density
    is that of its standardised summary, and draws are summaries, `(n, s)`.
    """

    density = "p(x | theta)"

    def log_prob(self, theta: Any, x: Any) -> Tensor:  # noqa: ANN401
        """Log likelihood in the units of x.

        Args:
            theta: Parameters, shape `(n, d)`. Gradients flow if it requires them.
            x: Data, shape `(n, *event)`, or one x for all, `(*event,)`.

        Returns:
            Shape `(n,)`.

        Raises:
            TypeError: An argument is not an array of numbers.
            ValueError: An argument has the wrong shape or is not finite.
        """
        points = self._theta(theta)
        return self._log_prob(self._x(x, points.shape[0]), points)

    def sample(self, n: int, *, theta: Any, seed: int | None = None) -> Tensor:  # noqa: ANN401
        """Draws of x from the likelihood at one theta.

        Args:
            n: Number of draws.
            theta: The parameters, shape `(d,)`.
            seed: Same seed, same draws; None: fresh ones.

        Returns:
            Shape `(n, *event)`; summaries, `(n, s)`, where the fit has a `summary`.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has the wrong shape or is not finite.
        """
        one = self._one(theta, (self.theta_dim,), name="theta").unsqueeze(0)
        return self._draw(n, one, seed)[:, 0].reshape(n, *self.estimator.value_event_shape)

    def sample_batched(self, n: int, *, theta: Any, seed: int | None = None) -> Tensor:  # noqa: ANN401
        """Draws as of `sample` at b parameter vectors `(b, d)`; shape `(n, b, *event)`."""
        many = self._many(theta, (self.theta_dim,), name="theta")
        event = self.estimator.value_event_shape
        return self._draw(n, many, seed).reshape(n, many.shape[0], *event)

    def posterior(self, x_o: Any, **options: Any) -> Any:  # noqa: ANN401
        """The posterior given i.i.d. observations, as an sbi posterior that samples by MCMC.

        Args:
            x_o: One observation `(*event,)` or m of them `(m, *event)`.
            **options: See `mlsbi.sbi_posterior.likelihood_posterior`.
        """
        from mlsbi.sbi_posterior import likelihood_posterior

        tensor = as_tensor(x_o, name="x_o")
        if tuple(tensor.shape) == self.event_shape:
            tensor = tensor.unsqueeze(0)
        return likelihood_posterior(
            self, self._many(tensor, self.event_shape, name="x_o").cpu(), **options
        )
