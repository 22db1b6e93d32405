"""What a check saw beside its figures, as findings: of the fit, its data, its folds, the runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlsbi.checking.comparison import Comparison
from mlsbi.checking.crossfitting import CrossFitted
from mlsbi.checking.finding import Finding
from mlsbi.checking.labels import check_labels, check_level_of
from mlsbi.checking.run_scores import RunScores
from mlsbi.data import MultilevelData
from mlsbi.history import Status
from mlsbi.metrics import coverage_of_ranks, uniformity_tests
from mlsbi.results import Fit
from mlsbi.strategies import SingleLevel

__all__ = [
    "about_calibration",
    "about_comparison",
    "about_data",
    "about_fit",
    "about_folds",
    "about_scores",
    "about_test_runs",
]

_DRAWS = 50  # independent draws that a run's scores should rest on
_RARE, _WIDE_OF_IT = 1e-3, 0.1  # p-value, and mean deviation of a coverage curve, worth a warning


def about_fit(fit: Fit) -> list[Finding]:
    """How its training ended."""
    if not fit.status.ok:
        return [
            Finding(
                "training-failed",
                "warning",
                f"the fit's training {fit.status.value}",
                "Train again as it says, then check again.",
            )
        ]
    if fit.status is Status.MAX_STEPS:
        return [Finding("training-cut-short", "note", f"the fit's training {fit.status.value}")]
    return []


def about_calibration(fit: Fit) -> list[Finding]:
    """A factor that may have been found from the runs that it is judged on."""
    if fit.calibration is None:
        return []
    return [
        Finding(
            "calibrated",
            "note",
            f"the fit was {fit.calibration}; so were those of the folds. If the factor was found "
            "from these runs, what is said is a little flattering",
            "",
            {"factor": fit.calibration.factor},
        )
    ]


def about_folds(found: CrossFitted) -> list[Finding]:
    """Folds that failed, or whose training did."""
    findings = [
        Finding(
            "fold-failed",
            "warning",
            f"fold {k} could not be fitted ({type(error).__name__}: {error}); its runs are left "
            "out",
            "Look at its error; fewer folds leave more runs to fit.",
            {"fold": float(k)},
        )
        for k, error in found.failures.items()
    ]
    bad = [k for k, status in found.statuses.items() if not status.ok]
    if bad:
        findings.append(
            Finding(
                "folds-diverged",
                "warning",
                f"in {len(bad)} of {len(found.statuses)} folds the training gave up on losses that "
                "are not finite",
                "Lower Training(learning_rate=...), or look for extreme values in the data.",
                {"folds": float(len(bad))},
            )
        )
    return findings


def about_data(fit: Fit, data: MultilevelData, *, seed: int) -> list[Finding]:
    """Levels that look as if they were labelled wrong, and data that the fit is not of."""
    findings = list(check_labels(data, seed=seed))
    if data.n != fit.n:
        findings.append(
            Finding(
                "other-runs",
                "note",
                f"the fit was made from {fit.n} runs of its levels, and these are {data.n}: what "
                "is said is of a fit to these",
                "",
            )
        )
    return findings


def about_test_runs(data: MultilevelData, theta: Tensor, x: Tensor, *, seed: int) -> list[Finding]:
    """Test runs that the fit has seen, or that look like another level's."""
    top = data.num_levels - 1
    seen = _seen(data.theta(top), data.x(top), theta, x)
    findings = []
    if seen:
        findings.append(
            Finding(
                "test-runs-seen",
                "warning",
                f"{seen} of {len(theta)} test runs are among those that the fit was made from, "
                "which flatters it",
                "Pass runs that it has not seen, or cross-fit: mlsbi.check(fit, data).",
                {"runs": float(seen)},
            )
        )
    return findings + list(check_level_of(data, theta, x, seed=seed))


def _seen(theta: Tensor, x: Tensor, theta_test: Tensor, x_test: Tensor) -> int:
    """How many of the test runs are among the others, bit for bit."""

    def keys(t: Tensor, o: Tensor) -> list[bytes]:
        return [row.tobytes() for row in np.concatenate([t.numpy(), o.flatten(1).numpy()], 1)]

    known = set(keys(theta, x))
    return sum(key in known for key in keys(theta_test, x_test))


def about_scores(scores: RunScores, *, num_draws: int) -> list[Finding]:
    """Runs where the fit puts no density at all, and a likelihood whose width is wrong."""
    findings = []
    none = int(torch.isneginf(scores.posterior_log_prob).sum())
    if none:
        findings.append(
            Finding(
                "no-density",
                "warning",
                f"the fit gives the true parameters of {none} of {len(scores)} runs no density at "
                "all; the mean NLPD is infinite, look at the median",
                "Widen the fit (more members, more runs), or look for extreme values in x.",
                {"runs": float(none)},
            )
        )
    least, effective = min(_DRAWS, num_draws / 2), scores.effective
    weak = 0 if effective is None else int((effective < least).sum())
    if weak:
        findings.append(
            Finding(
                "few-draws",
                "note",
                f"the posterior draws of {weak} of {len(scores)} runs are worth fewer than "
                f"{least:.0f}: their scores are rough",
                "Pass a larger num_draws.",
                {"runs": float(weak)},
            )
        )
    if scores.predictive_hpd is not None:
        findings += _about_likelihood(scores.predictive_hpd)
    return findings


def _about_likelihood(ranks: Tensor) -> list[Finding]:
    """Verdicts are of the posterior, which the prior may hold together; this is of q(x | theta)."""
    p, curve = float(uniformity_tests(ranks)), coverage_of_ranks(ranks)
    if p >= _RARE or curve.error < _WIDE_OF_IT:
        return []
    often = "often" if curve.bias > 0 else "seldom"
    return [
        Finding(
            "likelihood-width",
            "warning",
            f"regions of q(x | theta) hold x {abs(curve.bias):.0%} too {often} on average (p = "
            f"{p:.1g}): the likelihood is too {'wide' if curve.bias > 0 else 'narrow'}",
            "Do not multiply many observations' likelihoods before this is mended: more runs of "
            "level L, more members, another estimator.",
            {"bias": curve.bias, "error": curve.error, "p": p},
        )
    ]


def about_comparison(comparison: Comparison | None, other: Any) -> list[Finding]:
    """A rival that is better, or that could not be fitted."""
    if isinstance(other, Exception):
        return [
            Finding(
                "comparison-failed",
                "note",
                f"the fit to compare with failed in every fold ({type(other).__name__}: {other})",
                "Pass another strategy as against, or against=None.",
            )
        ]
    if comparison is None or comparison.gain.high >= 0:
        return []
    alone = comparison.name.startswith(SingleLevel.__name__)
    remedy = "use strategy=mlsbi.SingleLevel(): the cheaper levels mislead this fit"
    return [
        Finding(
            "worse-than-rival",
            "warning",
            f"the fit is {comparison.text}",
            f"Look at the levels (mlsbi.pilot says how they differ), or {remedy}."
            if alone
            else "Use the other one.",
            {"gain": comparison.gain.value},
        )
    ]
