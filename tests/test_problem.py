"""What a strategy may rely on: the problem's rows, prior and scopes, and what it may return."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Exponential, Normal, Uniform

from mlsbi import (
    MAF,
    MDN,
    Multilevel,
    MultilevelData,
    Pooled,
    SingleLevel,
    Status,
    Training,
    Transfer,
    fit_likelihood,
    fit_posterior,
    load_fit,
    strategies,
)
from mlsbi._random import make_generator
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.estimators.transforms import Support
from mlsbi.estimators.union import union
from mlsbi.prepare import train_rows
from mlsbi.problem import Problem, folds
from mlsbi.strategies import Solution, Strategy
from tiny import D, box, linear_data, tiny

KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}
SMALL = MDN(components=2, hidden=(8,))


@dataclass(frozen=True)
class Mixture(Strategy):
    """Several strategies' densities with falling weights."""

    candidates: tuple[Strategy, ...] = (SingleLevel(), Pooled())
    network: EstimatorSpec | None = None

    def solve(self, problem: Problem) -> Solution:
        found = [
            candidate.solve(problem.scoped(f"{i}-{type(candidate).__name__}"))
            for i, candidate in enumerate(self.candidates)
        ]
        sizes = torch.tensor([s.density.members for s in found])
        share = 0.5 ** torch.arange(len(found), dtype=torch.float64).repeat_interleave(sizes)
        return Solution(
            union([s.density for s in found]),
            tuple(part for s in found for part in s.blueprint_parts),
            Status.LOW_LEVEL_UNUSED,
            tuple(row for s in found for row in s.rows),
            share / share.sum(),
        )


@dataclass(frozen=True)
class Spy(Strategy):
    """Keeps the problem it was given."""

    def solve(self, problem: Problem) -> Solution:
        seen.append(problem)
        return super().solve(problem)

    def train(self, density: Any, problem: Problem) -> Any:
        return SingleLevel().train(density, problem)


seen: list[Problem] = []


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(strategies.NAMED, "Mixture", Mixture)


def fit(kind: str, data: MultilevelData, strategy: Strategy, **options: Any) -> Any:
    defaults = {"estimator": SMALL, "ensemble": 2, "training": tiny(max_steps=10), "seed": 5}
    return KINDS[kind](data, strategy=strategy, **(defaults | options))


def problem_of(kind: str, data: MultilevelData, **options: Any) -> Problem:
    fit(kind, data, Spy(), **options)
    return seen.pop()


# --- rows and parameters ----------------------------------------------------------------------

PRIORS = {
    "box": None,
    "one of each": [Uniform(-1.0, 3.0), Normal(0.0, 2.0)],
    "half": [Exponential(torch.tensor(1.0)), Uniform(0.0, 2.0)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_by_what_they_are(kind: str) -> None:
    data = linear_data((30, 20), event=(2, 2))
    problem = problem_of(kind, data)
    assert problem.kind == kind
    for level, n in enumerate((30, 20)):
        assert problem.theta(level).shape == (n, D)
        assert problem.x(level).shape == (n, 4)
        rows = problem.levels[level]
        value, context = rows.value, rows.context.flatten(1)
        theta, x = (value, context) if kind == "posterior" else (context, value)
        assert torch.equal(problem.theta(level), theta)
        assert torch.equal(problem.x(level), x)
    assert problem.x_coarse(1).shape == (20, 4)
    # x_0 = x_1 + 0.15 with the same theta and u: the distance is the same in every row
    apart = problem.x_coarse(1) - problem.x(1)
    torch.testing.assert_close(apart, apart[:1].expand_as(apart), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="coarse"):
        problem.x_coarse(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PRIORS)
def test_prior_draws_are_in_the_units_of_the_rows(name: str, kind: str) -> None:
    prior: Any = PRIORS[name]
    problem = problem_of(kind, linear_data((300,), prior=prior))
    parameters = problem.parameters
    draws = parameters.sample(4000, torch.Generator().manual_seed(1))
    assert draws.shape == (4000, D)
    assert draws.dtype == torch.float32
    assert torch.equal(draws, parameters.sample(4000, torch.Generator().manual_seed(1)))
    assert parameters.prior.contains(parameters.transform.inverse(draws)).all()
    # undone and done again, the data's own rows are in the same units
    theta = problem.theta(0)
    again = parameters.transform(parameters.transform.inverse(theta))
    torch.testing.assert_close(again, theta, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PRIORS)
def test_covariates_are_the_place_in_the_bounds_where_there_are_two(name: str, kind: str) -> None:
    prior: Any = PRIORS[name]
    parameters = problem_of(kind, linear_data((300,), prior=prior)).parameters
    n = 4000
    draws = parameters.sample(n, torch.Generator().manual_seed(1))
    found = parameters.covariate(draws)
    assert found.dtype == torch.float32
    low, high = parameters.prior.low, parameters.prior.high
    both = torch.isfinite(low) & torch.isfinite(high)
    assert torch.equal(found[:, ~both], draws[:, ~both])
    place = (parameters.transform.inverse(draws).double() - low) / (high - low)
    expected = ((place - 0.5) * 12**0.5).float()
    torch.testing.assert_close(found[:, both], expected[:, both], rtol=1e-4, atol=1e-4)
    # a uniform prior: unit variance, whose error is sqrt((9 / 5 - 1) / n)
    assert (found[:, both].var(0) - 1).abs().le(4.5 * (0.8 / n) ** 0.5).all()
    if isinstance(parameters.transform, Support):  # negative control: normal quantiles have tails
        assert (found[:, both].abs() <= 3**0.5 + 1e-5).all()
        assert (draws[:, both].abs().amax(0) > 2.5).all()


# --- building and scopes ----------------------------------------------------------------------


def test_build_makes_the_fits_density_or_a_variant_of_it() -> None:
    problem = problem_of("posterior", linear_data((30, 20)))
    value, context = torch.zeros(2, 4, D), torch.zeros(2, 4, 3)

    def at(**options: Any) -> Tensor:
        return problem.build(**options).log_prob(value, context)

    assert torch.equal(at(seed=1), at(seed=1))
    assert not torch.equal(at(seed=1), at(seed=2))
    assert problem.build(seed=1, members=7).members == 7
    maf = problem.build(seed=1, estimator=MAF((8,), 2))
    assert type(maf) is not type(problem.build(seed=1))
    leveled = problem.build(seed=1, level_input=True)
    assert leveled.log_prob(value, torch.zeros(2, 4, 4)).shape == (2, 4)


def test_a_scope_has_its_own_seeds_and_its_own_file() -> None:
    problem = replace(problem_of("posterior", linear_data((30,))), checkpoint=Path("a/b.ckpt"))
    one, two = problem.scoped("one"), problem.scoped("two")
    for name in ("seed", "density_seed", "fingerprint", "checkpoint"):
        assert len({getattr(p, name) for p in (problem, one, two)}) == 3
    assert one.checkpoint == Path("a/b.ckpt.one")
    assert one.levels is problem.levels
    assert one.train_rows is problem.train_rows  # the folds: what is held out stays held out
    again = problem.scoped("one")
    assert (again.seed, again.density_seed) == (one.seed, one.density_seed)
    assert replace(problem, checkpoint=None).scoped("one").checkpoint is None


# --- several densities in one fit -------------------------------------------------------------

NESTED = Mixture(
    candidates=(
        Transfer(rate=0.3, training=tiny(max_steps=5)),
        Mixture(candidates=(Pooled(), Multilevel(start="fresh")), network=MAF((8,), 2)),
    )
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", [Mixture(), NESTED], ids=["flat", "nested"])
def test_a_mixture_of_strategies_is_saved_and_loaded(
    strategy: Mixture, kind: str, tmp_path: Path
) -> None:
    data = linear_data((40, 20))
    fitted = fit(kind, data, strategy)
    count = 2 if strategy == Mixture() else 3
    assert fitted.estimator.members == 2 * count
    assert fitted.status is Status.LOW_LEVEL_UNUSED
    assert fitted.status.ok
    fitted.save(tmp_path / "fit")
    again = load_fit(tmp_path / "fit")
    assert again.strategy == strategy
    assert again.blueprint == fitted.blueprint
    assert again.status is fitted.status
    theta, x = data.theta(1), data.x(1)
    assert torch.equal(again.log_prob(theta, x), fitted.log_prob(theta, x))
    at = {"x": x[0]} if kind == "posterior" else {"theta": theta[0]}
    assert torch.equal(again.sample(50, **at, seed=1), fitted.sample(50, **at, seed=1))


def test_the_weights_mix_the_candidates() -> None:
    data = linear_data((40, 20))
    fitted = fit("posterior", data, Mixture())
    theta, x = data.theta(1), data.x(1)
    each = fitted.estimator.member_log_prob(theta, x).exp()
    expected = ((each[:2].mean(0) * 2 + each[2:].mean(0)) / 3).log().float()
    torch.testing.assert_close(fitted.log_prob(theta, x), expected, rtol=1e-4, atol=1e-4)


def test_a_candidate_of_a_scope_is_not_the_strategy_alone() -> None:
    """Its seeds differ, so that two candidates of one kind are two draws."""
    data = linear_data((40, 20))
    both = fit("posterior", data, Mixture(candidates=(SingleLevel(), SingleLevel())))
    each = both.estimator.member_log_prob(data.theta(1), data.x(1))
    assert not torch.allclose(each[:2], each[2:])


def test_a_fit_saved_before_members_had_weights_is_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    data = linear_data((40, 20))
    fitted = fit("posterior", data, SingleLevel())
    fitted.save(tmp_path / "fit")
    text = tmp_path / "fit" / "fit.json"
    config = json.loads(text.read_text())
    for name in ("level_input", "parts"):
        del config["blueprint"][name]
    text.write_text(json.dumps(config))
    weights = load_file(tmp_path / "fit" / "weights.safetensors")
    del weights["log_weights"]
    save_file(weights, tmp_path / "fit" / "weights.safetensors")
    theta, x = data.theta(1), data.x(1)
    again = load_fit(tmp_path / "fit")
    assert torch.equal(again.log_prob(theta, x), fitted.log_prob(theta, x))


def test_what_a_nested_strategy_names_is_looked_up(tmp_path: Path) -> None:
    fit("posterior", linear_data((40, 20)), Mixture()).save(tmp_path / "fit")
    text = tmp_path / "fit" / "fit.json"
    config = json.loads(text.read_text())
    config["strategy"]["candidates"][1]["name"] = "os.system"
    text.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"path: .*strategy 'os.system'"):
        load_fit(tmp_path / "fit")


def test_each_candidate_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    data, file = linear_data((40, 20)), tmp_path / "c"
    expected = fit("posterior", data, Mixture())
    for _ in range(2):  # the second call reads what the first one wrote
        found = fit("posterior", data, Mixture(), checkpoint=file)
        theta, x = data.theta(1), data.x(1)
        assert torch.equal(found.log_prob(theta, x), expected.log_prob(theta, x))
        written = {path.name for path in tmp_path.iterdir()}
        assert written == {"c.0-SingleLevel", "c.1-Pooled"}


def test_a_checkpoint_of_other_candidates_is_refused(tmp_path: Path) -> None:
    data, file = linear_data((40, 20)), tmp_path / "c"
    fit("posterior", data, Mixture(candidates=(SingleLevel(), Pooled())), checkpoint=file)
    other = Mixture(candidates=(SingleLevel(), Transfer()))
    with pytest.raises(ValueError, match=r"checkpoint: .*other data, options or seed"):
        fit("posterior", data, other, checkpoint=file)


def test_a_wrong_estimator_is_named_before_any_work() -> None:
    with pytest.raises(ValueError, match="estimator must be one of"):
        fit("posterior", linear_data((40, 20)), Spy(), estimator="typo")
    assert not seen


def test_a_strategy_without_train_and_solve_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Strategy"):
        fit("posterior", linear_data((40, 20)), Strategy())


def test_the_same_theta_is_held_out_together_at_all_levels():
    """A pilot runs all levels on the same draws: what is held out at one is at the others."""
    generator = torch.Generator().manual_seed(0)
    theta = [torch.rand(n, D, generator=generator) for n in (30, 20)]
    theta[1][5:15] = theta[0][10:20]  # shared by the levels
    theta[1][4] = theta[1][5]  # a twin
    x = torch.zeros(30, 2)
    levels = [(theta[0], x), (theta[1], x[:20], x[:20])]
    data = MultilevelData.from_arrays(box(), levels)
    low, high = train_rows(data, 5, Training(), 0)
    assert torch.equal(low[:, 10:20], high[:, 5:15])
    assert torch.equal(high[:, 4], high[:, 5])
    assert ((~high).sum(0) == 1).all()  # each row is held out once, as without shared theta
    alone = MultilevelData.from_arrays(box(), levels[:1])
    plain = folds(30, 5, fraction=0.2, generator=make_generator(0, "folds", 0))
    assert torch.equal(train_rows(alone, 5, Training(), 0)[0], plain)
    assert torch.equal(low[:, :10], plain[:, :10])  # rows of their own are dealt as ever
