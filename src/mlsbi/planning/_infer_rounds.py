"""The rounds of an adaptive run; see `mlsbi.planning.infer`."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from mlsbi._facts import row_sums
from mlsbi._random import derive_seed
from mlsbi.crossfit import CrossFit, crossfit
from mlsbi.data import MultilevelData
from mlsbi.planning._infer_call import AnyFit, Call, minimum_cost
from mlsbi.planning._infer_journal import Entry, Journal
from mlsbi.planning.needs import Needs, reestimate
from mlsbi.planning.pilot import Pilot
from mlsbi.planning.plan import Plan, make_plan
from mlsbi.simulate import simulate

__all__ = ["Rounds"]

_ROUNDING = 1e-9  # of a budget


class Rounds:
    """Plans, runs and fits, each noted in the journal before the next begins."""

    def __init__(self, call: Call, pilot: Pilot, journal: Journal, runs: Path) -> None:
        """Put the parts together; `run` does the work. `runs` is the campaign's store."""
        self.call, self.pilot, self.journal = call, pilot, journal
        self._runs, self._opened = runs, False
        self._made: tuple[Entry, MultilevelData, AnyFit] | None = None
        self._began = time.monotonic()

    @property
    def measured(self) -> bool:
        """Whether costs are seconds, measured anew in each round."""
        return self.pilot.cost_unit == "seconds"

    @cached_property
    def _pilot_data(self) -> MultilevelData:
        """The pilot's runs; without their costs, where these are not in the campaign's unit."""
        hierarchy = self.call.hierarchy
        if self.measured and None not in hierarchy.costs:  # of a subset of levels
            return self.pilot.columns.data(hierarchy)
        return self.pilot.data

    def run(self) -> list[Entry]:
        """All rounds there is money for, the last of them finished.

        Raises:
            ValueError: The journal has spent more than the budget, or has more rounds.
        """
        self._check_journal()
        entries: list[Entry] = []
        for number in range(1, self.call.rounds + 1):
            self._began = time.monotonic()
            entry = self._planned(number, entries[-1] if entries else None)
            if entry is not None:
                entries.append(self._finished(entry))
        return entries

    def result(self, entry: Entry) -> tuple[MultilevelData, AnyFit]:
        """Data and fit of a round; made, or read, once."""
        made = self._made
        if made is None or (made[0].number, made[0].rows) != (entry.number, entry.rows):
            data = self._simulate(entry)
            seed = derive_seed(self.call.seed, "fit", entry.number)
            folder = self._folder(f"round-{entry.number}")
            if folder is None or not folder.exists():
                self._say(f"round {entry.number}: fitting to {data.n} rows")
            fit = self.call.fit(data, seed=seed, folder=folder)
            self._made = (entry, data, fit)
            return data, fit
        return made[1:]

    def check(self, data: MultilevelData) -> CrossFit:
        """The scores of fits to parts of the data; each fit is kept like those of the rounds."""
        folds, seed = self.call.folds, self.call.seed

        def refit(part: MultilevelData, fold: int) -> AnyFit:
            return self.call.fit(
                part,
                seed=derive_seed(seed, "check", folds, fold),
                folder=self._folder(f"check-{folds}", f"fold-{fold}"),
            )

        return crossfit(
            data,
            refit,
            folds=folds,
            seed=derive_seed(seed, "check"),
            progress=self.call.progress,
        )

    def spent(self, rows: Sequence[int], costs: Sequence[float]) -> float:
        """Cost of the pilot and of rows of the campaign, all at the same costs of a run."""
        pilot = self.pilot.cost * (math.fsum(costs) / math.fsum(self.pilot.costs))
        return pilot + math.fsum(n * k for n, k in zip(rows, row_sums(costs), strict=True))

    def _check_journal(self) -> None:
        last, call = self.journal.last, self.call
        if last is None:
            return
        if last.number > call.rounds:
            raise ValueError(
                f"rounds must be at least {last.number}, as many as the store has; got "
                f"{call.rounds}. Pass that or more, or another store."
            )
        spent = self.spent(last.rows, last.costs or last.plan.costs)
        if call.budget < self.journal.budget and call.budget < spent * (1 - _ROUNDING):
            raise ValueError(
                f"budget must be at least {spent:.6g}, which the store has spent or begun to "
                f"spend; got {call.budget:.6g}. Pass that or more, or another store."
            )

    def _planned(self, number: int, before: Entry | None) -> Entry | None:
        """The round as noted or, if it's the last and the budget has changed, planned anew.

        Rows that it has asked for already are kept then, and count as spent. None if there is no
        money for a round, unless no round was made before.
        """
        noted, call = self.journal.get(number), self.call
        if noted is not None and (number < call.rounds or noted.budget == call.budget):
            return noted
        last = self.journal.last
        if last is not None and last.number > number and noted is None:
            return None  # there was no money for it then
        known = noted or before
        rows = known.rows if known else (0,) * len(self.pilot.costs)
        costs = (known.costs or known.plan.costs) if known else self.pilot.costs
        left = self._left(number, rows, costs)
        if known is not None and left < min(row_sums(costs)) * (1 - _ROUNDING):
            return noted
        if noted is not None:
            needs = noted.plan.needs
        else:
            needs = self._pilot_needs() if before is None else self._needs_after(before)
        plan = make_plan(
            needs,
            costs,
            budget=left,
            existing=self._usable(noted, before),
            minimum=call.minimum if known is None else None,
            cost_unit="seconds" if self.measured else "",
        )
        if known is not None and not any(plan.new):
            return noted
        rows = tuple(old + new for old, new in zip(rows, plan.new, strict=True))
        entry = Entry(number, call.budget, plan, rows)
        self.journal.put(entry)
        self._say(f"round {number} of {call.rounds}: {plan}")
        return entry

    def _left(self, number: int, rows: Sequence[int], costs: Sequence[float]) -> float:
        """What a round may spend: early ones little, the first what `minimum` needs at least."""
        call, pilot = self.call, self.spent((0,) * len(rows), costs)
        share: float = 2.0 ** (number - call.rounds)
        target = pilot + (call.budget - pilot) * share if share < 1 else call.budget
        left = max(target - self.spent(rows, costs), 0.0)
        if any(rows):
            return left
        # The rounding of sums must not make what check_affordable allowed too dear.
        return max(left, minimum_cost(call, self.pilot.data.n, costs) * (1 + _ROUNDING**2))

    def _usable(self, noted: Entry | None, before: Entry | None) -> tuple[int, ...]:
        """Rows that the next fit will have anyway, of those asked for as far as not known."""
        if noted is not None and noted.n is not None:
            return noted.n
        start = before.n if before is not None and before.n is not None else self.pilot.data.n
        if noted is None:
            return start
        asked = before.rows if before is not None else (0,) * len(start)
        return tuple(n + r - a for n, r, a in zip(start, noted.rows, asked, strict=True))

    def _pilot_needs(self) -> Needs:
        call = self.call
        seed = derive_seed(call.seed, "needs", 0)
        return self.pilot.needs(call.strategy, kind=call.kind, seed=seed)

    def _needs_after(self, entry: Entry) -> Needs:
        """What all runs up to a round tell of the needs, noted."""
        if entry.needs is not None:
            return entry.needs
        data, fit = self.result(entry)
        self._say(f"round {entry.number}: what {data.n} rows tell of the next plan")
        call, costs = self.call, entry.costs or entry.plan.costs
        needs = reestimate(data, costs, call.strategy, kind=call.kind, losses=fit.multilevel)
        self.journal.put(replace(entry, needs=needs))
        return needs

    def _simulate(self, entry: Entry) -> MultilevelData:
        """The pilot's rows, then the campaign's; failures are told of in the end."""
        call, pilot = self.call, self._pilot_data
        if not any(entry.rows):
            return pilot
        share = max(call.max_failed, 1 / min(n for n in entry.rows if n))  # one row may fail
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="left out runs that failed")
            data = simulate(
                call.hierarchy,
                [n + rows for n, rows in zip(pilot.n, entry.rows, strict=True)],
                seed=derive_seed(call.seed, "runs"),
                store=self._runs,
                extend=pilot,
                max_failed=share,
                allow_changes=self._opened,  # a simulator may hold a cache or a counter
                progress=call.progress,
                **call.simulating,
            )
        self._opened = True
        self._check_failed(data, entry.rows)
        return data if self.journal.folder is not None else _in_memory(data)

    def _check_failed(self, data: MultilevelData, rows: Sequence[int]) -> None:
        for level, (dropped, of) in enumerate(zip(data.dropped, rows, strict=True)):
            failed = dropped - self._pilot_data.dropped[level]
            if failed > max(1, self.call.max_failed * of):
                first = next(f for f in reversed(data.failures) if f.level == level)
                raise RuntimeError(
                    f"{failed} of {of} rows of level {level} failed, more than max_failed = "
                    f"{self.call.max_failed}. One of them: {first}. Correct the simulator and "
                    "begin anew, or raise max_failed."
                )

    def _finished(self, entry: Entry) -> Entry:
        """The round with what came of it; noted."""
        if entry.n is not None:
            return entry
        data, fit = self.result(entry)
        costs = self._costs(data, entry.plan)
        losses = fit.multilevel
        done = replace(
            entry,
            n=data.n,
            costs=costs,
            spent=self.spent(entry.rows, costs),
            nlpd=math.nan if losses is None else losses.loss_mean[-1],
            seconds=time.monotonic() - self._began,
        )
        self.journal.put(done)
        self._say(f"round {entry.number}: {done.spent:,.6g} spent, held-out loss {done.nlpd:.4g}")
        return done

    def _costs(self, data: MultilevelData, plan: Plan) -> tuple[float, ...]:
        """Of one run of each level: measured on all runs, where they are not given."""
        if not self.measured:
            return plan.costs
        found = data.seconds or (None,) * len(plan.costs)
        return tuple(s or old for s, old in zip(found, plan.costs, strict=True))

    def _folder(self, *names: str) -> Path | None:
        return None if self.journal.folder is None else self.journal.folder.joinpath(*names)

    def _say(self, text: str) -> None:
        if self.call.progress:
            print(text, file=sys.stderr, flush=True)


def _in_memory(data: MultilevelData) -> MultilevelData:
    """The same, which needs no store any more."""
    levels = [
        (data.theta(level), data.x_coarse(level) if level else None, data.x(level))
        for level in range(data.num_levels)
    ]
    facts = data._facts
    return MultilevelData(
        data.prior,
        levels,
        costs=data.costs,
        dropped=data.dropped,
        failures=tuple(data.failures),
        seconds=data.seconds,
        seconds_sd=data.seconds_sd,
        seeds=facts["seeds"],
    )
