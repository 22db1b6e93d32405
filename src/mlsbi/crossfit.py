"""Cross-fitting: every expensive run is scored once, by a fit that has not seen it.

Expensive runs are too few to set some aside. So the pairs of level L are dealt to K folds, the fit
is made K times, each time without one fold, and each fit scores the fold it was made without:

    log_prob[i] = log q_(-k(i)) of run i,    k(i) the fold of run i.

`mlsbi.check(fit, data)` does this for a fit as it was asked for, with ranks, verdicts and all; here
one says what a fit is, and gets the two scores that any fit has.

It judges fits to (K - 1) / K of level L's runs, so it is a little hard on the fit to all of them.
Runs of one theta are held out together, and with them what other levels ran at that theta: a pilot
has both, and a fit that has seen them would be scored on what it remembers.
Stone 1974, "Cross-validatory choice and assessment of statistical predictions", J. R. Stat. Soc. B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from mlsbi._checks import check_count, check_seed, check_type
from mlsbi._folds import Folds, deal
from mlsbi._progress import progress_bar
from mlsbi._random import derive_seed
from mlsbi.data import MultilevelData
from mlsbi.metrics import NLPD, Coverage, coverage_of_ranks, expected_coverage, nlpd
from mlsbi.metrics.coverage import PosteriorLike
from mlsbi.results import LikelihoodFit

__all__ = ["CrossFit", "crossfit"]

_ROWS_AT_ONCE = 4096


class Scored(Protocol):
    """What `crossfit` needs of a fit; `fit_posterior` and `fit_likelihood` return one."""

    def log_prob(self, theta: Any, x: Any, /) -> Tensor:
        """Log density of each pair, theta `(n, d)`, x `(n, *event)`, shape `(n,)`."""


Refit = Callable[[MultilevelData, int], Scored]
"""Makes the fit of a fold from the data without it."""


@dataclass(frozen=True, eq=False)
class CrossFit:
    """How good a fit is on runs of level L that it has not seen.

    Attributes:
        log_prob: Log density of each run of level L under the fit of its fold, `(n_L,)`, float64,
            rows in the order of the data: log q(theta | x) of a posterior fit, log q(x | theta) of
            a likelihood fit (of summaries where it models those, in the units of its fold).
        fold: The fold that each run was in, int64 `(n_L,)`.
        coverage: Of the posteriors' credible regions, all folds pooled; None of likelihood fits.
    """

    log_prob: Tensor
    fold: Tensor
    coverage: Coverage | None

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def nlpd(self) -> NLPD:
        """Mean, median, 90 % quantile and standard error of `-log_prob`.

        Raises:
            ValueError: A density is not a number: a fit diverged.
        """
        return nlpd(self.log_prob)

    def to_dict(self) -> dict[str, Any]:
        """The figures in JSON types: sizes, those of `nlpd`, and those of `coverage`."""
        sizes = {"folds": self.folds, "n": len(self.log_prob)}
        coverage = {} if self.coverage is None else self.coverage.to_dict()
        return sizes | self.nlpd.to_dict() | coverage

    def __str__(self) -> str:
        """The figures in a sentence or two."""
        score, n = self.nlpd, len(self.log_prob)
        text = (
            f"held-out NLPD {score.mean:.3f} +- {score.standard_error:.3f} nats on {n} runs of "
            f"level L, each scored by a fit without it ({self.folds} folds)"
        )
        if self.coverage is None:
            return text
        bias, error = self.coverage.bias, (12 * n) ** -0.5  # of uniform ranks
        return (
            f"{text}; credible regions hold the truth {abs(bias):.1%} too "
            f"{'often' if bias > 0 else 'seldom'} on average (+- {error:.1%})"
        )


def crossfit(
    data: MultilevelData,
    refit: Refit,
    *,
    folds: int = 5,
    seed: int,
    progress: bool = False,
) -> CrossFit:
    """Score every run of level L by a fit that has not seen it.

    Args:
        data: Runs of all levels. Pairs of level L stay together, and so do runs of the same
            theta. The rows of all other levels are in every fit, but for those that have the very
            theta of a run held out.
        refit: `refit(data_without_fold, fold)` returns a fit of that data.
        folds: Number of folds, and of fits; fewer where level L has fewer thetas.
        seed: Deals rows to folds, and gives the draws that coverage needs. The fits' own seeds
            are `refit`'s business.
        progress: Show a progress bar on standard error.

    Returns:
        The scores.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `folds` or `seed` is out of range, or level L has fewer than 2 thetas.
    """
    check_type(data, MultilevelData, name="data", remedy="Use MultilevelData.from_arrays(...).")
    if not callable(refit):
        raise TypeError(
            f"refit must be callable; got {type(refit).__name__}. Pass a function refit(data, "
            "fold) that returns a fit, such as one that calls mlsbi.fit_posterior."
        )
    folds = check_count(folds, name="folds", minimum=2)
    seed = check_seed(seed)
    check_type(progress, bool, name="progress", remedy="Pass True or False.")
    dealt = deal(data, folds, seed=seed)
    log_prob, ranks = _scores(data, refit, dealt, seed=seed, progress=progress)
    return CrossFit(
        log_prob, dealt.of_level[-1], None if ranks is None else coverage_of_ranks(ranks)
    )


def _scores(
    data: MultilevelData, refit: Refit, dealt: Folds, *, seed: int, progress: bool
) -> tuple[Tensor, Tensor | None]:
    """Log density and, of posteriors, credibility rank of each row, by the fit of its fold."""
    top = data.num_levels - 1
    empty = torch.full((data.n[top],), torch.nan, dtype=torch.float64)
    log_prob, ranks, ranked = empty, empty.clone(), True
    with progress_bar("cross-fitting", dealt.count, enabled=progress) as update:
        for k in range(dealt.count):
            fit, out = refit(dealt.without(data, k), k), dealt.rows(k)
            theta, x = data.theta(top)[out], data.x(top)[out]
            log_prob[out] = _log_prob(fit, theta, x)
            ranked = ranked and not isinstance(fit, LikelihoodFit)
            if ranked:
                draws = derive_seed(seed, "crossfit", "coverage", k)
                ranks[out] = expected_coverage(cast(PosteriorLike, fit), theta, x, seed=draws).ranks
            update(k + 1, "")
    return log_prob, ranks if ranked else None


def _log_prob(fit: Scored, theta: Tensor, x: Tensor) -> Tensor:
    """Log densities `(n,)`, float64 on the CPU."""
    parts = zip(theta.split(_ROWS_AT_ONCE), x.split(_ROWS_AT_ONCE), strict=True)
    return torch.cat([fit.log_prob(t, o) for t, o in parts]).detach().double().cpu()
