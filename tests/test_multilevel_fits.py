"""Every fit has a multilevel table, of the rows that its members held out, and none is changed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from linear_gaussian import Ladder, box_prior
from mlsbi import (
    MDN,
    Bridge,
    Multilevel,
    MultilevelData,
    SingleLevel,
    Stack,
    Transfer,
    fit_likelihood,
    fit_posterior,
)
from mlsbi.multilevel_table import MultilevelLosses
from mlsbi.prepare import train_rows
from mlsbi.strategies.on_draws import OnDraws
from quick import rough_processes, short_trainings
from test_strategies import STRATEGIES
from tiny import BUILDERS, linear_data, tiny

KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}
SMALL = MDN(components=2, hidden=(8,))


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        rough_processes(patch)
        yield


def fitted(kind: str, strategy: Any, data: MultilevelData, **options: Any) -> Any:
    training = tiny(batch_size=16, max_steps=60, learning_rate=1e-2)
    defaults = {"seed": 5, "estimator": SMALL, "ensemble": 2, "training": training}
    return KINDS[kind](data, strategy=strategy, **(defaults | options))


def lighter(strategy: Any) -> Any:
    """The same with fewer draws."""
    if isinstance(strategy, OnDraws):
        return replace(strategy, num_draws=60)
    if isinstance(strategy, Stack):
        return replace(strategy, candidates=tuple(lighter(c) for c in strategy.candidates))
    return strategy


def is_whole(found: MultilevelLosses, n: tuple[int, ...]) -> bool:
    numbers = (
        *found.loss_mean, *found.loss_variance, *found.difference_mean,
        *found.difference_variance, *(found.gradient_norm or ()), *found.check[1:],
    )  # fmt: skip
    shares = [found.table().column(name) for name in ("var_share", "cost_share")]
    return (
        found.n == n
        and all(map(math.isfinite, numbers))
        and all(sum(s) == pytest.approx(1) for s in shares)  # type: ignore[arg-type]
        and len(found.gradient_norm or ()) == len(n)
    )


STRATEGY_DATA = Ladder(levels=3).data((24, 16, 14), seed=1, prior=box_prior())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", [*STRATEGIES, "SingleLevel()", "SingleLevel(level=0)"])
def test_every_strategy_has_a_table(
    strategy: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_trainings(monkeypatch, steps=2)
    single = {"SingleLevel()": SingleLevel(), "SingleLevel(level=0)": SingleLevel(level=0)}
    chosen = lighter((STRATEGIES | single)[strategy])
    fit = fitted(kind, chosen, STRATEGY_DATA)
    assert is_whole(fit.multilevel, (24, 16, 14))
    assert fit.multilevel.held_out_rows == fit.multilevel.rows
    if isinstance(chosen, Multilevel):
        assert (fit.multilevel.projected is None) == ("projected" not in fit.history.columns)


PLAIN_DATA = linear_data((50, 30), costs=[1.0, 5.0])


def different_shapes() -> MultilevelData:
    """Levels whose x have different shapes, so that they meet in a summary."""
    wide = PLAIN_DATA.x(1).repeat(1, 2)
    levels = [(PLAIN_DATA.theta(0), PLAIN_DATA.x(0)), (PLAIN_DATA.theta(1), PLAIN_DATA.x_coarse(1))]
    return MultilevelData.from_arrays(
        PLAIN_DATA.prior, [levels[0], (*levels[1], wide)], costs=[1, 5]
    )


CASES: dict[str, dict[str, Any]] = {
    "sbi name": {"estimator": "made"},
    "builder": {"estimator": None},
    "maf": {"estimator": "maf"},
    "batch norm": {"embedding_net": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))},
    "one member": {"ensemble": 1},
    "nothing held out": {"training": tiny(validation_fraction=None)},
    "three runs": {"data": linear_data((50, 3), costs=[1.0, 5.0])},
    "one level": {"data": linear_data((30,), costs=[2.0])},
    "no costs": {"data": linear_data((50, 30))},
    "summary": {"strategy": Bridge(compress=True, num_draws=60)},
    "summary of two shapes": {"data": different_shapes(), "strategy": Bridge(num_draws=60)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_fit_has_a_table(
    case: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_trainings(monkeypatch, steps=3)
    options = dict(CASES[case])
    data, strategy = options.pop("data", PLAIN_DATA), options.pop("strategy", Transfer())
    if case == "builder":
        options["estimator"] = BUILDERS[kind]
    if case == "batch norm" and kind == "likelihood":
        options["embedding_net"] = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    found = fitted(kind, strategy, data, **options).multilevel
    if case == "no costs":
        assert found.row_costs is None
        assert math.isnan(found.cost_factor)
        found = replace(found, costs=(1.0, 5.0))
    assert is_whole(found, data.n)
    assert len(str(found.table()).splitlines()) >= data.num_levels + 4


@pytest.mark.parametrize("strategy", [Multilevel(), Stack(candidates=(Transfer(), SingleLevel()))])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_the_members_that_held_a_row_out(kind: str, strategy: Any) -> None:
    data = linear_data((80, 50))
    fit = fitted(kind, strategy, data, ensemble=3)
    held = ~train_rows(data, 3, fit.training, 5)[1]
    theta, x = data.theta(1), data.x(1)
    pair = (theta, x) if kind == "posterior" else (x, theta)
    log_prob = fit.estimator.member_log_prob(*pair)
    if kind == "likelihood":  # in the network's units
        log_prob = log_prob - fit.estimator.value_transform.log_det(x)
    judges = held.repeat(len(log_prob) // 3, 1)
    weights = torch.where(judges, fit.estimator.log_weights.exp().unsqueeze(1), 0.0)
    some = judges.any(0)
    mixed = ((weights * log_prob.exp()).sum(0) / weights.sum(0))[some].log()
    found = fit.multilevel
    assert found.held_out_rows[1] == int(some.sum()) < 50
    assert found.loss_mean[1] == pytest.approx(-float(mixed.mean()), rel=1e-5)
    assert found.loss_variance[1] == pytest.approx(float(mixed.var()), rel=1e-4)


def test_identical_pairs_correct_nothing_and_pass() -> None:
    data = Ladder(gap=0.0, levels=3).data((60, 30, 20), seed=2)
    fit = fitted("posterior", Multilevel(), data)
    found = fit.multilevel
    assert found.identical == (False, True, True)
    assert found.check[1:] == found.difference_mean[1:] == found.difference_variance[1:] == (0, 0)
    assert found.correlation[1:] == (1.0, 1.0)
    assert found.gradient_norm[1:] == (0, 0)
    assert is_whole(found, (60, 30, 20))
    assert found.telescoped[0] == found.loss_mean[0]


STATES = [Multilevel(), lighter(Stack()), SingleLevel(), Transfer()]


@pytest.mark.parametrize("strategy", STATES, ids=lambda s: type(s).__name__)
def test_no_fit_is_changed_by_it(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    short_trainings(monkeypatch, steps=10)
    options = {"embedding_net": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.1))}
    state = torch.get_rng_state()
    fits = [fitted("posterior", strategy, PLAIN_DATA, **options)]
    monkeypatch.setattr("mlsbi._fitting.measure", lambda *_, **__: None)
    fits.append(fitted("posterior", strategy, PLAIN_DATA, **options))
    assert fits[0].multilevel is not None
    assert fits[1].multilevel is None
    weights, without = (fit.estimator.state_dict() for fit in fits)
    assert all(torch.equal(weights[name], without[name]) for name in weights | without)
    assert not any(p.requires_grad for p in fits[0].estimator.parameters())
    assert torch.equal(torch.get_rng_state(), state)
