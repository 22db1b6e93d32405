"""Estimators of `sbi` that differ in their weights only, as one that holds all their tensors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mlsbi.estimators.embedding import as_real

if TYPE_CHECKING:
    from sbi.neural_nets.estimators import ConditionalDensityEstimator

__all__ = ["check_alike", "stacked"]


def check_alike(estimators: Sequence[ConditionalDensityEstimator]) -> None:
    """Refuse estimators that cannot be stacked.

    Raises:
        ValueError: If one is there twice, or they differ in shape, or have no parameters.
    """
    if len({id(estimator) for estimator in estimators}) < len(estimators):
        raise ValueError(
            "the builder given as estimator must return a new estimator at each call; it returned "
            "the same object twice. Build the network inside the function."
        )
    layouts = [
        {name: tensor.shape for name, tensor in chain(e.named_parameters(), e.named_buffers())}
        for e in estimators
    ]
    if any(layout != layouts[0] for layout in layouts):
        raise ValueError(
            "the builder given as estimator must return one architecture; its calls returned "
            "parameters of different names or shapes. Fix the sizes inside the function."
        )
    if not any(True for _ in chain.from_iterable(e.parameters() for e in estimators)):
        raise ValueError(
            "the builder given as estimator returned an estimator without parameters, which "
            "cannot be trained. Register its weights as torch.nn.Parameter."
        )


def stacked(estimators: Sequence[ConditionalDensityEstimator]) -> ConditionalDensityEstimator:
    """A copy of the first estimator that holds the stack of all the members' tensors.

    Complex ones are stacked as pairs of real numbers, with one axis more.

    Raises:
        TypeError: If a parameter of one is no tensor in another.
    """
    stack = copy.deepcopy(estimators[0])
    done: dict[int, Tensor] = {}  # tied tensors stay tied
    tensors = [
        *stack.named_parameters(remove_duplicate=False),
        *stack.named_buffers(remove_duplicate=False),
    ]
    for path, tensor in tensors:
        parent, _, leaf = path.rpartition(".")
        owner = stack.get_submodule(parent)
        is_parameter = isinstance(tensor, nn.Parameter)
        if id(tensor) not in done:
            rows = torch.stack([as_real(_get(e, path).detach()) for e in estimators])
            done[id(tensor)] = (
                nn.Parameter(rows, requires_grad=tensor.requires_grad) if is_parameter else rows
            )
        (owner._parameters if is_parameter else owner._buffers)[leaf] = done[id(tensor)]
    return stack


def _get(estimator: nn.Module, path: str) -> Tensor:
    parent, _, leaf = path.rpartition(".")
    tensor = getattr(estimator.get_submodule(parent), leaf)
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{path} must be a tensor in every member; got {type(tensor).__name__}")
    return tensor
