"""The width of a mixture from held-out runs: against widths that are known, shrunk as it says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from mlsbi import MDN, Bridge, Emulator, SingleLevel, Stack, fit_posterior, load_fit
from mlsbi._random import make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.problem import LevelRows, Problem
from mlsbi.rescaling import _PRIOR, Width, _width, held_out_width
from quick import rough_processes
from tiny import linear_data, problem_of_rows, tiny


class Normal(ConditionalDensity):
    """Member e is N(context, widths[e]^2) in every dimension."""

    def __init__(self, *widths: float) -> None:
        super().__init__()
        self.members = len(widths)
        self.widths = torch.tensor(widths).reshape(-1, 1, 1)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        z = (value - context) / self.widths
        each = -0.5 * z.square() - self.widths.log() - 0.5 * math.log(2 * math.pi)
        return each.sum(-1)

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        return context + self.widths * torch.randn(context.shape, generator=generator)

    def centre(self, context: Tensor) -> Tensor:
        return context


class Centreless(Normal):
    def centre(self, context: Tensor) -> Tensor:
        raise NotImplementedError


def problem(m: int, train: Tensor, *, width: float = 1.0, dim: int = 2, seed: int = 0) -> Problem:
    """Runs whose value is N(context, width^2)."""
    context, noise = torch.randn(2, m, dim, generator=make_generator(seed))
    return problem_of_rows((LevelRows(context + width * noise, context),), (train,), tiny(), seed=0)


def nobody(members: int, m: int) -> Tensor:
    """No member sees any run."""
    return torch.zeros(members, m, dtype=torch.bool)


def found(density: ConditionalDensity, asked: Problem, weights: Tensor | None = None) -> Width:
    width = held_out_width(density, weights, asked, seed=1)
    assert width is not None
    return width


@pytest.mark.parametrize("width", [0.5, 1.0, 1.8])
def test_many_runs_show_the_width(width: float) -> None:
    m = 500
    result = found(Normal(1.0), problem(m, nobody(1, m), width=width))
    assert result.runs == m
    # 500 runs say where the mean of u is 1/2 to 1 / sqrt(12 m) / slope, with a slope of 1/2.
    assert abs(math.log(result.scale / width)) < 4 / (3 * m) ** 0.5
    assert result.error < 1.3 / (3 * m) ** 0.5
    assert (result.credibility > 0.5 + 0.05) == (width > 1.0)
    assert (result.credibility < 0.5 - 0.05) == (width < 1.0)


def test_few_runs_are_shrunk_towards_no_change() -> None:
    logs = {}
    for m in (4, 30):
        each = [found(Normal(1.0), problem(m, nobody(1, m), width=2.0, seed=s)) for s in range(20)]
        logs[m] = [math.log(w.scale) for w in each]
    means = {m: sum(values) / 20 for m, values in logs.items()}
    assert 0.1 < means[4] < means[30] < math.log(2.0)
    assert min(logs[30]) > 0.2  # so clear a case is clear in all of 20 data sets
    right = [found(Normal(1.0), problem(30, nobody(1, 30), seed=s)).scale for s in range(20)]
    # Negative control: nothing to mend. The runs alone would say 1 +- 1 / sqrt(3 m).
    assert max(abs(math.log(s)) for s in right) < 2.5 / (3 * 30) ** 0.5
    assert sum(abs(math.log(s)) for s in right) / 20 < 0.6 * 0.8 / (3 * 30) ** 0.5


def test_the_scale_is_the_posterior_mean_of_its_model() -> None:
    """Where the credibility is linear in the log scale, against scipy's quadrature."""
    places = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    slope, away, m = -0.25, 0.06, 40

    def density(place: float) -> float:
        mean = stats.norm.pdf(away + slope * place, scale=(12 * m) ** -0.5)
        return float(mean * stats.cauchy.pdf(place, scale=_PRIOR / m**0.5))

    result = _width(places, 0.5 + away + slope * places, m)
    total = integrate.quad(density, -1, 1)[0]
    wanted = integrate.quad(lambda p: p * density(p), -1, 1)[0] / total
    variance = integrate.quad(lambda p: (p - wanted) ** 2 * density(p), -1, 1)[0] / total
    assert math.log(result.scale) == pytest.approx(wanted, rel=1e-3)
    assert result.error == pytest.approx(variance**0.5, rel=1e-3)
    assert result.credibility == pytest.approx(0.5 + away)
    assert set(result.row) == {"scale", "scale_error", "held_out_credibility"}


def test_only_members_that_did_not_see_a_run_have_a_say() -> None:
    m = 60
    train = nobody(2, m)
    train[1] = True
    alone = found(Normal(1.0, 1.0), problem(m, train, width=1.5))
    beside = found(Normal(1.0, 30.0), problem(m, train, width=1.5))
    assert beside.scale == pytest.approx(alone.scale, rel=0.05)  # other draws, no other law
    # Negative control: a member that did not see them.
    wide = found(Normal(1.0, 30.0), problem(m, nobody(2, m), width=1.5))
    assert wide.scale < 0.9 * alone.scale


def test_members_without_weight_have_no_say() -> None:
    m = 60
    asked = problem(m, nobody(2, m), width=1.5)
    weights = torch.tensor([1.0, 0.0]).double()
    first = found(Normal(1.0, 30.0), asked, weights)
    second = found(Normal(1.0, 1.0), asked, weights)
    assert first.scale == pytest.approx(second.scale, rel=0.05)


def test_one_run_far_off_does_not_blow_the_width_up() -> None:
    m = 40
    asked = problem(m, nobody(1, m))
    asked.levels[0].value[3] += 1e4
    assert found(Normal(1.0), asked).scale < 1.2


def test_nothing_is_said_without_held_out_runs_or_a_centre() -> None:
    seen = problem(10, ~nobody(2, 10))
    assert held_out_width(Normal(1.0, 1.0), None, seen, seed=0) is None
    unseen = problem(10, nobody(1, 10))
    assert held_out_width(Centreless(1.0), None, unseen, seed=0) is None
    one = problem(1, nobody(1, 1))
    assert held_out_width(Normal(1.0), None, one, seed=0) is None


# --- in a stack -------------------------------------------------------------------------------

FAIR = (Bridge(num_draws=100), Emulator(num_draws=100))


def fit(strategy: Stack, **options: Any) -> Any:
    defaults: dict[str, Any] = {"training": tiny(max_steps=20), "estimator": MDN((8,), 2)}
    return fit_posterior(linear_data((40, 20)), seed=0, strategy=strategy, **(defaults | options))


def rows(fitted: Any) -> list[dict[str, float]]:
    return [row for row in fitted.history if "held_out_credibility" in row]


def test_the_stack_has_the_width_that_its_runs_ask_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rough_processes(monkeypatch)
    found, plain = fit(Stack(candidates=FAIR)), fit(Stack(candidates=FAIR, calibrate=False))
    (row,) = rows(found)
    assert found.estimator.scale.tolist() == [pytest.approx(row["scale"])] * 2
    assert row["scale"] != 1.0
    assert rows(plain) == []
    assert bool((plain.estimator.scale == 1).all())
    data = linear_data((40, 20))
    pair = data.theta(1), data.x(1)
    wanted = plain.estimator.with_scale(row["scale"]).log_prob(*pair)
    assert torch.equal(found.log_prob(*pair), wanted)  # the same networks
    assert not torch.equal(found.log_prob(*pair), plain.log_prob(*pair))
    found.save(tmp_path / "fit")
    assert torch.equal(load_fit(tmp_path / "fit").log_prob(*pair), wanted)
    again = fit(Stack(candidates=FAIR))
    assert torch.equal(again.estimator.scale, found.estimator.scale)


def test_a_stack_within_a_stack_leaves_the_width_to_the_outer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rough_processes(monkeypatch)
    found = fit(Stack(candidates=(Stack(candidates=FAIR), Emulator(num_draws=100))))
    assert len(rows(found)) == 1


def test_runs_that_stopped_a_training_do_not_say_how_wide_it_is() -> None:
    found = fit(Stack(candidates=(SingleLevel(level=0), SingleLevel())))
    assert rows(found) == []
    assert bool((found.estimator.scale == 1).all())


def test_the_switch_is_a_bool() -> None:
    with pytest.raises(TypeError, match="calibrate"):
        Stack(calibrate=1)  # type: ignore[arg-type]
