"""Expected coverage of a posterior's highest-density regions.

For a pair (theta*, x), theta* lies in the highest-density region of credibility c exactly when
the posterior puts less than c on densities above q(theta* | x). Over all pairs, the region of
credibility c should hold theta* in a fraction c of the cases. Hermans et al. 2022, "A trust crisis
in simulation-based inference?", TMLR, arXiv:2110.06581.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed
from mlsbi._random import derive_seed, make_generator
from mlsbi.metrics._draws import as_ranks, spread_ranks

__all__ = ["Coverage", "PosteriorLike", "coverage_of_ranks", "expected_coverage", "hpd_ranks"]

_ROWS_AT_ONCE = 50_000


class PosteriorLike(Protocol):
    """What `expected_coverage` needs of a fit; `mlsbi.fit_posterior` returns one.

    A fit may also have `sample_batched(n, x=(b, *event), seed=) -> (n, b, d)`, which is then used.
    """

    def sample(self, n: int, /, *, x: Any, seed: int) -> Tensor:
        """Draws from q(theta | x) for one x of shape `(*event,)`, shape `(n, d)`."""

    def log_prob(self, theta: Any, x: Any, /) -> Tensor:
        """Log density q(theta_i | x_i), theta `(n, d)`, x `(n, *event)`, shape `(n,)`."""


@dataclass(frozen=True)
class Coverage:
    """Empirical against nominal coverage of highest-density regions.

    Attributes:
        levels: Nominal credibilities, shape `(k,)`.
        empirical: Fraction of pairs whose true parameters lie in the region, shape `(k,)`.
        ranks: Smallest credibility whose region holds the true parameters, shape `(n,)`; uniform on
            (0, 1) where the posterior is calibrated.
    """

    levels: Tensor
    empirical: Tensor
    ranks: Tensor = field(repr=False)

    @property
    def error(self) -> float:
        """Mean absolute deviation of the curve from the diagonal, over the levels."""
        return float((self.empirical - self.levels).abs().mean())

    @property
    def bias(self) -> float:
        """Mean signed deviation: positive is too wide (conservative), negative over-confident."""
        return float((self.empirical - self.levels).mean())

    @property
    def standard_error(self) -> Tensor:
        """Binomial standard error of each point of a calibrated curve, shape `(k,)`."""
        return (self.levels * (1 - self.levels) / len(self.ranks)).sqrt()

    def to_dict(self) -> dict[str, float]:
        """The figures under the keys that `Task.score` uses."""
        return {"coverage_error": self.error, "coverage_bias": self.bias}


def hpd_ranks(log_prob: Any, log_prob_samples: Any, *, seed: int) -> Tensor:
    """Credibility of the smallest highest-density region that holds each true parameter.

    It is the rank of log q(theta* | x) among the log densities of posterior draws. The rank is
    spread evenly over its step (and over ties), so that it is uniform on (0, 1), not on a lattice,
    where the posterior is calibrated.

    Args:
        log_prob: log q(theta_i* | x_i), shape `(n,)`.
        log_prob_samples: log q of draws from q(theta | x_i), shape `(num_samples, n)`.
        seed: Seed of the spreading.

    Returns:
        Ranks, shape `(n,)`, float64, in (0, 1).

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the shapes do not agree or a value is NaN.
    """
    true = as_tensor(log_prob, name="log_prob", ndim=1, dtype=torch.float64, finite=False)
    draws = as_tensor(
        log_prob_samples, name="log_prob_samples", ndim=2, dtype=torch.float64, finite=False
    )
    true, draws = true.detach().cpu(), draws.detach().cpu()
    if draws.shape[1] != len(true) or len(draws) == 0:
        raise ValueError(
            f"log_prob_samples must have shape (num_samples, {len(true)}) with {len(true)} from "
            f"log_prob; got {tuple(draws.shape)}."
        )
    if bool(true.isnan().any()) or bool(draws.isnan().any()):
        raise ValueError(
            "log_prob and log_prob_samples must not hold NaN. Look at the fit's status: a density "
            "that is not a number usually comes from a training that diverged."
        )
    generator = make_generator(check_seed(seed), "coverage", "ties")
    return spread_ranks(-true, -draws, generator)  # the more dense, the smaller the region


def coverage_of_ranks(ranks: Any, *, num_levels: int = 19) -> Coverage:
    """The coverage curve of ranks, at even credibilities strictly between 0 and 1.

    Args:
        ranks: What `hpd_ranks` returns, shape `(n,)`.
        num_levels: Number of credibilities k: 1 / (k + 1), ..., k / (k + 1).

    Returns:
        The curve.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If `ranks` is empty or leaves `[0, 1]`.
    """
    values = as_ranks(ranks, ndim=1)
    num_levels = check_count(num_levels, name="num_levels")
    levels = torch.arange(1, num_levels + 1, dtype=torch.float64) / (num_levels + 1)
    empirical = (values[:, None] <= levels).double().mean(0)
    return Coverage(levels=levels, empirical=empirical, ranks=values)


def expected_coverage(
    fit: PosteriorLike, theta: Any, x: Any, *, num_samples: int = 200, seed: int
) -> Coverage:
    """Expected coverage of a posterior fit on held-out pairs of the highest level.

    Args:
        fit: A posterior fit.
        theta: True parameters, shape `(n, d)`.
        x: Their observations, shape `(n, *event)`.
        num_samples: Posterior draws a pair.
        seed: Seed of the draws; the same seed gives the same result.

    Returns:
        The curve at the credibilities 0.05, 0.1, ..., 0.95, its mean absolute deviation (`error`)
        and mean signed deviation (`bias`, positive = too wide).

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If theta and x differ in their number of rows, or are empty.
    """
    draws = hasattr(fit, "sample") or hasattr(fit, "sample_batched")
    if not (hasattr(fit, "log_prob") and draws):
        raise TypeError(
            f"fit must be a posterior fit; got {type(fit).__name__}. Pass what "
            "mlsbi.fit_posterior returns, or an object with its log_prob and sample."
        )
    true = as_tensor(theta, name="theta", ndim=2)
    observed = as_tensor(x, name="x", finite=False)
    num_samples = check_count(num_samples, name="num_samples")
    seed = check_seed(seed)
    if observed.ndim == 0 or len(observed) != len(true) or len(true) == 0:
        raise ValueError(
            f"x must have shape (n, *event) with n = {len(true)} >= 1 (from theta); "
            f"got {tuple(observed.shape)}."
        )
    rows = max(1, _ROWS_AT_ONCE // num_samples)
    blocks = math.ceil(len(true) / rows)
    ranks = [
        _block_ranks(fit, t, o, num_samples=num_samples, seed=derive_seed(seed, "coverage", i))
        for i, (t, o) in enumerate(zip(true.chunk(blocks), observed.chunk(blocks), strict=True))
    ]
    return coverage_of_ranks(torch.cat(ranks))


def _block_ranks(
    fit: PosteriorLike, theta: Tensor, x: Tensor, *, num_samples: int, seed: int
) -> Tensor:
    draws = _draws(fit, x, num_samples=num_samples, seed=seed)
    flat_x = x.repeat(num_samples, *[1] * (x.ndim - 1))
    log_prob_draws = fit.log_prob(draws.reshape(-1, draws.shape[-1]), flat_x)
    return hpd_ranks(fit.log_prob(theta, x), log_prob_draws.reshape(num_samples, -1), seed=seed)


def _draws(fit: PosteriorLike, x: Tensor, *, num_samples: int, seed: int) -> Tensor:
    """Posterior draws for every row of x, shape `(num_samples, b, d)`."""
    batched = getattr(fit, "sample_batched", None)
    if batched is not None:
        together: Tensor = batched(num_samples, x=x, seed=seed)
        return together
    draws = [fit.sample(num_samples, x=o, seed=derive_seed(seed, i)) for i, o in enumerate(x)]
    return torch.stack(draws, dim=1)
