"""From a user's word for an estimator to a density of k members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlsbi._random import derive_seed, isolated_rng, make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.embedding import EmbeddedDensity, StackedModule
from mlsbi.estimators.sbi_builder import sbi_density
from mlsbi.estimators.specs import NAMED, EstimatorSpec

__all__ = ["Blueprint"]


@dataclass(frozen=True)
class Blueprint:
    """What it takes to build a density, again after loading as before training.

    Attributes:
        estimator: "mdn", "maf", "nsf", one of mlsbi's specs, the name of one of sbi's density
            estimators, or an sbi builder.
        kind: "posterior" or "likelihood".
        members: Ensemble size, k.
        value_dim: Dimension of the value.
        context_shape: Event shape of the context.
        dropout: Rate behind each activation.
        common_dropout: One mask for all rows of a step.
        embedding_net: Maps contexts `(n, *event)` to vectors; None: contexts are flattened.
    """

    estimator: str | EstimatorSpec | Callable[..., Any]
    kind: str
    members: int
    value_dim: int
    context_shape: tuple[int, ...]
    dropout: float = 0.0
    common_dropout: bool = True
    embedding_net: nn.Module | None = None

    def build(self, *, seed: int) -> ConditionalDensity:
        """A density with fresh weights.

        Raises:
            ValueError: `estimator` is no known name.
            TypeError: `estimator` or what a builder returns is of the wrong type.
        """
        # A user's network may draw from the global generator when it is made or tried out.
        with isolated_rng(derive_seed(seed, "build")):
            return self._build(seed)

    def _build(self, seed: int) -> ConditionalDensity:
        context = torch.randn(64, *self.context_shape, generator=make_generator(seed, "shapes"))
        embedding = None
        if self.embedding_net is not None:
            embedding = StackedModule(
                self.embedding_net, self.members, seed=derive_seed(seed, "embedding")
            )
            context = self._embedded(embedding, context)
        elif len(self.context_shape) != 1:
            embedding = StackedModule(nn.Flatten(), self.members, seed=0)
            context = context.flatten(1)
        density = self._density(context, seed)
        return density if embedding is None else EmbeddedDensity(embedding, density)

    def _embedded(self, embedding: StackedModule, context: Tensor) -> Tensor:
        try:
            embedding.eval()  # trying it out must not touch batch statistics, or draw dropout
            with torch.no_grad():
                out = embedding(context.expand(self.members, *context.shape))[0]
            embedding.train()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"embedding_net failed on contexts of shape (n, {self._shape()}): {error}; it must "
                "map (n, *event) to (n, features), with the event shape of the data"
            ) from error
        if not isinstance(out, Tensor) or out.dim() < 2 or out.shape[0] != context.shape[0]:
            raise ValueError(
                "embedding_net must map (n, *event) to (n, features); got shape "
                f"{tuple(getattr(out, 'shape', ()))} from {tuple(context.shape)}"
            )
        return out.flatten(1)

    def _shape(self) -> str:
        return ", ".join(map(str, self.context_shape))

    def _density(self, context: Tensor, seed: int) -> ConditionalDensity:
        chosen = self.estimator
        if isinstance(chosen, str) and chosen in NAMED:
            chosen = NAMED[chosen]
        if isinstance(chosen, EstimatorSpec):
            return chosen.build(
                self.members,
                self.value_dim,
                context.shape[1],
                generator=make_generator(seed, "weights"),
                dropout=self.dropout,
                common_dropout=self.common_dropout,
            )
        value = torch.randn(64, self.value_dim, generator=make_generator(seed, "values"))
        return sbi_density(
            chosen,
            kind=self.kind,
            value_example=value,
            context_example=context,
            members=self.members,
            seed=derive_seed(seed, "weights"),
        )
