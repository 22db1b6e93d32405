"""The multilevel table of a fit: what each level adds to the loss, and whether the sum telescopes.

    E f^L = E f^0 + sum_l E (f^l - f^(l-1)),    f^l = -log q(. | .) at level l's run,

f^(l-1) at the coarse run of the same pair. It is the table of multilevel Monte Carlo, with the
trained density's loss as the quantity of interest (Giles 2015, Multilevel Monte Carlo methods, Acta
Numerica 24, section 3; the R package mlmc prints it for means). The loss is that of Hikida, Bharti,
Jeffrey, Briol (2025), arXiv:2506.06087.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mlsbi._facts import row_sums
from mlsbi._table import Table

__all__ = ["MultilevelLosses", "printed"]

_FEW = 30  # rows of which a variance is a rough guess
_HEAVY = 100.0  # kurtosis beyond which a variance is (Giles 2015, section 3)
_NAN = math.nan


@dataclass(frozen=True)
class MultilevelLosses:
    """Losses of a trained density at the runs of every level, and at both halves of the pairs.

    Each entry of a tuple is of a level, 0 .. L; NaN where there is no such figure, as of a coarse
    run at level 0, or of fewer than 2 rows. For a posterior f is in nats with theta in the user's
    units. For a likelihood x is in the network's units, those of the level that the run is of: f^l
    is then one function of level l's run wherever it appears, as the telescoping sum needs, while
    the user's units of x are not the same at all levels. (With `Multilevel(standardise="array")`
    each array has units of its own, and the sum does not quite telescope.)

    A row is judged by the members that did not train on it, mixed with their weights in the fit. A
    log density below -10,000 counts as that.

    Attributes:
        n: Rows of the data.
        costs: Of one run, C_l; None if not given.
        rows: Rows that the figures are of: at most 2048, drawn at random.
        held_out_rows: Those of them that were held out: all, or 0 where fewer than 2 were, and the
            figures are of training rows.
        loss_mean: Mean of f^l at the level's own runs.
        loss_variance: Its variance over rows.
        coarse_mean: Mean of f^(l-1) at the coarse halves of level l's pairs.
        coarse_variance: Its variance over rows.
        difference_mean: Mean of f^l - f^(l-1) over pairs; at level 0 of f^0.
        difference_variance: V_l, its variance over rows.
        kurtosis: Fourth moment of the difference over its squared variance; 3 if it is normal.
        identical: Whether the two halves of every pair are the same numbers: nothing to correct.
        gradient_norm: Norm of the gradient of the level's term, f^0 or f^l - f^(l-1), with respect
            to a member's weights as they are in the end, from at most 512 rows of a level. Here
            the mean of a term is over the rows that the member held out, and the norm's over
            members, by their weights. Of few rows it is noise for the most part. None: not known.
        cosine: Between the gradients of level 0's term and of the level's; at level 0 that with all
            corrections together; mean over members.
        projected: How often the projection of `Multilevel` acted in training: mean of that column
            of the history; None where there is none.
        unit: Of f.

    References:
        Giles (2015), Multilevel Monte Carlo methods, Acta Numerica 24, section 3.
    """

    n: tuple[int, ...]
    costs: tuple[float, ...] | None
    rows: tuple[int, ...]
    held_out_rows: tuple[int, ...]
    loss_mean: tuple[float, ...]
    loss_variance: tuple[float, ...]
    coarse_mean: tuple[float, ...]
    coarse_variance: tuple[float, ...]
    difference_mean: tuple[float, ...]
    difference_variance: tuple[float, ...]
    kurtosis: tuple[float, ...]
    identical: tuple[bool, ...]
    gradient_norm: tuple[float, ...] | None
    cosine: tuple[float, ...] | None
    projected: float | None
    unit: str

    @property
    def row_costs(self) -> tuple[float, ...] | None:
        """Cost of a row of each level, k_l = C_l + C_(l-1)."""
        return None if self.costs is None else row_sums(self.costs)

    @property
    def correlation(self) -> tuple[float, ...]:
        """Between f^l and f^(l-1) over the pairs of each level; NaN where one does not vary."""
        found = []
        for level, difference in enumerate(self.difference_variance):
            fine, coarse = self.loss_variance[level], self.coarse_variance[level]
            scale = 2 * math.sqrt(fine * coarse)  # NaN at level 0
            value = (fine + coarse - difference) / scale if scale > 0 else _NAN
            found.append(min(1.0, max(-1.0, value)) if math.isfinite(value) else _NAN)
        return tuple(found)

    @property
    def check(self) -> tuple[float, ...]:
        """Giles' consistency check of the telescoping sum at each level; above 1 is suspicious.

        |a_l + b_(l-1) - b_l| over three times the sum of their standard errors, with a_l the mean
        difference over level l's pairs, and b_l the mean of f^l at level l's own rows. 0 where the
        pairs are identical; NaN at level 0.
        """
        return tuple(self._check(level) for level in range(len(self.n)))

    def _check(self, level: int) -> float:
        if level == 0:
            return _NAN
        if self.identical[level]:
            return 0.0
        gap = self.difference_mean[level] + self.loss_mean[level - 1] - self.loss_mean[level]
        errors = (
            _error(self.difference_variance[level], self.rows[level]),
            _error(self.loss_variance[level - 1], self.rows[level - 1]),
            _error(self.loss_variance[level], self.rows[level]),
        )
        return abs(gap) / (3 * sum(errors)) if sum(errors) else (math.inf if gap else 0.0)

    @property
    def telescoped(self) -> tuple[float, float]:
        """Level L's loss from all levels' rows, sum_l of the mean differences; standard error."""
        variance = sum(v / m for v, m in zip(self.difference_variance, self.rows, strict=True))
        return sum(self.difference_mean), math.sqrt(variance)

    @property
    def plain(self) -> tuple[float, float]:
        """Level L's loss from its own rows alone, and its standard error."""
        return self.loss_mean[-1], _error(self.loss_variance[-1], self.rows[-1])

    @property
    def equal_runs(self) -> float:
        """Number of runs of level L alone that give its mean loss as well as all data do.

        Var f^L / sum_l (V_l / n_l); NaN where that is not known.
        """
        variance = sum(v / n for v, n in zip(self.difference_variance, self.n, strict=True))
        return self.loss_variance[-1] / variance if variance > 0 else _NAN

    @property
    def cost_factor(self) -> float:
        """What `equal_runs` would cost over what the data did; NaN without costs."""
        costs = self.row_costs
        if self.costs is None or costs is None:
            return _NAN
        spent = sum(n * cost for n, cost in zip(self.n, costs, strict=True))
        return self.equal_runs * self.costs[-1] / spent

    def table(self) -> Table:
        """One row a level, and notes.

        Columns: `n` and `cost` of a row; mean and variance of the `loss` f^l, and of `diff`,
        f^l - f^(l-1) (at level 0 f^0 itself); their correlation `corr` and the `kurtosis` of the
        difference; the level's shares of the variance, V_l / n_l, and of the cost, n_l k_l; its
        term's gradient norm and the cosine with level 0's (at level 0 with all corrections');
        `projected`; and the `check` of the telescoping sum. See the attributes.
        """
        rows = tuple(
            {name: _cell(value) for name, value in self._row(level).items()}
            for level in range(len(self.n))
        )
        return Table("multilevel table of the fit", rows, (*self._summary(), *self._warnings()))

    def _row(self, level: int) -> dict[str, float | int | None]:
        costs, n = self.row_costs, self.n
        variances = [v / rows for v, rows in zip(self.difference_variance, n, strict=True)]
        spent = None if costs is None else [k * rows for k, rows in zip(costs, n, strict=True)]
        return {
            "level": level,
            "n": n[level],
            "cost": None if costs is None else costs[level],
            "rows": self.rows[level],
            "loss": self.loss_mean[level],
            "loss_var": self.loss_variance[level],
            "diff": self.difference_mean[level],
            "diff_var": self.difference_variance[level],
            "corr": self.correlation[level],
            "kurtosis": self.kurtosis[level],
            "var_share": _share(variances)[level],
            "cost_share": None if spent is None else _share(spent)[level],
            "grad_norm": None if self.gradient_norm is None else self.gradient_norm[level],
            "cosine": None if self.cosine is None else self.cosine[level],
            "projected": self.projected if level else None,
            "check": self.check[level],
        }

    def _summary(self) -> list[str]:
        """What the table comes to."""
        (sum_, sum_error), (own, own_error) = self.telescoped, self.plain
        lines = [
            f"loss: -log q, in {self.unit}; diff: against the coarse half of the same pair",
            f"loss of level {len(self.n) - 1}: {_text(sum_)} +- {_text(sum_error)} from all levels "
            f"(telescoped), {_text(own)} +- {_text(own_error)} from its own rows alone",
        ]
        runs = self.equal_runs
        if math.isfinite(runs):
            line = (
                f"the data give this loss as well as {runs:,.0f} runs of the last level alone, "
                f"{_text(runs / self.n[-1])} times those it has"
            )
            if math.isfinite(self.cost_factor):
                line += f"; they would cost {_text(self.cost_factor)} times as much as the data"
            lines.append(line)
            if runs < self.n[-1]:
                lines.append(
                    "below 1, the coarse levels bring this loss more noise than they take: pairs "
                    "that differ much, or a density that was trained to be good at the last level "
                    "alone (then this says nothing of the fit)"
                )
        if self.cosine is not None and len(self.n) > 1:
            lines.append("cosine: with level 0's gradient; at level 0, with all corrections' sum")
        return lines

    def _warnings(self) -> list[str]:
        lines = []
        for level, rows in enumerate(self.rows):
            if not self.held_out_rows[level]:
                lines.append(f"level {level}: training rows, as none are held out: too low a loss")
            elif rows < _FEW:
                lines.append(f"level {level}: only {rows} held-out rows: rough figures")
            if self.identical[level]:
                lines.append(f"level {level}: both halves of each pair are the same: no correction")
            if self.kurtosis[level] > _HEAVY:
                lines.append(
                    f"level {level}: kurtosis above {_HEAVY:g}: a few rows make up the variance"
                )
            if self.check[level] > 1:
                lines.append(
                    f"level {level}: check above 1, the sum does not telescope: the coarse halves "
                    f"of its pairs are not like level {level - 1}'s own runs. Look at how the "
                    "pairs were made: the same simulator, and theta from the same prior?"
                )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The numbers in JSON types (NaN among them)."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> MultilevelLosses:
        """What `to_dict` described; words such as "nan" are read as numbers.

        Raises:
            KeyError: An entry is missing.
        """
        kinds: dict[str, Any] = {"n": int, "rows": int, "held_out_rows": int, "identical": bool}
        read: dict[str, Any] = {}
        for name in (field.name for field in fields(MultilevelLosses)):
            value, kind = record[name], kinds.get(name, float)
            if isinstance(value, list | tuple):
                read[name] = tuple(kind(entry) for entry in value)
            else:
                read[name] = value if value is None or name == "unit" else float(value)
        return MultilevelLosses(**read)


def printed(losses: MultilevelLosses | None) -> Table:
    """The table of a fit, printed.

    Raises:
        ValueError: The fit has no losses.
    """
    if losses is None:
        raise ValueError(
            "this fit has no multilevel table: it was saved by a version of mlsbi that did not "
            "make one. Fit again with fit_posterior or fit_likelihood."
        )
    table = losses.table()
    print(table)
    return table


def _error(variance: float, rows: int) -> float:
    return math.sqrt(variance / rows)


def _share(parts: list[float]) -> list[float]:
    total = sum(parts)
    return [part / total if total > 0 else _NAN for part in parts]


def _cell(value: float | int | None) -> float | int | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
