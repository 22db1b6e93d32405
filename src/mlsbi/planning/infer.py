"""Adaptive runs: pilot, plan, simulate, fit, look at all runs, plan anew; all within one budget.

An allocation is as good as what is known of the levels, and a few dozen pilot runs tell little. So
the budget is spent in R rounds. After round r the spend is

    pilot + (budget - pilot) 2^(r - R):

early rounds are cheap, and the last half is spent on the best knowledge. The first plan is made
from the pilot, each later one from all runs up to it, whose rows count in the plan, as adaptive
multilevel Monte Carlo does for means (Giles 2015, Multilevel Monte Carlo methods, Acta Numerica 24,
section 3). Each round ends with a fit, so that one sees what the money bought.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlsbi._checks import as_tensor, check_seed, check_type
from mlsbi._data_digest import runs_digest
from mlsbi._folders import as_folder
from mlsbi.crossfit import CrossFit
from mlsbi.data import MultilevelData
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.hierarchy import Hierarchy
from mlsbi.options import Training
from mlsbi.planning._infer_call import (
    Call,
    check_affordable,
    check_levels,
    check_minimum,
    check_observation,
    choose,
)
from mlsbi.planning._infer_journal import Entry, open_journal
from mlsbi.planning._infer_result import Inference, Round
from mlsbi.planning._infer_rounds import Rounds
from mlsbi.planning._infer_warnings import logged, of_pilot, of_result
from mlsbi.planning.pilot import Pilot
from mlsbi.planning.pilot import pilot as run_pilot
from mlsbi.strategies import Strategy

__all__ = ["Inference", "Round", "infer"]


def infer(
    hierarchy: Hierarchy,
    *,
    budget: float,
    seed: int,
    x_o: Any = None,
    store: str | os.PathLike[str] | None = None,
    kind: str = "posterior",
    strategy: Strategy | None = None,
    estimator: str | EstimatorSpec | Callable[..., Any] = "mdn",
    ensemble: int = 5,
    training: Training | None = None,
    pilot: int | Pilot = 64,
    levels: str | Sequence[int] = "auto",
    rounds: int = 3,
    folds: int = 5,
    minimum: int | Sequence[int] | None = None,
    executor: Any = None,
    on_failure: str = "drop",
    timeout: float | None = None,
    retries: int = 2,
    max_failed: float = 0.05,
    isolate: bool | None = None,
    progress: bool = False,
) -> Inference:
    """From simulators and a budget to a posterior: runs and fits in turn, each planned by the last.

    Args:
        hierarchy: The simulators, coarsest first, their prior and noise.
        budget: What may be spent, the pilot included, in the unit of the levels' costs; where a
            level has none, in seconds of simulator time. Runs that fail cost what others do. With
            given costs it is never exceeded, and what is left pays no row that is of use; measured
            ones hold as well as the time of the runs to come can be told from those that were.
        seed: The result depends on nothing else, but for costs that are measured.
        x_o: The observation, shape `(*event,)`, for `samples`; checked once the pilot shows what
            shape x has. For a likelihood also several, `(m, *event)`.
        store: A folder that keeps runs, plans and fits: the same call goes on where it was
            interrupted. With a larger budget, or more rounds, it goes on from there.
        kind: `"posterior"` or `"likelihood"`: what is fitted.
        strategy: How levels are combined; None for the library's default.
        estimator: As in `fit_posterior`.
        ensemble: As in `fit_posterior`.
        training: As in `fit_posterior`.
        pilot: Columns of the pilot, at least 8, or a pilot of this hierarchy that exists. Its rows
            are training data.
        levels: Which levels to use after the pilot, by their numbers, the finest among them;
            `"all"`, or `"auto"`: those that the pilot recommends (`pilot.choose_levels`).
        rounds: How often runs are planned; 1: from the pilot alone.
        folds: Fits of the final check, which scores each run of level L by a fit without it; 0: no
            check.
        minimum: The least number of rows, of all levels or of each; asked for in the first round.
        executor: As in `mlsbi.simulate`.
        on_failure: As in `mlsbi.simulate`.
        timeout: As in `mlsbi.simulate`.
        retries: As in `mlsbi.simulate`.
        max_failed: Share of a level's rows that may fail before that is an error, one row in any
            case; the pilot may lose more.
        isolate: As in `mlsbi.simulate`.
        progress: Whether to show on stderr what is going on.

    Returns:
        The fit, its check, all data, the rounds, and warnings.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value, the budget doesn't pay the pilot, or the store
            belongs to another call.
        RuntimeError: As in `mlsbi.simulate`. What is in the store stays there.

    References:
        Giles (2015), Multilevel Monte Carlo methods, Acta Numerica 24.
        Hikida, Bharti, Jeffrey, Briol (2025), arXiv:2506.06087, theorem 2.
    """
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    check_type(progress, bool, name="progress", remedy="Pass True or False.")
    if x_o is not None:
        as_tensor(x_o, name="x_o")
    shared = {
        "executor": executor, "on_failure": on_failure, "timeout": timeout, "retries": retries,
        "isolate": isolate,
    }  # fmt: skip
    count = hierarchy.num_levels
    call = Call(
        hierarchy, budget, check_seed(seed), kind, strategy, estimator, ensemble, training, pilot,
        check_levels(levels, count), rounds, folds, check_minimum(minimum, count), max_failed,
        shared, progress,
    ).checked()  # fmt: skip
    folder = None if store is None else as_folder(store)
    with open_journal(folder, call.describe()) as journal, _runs_folder(folder) as runs:
        first = _pilot(call, folder)
        check_affordable(call, first.cost, first.data.n, first.costs)
        observed = check_observation(x_o, first.data.event_shape(count - 1), kind=kind)
        journal.same_pilot(runs_digest(first.data))
        kept = journal.levels(lambda: choose(call, first))
        if len(kept) < count:
            call, first = call.of_levels(kept), first.subset(kept)
        return _inference(Rounds(call, first, journal, runs / "runs.zarr"), kept, observed)


@contextmanager
def _runs_folder(folder: Path | None) -> Iterator[Path]:
    """Where the campaign is stored; for the time of the call, if it needn't be kept.

    Each round adds to the same campaign, which thus needs a place.
    """
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mlsbi-") as place:
        yield Path(place)


def _pilot(call: Call, folder: Path | None) -> Pilot:
    if isinstance(call.pilot, Pilot):
        return call.pilot
    return run_pilot(
        call.hierarchy,
        call.pilot,
        seed=call.pilot_seed,
        store=None if folder is None else folder / "pilot",
        progress=call.progress,
        **call.simulating,
    )


def _inference(rounds: Rounds, levels: tuple[int, ...], x_o: Any) -> Inference:
    """Run the rounds, check the last fit, and put it all together."""
    call, pilot = rounds.call, rounds.pilot
    warned = logged(of_pilot(pilot, call.strategy))
    entries = rounds.run()
    data, fit = rounds.result(entries[-1])
    check, trouble = _check(rounds, data)
    history = _history(rounds, entries)
    spent, measured = history[-1].spent, rounds.measured
    found = of_result(
        fit, data, history[-1].plan, spent=spent, budget=call.budget, measured=measured
    )
    return Inference(
        fit=fit,
        check=check,
        data=data,
        pilot=pilot,
        levels=levels,
        rounds=history,
        spent=spent,
        budget=float(call.budget),
        cost_unit=pilot.cost_unit,
        warnings=(*warned, *logged([*found, *trouble])),
        x_o=x_o,
    )


def _check(rounds: Rounds, data: MultilevelData) -> tuple[CrossFit | None, list[str]]:
    """The check, and why there is none where that was not wished: a result must not be lost."""
    if rounds.call.folds == 0:
        return None, []
    try:
        check = rounds.check(data)
        check.nlpd  # noqa: B018  a density that is not a number shows here
    except ValueError as error:
        return None, [f"The check could not be made: {error}"]
    return check, []


def _history(rounds: Rounds, entries: Sequence[Entry]) -> tuple[Round, ...]:
    found, before = [], rounds.pilot.cost
    for entry in entries:
        spent = entry.spent or before
        found.append(
            Round(
                plan=entry.plan,
                needs=entry.plan.needs,
                n=entry.n or rounds.pilot.data.n,
                cost=spent - before,
                spent=spent,
                nlpd=float("nan") if entry.nlpd is None else entry.nlpd,
                seconds=entry.seconds or 0.0,
            )
        )
        before = spent
    return tuple(found)
