"""A ladder of quick levels, what ran of it, and quick trainings: for tests of adaptive runs."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch

from linear_gaussian import box_prior
from mlsbi import Hierarchy, Level, SingleLevel
from mlsbi.planning import _infer_rounds
from mlsbi.planning.needs import Needs
from mlsbi.planning.pilot import Pilot
from tiny import tiny

QUICK: dict[str, Any] = {
    "strategy": SingleLevel(),
    "ensemble": 1,
    "training": tiny(max_steps=4, evaluate_every=2),
    "pilot": 8,
    "folds": 2,
}


class Runs:
    """What simulators were run for, seen from outside: a store knows one with a state by that."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clear()
        self.before = lambda: None
        usual = Level._call

        def call(level: Level, theta: torch.Tensor, u: Any) -> Any:
            self.before()
            x = usual(level, theta, u)
            self._add(level, theta, u)
            return x

        patch.setattr(Level, "_call", call)

    def clear(self) -> None:
        self.rows, self.spent = 0, 0.0
        self.seen: set[Any] = set()

    def _add(self, level: Level, theta: torch.Tensor, u: Any) -> None:
        self.rows += len(theta)
        self.spent += len(theta) * (level.cost or 0.0)
        self.seen |= {(level.name, *row) for row in torch.cat([theta, u], 1).tolist()}


def simulator(level: int, failing: float = 0.0) -> Any:
    """x = theta + 2^-level + u / 2; NaN in a share of the parameter space."""

    def run(theta: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        x = theta + 2.0**-level + u / 2
        x[theta[:, 0] < 4 * failing - 2] = math.nan
        return x

    return run


def noise(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, 2, generator=generator)


def ladder(costs: tuple[float | None, ...] = (1.0, 4.0), *, failing: float = 0.0) -> Hierarchy:
    """Levels at these costs, of which the finest fails in a share of the parameter space."""
    top = len(costs) - 1
    levels = [
        Level(simulator(i, failing if i == top else 0.0), cost=cost, name=f"level {i}")
        for i, cost in enumerate(costs)
    ]
    return Hierarchy(box_prior(), levels, noise=noise)


def know_needs(patch: pytest.MonkeyPatch) -> None:
    """Needs that are known, and that change from round to round."""

    def first(pilot: Pilot, *_: Any, **__: Any) -> Needs:
        return Needs(tuple(0.3**level for level in range(len(pilot.costs))), 1.5, "the pilot")

    def later(data: Any, costs: Any, *_: Any, **__: Any) -> Needs:
        more = 1 + sum(data.n) / 1000
        return Needs(tuple(0.3**level * more**level for level in range(len(costs))), 2.0, "all")

    patch.setattr(Pilot, "needs", first)
    patch.setattr(_infer_rounds, "reestimate", later)


def digest(fit: Any) -> str:
    """Of all weights."""
    state = fit.estimator.state_dict()
    return hashlib.sha1(b"".join(state[k].numpy().tobytes() for k in sorted(state))).hexdigest()


def same(one: Any, other: Any) -> None:
    """Two results are the same, bit for bit."""
    assert digest(one.fit) == digest(other.fit)
    assert [(r.plan.n, r.n, r.needs, r.cost, r.spent, r.nlpd) for r in one.rounds] == [
        (r.plan.n, r.n, r.needs, r.cost, r.spent, r.nlpd) for r in other.rounds
    ]
    assert (one.spent, one.warnings) == (other.spent, other.warnings)
    for level in range(one.data.num_levels):
        assert torch.equal(one.data.theta(level), other.data.theta(level))
        assert torch.equal(one.data.x(level), other.data.x(level))
    if one.check is None:
        assert other.check is None
    else:
        assert torch.equal(one.check.log_prob, other.check.log_prob)
        if one.check.coverage is not None:
            assert torch.equal(one.check.coverage.ranks, other.check.coverage.ranks)
