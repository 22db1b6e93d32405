"""What training and evaluation need of a conditional density: k members, stacked."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["ConditionalDensity"]


class ConditionalDensity(nn.Module, ABC):
    """k independent estimators of log q(value | context), held and evaluated together.

    Every parameter has shape `(k, ...)`, its first axis the member. That one rule is what lets the
    training loop clip, rescale, project, roll back and stop each member on its own without a
    Python loop over members.

    A subclass supplies `log_prob` and `sample`, in the units that the transforms of
    `mlsbi.estimators.transforms` produce (location near 0, scale near 1). If it also supplies
    `centre` and `moments`, its fits can be calibrated.
    """

    members: int

    @abstractmethod
    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density of each row under each member.

        Args:
            value: Shape `(k, n, d)`.
            context: Shape `(k, n, *event)`.

        Returns:
            Shape `(k, n)`.
        """

    @abstractmethod
    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw for each row and member.

        Args:
            context: Shape `(k, n, *event)`.
            generator: The only source of randomness.

        Returns:
            Shape `(k, n, d)`.
        """

    def centre(self, context: Tensor) -> Tensor:
        """A point in the middle of each row's density, about which it can be scaled.

        It is a function of the row's context alone, without randomness, through which gradients
        flow. Any such function leaves a scaled density exact; one that lies in the middle keeps
        where the density is while its width changes.

        Args:
            context: Shape `(k, n, *event)`.

        Returns:
            Shape `(k, n, d)`.

        Raises:
            NotImplementedError: The density knows no such point.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no centre, about which its density could be scaled"
        )

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The centre, and how far the density spreads about it in each entry.

        The spread is a standard deviation, or about one: like the centre, a function of the row's
        context alone, through which gradients flow.

        Args:
            context: Shape `(k, n, *event)`.

        Returns:
            Both of shape `(k, n, d)`.

        Raises:
            NotImplementedError: The density does not know.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no known width, by which its density could be widened"
        )
