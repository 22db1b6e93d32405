"""Laws that every conditional density obeys, over a registry; and how k members are stacked."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mlsbi import MAF, MDN, NSF
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint, Part
from mlsbi.estimators.embedding import EmbeddedDensity
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.stacked import Dropout, taped
from mlsbi.estimators.transforms import Standardise
from mlsbi.estimators.union import union
from mlsbi.gradients import summed_gradient, term_gradients

ESTIMATORS = {
    "mdn": "mdn",
    "gaussian": MDN(components=1, hidden=(16,)),
    "maf": "maf",
    "maf-small": MAF(transforms=2, hidden=(16,)),
    "nsf": "nsf",
    "nsf-small": NSF(transforms=1, hidden=(16,)),
    "sbi": "zuko_maf",
}
SMALL = ("gaussian", "maf-small", "nsf-small", "sbi")
EMBEDDINGS = {"none": None, "linear": nn.Linear(3, 4)}


def build(
    name: str,
    *,
    members: int = 2,
    value_dim: int = 2,
    context_shape: tuple[int, ...] = (3,),
    dropout: float = 0.0,
    common: bool = True,
    embedding: nn.Module | None = None,
    kind: str = "posterior",
    seed: int = 1,
) -> ConditionalDensity:
    """A density with weights away from the start, where heads are near a standard normal."""
    blueprint = Blueprint(
        ESTIMATORS[name], kind, members, value_dim, context_shape, dropout, common, embedding
    )
    density = blueprint.build(seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return density


def grid(d: int, *, reach: float = 9.0, points: int) -> tuple[Tensor, float]:
    """Midpoints of a regular grid over [-reach, reach]^d, `(points^d, d)`, and a cell's volume."""
    step = 2 * reach / points
    axis = -reach + step * (torch.arange(points) + 0.5)
    return torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d), step**d


def rows(members: int, n: int, *event: int, seed: int) -> Tensor:
    return torch.randn(members, n, *event, generator=torch.Generator().manual_seed(seed))


# --- densities -------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_density_integrates_to_one_and_samples_match_it(name, d):
    members, n = 2, 4000
    density = build(name, members=members, value_dim=d)
    points, cell = grid(d, points=4000 if d == 1 else 240)
    context = rows(members, 1, 3, seed=2)
    with torch.no_grad():
        log_q = density.log_prob(
            points.expand(members, *points.shape), context.expand(members, len(points), 3)
        ).double()
        generator = torch.Generator().manual_seed(3)
        draws = density.sample(context.expand(members, n, 3), generator=generator)
        log_q_draws = density.log_prob(draws, context.expand(members, n, 3)).double()
    mass = log_q.exp() * cell
    # 0.003: what midpoints miss at the kinks of a spline's density; smooth ones reach 1e-6
    torch.testing.assert_close(mass.sum(1), torch.ones(members).double(), atol=3e-3, rtol=0)

    def figures(v: Tensor, log_density: Tensor) -> Tensor:
        """Functions whose means are compared: moments, products, tails, and log q itself."""
        v = v.double()
        return torch.cat(
            [v, v.square(), v.prod(-1, keepdim=True), v.sigmoid(), log_density[..., None]], -1
        )

    expected = torch.einsum("kn,knf->kf", mass, figures(points.expand(members, -1, -1), log_q))
    found = figures(draws, log_q_draws)
    error = found.std(1) / n**0.5
    assert ((found.mean(1) - expected).abs() <= 4.5 * error + 5e-3).all()


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_parameters_lead_with_the_member_and_gradients_reach_all(name, d, embedding):
    density = build(name, members=3, value_dim=d, embedding=EMBEDDINGS[embedding])
    density.log_prob(rows(3, 40, d, seed=4), rows(3, 40, 3, seed=5)).sum().backward()
    for parameter_name, parameter in density.named_parameters():
        assert parameter.shape[0] == 3, parameter_name
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert (parameter.grad.flatten(1) != 0).any(1).all(), parameter_name


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_members_are_independent(name, embedding):
    density = build(name, members=3, embedding=EMBEDDINGS[embedding])
    value, context = rows(3, 20, 2, seed=6), rows(3, 20, 3, seed=7)
    before = density.log_prob(value, context)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter[0] += 0.3 * torch.randn_like(parameter[0])
    after = density.log_prob(value, context)
    assert torch.equal(before[1:], after[1:])
    assert not torch.allclose(before[0], after[0])


def test_members_start_from_different_weights():
    for name in ESTIMATORS:
        density = Blueprint(ESTIMATORS[name], "posterior", 2, 2, (3,)).build(seed=0)
        assert any(not torch.equal(p[0], p[1]) for p in density.parameters()), name


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_ensemble_is_its_members_one_by_one(name, embedding):
    members, net = 3, EMBEDDINGS[embedding]
    together = build(name, members=members, embedding=net)
    value, context = rows(members, 20, 2, seed=8), rows(members, 20, 3, seed=9)
    expected = together.log_prob(value, context)
    for i in range(members):
        alone = build(name, members=1, embedding=net, seed=99)
        with torch.no_grad():
            for one, stack in zip(alone.parameters(), together.parameters(), strict=True):
                one.copy_(stack[i : i + 1])
        found = alone.log_prob(value[i : i + 1], context[i : i + 1])
        torch.testing.assert_close(found[0], expected[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_same_seed_same_weights(name):
    spec = ESTIMATORS[name]
    one, two, other = (Blueprint(spec, "posterior", 2, 2, (3,)).build(seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


# --- gradients of several terms ---------------------------------------------------------------

SIZES = (12, 7, 7)


def naive(density: ConditionalDensity, value, context, weights, sizes) -> tuple[Tensor, Tensor]:
    """Each term's loss and gradient by a forward and a backward pass of its own."""
    losses, grads = [], []
    parts = (t.split(list(sizes), 1) for t in (value, context, weights))
    for v, c, w in zip(*parts, strict=True):
        loss = -(density.log_prob(v, c) * w).sum(1)
        found = torch.autograd.grad(loss.sum(), list(density.parameters()), allow_unused=True)
        zeros = [
            torch.zeros_like(p) if g is None else g
            for g, p in zip(found, density.parameters(), strict=True)
        ]
        losses.append(loss.detach())
        grads.append(torch.cat([g.flatten(1) for g in zeros], 1))
    return torch.stack(losses), torch.stack(grads)


@pytest.mark.parametrize("shape", ["vector", "flattened", "embedded"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_term_gradients_are_those_of_each_term_alone(name, d, shape):
    event = (2, 2) if shape == "flattened" else (3,)
    net = nn.Linear(3, 4) if shape == "embedded" else None
    density = build(name, members=2, value_dim=d, context_shape=event, embedding=net)
    with taped(density) as tape:
        one_pass = tape is not None
    assert one_pass == (name != "sbi" and net is None)  # the fast path where it is promised
    n = sum(SIZES)
    value, context = rows(2, n, d, seed=10), rows(2, n, *event, seed=11)
    weights = torch.rand(2, n, generator=torch.Generator().manual_seed(12)) - 0.5
    losses, grads = term_gradients(density, value, context, weights, SIZES)
    expected_losses, expected = naive(density, value, context, weights, SIZES)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grads, expected, rtol=1e-3, atol=2e-5)

    summed_losses, summed = summed_gradient(density, value, context, weights, SIZES)
    torch.testing.assert_close(summed_losses, losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(summed, grads.sum(0), rtol=1e-3, atol=5e-5)
    assert all(p.grad is None for p in density.parameters())
    layers = [m for m in density.modules() if hasattr(m, "tape")]
    assert all(layer.tape is None for layer in layers)  # nothing left on the tape


@pytest.mark.parametrize("embedding", ["none", "linear"])
@pytest.mark.parametrize("name", SMALL)
def test_terms_of_equal_rows_cancel(name, embedding):
    density = build(name, members=2, embedding=EMBEDDINGS[embedding])
    value, context = rows(2, 10, 2, seed=13), rows(2, 10, 3, seed=14)
    weights = torch.cat([torch.full((2, 10), 0.1), torch.full((2, 10), -0.1)], 1)
    pair = (torch.cat([value, value], 1), torch.cat([context, context], 1), weights, (10, 10))
    losses, grads = term_gradients(density, *pair)
    # One batched product may round rows at different places differently: float32's last digits.
    torch.testing.assert_close(losses[0], -losses[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grads[0], -grads[1], rtol=1e-5, atol=1e-6)


# --- dropout ----------------------------------------------------------------------------------


def test_common_dropout_drops_the_same_features_of_every_row():
    common, independent = Dropout(0.4, common=True), Dropout(0.4, common=False)
    for layer in (common, independent):
        layer.generator = torch.Generator().manual_seed(1)
    x = torch.ones(3, 50, 40)
    out = common(x)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert not torch.equal(out[0], out[1])  # members lose different features
    out = independent(x)
    assert not torch.equal(out, out[:, :1].expand_as(out))
    share = (out == 0).float().mean()
    assert abs(float(share) - 0.4) < 4.5 * (0.4 * 0.6 / out.numel()) ** 0.5
    assert torch.equal(out.unique(), torch.tensor([0.0, 1 / 0.6]))  # the mean is kept
    common.eval()
    assert torch.equal(common(x), x)


@pytest.mark.parametrize("embedding", ["none", "linear"])
@pytest.mark.parametrize("name", ["mdn", "maf", "nsf"])
def test_common_dropout_leaves_nothing_of_an_identical_pair(name, embedding):
    value, context = rows(2, 10, 2, seed=13), rows(2, 10, 3, seed=14)
    weights = torch.cat([torch.full((2, 10), 0.1), torch.full((2, 10), -0.1)], 1)
    pair = (torch.cat([value, value], 1), torch.cat([context, context], 1), weights, (10, 10))
    gap = {}
    for common in (True, False):
        net = EMBEDDINGS[embedding]
        density = build(name, dropout=0.3, common=common, embedding=net).train()
        for module in density.modules():
            if isinstance(module, Dropout):
                module.generator = torch.Generator().manual_seed(0)
        gap[common] = float(term_gradients(density, *pair)[0].sum(0).abs().max())
    assert gap[True] < 1e-5
    assert gap[False] > 1e-3  # negative control: masks apart break the coupling


# --- the mixture in the user's units ----------------------------------------------------------


def estimator(
    density: ConditionalDensity, d: int = 2, c: int = 3, *, weights: Tensor | None = None
) -> Estimator:
    value = Standardise(torch.linspace(-5, 5, d), torch.full((d,), 3.0), torch.zeros(d).bool())
    context = Standardise(torch.ones(c), torch.full((c,), 2.0), torch.ones(c).bool())
    return Estimator(density, value, context, weights=weights)


@pytest.mark.parametrize("name", SMALL)
def test_estimator_is_the_equal_mixture_of_its_members(name):
    density = build(name, members=3)
    whole = estimator(density)
    value, context = 4 * rows(1, 30, 2, seed=15)[0], rows(1, 30, 3, seed=16)[0]
    z, c = (value - torch.tensor([-5.0, 5.0])) / 3, torch.asinh((context - 1) / 2)
    each = density.log_prob(z.expand(3, -1, -1), c.expand(3, -1, -1)) - 2 * math.log(3.0)
    expected = each.exp().mean(0).log()
    torch.testing.assert_close(whole.log_prob(value, context), expected, rtol=1e-4, atol=1e-4)


def test_estimator_is_the_weighted_mixture_of_its_members():
    density = build("mdn", members=3)
    weights = torch.tensor([0.7, 0.0, 0.3], dtype=torch.float64)
    whole = estimator(density, weights=weights)
    value, context = rows(1, 30, 2, seed=15)[0], rows(1, 30, 3, seed=16)[0]
    each = whole.member_log_prob(value, context)
    expected = (weights[:, None] * each.exp()).sum(0).log().float()
    torch.testing.assert_close(whole.log_prob(value, context), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(estimator(density).log_prob(value, context), expected, atol=1e-2)
    # equal weights are no weights, bit for bit
    equal = estimator(density, weights=torch.full((3,), 1 / 3, dtype=torch.float64))
    plain = estimator(density)
    assert torch.equal(equal.log_prob(value, context), plain.log_prob(value, context))
    draws = [e.sample(context, generator=torch.Generator().manual_seed(1)) for e in (equal, plain)]
    assert torch.equal(*draws)


def test_a_member_without_weight_does_not_matter_whatever_it_says():
    density = build("mdn", members=3)
    whole = estimator(density, weights=torch.tensor([0.7, 0.0, 0.3]))
    value, context = rows(1, 30, 2, seed=15)[0], rows(1, 30, 3, seed=16)[0]
    expected = whole.log_prob(value, context)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter[1] = torch.nan
    assert torch.equal(whole.log_prob(value, context), expected)
    draws = whole.sample(context, generator=torch.Generator().manual_seed(1))
    assert torch.isfinite(draws).all()


@pytest.mark.parametrize("weights", [None, (0.4, 0.3, 0.2, 0.1)])
def test_sampling_picks_members_by_their_weights(weights):
    members, n = 4, 20_000
    density = Blueprint(MDN(components=1, hidden=(4,)), "posterior", members, 2, (3,)).build(seed=0)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.zero_()
        # the head's outputs: weight of the one component, then its two means
        density.head.bias[:, 1] = torch.tensor([-60.0, -20.0, 20.0, 60.0])
    context = torch.zeros(n, 3)
    share = torch.tensor(weights or (0.25,) * members, dtype=torch.float64)
    whole = estimator(density, weights=None if weights is None else share)
    draws = whole.sample(context, generator=torch.Generator().manual_seed(1))
    place = torch.bucketize((draws[:, 0] + 5) / 3, torch.tensor([-40.0, 0.0, 40.0]))
    counts = torch.bincount(place, minlength=members).double()
    chi_square = float(((counts - n * share).square() / (n * share)).sum())
    assert chi_square < 16.3  # 0.999 of chi-square with 3 degrees of freedom
    # which member a row gets does not follow the order of the rows
    half = torch.bincount(place[: n // 2], minlength=members).double()
    assert float(((half - n * share / 2).square() / (n * share / 2)).sum()) < 16.3


def test_a_union_is_its_parts_one_after_the_other():
    parts = [build(name, members=k) for name, k in (("mdn", 2), ("maf", 1), ("nsf", 3))]
    whole = union(parts)
    assert whole.members == 6
    value, context = rows(6, 20, 2, seed=1), rows(6, 20, 3, seed=2)
    each = zip(parts, value.split([2, 1, 3]), context.split([2, 1, 3]), strict=True)
    expected = torch.cat([part.log_prob(v, c) for part, v, c in each])
    assert torch.equal(whole.log_prob(value, context), expected)
    draws = whole.sample(context, generator=torch.Generator().manual_seed(3))
    assert draws.shape == (6, 20, 2)
    generator = torch.Generator().manual_seed(3)
    split = zip(parts, context.split([2, 1, 3]), strict=True)
    assert torch.equal(draws, torch.cat([p.sample(c, generator=generator) for p, c in split]))


def test_unions_are_opened_and_one_density_is_itself():
    one, two, three = (build("mdn", members=k) for k in (1, 2, 3))
    assert union([one]) is one
    nested = union([one, union([two, three])])
    assert list(nested.parts) == [one, two, three]
    assert union([union([one, two])]).members == 3


def test_a_blueprint_of_parts_builds_what_a_union_of_them_is():
    plain = Blueprint("mdn", "posterior", 2, 2, (3,))
    parts = (Part(None, 2), Part(MAF((8,), 2), 3), Part(None, 1, level_input=True))
    whole = plain.of_parts(parts)
    assert whole.members == 6
    built = union([plain.variant(**part._asdict()).build(seed=0) for part in parts])
    again = whole.build(seed=1)
    again.load_state_dict(built.state_dict())
    value, context = rows(6, 20, 2, seed=1), rows(6, 20, 3, seed=2)
    assert torch.equal(again.log_prob(value, context), built.log_prob(value, context))
    assert plain.of_parts((Part(None, 2),)) == plain
    assert plain.of_parts((Part("maf", 4),)) == Blueprint("maf", "posterior", 4, 2, (3,))


def test_each_row_is_drawn_at_its_own_context():
    n = 40_000  # more than one chunk
    density = Blueprint(MDN(components=1, hidden=(4,)), "posterior", 3, 2, (3,)).build(seed=0)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.zero_()
        density.skip.weight[:, 1, 0] = 1.0  # mean of the first coordinate = first context
    whole = estimator(density)
    context = torch.linspace(-500, 500, n)[:, None].repeat(1, 3)
    draws = whole.sample(context, generator=torch.Generator().manual_seed(2))
    noise = (draws[:, 0] + 5) / 3 - torch.asinh((context[:, 0] - 1) / 2)
    assert float(noise.abs().max()) < 6
    assert abs(float(noise.mean())) < 4.5 / n**0.5
    assert abs(float(noise.std()) - 1) < 4.5 / (2 * n) ** 0.5


# --- embedding nets ---------------------------------------------------------------------------


class SmallImageNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(36, 5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("name", SMALL)
def test_embedding_net_equals_its_members_run_by_hand(name):
    members = 2
    density = build(name, members=members, context_shape=(1, 8, 8), embedding=SmallImageNet())
    assert isinstance(density, EmbeddedDensity)
    images = rows(members, 12, 1, 8, 8, seed=17)
    stack = density.embedding
    nets = [SmallImageNet() for _ in range(members)]
    with torch.no_grad():
        for i, net in enumerate(nets):
            for one, many in zip(net.parameters(), stack.stacked, strict=True):
                one.copy_(many[i])
            for one, many in zip(net.buffers(), stack.buffers(), strict=True):
                one.copy_(many[i])
    density.train()
    features = density.embedding(images)  # batch statistics, and running ones updated
    density.eval()
    for i, net in enumerate(nets):
        net.train()
        torch.testing.assert_close(net(images[i]), features[i])
        net.eval()
        torch.testing.assert_close(net(images[i]), stack(images)[i])  # same running statistics
    value = rows(members, 12, 2, seed=18)
    whole = density.log_prob(value, images)
    part = density.log_prob(value[:, :3], images[:, :3])
    torch.testing.assert_close(whole[:, :3], part)  # rows do not see each other at evaluation


def test_building_leaves_running_statistics_as_they_were():
    density = build("gaussian", context_shape=(1, 8, 8), embedding=SmallImageNet())
    for stack, fresh in zip(density.buffers(), SmallImageNet().buffers(), strict=False):
        assert torch.equal(stack, fresh.expand_as(stack))


def test_building_leaves_the_global_generator_alone():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    before = torch.get_rng_state()
    Blueprint("mdn", "posterior", 2, 2, (3,), embedding_net=net).build(seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_embedding_net_of_the_user_is_left_alone():
    net = SmallImageNet()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    density = build("gaussian", context_shape=(1, 8, 8), embedding=net).train()
    density.log_prob(rows(2, 9, 2, seed=19), rows(2, 9, 1, 8, 8, seed=20)).sum().backward()
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
