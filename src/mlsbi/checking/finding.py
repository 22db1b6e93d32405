"""The words of a warning: what was seen, how strong it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsbi._checks import check_option

__all__ = ["SEVERITIES", "Finding", "sorted_findings"]

SEVERITIES = ("warning", "note")  # the worse first


@dataclass(frozen=True)
class Finding:
    """One thing that was seen of a fit, of its runs or of an observation.

    Attributes:
        code: A word that stays the same between versions, such as `"outputs-outside"`.
        severity: `"warning"`: results may be wrong. `"note"`: good to know.
        text: What was seen, and how strong it is.
        remedy: What to do; empty if nothing.
        evidence: The figures behind the text, by name.
    """

    code: str
    severity: str
    text: str
    remedy: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_option(self.severity, name="severity", allowed=SEVERITIES)

    def __str__(self) -> str:
        """The finding, and the remedy on a line of its own."""
        lines = [f"{self.severity} ({self.code}): {self.text}"]
        return "\n  ".join([*lines, *([f"Remedy: {self.remedy}"] if self.remedy else [])])

    def to_dict(self) -> dict[str, Any]:
        """The finding in JSON types."""
        return {
            "code": self.code,
            "severity": self.severity,
            "text": self.text,
            "remedy": self.remedy,
            "evidence": {name: float(value) for name, value in self.evidence.items()},
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Finding:
        """The finding that `to_dict` described."""
        return Finding(
            str(record["code"]),
            str(record["severity"]),
            str(record["text"]),
            str(record["remedy"]),
            {str(name): float(value) for name, value in record["evidence"].items()},
        )


def sorted_findings(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Warnings first, otherwise in the order in which they came."""
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
