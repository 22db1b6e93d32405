"""From a user's word for an estimator to a density of k members."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlsbi._random import derive_seed, isolated_rng, make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.embedding import EmbeddedDensity, StackedModule
from mlsbi.estimators.level_input import LevelDensity
from mlsbi.estimators.sbi_builder import sbi_density
from mlsbi.estimators.specs import NAMED, EstimatorSpec
from mlsbi.estimators.union import UnionDensity

__all__ = ["Blueprint", "Part"]

_Estimator = str | EstimatorSpec | Callable[..., Any]


class Part(NamedTuple):
    """In what one density departs from the blueprint of its fit.

    Attributes:
        estimator: As in `Blueprint`; None: the blueprint's.
        members: Ensemble size.
        level_input: Whether it sees the level.
    """

    estimator: _Estimator | None
    members: int
    level_input: bool = False


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
        level_input: The density also sees the level; see `LevelDensity`.
        parts: The densities of a union, in order; None: one density.
    """

    estimator: _Estimator
    kind: str
    members: int
    value_dim: int
    context_shape: tuple[int, ...]
    dropout: float = 0.0
    common_dropout: bool = True
    embedding_net: nn.Module | None = None
    level_input: bool = False
    parts: tuple[Part, ...] | None = None

    def variant(
        self,
        *,
        estimator: _Estimator | None = None,
        members: int | None = None,
        level_input: bool = False,
    ) -> Blueprint:
        """The blueprint of one density with another estimator or size, or with the level."""
        return replace(
            self,
            estimator=self.estimator if estimator is None else estimator,
            members=self.members if members is None else members,
            level_input=level_input,
            parts=None,
        )

    def of_parts(self, parts: tuple[Part, ...]) -> Blueprint:
        """The blueprint of what `union` makes of densities built as `parts` say."""
        if len(parts) == 1:
            return self.variant(**parts[0]._asdict())
        return replace(self, members=sum(part.members for part in parts), parts=parts)

    def build(self, *, seed: int) -> ConditionalDensity:
        """A density with fresh weights.

        Raises:
            ValueError: `estimator` is no known name.
            TypeError: `estimator` or what a builder returns is of the wrong type.
        """
        if self.parts is not None:
            each = enumerate(self.parts)
            return UnionDensity(
                [self.variant(**p._asdict()).build(seed=derive_seed(seed, i)) for i, p in each]
            )
        # A user's network may draw from the global generator when it is made or tried out.
        with isolated_rng(derive_seed(seed, "build")):
            return self._build(seed)

    def _build(self, seed: int) -> ConditionalDensity:
        context = torch.randn(64, *self.context_shape, generator=make_generator(seed, "shapes"))
        embedding = None
        if self.embedding_net is not None:
            net = copy.deepcopy(self.embedding_net)
            self._tried(net, context)  # some nets make their last layers when they first see x
            embedding = StackedModule(net, self.members, seed=derive_seed(seed, "embedding"))
            out = self._tried(embedding, context.expand(self.members, *context.shape))
            context = self._features(out[0], rows=context.shape[0])
        elif len(self.context_shape) != 1:
            whole = self._of_whole_events(context, seed)
            if whole is not None:
                return whole
            embedding = StackedModule(nn.Flatten(), self.members, seed=0)
            context = context.flatten(1)
        if self.level_input:
            # no column of zeros: a builder may scale what it sees in the example
            level = torch.linspace(0, 1, context.shape[0]).unsqueeze(1)
            density = self._density(torch.cat([context, level], 1), seed)
            return LevelDensity(density, embedding, self.context_shape)
        density = self._density(context, seed)
        return density if embedding is None else EmbeddedDensity(embedding, density)

    def _of_whole_events(self, context: Tensor, seed: int) -> ConditionalDensity | None:
        """A builder's density, where a net inside it takes contexts of several axes as they are."""
        if isinstance(self.estimator, (str, EstimatorSpec)) or self.level_input:
            return None
        value = torch.zeros(self.members, len(context), self.value_dim)
        try:
            density = self._density(context, seed)
            with torch.no_grad():
                density.eval().log_prob(value, context.expand(self.members, *context.shape))
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return None  # what is wrong with it, if anything, shows with flat contexts
        return density.train()

    def _tried(self, net: nn.Module, context: Tensor) -> Any:
        """What a net makes of contexts, without touching batch statistics or drawing dropout."""
        was = net.training
        try:
            with torch.no_grad():
                return net.eval()(context)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"embedding_net failed on contexts of shape (n, {self._shape()}): {error}; it must "
                "map (n, *event) to (n, features), with the event shape of the data"
            ) from error
        finally:
            net.train(was)

    def _features(self, out: Any, *, rows: int) -> Tensor:
        if not isinstance(out, Tensor) or out.dim() < 2 or out.shape[0] != rows:
            raise ValueError(
                "embedding_net must map (n, *event) to (n, features); got shape "
                f"{tuple(getattr(out, 'shape', ()))} from {(rows, *self.context_shape)}"
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
