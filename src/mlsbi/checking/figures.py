"""From scores of runs to the figures of a check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mlsbi._table import Cell, Table
from mlsbi.checking.bands import coverage_band, mean_band
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.two_level import two_level_coverage
from mlsbi.checking.verdict import judge
from mlsbi.metrics import coverage_of_ranks, nlpd, uniformity_tests

__all__ = ["figures"]


def figures(
    scores: RunScores,
    labels: Sequence[str],
    *,
    num_draws: int,
    likelihood: bool,
    coarse: RunScores | None = None,
    cheap: RunScores | None = None,
) -> dict[str, Any]:
    """The fields of a `Check` that are functions of scores.

    Args:
        scores: Of runs of level L.
        labels: Names of the parameters.
        num_draws: Posterior draws a run that they were made with.
        likelihood: Whether the fit is of p(x | theta).
        coarse: Scores of the coarse halves of the same runs.
        cheap: Scores of runs of level L-1 of their own.

    Returns:
        The fields, by name.
    """
    coverage = coverage_of_ranks(scores.hpd)
    low, high = coverage_band(scores.hpd, coverage.levels)
    predictive = scores.predictive_hpd
    return {
        "nlpd": nlpd(scores.posterior_log_prob),
        "nlpd_band": mean_band(-scores.posterior_log_prob),
        "log_likelihood": nlpd(scores.log_prob) if likelihood else None,
        "coverage": coverage,
        "coverage_low": low,
        "coverage_high": high,
        "marginal_coverage": tuple(coverage_of_ranks(own) for own in scores.marginal_hpd.T),
        "predictive_coverage": None if predictive is None else coverage_of_ranks(predictive),
        "two_level": two_level_coverage(scores.hpd, coarse.hpd, cheap.hpd, levels=coverage.levels)
        if coarse is not None and cheap is not None
        else None,
        "tests": _tests(scores, labels),
        "verdicts": judge(scores, names=labels, num_draws=num_draws),
    }


def _tests(scores: RunScores, labels: Sequence[str]) -> Table:
    """p-values of uniform ranks."""
    ranks: list[tuple[str, str, Tensor]] = [
        (label, "SBC ranks", own) for label, own in zip(labels, scores.rank.T, strict=True)
    ]
    ranks.append(("joint", "highest-density regions", scores.hpd))
    ranks.append(("joint", "TARP", scores.tarp))
    if scores.predictive_hpd is not None:
        ranks.append(("x given theta", "highest-density regions", scores.predictive_hpd))
    p = [float(uniformity_tests(own)) for _, _, own in ranks]
    rows: list[dict[str, Cell]] = [
        {"of": of, "ranks": name, "p": value} for (of, name, _), value in zip(ranks, p, strict=True)
    ]
    note = (
        "Kolmogorov-Smirnov tests, one at a time: of many, one in twenty is below 0.05 by chance."
    )
    return Table("Are ranks uniform, as of a calibrated fit?", tuple(rows), (note,))
