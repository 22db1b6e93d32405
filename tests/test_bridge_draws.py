"""From cheap runs to draws of level L: rounding, the cheap emulator, fresh noise, whole ladders."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

import linear_gaussian
from linear_gaussian import normal_prior
from mlsbi._random import make_generator
from mlsbi.bridge import gp
from mlsbi.bridge.cheap import CheapLevel
from mlsbi.bridge.discrete import Lattice
from mlsbi.bridge.inputs import Inputs
from mlsbi.bridge.ladder import Ladder, learn_ladder
from mlsbi.bridge.residuals import Residuals
from mlsbi.bridge.synthetic import SyntheticRows
from mlsbi.estimators.transforms import Support
from mlsbi.parameters import Parameters
from mlsbi.prior import as_prior
from mlsbi.problem import LevelRows, Problem, folds
from tiny import problem_of_rows, tiny

Runs = tuple[Tensor, Tensor | None, Tensor]  # theta, coarse, fine


def problem(runs: list[Runs], *, members: int = 2, kind: str = "posterior") -> Problem:
    """Runs that are in the network's units as they are, under a standard normal prior."""
    levels, train = [], []
    for level, (theta, coarse, x) in enumerate(runs):
        halves = ((theta, x), (None if coarse is None else theta, coarse))
        flipped = [h if kind == "posterior" else h[::-1] for h in halves]
        levels.append(LevelRows(*flipped[0], *flipped[1]))
        generator = make_generator(0, "folds", level)
        train.append(folds(len(theta), members, fraction=0.2, generator=generator))
    rows = problem_of_rows(tuple(levels), tuple(train), tiny(), seed=0)
    prior = as_prior(normal_prior())
    transform = Support(prior.low, prior.high, torch.zeros(2), torch.ones(2))
    return replace(rows, kind=kind, parameters=Parameters(prior, transform))


def cheap_runs(n: int = 200) -> Runs:
    theta, u = torch.randn(2, n, 2)
    return theta, None, theta + 0.5 * u


@cache
def hierarchy(levels: int, gap: float = 0.5) -> tuple[Ladder, SyntheticRows]:
    """A ladder of the linear Gaussian hierarchy, and its real cheap runs pushed up it."""
    truth = linear_gaussian.Ladder(gap=gap, levels=levels)
    n = (4000, 60, 40)
    found = problem([truth.rows(level, (n[level],), seed=level) for level in range(levels)])
    ladder = learn_ladder(found)
    return ladder, ladder.climb(found.theta(0), found.x(0), seed=1)


def all_rows(rows: SyntheticRows) -> Tensor:
    return torch.arange(len(rows.theta)).expand(len(rows.usable), -1)


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp, "_STEPS", 5)
    monkeypatch.setattr("mlsbi.bridge.cheap._MOST_STEPS", 20)


# ------------------------------------------------------------------------------------ rounding


def test_discrete_outputs_are_moved_to_the_nearest_of_their_values() -> None:
    counts = torch.tensor([0.0, 1.0, 3.0, 10.0]).repeat(20)
    lattice = Lattice.fit(torch.stack([counts, torch.randn(80)], 1))
    assert lattice.values[1] is None
    x = torch.tensor([[-5.0, 0.123], [0.6, 7.0], [1.9, 7.0], [2.1, 7.0], [99.0, -7.0]])
    found = lattice.snap(x)
    assert found[:, 0].tolist() == [0.0, 1.0, 1.0, 3.0, 10.0]
    assert torch.equal(found[:, 1], x[:, 1])
    assert torch.equal(lattice.snap(found), found)
    assert torch.equal(lattice.snap(x.expand(3, 5, 2)), found.expand(3, 5, 2))


def test_values_of_all_levels_are_known() -> None:
    low, high = torch.tensor([0.0, 1.0]).repeat(20, 1).T.reshape(-1, 1), torch.full((20, 1), 2.0)
    assert Lattice.fit(low, high).snap(torch.tensor([[5.0]])).item() == 2.0
    assert Lattice.fit(low).snap(torch.tensor([[5.0]])).item() == 1.0


def test_continuous_outputs_stay_as_they_are() -> None:
    x = torch.randn(40, 3)
    assert Lattice.fit(x).snap(x) is x
    assert Lattice.none(3).snap(x) is x


def test_a_constant_output_is_discrete() -> None:
    lattice = Lattice.fit(torch.full((30, 1), 1.5))
    assert torch.equal(lattice.snap(torch.randn(9, 1)), torch.full((9, 1), 1.5))


# ---------------------------------------------------------------------------- the cheap emulator


@pytest.mark.usefixtures("rough")
@pytest.mark.parametrize("clamp", [True, False])
def test_emulated_draws_stay_near_the_range_of_the_runs(clamp: bool) -> None:
    theta, _, x = cheap_runs()
    x = x.clamp(-1, 1)  # an untrained mixture knows of no such bounds
    cheap = CheapLevel.learn(problem([(theta, None, x)]), clamp=clamp)
    drawn, x = cheap.draw(2001)
    assert drawn.shape == x.shape == (2001, 2)
    near = bool((x.abs() <= 1.2 + 1e-6).all())
    assert near is clamp
    if clamp:
        torch.testing.assert_close(cheap.high, torch.full((2,), 1.2))
        assert bool((x.abs() > 1.0).any())
    for draws, again in zip((drawn, x), cheap.draw(2001), strict=True):
        assert torch.equal(draws, again)


def test_emulated_draws_are_of_the_prior_and_the_cheap_level() -> None:
    theta, _, x = cheap_runs(800)
    whole = problem([(theta, None, x)])
    options = tiny(max_steps=300, evaluate_every=50, patience=50)
    cheap = CheapLevel.learn(whole.with_training(options))
    drawn, x = cheap.draw(20_000)
    assert float((drawn.mean(0)).abs().max()) < 4 / 20_000**0.5
    assert float((drawn.std(0) - 1).abs().max()) < 4 / 40_000**0.5
    joint = torch.cov(torch.cat([drawn, x], 1).T)
    eye = torch.eye(2)
    wanted = torch.cat([torch.cat([eye, eye], 1), torch.cat([eye, 1.25 * eye], 1)])
    # The network's error, from 800 runs: about a tenth.
    torch.testing.assert_close(joint, wanted, atol=0.15, rtol=0)


@pytest.mark.usefixtures("rough")
def test_emulated_draws_come_from_a_seed_of_their_own() -> None:
    runs = [cheap_runs()]
    one, same = (CheapLevel.learn(problem(runs)).draw(50)[1] for _ in range(2))
    other = CheapLevel.learn(replace(problem(runs), seed=1)).draw(50)[1]
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


# ------------------------------------------------------------------------- rows with fresh noise


def synthetic(kind: str = "posterior", *, deviation: float = 1.0) -> SyntheticRows:
    n, theta = 30, torch.arange(60.0).reshape(30, 2)
    noise = Residuals(torch.zeros(2, 1, 3), torch.ones(2).long(), torch.eye(3).expand(2, 3, 3))
    mean = theta[:, :1] + 1000 * torch.arange(2).reshape(2, 1, 1) + torch.zeros(2, n, 3)
    spread = torch.full((2, n, 3), deviation)
    usable = torch.ones(2, n, dtype=torch.bool)
    return SyntheticRows(theta, mean, spread, usable, noise, Lattice.none(3), kind)


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_each_draw_has_noise_of_its_own_and_a_seed_gives_it_again(kind: str) -> None:
    rows, picked = synthetic(kind), torch.tensor([[3, 3, 29], [0, 7, 7]])
    generator = make_generator(0)
    order = (lambda pair: pair) if kind == "posterior" else (lambda pair: pair[::-1])
    theta, x = order(rows.draw(picked, generator))
    _, fresh = order(rows.draw(picked, generator))
    _, again = order(rows.draw(picked, make_generator(0)))
    assert torch.equal(theta, rows.theta[picked])
    assert torch.equal(x, again)
    assert not torch.isclose(x, fresh).any()
    assert not torch.isclose(x[0, 0], x[0, 1]).any()  # the same row twice in a batch
    member = torch.arange(2).unsqueeze(1)
    assert float((x - rows.mean[member, picked]).abs().max()) < 6


def test_rows_are_those_of_their_member_and_exact_without_noise() -> None:
    rows, picked = synthetic(deviation=0.0), torch.tensor([[3, 29], [0, 7]])
    _, x = rows.draw(picked, make_generator(0))
    assert x[..., 0].tolist() == [[6.0, 58.0], [1000.0, 1014.0]]


# ---------------------------------------------------------------------------------- whole ladders


@pytest.mark.parametrize("levels", [2, 3])
def test_a_ladder_makes_draws_with_the_moments_of_the_top_level(levels: int) -> None:
    _, rows = hierarchy(levels)
    theta, x = rows.draw(all_rows(rows), make_generator(2))
    a = linear_gaussian.Ladder().likelihood(torch.eye(2)).mean.T.float()
    n = theta.shape[1]
    for member in range(2):
        joint = torch.cat([theta[member], x[member]], 1)
        eye = torch.eye(2)
        blocks = [[eye, a.T], [a, a @ a.T + linear_gaussian._NOISE**2 * eye]]
        wanted = torch.cat([torch.cat(row, 1) for row in blocks])
        # Errors of the draws themselves, and a fiftieth for the steps: their pairs fix them.
        scale = wanted.diagonal().sqrt()
        error = 4 * (2 / n) ** 0.5 + 0.02
        assert bool(((torch.cov(joint.T) - wanted).abs() < error * scale * scale[:, None]).all())
        assert bool((joint.mean(0).abs() < (4 / n**0.5 + 0.02) * scale).all())


def test_cheap_runs_alone_have_other_moments() -> None:
    """Negative control of the test above: it would not pass without the steps."""
    ladder, rows = hierarchy(2)
    off = ladder.problem.x(0).mean(0).abs() / rows.mean[0].std(0)
    assert float(off.max()) > 0.1


def noisy_pairs(n: int, *, seed: int = 0, discrete: bool = False) -> list[Runs]:
    """One output: x_1 = 0.8 x_0 + 1 + 0.6 e."""
    generator = make_generator(seed)

    def cheap(theta: Tensor) -> Tensor:
        x = theta[:, :1] + 0.5 * torch.randn(len(theta), 1, generator=generator)
        return x.round() if discrete else x

    theta, other = (torch.randn(m, 2, generator=generator) for m in (2000, n))
    coarse = cheap(other)
    fine = 0.8 * coarse + 1 + 0.6 * torch.randn(n, 1, generator=generator)
    return [(theta, None, cheap(theta)), (other, coarse, fine.round() if discrete else fine)]


def test_a_ladder_of_one_output() -> None:
    n = 100
    found = problem(noisy_pairs(n))
    rows = learn_ladder(found).climb(found.theta(0), found.x(0), seed=1)
    _, x = rows.draw(all_rows(rows), make_generator(2))
    deviation = (0.64 * 1.25 + 0.36) ** 0.5
    assert x.shape == (2, 2000, 1)
    error = 0.6 / (0.8 * n) ** 0.5 + deviation / 2000**0.5
    assert float((x.mean(1) - 1).abs().max()) < 4 * error
    assert float((x.std(1) / deviation - 1).abs().max()) < 4 * (2 / (0.8 * n)) ** 0.5 / 2


@pytest.mark.usefixtures("rough")
def test_draws_of_discrete_outputs_are_discrete_but_a_likelihood_sees_them_smooth() -> None:
    runs = noisy_pairs(30, discrete=True)
    for kind in ("posterior", "likelihood"):
        found = problem(runs, kind=kind)
        rows = learn_ladder(found).climb(found.theta(0), found.x(0), seed=1)
        x = rows.draw(all_rows(rows), make_generator(2))[kind == "posterior"]
        assert torch.equal(x, x.round()) is (kind == "posterior")


@pytest.mark.usefixtures("rough")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_are_not_usable(bad: float) -> None:
    found = problem(noisy_pairs(20))
    theta, x = found.theta(0)[:50], found.x(0)[:50].clone()
    x[7] = bad
    rows = learn_ladder(found).climb(theta, x, seed=1)
    assert rows.usable.tolist() == [[i != 7 for i in range(50)]] * 2
    assert bool(rows.mean.isfinite().all())
    assert bool(rows.deviation.isfinite().all())


@pytest.mark.usefixtures("rough")
def test_a_ladder_is_reproducible_and_skips_what_needs_no_correction() -> None:
    top, truth = 2, linear_gaussian.Ladder(gap=0.5, levels=3)
    runs = [truth.rows(level, (20,), seed=level) for level in range(3)]
    whole = problem(runs)
    climbs = [
        learn_ladder(whole).climb(whole.theta(0), whole.x(0), seed=seed).mean for seed in (0, 0, 1)
    ]
    assert torch.equal(climbs[0], climbs[1])
    assert not torch.equal(climbs[0], climbs[2])  # the noise of the step between
    assert [row["level"] for row in learn_ladder(whole).rows] == [1, 1, 2, 2]
    theta, _, x = runs[top]
    same = problem([*runs[:top], (theta, x, x)])
    assert [row["level"] for row in learn_ladder(same).rows] == [1, 1]
    alone = learn_ladder(whole, low=False)
    assert [row["level"] for row in alone.rows] == [2, 2]
    assert alone.climb(whole.theta(0), None, seed=0).mean.shape == (2, 20, 2)


@pytest.mark.usefixtures("rough")
def test_counterparts_are_what_the_last_step_makes_of_the_top_pairs() -> None:
    truth = linear_gaussian.Ladder(gap=0.5, levels=3)
    whole = problem([truth.rows(level, (20,), seed=level) for level in range(3)])
    ladder = learn_ladder(whole)
    rows = ladder.counterparts(seed=0)
    pairs = Inputs(whole.theta(2), whole.x_coarse(2)).expand(2)
    mean, deviation = ladder.steps[-1].predict(pairs)
    assert torch.equal(rows.mean, mean)
    assert torch.equal(rows.deviation, deviation)
    assert torch.equal(rows.usable, whole.train_rows[2])
    assert not rows.usable.all()
