"""Losses of several terms and their gradients, a member and a term at a time.

Everywhere here T is the number of terms, k the number of members, P the parameters of one member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.stacked import Dropout, taped

__all__ = ["assign", "flatten", "summed_gradient", "term_gradients"]


def flatten(tensors: Sequence[Tensor], lead: int) -> Tensor:
    """Tensors that share their first `lead` axes, flattened behind them and joined."""
    return torch.cat([t.flatten(lead) if t.dim() > lead else t.unsqueeze(-1) for t in tensors], -1)


def assign(density: ConditionalDensity, gradient: Tensor) -> None:
    """Set `.grad` of every parameter from one `(k, P)` gradient."""
    start = 0
    for parameter in density.parameters():
        size = parameter[0].numel()
        part = gradient[:, start : start + size].reshape(parameter.shape)
        # The fused optimiser reads memory in order: a strided view would give it wrong numbers.
        parameter.grad = part.contiguous()
        start += size


def _losses(log_prob: Tensor, weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """Weighted sums of -log q over each segment of rows, `(T, k)`."""
    weighted = -(log_prob * weights)
    return torch.stack([part.sum(1) for part in weighted.split(list(sizes), 1)])


def summed_gradient(
    density: ConditionalDensity,
    value: Tensor,
    context: Tensor,
    weights: Tensor,
    sizes: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Losses of the terms `(T, k)` and the gradient of their sum `(k, P)`, in one pass.

    Args:
        density: k members.
        value: All terms' rows one after the other, `(k, n, d)`.
        context: Likewise, `(k, n, *event)`.
        weights: Weight of each row in its term, with the term's sign, `(k, n)`.
        sizes: Rows of each term; they sum to n.
    """
    parameters = list(density.parameters())
    losses = _losses(density.log_prob(value, context), weights, sizes)
    grads = torch.autograd.grad(losses.sum(), parameters, allow_unused=True, materialize_grads=True)
    return losses.detach(), flatten(grads, 1)


def term_gradients(
    density: ConditionalDensity,
    value: Tensor,
    context: Tensor,
    weights: Tensor,
    sizes: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Losses `(T, k)` and each term's own gradient `(T, k, P)`; arguments as `summed_gradient`.

    One pass of the network where all its parameters sit in stacked layers, else one pass a term
    over that term's rows.
    """
    with taped(density) as tape:
        if tape is not None:
            losses = _losses(density.log_prob(value, context), weights, sizes)
            found = tape.gradients(losses.sum(), sizes)
            unused = value.new_zeros(())
            grads = [
                found.get(p, unused.expand(len(sizes), *p.shape)) for p in density.parameters()
            ]
            return losses.detach(), flatten(grads, 2)
    splits = (t.split(list(sizes), 1) for t in (value, context, weights))
    shared = [m.generator for m in density.modules() if isinstance(m, Dropout) and m.common]
    states = [(g, g.get_state()) for g in shared if g is not None]
    passes = []
    for v, c, w in zip(*splits, strict=True):
        for generator, state in states:  # the same masks for every term, as in one pass
            generator.set_state(state)
        passes.append(summed_gradient(density, v, c, w, [w.shape[1]]))
    return torch.cat([loss for loss, _ in passes]), torch.stack([grad for _, grad in passes])
