"""What the strategies that train on synthetic draws of level L share: their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlsbi._checks import check_count, check_type
from mlsbi.options import Training
from mlsbi.strategies.base import Strategy

__all__ = ["ON_DRAWS", "OnDraws"]

ON_DRAWS = Training(learning_rate=1.5e-2, max_steps=1600, warmup=100)
"""As many draws as one likes: a high learning rate that falls to zero."""


@dataclass(frozen=True)
class OnDraws(Strategy):
    """A strategy that trains on synthetic runs of level L.

    Attributes:
        num_draws: Emulated draws, and the most of the real ones.
        compress: Replace x by a summary learned at level 0: True, False, or "auto", where x has
            more than 12 numbers, an event shape, or another shape at each level.
        inflate: Widen the noise of what makes the draws by what runs that it did not see show.
        crossfit: Member e of the ensemble does not see fold e of level L's runs, so that its
            density of those is honest. False: all members see all of them.
    """

    num_draws: int = 10_000
    compress: str | bool = "auto"
    inflate: bool = True
    crossfit: bool = True

    _switches: ClassVar[tuple[str, ...]] = ("inflate", "crossfit")

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            TypeError: A switch is no bool, or a number no integer.
            ValueError: An option is none of those allowed.
        """
        super().__post_init__()
        check_count(self.num_draws, name="num_draws")
        remedy = "Pass 'auto', True or False."
        check_type(self.compress, (bool, str), name="compress", remedy=remedy)
        if isinstance(self.compress, str) and self.compress != "auto":
            raise ValueError(f"compress must be 'auto', True or False; got {self.compress!r}")
        for name in self._switches:
            check_type(getattr(self, name), bool, name=name, remedy="Pass True or False.")

    @property
    def default_training(self) -> Training:
        """`ON_DRAWS`."""
        return ON_DRAWS
