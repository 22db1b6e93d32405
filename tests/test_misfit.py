"""One x beside the few runs of a level: what is off is named, and what is not is left alone."""

from __future__ import annotations

import math
from functools import lru_cache

import pytest
import torch
from scipy import stats
from torch import Tensor

from mlsbi.checking._misfit import misfit, nearest_distances
from mlsbi.checking._normal import NormalScale, two_sided, upper_tail, z_of

ALPHA = 0.03


def curves(n: int, outputs: int, seed: int, *, level: int = 1) -> Tensor:
    """Outputs that follow two factors and a little noise of their own; level 0 is off by a bit."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.linspace(-1, 1, outputs)
    factors = torch.randn(n, 2, generator=generator)
    smooth = factors[:, :1] * (1 + 0.1 * level) + factors[:, 1:] * place + 0.2 * level
    return smooth + 0.3 * torch.randn(n, outputs, generator=generator)


@lru_cache
def cheap(outputs: int) -> Tensor:
    return curves(500, outputs, 1, level=0)


def case(seed: int, outputs: int, n: int = 20) -> tuple[Tensor, Tensor]:
    rows = curves(n + 1, outputs, 1000 + seed)
    return rows[:n], rows[n]


def moved(runs: Tensor, one: Tensor, seed: int, sd: float = 6.0) -> tuple[int, Tensor]:
    output = seed % len(one)
    out = one.clone()
    out[output] += (1 if seed % 2 else -1) * sd * runs[:, output].std()
    return output, out


# ---------------------------------------------------------------- scales and tails


def test_reference_values_become_standard_normal_whatever_they_were() -> None:
    x = torch.rand(999, 2, generator=torch.Generator().manual_seed(0)).double()
    skewed = torch.stack([x[:, 0].exp(), (3 * torch.special.ndtri(x[:, 1])).exp()], 1)
    scores = NormalScale(skewed)(skewed)
    even = torch.special.ndtri((torch.arange(999).double() + 0.5) / 999)
    assert torch.allclose(scores.sort(0).values, even[:, None].expand(-1, 2), atol=1e-9)


def test_scores_rise_with_x_and_no_tail_is_a_cliff() -> None:
    x = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    scale = NormalScale(x)
    ladder = torch.linspace(-3, 4, 200)[:, None]
    scores = scale(ladder)[:, 0]
    assert bool((scores.diff() >= 0).all())
    beyond = scale(torch.tensor([[2.0], [3.0]]))[:, 0]
    width = float(x.double().quantile(0.75) - x.double().quantile(0.25)) / 1.349
    assert float(beyond.diff()) <= 1 / width * 1.01


def test_a_weight_of_two_is_the_same_row_twice() -> None:
    x = torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    weights = torch.where(torch.arange(60) % 2 == 0, 2.0, 1.0)
    twice = x.repeat_interleave(weights.long(), 0)
    points = torch.linspace(-1, 1, 21)[:, None]
    a, b = NormalScale(x, weights)(points), NormalScale(twice)(points)
    assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("n", [5, 20])
def test_p_values_of_a_z_among_few_normal_rows_are_uniform(n: int) -> None:
    draws = torch.randn(n + 1, 2000, generator=torch.Generator().manual_seed(n)).double()
    p = two_sided(z_of(draws[:n], draws[n]), n)
    assert stats.kstest(p.numpy(), "uniform").pvalue > 0.001
    as_if_many = 2 * stats.norm.sf(z_of(draws[:n], draws[n]).abs().numpy())
    assert (as_if_many < 0.01).mean() > 0.01 + 4 * math.sqrt(0.01 / 2000)


def test_upper_tail_of_a_log_normal_value_is_uniform_where_nothing_is_counted() -> None:
    draws = torch.randn(2000, 21, generator=torch.Generator().manual_seed(3)).exp()
    p = torch.tensor([upper_tail(row[:20], float(row[20])) for row in draws])
    rate = float((p < 0.05).double().mean())
    assert rate < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert float((p < 0.5).double().mean()) > 0.4


def test_nearest_distances_are_those_of_a_search_by_hand() -> None:
    rows = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    found = nearest_distances(rows, rows[:5], own=True)
    for i in range(5):
        others = sorted(float((rows[i] - rows[j]).norm()) for j in range(30) if j != i)
        assert float(found[i]) == pytest.approx(others[2], rel=1e-4)


# ---------------------------------------------------------------- what is off


@pytest.mark.parametrize("outputs", [1, 5, 39])
def test_an_output_six_sd_off_is_found_and_named_from_twenty_runs(outputs: int) -> None:
    found = named = 0
    for seed in range(20):
        runs, one = case(seed, outputs)
        output, off = moved(runs, one, seed)
        result = misfit(runs, cheap(outputs), off, alpha=ALPHA)
        assert result is not None
        found += result.outside
        named += output in {odd.output for odd in result.odd}
    assert found >= 18
    assert named >= 18


def test_side_and_size_are_told() -> None:
    runs, one = case(0, 5)
    one = runs.mean(0)
    one[3] -= 6 * runs[:, 3].std()
    result = misfit(runs, None, one, alpha=ALPHA)
    assert result is not None
    assert [odd.output for odd in result.odd] == [3]
    assert result.odd[0].z == pytest.approx(-6, rel=1e-3)
    assert not result.odd[0].given_others


def test_one_output_off_a_smooth_curve_is_found_given_the_others() -> None:
    runs, one = case(1, 39)
    one[20] += 3.0  # ten widths of its own noise, within two and a half sd of the runs
    result = misfit(runs, cheap(39), one, alpha=ALPHA)
    assert result is not None
    assert [odd.output for odd in result.odd] == [20]
    assert result.odd[0].given_others
    assert abs(float(result.z[20])) < 4


def test_what_is_off_as_a_whole_is_found_although_no_output_is() -> None:
    runs, _ = case(2, 8, n=40)
    noise = torch.randn(8, generator=torch.Generator().manual_seed(5))
    one = runs.mean(0) + 0.9 * noise  # three times their own noise, hardly more than they vary
    result = misfit(runs, cheap(8), one, alpha=0.1)
    assert result is not None
    assert result.far
    assert result.distance > 1.5
    assert not any(not odd.given_others for odd in result.odd)


def test_a_level_that_never_varies_is_told_from_one_that_does() -> None:
    runs = torch.ones(20, 2)
    runs[:, 1] = torch.linspace(-1, 1, 20)
    same = misfit(runs, None, torch.tensor([1.0, 0.0]), alpha=ALPHA)
    other = misfit(runs, None, torch.tensor([1.1, 0.0]), alpha=ALPHA)
    assert same is not None
    assert not same.odd
    assert other is not None
    assert [odd.output for odd in other.odd] == [0]


def test_too_few_runs_say_nothing() -> None:
    assert misfit(torch.randn(3, 2), cheap(2), torch.full((2,), 99.0), alpha=ALPHA) is None


# ---------------------------------------------------------------- false alarms


def false_alarms(outputs: int, n: int, times: int, *, reference: bool = True) -> float:
    hits = 0
    for seed in range(times):
        runs, one = case(seed, outputs, n)
        result = misfit(runs, cheap(outputs) if reference else None, one, alpha=ALPHA)
        hits += result is not None and result.outside
    return hits / times


def test_healthy_observations_raise_no_more_false_alarms_than_they_may() -> None:
    times = 100
    assert false_alarms(5, 20, times) <= ALPHA + 3 * math.sqrt(ALPHA / times)
    assert false_alarms(5, 20, times, reference=False) <= ALPHA + 3 * math.sqrt(ALPHA / times)


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "n"), [(39, 20), (39, 100), (1, 10), (5, 10)])
def test_false_alarms_at_other_sizes(outputs: int, n: int) -> None:
    times = 200
    assert false_alarms(outputs, n, times) <= ALPHA + 3 * math.sqrt(ALPHA / times)
