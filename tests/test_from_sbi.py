"""Runs, priors and simulators in sbi's form, and what is refused of them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from sbi.inference import NLE, NPE, NRE, simulate_for_sbi
from sbi.utils import (
    BoxUniform,
    MultipleIndependent,
    RestrictedPrior,
    process_prior,
    process_simulator,
)
from torch import distributions as td

import mlsbi
from mlsbi.prior import Prior, as_prior

ONE, TWO = torch.ones(1), torch.ones(2)
BOX = BoxUniform(-TWO, TWO)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """sbi's trainers write a folder of logs where they are made."""
    monkeypatch.chdir(tmp_path)


def simulator(bias, noise=0.1):
    def run(theta):
        return theta.sum(-1, keepdim=True) + bias + noise * torch.randn(*theta.shape[:-1], 3)

    return run


COARSE, FINE = simulator(0.5), simulator(0.0)


def runs(n, *, of=COARSE, seed=0):
    return simulate_for_sbi(
        of, BOX, n, simulation_batch_size=None, seed=seed, show_progress_bar=False
    )


def nested(coarse=50, fine=12):
    """Runs of two levels, the fine ones at some theta of the coarse ones."""
    theta, x = runs(coarse)
    at = theta[torch.arange(fine) * 2]
    return (theta, x), (at, FINE(at))


# priors


class Custom:
    """A prior as users of sbi write one, in NumPy."""

    mean, variance = np.full(2, 0.5), np.full(2, 1 / 12)

    def sample(self, shape=()):
        return np.random.rand(*shape, 2)

    def log_prob(self, theta):
        return np.where(((theta > 0) & (theta < 1)).all(-1), 0.0, -np.inf)


def bounded_custom():
    bounds = {"lower_bound": torch.zeros(2), "upper_bound": TWO}
    return process_prior(Custom(), custom_prior_wrapper_kwargs=bounds)[0]


PRIORS = {
    "box": lambda: BOX,
    "box, double": lambda: BoxUniform(-TWO.double(), TWO.double()),
    "joint, double": lambda: process_prior(
        td.MultivariateNormal(TWO.double(), torch.eye(2).double())
    )[0],
    "several": lambda: process_prior(
        [
            td.Uniform(0 * ONE, ONE),
            td.Exponential(ONE),
            td.MultivariateNormal(TWO, torch.eye(2)),
        ]
    )[0],
    "several, double": lambda: process_prior(
        MultipleIndependent([td.Gamma(ONE.double(), ONE.double()), td.Beta(ONE.double(), 2 * ONE)])
    )[0],
    "one, bounded": lambda: process_prior(td.Uniform(0 * ONE, ONE))[0],
    "one, wrapped": lambda: process_prior(td.Exponential(ONE))[0],
    "one, as sbi takes it": lambda: td.LogNormal(0 * ONE, ONE),
}


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
@pytest.mark.filterwarnings("ignore:Casting 1D Uniform:UserWarning")
@pytest.mark.filterwarnings("ignore:Prior was provided as a sequence:UserWarning")
def test_priors_of_sbi_keep_their_density_and_can_be_saved(make):
    theirs = make()
    prior = as_prior(theirs)
    theta = prior.sample(20, torch.Generator().manual_seed(1))
    want = theirs.log_prob(theta).reshape(-1).float()
    torch.testing.assert_close(prior.log_prob(theta).float(), want)
    assert prior.contains(theta).all()
    torch.testing.assert_close(Prior.from_dict(prior.to_dict()).log_prob(theta), want)
    if torch.isfinite(prior.low).any():  # the support is known, so nothing leaks out of it
        assert prior.log_prob(torch.full_like(theta, -1e3)).isneginf().all()


def test_a_users_own_prior_is_used_as_it_is():
    prior = as_prior(bounded_custom())
    theta = prior.sample(20, torch.Generator())
    assert prior.low.tolist() == [0, 0]
    assert prior.high.tolist() == [1, 1]
    assert prior.log_prob(theta).eq(0).all()
    assert prior.to_dict()["type"] == "custom"


def test_a_proposal_is_no_prior():
    with pytest.raises(TypeError, match="RestrictedPrior.*Pass the prior"):
        as_prior(RestrictedPrior(BOX, lambda theta: theta[:, 0] > 0))


def test_unwrapping_leaves_the_users_prior_alone():
    parts = [td.Exponential(ONE), td.Exponential(ONE)]
    with pytest.warns(UserWarning, match="sequence of 2 priors"):
        theirs = process_prior(parts)[0]
    before = [type(part) for part in theirs.dists]
    as_prior(theirs)
    assert [type(part) for part in theirs.dists] == before


# runs


@pytest.mark.parametrize("trainer", [NPE, NLE, NRE])
def test_inference_objects_are_paired_by_theta(trainer):
    (theta, x), (at, x_fine) = nested()
    order = torch.randperm(len(at))
    coarse = (
        trainer(BOX).append_simulations(theta[:20], x[:20]).append_simulations(theta[20:], x[20:])
    )
    fine = trainer(BOX).append_simulations(at[order], x_fine[order])
    data = mlsbi.from_sbi([coarse, fine], costs=[1, 10])
    assert data.n == (38, 12)
    assert data.cost == 38 + 12 * 11
    assert torch.equal(data.theta(1), at[order])
    assert torch.equal(data.x(1), x_fine[order])
    assert torch.equal(
        data.x_coarse(1), x[order * 2]
    )  # not x[: len(at)]: the order of rows is free
    left = torch.tensor([not (row == at).all(1).any() for row in theta])
    assert torch.equal(data.theta(0), theta[left])
    assert torch.equal(data.x(0), x[left])


def test_tuples_arrays_and_objects_are_the_same_data():
    (theta, x), (at, x_fine) = nested()
    want = mlsbi.from_sbi([NPE(BOX).append_simulations(theta, x), (at, x_fine)])
    arrays = [(theta.double().numpy(), x.numpy()), (at.numpy(), x_fine.double())]
    found = mlsbi.from_sbi(arrays, prior=process_prior(BOX)[0])
    for level in (0, 1):
        assert torch.equal(found.theta(level), want.theta(level))
        assert torch.equal(found.x(level), want.x(level))
    assert torch.equal(found.x_coarse(1), want.x_coarse(1))


def test_pairs_that_are_given_stay_as_they_are():
    (theta, x), (at, x_fine) = nested()
    data = mlsbi.from_sbi([(theta, x), (at, x_fine + 1, x_fine)], prior=BOX)
    assert data.n == (50, 12)
    assert torch.equal(data.x_coarse(1), x_fine + 1)


def test_three_nested_levels_give_every_theta_one_level():
    theta, x0 = runs(60)
    x1, x2 = FINE(theta[:25]), FINE(theta[:8])
    data = mlsbi.from_sbi([(theta, x0), (theta[:25], x1), (theta[:8], x2)], prior=BOX)
    assert data.n == (35, 17, 8)
    assert torch.equal(data.x_coarse(2), x1[:8])
    assert torch.equal(data.x_coarse(1), x0[8:25])
    assert torch.equal(data.x(0), x0[25:])


def test_one_level_is_single_level_data():
    data = mlsbi.from_sbi([NPE(BOX).append_simulations(*runs(9))])
    assert data.n == (9,)


@pytest.mark.filterwarnings("ignore:Found .* NaN:UserWarning")
def test_runs_that_sbi_left_out_do_not_shift_the_pairs():
    (theta, x), (at, x_fine) = nested()
    x[4] = torch.nan  # NPE leaves this row out; it is the coarse half of the fine row 2
    levels = [NPE(BOX).append_simulations(theta, x), (at, x_fine)]
    with pytest.raises(ValueError, match=r"1 of 12 are not there, the first at row 2.*drop"):
        mlsbi.from_sbi(levels)
    with pytest.warns(UserWarning, match="level 1: 1 of 12"):
        data = mlsbi.from_sbi(levels, on_invalid="drop")
    kept = torch.arange(12) != 2
    assert torch.equal(data.x(1), x_fine[kept])
    assert torch.equal(data.x_coarse(1), x[(torch.arange(12) * 2)[kept]])


def test_a_fit_of_them_runs_and_gives_sbi_its_posterior_back():
    from tiny import tiny

    data = mlsbi.from_sbi([NPE(BOX).append_simulations(*part) for part in nested()])
    fit = mlsbi.fit_posterior(
        data, seed=1, ensemble=2, training=tiny(), strategy=mlsbi.Multilevel()
    )
    posterior = fit.posterior(torch.zeros(3))
    assert posterior.sample((5,), show_progress_bars=False).shape == (5, 2)


THETA, X = runs(10, seed=1)
OTHER = BoxUniform(-2 * TWO, 2 * TWO)


def proposed():
    inference = NLE(BOX).append_simulations(THETA, X)
    return inference.append_simulations(THETA, X, from_round=1)


BAD = {
    "no list": (lambda: (None,), {}, TypeError, "levels must be a list"),
    "empty": (lambda: ([],), {}, ValueError, "at least one entry"),
    "no prior": (lambda: ([(THETA, X)],), {}, ValueError, "prior must be given"),
    "entry": (lambda: ([THETA],), {"prior": BOX}, TypeError, r"levels\[0\] must be a tuple"),
    "four": (lambda: ([(THETA, X, X, X)],), {"prior": BOX}, ValueError, "4 entries"),
    "pair at 0": (lambda: ([(THETA, X, X)],), {"prior": BOX}, ValueError, r"levels\[0\].*3 entr"),
    "x": (lambda: ([(THETA, X[:5])],), {"prior": BOX}, ValueError, r"levels\[0\]: x must have"),
    "theta": (lambda: ([(THETA[0], X)],), {"prior": BOX}, ValueError, r"levels\[0\]: theta"),
    "nothing appended": (lambda: ([NPE(BOX)],), {}, ValueError, "append_simulations"),
    "proposal": (lambda: ([proposed()],), {}, ValueError, "10 of 20 were drawn from a proposal"),
    "option": (lambda: ([(THETA, X)],), {"on_invalid": "keep"}, ValueError, "on_invalid"),
    "other theta": (
        lambda: ([(THETA, X), (THETA[:3] / 2, X[:3])],),
        {"prior": BOX},
        ValueError,
        r"levels\[1\].*3 of 3 are not there",
    ),
    "twice": (
        lambda: ([(THETA, X), (THETA[[0, 0]], X[:2])],),
        {"prior": BOX},
        ValueError,
        "1 of its theta occur more than once",
    ),
    "twice below": (
        lambda: ([(torch.cat([THETA, THETA[:1]]), torch.cat([X, X[:1]])), (THETA[:2], X[:2])],),
        {"prior": BOX},
        ValueError,
        "1 of its theta occur more than once",
    ),
    "nothing left": (
        lambda: ([(THETA, X), (THETA, X)],),
        {"prior": BOX},
        ValueError,
        r"levels\[0\] must have runs of its own.*10 runs",
    ),
    "two priors": (
        lambda: ([NPE(BOX).append_simulations(THETA, X), NPE(OTHER).append_simulations(THETA, X)],),
        {},
        ValueError,
        r"levels\[1\] must have the prior of levels\[0\]",
    ),
    "another prior": (
        lambda: ([NPE(BOX).append_simulations(THETA, X)],),
        {"prior": OTHER},
        ValueError,
        r"levels\[0\] must have the prior of prior",
    ),
}


@pytest.mark.parametrize(("make", "options", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input(make, options, error, message):
    with pytest.raises(error, match=message):
        mlsbi.from_sbi(*make(), **options)


# simulators


def hierarchy(coarse=COARSE, fine=FINE, **options):
    levels = [mlsbi.sbi_level(f, cost=c, **options) for f, c in ((coarse, 1.0), (fine, 10.0))]
    return mlsbi.Hierarchy(BOX, levels)


def single(theta):
    """One row at a time, noise from all three global generators."""
    noise = torch.randn(1).item() + np.random.randn() + random.random()
    return float(theta.sum()) + noise


@pytest.mark.parametrize(
    ("coarse", "fine", "batched"),
    [
        (COARSE, FINE, True),
        (process_simulator(COARSE, BOX, False), process_simulator(FINE, BOX, False), True),
        (single, lambda theta: single(theta) - 0.5, False),
    ],
    ids=["batched", "process_simulator", "single"],
)
def test_common_seeds_couple_simulators_of_sbi(coarse, fine, batched):
    data = mlsbi.simulate(hierarchy(coarse, fine, batched=batched), [6, 40], seed=1)
    torch.testing.assert_close(data.x(1) - data.x_coarse(1), torch.full_like(data.x(1), -0.5))
    noise = data.x(1) - data.theta(1).sum(1, keepdim=True)
    assert noise.std() > 0.05  # seeded a row, not the same noise in all
    alone = mlsbi.simulate(hierarchy(coarse, fine, batched=batched), [6, 7], seed=1)
    assert torch.equal(alone.x(1), data.x(1)[:7])


def test_global_generators_are_as_they_were():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    mlsbi.simulate(hierarchy(single, single, batched=False), [3, 3], seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


def failing(theta):
    raise RuntimeError("no convergence")


def test_they_are_put_back_after_a_failure_too():
    before = np.random.get_state()[1].copy(), random.getstate()
    with pytest.raises(RuntimeError, match="no convergence"):
        mlsbi.sbi_level(failing).simulator(np.zeros(2, "float32"), 3)
    assert (before[0] == np.random.get_state()[1]).all()
    assert before[1] == random.getstate()


def test_a_store_knows_the_simulator_inside(tmp_path):
    store = tmp_path / "runs.zarr"
    mlsbi.simulate(hierarchy(), [4, 3], seed=1, store=store)
    grown = mlsbi.simulate(hierarchy(), [6, 3], seed=1, store=store)
    assert grown.n == (6, 3)
    with pytest.raises(ValueError, match=r"levels\[0\]"):
        mlsbi.simulate(hierarchy(simulator(0.25)), [8, 3], seed=1, store=store)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mlsbi.sbi_level(None), TypeError, "simulator must be callable"),
        (lambda: mlsbi.sbi_level(FINE, batched=1), TypeError, "batched"),
        (lambda: mlsbi.sbi_level(FINE, cost=-1.0), ValueError, "cost"),
        (
            lambda: mlsbi.sbi_level(single, batched=True).run(torch.zeros(2, 2), torch.ones(2)),
            Exception,
            "u must be one seed",
        ),
        (
            lambda: mlsbi.sbi_level(lambda t: t[0]).run(torch.zeros(2, 2), torch.arange(2)),
            Exception,
            r"must return x of shape \(1, \*event\)",
        ),
    ],
    ids=["callable", "batched", "cost", "noise of one's own", "no batch"],
)
def test_bad_simulators(call, error, message):
    with pytest.raises(error, match=message):
        call()
