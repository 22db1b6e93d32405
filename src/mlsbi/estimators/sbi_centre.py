"""The middle of what an estimator of `sbi` gives, and its width about it.

The middle is the mean, or the image of the mean of a flow's base.

sbi offers neither, so that this reaches into its estimators' parts, and into those of the
libraries that they are made of (`nflows`, `zuko`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlsbi.estimators.base_points import base_points, spread_of_images

if TYPE_CHECKING:
    from sbi.neural_nets.estimators import ConditionalDensityEstimator

__all__ = ["sbi_centre", "sbi_moments"]


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
    from sbi.neural_nets.estimators.mixture_density_estimator import MixtureDensityEstimator

    if isinstance(estimator, MixtureDensityEstimator):
        return _of_mixture(estimator, context)[0]
    return _images(estimator, context, None)


def sbi_moments(estimator: ConditionalDensityEstimator, context: Tensor) -> tuple[Tensor, Tensor]:
    """The centre of q(value | context) and its spread; see `ConditionalDensity.moments`.

    Args:
        estimator: As of `sbi_centre`.
        context: Shape `(n, *event)`.

    Returns:
        Both of shape `(n, d)`.

    Raises:
        NotImplementedError: It is an estimator of another kind.
    """
    from sbi.neural_nets.estimators.mixture_density_estimator import MixtureDensityEstimator

    if isinstance(estimator, MixtureDensityEstimator):
        return _of_mixture(estimator, context)
    points = base_points(estimator.input_shape.numel()).to(context)
    many = context.repeat(len(points), *[1] * (context.dim() - 1))
    images = _images(estimator, many, points.repeat_interleave(len(context), 0))
    centre = _images(estimator, context, None)
    return centre, spread_of_images(images.reshape(len(points), len(context), -1), centre)


def _of_mixture(estimator: Any, context: Tensor) -> tuple[Tensor, Tensor]:
    if estimator._prior_transform is not None:
        raise NotImplementedError(
            "a mixture of sbi behind a transform of the prior has no known centre, about which "
            "its density could be scaled"
        )
    mixture = estimator.get_uncorrected_mog(context)
    weights = torch.softmax(mixture.logits, -1).unsqueeze(-1)
    mean = (weights * mixture.means).sum(1)
    variance = torch.linalg.inv(mixture.precisions).diagonal(dim1=-2, dim2=-1)
    away = mixture.means - mean.unsqueeze(1)
    spread = (weights * (variance + away.square())).sum(1).sqrt()
    if estimator.has_input_transform:
        spread = spread * estimator._transform_scale
    return estimator._inverse_transform_input(mean), spread


def _images(estimator: ConditionalDensityEstimator, context: Tensor, base: Tensor | None) -> Tensor:
    """What a flow makes of points of its base `(n, d)`; None: of the base's mean."""
    from sbi.neural_nets.estimators import NFlowsFlow, ZukoFlow

    if isinstance(estimator, ZukoFlow):
        return _of_zuko(estimator, context, base)
    if isinstance(estimator, NFlowsFlow):
        return _of_nflows(estimator, context, base)
    raise NotImplementedError(
        f"{type(estimator).__name__} of sbi has no centre, about which its density could be scaled"
    )


def _of_zuko(estimator: Any, context: Tensor, base: Tensor | None) -> Tensor:
    from zuko.flows.neural import MNN

    if context.requires_grad and any(isinstance(m, MNN) for m in estimator.net.modules()):
        # Its inverse is found by bisection, whose backward pass needs the weights in place.
        raise NotImplementedError(
            "a neural autoregressive flow has no centre through which gradients flow to the context"
        )
    if base is None:
        base = context.new_zeros(len(context), *estimator.input_shape)
    flow = estimator.net(estimator.embedding_net(context))
    images: Tensor = flow.transform.inv(base)
    return images


def _of_nflows(estimator: Any, context: Tensor, base: Tensor | None) -> Tensor:
    from nflows.distributions import StandardNormal
    from sbi.utils.nn_utils import MADEMoGWrapper

    net = estimator.net
    embedded = net._embedding_net(context)
    if base is None and isinstance(net._distribution, MADEMoGWrapper):
        base = _of_autoregressive_mixture(net._distribution._made, embedded)
    elif not isinstance(net._distribution, StandardNormal):
        raise NotImplementedError(
            f"a flow of nflows on a {type(net._distribution).__name__} has no known width, by "
            "which its density could be widened"
        )
    elif base is None:
        base = context.new_zeros(len(context), *estimator.input_shape)
    images: Tensor = net._transform.inverse(base, context=embedded)[0]
    return images


def _of_autoregressive_mixture(made: Any, context: Tensor) -> Tensor:
    """Each value's mean given the means of those before it; sbi puts a zero in front of them."""
    values = [context.new_zeros(len(context))]
    for i in range(1, made.features):
        rest = [torch.zeros_like(values[0])] * (made.features - i)
        out = made.forward(torch.stack([*values, *rest], 1), context=context)
        own = out.reshape(len(context), made.features, -1, 3)[:, i]
        values.append((torch.softmax(own[..., 0], -1) * own[..., 1]).sum(-1))
    return torch.stack(values[1:], 1)
