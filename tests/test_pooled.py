"""Pooled: it counts every run once, tells the levels apart, and comes back from disk the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linear_gaussian import D, Ladder, normal_prior
from mlsbi import (
    MDN,
    MultilevelData,
    Pooled,
    SingleLevel,
    Training,
    fit_likelihood,
    fit_posterior,
    load_fit,
)
from mlsbi.batches import Batches
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.level_input import LevelDensity, with_level
from mlsbi.problem import LevelRows, Term
from mlsbi.training import train
from tiny import linear_data, problem_of_rows, tiny

KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}
SMALL = MDN(components=2, hidden=(8,))


def fit(kind: str, data: MultilevelData, strategy: Any = None, **options: Any) -> Any:
    defaults = {"estimator": SMALL, "ensemble": 2, "training": tiny(max_steps=10)}
    return KINDS[kind](data, seed=5, strategy=strategy or Pooled(), **(defaults | options))


# --- what the level is good for ---------------------------------------------------------------


def test_two_contradictory_levels_are_told_apart():
    # x_0 has another slope, offset and noise than x_1
    ladder = Ladder(gap=2.0)
    data = ladder.data((1000, 1000), seed=1)
    mixed = [torch.cat([of(level) for level in (0, 1)]) for of in (data.theta, data.x)]
    blind = MultilevelData.from_arrays(normal_prior(), [tuple(mixed)])
    training = Training(max_steps=200, learning_rate=1e-2)
    options = {"training": training, "estimator": MDN(components=1, hidden=(32, 32)), "ensemble": 1}
    theta, _, x = ladder.rows(1, (2000,), seed=7)
    exact = ladder.posterior(x).log_prob(theta.double())

    def lost(fitted: Any) -> tuple[float, float]:
        each = exact - fitted.log_prob(theta, x).double()
        return float(each.mean()), float(each.std()) / len(each) ** 0.5

    loss, error = lost(fit("posterior", data, **options))
    assert loss < 0.1 + 3 * error
    # negative control: the same runs pooled without their level
    loss, error = lost(fit("posterior", blind, SingleLevel(), **options))
    assert loss > 0.3 + 3 * error


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_a_context_without_a_level_is_one_of_level_l(shape: tuple[int, ...]):
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)) if len(shape) > 1 else None
    blueprint = Blueprint(SMALL, "posterior", 2, D, shape, embedding_net=net, level_input=True)
    density = blueprint.build(seed=0)
    assert isinstance(density, LevelDensity)
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(7, *shape, generator=generator)
    value = torch.randn(2, 7, D, generator=generator)

    def at(rows: Tensor) -> Tensor:
        return density.log_prob(value, rows.expand(2, *rows.shape))

    torch.testing.assert_close(at(context), at(with_level(context, 1.0)))
    assert not torch.allclose(at(context), at(with_level(context, 0.5)))
    draws = [
        density.sample(rows.expand(2, *rows.shape), generator=torch.Generator().manual_seed(2))
        for rows in (context, with_level(context, 1.0), with_level(context, 0.0))
    ]
    torch.testing.assert_close(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


# --- what is minimised ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_run_counts_once_and_level_l_decides_when_to_stop(kind, monkeypatch):
    seen: list[Any] = []

    def spy(density, objective, problem, **options):
        seen.append((objective, problem))
        return train(density, objective, problem, **options)

    monkeypatch.setattr("mlsbi.strategies.pooled.train", spy)
    data = linear_data((30, 20, 10))
    whole = tiny(max_steps=1, validation_fraction=None, batch_size=None)
    fit(kind, data, training=whole)
    ((objective, problem),) = seen
    (held_out,) = objective.held_out
    assert (held_out.level, held_out.coarse, held_out.factor) == (2, False, 1.0)
    value, context, weights, sizes = Batches(objective.terms, problem, 0, torch.device("cpu")).at(0)
    assert sizes == [30, 20, 10]
    torch.testing.assert_close(weights, torch.full((2, 60), 1 / 60))
    levels = torch.tensor([0.0, 0.5, 1.0]).repeat_interleave(torch.tensor(sizes))
    assert torch.equal(context[0, :, -1], levels)
    expected = torch.cat([rows.value for rows in problem.levels])
    assert torch.equal(value, expected.expand(2, *expected.shape))


def test_a_weight_multiplies_a_term():
    rows = LevelRows(torch.zeros(20, D), torch.zeros(20, D))
    problem = problem_of_rows((rows,), (torch.ones(2, 20).bool(),), tiny(batch_size=8), seed=0)
    plain, weighted, negative = (
        Batches((term,), problem, 0, torch.device("cpu")).at(0)[2]
        for term in (Term(0), Term(0, weight=0.25), Term(0, sign=-1.0, weight=0.25))
    )
    assert torch.equal(weighted, 0.25 * plain)
    assert torch.equal(negative, -0.25 * plain)


# --- one level, and disk ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_with_one_level_there_is_no_level_to_see(kind):
    data = linear_data((40,))
    single, pooled = fit(kind, data, SingleLevel()), fit(kind, data)
    assert pooled.blueprint == single.blueprint
    assert not pooled.blueprint.level_input
    theirs, ours = single.estimator.state_dict(), pooled.estimator.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert repr(pooled.history) == repr(single.history)


def builder(theta: Tensor, x: Tensor) -> Any:
    from sbi.neural_nets import posterior_nn

    made = posterior_nn("made", hidden_features=6, z_score_theta="none", z_score_x="none")
    return made(theta, x)


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh())


CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "mdn": ("posterior", (3,), {}),
    "likelihood": ("likelihood", (3,), {}),
    "flow": ("posterior", (3,), {"estimator": "nsf"}),
    "sbi name": ("posterior", (3,), {"estimator": "made"}),
    "sbi name of a likelihood": ("likelihood", (3,), {"estimator": "made"}),
    "sbi builder": ("posterior", (3,), {"estimator": builder}),
    "embedding net": ("posterior", (2, 3), {"embedding_net": net()}),
    "builder and net": ("posterior", (2, 3), {"estimator": builder, "embedding_net": net()}),
    "image, no net": ("posterior", (2, 3), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_saved_fit_is_the_same_bit_for_bit(name: str, tmp_path: Path):
    kind, event, options = CASES[name]
    data = linear_data((40, 20), event=event)
    fitted = fit(kind, data, **options)
    fitted.save(tmp_path / "fit")
    own = {k: v for k, v in options.items() if not isinstance(v, str)}
    again = load_fit(tmp_path / "fit", **own)
    theta, x = data.theta(1), data.x(1)
    expected = fitted.log_prob(theta, x)
    assert torch.isfinite(expected).all()
    assert torch.equal(again.log_prob(theta, x), expected)
    at = {"x": x[0]} if kind == "posterior" else {"theta": theta[0]}
    assert torch.equal(again.sample(9, **at, seed=1), fitted.sample(9, **at, seed=1))
    assert again.strategy == Pooled()
    assert again.blueprint.level_input
    again.save(tmp_path / "again")
    for file in ("fit.json", "weights.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "fit" / file).read_bytes()
