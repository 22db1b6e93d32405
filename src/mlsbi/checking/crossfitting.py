"""Every expensive run scored by a fit that has not seen it; `mlsbi.check(fit, data)`.

Level L's runs are dealt to K folds, the fit is made K times, each time without a fold, and scores
that fold: log density, ranks and all. Beside them, for a multilevel estimate of coverage, each fit
scores the coarse halves of the fold's pairs, as if they were runs of level L, and runs of level
L-1 that it has not seen either. A fold is one job; jobs run side by side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlsbi._folds import Folds, deal
from mlsbi._progress import note, progress_bar
from mlsbi._random import derive_seed
from mlsbi._span import span
from mlsbi._workers import each, slots_of
from mlsbi.checking.local import draws_at
from mlsbi.checking.refit import make
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.scores import score_runs
from mlsbi.data import MultilevelData
from mlsbi.history import Status
from mlsbi.recipe import Recipe
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.strategies import SingleLevel, Strategy

__all__ = ["CrossFitted", "Plan", "crossfit_scores"]

_LOGGER = logging.getLogger("mlsbi")
_SPARE = 100  # runs of level L-1 that a fold holds out at most, and no more than a tenth
_SPARE_DRAWS = 200  # at most, of each of them: only one rank is wanted
_FEWEST_DRAWS = 20  # that `score_runs` makes; a posterior's density needs none
_ENOUGH = 4  # times as many runs of level L-1 as of level L: with fewer, sparing some gains nothing

Adapt = Callable[[PosteriorFit | LikelihoodFit], PosteriorFit | LikelihoodFit]
"""What is done to the fit of a fold before it scores, such as its calibration."""


@dataclass(frozen=True)
class Plan:
    """How to cross-fit.

    Attributes:
        recipe: How the fit is made.
        device: Where.
        folds: Number of folds.
        num_draws: Posterior draws a run.
        seed: Of everything.
        local: Whether draws are kept for a test at one observation.
        adapt: Done to every fit; None: nothing.
        seconds: What a fit takes, where that is known.
    """

    recipe: Recipe
    device: str
    folds: int
    num_draws: int
    seed: int
    local: bool = False
    adapt: Adapt | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Scores of runs by fits that have not seen them.

    Attributes:
        fine: Of level L's runs, in the order of the data; those of folds that failed left out.
        coarse: Of the coarse halves of the same pairs; None where there are none of x's shape.
        cheap: Of the spare runs of level L-1; None likewise.
        fold: The fold of each run of level L that was scored, `(n,)`.
        rows: Its row, `(n,)`.
        draws: Posterior draws at each run, `(200, n, d)`, where the plan wanted some.
        statuses: How each fold's training ended.
        failures: What went wrong, by fold.
    """

    fine: RunScores
    coarse: RunScores | None
    cheap: RunScores | None
    fold: Tensor
    rows: Tensor
    draws: Tensor | None
    statuses: Mapping[int, Status]
    failures: Mapping[int, Exception]


@dataclass(frozen=True, eq=False)
class _Job:
    """One fold of one strategy."""

    plan: Plan
    data: MultilevelData
    folds: Folds
    k: int
    pairs: bool  # whether coarse halves, and spare runs, are scored, too


@dataclass(frozen=True, eq=False)
class _Outcome:
    fine: RunScores
    coarse: RunScores | None
    cheap: RunScores | None
    draws: Tensor | None
    status: Status


def crossfit_scores(
    data: MultilevelData,
    plan: Plan,
    *,
    rival: Strategy | None,
    executor: Any,
    progress: bool,
) -> tuple[CrossFitted, CrossFitted | Exception | None]:
    """Score every run of level L by fits of a recipe, and by those of a rival strategy.

    Args:
        data: Runs of all levels.
        plan: How.
        rival: Fitted to the same folds, and scored on the same runs; None: nobody.
        executor: As `check_executor` returned it.
        progress: Say what it will take, and show a progress bar, on standard error.

    Returns:
        The scores, and the rival's, or what went wrong in all of its folds.

    Raises:
        ValueError: Level L has fewer than 2 thetas.
        RuntimeError: Every fold failed.
    """
    pairs = _has_pairs(data)
    folds = deal(data, plan.folds, seed=plan.seed, spare=_spare(data, plan.folds) if pairs else 0)
    jobs = [_Job(plan, data, folds, k, pairs) for k in range(folds.count)]
    if rival is not None:
        jobs += _rivals(jobs, rival)
    slots = slots_of(executor, len(jobs))
    _announce(_estimate(folds.count, rival, plan.seconds, slots), show=progress)
    with progress_bar("cross-fitting", len(jobs), enabled=progress) as update:
        found = each(_score_fold, jobs, executor=executor, done=lambda count: update(count, ""))
    own, others = found[: folds.count], found[folds.count :]
    scored = _collected(folds, own)
    if scored is None:
        raise RuntimeError(
            f"each of the {folds.count} folds failed; the first with {type(own[0]).__name__}: "
            f"{own[0]}"
        ) from own[0]
    return scored, (_collected(folds, others) or others[0]) if others else None


def _has_pairs(data: MultilevelData) -> bool:
    """Whether coarse halves look like runs of level L, so that a fit can score them."""
    top = data.num_levels - 1
    return top > 0 and data.event_shape(top) == data.event_shape(top - 1)


def _spare(data: MultilevelData, folds: int) -> int:
    """Runs of level L-1 that a fold holds out for their own sake."""
    below, own = data.n[-2], data.n[-1]
    return 0 if below < _ENOUGH * own else min(below // max(folds, 10), _SPARE)


def _rivals(jobs: Sequence[_Job], rival: Strategy) -> list[_Job]:
    """The same folds by another strategy; level L's runs alone where it uses no others."""
    made = []
    for job in jobs:
        plan = replace(job.plan, recipe=replace(job.plan.recipe, strategy=rival))
        draws = _FEWEST_DRAWS if plan.recipe.kind == "posterior" else plan.num_draws
        plan = replace(plan, adapt=None, local=False, num_draws=draws)
        data, folds = job.data, job.folds
        if rival == SingleLevel(training=rival.training):
            data, folds = data.top(), Folds(folds.of_level[-1:], folds.spare)
        made.append(_Job(plan, data, folds, job.k, pairs=False))
    return made


def _score_fold(job: _Job) -> _Outcome:
    """Make the fit without a fold, and score the fold."""
    plan, data, k = job.plan, job.data, job.k
    top = data.num_levels - 1
    fit = make(
        plan.recipe,
        job.folds.without(data, k),
        seed=derive_seed(plan.seed, "check", "fit", k),
        device=plan.device,
    )
    if plan.adapt is not None:
        fit = plan.adapt(fit)

    def score(theta: Tensor, x: Tensor, name: str, most: int = plan.num_draws) -> RunScores:
        seed = derive_seed(plan.seed, "check", name, k)
        return score_runs(fit, theta, x, num_draws=min(plan.num_draws, most), seed=seed)

    rows, spare = job.folds.rows(k), job.folds.spare_rows(k)
    theta = data.theta(top)[rows]
    coarse = cheap = None
    if job.pairs:  # the same draws for both halves of a pair: their scores differ the less
        coarse = score(theta, data.x_coarse(top)[rows], "runs")
        if len(spare):
            below = data.theta(top - 1)[spare], data.x(top - 1)[spare]
            cheap = score(*below, "spare", _SPARE_DRAWS)
    x = data.x(top)[rows]
    seed = derive_seed(plan.seed, "check", "draws", k)
    draws = draws_at(fit, x, seed=seed) if plan.local else None
    return _Outcome(score(theta, x, "runs"), coarse, cheap, draws, fit.status)


def _collected(folds: Folds, found: Sequence[_Outcome | Exception]) -> CrossFitted | None:
    """All folds together; None where every one failed."""
    failures = {k: one for k, one in enumerate(found) if isinstance(one, Exception)}
    good = {k: one for k, one in enumerate(found) if isinstance(one, _Outcome)}
    if not good:
        return None
    rows = torch.cat([folds.rows(k) for k in good])
    order = rows.argsort().argsort()
    cheap = [one.cheap for one in good.values() if one.cheap is not None]
    halves = [one.coarse for one in good.values() if one.coarse is not None]
    draws = [one.draws for one in good.values() if one.draws is not None]
    kept, places = rows.sort()
    return CrossFitted(
        fine=RunScores.concatenate([one.fine for one in good.values()], order),
        coarse=RunScores.concatenate(halves, order) if halves else None,
        cheap=RunScores.concatenate(cheap) if cheap else None,
        fold=folds.of_level[-1][kept],
        rows=kept,
        draws=torch.cat(draws, 1)[:, places] if draws else None,
        statuses={k: one.status for k, one in good.items()},
        failures=failures,
    )


def _estimate(count: int, rival: Strategy | None, seconds: float | None, slots: int | None) -> str:
    """What it will take, in words: "5 + 5 fits of about 12 s on 2 processes: about 1 min"."""
    fits = f"{count} fits" if rival is None else f"{count} + {count} fits"
    if seconds is None:
        return f"{fits} to make"
    number = count if rival is None else 2 * count
    if slots is None:
        return f"{fits} of at most about {span(seconds)}"
    where = "one after another" if slots == 1 else f"{slots} at a time"
    rounds = -(-number // slots)
    return (
        f"{fits} of at most about {span(seconds)}, {where}: at most about {span(rounds * seconds)}"
    )


def _announce(text: str, *, show: bool) -> None:
    _LOGGER.info("check: %s", text)
    note(f"check: {text}", enabled=show)
