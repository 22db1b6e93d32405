"""Does one fit beat another? The same runs scored by both, run by run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mlsbi.checking.bands import Band, mean_band

__all__ = ["Comparison", "compare"]

_LITTLE = 0.05  # nats a run: less than anybody would miss


@dataclass(frozen=True, eq=False)
class Comparison:
    """A fit against another on the same runs.

    Attributes:
        name: The other one.
        gain: Mean over runs of log q(theta | x) minus that of the other, in nats a run, with its
            interval; positive: the fit is better.
        log_prob: log q(theta | x) of the other, of each run that both scored, `(n,)`, float64.
        rows: Which of the check's runs these are, `(n,)`.
        text: Who wins, in a sentence.
    """

    name: str
    gain: Band
    log_prob: Tensor = field(repr=False)
    rows: Tensor = field(repr=False)
    text: str

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.gain.low > 0 or self.gain.high < 0

    def __str__(self) -> str:
        """The sentence."""
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """The comparison in JSON types."""
        return {
            "name": self.name,
            "gain": self.gain.to_dict(),
            "log_prob": self.log_prob.tolist(),
            "rows": self.rows.tolist(),
            "text": self.text,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Comparison:
        """The comparison that `to_dict` described."""
        return Comparison(
            name=str(record["name"]),
            gain=Band.from_dict(record["gain"]),
            log_prob=torch.tensor([float(v) for v in record["log_prob"]], dtype=torch.float64),
            rows=torch.tensor(record["rows"], dtype=torch.int64),
            text=str(record["text"]),
        )


def compare(
    name: str,
    own: Tensor,
    other: Tensor,
    *,
    own_rows: Tensor,
    other_rows: Tensor,
    level: float = 0.95,
) -> Comparison:
    """Compare the log densities of two fits on the runs that both have scored.

    The difference is taken run by run: what makes a run hard for both drops out, so that the
    interval is shorter than those of the two means.

    Args:
        name: The other one.
        own: log q(theta | x) of each run by the fit, `(n,)`.
        other: The same by the other, `(m,)`.
        own_rows: Which runs these are, increasing, `(n,)`.
        other_rows: The same, `(m,)`.
        level: Confidence of the interval.

    Returns:
        The comparison.

    Raises:
        ValueError: They have fewer than 2 runs in common.
    """
    shared = torch.isin(own_rows, other_rows)
    theirs = other[torch.isin(other_rows, own_rows)]
    gain = _gain(own[shared], theirs, level)
    return Comparison(
        name, gain, theirs, shared.nonzero().flatten(), _words(name, gain, len(theirs))
    )


def _gain(own: Tensor, other: Tensor, level: float) -> Band:
    """The mean difference; where both give a run no density at all, they differ by nothing."""
    difference = torch.where((own == other), torch.zeros_like(own), own - other)
    value = float(difference.mean())
    if math.isnan(value):  # each of the two gives another run no density
        return Band(value, -torch.inf, torch.inf, level, "undefined")
    return mean_band(difference, level=level)


def _words(name: str, gain: Band, runs: int) -> str:
    """Who wins by how much."""
    interval = f"{gain.level:.0%} interval {gain.low:+.2f} to {gain.high:+.2f}, {runs} runs"
    size = f"{abs(gain.value):.2f} nats a run ({interval})"
    if gain.low > 0:
        return f"better than {name} by {size}"
    if gain.high < 0:
        return f"worse than {name} by {size}"
    if max(abs(gain.low), abs(gain.high)) < _LITTLE:
        return f"as good as {name}: the difference is {gain.value:+.2f} nats a run ({interval})"
    ahead = "ahead of" if gain.value > 0 else "behind"
    return f"cannot be told from {name}: {ahead} it by {size}, too few runs to tell"
