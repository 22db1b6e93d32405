"""Verdicts: rates of right ones, of false alarms, and of false praise, at few runs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import chdtr, ndtr
from torch import Tensor
from torch.distributions import Normal

from mlsbi._json import to_json
from mlsbi.checking._censored import censored_chi_square, censored_normal
from mlsbi.checking._evidence import joint_scale, parameter
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.verdict import State, Verdict, judge

DRAWS = 500
NORMAL = Normal(torch.zeros(1, dtype=torch.float64), 1.0)


def names(dim: int) -> list[str]:
    return [f"p{j}" for j in range(dim)]


def scores_of(rank: Tensor, hpd: Tensor) -> RunScores:
    none = torch.zeros(len(hpd), dtype=torch.float64)
    return RunScores(none, none, rank, hpd, rank, none, rank, rank)


def gaussian(n: int, dim: int, seed: int, *, scale: Any = 1.0, shift: Any = 0.0) -> RunScores:
    """A Gaussian posterior, in its own units, of a truth that is N(shift, scale^2)."""
    rng = np.random.default_rng(seed)
    truth = shift + scale * rng.standard_normal((n, dim))

    def ranks(chance: Any) -> Tensor:
        below = rng.binomial(DRAWS, chance)
        return torch.from_numpy((below + rng.random(below.shape)) / (DRAWS + 1))

    return scores_of(ranks(ndtr(truth)), ranks(chdtr(dim, np.square(truth).sum(1))))


def count(
    make: Callable[[int], RunScores], replications: int
) -> tuple[Counter[State], Counter[State], int]:
    """States of the joint verdict, of the first parameter, and how often any is an alarm."""
    joint: Counter[State] = Counter()
    first: Counter[State] = Counter()
    alarms = 0
    for seed in range(replications):
        scores = make(seed)
        verdicts = judge(scores, names=names(scores.theta_dim), num_draws=DRAWS)
        joint[verdicts[0].state] += 1
        first[verdicts[1].state] += 1
        alarms += any(v.state.alarm for v in verdicts)
    return joint, first, alarms


def at_most(rate: float, replications: int) -> float:
    """The count that is three standard errors above this rate."""
    return replications * rate + 3 * math.sqrt(replications * rate * (1 - rate))


# ------------------------------------------------------- false alarms, and false praise

HEALTHY = {
    "exact": {},
    "a little narrow": {"scale": 1.1},
    "a little wide": {"scale": 1 / 1.1},
    "a little off": {"shift": 0.15},
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize(("n", "dim"), [(20, 1), (20, 3), (50, 7)])
def test_healthy_fits_raise_few_alarms(name: str, n: int, dim: int) -> None:
    """Of all verdicts together, joint and parameters: 5 % at most."""
    options = HEALTHY[name]
    *_, alarms = count(lambda seed: gaussian(n, dim, seed, **options), 100)
    assert alarms <= at_most(0.05, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize(("n", "dim"), [(20, 1), (20, 7), (100, 3), (500, 3)])
def test_healthy_fits_raise_few_alarms_over_many_replications(name: str, n: int, dim: int) -> None:
    options = HEALTHY[name]
    *_, alarms = count(lambda seed: gaussian(n, dim, seed, **options), 1000)
    assert alarms <= at_most(0.05, 1000)


@pytest.mark.parametrize("dim", [1, 3])
def test_twenty_runs_of_a_healthy_fit_are_mostly_too_few_and_a_hundred_enough(dim: int) -> None:
    _, few, _ = count(lambda seed: gaussian(20, dim, seed), 100)
    joint, many, _ = count(lambda seed: gaussian(100, dim, seed), 100)
    assert few[State.UNDECIDED] > 80
    assert many[State.CALIBRATED] > 90
    assert joint[State.CALIBRATED] > 90


@pytest.mark.parametrize("options", [{"scale": 4 / 3}, {"scale": 0.75}, {"shift": 0.5}])
@pytest.mark.parametrize("n", [20, 100])
def test_a_fit_at_the_edge_of_the_tolerance_is_seldom_called_calibrated(
    options: dict[str, float], n: int
) -> None:
    _, first, _ = count(lambda seed: gaussian(n, 1, seed, **options), 150)
    assert first[State.CALIBRATED] <= at_most(0.05, 150)


# ------------------------------------------------------- what is wrong is found, and named

WRONG = [
    ({"scale": 2.0}, State.OVER),
    ({"scale": 0.5}, State.UNDER),
    ({"shift": 1.0}, State.BIASED),
    ({"shift": -1.0}, State.BIASED),
    ({"shift": 6.0}, State.BIASED),  # no rank tells how far
]


@pytest.mark.parametrize(("options", "state"), WRONG)
@pytest.mark.parametrize("dim", [1, 3, 7])
def test_fifty_runs_name_what_is_wrong(options: dict[str, float], state: State, dim: int) -> None:
    joint, first, _ = count(lambda seed: gaussian(50, dim, seed, **options), 20)
    assert joint[state] >= 19
    assert first[state] >= 18


@pytest.mark.parametrize(
    ("options", "state", "rate"),
    [
        ({"scale": 2.0}, State.OVER, 0.95),
        ({"scale": 0.5}, State.UNDER, 0.95),
        ({"shift": 1.0}, State.BIASED, 0.9),
    ],
)
def test_twenty_runs_name_mostly_what_is_wrong(
    options: dict[str, float], state: State, rate: float
) -> None:
    joint, _, _ = count(lambda seed: gaussian(20, 2, seed, **options), 100)
    assert joint[state] > 100 * rate - 3 * math.sqrt(100 * rate * (1 - rate))


def test_one_parameter_of_three_is_named_and_the_others_are_not() -> None:
    narrow = np.array([2.0, 1.0, 1.0])
    named = others = 0
    for seed in range(40):
        joint, a, *rest = judge(gaussian(100, 3, seed, scale=narrow), names=names(3))
        named += a.state is State.OVER and joint.state.alarm
        others += any(v.state.alarm for v in rest)
    assert named == 40
    assert others <= at_most(0.05, 40)


def test_a_dependence_that_is_not_there_is_a_joint_alarm() -> None:
    """The posterior has correlation .9, the truth none: no single parameter shows it."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((50, 2))
    assumed = np.linalg.inv(np.array([[1.0, 0.9], [0.9, 1.0]]))
    squares = np.einsum("ni,ij,nj->n", truth, assumed, truth)
    ranks = (torch.from_numpy(v) for v in (ndtr(truth), chdtr(2, squares)))
    joint, *rest = judge(scores_of(*ranks), names=["a", "b"])
    assert joint.state is State.OVER
    assert not any(v.state.alarm for v in rest)


def test_a_shift_is_not_taken_for_narrow_widths() -> None:
    """Joint regions miss the truth for either; the shift's part is taken off the width factor."""
    verdicts = judge(gaussian(2000, 1, 0, shift=1.0), names=["a"])
    assert [v.state for v in verdicts] == [State.BIASED] * 2
    assert verdicts[0].scale.value == pytest.approx(1.0, abs=0.05)


def test_both_faults_are_told() -> None:
    both = judge(gaussian(500, 1, 0, shift=1.5, scale=2.0), names=["a"])[1]
    assert both.state is State.BIASED
    assert "too low" in both.text
    assert "widths should be" in both.text


# ------------------------------------------------------- whatever the posterior's shape


def bimodal(n: int, seed: int, *, scale: float = 1.0) -> RunScores:
    """Two unequal modes in two dimensions; the posterior is `scale` times too narrow about 0."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        side = torch.where(torch.rand(*shape, 1, generator=generator) < 0.5, 1.0, -1.0).double()
        z = torch.randn(*shape, 2, generator=generator, dtype=torch.float64)
        return 3 * side + z * torch.where(side > 0, 1.0, 0.4)

    def log_prob(theta: Tensor) -> Tensor:
        wide = -((theta - 3).square().sum(-1) / 2)
        narrow = -((theta + 3).square().sum(-1) / (2 * 0.16)) - 2 * math.log(0.4)
        return torch.logaddexp(wide, narrow)

    truth, draws = scale * draw(n), draw(DRAWS, n)
    noise = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    rank = ((draws < truth).sum(0) + noise[:, :2]) / (DRAWS + 1)
    above = (log_prob(draws) > log_prob(truth)).sum(0)
    return scores_of(rank, (above + noise[:, 2]) / (DRAWS + 1))


@pytest.mark.parametrize("n", [20, 50])
def test_exact_posteriors_with_two_modes_raise_few_alarms(n: int) -> None:
    *_, alarms = count(lambda seed: bimodal(n, seed), 50)
    assert alarms <= at_most(0.05, 50)


def test_wrong_posteriors_with_two_modes_raise_alarms() -> None:
    joint, _, _ = count(lambda seed: bimodal(50, seed, scale=2.0), 20)
    assert joint[State.OVER] + joint[State.BIASED] == 20


def folds(seed: int) -> RunScores:
    """Five fits of a cross-fitting, each with an error of its centre of its own."""
    each = 0.15 * np.random.default_rng(seed + 10_000).standard_normal((5, 2))
    return gaussian(50, 2, seed, shift=np.tile(each, (10, 1)))


def test_folds_that_differ_a_little_raise_few_alarms() -> None:
    *_, alarms = count(folds, 100)
    assert alarms <= at_most(0.05, 100)


# ------------------------------------------------------- intervals and estimates


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (0.5, 0.0), (1.0, 1.0)])
def test_intervals_hold_the_factor_and_the_shift_at_their_rate(scale: float, shift: float) -> None:
    covered = [0, 0, 0]
    for seed in range(150):
        scores = gaussian(20, 2, seed, scale=scale, shift=shift)
        joint, first, _ = judge(scores, names=names(2))
        covered[0] += scale in first.scale
        covered[1] += shift in first.shift
        covered[2] += shift * math.sqrt(2) / scale in joint.shift
    assert min(covered) >= 150 * 0.95 - 3 * math.sqrt(150 * 0.95 * 0.05)
    assert covered[1] < 150


def test_the_estimates_are_those_of_the_normal_scores() -> None:
    """No rank is beyond all draws: plain moments."""
    scores = gaussian(30, 1, 3, scale=0.8)
    w = NORMAL.icdf(scores.rank[:, 0])
    assert w.abs().max() < 2.8
    scale, shift = parameter(scores.rank[:, 0].numpy(), num_draws=DRAWS, level=0.95)
    assert scale.band.value == pytest.approx(float(w.std()))
    assert shift.band.value == pytest.approx(float(w.mean()))
    reach = 2.045 * float(w.std()) / math.sqrt(30)
    assert shift.band.high == pytest.approx(float(w.mean()) + reach, abs=1e-3)


def test_ranks_beyond_all_draws_do_not_hide_how_narrow_a_posterior_is() -> None:
    """Factor 2.5: a quarter of the ranks is beyond, and normal scores alone say about 2.

    Beyond twice the cut nothing is expected, so that larger factors are told too small.
    """
    scores = gaussian(2000, 1, 0, scale=2.5)
    naive = float(NORMAL.icdf(scores.rank[:, 0]).std())
    scale, _ = parameter(scores.rank[:, 0].numpy(), num_draws=DRAWS, level=0.95)
    joint = joint_scale(scores.hpd.numpy(), 1, num_draws=DRAWS, level=0.95)
    assert naive < 2.1
    assert 2.25 < scale.band.value < 2.75
    assert 2.25 < joint.band.value < 2.75


def test_censored_estimates_maximise_the_likelihood() -> None:
    generator = torch.Generator().manual_seed(0)
    values = (0.7 + 1.8 * torch.randn(400, generator=generator, dtype=torch.float64)).numpy()
    cut = 2.0

    def log_likelihood(mean: float, variance: float) -> float:
        law = Normal(torch.tensor(mean, dtype=torch.float64), math.sqrt(variance))
        inside = torch.as_tensor(values[abs(values) < cut])
        up, down = int((values >= cut).sum()), int((values <= -cut).sum())
        edge = torch.tensor(cut, dtype=torch.float64)
        above = (law.cdf(2 * edge) - law.cdf(edge)).log()
        below = (law.cdf(-edge) - law.cdf(-2 * edge)).log()
        return float(law.log_prob(inside).sum() + up * above + down * below)

    mean, variance, missing = censored_normal(values, cut)
    best = log_likelihood(mean, variance)
    for step in (0.05, -0.05):
        assert log_likelihood(mean + step, variance) < best
        assert log_likelihood(mean, variance * (1 + step)) < best
    assert 0 < missing < 0.9


def test_censored_squares_without_censoring_are_their_mean() -> None:
    squares = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64).numpy()
    assert censored_chi_square(squares, 3, 100.0) == (1.0, 0.0)


# ------------------------------------------------------- how many more


def test_more_runs_are_about_as_many_as_it_takes() -> None:
    """Where 20 runs do not tell, so many more tell in most of the cases, and are not thousands."""
    decided, numbers = [], []
    for seed in range(60):
        scores = gaussian(20, 1, seed)
        verdict = judge(scores, names=["a"])[1]
        if verdict.state is not State.UNDECIDED:
            assert verdict.more is None
            continue
        assert verdict.more is not None
        more = gaussian(verdict.more, 1, seed + 1000)
        again = judge(RunScores.concatenate([scores, more]), names=["a"])[1]
        decided.append(again.state is not State.UNDECIDED)
        numbers.append(verdict.more)
    assert sum(decided) / len(decided) > 0.7
    assert 10 <= sorted(numbers)[len(numbers) // 2] <= 150
    assert f"need about {numbers[-1]} more" in verdict.text or verdict.more is None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_handful_of_runs_is_too_few_and_no_error(n: int) -> None:
    verdicts = judge(gaussian(n, 2, 0), names=names(2))
    assert {v.state for v in verdicts} == {State.UNDECIDED}
    assert all(v.more is not None and v.more >= 5 for v in verdicts)
    assert math.isnan(verdicts[0].shift.value) == (n < 5)


# ------------------------------------------------------- words, and the way to a file


def test_the_sentence_has_the_evidence() -> None:
    verdict = judge(gaussian(20, 1, 2, scale=2.0), names=["mass"])[1]
    assert str(verdict).startswith("mass: over-confident: widths should be ")
    assert f"{verdict.scale.value:.1f} ({verdict.scale.low:.1f} to " in verdict.text
    assert "(20 runs, p " in verdict.text
    high = judge(gaussian(50, 1, 1, shift=-1.0), names=["mass"])[1]
    assert high.text.startswith("biased: the centre is too high by ")
    assert high.shift.value < 0


@pytest.mark.parametrize("n", [3, 50])
def test_verdicts_survive_json(n: int) -> None:
    for verdict in judge(gaussian(n, 2, 0), names=names(2)):
        read = Verdict.from_dict(json.loads(to_json(verdict.to_dict())))
        assert repr(read) == repr(verdict)


def test_an_alarm_is_a_small_p_value() -> None:
    for seed in range(30):
        for verdict in judge(gaussian(30, 2, seed, scale=1.5), names=names(2), level=0.9):
            assert verdict.state.alarm == (verdict.p_value < 0.1)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_ranks_that_are_all_alike_are_no_error(value: float) -> None:
    same = torch.full((20, 2), value, dtype=torch.float64)
    verdicts = judge(scores_of(same, same[:, 0]), names=names(2))
    assert all(math.isfinite(v.scale.value) for v in verdicts)


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: judge([0.5], names=["a"]), TypeError, "scores must be RunScores"),  # type: ignore[arg-type]
    (lambda: judge(gaussian(1, 1, 0), names=["a"]), ValueError, "at least 2 runs"),
    (lambda: judge(gaussian(9, 2, 0), names=["a"]), ValueError, "one name a parameter"),
    (lambda: judge(gaussian(9, 2, 0), names="ab"), ValueError, "one name a parameter"),
    (lambda: judge(gaussian(9, 1, 0), names=["a"], level=95), ValueError, "level must lie"),
    (lambda: judge(gaussian(9, 1, 0), names=["a"], num_draws=1), ValueError, "num_draws must be"),
    (
        lambda: judge(scores_of(torch.full((9, 1), math.nan), torch.rand(9)), names=["a"]),
        ValueError,
        "no NaN",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
