"""check_observation: what is odd about x_o is named, and healthy observations are left alone."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

import mlsbi
from linear_gaussian import normal_prior
from mlsbi import MultilevelData
from mlsbi._json import to_json
from mlsbi.checking._members import _divergence, disagreement
from mlsbi.checking._posterior import edges, reaches
from mlsbi.checking.finding import Finding, sorted_findings
from mlsbi.checking.observation import ObservationCheck, check_observation
from mlsbi.checking.predictive import PROBABILITIES, Predictive, of_draws, of_runs, primary
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Standardise, Support
from mlsbi.prior import as_prior
from tiny import box, linear_data, tiny

DATA = linear_data((300, 20), seed=3, event=(4,))


@lru_cache
def posterior_fit() -> Any:
    training = tiny(max_steps=150)
    return mlsbi.fit_posterior(DATA, strategy=mlsbi.Pooled(), ensemble=3, training=training, seed=1)


@lru_cache
def likelihood_fit() -> Any:
    training = tiny(max_steps=150)
    return mlsbi.fit_likelihood(
        DATA, strategy=mlsbi.Pooled(), ensemble=2, training=training, seed=1
    )


def healthy() -> Tensor:
    """A run of level 1 that is in no training set."""
    return linear_data((1, 8), seed=77, event=(4,)).x(1)[2]


def moved(output: int = 2, sd: float = 6.0) -> Tensor:
    x = healthy()
    x[output] += sd * DATA.x(1)[:, output].std()
    return x


def codes(check: ObservationCheck) -> set[str]:
    return {finding.code for finding in check.findings}


# ---------------------------------------------------------------- the whole


def test_a_healthy_observation_raises_nothing() -> None:
    check = check_observation(posterior_fit(), healthy(), data=DATA, num_draws=200)
    assert check.findings == ()
    assert check.ok
    assert "Nothing odd" in str(check)
    assert "20 runs of level 1" in str(check)
    assert len(check.outputs) == 4


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_an_output_six_sd_off_is_named_with_its_side(kind: str) -> None:
    fit = posterior_fit() if kind == "posterior" else likelihood_fit()
    check = check_observation(fit, moved(sd=-6.0), data=DATA, num_draws=100)
    assert not check.ok
    (found,) = [f for f in check.findings if f.code == "outputs-outside"]
    assert "x[2] is " in found.text
    assert "sd below them" in found.text
    assert "20 runs of level 1" in found.text
    assert found.remedy
    assert found.evidence["z of x[2]"] < -3
    named = check_observation(
        fit, moved(), data=DATA, num_draws=100, outputs=["a", "b", "flux", "d"]
    )
    assert "flux is " in str(named)


def test_a_likelihood_fit_needs_no_runs_to_see_it() -> None:
    fit = likelihood_fit()
    assert check_observation(fit, healthy(), num_draws=100).ok
    far = check_observation(fit, moved(sd=15.0), num_draws=100)
    assert "outputs-outside" in codes(far)
    assert "draws of x from the fit" in far.findings[0].text


def test_a_posterior_fit_without_runs_says_that_it_sees_little() -> None:
    fit = posterior_fit()
    near = check_observation(fit, healthy(), num_draws=100)
    assert near.ok
    assert "network only" in str(near)
    far = check_observation(fit, moved(sd=15.0), num_draws=100)
    assert "outputs-far" in codes(far)


def test_an_observation_of_the_wrong_level_is_told() -> None:
    generator = torch.Generator().manual_seed(0)

    def run(n: int, level: int) -> tuple[Tensor, Tensor]:
        theta = torch.rand(n, 2, generator=generator) * 1.8 - 0.9
        noise = 0.2 * torch.randn(n, 3, generator=generator)
        return theta, theta @ torch.ones(2, 3) * 0.1 + noise + (4.0 if level == 0 else 0.0)

    theta, x = run(300, 0)
    theta_1, x_1 = run(20, 1)
    data = MultilevelData.from_arrays(box(), [(theta, x), (theta_1, x_1 + 4.0, x_1)])
    fit = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(), training=tiny(), seed=0)
    check = check_observation(fit, run(1, 0)[1][0], data=data, num_draws=50)
    assert {"outputs-outside", "observation-of-level"} <= codes(check)


def test_simulations_of_the_user_are_what_x_o_is_compared_with() -> None:
    good = DATA.x(1).repeat(10, 1) + 0.05 * torch.randn(200, 4)
    check = check_observation(posterior_fit(), healthy(), predictive=good, num_draws=50)
    assert check.predictive is not None
    assert "200 simulations" in check.predictive.source
    assert check.ok
    bad = good.clone()
    bad[:, 1] += 50.0
    check = check_observation(posterior_fit(), healthy(), predictive=bad, num_draws=50)
    (found,) = [f for f in check.findings if f.code == "predictive-differs"]
    assert "x[1]" in found.text
    assert "below" in found.text


def test_the_same_seed_gives_the_same_and_json_keeps_it() -> None:
    first, second = (
        check_observation(posterior_fit(), moved(), data=DATA, num_draws=60, seed=5)
        for _ in range(2)
    )
    assert first.findings == second.findings
    assert first.figures == second.figures
    again = ObservationCheck.from_dict(json.loads(to_json(first.to_dict())))
    assert to_json(again.to_dict()) == to_json(first.to_dict())
    assert str(again) == str(first)


@pytest.mark.slow
def test_summaries_are_looked_at_too() -> None:
    data = linear_data((200, 30), seed=5, event=(4,))
    strategy = mlsbi.Emulator(compress=True)
    fit = mlsbi.fit_posterior(data, strategy=strategy, training=tiny(), seed=0)
    assert fit.summary is not None
    x = data.x(1)[0].clone()
    assert check_observation(fit, x, data=data, num_draws=50).ok
    x[:] = 60.0
    found = check_observation(fit, x, data=data, num_draws=50)
    assert "outputs-outside" in codes(found)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"fit": "a fit"}, TypeError, "fit must be"),
        ({"x_o": None}, TypeError, "x_o must be an observation"),
        ({"x_o": torch.zeros(3)}, ValueError, "x_o must have shape"),
        ({"x_o": torch.full((4,), torch.nan)}, ValueError, "x_o must be finite"),
        ({"data": [1, 2]}, TypeError, "data must be MultilevelData"),
        ({"data": linear_data((30, 8))}, ValueError, "data must have 2 parameter"),
        ({"predictive": torch.zeros(5, 3)}, ValueError, "predictive must have shape"),
        ({"predictive": torch.zeros(1, 4)}, ValueError, "predictive must have at least 2"),
        ({"num_draws": 0}, ValueError, "num_draws"),
        ({"seed": -1}, ValueError, "seed"),
        ({"labels": ["a"]}, ValueError, "labels must hold 2"),
        ({"outputs": ["a"]}, ValueError, "outputs must hold 4"),
        ({"outputs": "abcd"}, TypeError, "outputs must be a sequence"),
    ],
)
def test_bad_input_is_refused_by_name(change: dict[str, Any], error: type, match: str) -> None:
    given = {"fit": posterior_fit(), "x_o": healthy()} | change
    fit, x_o = given.pop("fit"), given.pop("x_o")
    with pytest.raises(error, match=match):
        check_observation(fit, x_o, **given)


# ---------------------------------------------------------------- members


class Normals(ConditionalDensity):
    """Members whose densities of theta are normal of width 1 around places of their own + x."""

    def __init__(self, places: list[float]) -> None:
        super().__init__()
        self.members = len(places)
        self.register_buffer("places", torch.tensor(places))

    def _mean(self, context: Tensor) -> Tensor:
        return context[..., :1] * self.places[:, None, None]

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        z = value - self._mean(context)
        return (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        mean = self._mean(context)
        return mean + torch.randn(mean.shape, generator=generator)


class Members:
    """A posterior fit of such members: at x they are x times as far apart."""

    device = torch.device("cpu")

    def __init__(self, places: list[float]) -> None:
        no = torch.zeros(1, dtype=torch.bool)
        unit = Standardise(torch.zeros(1), torch.ones(1), no)
        inf = torch.full((1,), torch.inf)
        support = Support(-inf, inf, torch.zeros(1), torch.ones(1))
        self.estimator = Estimator(Normals(places), support, unit)

    def sample_batched(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        rows = x.expand(n, *x.shape).reshape(-1, 1)
        made = self.estimator.sample(rows, generator=torch.Generator().manual_seed(seed))
        return made.reshape(n, len(x), 1)

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return self.estimator.log_prob(theta.float(), x)


def test_the_divergence_of_members_is_that_of_known_normals() -> None:
    fit = Members([-1.0, 1.0])
    x = torch.tensor([[0.0], [1.0], [9.0]])
    found = torch.stack([_divergence(fit, fit.estimator, x, seed) for seed in range(30)])
    grid = torch.linspace(-12, 12, 20001).double()
    p, q = (torch.exp(-0.5 * (grid - m) ** 2) / math.sqrt(2 * math.pi) for m in (-1, 1))
    both = (p + q) / 2
    exact = float(torch.trapezoid((torch.xlogy(p, p / both) + torch.xlogy(q, q / both)) / 2, grid))
    error = float(found[:, 1].std()) / 30**0.5
    assert float(found[:, 0].abs().max()) < 1e-6
    assert float(found[:, 1].mean()) == pytest.approx(exact, abs=4 * error)
    assert float(found[:, 2].mean()) == pytest.approx(math.log(2), abs=1e-3)


def test_members_that_disagree_at_x_o_as_nowhere_else_are_told() -> None:
    fit = Members([-1.0, 0.0, 1.0])
    runs = 0.3 * torch.randn(20, 1, generator=torch.Generator().manual_seed(0)).abs() + 0.1
    far = disagreement(fit, torch.tensor([6.0]), runs, seed=0)
    usual = disagreement(fit, torch.tensor([0.3]), runs, seed=0)
    assert far is not None
    assert usual is not None
    assert far.matters
    assert far.p < 0.005
    assert far.share == 1.0
    assert far.nats <= far.most + 1e-6
    assert usual.p > 0.05
    assert disagreement(Members([0.0]), torch.tensor([6.0]), runs, seed=0) is None


# ---------------------------------------------------------------- where the posterior is


def test_half_of_a_posterior_at_the_edge_of_the_prior_is_told() -> None:
    prior = as_prior(box())
    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(400, 2, generator=generator).double() - 0.5
    assert all(edge.p > 0.05 for edge in edges(inside, prior, ["a", "b"], seed=0))
    piled = inside.clone()
    piled[:, 1] = 1 - 0.002 * torch.rand(400, generator=generator)
    found = edges(piled, prior, ["a", "b"], seed=0)
    assert [edge.p < 0.02 for edge in found] == [False, True]
    assert found[1].bound == 1.0
    assert found[1].high == 1.0
    assert found[1].low == 0.0


def test_calibrated_posteriors_seldom_pile_up() -> None:
    """theta ~ N(0, 1), x = theta + N(0, 1): the posterior is N(x / 2, 1 / 2)."""
    prior = as_prior([torch.distributions.Normal(torch.zeros(1), torch.ones(1))])
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, generator=generator) * 2**0.5
    draws = x / 2 + 0.5**0.5 * torch.randn(100, 200, generator=generator)
    alarms = [edges(d[:, None].double(), prior, ["a"], seed=0)[0].p < 0.02 for d in draws.T]
    assert sum(alarms) / 200 <= 0.02
    beyond = edges(draws[:, :1].double() * 0.1 + 4.0, prior, ["a"], seed=0)[0]  # four widths out
    assert beyond.p < 0.02


def halved(generator: torch.Generator) -> MultilevelData:
    """Level 1 was run in the lower half of the first parameter only."""
    full = torch.rand(400, 2, generator=generator) * 1.98 - 0.99
    half = torch.rand(30, 2, generator=generator) * 1.98 - 0.99
    half[:, 0] = -half[:, 0].abs()
    x, x_1 = (torch.randn(len(t), 3, generator=generator) for t in (full, half))
    return MultilevelData.from_arrays(box(), [(full, x), (half, x_1, x_1)])


def test_a_posterior_where_a_level_has_no_runs_is_told() -> None:
    generator = torch.Generator().manual_seed(0)
    data = halved(generator)
    there = 0.9 + 0.02 * torch.randn(200, 2, generator=generator).double().clamp(-3, 3)
    here = there * torch.tensor([-0.5, 0.5])
    assert all(reach.p > 0.005 for reach in reaches(here, data, seed=0))
    low, high = reaches(there, data, seed=0)
    assert low.p > 0.005
    assert high.p < 0.005
    assert high.ratio > 2


# ---------------------------------------------------------------- posterior predictive


def test_quantiles_and_places_of_a_predictive_are_those_of_its_draws() -> None:
    draws = torch.randn(999, 3, generator=torch.Generator().manual_seed(0))
    x_o = torch.tensor([0.0, 1.0, 7.0])
    made = of_draws(draws, x_o, source="draws", alpha=0.01)
    exact = draws.double().quantile(torch.tensor(PROBABILITIES, dtype=torch.float64), dim=0)
    assert torch.allclose(made.quantiles, exact, atol=0.02)
    assert torch.allclose(made.place, (draws < x_o).double().mean(0))
    assert made.flagged == (2,)
    assert made.enough
    again = Predictive.from_dict(json.loads(to_json(made.to_dict())))
    assert to_json(again.to_dict()) == to_json(made.to_dict())


def test_weighted_runs_are_repeated_runs() -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.arange(40) % 3
    weighted = of_runs(x, weights.double().log(), x[0], level=1, coarse=False, alpha=0.01)
    repeated = of_draws(x.repeat_interleave(weights, 0), x[0], source="", alpha=0.01)
    assert torch.allclose(weighted.place, repeated.place)
    assert torch.allclose(weighted.quantiles, repeated.quantiles, atol=0.3)
    effective = float(weights.sum()) ** 2 / float(weights.square().sum())
    assert weighted.effective == pytest.approx(effective)


def test_runs_that_hardly_count_judge_nothing() -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    lonely = torch.full((40,), -50.0)
    lonely[3] = 0.0
    made = of_runs(x, lonely, torch.full((2,), 99.0), level=1, coarse=False, alpha=0.01)
    assert not made.enough
    assert made.flagged == ()
    assert "too few" in str(made)
    even = of_runs(x, torch.zeros(40), torch.full((2,), 99.0), level=0, coarse=True, alpha=0.01)
    assert even.flagged == (0, 1)
    assert primary([made, even]) is even
    assert primary([made]) is made
    assert primary([]) is None


# ---------------------------------------------------------------- findings


def test_findings_keep_their_words_and_come_in_order() -> None:
    note = Finding("a", "note", "text", "remedy", {"p": 0.5})
    warning = Finding("b", "warning", "text")
    assert sorted_findings([note, warning]) == (warning, note)
    assert Finding.from_dict(json.loads(to_json(note.to_dict()))) == note
    assert str(note) == "note (a): text\n  Remedy: remedy"
    assert "Remedy" not in str(warning)
    with pytest.raises(ValueError, match="severity"):
        Finding("a", "fault", "text")


def test_a_normal_prior_has_no_bound_to_name() -> None:
    prior = as_prior(normal_prior())
    edge = edges(torch.full((50, 2), 5.0).double(), prior, ["a", "b"], seed=0)[0]
    assert edge.bound == math.inf
    assert edge.p < 0.02
