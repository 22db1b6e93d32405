"""The default strategy: what it is, what it says of itself, and that it never hurts.

The mechanics run with rough processes and tiny trainings; what is said of quality is marked slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Exponential, Independent, LogNormal, MultivariateNormal, Normal

from linear_gaussian import Ladder
from mlsbi import (
    MDN,
    Bridge,
    Emulator,
    Multilevel,
    MultilevelData,
    PosteriorFit,
    SingleLevel,
    Stack,
    Status,
    Strategy,
    Training,
    Transfer,
    fit_likelihood,
    fit_posterior,
    load_fit,
)
from mlsbi.strategies.on_draws import ON_DRAWS
from mlsbi.training import _Loop
from quick import rough_processes
from tiny import BUILDERS, D, linear_data, tiny

KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}
SMALL = MDN((8,), 2)
QUICK = Stack(candidates=(Bridge(num_draws=100), Emulator(num_draws=100), SingleLevel()))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    rough_processes(monkeypatch)


def fit(kind: str, data: MultilevelData, strategy: Strategy | None = QUICK, **options: Any) -> Any:
    defaults = {"seed": 0, "ensemble": 2, "estimator": SMALL, "training": tiny(max_steps=8)}
    return KINDS[kind](data, strategy=strategy, **(defaults | options))


def densities(fitted: Any, data: MultilevelData) -> Tensor:
    top = data.num_levels - 1
    return fitted.log_prob(data.theta(top), data.x(top))


def weight_rows(fitted: Any) -> list[dict[str, float]]:
    return [row for row in fitted.history if "weight" in row]


# --- what it is -------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
def test_none_is_a_stack_of_bridge_emulator_and_single_level(kind: str) -> None:
    data = linear_data((30, 12))
    default = fit(kind, data, None)
    assert default.strategy == Stack()
    assert Stack().candidates == (Bridge(), Emulator(), SingleLevel())
    assert [row["candidate"] for row in weight_rows(default)] == [0.0, 1.0, 2.0]
    assert torch.equal(densities(default, data), densities(fit(kind, data, Stack()), data))


@pytest.mark.usefixtures("quick")
def test_each_candidate_trains_as_it_likes_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []
    usual = _Loop.__init__

    def spy(self: _Loop, density: Any, objective: Any, problem: Any, stage: int) -> None:
        if stage == 0 and "cheap" not in problem.fingerprint:
            seen.append(problem.training.learning_rate)
        usual(self, density, objective, problem, stage)
        self.options = replace(self.options, max_steps=2)

    monkeypatch.setattr(_Loop, "__init__", spy)
    data = linear_data((20, 6))
    fit("posterior", data, training=None)
    assert seen == [ON_DRAWS.learning_rate] * 2 + [Training().learning_rate]
    assert ON_DRAWS.learning_rate > Training().learning_rate
    seen.clear()
    fit("posterior", data, training=tiny(learning_rate=7e-4))
    assert seen == [7e-4] * 3
    seen.clear()
    own = replace(QUICK, candidates=(Bridge(training=tiny(learning_rate=2e-4)), SingleLevel()))
    fit("posterior", data, own, training=tiny(learning_rate=7e-4))
    assert seen == [2e-4, 7e-4]


# --- what it says of itself -------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("inflate", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_history_says_what_each_step_explained(kind: str, inflate: bool) -> None:
    bridge = Bridge(num_draws=100, inflate=inflate)
    data = Ladder(levels=3, gap=0.3).data((60, 30, 20), seed=1)
    found = fit(kind, data, replace(QUICK, candidates=(bridge, SingleLevel())), ensemble=5)
    rows = [row for row in found.history if "held_out_r2" in row]
    # candidate 0 has a step to each level, with a row for each of two outputs
    expected = [(0.0, level, output) for level in (1.0, 2.0) for output in (0.0, 1.0)]
    assert [(r["candidate"], r["level"], r["output"]) for r in rows] == expected
    for row in rows:
        assert 0.5 < row["held_out_r2"] <= 1.0  # levels this near explain most of each other
        assert 0.0 < row["held_out_z2"] < 20.0
        assert 0.1 - 1e-4 <= row["inflation"] <= 20**0.5 + 1e-4
    assert any(row["inflation"] != 1.0 for row in rows) == inflate


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
def test_a_low_level_that_tells_nothing_explains_nothing(kind: str) -> None:
    data = noisy(LADDER.data((60, 40), seed=1))
    theta = torch.randn(40, D, generator=torch.Generator().manual_seed(5))
    unrelated = MultilevelData.from_arrays(  # nor does theta say anything
        data.prior, [(data.theta(0), data.x(0)), (theta, data.x_coarse(1), data.x(1))]
    )
    found = fit(kind, unrelated, Bridge(num_draws=100), ensemble=5)
    assert all(row["held_out_r2"] < 0.35 for row in found.history if "held_out_r2" in row)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_in_the_history_with_errors_and_mix_the_members(kind: str) -> None:
    data = Ladder().data((60, 30), seed=1)
    found = fit(kind, data, ensemble=5)
    rows = weight_rows(found)
    assert len(rows) == 3
    assert sum(row["weight"] for row in rows) == pytest.approx(1.0, abs=1e-6)
    for row in rows:
        assert 0.0 <= row["weight"] <= 1.0
        assert 0.0 <= row["weight_error"] < 0.5
        assert math.isfinite(row["held_out_log_density"])
    kept = torch.tensor([row["weight"] for row in rows if row["weight"] >= 0.02])
    share = found.estimator.log_weights.exp().reshape(-1, 5)
    torch.testing.assert_close(share.sum(1), (kept / kept.sum()).double(), rtol=1e-5, atol=1e-6)
    assert float(share.std(1).max()) < 1e-9  # members of a candidate share alike
    pair = (data.theta(1), data.x(1)) if kind == "posterior" else (data.x(1), data.theta(1))
    each = found.estimator.member_log_prob(*pair).double()
    mixed = torch.logsumexp(each + found.estimator.log_weights.unsqueeze(1), 0).float()
    torch.testing.assert_close(densities(found, data), mixed, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_without_held_out_runs_the_weights_are_the_prior_ones() -> None:
    data = linear_data((30, 12))
    found = fit("posterior", data, training=tiny(max_steps=8, validation_fraction=None))
    rows = weight_rows(found)
    assert [row["weight"] for row in rows] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert all(row["weight_error"] == 0 for row in rows)
    assert all(math.isnan(row["held_out_log_density"]) for row in rows)
    assert "held_out_r2" not in found.history.columns
    assert found.status is not Status.LOW_LEVEL_UNUSED  # nothing speaks for it, or against


def noisy(data: MultilevelData, *, seed: int = 0) -> MultilevelData:
    """The same runs of level 1; level 0 is noise that knows neither theta nor level 1."""
    generator = torch.Generator().manual_seed(seed)
    low, coarse = (torch.randn(data.x(level).shape, generator=generator) for level in (0, 1))
    levels = [(data.theta(0), low), (data.theta(1), coarse, data.x(1))]
    return MultilevelData.from_arrays(data.prior, levels)


LADDER = Ladder(gap=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_says_whether_the_low_level_is_of_use(kind: str) -> None:
    """Candidates that need no bridge, so that this is quick: level 0 alone, and level L alone."""
    chosen = Stack(candidates=(SingleLevel(level=0), SingleLevel()))
    training = tiny(max_steps=150, learning_rate=1e-2, evaluate_every=25)
    options: dict[str, Any] = {"training": training, "estimator": MDN((8,), 1), "ensemble": 5}
    data = LADDER.data((400, 20), seed=1)
    useful = fit(kind, data, chosen, **options)
    assert useful.status is not Status.LOW_LEVEL_UNUSED
    assert useful.status.ok
    useless = fit(kind, noisy(data), chosen, **options)
    assert useless.status is Status.LOW_LEVEL_UNUSED
    assert useless.status.ok
    assert weight_rows(useful)[0]["weight"] > weight_rows(useless)[0]["weight"]


@pytest.mark.usefixtures("quick")
def test_where_the_low_level_taught_the_summary_it_is_of_use() -> None:
    data = noisy(LADDER.data((60, 20), seed=1))
    candidates = (Bridge(compress=True, num_draws=100), Emulator(compress=True), SingleLevel())
    found = fit("posterior", data, Stack(candidates=candidates), ensemble=5)
    assert found.summary is not None
    assert found.status is not Status.LOW_LEVEL_UNUSED


def test_a_candidate_that_gave_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Status.DIVERGED

    def diverged(self: Any, problem: Any) -> Any:
        return replace(Strategy.solve(self, problem), status=gone)

    monkeypatch.setattr(Transfer, "solve", diverged)
    data = linear_data((30, 12))
    found = fit("posterior", data, Stack(candidates=(Transfer(), SingleLevel())))
    assert found.status is gone
    assert not found.status.ok


# --- with whatever a fit may be given ---------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [1, 2, 5])
def test_any_ensemble(members: int, kind: str) -> None:
    data = linear_data((30, 12))
    for strategy, most in ((Bridge(num_draws=100), 1), (Emulator(num_draws=100), 1), (QUICK, 3)):
        found = fit(kind, data, strategy, ensemble=members)
        assert found.estimator.members in [members * parts for parts in range(1, most + 1)]
        assert torch.isfinite(densities(found, data)).all()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mdn", "nsf", "builder"])
def test_any_estimator_and_back_from_disk(name: str, kind: str, tmp_path: Path) -> None:
    data = linear_data((30, 12))
    estimator = BUILDERS[kind] if name == "builder" else name
    found = fit(kind, data, estimator=estimator, training=tiny(max_steps=3))
    assert torch.isfinite(densities(found, data)).all()
    found.save(tmp_path / "fit")
    again = load_fit(tmp_path / "fit", **({"estimator": estimator} if name == "builder" else {}))
    assert torch.equal(densities(again, data), densities(found, data))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", [QUICK, Multilevel()], ids=["stack", "multilevel"])
def test_images_and_an_embedding_net(strategy: Strategy, kind: str, tmp_path: Path) -> None:
    """A net of images is for the posterior; of the likelihood it embeds theta."""
    data = linear_data((30, 12), event=(1, 4, 4))
    image_net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    net = image_net if kind == "posterior" else nn.Sequential(nn.Linear(D, 4), nn.Tanh())
    found = fit(kind, data, strategy, embedding_net=net)
    assert torch.isfinite(densities(found, data)).all()
    assert (found.summary is not None) == (strategy == QUICK)
    found.save(tmp_path / "fit")
    again = load_fit(tmp_path / "fit", embedding_net=net)
    assert torch.equal(densities(again, data), densities(found, data))


PRIORS = {
    "unbounded": MultivariateNormal(torch.zeros(D), torch.eye(D)),
    "positive": Independent(LogNormal(torch.zeros(D), torch.ones(D)), 1),
    "half": [Exponential(torch.tensor([1.0])), Normal(0.0, 2.0)],
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PRIORS)
def test_priors_without_bounds(name: str, kind: str) -> None:
    prior: Any = PRIORS[name]
    data = linear_data((30, 12), prior=prior)
    found = fit(kind, data)
    assert torch.isfinite(densities(found, data)).all()
    if kind == "posterior":
        assert found.prior.contains(found.sample(500, x=data.x(1)[0], seed=0)).all()


@pytest.mark.usefixtures("quick")
def test_bars_go_to_standard_error_and_only_when_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = linear_data((20, 6))
    quiet = fit("posterior", data, device="cpu")
    assert capsys.readouterr() == ("", "")
    shown = fit("posterior", data, device=torch.device("cpu"), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err  # of a bar, as much as is shown off a terminal
    assert torch.equal(densities(shown, data), densities(quiet, data))


# --- going on after an interruption -----------------------------------------------------------


def interrupted(patch: pytest.MonkeyPatch, at: int) -> None:
    """From now on the step of this number, counted over all trainings, is interrupted."""
    usual, count = _Loop._advance, iter(range(at + 1))

    def advance(self: _Loop) -> Any:
        if next(count, at) == at:
            raise KeyboardInterrupt
        return usual(self)

    patch.setattr(_Loop, "_advance", advance)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["Bridge", "Emulator", "Stack"])
def test_an_interrupted_fit_goes_on_as_if_nothing_had_happened(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"Bridge": QUICK.candidates[0], "Emulator": QUICK.candidates[1], "Stack": QUICK}[name]
    data, options = linear_data((30, 12)), {"training": tiny(max_steps=12)}
    whole = fit(kind, data, chosen, **options)
    interruptions = 0
    for at in (5, 0, 3, 20):  # in the middle, at once, and of what is left
        with monkeypatch.context() as patch:
            interrupted(patch, at)
            try:
                fit(kind, data, chosen, checkpoint=tmp_path / "c", **options)
            except KeyboardInterrupt:
                interruptions += 1
    assert interruptions >= 2
    found = fit(kind, data, chosen, checkpoint=tmp_path / "c", **options)
    assert torch.equal(densities(found, data), densities(whole, data))
    assert repr(found.history.rows) == repr(whole.history.rows)
    assert found.status is whole.status
    with monkeypatch.context() as patch:  # all of it is on disk now: no step is left to take
        interrupted(patch, 0)
        again = fit(kind, data, chosen, checkpoint=tmp_path / "c", **options)
    assert torch.equal(densities(again, data), densities(whole, data))


# --- that it never hurts ----------------------------------------------------------------------

N = (400, 40)
SLOW = Training(max_steps=300, learning_rate=1e-2, batch_size=64, evaluate_every=25)
CANDIDATES = {"Bridge()": Bridge(), "Emulator()": Emulator(), "SingleLevel()": SingleLevel()}
LEVELS = Ladder(gap=0.5)
SEEDS = (0, 1, 2)


@cache
def trained(name: str, low: str, seed: int) -> PosteriorFit:
    data = LEVELS.data(N, seed=seed)
    return fit_posterior(
        data if low == "informative" else noisy(data, seed=seed),
        seed=seed, strategy=CANDIDATES.get(name), training=SLOW, ensemble=5,
        estimator=MDN(components=1, hidden=(16,)),
    )  # fmt: skip


@cache
def divergence(name: str, low: str, seed: int) -> float:
    """Kullback-Leibler divergence from the closed-form posterior; standard error below 0.02."""
    theta, _, x = LEVELS.rows(1, (4000,), seed=77)
    truth = LEVELS.posterior(x).log_prob(theta.double())
    apart = truth - trained(name, low, seed).log_prob(theta, x).double()
    assert float(apart.std()) / len(apart) ** 0.5 < 0.025
    return float(apart.mean())


def excess(name: str, low: str) -> Iterator[float]:
    """Over the best candidate, for each seed."""
    for seed in SEEDS:
        best = min(divergence(candidate, low, seed) for candidate in CANDIDATES)
        yield divergence(name, low, seed) - best


@pytest.mark.slow
@pytest.mark.parametrize("low", ["informative", "noise"])
def test_the_default_is_never_far_worse_than_its_best_candidate(low: str) -> None:
    above = list(excess("default", low))
    assert sum(above) / len(above) < 0.05
    assert max(above) < 0.1
    # negative control: the same is not true of single-level training
    assert max(excess("SingleLevel()", low)) > 0.1


@pytest.mark.slow
def test_an_informative_low_level_is_worth_many_expensive_runs() -> None:
    default = [divergence("default", "informative", seed) for seed in SEEDS]
    for alone in ("Emulator()", "SingleLevel()"):
        others = [divergence(alone, "informative", seed) for seed in SEEDS]
        assert sum(default) < 0.6 * sum(others)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_status_of_the_default_says_whether_the_low_level_is_of_use(seed: int) -> None:
    assert trained("default", "noise", seed).status is Status.LOW_LEVEL_UNUSED
    assert trained("default", "informative", seed).status is Status.ON_DRAWS
