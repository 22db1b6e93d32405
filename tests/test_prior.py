"""Laws of priors, over a registry of them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform, MultipleIndependent, mcmc_transform
from sbi.utils.user_input_checks import process_prior
from torch import distributions as td

from mlsbi.prior import Prior, as_prior

INF = float("inf")
ONE = torch.ones(1)
LOG_UNIFORM = td.TransformedDistribution(
    td.Uniform(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])), [td.ExpTransform()]
)
FLIPPED = td.TransformedDistribution(td.Exponential(torch.ones(2)), [td.AffineTransform(1.0, -2.0)])

# name -> (what the user passes, low, high)
PRIORS = {
    "BoxUniform": (lambda: BoxUniform(-torch.ones(2), 2 * torch.ones(2)), [-1, -1], [2, 2]),
    "float64 uniform": (
        lambda: td.Independent(td.Uniform(torch.tensor([0.7]).double(), ONE.double()), 1),
        [0.7],
        [1],
    ),
    "float64 list": (
        lambda: [td.Normal(0.5 * ONE.double(), ONE.double()), td.Uniform(-ONE, ONE.double())],
        [-INF, -1],
        [INF, 1],
    ),
    "normal": (lambda: td.Independent(td.Normal(torch.zeros(3), torch.ones(3)), 1), [-INF], [INF]),
    "multivariate normal": (
        lambda: td.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.5, 2.0]])),
        [-INF],
        [INF],
    ),
    "lognormal": (
        lambda: td.Independent(td.LogNormal(torch.zeros(2), torch.ones(2)), 1),
        [0],
        [INF],
    ),
    "exponential": (lambda: td.Independent(td.Exponential(torch.ones(2)), 1), [0], [INF]),
    "gamma": (lambda: td.Independent(td.Gamma(2 * ONE, ONE), 1), [0], [INF]),
    "beta": (lambda: td.Independent(td.Beta(0.5 * torch.ones(2), torch.ones(2)), 1), [0], [1]),
    "pareto": (lambda: td.Independent(td.Pareto(2 * ONE, 3 * ONE), 1), [2], [INF]),
    "log-uniform": (lambda: td.Independent(LOG_UNIFORM, 1), [1, np.e], [np.e, np.e**2]),
    "flipped exponential": (lambda: td.Independent(FLIPPED, 1), [-INF], [1]),
    "one of a list": (lambda: [td.Normal(0.0, 1.0)], [-INF], [INF]),
    "mixed list": (
        lambda: [
            td.Uniform(-ONE, ONE),
            td.Gamma(2.0, 1.0),
            td.Normal(torch.zeros(1), ONE),
            td.Independent(td.HalfNormal(ONE), 1),
            td.StudentT(3.0, 0.0, 1.0),
            td.Exponential(1.0),
        ],
        [-1, 0, -INF, 0, -INF, 0],
        [1, INF, INF, INF, INF, INF],
    ),
    "list of normals": (lambda: [td.Normal(0.0, 1.0), td.Laplace(0.0, 2.0)], [-INF], [INF]),
    "sbi MultipleIndependent": (
        lambda: MultipleIndependent(
            [
                td.Gamma(ONE, ONE),
                td.Beta(2 * ONE, 2 * ONE),
                td.MultivariateNormal(torch.ones(2), torch.eye(2)),
            ]
        ),
        [0, 0, -INF, -INF],
        [INF, 1, INF, INF],
    ),
}
CUSTOM = {
    "mixture": (
        lambda: td.MixtureSameFamily(
            td.Categorical(torch.ones(2)),
            td.Independent(
                td.Uniform(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [4.0]])), 1
            ),
        ),
        [0],
        [4],
    ),
}
ALL = PRIORS | CUSTOM


def build(name):
    return as_prior(ALL[name][0]())


def draws(prior, n=2000, seed=0):
    return prior.sample(n, torch.Generator().manual_seed(seed))


def joint_log_prob(given, theta):
    """The density of what the user passed, from torch alone."""
    if isinstance(given, list):
        columns = zip(given, theta.T, strict=True)
        return sum(d.log_prob(c.unsqueeze(-1)).reshape(-1) for d, c in columns)
    return given.log_prob(theta)


@pytest.mark.parametrize("name", ALL)
def test_bounds_are_read(name):
    prior = build(name)
    _, low, high = ALL[name]
    expected_low = torch.tensor(low).double().expand(prior.dim)
    expected_high = torch.tensor(high).double().expand(prior.dim)
    torch.testing.assert_close(prior.low, expected_low, rtol=1e-6, atol=0)
    torch.testing.assert_close(prior.high, expected_high, rtol=1e-6, atol=0)
    assert prior.low.dtype == prior.high.dtype == torch.float64


@pytest.mark.parametrize("name", ALL)
def test_samples_are_inside_float32_and_follow_the_generator_alone(name):
    prior = build(name)
    state = torch.get_rng_state()
    theta = draws(prior)
    assert torch.equal(torch.get_rng_state(), state)
    assert theta.shape == (2000, prior.dim)
    assert theta.dtype == torch.float32
    assert bool(prior.contains(theta).all())
    assert bool((theta > prior.low.float()).all() & (theta < prior.high.float()).all())
    assert bool(torch.isfinite(prior.log_prob(theta)).all())
    torch.manual_seed(7)
    assert torch.equal(draws(prior), theta)
    assert not torch.equal(draws(prior, seed=1), theta)


@pytest.mark.parametrize("name", ALL)
def test_log_prob_is_the_distributions_own(name):
    prior = build(name)
    theta = draws(prior, 200)
    expected = joint_log_prob(ALL[name][0](), theta)
    torch.testing.assert_close(prior.log_prob(theta), expected, check_dtype=False)


@pytest.mark.parametrize("name", ALL)
def test_density_is_zero_outside(name):
    prior = build(name)
    theta = draws(prior, 1)
    for i in range(prior.dim):
        for bound, step in ((prior.low[i], -0.5), (prior.high[i], 0.5)):
            if bool(torch.isfinite(bound)):
                outside = theta.clone()
                outside[0, i] = bound + step
                assert not bool(prior.contains(outside))
                assert prior.log_prob(outside).item() == -INF
    for value in (INF, -INF, float("nan")):
        assert prior.log_prob(torch.full((1, prior.dim), value)).item() == -INF


@pytest.mark.parametrize("name", PRIORS)
def test_round_trip_through_json_keeps_the_density(name):
    prior = build(name)
    again = Prior.from_dict(json.loads(json.dumps(prior.to_dict())))
    theta = draws(prior, 200)
    assert torch.equal(again.log_prob(theta), prior.log_prob(theta))
    assert torch.equal(draws(again, 10), draws(prior, 10))
    assert torch.equal(again.low, prior.low)
    assert torch.equal(again.high, prior.high)


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_priors_say_so(name):
    description = json.loads(json.dumps(build(name).to_dict()))
    assert description["type"] == "custom"
    with pytest.raises(ValueError, match="prior=") as error:
        Prior.from_dict(description)
    assert "custom" in str(error.value)


@pytest.mark.parametrize("name", ALL)
def test_priors_pickle(name):
    prior = build(name)
    again = pickle.loads(pickle.dumps(prior))
    assert torch.equal(draws(again, 10), draws(prior, 10))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sbi_takes_the_distribution(name):
    prior = build(name)
    theta = draws(prior, 50)
    processed, count, as_numpy = process_prior(prior.distribution)
    assert (count, as_numpy) == (prior.dim, False)
    assert processed.log_prob(theta).shape == (50,)
    torch.testing.assert_close(processed.log_prob(theta).float(), prior.log_prob(theta).float())
    if name not in CUSTOM:
        transform = mcmc_transform(processed)
        back = transform.inv(transform(theta))
        assert back.shape == theta.shape


def test_what_is_passed_in_is_not_changed():
    given = td.Independent(td.Exponential(torch.ones(2)), 1, validate_args=True)
    prior = as_prior(given)
    prior.log_prob(-torch.ones(1, 2))
    assert given._validate_args
    given.base_dist.rate.fill_(5.0)
    assert prior.log_prob(torch.ones(1, 2)).item() == pytest.approx(-2.0)
    assert as_prior(prior) is prior


def test_float64_bounds_accept_the_bound_itself_as_float32():
    prior = build("float64 uniform")  # float32(0.7) < 0.7
    assert bool(prior.contains(torch.tensor([[0.7]])))


def test_gradient_passes_through_log_prob():
    prior = build("mixed list")
    theta = draws(prior, 5).requires_grad_()
    prior.log_prob(theta).sum().backward()
    assert bool(torch.isfinite(theta.grad).all())


def test_sequence_keeps_the_order_and_repr_is_short():
    prior = as_prior([td.Normal(5.0, 0.01), td.Normal(-5.0, 0.01)])
    assert draws(prior, 100).mean(0).round().tolist() == [5.0, -5.0]
    assert repr(prior).startswith("Prior(Product(Normal")


class NoSupport(td.Distribution):
    arg_constraints = {}  # noqa: RUF012

    def __init__(self):
        super().__init__(event_shape=torch.Size([2]), validate_args=False)


BOX = as_prior(BoxUniform(torch.zeros(2), torch.ones(2)))
GENERATOR = torch.Generator()
NAN2 = torch.full((2,), float("nan"))
LEARNED = torch.ones(2, requires_grad=True).exp()

BAD = {
    "prior: None": (lambda: as_prior(None), TypeError, "prior", "Pass"),
    "prior: array": (lambda: as_prior(np.zeros((2, 2))), TypeError, "prior", "Pass"),
    "prior: empty": (lambda: as_prior([]), ValueError, "prior", "Pass"),
    "prior: scalar": (lambda: as_prior(td.Normal(0.0, 1.0)), ValueError, "prior", "list"),
    "prior: batch": (
        lambda: as_prior(td.Normal(torch.zeros(2), torch.ones(2))),
        ValueError,
        "prior",
        "Wrap it.*Independent",
    ),
    "prior: matrix": (
        lambda: as_prior(td.Independent(td.Normal(torch.zeros(2, 2), torch.ones(2, 2)), 2)),
        ValueError,
        "prior",
        "Pass",
    ),
    "prior: simplex": (lambda: as_prior(td.Dirichlet(torch.ones(3))), ValueError, "prior", "Use"),
    "prior: discrete": (
        lambda: as_prior(td.Independent(td.Poisson(torch.ones(2)), 1)),
        ValueError,
        "prior",
        "Use",
    ),
    "prior: no support": (lambda: as_prior(NoSupport()), ValueError, "prior", "Use"),
    "prior: crossed": (
        lambda: as_prior(BoxUniform(torch.ones(2), torch.zeros(2))),
        ValueError,
        "prior",
        "Correct",
    ),
    "prior: NaN": (
        lambda: as_prior(BoxUniform(NAN2, torch.ones(2))),
        ValueError,
        "prior",
        "Correct",
    ),
    "prior: learned": (
        lambda: as_prior(td.Independent(td.Normal(LEARNED, torch.ones(2)), 1)),
        ValueError,
        "prior",
        "detach",
    ),
    "prior[0]: type": (lambda: as_prior([1.0]), TypeError, r"prior\[0\]", "Pass"),
    "prior[1]: shape": (
        lambda: as_prior([td.Normal(0.0, 1.0), td.Normal(torch.zeros(2), torch.ones(2))]),
        ValueError,
        r"prior\[1\]",
        "Give",
    ),
    "n": (lambda: BOX.sample(0, GENERATOR), ValueError, "n", "Pass"),
    "n: type": (lambda: BOX.sample(2.0, GENERATOR), TypeError, "n", "Pass"),
    "generator": (lambda: BOX.sample(2, 0), TypeError, "generator", "Pass"),
    "theta: shape": (lambda: BOX.log_prob(torch.ones(3)), ValueError, "theta", "pass"),
    "theta: columns": (lambda: BOX.contains(torch.ones(3, 1)), ValueError, "theta", "pass"),
    "theta: type": (lambda: BOX.log_prob(None), TypeError, "theta", "Convert"),
    "description: type": (lambda: Prior.from_dict(3), TypeError, "description", "Pass"),
    "description: none": (lambda: Prior.from_dict({}), ValueError, "description", "prior="),
    "description: class": (
        lambda: Prior.from_dict({"type": "os.system", "parameters": {}}),
        ValueError,
        "description",
        "prior=",
    ),
    "description: field": (
        lambda: Prior.from_dict({"type": "Normal", "parameters": {"loc": 1}}),
        ValueError,
        "description",
        "prior=",
    ),
}


@pytest.mark.parametrize(("call", "kind", "argument", "remedy"), BAD.values(), ids=BAD)
def test_refusals_name_the_argument_and_the_remedy(call, kind, argument, remedy):
    with pytest.raises(kind, match=f"(?s){argument}.*{remedy}"):
        call()
