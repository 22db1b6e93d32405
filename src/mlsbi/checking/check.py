"""`mlsbi.check`: can a fit be believed? On runs of their own, or by cross-fitting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import check_count, check_type
from mlsbi._random import derive_seed
from mlsbi._workers import check_executor
from mlsbi.checking.arguments import (
    Asked,
    as_asked,
    as_rival_fit,
    as_rival_strategy,
    as_test_runs,
)
from mlsbi.checking.comparison import Comparison, compare
from mlsbi.checking.crossfitting import CrossFitted, Plan, crossfit_scores
from mlsbi.checking.figures import figures
from mlsbi.checking.finding import Finding, sorted_findings
from mlsbi.checking.local import FEWEST, MOST, about_local, draws_at, local_test
from mlsbi.checking.notices import (
    about_calibration,
    about_comparison,
    about_data,
    about_fit,
    about_folds,
    about_scores,
    about_test_runs,
)
from mlsbi.checking.observation import ObservationCheck, check_observation
from mlsbi.checking.refit import calibrated_like, check_data_of, recipe_of
from mlsbi.checking.result import CROSS_FITTED, HELD_OUT, Check
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.scores import score_runs
from mlsbi.data import MultilevelData
from mlsbi.metrics.lc2st import LocalTest
from mlsbi.results import LikelihoodFit, PosteriorFit

__all__ = ["check"]

_Fit = PosteriorFit | LikelihoodFit


def check(
    fit: PosteriorFit | LikelihoodFit,
    data_or_theta: Any,
    x_test: Any = None,
    *,
    data: MultilevelData | None = None,
    x_o: Any = None,
    against: Any = "auto",
    folds: int = 5,
    labels: Sequence[str] | None = None,
    num_draws: int = 500,
    seed: int = 0,
    executor: Any = None,
    progress: bool = False,
) -> Check:
    """Check whether a fit can be believed.

    `check(fit, theta_test, x_test)` judges the fit on runs of level L that it has not seen.
    `check(fit, data)` needs no spare runs: the pairs of level L are dealt to folds (those of one
    theta together), the fit is made again without each fold, as it was asked for, and every run is
    judged by the fit that has not seen it. Those fits learn from `(folds - 1) / folds` of the
    expensive runs, so they are a little worse than the fit itself.

    Args:
        fit: What `mlsbi.fit_posterior` or `mlsbi.fit_likelihood` returned.
        data_or_theta: The runs that the fit was made from, `MultilevelData`; or parameters of runs
            that it has not seen, shape `(n, d)`.
        x_test: In the latter case, their outputs at level L, shape `(n, *event)`.
        data: With `x_test`: the runs that the fit was made from, to see whether its levels are
            labelled right, and whether the test runs are of level L and new.
        x_o: An observation to look at too, shape `(*event,)`: by `mlsbi.check_observation`, and,
            from 20 runs on, by a two-sample test of the posterior there.
        against: Whom to compare with on the same runs: with `x_test` another fit; in cross-fitting
            a strategy, fitted to the same folds. "auto": in cross-fitting `SingleLevel()`, where
            the fit has more levels than one. None or False: nobody.
        folds: Number of folds in cross-fitting; fewer where level L has fewer thetas.
        labels: Names of the parameters; None: theta_1, theta_2, ...
        num_draws: Posterior draws a run, at least 20.
        seed: Deals the folds, and gives fits and draws; the same seed gives the same check.
        executor: Who makes the fits of the folds: None, this process; a number of processes, among
            which PyTorch's threads are shared out; `mlsbi.LocalProcesses`; an executor as of
            `concurrent.futures`; or a Dask client. The check is the same for any number of
            workers, bit for bit, where PyTorch's arithmetic is the same for any number of threads.
        progress: Say on standard error what cross-fitting will take, and show a progress bar.

    Returns:
        The check: print it, or look at `check.ok`, `check.verdicts`, `check.findings`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value: runs of another problem, too few, not finite or
            outside the prior; the fit does not know how it can be made again.
        RuntimeError: The fit failed in every fold. Where it failed in some, their runs are left
            out, and `check.findings` says so.
    """
    began = time.perf_counter()
    executor = check_executor(executor)
    asked = as_asked(fit, labels=labels, num_draws=num_draws, seed=seed, x_o=x_o)
    if isinstance(data_or_theta, MultilevelData) and x_test is None:
        if data is not None:
            raise ValueError(
                "data must be left out in cross-fitting, where it is the second argument; got it "
                "twice. Call mlsbi.check(fit, data)."
            )
        work = _Folds(folds, against, executor, progress)
        observation = _observed(asked, data_or_theta)  # first: it is quick
        judged = _crossfitted(asked, data_or_theta, work)
    else:
        observation = _observed(asked, data)
        judged = _held_out(asked, data_or_theta, x_test, data, against)
    return _finished(asked, judged, observation, began)


@dataclass(frozen=True)
class _Folds:
    """What cross-fitting needs."""

    folds: int
    against: Any
    executor: Any
    progress: bool


@dataclass(frozen=True, eq=False)
class _Judged:
    """Scores, and what was seen on the way."""

    source: str
    level: int
    scores: RunScores
    rows: Tensor
    findings: list[Finding]
    fold: Tensor | None = None
    coarse: RunScores | None = None
    cheap: RunScores | None = None
    comparison: Comparison | None = None
    local: LocalTest | None = None


def _held_out(
    asked: Asked, theta: Any, x: Any, data: MultilevelData | None, against: Any
) -> _Judged:
    """Judge the fit itself."""
    fit = asked.fit
    true, observed = as_test_runs(fit, theta, x)
    rival = as_rival_fit(fit, against)
    findings = about_fit(fit)
    if data is not None:
        check_data_of(fit, data, levels=len(fit.n))
        findings += about_data(fit, data, seed=asked.seed)
        findings += about_test_runs(data, true, observed, seed=asked.seed)
    seed = derive_seed(asked.seed, "check", "scores")
    scores = score_runs(fit, true, observed, num_draws=asked.num_draws, seed=seed)
    rows, comparison = torch.arange(len(true)), None
    if rival is not None:
        theirs = score_runs(rival, true, observed, num_draws=asked.num_draws, seed=seed)
        comparison = compare(
            f"{type(rival.strategy).__name__} (the other fit)",
            scores.posterior_log_prob,
            theirs.posterior_log_prob,
            own_rows=rows,
            other_rows=rows,
        )
    local = None
    if asked.x_o is not None and len(true) >= FEWEST:
        draws = draws_at(fit, observed[:MOST], seed=seed)
        local = local_test(fit, asked.x_o, true[:MOST], draws, seed=asked.seed)
    return _Judged(
        HELD_OUT,
        len(fit.n) - 1,
        scores,
        rows,
        findings,
        comparison=comparison,
        local=local,
    )


def _crossfitted(asked: Asked, data: MultilevelData, work: _Folds) -> _Judged:
    """Judge fits to all but a fold."""
    fit = asked.fit
    check_data_of(fit, data, levels=len(fit.n))
    check_type(work.progress, bool, name="progress", remedy="Pass True or False.")
    rival = as_rival_strategy(fit, work.against)
    plan = Plan(
        recipe=recipe_of(fit),
        device=str(fit.device),
        folds=check_count(work.folds, name="folds", minimum=2),
        num_draws=asked.num_draws,
        seed=asked.seed,
        local=asked.x_o is not None,
        adapt=None if fit.calibration is None else partial(calibrated_like, fit.calibration),
        seconds=fit.seconds,
    )
    found, theirs = crossfit_scores(
        data, plan, rival=rival, executor=work.executor, progress=work.progress
    )
    findings = about_fit(fit) + about_calibration(fit) + about_folds(found)
    findings += about_data(fit, data, seed=asked.seed)
    comparison = None
    if isinstance(theirs, CrossFitted):
        comparison = compare(
            f"{type(rival).__name__} on the same folds",
            found.fine.posterior_log_prob,
            theirs.fine.posterior_log_prob,
            own_rows=found.rows,
            other_rows=theirs.rows,
        )
    findings += about_comparison(comparison, theirs)
    local = None
    if found.draws is not None and asked.x_o is not None:
        theta = data.theta(data.num_levels - 1)[found.rows]
        local = local_test(fit, asked.x_o, theta, found.draws, seed=asked.seed)
    return _Judged(
        CROSS_FITTED,
        data.num_levels - 1,
        found.fine,
        found.rows,
        findings,
        fold=found.fold,
        coarse=found.coarse,
        cheap=found.cheap,
        comparison=comparison,
        local=local,
    )


def _finished(
    asked: Asked, judged: _Judged, observation: ObservationCheck | None, began: float
) -> Check:
    fit = asked.fit
    likelihood = isinstance(fit, LikelihoodFit)
    made = figures(
        judged.scores,
        asked.labels,
        num_draws=asked.num_draws,
        likelihood=likelihood,
        coarse=judged.coarse,
        cheap=judged.cheap,
    )
    return Check(
        kind="likelihood" if likelihood else "posterior",
        source=judged.source,
        strategy=type(fit.strategy).__name__,
        level=judged.level,
        labels=asked.labels,
        scores=judged.scores,
        fold=judged.fold,
        rows=judged.rows,
        comparison=judged.comparison,
        findings=sorted_findings(
            judged.findings
            + about_scores(judged.scores, num_draws=asked.num_draws)
            + about_local(judged.local)
        ),
        observation=observation,
        local=judged.local,
        seed=asked.seed,
        seconds=time.perf_counter() - began,
        **made,
    )


def _observed(asked: Asked, data: MultilevelData | None) -> ObservationCheck | None:
    if asked.x_o is None:
        return None
    return check_observation(
        asked.fit,
        asked.x_o,
        data=data,
        num_draws=asked.num_draws,
        labels=asked.labels,
        seed=asked.seed,
    )
