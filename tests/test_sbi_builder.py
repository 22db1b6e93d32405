"""Estimators of sbi as stacked members: one by one they are what sbi builds."""

from __future__ import annotations

import copy

import pytest
import torch
from sbi.neural_nets import likelihood_nn, posterior_nn
from torch import Tensor, nn
from torch.func import functional_call

from mlsbi._random import derive_seed, isolated_rng
from mlsbi.estimators.sbi_builder import SbiDensity, sbi_density, sbi_estimator_names

K, N, D = 3, 24, 2
# nflows calls a function that torch 2.13 calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:torch.triangular_solve:UserWarning")


def build(
    estimator="zuko_maf", *, kind="posterior", d=D, event=(4,), members=K, seed=1
) -> tuple[SbiDensity, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(7)
    value = torch.randn(members, N, d, generator=gen)
    context = torch.randn(members, N, *event, generator=gen)
    density = sbi_density(
        estimator,
        kind=kind,
        value_example=value[0],
        context_example=context[0],
        members=members,
        seed=seed,
    )
    return density, value, context


def plain(name: str, *, d: int, event: tuple[int, ...], member: int, seed: int = 1) -> nn.Module:
    """What sbi itself builds from the member's seed."""
    builder = posterior_nn(name, z_score_theta="none", z_score_x="none")
    with isolated_rng(derive_seed(seed, "member", member)):
        return builder(torch.zeros(2, d), torch.zeros(2, *event))


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", sbi_estimator_names())
@pytest.mark.filterwarnings("ignore:In one-dimensional output space:UserWarning")
def test_every_name_equals_sbi_member_by_member(name, d):
    density, value, context = build(name, d=d)
    log_prob = density.log_prob(value, context)
    assert log_prob.shape == (K, N)
    for i in range(K):
        member = plain(name, d=d, event=(4,), member=i)
        torch.testing.assert_close(log_prob[i], member.log_prob(value[i][None], context[i])[0])
    assert all(p.shape[0] == K for p in density.parameters())
    assert all(b.shape[0] == K for b in density.buffers())

    (-log_prob.mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in density.parameters())
    draws = density.sample(context, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (K, N, d)
    assert draws.isfinite().all()


def test_members_are_alone():
    """A member's loss moves no other member, and members start apart."""
    density, value, context = build()
    density.log_prob(value, context)[1].mean().backward()
    for p in density.parameters():
        assert not p.grad[0].any()
        assert not p.grad[2].any()
    assert any(p.grad[1].any() for p in density.parameters())
    same = value[:1].expand_as(value), context[:1].expand_as(context)
    log_prob = density.log_prob(*same)
    assert not torch.allclose(log_prob[0], log_prob[1])


def test_initial_weights_depend_on_seed_and_member_only():
    state = torch.get_rng_state()
    one, *_ = build(members=1)
    many, *_ = build(members=4)
    other, *_ = build(members=1, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    for p, q in zip(one.parameters(), many.parameters(), strict=True):
        assert torch.equal(p[0], q[0])
    assert any(
        not torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["zuko_nsf", "mdn", "made"])
def test_training_learns_the_mean(name):
    """value | context ~ N(context, 0.3^2): the loss falls to near the entropy, and samples fit."""
    gen = torch.Generator().manual_seed(3)
    context = torch.randn(2, 512, 1, generator=gen)
    value = context + 0.3 * torch.randn(2, 512, 1, generator=gen)
    density = sbi_density(
        name,
        kind="posterior",
        value_example=value[0],
        context_example=context[0],
        members=2,
        seed=0,
    )
    optimiser = torch.optim.Adam(density.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = -density.log_prob(value, context).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3
    draws = density.sample(context, generator=torch.Generator().manual_seed(0))
    residual = (draws - context).flatten()
    shuffled = (draws - context.flip(1)).flatten()  # negative control: the wrong contexts
    assert residual.std() < 0.6
    assert shuffled.std() > 0.9


def test_samples_follow_the_density():
    density, _, _ = build("zuko_nsf", d=1, members=1)
    grid = torch.linspace(-12, 12, 4001).reshape(1, -1, 1)
    context = torch.randn(1, 1, 4)
    with torch.no_grad():
        weight = density.log_prob(grid, context.expand(1, 4001, 4))[0].exp()
    assert abs(torch.trapezoid(weight, grid[0, :, 0]) - 1) < 1e-3
    mean = torch.trapezoid(weight * grid[0, :, 0], grid[0, :, 0])
    sd = (torch.trapezoid(weight * grid[0, :, 0] ** 2, grid[0, :, 0]) - mean**2).sqrt()
    n = 4000
    draws = density.sample(context.expand(1, n, 4), generator=torch.Generator().manual_seed(1))
    error = sd / n**0.5
    assert abs(draws.mean() - mean) < 4 * error
    assert abs(draws.mean() - (mean + 0.5)) > 4 * error  # negative control


def test_sampling_is_seeded_by_the_generator_alone():
    density, _, context = build("nsf")
    state = torch.get_rng_state()
    first = density.sample(context, generator=torch.Generator().manual_seed(4))
    torch.randn(3)
    again = density.sample(context, generator=torch.Generator().manual_seed(4))
    other = density.sample(context, generator=torch.Generator().manual_seed(5))
    torch.set_rng_state(state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    same = context[:1].expand_as(context)
    draws = density.sample(same, generator=torch.Generator().manual_seed(4))
    assert not torch.allclose(draws[0], draws[1])


def test_kind_decides_what_the_value_is():
    """The likelihood's value is x, so sbi's builder gets (context, value)."""
    seen = {}

    def spy(theta, x):
        seen.update(theta=theta.shape[1], x=x.shape[1])
        factory = likelihood_nn if seen["kind"] == "likelihood" else posterior_nn
        return factory("zuko_maf", z_score_theta="none", z_score_x="none")(theta, x)

    for kind, expected in [("posterior", (D, 4)), ("likelihood", (4, D))]:
        seen["kind"] = kind
        density, value, context = build(spy, kind=kind)
        assert (seen["theta"], seen["x"]) == expected
        assert density.log_prob(value, context).shape == (K, N)


def test_an_event_of_two_axes_is_flattened():
    density, value, context = build("zuko_maf", event=(3, 5))
    flat, _, _ = build("zuko_maf", event=(15,))
    torch.testing.assert_close(
        density.log_prob(value, context), flat.log_prob(value, context.flatten(2))
    )


@pytest.mark.parametrize("name", ["zuko_nsf", "maf", "mdn"])
def test_rebuilt_from_shapes_and_loaded_it_is_the_same(name):
    density, value, context = build(name)
    rebuilt = sbi_density(
        name,
        kind="posterior",
        value_example=torch.zeros(2, D),
        context_example=torch.zeros(2, 4),
        members=K,
        seed=99,
    )
    rebuilt.load_state_dict(density.state_dict())
    assert torch.equal(rebuilt.log_prob(value, context), density.log_prob(value, context))
    twin = copy.deepcopy(density)
    assert torch.equal(twin.log_prob(value, context), density.log_prob(value, context))


class Embedding(nn.Module):
    """Dropout and batch norm: what must follow train() and eval(), and stay per member."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def with_embedding(theta: Tensor, x: Tensor) -> nn.Module:
    # eval: sbi passes a single row through the net, which batch norm refuses when training
    net = Embedding().eval()
    builder = posterior_nn("zuko_maf", z_score_theta="none", z_score_x="none", embedding_net=net)
    return builder(theta, x)


def test_train_and_eval_reach_the_estimator():
    density, value, context = build(with_embedding)
    density.train()
    assert not torch.equal(density.log_prob(value, context), density.log_prob(value, context))
    mean = dict(density.named_buffers())["stack.estimator._embedding_net.net.1.running_mean"]
    assert mean.shape == (K, 8)
    assert mean.abs().sum(1).gt(0).all()  # each member kept its own statistics
    assert not torch.allclose(mean[0], mean[1])
    density.eval()
    assert torch.equal(density.log_prob(value, context), density.log_prob(value, context))


def test_an_embedding_net_given_once_is_copied():
    net = Embedding().eval()
    before = copy.deepcopy(net.state_dict())
    builder = posterior_nn("zuko_maf", z_score_theta="none", z_score_x="none", embedding_net=net)
    density, value, context = build(builder)
    optimiser = torch.optim.SGD(density.parameters(), lr=0.1)
    (-density.log_prob(value, context).mean()).backward()
    optimiser.step()
    weight = dict(density.named_parameters())["stack.estimator._embedding_net.net.0.weight"]
    assert not torch.equal(weight[0], weight[1])
    assert torch.equal(net.net[0].weight, before["net.0.weight"])


def test_tied_parameters_stay_tied():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.b = nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)))

    def builder(theta: Tensor, x: Tensor) -> nn.Module:
        return posterior_nn(
            "zuko_maf", z_score_theta="none", z_score_x="none", embedding_net=Tied()
        )(theta, x)

    density, value, context = build(builder)
    net = density.stack.estimator._embedding_net
    assert net.a.weight is net.b.weight
    with isolated_rng(derive_seed(1, "member", 2)):
        member = builder(value[0], context[0])
    log_prob = density.log_prob(value, context)
    torch.testing.assert_close(log_prob[2], member.log_prob(value[2][None], context[2])[0])


@pytest.mark.gpu
def test_on_a_gpu():
    density, value, context = build("nsf")
    density = density.cuda()
    log_prob = density.log_prob(value.cuda(), context.cuda())
    state = torch.cuda.get_rng_state()
    draws = density.sample(context.cuda(), generator=torch.Generator("cuda").manual_seed(0))
    assert torch.equal(torch.cuda.get_rng_state(), state)
    again = density.sample(context.cuda(), generator=torch.Generator("cuda").manual_seed(0))
    assert log_prob.is_cuda
    assert torch.equal(draws, again)


def shared_estimator():
    made = []

    def builder(theta, x):
        if not made:
            made.append(with_embedding(theta, x))
        return made[0]

    return builder


def growing_estimator():
    sizes = iter([8, 16, 32])

    def builder(theta, x):
        return posterior_nn("zuko_maf", hidden_features=next(sizes))(theta, x)

    return builder


def frozen_away(theta, x):
    estimator = with_embedding(theta, x)
    for module in estimator.modules():
        for name in list(module._parameters):
            module._buffers[name] = module._parameters.pop(name)
    return estimator


BAD = [
    ({"estimator": "nfs"}, ValueError, "zuko_nsf"),
    ({"estimator": "mnle"}, ValueError, "mixed discrete"),
    ({"estimator": "zuko_ncsf"}, ValueError, "does not integrate to one"),
    ({"estimator": 3}, TypeError, "estimator must be a name or a builder"),
    ({"estimator": None}, TypeError, "estimator must be a name or a builder"),
    ({"estimator": lambda theta, x: nn.Linear(2, 2)}, TypeError, "ConditionalDensityEstimator"),
    ({"estimator": lambda theta, x: None}, TypeError, "got NoneType"),
    ({"estimator": likelihood_nn("zuko_maf")}, ValueError, "posterior_nn"),
    ({"estimator": shared_estimator()}, ValueError, "new estimator at each call"),
    ({"estimator": growing_estimator()}, ValueError, "one architecture"),
    ({"estimator": frozen_away}, ValueError, "without parameters"),
    ({"kind": "joint"}, ValueError, "kind must be one of"),
    ({"kind": 1}, TypeError, "kind must be one of"),
    ({"value_example": torch.zeros(5)}, ValueError, "value_example"),
    ({"value_example": "a"}, TypeError, "value_example"),
    ({"value_example": torch.full((5, 2), torch.nan)}, ValueError, "value_example"),
    ({"context_example": torch.zeros(4, 4)}, ValueError, "context_example"),
    ({"context_example": torch.zeros(5)}, ValueError, "context_example"),
    ({"context_example": None}, TypeError, "context_example"),
    ({"members": 0}, ValueError, "members"),
    ({"members": 2.0}, TypeError, "members"),
    ({"seed": -1}, ValueError, "seed"),
    ({"seed": "0"}, TypeError, "seed"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input(change, error, message):
    good = {
        "estimator": "zuko_maf",
        "kind": "posterior",
        "value_example": torch.zeros(5, 2),
        "context_example": torch.zeros(5, 4),
        "members": 2,
        "seed": 0,
    }
    arguments = good | change
    with pytest.raises(error, match=message):
        sbi_density(arguments.pop("estimator"), **arguments)


def test_the_stack_is_not_called_whole():
    """Negative control: without a member's slices the stacked weights do not fit."""
    density, value, context = build()
    with pytest.raises(RuntimeError):
        functional_call(density.stack, {}, (value[0], context[0]))
