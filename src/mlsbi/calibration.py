"""What was done to a fit after it was made: its density widened about its centre."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """How a fit was widened or narrowed; `mlsbi.calibrate`.

    Attributes:
        scale: Factors w by which the density of the fit as it was trained has been widened, one for
            each entry of what it is a density of: its width in the network's units where it is
            narrow, and less the nearer it is to what is known beforehand
            (`mlsbi.estimators.stretch`).
        method: How the factor was found.
        runs: Runs that it was found from.
        source: Where they come from: "cross-fitting" or "held-out runs".
        evidence: Figures: `found`, the factor that the runs ask for (it is not used where it is
            below one and the fit was not to be narrowed); of the runs, each with a factor found
            without its fold, `nlpd_before`, `nlpd_after`, `gain` in nats a run and its standard
            error `gain_error`, `coverage_error_before` and `coverage_error_after`: of what the fit
            is a density of, and of its highest-density regions in the network's units.
        seed: Of the calibration.
    """

    scale: tuple[float, ...]
    method: str
    runs: int
    source: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        """Freeze what was given."""
        object.__setattr__(self, "scale", tuple(float(s) for s in self.scale))
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))

    @property
    def factor(self) -> float:
        """Geometric mean of the scales: above one, the fit was widened."""
        return float(math.prod(self.scale) ** (1 / len(self.scale)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Built anew: a view of a dictionary cannot be pickled."""
        given = (self.scale, self.method, self.runs, self.source, dict(self.evidence), self.seed)
        return Calibration, given

    def __repr__(self) -> str:
        """The scale, and what it rests on."""
        same = len(set(self.scale)) == 1
        scale = f"{self.scale[0]:.3g}" if same else str(tuple(round(s, 3) for s in self.scale))
        return f"Calibration(scale={scale}, method={self.method!r}, runs={self.runs})"

    def __str__(self) -> str:
        """In a sentence."""
        each = ", ".join(f"{s:.3g}" for s in self.scale)
        scale = f"{self.scale[0]:.3g}" if len(set(self.scale)) == 1 else f"({each})"
        of = f"from {self.runs} runs ({self.source}, method {self.method!r})"
        found = self.evidence.get("found")
        if all(s == 1 for s in self.scale):
            text = f"left as it was: no widening is called for {of}"
            return text if found is None else f"{text}, which ask for a factor of {found:.3g}"
        verb = "widened" if self.factor > 1 else "narrowed"
        text = f"{verb} by a factor of {scale} {of}"
        if "gain" in self.evidence:
            before, after = (self.evidence[f"coverage_error_{w}"] for w in ("before", "after"))
            text += (
                f"; on runs that had no part in the factor it gains {self.evidence['gain']:.2g} +- "
                f"{self.evidence['gain_error']:.2g} nats a run, and the coverage error goes from "
                f"{before:.3f} to {after:.3f}"
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """The record in JSON types."""
        return {
            "scale": list(self.scale),
            "method": self.method,
            "runs": self.runs,
            "source": self.source,
            "evidence": dict(self.evidence),
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """The record that `to_dict` described."""
        return cls(
            scale=tuple(float(s) for s in record["scale"]),
            method=record["method"],
            runs=record["runs"],
            source=record["source"],
            evidence={name: float(value) for name, value in record["evidence"].items()},
            seed=record["seed"],
        )
