"""Networks of sbi in fits: every density estimator, builder and embedding net trains and loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from sbi.neural_nets import likelihood_nn, posterior_nn
from sbi.neural_nets.embedding_nets import (
    CausalCNNEmbedding,
    CNNEmbedding,
    FCEmbedding,
    LRUEmbedding,
    PermutationInvariantEmbedding,
    ResNetEmbedding1D,
    ResNetEmbedding2D,
    SpectralConvEmbedding,
    TransformerEmbedding,
)
from torch import nn

import mlsbi
from mlsbi.estimators.sbi_builder import sbi_estimator_names
from quick import short_trainings
from tiny import linear_data, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.triangular_solve:UserWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
    pytest.mark.filterwarnings("ignore:In one-dimensional output space:UserWarning"),
]
FITTED = {"posterior": mlsbi.fit_posterior, "likelihood": mlsbi.fit_likelihood}
FACTORIES = {"posterior": posterior_nn, "likelihood": likelihood_nn}
FAST = ("maf", "zuko_nsf", "mdn")


def some_fast(names, fast):
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


def fitted(kind, data, patch, *, strategy=None, **options):
    """A fit of a few steps."""
    short_trainings(patch, steps=3)
    chosen = mlsbi.Multilevel() if strategy is None else strategy
    options = {"strategy": chosen, "training": tiny(max_steps=3), **options}
    return FITTED[kind](data, seed=1, ensemble=2, **options)


def check_fit(fit, data, folder, **again):
    """Densities are finite, draws have their shape, and a loaded fit is the same bit for bit."""
    theta, x = data.theta(1), data.x(1)
    log_prob = fit.log_prob(theta, x)
    assert log_prob.isfinite().all()
    if isinstance(fit, mlsbi.PosteriorFit):
        assert fit.sample(3, x=x[0]).shape == (3, data.theta_dim)
        assert fit.posterior(x[0]).sample((2,), show_progress_bars=False).shape == (2, 2)
    else:
        assert fit.sample(3, theta=theta[0]).shape == (3, *data.event_shape(1))
        assert fit.posterior(x[:2]).potential(theta).isfinite().all()
    fit.save(folder / "fit")
    assert torch.equal(mlsbi.load_fit(folder / "fit", **again).log_prob(theta, x), log_prob)


# density estimators


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("name", some_fast(sbi_estimator_names(), FAST))
def test_names(name, kind, tmp_path, monkeypatch):
    data = linear_data((40, 16))
    check_fit(fitted(kind, data, monkeypatch, estimator=name), data, tmp_path)


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("name", some_fast(sbi_estimator_names(), FAST[:1]))
def test_builders(name, kind, tmp_path, monkeypatch):
    """As sbi's users write them: sizes of their own, z-scoring left on."""
    data = linear_data((40, 16))
    build = FACTORIES[kind](name, hidden_features=12, num_transforms=2)
    fit = fitted(kind, data, monkeypatch, estimator=build)
    check_fit(fit, data, tmp_path, estimator=build)


# embedding nets


class Net(NamedTuple):
    event: tuple[int, ...]
    make: Callable[[], nn.Module]


def transformer(**options):
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    widths = {"feature_space_dim": 8, "intermediate_size": 8, "final_emb_dimension": 3}
    return TransformerEmbedding(**sizes, **widths, **options)


SMALL = {"num_linear_units": 8, "output_dim": 3, "kernel_size": 3}
NETS = {
    "FCEmbedding": Net((6,), lambda: FCEmbedding(6, output_dim=3, num_hiddens=8)),
    "CNNEmbedding, series": Net((16,), lambda: CNNEmbedding((16,), **SMALL)),
    "CNNEmbedding, images": Net((8, 8), lambda: CNNEmbedding((8, 8), **SMALL)),
    "CNNEmbedding, channels": Net((2, 8, 8), lambda: CNNEmbedding((8, 8), in_channels=2, **SMALL)),
    "CausalCNNEmbedding": Net(
        (32,),
        lambda: CausalCNNEmbedding((32,), num_conv_layers=2, pool_kernel_size=8, output_dim=3),
    ),
    "PermutationInvariantEmbedding": Net(
        (5, 3),
        lambda: PermutationInvariantEmbedding(
            FCEmbedding(3, output_dim=4, num_hiddens=8), 4, num_hiddens=8, output_dim=3
        ),
    ),
    "ResNetEmbedding1D": Net(
        (6,), lambda: ResNetEmbedding1D(6, 3, n_blocks=2, c_internal=8, c_hidden_final=8)
    ),
    "ResNetEmbedding2D": Net(
        (1, 8, 8),
        lambda: ResNetEmbedding2D(
            1, 3, c_hidden_fc=8, n_stages=2, blocks_per_stage=[1, 1], c_stages=[4, 4]
        ),
    ),
    "LRUEmbedding": Net(
        (7, 2), lambda: LRUEmbedding(2, 3, state_dim=4, hidden_dim=6, num_blocks=1)
    ),
    "SpectralConvEmbedding": Net(
        (2, 16), lambda: SpectralConvEmbedding(2, modes=3, conv_channels=3, num_layers=1)
    ),
    "TransformerEmbedding, series": Net((7,), transformer),
    "TransformerEmbedding, images": Net(
        (1, 8, 8), lambda: transformer(vit=True, image_size=8, patch_size=4, num_channels=1)
    ),
}
FAST_NETS = ("ResNetEmbedding2D", "LRUEmbedding", "PermutationInvariantEmbedding")


@pytest.mark.parametrize("name", some_fast(NETS, FAST_NETS))
def test_embedding_nets(name, tmp_path, monkeypatch):
    net = NETS[name]
    data, embedding = linear_data((40, 16), event=net.event), net.make()
    before = {key: value.clone() for key, value in embedding.state_dict().items()}
    fit = fitted("posterior", data, monkeypatch, embedding_net=embedding)
    check_fit(fit, data, tmp_path, embedding_net=embedding)
    after = embedding.state_dict()
    assert list(before) == list(after)  # the user's own net is left alone
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [mlsbi.Stack(), mlsbi.Transfer(), mlsbi.Bridge()])
@pytest.mark.parametrize("name", NETS)
def test_embedding_nets_with_other_strategies(name, strategy, tmp_path, monkeypatch):
    net = NETS[name]
    data, embedding = linear_data((40, 16), event=net.event), net.make()
    fit = fitted("posterior", data, monkeypatch, embedding_net=embedding, strategy=strategy)
    check_fit(fit, data, tmp_path, embedding_net=embedding)


@pytest.mark.parametrize("name", some_fast(NETS, FAST_NETS))
def test_embedding_nets_within_builders(name, tmp_path, monkeypatch):
    """`posterior_nn(..., embedding_net=...)`, as in sbi."""
    net = NETS[name]
    data = linear_data((40, 16), event=net.event)
    make = posterior_nn("maf", hidden_features=8, num_transforms=2, embedding_net=net.make())
    fit = fitted("posterior", data, monkeypatch, estimator=make)
    check_fit(fit, data, tmp_path, estimator=make)


@pytest.mark.parametrize("name", ["LRUEmbedding", "ResNetEmbedding2D", "SpectralConvEmbedding"])
def test_every_weight_of_a_net_learns(name, monkeypatch):
    """Complex weights, and layers that a net makes when it first sees x, are trained as others."""
    net = NETS[name]
    data = linear_data((40, 16), event=net.event)
    fit = fitted("posterior", data, monkeypatch, embedding_net=net.make())
    with torch.random.fork_rng():
        own = net.make()
        own(torch.randn(2, *net.event))
    stacked = fit.estimator.density.embedding.stacked
    assert len(stacked) == len(list(own.parameters()))
    x = data.x(1)
    fit.estimator.density.requires_grad_(True)
    log_prob = fit.estimator.density.log_prob(
        data.theta(1).expand(2, -1, -1), x.expand(2, *x.shape)
    )
    log_prob.sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in stacked)


def test_a_builder_without_a_net_sees_images_flat(tmp_path, monkeypatch):
    data = linear_data((40, 16), event=(2, 3))
    make = posterior_nn("maf", hidden_features=8, num_transforms=2)
    fit = fitted("posterior", data, monkeypatch, estimator=make)
    check_fit(fit, data, tmp_path, estimator=make)
