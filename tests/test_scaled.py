"""Scaling a density about its centre: exact, and nothing at a scale of one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mlsbi import (
    MDN,
    LikelihoodFit,
    PosteriorFit,
    SingleLevel,
    fit_likelihood,
    fit_posterior,
    load_fit,
)
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.sbi_builder import sbi_estimator_names
from mlsbi.estimators.union import union
from test_estimators import ESTIMATORS, build, estimator, grid, rows
from tiny import linear_data, tiny

SCALES = torch.tensor([1.7, 0.6], dtype=torch.float64)
KINDS = ("mdn", "gaussian", "maf-small", "nsf-small", "sbi", "embedded", "level", "union")


def density_of(kind: str) -> ConditionalDensity:
    """Three members of a value of two entries, in each of the ways that densities are put up."""
    if kind == "embedded":
        return build("gaussian", members=3, embedding=nn.Linear(3, 4))
    if kind == "union":
        return union([build("gaussian", members=2), build("maf-small", members=1)])
    if kind == "level":
        spec = MDN(components=2, hidden=(16,))
        blueprint = Blueprint(spec, "posterior", 3, 2, (3,), level_input=True)
        density = blueprint.build(seed=1).eval()
        with torch.no_grad():
            for parameter in density.parameters():
                parameter.add_(0.2 * rows(1, *parameter.shape, seed=5)[0])
        return density
    return build(kind, members=3)


@pytest.mark.parametrize("how", ["scaled", "widened"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stretched_density_integrates_to_one_and_its_samples_match_it(kind, how):
    n = 4000
    weights = torch.tensor([0.5, 0.3, 0.2])
    whole = estimator(density_of(kind), weights=weights).with_scale(SCALES)
    if how == "widened":  # from a width well below 1, and by another factor each
        whole = whole.with_scale(0.5 * SCALES).with_widening(torch.tensor([3.0, 1.5]))
    context = rows(1, 1, 3, seed=2)[0]
    z, cell = grid(2, points=120, reach=10.0)
    points = whole.value_transform.inverse(z)
    cell *= 9.0  # the transform's scale, 3, of two entries
    with torch.no_grad():
        log_q = whole.log_prob(points, context.expand(len(points), 3)).double()
    generator = torch.Generator().manual_seed(3)
    draws = whole.sample(context.expand(n, 3), generator=generator)
    with torch.no_grad():
        log_q_draws = whole.log_prob(draws, context.expand(n, 3)).double()
    mass = log_q.exp() * cell
    assert float(mass.sum()) == pytest.approx(1.0, abs=3e-3)

    def figures(v: Tensor, log_density: Tensor) -> Tensor:
        v = v.double() / 3
        parts = [v, v.square(), v.prod(-1, keepdim=True), v.sigmoid(), log_density[:, None]]
        return torch.cat(parts, 1)

    expected = mass @ figures(points, log_q)
    found = figures(draws, log_q_draws)
    error = found.std(0) / n**0.5
    assert ((found.mean(0) - expected).abs() <= 4.5 * error + 5e-3).all()
    # a control: draws of the density as it was are not draws of the scaled one
    plain = (
        whole.with_scale(1.0).with_widening(1.0).sample(context.expand(n, 3), generator=generator)
    )
    with torch.no_grad():
        off = figures(plain, whole.log_prob(plain, context.expand(n, 3)).double())
    assert not ((off.mean(0) - expected).abs() <= 4.5 * error + 5e-3).all()


def test_a_scaled_gaussian_is_the_gaussian_of_scaled_width_gradients_too():
    density = build("gaussian", members=1)
    whole = estimator(density).with_scale(SCALES)
    value = (3 * rows(1, 30, 2, seed=4)[0]).requires_grad_()
    context = rows(1, 30, 3, seed=5)[0].requires_grad_()
    v, c = whole.transformed(value, context)
    _, mean, diagonal, lower = density._parameters_at(c[None])
    factor = torch.diag_embed(diagonal[0, :, 0].exp())
    factor = factor + torch.stack([torch.zeros_like(lower), lower], -1)[0, :, 0].mT * torch.tensor(
        [[0.0, 0.0], [1.0, 0.0]]
    )
    wide = factor / SCALES.float()  # precision = factor factor^T, seen from values (z - m) / s
    normal = torch.distributions.MultivariateNormal(
        mean[0, :, 0], precision_matrix=wide.mT @ wide, validate_args=False
    )
    expected = normal.log_prob(v) - 2 * math.log(3.0)
    found = whole.log_prob(value, context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(
        torch.autograd.grad(found.sum(), (value, context)),
        torch.autograd.grad(expected.sum(), (value, context)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_widened_gaussian_loses_the_precision_that_data_brought():
    density = build("gaussian", members=1)
    with torch.no_grad():
        density.skip.bias[:, 1 + 2 : 1 + 4] += torch.tensor([1.5, -2.0])  # widths below and above 1
    whole = estimator(density)
    context = rows(1, 6, 3, seed=5)[0]
    _, sd = density.moments(whole.context_transform(context)[None])
    assert (sd[..., 0] < 0.9).all()
    assert (sd[..., 1] > 1.0).all()
    for factor in (0.5, 1.0, 2.0, 1e3):
        wider = whole.with_widening(factor)
        draws = wider.sample(context.repeat(4000, 1), generator=_generator(), period=6)
        found = (draws.reshape(4000, 6, 2) / 3).std(0)
        brought = 1 / sd[0].square() - 1
        expected = (1 + brought.clamp(min=0) / factor**2).rsqrt()
        expected = torch.where(brought > 0, expected, sd[0])  # it knows less than before the data
        torch.testing.assert_close(found, expected, rtol=0.06, atol=0)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_a_widening_is_kept_with_the_scales_and_either_is_set_alone():
    whole = estimator(build("gaussian", members=2))
    both = whole.with_scale(0.5).with_widening(2.0)
    assert torch.equal(both.scale, torch.full((2,), 0.5).double())
    assert torch.equal(both.widening, torch.full((2,), 2.0).double())
    assert torch.equal(both.with_scale(1.0).widening, both.widening)
    value, context = rows(1, 9, 2, seed=1)[0], rows(1, 9, 3, seed=2)[0]
    back = both.with_scale(1.0).with_widening(1.0)
    assert torch.equal(back.log_prob(value, context), whole.log_prob(value, context))


class _NoCentre(ConditionalDensity):
    """A standard normal whose centre nobody may ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.members = 1

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        return -0.5 * value.square().sum(-1)

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        return torch.randn(*context.shape[:2], 2, generator=generator)


def test_a_scale_of_one_asks_for_no_centre_and_another_names_the_remedy():
    whole = estimator(_NoCentre())
    value, context = rows(1, 5, 2, seed=1)[0], rows(1, 5, 3, seed=2)[0]
    assert torch.isfinite(whole.with_scale(1.0).log_prob(value, context)).all()
    whole.sample(context, generator=torch.Generator().manual_seed(1))
    scaled = whole.with_scale(2.0)
    with pytest.raises(ValueError, match="_NoCentre has no centre.*estimator='mdn'"):
        scaled.log_prob(value, context)
    with pytest.raises(ValueError, match="no centre"):
        scaled.sample(context, generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="no known width"):
        whole.with_widening(2.0).log_prob(value, context)


def test_scales_are_set_not_multiplied_and_networks_are_shared():
    whole = estimator(build("gaussian", members=3), weights=torch.tensor([0.5, 0.3, 0.2]))
    value, context = rows(1, 9, 2, seed=1)[0], rows(1, 9, 3, seed=2)[0]
    scaled = whole.with_scale(2.0)
    assert torch.equal(scaled.scale, torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.equal(whole.scale, torch.ones(2, dtype=torch.float64))
    assert scaled.density is whole.density
    assert torch.equal(scaled.log_weights, whole.log_weights)
    assert not torch.allclose(scaled.log_prob(value, context), whole.log_prob(value, context))
    back = scaled.with_scale(torch.ones(2))
    assert torch.equal(back.log_prob(value, context), whole.log_prob(value, context))
    draws = [e.sample(context, generator=torch.Generator().manual_seed(1)) for e in (whole, back)]
    assert torch.equal(*draws)


@pytest.mark.parametrize("kind", KINDS)
def test_centres_are_functions_of_the_context_alone(kind):
    density = density_of(kind)
    context = rows(3, 20, 3, seed=6).requires_grad_()
    centre = density.centre(context)
    assert centre.shape == (3, 20, 2)
    torch.testing.assert_close(density.centre(context[:, 3:9]), centre[:, 3:9], atol=1e-5, rtol=0)
    again, spread = density.moments(context)
    torch.testing.assert_close(again, centre, atol=1e-5, rtol=0)
    part = density.moments(context[:, 3:9])[1]
    torch.testing.assert_close(part, spread[:, 3:9], atol=1e-5, rtol=1e-4)
    assert (spread > 0).all()
    for figure in (centre, spread):
        (gradient,) = torch.autograd.grad(figure.sum(), context, retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient != 0).any(-1).all()


@pytest.mark.parametrize("name", [*sbi_estimator_names(), "maf", "nsf"])
@pytest.mark.parametrize("d", [1, 2])
def test_every_estimator_has_a_centre_in_the_middle_of_its_density(name, d):
    given = ESTIMATORS.get(name, name) if name in ("maf", "nsf") else name
    density = Blueprint(given, "posterior", 2, d, (3,)).build(seed=3).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        context = rows(2, 5, 3, seed=7)
        centre = density.centre(context)
        many = context.repeat(1, 60, 1)
        draws = density.sample(many, generator=generator).unflatten(1, (60, 5))
        if name == "made":  # a mixture within a mixture, of which only the mean is known
            with pytest.raises(NotImplementedError, match="no known width"):
                density.moments(context)
        else:
            ratio = density.moments(context)[1] / draws.std(1)
            assert 0.4 < float(ratio.min()) < float(ratio.max()) < 1.7  # tails beyond its points
    away = (centre - draws.mean(1)) / draws.std(1)
    assert away.abs().max() < 1.0
    assert centre.shape == (2, 5, d)


def test_a_flow_whose_inverse_has_no_gradient_says_so():
    density = Blueprint("zuko_naf", "posterior", 1, 2, (3,)).build(seed=3).eval()
    whole = estimator(density).with_scale(2.0).requires_grad_(requires_grad=False)
    value, context = rows(1, 5, 2, seed=1)[0], rows(1, 5, 3, seed=2)[0]
    assert torch.isfinite(whole.log_prob(value, context)).all()
    with pytest.raises(ValueError, match="no centre through which gradients flow"):
        whole.log_prob(value, context.requires_grad_())


def test_a_member_without_weight_moves_no_centre():
    density = build("mdn", members=3)
    whole = estimator(density, weights=torch.tensor([0.7, 0.0, 0.3])).with_scale(SCALES)
    whole = whole.with_widening(2.0)
    value, context = rows(1, 30, 2, seed=15)[0], rows(1, 30, 3, seed=16)[0]
    expected = whole.log_prob(value, context)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter[1] = torch.nan
    assert torch.equal(whole.log_prob(value, context), expected)
    draws = whole.sample(context, generator=torch.Generator().manual_seed(1))
    assert torch.isfinite(draws).all()


def test_draws_at_contexts_that_repeat_are_the_same_draws():
    whole = estimator(build("nsf-small", members=2)).with_scale(SCALES).with_widening(1.3)
    context = rows(1, 7, 3, seed=1)[0].repeat(11, 1)
    one, other = (
        whole.sample(context, generator=torch.Generator().manual_seed(1), period=period)
        for period in (None, 7)
    )
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


# --- fits -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def posterior() -> PosteriorFit:
    options = {"strategy": SingleLevel(), "training": tiny(), "estimator": "mdn", "ensemble": 2}
    return fit_posterior(linear_data(), seed=1, **options)


@pytest.fixture(scope="module")
def likelihood() -> LikelihoodFit:
    options = {"strategy": SingleLevel(), "training": tiny(), "estimator": "maf", "ensemble": 2}
    return fit_likelihood(linear_data(), seed=1, **options)


def test_a_scaled_posterior_keeps_the_prior_s_support(posterior):
    wide = replace(posterior, estimator=posterior.estimator.with_scale(1.6))
    x = torch.tensor([0.3, -0.2, 0.4])
    draws = wide.sample(4000, x=x, seed=1)
    assert bool(wide.prior.contains(draws).all())
    assert float(wide.log_prob(torch.tensor([[1.5, 0.0]]), x)) == -math.inf
    # midpoints between the bounds, dense where the density may rise towards them
    z, cell = grid(2, points=300, reach=5.0)
    points = 2 * torch.special.ndtr(z.double()) - 1
    volume = cell * (-0.5 * z.double().square()).exp().prod(1) * 2 / math.pi
    mass = wide.log_prob(points.float(), x).double().exp() * volume
    assert float(mass.sum()) == pytest.approx(1.0, abs=3e-3)
    for edge in (0.5, 0.9):
        share = (draws.abs().amax(1) > edge).double().mean()
        expected = float(mass[points.abs().amax(1) > edge].sum())
        error = (expected * (1 - expected) / 4000) ** 0.5
        assert float(share) == pytest.approx(expected, abs=4.5 * error + 3e-3)
    assert (draws.std(0) > posterior.sample(4000, x=x, seed=1).std(0)).all()


def test_a_scaled_likelihood_agrees_with_its_samples(likelihood):
    wide = replace(likelihood, estimator=likelihood.estimator.with_scale(2.0))
    theta = torch.tensor([0.3, -0.5])
    plain, draws = (f.sample(4000, theta=theta, seed=1) for f in (likelihood, wide))
    # the same random numbers, one width apart, in units in which these outputs are linear
    torch.testing.assert_close(draws.std(0) / plain.std(0), torch.full((3,), 2.0), atol=0.1, rtol=0)
    entropy = wide.log_prob(theta.expand(4000, 2), draws).mean()
    before = likelihood.log_prob(theta.expand(4000, 2), plain).mean()
    assert float(before - entropy) == pytest.approx(3 * math.log(2), abs=0.2)


@pytest.mark.parametrize("which", ["posterior", "likelihood"])
def test_a_scaled_fit_comes_back_from_disk_bit_for_bit(which, request, tmp_path):
    plain = request.getfixturevalue(which)
    d = plain.blueprint.value_dim
    scale = torch.linspace(0.7, 2.0, d, dtype=torch.float64)
    whole = plain.estimator.with_scale(scale).with_widening(1.5)
    fit = replace(plain, estimator=whole)
    fit.save(tmp_path / "fit")
    loaded = load_fit(tmp_path / "fit")
    assert torch.equal(loaded.estimator.scale, scale)
    assert torch.equal(loaded.estimator.widening, torch.full_like(scale, 1.5))
    theta, x = torch.zeros(4, 2), rows(1, 4, 3, seed=1)[0]
    assert torch.equal(loaded.log_prob(theta, x), fit.log_prob(theta, x))
    given = {"x": x[0]} if which == "posterior" else {"theta": theta[0]}
    assert torch.equal(loaded.sample(50, seed=1, **given), fit.sample(50, seed=1, **given))


def test_fits_saved_before_there_were_scales_have_scales_of_one(posterior, tmp_path):
    posterior.save(tmp_path / "fit")
    file = tmp_path / "fit" / "weights.safetensors"
    weights = load_file(file)
    del weights["scale"], weights["widening"]
    save_file(weights, file)
    loaded = load_fit(tmp_path / "fit")
    theta, x = torch.zeros(4, 2), rows(1, 4, 3, seed=1)[0]
    assert torch.equal(loaded.log_prob(theta, x), posterior.log_prob(theta, x))
