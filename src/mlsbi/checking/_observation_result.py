"""What a look at an observation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsbi._table import Table
from mlsbi.checking.finding import Finding
from mlsbi.checking.predictive import Predictive

__all__ = ["ObservationCheck"]


@dataclass(frozen=True, eq=False)
class ObservationCheck:
    """What is odd about an observation, and the figures behind it.

    Attributes:
        findings: Warnings in words, the worse first; empty where nothing is odd.
        basis: What x_o was compared with, in words.
        outputs: A row an output: x_o, the runs' median, z, z given the others.
        figures: Everything else that was measured, by name.
        predictive: The posterior predictive that can judge x_o, or the first; None: there is none.
        levels: The posterior predictive from the runs of each level, finest first.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    basis: tuple[str, ...]
    outputs: Table
    figures: Mapping[str, float] = field(repr=False)
    predictive: Predictive | None = field(repr=False)
    levels: tuple[Predictive, ...] = field(repr=False)
    seconds: float = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is no warning (notes do not count)."""
        return all(finding.severity != "warning" for finding in self.findings)

    def __str__(self) -> str:
        """A page for a terminal: findings first, then what they rest on."""
        lines = [str(finding) for finding in self.findings]
        lines = lines or ["Nothing odd was seen of the observation."]
        return "\n".join([*lines, *self.basis])

    def to_dict(self) -> dict[str, Any]:
        """The check in JSON types."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "basis": list(self.basis),
            "outputs": self.outputs.to_dict(),
            "figures": {name: float(value) for name, value in self.figures.items()},
            "predictive": None if self.predictive is None else self.predictive.to_dict(),
            "levels": [one.to_dict() for one in self.levels],
            "seconds": self.seconds,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> ObservationCheck:
        """The check that `to_dict` described."""
        made = record["predictive"]
        return ObservationCheck(
            findings=tuple(Finding.from_dict(one) for one in record["findings"]),
            basis=tuple(str(line) for line in record["basis"]),
            outputs=Table.from_dict(record["outputs"]),
            figures={str(name): float(value) for name, value in record["figures"].items()},
            predictive=None if made is None else Predictive.from_dict(made),
            levels=tuple(Predictive.from_dict(one) for one in record["levels"]),
            seconds=float(record["seconds"]),
        )
