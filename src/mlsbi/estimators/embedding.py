"""A user's embedding net in front of a density, one copy a member."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlsbi._random import derive_seed, isolated_rng
from mlsbi.estimators.base import ConditionalDensity

__all__ = ["EmbeddedDensity", "StackedModule", "as_real", "as_was"]


def as_real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs on a new last axis, which the loop and its optimiser can work on."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def as_was(tensor: Tensor, *, complex_: bool) -> Tensor:
    """The complex numbers again."""
    return torch.view_as_complex(tensor.contiguous()) if complex_ else tensor


class StackedModule(nn.Module):
    """k copies of any module, parameters stacked; evaluated in a loop, since any module may come.

    Each copy is initialised anew where the module's layers know how to (`reset_parameters`).
    """

    def __init__(self, module: nn.Module, members: int, *, seed: int) -> None:
        """Stack `members` copies of `module`."""
        super().__init__()
        copies = []
        for i in range(members):
            one = copy.deepcopy(module)
            with isolated_rng(derive_seed(seed, "embedding", i)):
                for layer in one.modules():
                    reset = getattr(layer, "reset_parameters", None)
                    if callable(reset):
                        reset()
            copies.append(one)
        self.members = members
        # The template gives the structure only: kept out of the registry of parameters.
        self._template = [copy.deepcopy(module).to("meta")]
        self._names = [n for n, _ in module.named_parameters()]
        self._buffer_names = [n for n, _ in module.named_buffers()]
        self._complex = [p.is_complex() for p in module.parameters()]
        states = [dict(c.named_parameters()) | dict(c.named_buffers()) for c in copies]
        stacks = [torch.stack([as_real(s[n].detach()) for s in states]) for n in self._names]
        self.stacked = nn.ParameterList([nn.Parameter(stack) for stack in stacks])
        for i, name in enumerate(self._buffer_names):
            self.register_buffer(f"stacked_buffer_{i}", torch.stack([s[name] for s in states]))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(k, n, *event)` to `(k, n, *out)`."""
        template = self._template[0].train(self.training)
        buffers = [getattr(self, f"stacked_buffer_{i}") for i in range(len(self._buffer_names))]
        outs = []
        for i in range(self.members):
            own = zip(self._names, self.stacked, self._complex, strict=True)
            state = {n: as_was(p[i], complex_=c) for n, p, c in own}
            state |= {n: b[i] for n, b in zip(self._buffer_names, buffers, strict=True)}
            outs.append(functional_call(template, state, (x[i],)))
        return torch.stack(outs)


class EmbeddedDensity(ConditionalDensity):
    """q(value | embedding(context))."""

    def __init__(self, embedding: StackedModule, density: ConditionalDensity) -> None:
        """Put `embedding` in front of `density`."""
        super().__init__()
        self.embedding, self.density, self.members = embedding, density, density.members

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density, `(k, n)`, of values `(k, n, d)` at contexts `(k, n, *event)`."""
        return self.density.log_prob(value, self.embedding(context).flatten(2))

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row, `(k, n, d)`."""
        return self.density.sample(self.embedding(context).flatten(2), generator=generator)

    def centre(self, context: Tensor) -> Tensor:
        """The inner density's centre, `(k, n, d)`; see `ConditionalDensity.centre`."""
        return self.density.centre(self.embedding(context).flatten(2))

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The inner density's, each `(k, n, d)`; see `ConditionalDensity.moments`."""
        return self.density.moments(self.embedding(context).flatten(2))
