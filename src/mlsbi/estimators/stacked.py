"""Layers that hold k independent networks in one tensor, and per-term gradients in one pass.

A stacked linear layer costs one batched matrix product for all k members, so that an ensemble
trains in about the time of one network while the network is small. The layers can also be put on a
`Tape`: one forward and one backward pass over the rows of several loss terms then gives the
gradient of *each term* separately, because a linear layer's weight gradient is a product over rows
(`output_gradient.T @ input`) that may be summed segment by segment. Algorithm 1 of Hikida et al.
(2025) needs those per-term gradients; computed naively they cost one backward pass a term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mlsbi._zuko import zuko

__all__ = ["Dropout", "StackedLinear", "Tape", "stack_linears", "taped"]


class StackedLinear(nn.Module):
    """k independent affine maps, `(k, n, in) -> (k, n, out)`, with an optional shared mask."""

    mask: Tensor | None

    def __init__(
        self,
        members: int,
        in_features: int,
        out_features: int,
        *,
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> None:
        """Initialise uniformly in +-1/sqrt(fan-in), as `nn.Linear` does, from `generator`."""
        super().__init__()
        bound = max(in_features, 1) ** -0.5

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(*shape, generator=generator) - 1) * bound)

        self.weight = uniform(members, out_features, in_features)
        self.bias = uniform(members, out_features)
        self.register_buffer("mask", mask)
        self.tape: Tape | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(k, n, in)` to `(k, n, out)`."""
        if self.tape is not None:
            return self.tape.record(self, x)
        weight = self.weight if self.mask is None else self.weight * self.mask
        return torch.baddbmm(self.bias.unsqueeze(1), x, weight.mT)


class Dropout(nn.Module):
    """Dropout whose masks come from a generator that the training loop sets.

    With `common=True` a pass draws one mask a member and feature, so that the two runs of a coupled
    pair lose the same features and their difference stays small. With `common=False` every row has
    its own mask, as in the released code of Hikida et al. (2025): noise that no coupling cancels.
    """

    def __init__(self, rate: float, *, common: bool) -> None:
        """Drop features with probability `rate` in training mode."""
        super().__init__()
        self.rate, self.common = rate, common
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop and rescale in training mode, pass through in evaluation mode."""
        if not self.training or self.rate == 0.0:
            return x
        shape = (x.shape[0], 1 if self.common else x.shape[1], x.shape[2])
        keep = torch.rand(shape, generator=self.generator, device=x.device) >= self.rate
        return x * keep / (1.0 - self.rate)


class Tape:
    """Inputs and outputs of every stacked layer of one pass, cut off from the parameters."""

    def __init__(self) -> None:
        """Start empty."""
        self.entries: list[tuple[StackedLinear, Tensor, Tensor]] = []

    def record(self, layer: StackedLinear, x: Tensor) -> Tensor:
        """Apply `layer` with its parameters detached, and remember what went in and out."""
        weight = layer.weight.detach()
        if layer.mask is not None:
            weight = weight * layer.mask
        out = torch.baddbmm(layer.bias.detach().unsqueeze(1), x, weight.mT)
        if not out.requires_grad:  # the first layer: the graph begins at its output
            out.requires_grad_()
        self.entries.append((layer, x.detach(), out))
        return out

    def gradients(self, loss: Tensor, sizes: Sequence[int]) -> dict[nn.Parameter, Tensor]:
        """Gradient of each segment's part of `loss` for every parameter on the tape.

        Args:
            loss: A scalar, a sum over rows.
            sizes: Rows of each of the T consecutive segments; they sum to n.

        Returns:
            For each parameter of shape `(k, ...)` a tensor `(T, k, ...)`.
        """
        outs = [out for _, _, out in self.entries]
        cotangents = torch.autograd.grad(loss, outs)
        result: dict[nn.Parameter, Tensor] = {}
        for (layer, x, _), cotangent in zip(self.entries, cotangents, strict=True):
            segments = zip(cotangent.split(list(sizes), 1), x.split(list(sizes), 1), strict=True)
            weight, bias = [], []
            for g, a in segments:
                weight.append(torch.bmm(g.mT, a))
                bias.append(g.sum(1))
            stacked = torch.stack(weight)
            if layer.mask is not None:
                stacked = stacked * layer.mask
            for parameter, value in ((layer.weight, stacked), (layer.bias, torch.stack(bias))):
                result[parameter] = result[parameter] + value if parameter in result else value
        return result


@contextmanager
def taped(module: nn.Module) -> Iterator[Tape | None]:
    """Put every stacked layer of `module` on one tape; None if it has parameters elsewhere."""
    layers = [m for m in module.modules() if isinstance(m, StackedLinear)]
    if sum(1 for m in layers for _ in m.parameters()) != sum(1 for _ in module.parameters()):
        yield None
        return
    tape = Tape()
    for layer in layers:
        layer.tape = tape
    try:
        yield tape
    finally:
        for layer in layers:
            layer.tape = None


def stack_linears(
    module: nn.Module,
    members: int,
    *,
    generator: torch.Generator,
    after_activation: Callable[[], nn.Module] | None = None,
) -> nn.Module:
    """Replace every linear layer inside `module` by a stacked one, in place.

    zuko's flows broadcast over leading axes, so with their linear layers stacked they evaluate k
    members at once on inputs of shape `(k, n, ...)`.

    Args:
        module: Holds `nn.Linear`, `zuko.nn.Linear` or `zuko.nn.MaskedLinear` layers.
        members: k.
        generator: Draws the initial weights.
        after_activation: Makes a layer to put behind each activation (dropout).
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | zuko.nn.Linear):
            mask = getattr(child, "mask", None)
            layer = StackedLinear(
                members,
                child.in_features,
                child.out_features,
                generator=generator,
                mask=None if mask is None else mask.float(),
            )
            setattr(module, name, layer)
        else:
            stack_linears(child, members, generator=generator, after_activation=after_activation)
            if after_activation is not None and isinstance(child, nn.ReLU | nn.ELU | nn.SiLU):
                setattr(module, name, nn.Sequential(child, after_activation()))
    return module
