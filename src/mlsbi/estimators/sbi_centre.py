"""A point in the middle of what an estimator of `sbi` gives: the mean, or the image of the base's.

sbi offers no such point, so that this reaches into its estimators' parts, and into those of the
libraries that they are made of (`nflows`, `zuko`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sbi.neural_nets.estimators import ConditionalDensityEstimator

__all__ = ["sbi_centre"]


def sbi_centre(estimator: ConditionalDensityEstimator, context: Tensor) -> Tensor:
    """The centre of q(value | context); see `ConditionalDensity.centre`.

    Args:
        estimator: A mixture density network (its mean), or a flow of nflows or zuko (what it makes
            of the mean of its base).
        context: Shape `(n, *event)`.

    Returns:
        Shape `(n, d)`.

    Raises:
        NotImplementedError: It is an estimator of another kind.
    """
    from sbi.neural_nets.estimators import NFlowsFlow, ZukoFlow
    from sbi.neural_nets.estimators.mixture_density_estimator import MixtureDensityEstimator

    if isinstance(estimator, MixtureDensityEstimator):
        return _of_mixture(estimator, context)
    if isinstance(estimator, ZukoFlow):
        return _of_zuko(estimator, context)
    if isinstance(estimator, NFlowsFlow):
        return _of_nflows(estimator, context)
    raise NotImplementedError(
        f"{type(estimator).__name__} of sbi has no centre, about which its density could be scaled"
    )


def _of_mixture(estimator: Any, context: Tensor) -> Tensor:
    mixture = estimator.get_uncorrected_mog(context)
    weights = torch.softmax(mixture.logits, -1)
    mean = (weights.unsqueeze(-1) * mixture.means).sum(1)
    centre: Tensor = estimator._inverse_transform_input(mean)
    return centre


def _of_zuko(estimator: Any, context: Tensor) -> Tensor:
    from zuko.flows.neural import MNN

    if context.requires_grad and any(isinstance(m, MNN) for m in estimator.net.modules()):
        # Its inverse is found by bisection, whose backward pass needs the weights in place.
        raise NotImplementedError(
            "a neural autoregressive flow has no centre through which gradients flow to the context"
        )
    flow = estimator.net(estimator.embedding_net(context))
    centre: Tensor = flow.transform.inv(context.new_zeros(len(context), *estimator.input_shape))
    return centre


def _of_nflows(estimator: Any, context: Tensor) -> Tensor:
    from nflows.distributions import StandardNormal
    from sbi.utils.nn_utils import MADEMoGWrapper

    net = estimator.net
    embedded = net._embedding_net(context)
    if isinstance(net._distribution, StandardNormal):
        base = context.new_zeros(len(context), *estimator.input_shape)
    elif isinstance(net._distribution, MADEMoGWrapper):
        base = _of_autoregressive_mixture(net._distribution._made, embedded)
    else:
        raise NotImplementedError(
            f"a flow of nflows on a {type(net._distribution).__name__} has no known centre, about "
            "which its density could be scaled"
        )
    centre: Tensor = net._transform.inverse(base, context=embedded)[0]
    return centre


def _of_autoregressive_mixture(made: Any, context: Tensor) -> Tensor:
    """Each value's mean given the means of those before it; sbi puts a zero in front of them."""
    values = [context.new_zeros(len(context))]
    for i in range(1, made.features):
        rest = [torch.zeros_like(values[0])] * (made.features - i)
        out = made.forward(torch.stack([*values, *rest], 1), context=context)
        own = out.reshape(len(context), made.features, -1, 3)[:, i]
        values.append((torch.softmax(own[..., 0], -1) * own[..., 1]).sum(-1))
    return torch.stack(values[1:], 1)
