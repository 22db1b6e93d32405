"""The shape of the bridge's noise: moments, quantiles, densities, and which shape is chosen."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.bridge.residuals import Residuals, shrunk_correlation

MANY = 40_000
R = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)


def normal(members: int, n: int, *, seed: int = 0, scale: float = 3.0) -> Tensor:
    """Correlated normal residuals with a mean and a scale that have to be taken off."""
    z = torch.randn(members, n, 2, generator=make_generator(seed), dtype=torch.float64)
    return scale * z @ torch.linalg.cholesky(R).T + 0.5


def two_sided(n: int, *, seed: int = 0) -> Tensor:
    """Two narrow modes at -1 and 1, the same one for both outputs."""
    z = torch.randn(1, n, 2, generator=make_generator(seed), dtype=torch.float64)
    side = torch.rand(1, n, 1, generator=make_generator(seed, "side")) < 0.5
    return 0.15 * z + torch.where(side, 1.0, -1.0)


def every(z: Tensor) -> Tensor:
    return torch.ones(z.shape[:2], dtype=torch.bool)


def gaussian() -> Residuals:
    return Residuals.fit(normal(2, 400), every(normal(2, 400)))


def bootstrap(n: int = 60) -> Residuals:
    return Residuals.fit(two_sided(n), every(two_sided(n)))


SHAPES = {
    "gaussian": gaussian,
    "student": lambda: gaussian().student(5.0),
    "bootstrap": bootstrap,
}


def test_the_shapes_are_what_their_names_say() -> None:
    assert gaussian().gaussian
    assert not SHAPES["student"]().gaussian
    assert bootstrap().blur < 1
    assert not bootstrap().gaussian


@pytest.mark.parametrize("name", SHAPES)
def test_draws_have_mean_zero_and_the_variance_of_their_shape(name: str) -> None:
    noise = SHAPES[name]()
    draws = noise.draw(MANY, make_generator(1)).double()
    freedom = noise.freedom
    variance = 1.0 if math.isinf(freedom) else freedom / (freedom - 2)
    mean, square = draws.mean(1), draws.square()
    assert bool((mean.abs() < 4 * (variance / MANY) ** 0.5).all())
    error = square.std(1) / MANY**0.5
    assert bool(((square.mean(1) - variance).abs() < 4 * error).all())


@pytest.mark.parametrize("freedom", [2.5, 3.5, 5.0, 8.0])
def test_draws_of_student_have_its_quantiles(freedom: float) -> None:
    draws = gaussian().student(freedom).draw(MANY, make_generator(2))[0, :, 0].sort().values
    for p in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        wanted = stats.t.ppf(p, freedom)
        error = (p * (1 - p) / MANY) ** 0.5 / stats.t.pdf(wanted, freedom)
        assert abs(float(draws[int(p * MANY)]) - wanted) < 4.5 * error, p
    for far in (10.0, 30.0, 60.0):  # where an approximation would show first
        wanted = MANY * stats.t.sf(far, freedom)
        for found in ((draws > far).sum(), (draws < -far).sum()):
            assert abs(float(found) - wanted) < 4.5 * wanted**0.5 + 3, far


def test_student_has_one_scale_for_all_outputs_of_a_row() -> None:
    independent = Residuals(torch.zeros(1, 1, 2), torch.tensor([1]), torch.eye(2).unsqueeze(0))

    def dependence(noise: Residuals) -> float:
        size = noise.draw(MANY, make_generator(3))[0].abs().log()
        return float(torch.corrcoef(size.T)[0, 1])

    assert dependence(independent.student(3.5)) > 0.1
    assert abs(dependence(independent)) < 4 / MANY**0.5


@pytest.mark.parametrize("name", SHAPES)
def test_outputs_are_correlated_as_the_residuals_were(name: str) -> None:
    draws = SHAPES[name]().draw(MANY, make_generator(4))[0]
    z = two_sided(60)[0] if name == "bootstrap" else normal(2, 400)[0]
    wanted = float(torch.corrcoef(z.T)[0, 1])
    assert abs(float(torch.corrcoef(draws.T)[0, 1]) - wanted) < 0.05


def test_the_same_generator_draws_the_same_noise() -> None:
    for noise in [shape() for shape in SHAPES.values()]:
        one, same, other = (noise.draw(50, make_generator(s)) for s in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert one.dtype == torch.float32


@pytest.mark.parametrize("name", SHAPES)
def test_marginal_densities_integrate_to_one_and_agree_with_draws(name: str) -> None:
    noise = SHAPES[name]()
    grid = torch.linspace(-60, 60, 12_001, dtype=torch.float64)
    members, outputs = noise.factor.shape[:2]
    at = grid.reshape(1, -1, 1).expand(members, -1, outputs)
    # A part of the grid at a time: the bootstrap holds a number for each of its rows.
    density = torch.cat([noise.marginal_log_density(part).exp() for part in at.split(500, 1)], 1)
    cumulative = torch.cumulative_trapezoid(density, grid.reshape(1, -1, 1), dim=1)
    torch.testing.assert_close(
        cumulative[:, -1], torch.ones(members, outputs).double(), atol=1e-3, rtol=0
    )
    draws = noise.draw(MANY, make_generator(5)).double()
    for threshold in (-2.0, -0.7, 0.0, 1.0, 2.5):
        place = int(((grid - threshold).abs()).argmin())
        wanted = cumulative[:, place - 1]
        share = (draws <= grid[place]).double().mean(1)
        assert bool(((share - wanted).abs() < 4.5 * (0.25 / MANY) ** 0.5).all()), threshold


def test_known_densities() -> None:
    z = torch.linspace(-4, 4, 9, dtype=torch.float64).reshape(1, -1, 1).expand(2, -1, 2)
    found = gaussian().marginal_log_density(z)
    torch.testing.assert_close(found, torch.from_numpy(stats.norm.logpdf(z)))
    found = gaussian().student(3.5).marginal_log_density(z)
    torch.testing.assert_close(found, torch.from_numpy(stats.t.logpdf(z, 3.5)))


def test_the_bootstrap_is_for_residuals_that_are_not_gaussian() -> None:
    shapes = [Residuals.fit(two_sided(40, seed=s), every(two_sided(40))) for s in range(20)]
    assert sum(not shape.gaussian for shape in shapes) == 20
    # Negative control: normal residuals, of which few may look otherwise by chance.
    shapes = [Residuals.fit(normal(1, 40, seed=s), every(normal(1, 40))) for s in range(20)]
    assert sum(not shape.gaussian for shape in shapes) <= 2


def test_too_few_rows_have_no_shape() -> None:
    assert Residuals.fit(two_sided(11), every(two_sided(11))).gaussian


def test_draws_of_the_bootstrap_keep_the_modes() -> None:
    draws = bootstrap().draw(MANY, make_generator(6))[0]
    middle = (draws.abs() < 0.4).double().mean(0)
    assert float(middle.max()) < 0.05  # of a Gaussian: 0.31
    assert float(((draws[:, 0] > 0) == (draws[:, 1] > 0)).double().mean()) > 0.95


def test_rows_beyond_the_counts_are_never_drawn() -> None:
    z = two_sided(40).repeat(2, 1, 1)
    train = every(z)
    train[1, 15:] = False
    z[1, 15:] = 1e6
    noise = Residuals.fit(z, train)
    assert noise.counts.tolist() == [40, 15]
    assert float(noise.draw(MANY, make_generator(7)).abs().max()) < 10
    # Even where what lies beyond is not zero.
    noise.bank[1, 15:] = 1e6
    assert noise.blur < 1
    assert float(noise.draw(MANY, make_generator(7)).abs().max()) < 10
    density = noise.marginal_log_density(torch.full((2, 1, 2), 1e6 * (1 - noise.blur**2) ** 0.5))
    assert float(density.max()) < -1e6


def test_a_member_does_not_learn_from_rows_that_it_does_not_see() -> None:
    z = normal(2, 50)
    train = every(z)
    train[0, ::5], train[1, 1::5] = False, False
    changed = torch.where(train.unsqueeze(2), z, 30 * z.square())
    one, other = Residuals.fit(z, train), Residuals.fit(changed, train)
    for name in ("bank", "counts", "factor"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_bank_is_standardised() -> None:
    z = normal(2, 30)
    train = every(z)
    train[1, :6] = False
    noise = Residuals.fit(z, train)
    for bank, count in zip(noise.bank, noise.counts, strict=True):
        mean, variance = bank[:count].mean(0), bank[:count].var(0, correction=0)
        torch.testing.assert_close(mean, torch.zeros(2).double(), atol=1e-10, rtol=0)
        torch.testing.assert_close(variance, torch.ones(2).double())


def test_residuals_that_are_all_alike_still_give_noise() -> None:
    z = torch.zeros(1, 20, 2, dtype=torch.float64)
    draws = Residuals.fit(z, every(z)).draw(100, make_generator(0))
    assert bool(draws.isfinite().all())


@pytest.mark.parametrize("n", [4, 10, 1000])
def test_a_correlation_is_shrunk_towards_none(n: int) -> None:
    z = normal(1, n)[0]
    sample = float(torch.corrcoef(z.T)[0, 1])
    found = shrunk_correlation(z)
    assert torch.equal(found, found.T)
    torch.testing.assert_close(found.diagonal(), torch.ones(2).double())
    assert min(0.0, sample) <= float(found[0, 1]) <= max(0.0, sample)
    if n == 1000:
        assert abs(float(found[0, 1]) - sample) < 0.01
    torch.linalg.cholesky(found)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_rows_have_no_correlation(n: int) -> None:
    assert torch.equal(shrunk_correlation(normal(1, n)[0]), torch.eye(2, dtype=torch.float64))


def test_more_outputs_than_rows_have_a_correlation_that_can_be_factored() -> None:
    z = torch.randn(5, 1, dtype=torch.float64) * torch.ones(12, dtype=torch.float64)
    torch.linalg.cholesky(shrunk_correlation(z + 0.01 * torch.randn(5, 12)))
    torch.linalg.cholesky(shrunk_correlation(z))  # all outputs the same number


def test_independent_outputs_are_shrunk_most_of_the_way() -> None:
    z = torch.randn(30, 6, dtype=torch.float64)
    off = ~torch.eye(6, dtype=torch.bool)
    sample = torch.corrcoef(z.T)[off].square().mean()
    assert float(shrunk_correlation(z)[off].square().mean()) < 0.25 * float(sample)
