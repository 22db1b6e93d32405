"""`mlsbi.calibrate`: a fit that is over-confident is widened, by what unseen runs say of it.

The density is stretched about its centre in the network's units, and not beyond the width of the
prior: the precision that the data bring is divided by the square of the factor
(`mlsbi.estimators.stretch`). It stays normalised, its draws are exact, and the prior's support is
kept. What that cannot do is to move a posterior that is in the wrong place.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from mlsbi._checks import check_fraction, check_option, check_seed, check_type
from mlsbi.calibration import Calibration
from mlsbi.checking.factors import METHODS, at_factor, factor_of, relative_factors
from mlsbi.checking.refit import calibrated_like
from mlsbi.checking.result import Check
from mlsbi.checking.run_scores import RunScores
from mlsbi.data import MultilevelData
from mlsbi.metrics import coverage_of_ranks
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

__all__ = ["Calibration", "calibrate"]

_FEWEST = 5
_PARTS = 5  # of held-out runs, where there are no folds
_LOWEST = -1e4  # log density of a run that has none
_Fit = TypeVar("_Fit", PosteriorFit, LikelihoodFit)


def calibrate(
    fit: _Fit,
    check: Check | MultilevelData,
    *,
    method: str = "score",
    credibility: float = 0.9,
    narrow: bool = False,
    per_parameter: bool = False,
    folds: int = 5,
    seed: int = 0,
    executor: Any = None,
    progress: bool = False,
) -> _Fit:
    """Widen a fit that is over-confident, by a factor found from runs that it has not seen.

    The fit itself is not changed, and neither are its status and history; the new one says in
    `calibration` what was done, also after saving and loading. A fit is calibrated once, from what
    it was when it was trained.

    In cross-fitting the factor is that of fits to a part of the expensive runs. They are a little
    more over-confident than the fit to all of them, and so the factor is a little too large: by 3
    to 8 % for transfer fits to 10 runs, and less with more.

    Args:
        fit: What `mlsbi.fit_posterior` or `mlsbi.fit_likelihood` returned.
        check: What `mlsbi.check` said of this fit, by cross-fitting or on held-out runs; or the
            runs that it was made from, `MultilevelData`, to be cross-fitted first.
        method: How the factor is found (`mlsbi.checking.factors`). "score": so that the runs' log
            density is high; "coverage": so that credible regions hold the truth as often as they
            say on average, which may cost a little of the former; "conformal": so that the region
            of one `credibility` does.
        credibility: Of that region.
        narrow: Also narrow a fit that is under-confident. Otherwise it is left as it is.
        per_parameter: Find a factor for each parameter of a posterior fit, where their SBC ranks
            differ.
        folds: Number of folds, where `check` is runs; and the next three: as of `mlsbi.check`.
        seed: Of the cross-fitting.
        executor: Who makes the fits of the folds.
        progress: Show a progress bar.

    Returns:
        A new fit that shares the networks of `fit`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The check is of another fit, or of fewer than 5 runs; the fit was calibrated
            before; the density has no centre about which it can be scaled; an option has a wrong
            value.
    """
    remedy = "Pass what mlsbi.fit_posterior or mlsbi.fit_likelihood returned."
    check_type(fit, (PosteriorFit, LikelihoodFit), name="fit", remedy=remedy)
    _check_options(method, credibility, narrow=narrow, per_parameter=per_parameter)
    seed = check_seed(seed)
    if fit.calibration is not None:
        raise ValueError(
            f"fit must be as it was trained; got one that was calibrated before "
            f"({fit.calibration!r}). Calibrate the fit that this one was made from."
        )
    if per_parameter and isinstance(fit, LikelihoodFit):
        raise ValueError(
            "per_parameter must be False for a likelihood fit, which is a density of x and not of "
            "the parameters; got True."
        )
    if isinstance(check, MultilevelData):
        from mlsbi.checking.check import check as checked

        options = {"folds": folds, "seed": seed, "executor": executor, "progress": progress}
        check = checked(fit, check, against=None, **options)
    runs = _runs_of(check, fit)
    found = _evidence(runs, check.fold, method=method, credibility=credibility, narrow=narrow)
    scale = torch.full((runs.dim,), found["found"], dtype=torch.float64)
    if per_parameter:
        scale = scale * relative_factors(runs.rank)
    if not narrow:
        scale = scale.clamp(min=1.0)
    record = Calibration(
        scale=tuple(scale.tolist()),
        method=method,
        runs=len(runs.log_prob),
        source=check.source,
        evidence=found,
        seed=seed,
    )
    return calibrated_like(record, fit)


def _check_options(method: str, credibility: float, *, narrow: bool, per_parameter: bool) -> None:
    check_option(method, name="method", allowed=METHODS)
    check_fraction(credibility, name="credibility")
    for name, value in (("narrow", narrow), ("per_parameter", per_parameter)):
        check_type(value, bool, name=name, remedy="Pass True or False.")


class _Runs(NamedTuple):
    """Scores of n runs under each of `FACTORS`, `(n, 33)`; SBC ranks; what it is a density of."""

    log_prob: Tensor
    hpd: Tensor
    rank: Tensor
    dim: int


def _runs_of(check: Any, fit: Fit) -> _Runs:
    """The scores of a check of this fit.

    Raises:
        TypeError: It is no check.
        ValueError: It is of something else, or of too few runs.
    """
    remedy = "Pass what mlsbi.check(fit, data) returned, or the data."
    check_type(check, Check, name="check", remedy=remedy)
    kind = "likelihood" if isinstance(fit, LikelihoodFit) else "posterior"
    own = (kind, type(fit.strategy).__name__, len(fit.n) - 1, fit.theta_dim)
    found = (check.kind, check.strategy, check.level, check.scores.theta_dim)
    if own != found:
        words = ("a {} fit by {}, levels 0 to {}, {} parameter(s)".format(*w) for w in (own, found))
        raise ValueError("check must be of this fit, {}; got one of {}. {}".format(*words, remedy))
    scores: RunScores = check.scores
    if len(scores) < _FEWEST:
        raise ValueError(
            f"check must be of at least {_FEWEST} runs to calibrate by; got {len(scores)}. Add "
            "runs of the highest level."
        )
    if scores.scaled_log_prob is None or scores.scaled_hpd is None:
        raise ValueError(
            "check has no scores under wider densities: the fit's density has no centre about "
            "which it could be scaled, or the check was saved by an older version. Use one of "
            "mlsbi's estimators, such as 'mdn', and check again."
        )
    log_prob = scores.scaled_log_prob.nan_to_num(nan=_LOWEST, neginf=_LOWEST).clamp(min=_LOWEST)
    return _Runs(log_prob, scores.scaled_hpd, scores.rank, len(fit.estimator.scale))


def _evidence(
    runs: _Runs, fold: Tensor | None, *, method: str, credibility: float, narrow: bool
) -> dict[str, float]:
    """The factor, and what it brings on runs that had no part in it.

    Raises:
        ValueError: By "conformal": too few runs, or too many far off.
    """
    n = len(runs.log_prob)

    def wanted(rows: Tensor) -> float:
        log_prob, hpd = runs.log_prob[rows], runs.hpd[rows]
        return factor_of(log_prob, hpd, runs.dim, method=method, credibility=credibility)

    found = wanted(torch.arange(n))
    part = torch.arange(n) % min(_PARTS, n) if fold is None else fold
    before, after = (torch.full((2, n), torch.nan, dtype=torch.float64) for _ in range(2))
    for k in part.unique():
        out = (part == k).nonzero().flatten()
        try:
            factor = wanted((part != k).nonzero().flatten())
        except ValueError:  # conformal, of just enough runs: the rest are too few
            return {"found": found}
        factor = factor if narrow else max(factor, 1.0)
        for scores, at in ((before, 1.0), (after, factor)):
            scores[0, out] = at_factor(runs.log_prob[out], at)
            scores[1, out] = at_factor(runs.hpd[out], at)
    gain = after[0] - before[0]
    return {
        "found": found,
        "nlpd_before": -float(before[0].mean()),
        "nlpd_after": -float(after[0].mean()),
        "gain": float(gain.mean()),
        "gain_error": float(gain.std()) / math.sqrt(n),
        "coverage_error_before": coverage_of_ranks(before[1]).error,
        "coverage_error_after": coverage_of_ranks(after[1]).error,
    }
