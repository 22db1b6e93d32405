"""What each level adds to the error of a fit: the needs b_l that an allocation is made from.

    error(n) = sum_l b_l / n_l

Three sources: the bound of theorem 2 (Hikida et al. 2025, arXiv:2506.06087) before any training,
b_l = E|x_l - x_(l-1)|^2; the variance of the differences of the loss under a network that was
trained on the pilot; and what the emulator of level 0 and the steps from level to level take to
learn (`explained.py`), which is what limits the default strategy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsbi._checks import check_option, check_seed, check_type
from mlsbi._facts import row_sums
from mlsbi._random import derive_seed
from mlsbi.data import MultilevelData
from mlsbi.options import Training
from mlsbi.planning.explained import PairGain, explain_pair
from mlsbi.strategies import Multilevel, Stack, Strategy, Transfer

if TYPE_CHECKING:
    from mlsbi.multilevel_table import MultilevelLosses
    from mlsbi.planning.pilot import Pilot

__all__ = [
    "Needs",
    "bound_needs",
    "loss_needs",
    "pilot_needs",
    "quick_losses",
    "reestimate",
    "step_needs",
]

# Of a single-level network, as a multiple of what an emulator of level L alone needs; measured over
# 14 tasks (`benchmarks/factors.py`), where it varies by a factor of about 2.
_SINGLE = {"posterior": 20.0, "likelihood": 3.6}
# The law of level 0 is learned by a network, tails and all, which takes more runs than the Gaussian
# process that the need is measured by; from scores at many (n_0, n_L) of four tasks.
_NETWORK = {"posterior": 1.5, "likelihood": 4.0}
_EXPLAINED = 0.5
_BOUND = "bound: E|x_l - x_(l-1)|^2"
_QUICK = Training(max_steps=800, learning_rate=3e-3, batch_size=None)


@dataclass(frozen=True)
class Needs:
    """What the levels add to the error: `sum_l b_l / n_l`.

    Attributes:
        b: Of each level, 0 .. L, at least 0.
        single: The same of level L alone: n single-level runs have the error `single / n`.
        source: Where the figures come from, in words.
        unit: Of the error.
    """

    b: tuple[float, ...]
    single: float
    source: str
    unit: str = ""

    def single_runs(self, error: float) -> float:
        """Runs of level L alone that have this error, n_eq."""
        return self.single / error


_ONE_LEVEL = Needs((1.0,), 1.0, "one level")


def pilot_needs(
    pilot: Pilot,
    strategy: Strategy | None = None,
    *,
    method: str = "auto",
    kind: str = "posterior",
    seed: int = 0,
) -> Needs:
    """What each level adds to the error of a strategy, as far as a pilot tells.

    Args:
        pilot: The pilot.
        strategy: How levels will be combined; None for the library's default.
        method: `"bound"`: E|x_l - x_(l-1)|^2, as in theorem 2. `"loss"`: the variance of the
            differences of the loss under a network trained on the pilot. `"steps"`: what the steps
            between levels take to learn; of level L alone for strategies that use no other.
            `"auto"`: the loss for strategies that telescope, else the steps.
        kind: `"posterior"` or `"likelihood"`: what will be fitted.
        seed: Of the network that `"loss"` trains.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: One is out of range, or the levels cannot be compared.
    """
    strategy = Stack() if strategy is None else strategy
    check_type(strategy, Strategy, name="strategy", remedy="For example mlsbi.Multilevel().")
    check_option(method, name="method", allowed=("auto", "bound", "loss", "steps"))
    check_option(kind, name="kind", allowed=("posterior", "likelihood"))
    seed = check_seed(seed)
    levels = pilot.hierarchy.num_levels
    if levels == 1:
        return _ONE_LEVEL
    if method == "auto":
        method = "loss" if telescopes(strategy) else "steps"
    if method == "bound":
        return bound_needs(pilot)
    if method == "loss":
        return loss_needs(quick_losses(pilot, kind=kind, seed=seed))
    if len(pilot.gains) < levels - 1:
        raise _not_comparable([tuple(x.shape[1:]) for x in pilot.columns.x])
    return step_needs(pilot.gains, pilot.costs, strategy, kind=kind)


def _not_comparable(shapes: Sequence[tuple[int, ...]]) -> ValueError:
    return ValueError(
        "levels must have x of one shape, and 10 pairs at least, for their needs to be known; got "
        f"shapes {list(shapes)}. Bring all levels to the same summaries or grid, run a larger "
        "pilot, or choose n yourself."
    )


def reestimate(
    data: MultilevelData,
    costs: Sequence[float],
    strategy: Strategy | None = None,
    *,
    kind: str = "posterior",
    losses: MultilevelLosses | None = None,
) -> Needs:
    """The needs as all runs that there are tell them, the pilot's and later ones.

    Args:
        data: The runs.
        costs: Of one run of each level.
        strategy: How levels are combined; None for the library's default.
        kind: `"posterior"` or `"likelihood"`: what is fitted.
        losses: Of a fit to these runs, `fit.multilevel`; strategies that telescope are planned by
            the variance of its loss's differences.

    Raises:
        ValueError: The levels' x differ in shape.
    """
    strategy = Stack() if strategy is None else strategy
    if data.num_levels == 1:
        return _ONE_LEVEL
    if losses is not None and telescopes(strategy):
        return loss_needs(losses)
    gains = [
        explain_pair(
            data.theta(level), data.x_coarse(level), data.x(level),
            prior=data.prior, level=level, coarse=level - 1,
        )
        for level in range(1, data.num_levels)
    ]  # fmt: skip
    known = [gain for gain in gains if gain is not None]
    if len(known) < len(gains):
        raise _not_comparable([data.event_shape(level) for level in range(data.num_levels)])
    return step_needs(known, costs, strategy, kind=kind)


def telescopes(strategy: Strategy) -> bool:
    """Whether the levels' losses are what a strategy learns from, so that their variance counts."""
    return isinstance(strategy, (Multilevel, Transfer))


def step_needs(
    gains: Sequence[PairGain], costs: Sequence[float], strategy: Strategy, *, kind: str
) -> Needs:
    """What it takes to learn level 0, and how each level's run follows from the coarser one.

    The emulator of level 0 and the steps from level to level each lose nats of the density of x_L,
    by their own uncertainty against the scatter of a run; what is lost at a level reaches level L
    by the share of the scatter that the steps above carry. No strategy that sees level L can lose
    more nats of theta than of x_L (data processing). Where the emulator of x_L from theta alone
    would reach the same with less, the low levels are of no use, and get no rows beyond the least.

    Args:
        gains: What each level tells of the next, 0 to 1, 1 to 2, ...
        costs: Of one run of each level.
        strategy: How levels are combined.
        kind: `"posterior"` or `"likelihood"`: what will be fitted.
    """
    carried = [1.0]  # from level L down
    for gain in reversed(gains):
        carried.insert(0, carried[0] * gain.reach)
    steps = [gain.step_need * carried[gain.level] for gain in gains]
    b = (_NETWORK[kind] * gains[0].coarse_need * carried[gains[0].level], *steps)
    alone = (*[0.0] * len(gains), gains[-1].alone_need)
    rows = row_sums(costs)
    # A gain that is there is used, although the emulator of level L alone may come as far. A few
    # wild rows can hide it from the mean, but not from the share of the scatter that is explained.
    gained = all(gain.nats > gain.error or gain.reach > _EXPLAINED for gain in gains)
    useless = not strategy.uses_low_levels
    useless = useless or (not gained and _least(alone, rows) <= _least(b, rows))
    return Needs(
        alone if useless else b,
        _SINGLE[kind] * gains[-1].alone_need,
        "level L alone" if useless else "what the steps between levels take to learn",
        "nats",
    )


def _least(b: Sequence[float], rows: Sequence[float]) -> float:
    """Error times budget under the best allocation: (sum_l sqrt(b_l k_l))^2."""
    return math.fsum(math.sqrt(need * cost) for need, cost in zip(b, rows, strict=True)) ** 2


def bound_needs(pilot: Pilot) -> Needs:
    """The bound of theorem 2, constants left out: b_l = E|x_l - x_(l-1)|^2, b_0 = Var x_0.

    In the shared standardised units, mean over outputs.

    Raises:
        ValueError: The levels' x differ in shape.
    """
    found = pilot.statistics
    b = [v for v in (found.variance[0], *found.difference[1:]) if v is not None]
    single = found.variance[-1]
    if len(b) < len(found.variance) or single is None:
        raise _not_comparable([tuple(x.shape[1:]) for x in pilot.columns.x])
    return Needs(tuple(b), single, _BOUND)


def loss_needs(losses: MultilevelLosses) -> Needs:
    """The variance of the differences of the loss, b_l = Var(f^l - f^(l-1)), b_0 = Var f^0.

    Args:
        losses: Those of a fit by a telescoping strategy, `fit.multilevel`.
    """
    variance = [v if math.isfinite(v) else 0.0 for v in losses.difference_variance]
    single = losses.loss_variance[-1]
    return Needs(
        tuple(variance),
        single if math.isfinite(single) else 0.0,
        "variance of the loss differences",
        "nats^2",
    )


def quick_losses(pilot: Pilot, *, kind: str, seed: int) -> MultilevelLosses:
    """The losses of a network that is trained on the telescoping sum of the pilot's runs, quickly.

    Raises:
        ValueError: The levels' x differ in shape.
    """
    from mlsbi.fit import fit_likelihood, fit_posterior

    fit_kind = fit_posterior if kind == "posterior" else fit_likelihood
    quick = Multilevel(start="fresh", training=_QUICK)
    fit = fit_kind(pilot.data, strategy=quick, seed=derive_seed(seed, "needs"))
    if fit.multilevel is None:
        raise ValueError("the pilot's runs gave no losses; run more of them")
    return fit.multilevel
