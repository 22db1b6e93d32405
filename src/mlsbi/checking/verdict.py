"""Verdicts: can the widths and the centres of a fit be believed, and how sure is that?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mlsbi.checking.bands import Band

__all__ = ["State", "Verdict"]


class State(StrEnum):
    """What is said of a parameter, or of all together."""

    CALIBRATED = "calibrated"
    OVER = "over-confident"
    UNDER = "under-confident"
    BIASED = "biased"
    UNDECIDED = "not enough runs to tell"

    @property
    def alarm(self) -> bool:
        """Whether something is found to be wrong."""
        return self in {State.OVER, State.UNDER, State.BIASED}


@dataclass(frozen=True)
class Verdict:
    """What is said of one parameter, or of all together, and why.

    Attributes:
        name: The parameter's name, or "joint".
        state: The verdict.
        scale: Factor by which the posterior's width would have to be multiplied: 1 is right, above
            1 it is too narrow.
        shift: How far the posterior's centre would have to be moved, in posterior standard
            deviations; positive: it is too low. Of "joint", the length of the shift of all
            parameters together, which has no sign.
        p_value: How easily chance alone would look as bad on a fit that is good enough, allowing
            for the number of parameters; an alarm is raised below `1 - level`.
        more: About how many more runs it takes to tell; None unless undecided.
        text: One sentence with the evidence.
    """

    name: str
    state: State
    scale: Band
    shift: Band
    p_value: float
    more: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name, as JSON types."""
        return {
            "name": self.name,
            "state": self.state.value,
            "scale": self.scale.to_dict(),
            "shift": self.shift.to_dict(),
            "p_value": self.p_value,
            "more": self.more,
            "text": self.text,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Verdict:
        """The verdict that `to_dict` wrote."""
        return Verdict(
            name=str(values["name"]),
            state=State(values["state"]),
            scale=Band.from_dict(values["scale"]),
            shift=Band.from_dict(values["shift"]),
            p_value=float(values["p_value"]),
            more=None if values["more"] is None else int(values["more"]),
            text=str(values["text"]),
        )
