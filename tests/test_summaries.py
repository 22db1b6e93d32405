"""Learned summaries: what they keep, what they must not leak, and that fits hide them well."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from sbi.utils import BoxUniform
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from mlsbi import MDN, MultilevelData, SingleLevel, fit_likelihood, fit_posterior, load_fit
from mlsbi import strategies as known_strategies
from mlsbi.prepare import prepare
from mlsbi.summaries import Learner, PosteriorMean, Ridge, Summary, is_wanted
from mlsbi.summaries import posterior_mean as posterior_mean_module
from mlsbi.summaries.ridge import regress
from tiny import tiny

D = 2
SMALL = MDN(components=2, hidden=(8,))
KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}


@dataclass(frozen=True)
class Compressed(SingleLevel):
    """Single-level training on summaries."""

    compress: str | bool = "auto"


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(known_strategies.NAMED, "Compressed", Compressed)


@pytest.fixture
def short(monkeypatch):
    """Summaries that are learned in no time, for tests of everything around them."""
    monkeypatch.setattr(posterior_mean_module, "TRAINING", tiny(validation_fraction=0.2))


def normal() -> Independent:
    return Independent(Normal(torch.zeros(D), torch.ones(D)), 1)


def box() -> BoxUniform:
    return BoxUniform(-torch.ones(D), torch.ones(D))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loadings(outputs: int) -> Tensor:
    return torch.randn(D, outputs, generator=generator(1))


def linear(n: int, outputs: int, *, seed: int, noise: float = 3.0) -> tuple[Tensor, Tensor]:
    """theta and x = theta A + noise, `(n, outputs)`."""
    draw = generator(seed)
    theta = torch.randn(n, D, generator=draw)
    return theta, theta @ loadings(outputs) + noise * torch.randn(n, outputs, generator=draw)


def posterior_mean(x: Tensor, *, noise: float = 3.0) -> Tensor:
    a = loadings(x.shape[1]) / noise
    return x / noise @ a.T @ torch.linalg.inv(torch.eye(D) + a @ a.T)


def wide(n: tuple[int, int] = (200, 20), outputs: int = 40) -> MultilevelData:
    """Two levels of linear-Gaussian x, the low one a little off."""
    low, high = (linear(m, outputs, seed=s) for s, m in enumerate(n))
    return MultilevelData.from_arrays(normal(), [low, (high[0], 0.9 * high[1] + 0.1, high[1])])


def curves(theta: Tensor, u: Tensor, points: int) -> Tensor:
    """A curve on a grid of `points`, the noise `u` (n, 2) a smooth one."""
    t = torch.linspace(0, 1, points)
    basis = torch.stack([torch.sin(5 * t), torch.cos(3 * t)])
    return (2 * theta + 0.3 * u) @ basis + theta[:, :1] * t


def grids(n: tuple[int, int] = (300, 40)) -> MultilevelData:
    """A coarse grid of 20 points under a fine one of 45."""
    draws = [generator(s) for s in (1, 2)]
    theta = [2 * torch.rand(m, D, generator=g) - 1 for m, g in zip(n, draws, strict=True)]
    u = [torch.randn(m, D, generator=g) for m, g in zip(n, draws, strict=True)]
    low = (theta[0], curves(theta[0], u[0], 20))
    pair = (theta[1], curves(theta[1], u[1], 20), curves(theta[1], u[1], 45))
    return MultilevelData.from_arrays(box(), [low, pair])


def images(n: tuple[int, int] = (150, 15)) -> MultilevelData:
    """Blobs (1, 16, 16): theta moves them."""
    place = torch.linspace(-1, 1, 16)

    def blob(theta: Tensor, seed: int) -> Tensor:
        x = torch.exp(-8 * (place - 0.7 * theta[:, :1]).square())
        y = torch.exp(-8 * (place - 0.7 * theta[:, 1:]).square())
        image = (y.unsqueeze(2) * x.unsqueeze(1)).unsqueeze(1)
        return image + 0.05 * torch.randn(image.shape, generator=generator(seed))

    theta = [2 * torch.rand(m, D, generator=generator(5 + m)) - 1 for m in n]
    x = blob(theta[1], 2)
    return MultilevelData.from_arrays(
        box(), [(theta[0], blob(theta[0], 1)), (theta[1], 0.9 * x, x)]
    )


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 5, stride=3), nn.SiLU(), nn.Flatten(), nn.Linear(32, 8), nn.SiLU()
    )


def fit(kind: str, data: MultilevelData, strategy=None, **options):
    options = {"estimator": SMALL, "ensemble": 2, "training": tiny()} | options
    return KINDS[kind](data, seed=3, strategy=strategy or Compressed(), **options)


def explained(found: Tensor, wanted: Tensor) -> Tensor:
    """R^2 of `wanted` regressed linearly on `found`, a column each."""
    x = torch.cat([found, torch.ones(len(found), 1)], 1)
    residual = wanted - x @ torch.linalg.lstsq(x, wanted).solution
    return 1 - residual.var(0) / wanted.var(0)


def correlations(a: Tensor, b: Tensor) -> Tensor:
    return torch.corrcoef(torch.cat([a, b], 1).T)[: a.shape[1], a.shape[1] :]


@pytest.mark.parametrize("outputs", [40, 120])
def test_summaries_keep_the_posterior_mean(outputs):
    data = wide((1000, 300), outputs)
    learned = Learner(seed=1).learn(data)
    for level in (0, 1):  # seen in training, in other folds, and never seen
        kept = explained(learned.data.x(level), posterior_mean(data.x(level)))
        assert bool((kept > 0.95).all()), kept


def test_summaries_follow_what_no_regression_can():
    theta = 2 * torch.rand(1300, D, generator=generator(1)) - 1
    x = torch.exp(theta[:, :1]) * torch.randn(1300, 20, generator=generator(2))  # a scale
    low, high = (theta[:1000], x[:1000]), (theta[1000:], x[1000:], x[1000:])
    data = MultilevelData.from_arrays(box(), [low, high])
    learned = Learner(seed=1).learn(data).data
    # an unbiased estimate of log scale from 20 draws has this share of the truth in it
    possible = explained(high[1].square().mean(1, keepdim=True).log(), high[0])[0]
    assert explained(learned.x(1), high[0])[0] > 0.8 * possible
    assert explained(high[1], high[0])[0] < 0.2 * possible


def test_a_run_teaches_its_own_summary_nothing():
    n = 200
    theta = torch.randn(n, D, generator=generator(7))
    noise = torch.randn(n, 60, generator=generator(8))
    data = MultilevelData.from_arrays(normal(), [(theta, noise), (theta, noise, noise)])
    learned = Learner(seed=1).learn(data)
    standard_error = n**-0.5
    assert float(correlations(learned.data.x(0), theta).abs().max()) < 3 * standard_error
    # the same runs offered as if they were new: four members in five have seen them
    assert float(correlations(learned.data.x(1), theta).diagonal().min()) > 6 * standard_error


@pytest.mark.usefixtures("short")
def test_a_row_is_summarised_by_members_that_did_not_see_it():
    data = wide((60, 10))
    compressor = Learner(seed=1).learn(data).compressor
    assert isinstance(compressor, PosteriorMean)
    means = compressor._means(data.x(0))
    trained = torch.ones(5, 60, dtype=torch.bool)
    trained[2, ::2] = False
    found = compressor.held_out(data.x(0), trained)
    torch.testing.assert_close(found[::2], means[2, ::2])
    torch.testing.assert_close(found[1::2], means[:, 1::2].mean(0))  # all have seen these


@pytest.mark.parametrize(("n", "length"), [(12, 5), (9, 40)])
def test_leave_one_out_is_the_regression_on_the_other_rows(n, length):
    z = torch.randn(n, length, generator=generator(1), dtype=torch.float64)
    y = z[:, :1] + 0.1 * torch.randn(n, 1, generator=generator(2), dtype=torch.float64)
    found = regress(z, y)
    # with the ridge that it chose, read off its own solution: (Z'Z + r) w = Z'y
    centred, target = z - z.mean(0), y - y.mean(0)
    pull = centred.mT @ (target - centred @ found.weights)
    ridge = float((pull.mT @ found.weights) / found.weights.square().sum())
    for i in range(n):
        rest = torch.arange(n) != i
        zi, yi = z[rest] - z[rest].mean(0), y[rest] - y[rest].mean(0)
        w = torch.linalg.solve(zi.mT @ zi + ridge * torch.eye(length).double(), zi.mT @ yi)
        expected = y[rest].mean(0) + (z[i] - z[rest].mean(0)) @ w
        torch.testing.assert_close(found.leave_one_out[i], expected, rtol=1e-5, atol=1e-7)


def test_regression_bears_constant_columns_and_a_single_row():
    z = torch.cat([torch.randn(20, 2, generator=generator(1)), torch.ones(20, 3)], 1)
    found = regress(z, 2 * z[:, :1] + 1)
    torch.testing.assert_close(found.leave_one_out.float(), 2 * z[:, :1] + 1, atol=1e-3, rtol=0)
    alone = regress(z[:1], z[:1, :1])
    torch.testing.assert_close(alone.leave_one_out.float(), z[:1, :1])


def test_a_mixture_starts_at_the_regression_and_has_a_mean():
    draw = generator(1)
    density = SMALL.build(3, D, 4, generator=draw, dropout=0.0, common_dropout=True)
    weights, offset = torch.randn(3, D, 4, generator=draw), torch.randn(3, D, generator=draw)
    density.start_linear(weights, offset, torch.full((3, D), 0.5))
    context = torch.randn(3, 1, 4, generator=draw).expand(3, 20000, 4)
    mean = density.mean(context[:, :1])
    torch.testing.assert_close(mean, context[:, :1] @ weights.mT + offset.unsqueeze(1))
    density.requires_grad_(requires_grad=False)
    density.head.weight.normal_(generator=draw)  # components that differ in weight too
    drawn = density.sample(context, generator=draw)
    wrong = (drawn.mean(1) - density.mean(context[:, :1]).squeeze(1)) / drawn.std(1) * 20000**0.5
    assert float(wrong.abs().max()) < 4


def test_different_grids_meet_in_their_summaries(monkeypatch):
    fewer = replace(posterior_mean_module.TRAINING, max_steps=200)
    monkeypatch.setattr(posterior_mean_module, "TRAINING", fewer)
    data = grids()
    learned = Learner(seed=1).learn(data)
    assert isinstance(learned.compressor, Ridge)
    fine, coarse = learned.data.x(1), learned.data.x_coarse(1)
    assert fine.shape == coarse.shape == (40, D)
    assert bool((explained(fine, coarse) > 0.95).all())
    new = grids((10, 300))
    theta = torch.special.ndtri((new.theta(1) + 1) / 2)
    assert bool((explained(learned.compressor(new.x(1)), theta) > 0.7).all())


@pytest.mark.usefixtures("short")
def test_a_grid_at_two_levels_is_summarised_alike():
    base = grids((100, 30))
    theta, x = base.theta(1), base.x(1)
    levels = [(base.theta(0), base.x(0)), (theta, base.x_coarse(1), x), (theta[:9], x[:9], x[:9])]
    learned = Learner(seed=1).learn(MultilevelData.from_arrays(box(), levels)).data
    assert torch.equal(learned.x(2), learned.x_coarse(2))
    assert not torch.equal(learned.x(1)[:9], learned.x_coarse(2))  # those left themselves out


AUTO = {
    "small": ((5, 5), None, False),
    "twelve": ((12, 12), None, False),
    "large": ((13, 13), None, True),
    "shapes differ": ((5, 6), None, True),
    "net": ((5, 5), nn.Identity(), True),
}


@pytest.mark.parametrize("name", AUTO)
def test_auto_compresses_what_is_large(name):
    (low, high), x_net, wanted = AUTO[name]
    theta = torch.zeros(3, D)
    x = [torch.zeros(3, low), torch.zeros(3, high)]
    data = MultilevelData.from_arrays(normal(), [(theta, x[0]), (theta, x[0], x[1])])
    assert is_wanted(data, compress="auto", x_net=x_net) is wanted
    assert is_wanted(data, compress=True, x_net=x_net)
    assert not is_wanted(data, compress=False, x_net=x_net)
    for compress in ("auto", True):
        assert not is_wanted(data.top(), compress=compress, x_net=x_net)


def test_auto_compresses_images():
    assert is_wanted(images((2, 2)), compress="auto", x_net=None)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_are_what_the_fitted_transform_makes_of_x(kind):
    data = wide((60, 10))
    prepared = prepare(
        data, kind=kind, statistics="pooled", tails="auto", shared=False, learner=Learner(seed=1)
    )
    posterior = kind == "posterior"
    transform = prepared.context_transform if posterior else prepared.value_transform
    assert isinstance(transform, Summary)
    rows = [r.context if posterior else r.value for r in prepared.levels]
    assert [tuple(r.shape) for r in rows] == [(60, D), (10, D)]
    torch.testing.assert_close(transform(data.x(1)), rows[1])
    one = transform(data.x(1)[:1].expand(4, -1))  # one x for all is compressed once
    torch.testing.assert_close(one, rows[1][:1].expand(4, -1))
    assert {row["stage"] for row in prepared.rows} == {-1.0}


CASES = {
    "wide": (wide, None),
    "grids": (lambda: grids((100, 20)), None),
    "images": (images, None),
    "images, net": (images, net()),
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_takes_x_as_it_is_and_comes_back_from_disk(kind, case, tmp_path):
    make, x_net = CASES[case]
    data = make()
    nets = {"embedding_net": x_net} if x_net is not None and kind == "posterior" else {}
    fitted = fit(kind, data, **nets)
    theta, x = data.theta(1), data.x(1)
    found = fitted.log_prob(theta, x)
    assert found.shape == (len(theta),)
    assert bool(torch.isfinite(found).all())
    assert fitted.event_shape == data.event_shape(1)
    assert fitted.summarise(x).shape == (len(x), D)
    assert fitted.blueprint.embedding_net is None
    given = {"x": x[0]} if kind == "posterior" else {"theta": theta[0]}
    drawn = fitted.sample(7, seed=1, **given)
    assert drawn.shape == (7, D)  # of theta, or summaries
    fitted.save(tmp_path / "fit")
    loaded = load_fit(tmp_path / "fit", **nets)
    assert torch.equal(loaded.log_prob(theta, x), found)
    assert torch.equal(loaded.sample(7, seed=1, **given), drawn)
    assert torch.equal(loaded.summarise(x), fitted.summarise(x))


@pytest.mark.usefixtures("short")
def test_loading_asks_for_the_net_of_the_summary(tmp_path):
    fit("posterior", images((40, 10)), embedding_net=net()).save(tmp_path / "fit")
    with pytest.raises(ValueError, match="embedding_net: this fit was made with an embedding net"):
        load_fit(tmp_path / "fit")


@pytest.mark.usefixtures("short")
def test_a_net_of_theta_stays_in_a_likelihood_fit():
    fitted = fit("likelihood", wide((60, 10)), embedding_net=nn.Linear(D, 3))
    assert fitted.summary is not None
    assert fitted.blueprint.embedding_net is not None


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_summaries(kind):
    data = wide((60, 10))
    one, two = (fit(kind, data) for _ in range(2))
    theta, x = data.theta(1), data.x(1)
    assert torch.equal(one.summarise(x), two.summarise(x))
    assert torch.equal(one.log_prob(theta, x), two.log_prob(theta, x))
    other = KINDS[kind](data, seed=4, strategy=Compressed(), estimator=SMALL, training=tiny())
    assert not torch.equal(one.summarise(x), other.summarise(x))


@pytest.mark.parametrize("kind", KINDS)
def test_one_level_is_never_compressed(kind):
    data = wide((60, 20)).top()
    found = fit(kind, data, Compressed(compress=True))
    single = fit(kind, data, SingleLevel())
    assert found.summary is None
    assert torch.equal(
        found.log_prob(data.theta(0), data.x(0)), single.log_prob(data.theta(0), data.x(0))
    )


@pytest.mark.usefixtures("short")
def test_without_summaries_a_fit_says_so():
    data = wide((60, 20))
    fitted = fit("posterior", data, Compressed(compress=False))
    assert fitted.summary is None
    with pytest.raises(ValueError, match=r"x has no summary.*Use x itself"):
        fitted.summarise(data.x(1))
    with pytest.raises(ValueError, match="x must have shape"):
        fit("posterior", data).summarise(data.x(1)[:, :3])


@pytest.mark.usefixtures("short")
def test_a_likelihood_of_summaries_has_an_sbi_posterior():
    data = wide((60, 20))
    fitted = fit("likelihood", data)
    x, theta = data.x(1)[:3], data.theta(1)[:4]
    posterior = fitted.posterior(x)
    each = torch.stack([fitted.log_prob(theta, row) for row in x]).sum(0)
    torch.testing.assert_close(posterior.potential(theta), each + normal().log_prob(theta))
    short = {"num_chains": 2, "warmup_steps": 2, "num_workers": 1}
    drawn = fitted.posterior(x, **short).sample((6,), show_progress_bars=False)
    assert drawn.shape == (6, D)


@pytest.mark.usefixtures("short")
def test_more_outputs_than_runs():
    fitted = fit("posterior", wide((30, 4), 120))
    assert bool(torch.isfinite(fitted.log_prob(torch.zeros(1, D), torch.zeros(120))).all())
