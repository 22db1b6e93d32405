"""An observation against runs: what is looked at, and with what, before anything is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._random import derive_seed, make_generator
from mlsbi.checking._misfit import FEWEST, Misfit, misfit, nearest_distances
from mlsbi.checking._normal import NormalScale, upper_tail
from mlsbi.checking.draws import data_draws, is_likelihood
from mlsbi.data import MultilevelData

__all__ = ["Seen", "far_from_units", "look"]

# Probabilities of a false alarm: together with what `observation.py` adds, about 5 %.
_ALPHA = 0.03
_ALPHA_BELOW = 0.005
_MOST = 4000  # runs of a level that are looked at
_MANY = 50
_DRAWS = 1000
_MOST_OWN = 500
_MOST_OUTPUTS = 512
_FAR = 6.0  # robust widths, in the units of a posterior fit's network


@dataclass(frozen=True, eq=False)
class Seen:
    """What an observation looks like beside runs.

    Attributes:
        against: What it was compared with, in words.
        top: The comparison with level L; None where there are too few runs.
        summary: The same of learned summaries; None without them.
        median: Of level L's runs, of each output, `(D,)`; None without runs.
        scale: What made the outputs' scale, in words.
        like: Lower levels whose runs it does look like, asked if it is unlike level L's.
        beyond: Lower levels outside whose runs it lies, although level L's seldom do.
    """

    against: str
    top: Misfit | None
    summary: Misfit | None
    median: Tensor | None
    scale: str = ""
    like: tuple[int, ...] = ()
    beyond: tuple[int, ...] = ()


def look(fit: Any, x_o: Tensor, data: MultilevelData | None, *, seed: int) -> Seen | None:
    """Compare x_o with the runs of level L, or with draws of a likelihood fit.

    Args:
        fit: A fit.
        x_o: Shape `(*event,)`.
        data: Runs of all levels, if there are any at hand.
        seed: Of draws.

    Returns:
        The comparison; None where there is nothing to compare with.
    """
    if data is not None:
        return _with_runs(fit, x_o, data)
    return _with_draws(fit, x_o, seed) if is_likelihood(fit) else None


def _with_runs(fit: Any, x_o: Tensor, data: MultilevelData) -> Seen:
    top = data.num_levels - 1
    runs, flat = data.x(top)[:_MOST].flatten(1), x_o.flatten()
    same = [level for level in range(top) if tuple(data.event_shape(level)) == tuple(x_o.shape)]
    reference = _reference(data, same)
    many = None if reference is None else data.x(reference)[:_MOST]
    summarised = fit.summary is not None
    alpha = _ALPHA / (1 + summarised)
    found = misfit(runs, None if many is None else many.flatten(1), flat, alpha=alpha)
    of_summary = None
    if summarised:
        device = fit.device
        rows = (data.x(top)[:_MOST], many, x_o.unsqueeze(0))
        seen = [None if x is None else fit.summarise(x.to(device)).detach().cpu() for x in rows]
        of_summary = misfit(seen[0], seen[1], seen[2][0], alpha=alpha)  # type: ignore[arg-type,index]
    against = f"the {len(runs)} runs of level {top}"
    scale = (
        "" if many is None else f"the {len(many)} runs of level {reference} say how outputs vary"
    )
    outside = found is not None and found.outside
    like = [k for k in same if outside and _is_like(data.x(k)[:_MOST].flatten(1), flat)]
    beyond = [k for k in same if not outside and _is_beyond(data, k, runs, flat)]
    return Seen(against, found, of_summary, _median(runs), scale, tuple(like), tuple(beyond))


def _reference(data: MultilevelData, same: list[int]) -> int | None:
    """The level whose runs make outputs normal: the finest below L that has enough of them."""
    many = [level for level in same if data.n[level] >= 4 * _MANY]
    if many:
        return many[-1]
    usable = [level for level in same if data.n[level] >= _MANY]
    return max(usable, key=lambda level: data.n[level], default=None)


def _median(runs: Tensor) -> Tensor | None:
    return runs.double().median(0).values if len(runs) else None


def _is_like(runs: Tensor, one: Tensor) -> bool:
    """Whether x_o is like the runs of another level."""
    found = misfit(runs, None, one, alpha=_ALPHA) if len(runs) >= FEWEST else None
    return found is not None and not found.outside


def _is_beyond(data: MultilevelData, level: int, fine: Tensor, one: Tensor) -> bool:
    """Whether x_o is farther from a level's runs than they and the runs of level L ever are."""
    runs = data.x(level)[:_MOST].flatten(1).double()
    if len(runs) < _MANY or runs.shape[1] > _MOST_OUTPUTS or len(fine) < FEWEST:
        return False
    scale = NormalScale(runs)
    known = scale(runs)
    own = nearest_distances(known, known[:_MOST_OWN], own=True)
    here = float(nearest_distances(known, scale(one.unsqueeze(0))))
    there = nearest_distances(known, scale(fine))
    counted = (1 + int((own >= here).sum())) / (1 + len(own))
    return counted < 2 * _ALPHA_BELOW and upper_tail(there, here) < _ALPHA_BELOW


def _with_draws(fit: Any, x_o: Tensor, seed: int) -> Seen:
    theta = fit.prior.sample(_DRAWS, make_generator(seed, "prior predictive"))
    draws = data_draws(fit, theta, 1, seed=derive_seed(seed, "prior predictive"))[0][0]
    draws = draws.detach().cpu()
    against = f"{_DRAWS} draws of x from the fit, at draws of theta from the prior"
    if fit.summary is None:
        found = misfit(draws.flatten(1), None, x_o.flatten(), alpha=_ALPHA)
        return Seen(against, found, None, _median(draws.flatten(1)))
    summary = fit.summarise(x_o.unsqueeze(0).to(fit.device)).detach().cpu()[0]
    found = misfit(draws.flatten(1), None, summary, alpha=_ALPHA)
    return Seen(against.replace("of x", "of summaries of x"), None, found, None)


def far_from_units(fit: Any, x_o: Tensor) -> tuple[Tensor, Tensor]:
    """Where x_o lies in the units of a posterior fit's network, and what is far out there.

    Returns:
        Values `(D,)`, float64, in robust widths of all levels' runs from their median (asinh of
        that where outputs are heavy-tailed; of the summary where the fit has one), and bool `(D,)`.
    """
    with torch.no_grad():
        z = fit.estimator.context_transform(x_o.unsqueeze(0).to(fit.device)).cpu().double()[0]
    z = z.flatten()
    return z, z.abs() > _FAR
