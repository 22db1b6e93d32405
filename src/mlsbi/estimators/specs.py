"""Which density to build: small frozen descriptions that a saved fit can hold as JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from mlsbi._checks import check_count, check_type
from mlsbi._zuko import zuko
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.flows import FlowDensity
from mlsbi.estimators.mdn import MixtureDensity

__all__ = ["MAF", "MDN", "NSF", "NAMED", "EstimatorSpec"]


@dataclass(frozen=True)
class EstimatorSpec(ABC):
    """Describes a conditional density that trains all members in one batched computation."""

    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            TypeError: A size is not an integer.
            ValueError: A size is not positive.
        """
        remedy = "Pass an integer width for each layer, such as (64, 64)."
        check_type(self.hidden, (tuple, list), name="hidden", remedy=remedy)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            check_count(width, name="hidden")

    @abstractmethod
    def build(
        self,
        members: int,
        value_dim: int,
        context_dim: int,
        *,
        generator: torch.Generator,
        dropout: float,
        common_dropout: bool,
    ) -> ConditionalDensity:
        """The density with fresh weights drawn from `generator`."""


@dataclass(frozen=True)
class MDN(EstimatorSpec):
    """Full-covariance mixture of Gaussians (Bishop 1994): fast, and the safest on few runs."""

    components: int = 4

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        check_count(self.components, name="components")

    def build(
        self,
        members: int,
        value_dim: int,
        context_dim: int,
        *,
        generator: torch.Generator,
        dropout: float,
        common_dropout: bool,
    ) -> ConditionalDensity:
        """The mixture with fresh weights drawn from `generator`."""
        return MixtureDensity(
            members,
            value_dim,
            context_dim,
            generator=generator,
            components=self.components,
            hidden=self.hidden,
            dropout=dropout,
            common_dropout=common_dropout,
        )


@dataclass(frozen=True)
class _Flow(EstimatorSpec):
    """What the two flows share."""

    transforms: int = 3

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        check_count(self.transforms, name="transforms")

    @abstractmethod
    def family(self) -> type[zuko.lazy.Flow]:
        """Zuko's class."""

    def build(
        self,
        members: int,
        value_dim: int,
        context_dim: int,
        *,
        generator: torch.Generator,
        dropout: float,
        common_dropout: bool,
    ) -> ConditionalDensity:
        """The flow with fresh weights drawn from `generator`."""
        return FlowDensity(
            self.family(),
            members,
            value_dim,
            context_dim,
            generator=generator,
            transforms=self.transforms,
            hidden=self.hidden,
            dropout=dropout,
            common_dropout=common_dropout,
        )


@dataclass(frozen=True)
class MAF(_Flow):
    """Masked autoregressive flow (Papamakarios et al. 2017, arXiv:1705.07057)."""

    def family(self) -> type[zuko.lazy.Flow]:
        """Zuko's class."""
        return zuko.flows.MAF


@dataclass(frozen=True)
class NSF(_Flow):
    """Neural spline flow (Durkan et al. 2019, arXiv:1906.04032)."""

    def family(self) -> type[zuko.lazy.Flow]:
        """Zuko's class."""
        return zuko.flows.NSF


NAMED: dict[str, EstimatorSpec] = {"mdn": MDN(), "maf": MAF(), "nsf": NSF()}
