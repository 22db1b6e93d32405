"""Transforms over a registry: exact inverses, exact Jacobians, samples inside the bounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlsbi.estimators.transforms import Standardise, Support, Transform, robust_location_scale

INF = math.inf


def support(low: list[float], high: list[float]) -> tuple[Support, Tensor]:
    """A `Support` and draws from inside the bounds, float32 `(n, d)`."""
    lower, upper = torch.tensor(low).double(), torch.tensor(high).double()
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(500, len(low), generator=generator).double()
    columns = []
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        place = 0.02 + 0.96 * u[:, i]
        if math.isfinite(a) and math.isfinite(b):
            columns.append(a + (b - a) * place)
        elif math.isfinite(a):
            columns.append(a - place.log())
        elif math.isfinite(b):
            columns.append(b + place.log())
        else:
            columns.append(3 + 2 * torch.special.ndtri(place))
    theta = torch.stack(columns, 1)
    return Support.fit(lower, upper, theta), theta.float()


def standardise(*, tails: str, shared: bool, event: tuple[int, ...]) -> tuple[Standardise, Tensor]:
    x = torch.randn(500, *event, generator=torch.Generator().manual_seed(2))
    x = 3 + x * torch.linspace(0.5, 40, math.prod(event)).reshape(event)
    return Standardise.fit(x, tails=tails, shared=shared), x


TRANSFORMS = {
    "bounded": support([-2.0, 0.0, 10.0], [5.0, 1e-3, 12.0]),
    "from below": support([0.0, -7.0], [INF, INF]),
    "from above": support([-INF, -INF], [0.0, 9.0]),
    "unbounded": support([-INF, -INF], [INF, INF]),
    "mixed": support([-1.0, 0.0, -INF, -INF], [1.0, INF, 2.0, INF]),
    "linear": standardise(tails="linear", shared=False, event=(3,)),
    "asinh": standardise(tails="asinh", shared=False, event=(3,)),
    "auto": standardise(tails="auto", shared=False, event=(3,)),
    "shared": standardise(tails="linear", shared=True, event=(3,)),
    "shared asinh": standardise(tails="asinh", shared=True, event=(3,)),
    "image": standardise(tails="asinh", shared=False, event=(1, 4, 4)),
    "shared image": standardise(tails="linear", shared=True, event=(1, 4, 4)),
}
SUPPORTS = tuple(name for name, (t, _) in TRANSFORMS.items() if isinstance(t, Support))
# of a box, near its bounds, float32 theta tells fewer places apart than z has
ROUND_TRIP_ERROR = {"bounded": 1e-3, "mixed": 1e-3}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_inverse_undoes_forward_and_forward_undoes_inverse(name):
    transform, value = TRANSFORMS[name]
    z = transform(value)
    assert z.shape == value.shape
    assert z.dtype == torch.float32
    size = value.abs().flatten(1).amax(0).reshape(value.shape[1:])
    assert ((transform.inverse(z) - value).abs() <= 3e-6 * size).all()
    z = torch.linspace(-3, 3, 61)[(...,) + (None,) * (value.dim() - 1)].expand(61, *value.shape[1:])
    back = transform(transform.inverse(z))
    torch.testing.assert_close(back, z, rtol=0, atol=ROUND_TRIP_ERROR.get(name, 1e-4))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_forward_rises_in_every_coordinate(name):
    transform, value = TRANSFORMS[name]
    z = torch.linspace(-4, 4, 41)[(...,) + (None,) * (value.dim() - 1)].expand(41, *value.shape[1:])
    assert (transform.inverse(z).diff(dim=0) > 0).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_log_det_is_that_of_autograd(name):
    transform, value = TRANSFORMS[name]
    value = value.double().requires_grad_()
    # elementwise, so the Jacobian is diagonal; only the outcome is float32, the slope is not
    (slope,) = torch.autograd.grad(transform(value).sum(), value)
    expected = slope.log().flatten(1).sum(1)
    found = transform.log_det(value)
    assert found.dtype == torch.float64
    assert found.shape == (len(value),)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", SUPPORTS)
def test_samples_are_strictly_inside_the_bounds(name):
    transform, value = TRANSFORMS[name]
    assert isinstance(transform, Support)
    z = torch.tensor([-1e30, -1e4, -100.0, -40, -8, -6, 0, 6, 8, 40, 100, 1e4, 1e30])
    theta = transform.inverse(z[:, None].expand(-1, value.shape[1]))
    assert theta.dtype == torch.float32
    assert theta.isfinite().all()
    assert (theta.double() > transform.low).all()
    assert (theta.double() < transform.high).all()
    # and a density can be evaluated there, and differentiated
    points = theta.double().requires_grad_()
    assert transform(points).isfinite().all()
    assert transform.log_det(points).isfinite().all()
    (slope,) = torch.autograd.grad(transform(points).sum(), points)
    assert slope.isfinite().all()


def test_bounds_that_float32_cannot_hold_are_kept():
    low, high = torch.tensor([0.1, 1 / 3]).double() + 1e-12, torch.tensor([0.3, 0.7]).double()
    transform = Support.fit(low, high, torch.rand(50, 2) * 0.1 + 0.15)
    theta = transform.inverse(torch.tensor([[-50.0, -50.0], [50.0, 50.0]])).double()
    assert (theta > low).all()
    assert (theta < high).all()


def test_a_uniform_prior_becomes_standard_normal():
    low, high = torch.tensor([-2.0, 0.0, 10.0]), torch.tensor([5.0, 1e-3, 30.0])
    place = torch.linspace(0.001, 0.999, 501).double()[:, None]
    theta = low.double() + (high - low).double() * place
    # the bounds alone decide: draws from another law than the prior change nothing
    transform = Support.fit(low.double(), high.double(), theta.square())
    expected = torch.special.ndtri(place).float().expand(-1, 3)
    torch.testing.assert_close(transform(theta), expected, rtol=0, atol=1e-5)
    log_density = -0.5 * (expected.double().square() + math.log(2 * math.pi)).sum(1)
    uniform = -(high - low).double().log().sum()
    found = log_density + transform.log_det(theta)
    torch.testing.assert_close(found, uniform.expand_as(found), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["from below", "from above", "unbounded"])
def test_unbounded_sides_are_standardised(name):
    transform, value = TRANSFORMS[name]
    location, scale = robust_location_scale(transform(value))
    torch.testing.assert_close(location, torch.zeros_like(location), rtol=0, atol=1e-3)
    torch.testing.assert_close(scale, torch.ones_like(scale), rtol=0, atol=1e-3)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_standardise_does_not_depend_on_units(factor):
    x = torch.randn(300, 4) * torch.tensor([1.0, 2, 3, 4]) + 1
    one, other = (Standardise.fit(f * x) for f in (1.0, factor))
    torch.testing.assert_close(one(x), other(factor * x), rtol=1e-4, atol=1e-5)


def test_tails_choose_where_asinh_bends():
    normal, heavy = torch.randn(400), torch.randn(400).exp().pow(4)
    x = torch.stack([normal, heavy], 1)
    assert Standardise.fit(x).asinh.tolist() == [False, True]
    assert Standardise.fit(x, tails="asinh").asinh.tolist() == [True, True]
    assert Standardise.fit(x, tails="linear").asinh.tolist() == [False, False]


def test_shared_statistics_keep_relative_sizes():
    x = torch.randn(300, 1, 4, 4) * torch.linspace(1, 9, 16).reshape(1, 4, 4)
    transform: Transform = Standardise.fit(x, shared=True, tails="linear")
    z = transform(x)
    ratio = (z - z.mean()) / (x - x.mean())
    torch.testing.assert_close(ratio, ratio[:1, :, :1, :1].expand_as(ratio), rtol=1e-3, atol=0)
    # the same rows, each output on its own: negative control
    apart = Standardise.fit(x, tails="linear")(x)
    spread = robust_location_scale(apart)[1]
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-5, atol=0)


# --- robust statistics ------------------------------------------------------------------------


def test_robust_statistics_of_a_normal_and_of_one_with_outliers():
    n = 20_000
    x = 5 + 2 * torch.randn(n, 1, generator=torch.Generator().manual_seed(3))
    # standard errors of a normal's median and of its IQR / 1.349
    median_error, scale_error = 2 * 1.2533 / n**0.5, 2 * 1.167 / n**0.5
    dirty = x.clone()
    dirty[: n // 1000] = 1e12
    for rows, slack in ((x, 0.0), (dirty, 0.01)):
        location, scale = robust_location_scale(rows)
        assert abs(float(location) - 5) < 4.5 * median_error + slack
        assert abs(float(scale) - 2) < 4.5 * scale_error + slack


@pytest.mark.parametrize(
    ("column", "location", "scale"),
    [
        pytest.param([3.0] * 100, 3.0, 1.0, id="constant"),
        pytest.param([1e7] * 100, 1e7, 1.0, id="large constant"),
        pytest.param([0.0] * 95 + [1.0] * 5, 0.0, (0.05 * 0.95) ** 0.5, id="discrete"),
        pytest.param([0.0] * 99 + [1e3], 0.0, 1e3 * (0.01 * 0.99) ** 0.5, id="one off"),
        pytest.param([0.0, 2.0], 1.0, 1 / 1.3489795, id="two rows"),
        pytest.param([7.0], 7.0, 1.0, id="one row"),
    ],
)
def test_robust_statistics_where_quartiles_coincide(column, location, scale):
    found = robust_location_scale(torch.tensor(column)[:, None])
    assert float(found[0]) == pytest.approx(location)
    assert float(found[1]) == pytest.approx(scale)


def test_a_constant_column_does_not_blow_up():
    x = torch.cat([torch.full((50, 1), 2.5), torch.randn(50, 1)], 1)
    transform = Standardise.fit(x)
    assert (transform(x)[:, 0] == 0).all()
    torch.testing.assert_close(transform.inverse(transform(x)), x)
