"""Rows of a campaign that have no result: why, and how to see it happen again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import check_type
from mlsbi._noise import noise_row
from mlsbi.hierarchy import Hierarchy

__all__ = ["Failure"]


@dataclass(frozen=True)
class Failure:
    """Why one row of a campaign has no result.

    Attributes:
        level: The row's level.
        row: The row's number within its level.
        simulator: Level of the simulator that failed: `level`, or the one below it for the coarse
            member of a pair.
        kind: `"exception"`, `"non-finite"`, `"shape"`, `"timeout"` or `"died"`.
        message: What went wrong, with the end of a traceback or of a program's output.
        attempts: How often the row was run.
        theta: The row's parameters.
        row_seed: The row's seed, or None where the noise is the user's own.
        seed: The campaign's seed.
    """

    level: int
    row: int
    simulator: int
    kind: str
    message: str
    attempts: int
    theta: tuple[float, ...]
    row_seed: int | None
    seed: int

    def reproduce(self, hierarchy: Hierarchy) -> Tensor:
        """Run the simulator that failed on this row again, here, and catch nothing.

        A debugger stops in the simulator. A batched simulator gets a batch of one row; one whose
        rows affect each other may behave differently then.

        Args:
            hierarchy: The hierarchy of the campaign.

        Returns:
            The output, float32, shape `(1, *event)`, if there is one this time.

        Raises:
            TypeError: If `hierarchy` is none.
            ValueError: If it is not the campaign's: it draws other parameters or noise.
        """
        check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
        theta, u = self._draw(hierarchy)
        own = hierarchy.levels[self.simulator]
        value: Any
        if own.batched:
            value = own._call(theta, u)
        else:
            value = [own.simulator(theta[0].numpy().copy(), noise_row(u, 0))]
        return own._output(value, rows=1)

    def _draw(self, hierarchy: Hierarchy) -> tuple[Tensor, Any]:
        """Draw the row, theta and u with one row, checked against what the campaign noted."""
        from mlsbi.simulate._reproduce import draw_row  # it imports this module

        if self.level >= hierarchy.num_levels:
            raise self._another(f"it has {hierarchy.num_levels} level(s)")
        theta, u = draw_row(hierarchy, level=self.level, row=self.row, seed=self.seed)
        if not torch.equal(theta[0], torch.tensor(self.theta, dtype=theta.dtype)):
            raise self._another(f"it draws theta {_numbers(theta[0].tolist())} for this row")
        if hierarchy.row_seeds != (self.row_seed is not None):
            raise self._another("one of the two has noise of its own, the other a seed a row")
        if self.row_seed is not None and int(u[0]) != self.row_seed:
            raise self._another(f"it draws the seed {int(u[0])} for this row")
        return theta, u

    def _another(self, found: str) -> ValueError:
        return ValueError(
            f"hierarchy must be the one of the campaign, with theta {_numbers(self.theta)} and "
            f"seed {self.row_seed} at row {self.row} of level {self.level}; got another: {found}. "
            "Pass the hierarchy with the levels, prior and noise that the campaign was run with."
        )

    def to_dict(self) -> dict[str, Any]:
        """The failure in JSON types."""
        return asdict(self) | {"theta": list(self.theta)}

    @staticmethod
    def from_dict(record: Mapping[str, Any], *, seed: int | None = None) -> Failure:
        """Build the failure that `to_dict` described.

        Args:
            record: The description.
            seed: The campaign's seed, where the record does not hold it.

        Returns:
            The failure.

        Raises:
            ValueError: If the record is malformed.
        """
        try:
            row_seed = record["row_seed"]
            return Failure(
                level=int(record["level"]),
                row=int(record["row"]),
                simulator=int(record["simulator"]),
                kind=str(record["kind"]),
                message=str(record["message"]),
                attempts=int(record["attempts"]),
                theta=tuple(float(value) for value in record["theta"]),
                row_seed=None if row_seed is None else int(row_seed),
                seed=int(record["seed"] if seed is None else seed),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"a record of a failure cannot be read ({type(error).__name__}: {error}): "
                f"{record!r}. Pass what Failure.to_dict returned."
            ) from error

    def __str__(self) -> str:
        """One paragraph; `message` has the traceback."""
        pair = ""
        if self.simulator != self.level:
            pair = f" (as the coarse member of level {self.level}'s pairs)"
        seed = "" if self.row_seed is None else f", seed {self.row_seed}"
        tries = f" in {self.attempts} attempts" if self.attempts > 1 else ""
        first = next(iter(self.message.strip().splitlines()), "no message").rstrip(".")
        return (
            f"row {self.row} of level {self.level}: the simulator of level {self.simulator}{pair} "
            f"failed{tries} ({self.kind}) at theta {_numbers(self.theta)}{seed}: {first}. "
            "failure.reproduce(hierarchy) runs it again, failure.message has all that is known."
        )


def _numbers(values: Any) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
