"""Posterior predictive checks: what x should look like by the posterior, and where x_o lies in it.

Draws of x at posterior draws of theta are the user's own (simulated at level L: the best), or a
likelihood fit's, or, where neither is there, runs that exist already: run i of level l counts with
the weight q(theta_i | x_o) / p(theta_i), which is importance sampling from the prior. Its effective
size says how many runs stand near the posterior (Kong 1992).
Gelman, Meng and Stern 1996, "Posterior predictive assessment of model fitness", Statistica Sinica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi.checking._normal import NormalScale, two_sided, z_of

__all__ = ["FEWEST", "PROBABILITIES", "Predictive", "of_draws", "of_runs", "primary"]

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""What `Predictive.quantiles` are at."""

FEWEST = 10.0  # effective draws below which nothing is tested


@dataclass(frozen=True, eq=False)
class Predictive:
    """The posterior predictive of each output, and x_o in it.

    Attributes:
        source: What the draws are, in words.
        level: The level whose runs they are; None: draws of the fit.
        observed: x_o, flattened, shape `(D,)`, float64; its summary where the draws are summaries.
        quantiles: Of each output, at `PROBABILITIES`, shape `(5, D)`.
        place: Share of the draws below x_o, ties by half, shape `(D,)`.
        z: Where x_o lies on a scale on which the draws are standard normal, shape `(D,)`.
        p_value: Two-sided, of each output, shape `(D,)`.
        effective: Number of draws that count.
        event_shape: Shape of one x, or of one summary.
        flagged: Outputs (flattened) of which x_o is not what the posterior predicts.
    """

    source: str
    level: int | None
    observed: Tensor
    quantiles: Tensor
    place: Tensor
    z: Tensor
    p_value: Tensor
    effective: float
    event_shape: tuple[int, ...]
    flagged: tuple[int, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether enough draws count for x_o to be judged by them."""
        return self.effective >= FEWEST

    def __str__(self) -> str:
        """In a sentence."""
        text = f"posterior predictive of {len(self.observed)} output(s) from {self.source}"
        if not self.enough:
            return f"{text}: only {self.effective:.2g} of them count, too few to judge x_o by"
        if not self.flagged:
            return f"{text}: x_o is what the posterior predicts"
        return f"{text}: x_o is not what the posterior predicts of {len(self.flagged)} output(s)"

    def to_dict(self) -> dict[str, Any]:
        """The figures in JSON types."""
        tensors = ("observed", "quantiles", "place", "z", "p_value")
        return {
            "source": self.source,
            "level": self.level,
            **{name: getattr(self, name).tolist() for name in tensors},
            "effective": self.effective,
            "event_shape": list(self.event_shape),
            "flagged": list(self.flagged),
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Predictive:
        """The object that `to_dict` described."""
        tensors = {
            name: torch.tensor(record[name], dtype=torch.float64)
            for name in ("observed", "quantiles", "place", "z", "p_value")
        }
        return Predictive(
            source=str(record["source"]),
            level=None if record["level"] is None else int(record["level"]),
            **tensors,
            effective=float(record["effective"]),
            event_shape=tuple(int(size) for size in record["event_shape"]),
            flagged=tuple(int(output) for output in record["flagged"]),
        )


def of_draws(draws: Tensor, x_o: Tensor, *, source: str, alpha: float) -> Predictive:
    """From draws of x that all count the same.

    Args:
        draws: Shape `(m, *event)`.
        x_o: Shape `(*event,)`.
        source: What the draws are, in words.
        alpha: Probability of flagging any output of an x_o that is one of the draws.
    """
    even = torch.ones(len(draws), dtype=torch.float64)
    return _judged(draws, even, x_o, source=source, level=None, alpha=alpha)


def of_runs(
    x: Tensor, log_weights: Tensor, x_o: Tensor, *, level: int, coarse: bool, alpha: float
) -> Predictive:
    """From runs of one level at prior draws of theta.

    Args:
        x: Runs, shape `(n, *event)`.
        log_weights: log q(theta_i | x_o) - log p(theta_i), shape `(n,)`; minus infinity: none.
        x_o: Shape `(*event,)`.
        level: Of the runs.
        coarse: Whether the level is below L, so that x_o may well differ from its runs.
        alpha: As in `of_draws`.
    """
    finite = torch.isfinite(log_weights)
    if not bool(finite.any()):
        log_weights = torch.zeros_like(log_weights)
    weights = (log_weights.double() - log_weights.max()).exp()
    which = f"level {level}, a coarser one," if coarse else f"level {level},"
    source = f"runs of {which} weighted by the posterior"
    return _judged(x, weights, x_o, source=source, level=level, alpha=alpha)


def _judged(
    draws: Tensor, weights: Tensor, x_o: Tensor, *, source: str, level: int | None, alpha: float
) -> Predictive:
    flat, observed = draws.double().flatten(1), x_o.double().flatten()
    effective = float(weights.sum().square() / weights.square().sum())
    quantiles, place = _weighted_quantiles(flat, weights, observed)
    z = _scores(flat, weights, observed, effective)
    p = two_sided(z, max(2, round(effective)))
    flagged = (p * len(p) < alpha) if effective >= FEWEST else torch.zeros_like(p, dtype=torch.bool)
    return Predictive(
        source,
        level,
        observed,
        quantiles,
        place,
        z,
        p,
        effective,
        tuple(x_o.shape),
        tuple(flagged.nonzero().flatten().tolist()),
    )


def _scores(flat: Tensor, weights: Tensor, observed: Tensor, effective: float) -> Tensor:
    """By ranks where enough draws count for them, else by mean and width."""
    if effective >= 50:
        scale = NormalScale(flat, weights)
        return scale(observed.unsqueeze(0))[0].clamp(-99.0, 99.0)
    picks = weights / weights.sum()
    mean = picks @ flat
    variance = picks @ (flat - mean).square() * effective / max(effective - 1, 0.5)
    # the weighted rows as a sample of that mean and width
    rows = torch.stack([mean - (variance / 2).sqrt(), mean + (variance / 2).sqrt()])
    return z_of(rows, observed)


def _weighted_quantiles(flat: Tensor, weights: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Quantiles at `PROBABILITIES` `(5, D)`, and the place of `observed` among the rows `(D,)`."""
    order = flat.T.sort(dim=1)
    values = order.values.contiguous()
    share = (weights / weights.sum())[order.indices]
    middle = share.cumsum(1) - share / 2  # where each value stands
    at = torch.tensor(PROBABILITIES, dtype=torch.float64).expand(len(values), -1).contiguous()
    right = torch.searchsorted(middle.contiguous(), at).clamp(1, max(1, values.shape[1] - 1))
    right = right.clamp(max=values.shape[1] - 1)
    left = (right - 1).clamp(min=0)
    low, high = middle.gather(1, left), middle.gather(1, right)
    step = ((at - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    quantiles = values.gather(1, left).lerp(values.gather(1, right), step)
    below = (weights[:, None] * (flat < observed)).sum(0) / weights.sum()
    tied = (weights[:, None] * (flat == observed)).sum(0) / weights.sum()
    return quantiles.T.contiguous(), below + tied / 2


def primary(found: Sequence[Predictive]) -> Predictive | None:
    """The one to show: the first that can judge x_o, else the first; None where there is none."""
    return next((one for one in found if one.enough), found[0] if found else None)
