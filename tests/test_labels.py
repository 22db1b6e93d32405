"""check_labels and check_level_of: runs that follow another law than their label says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from mlsbi import MultilevelData, simulate, tasks
from mlsbi.checking._law import Runs, features_of, same_law
from mlsbi.checking.labels import check_labels, check_level_of
from tiny import box

OUTPUTS = 4


def run(level: int, theta: Tensor, u: Tensor) -> Tensor:
    """Three levels: each has another slope, place and width of its noise."""
    mixing = torch.linspace(-1, 1, 2 * OUTPUTS).reshape(2, OUTPUTS)
    return (1 + 0.5 * level) * theta @ mixing + (0.2 + 0.15 * level) * u + 0.4 * level


def runs(level: int, n: int, generator: torch.Generator, *, below: bool = False) -> Any:
    theta = torch.rand(n, 2, generator=generator) * 1.98 - 0.99
    u = torch.randn(n, OUTPUTS, generator=generator)
    fine = run(level, theta, u)
    return (theta, run(level - 1, theta, u), fine) if below else (theta, fine)


def entries(n: tuple[int, ...], seed: int) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [runs(level, k, generator, below=level > 0) for level, k in enumerate(n)]


def data_of(levels: list[tuple[Tensor, ...]], **options: Any) -> MultilevelData:
    return MultilevelData.from_arrays(box(), levels, **options)


def warned(found: Any) -> list[str]:
    return [finding.code for finding in found if finding.severity == "warning"]


# ---------------------------------------------------------------- labels


def test_labels_that_are_right_raise_nothing() -> None:
    for seed in range(5):
        assert check_labels(data_of(entries((300, 60, 20), seed))) == ()


def test_one_level_has_no_labels_to_confuse() -> None:
    assert check_labels(data_of(entries((30,), 0))) == ()


def test_identical_levels_raise_nothing() -> None:
    theta, x = entries((300,), 0)[0]
    few, same = entries((20,), 1)[0]
    assert check_labels(data_of([(theta, x), (few, same, same)])) == ()


@pytest.mark.parametrize("n", [10, 20, 100])
def test_swapped_halves_are_named(n: int) -> None:
    for seed in range(4):
        levels = entries((400, n), seed)
        theta, coarse, fine = levels[1]
        levels[1] = (theta, fine, coarse)
        (found,) = check_labels(data_of(levels))
        assert found.code == "levels-swapped"
        assert "fine halves of level 1's" in found.text
        assert f"{n} pairs" in found.text
        assert found.evidence["p_fine"] > found.evidence["p_coarse"]


def test_exchanged_levels_are_named() -> None:
    levels = entries((400, 60, 30), 0)
    levels[1], levels[2] = levels[2], levels[1]
    found = check_labels(data_of(levels))
    assert warned(found) == ["levels-swapped"]
    assert "levels 1 and 2 look exchanged" in found[0].text


def test_coarse_halves_in_other_units_are_named() -> None:
    levels = entries((400, 20), 0)
    theta, coarse, fine = levels[1]
    levels[1] = (theta, 1000 * coarse, fine)
    (found,) = check_labels(data_of(levels))
    assert found.code == "coarse-half-differs"
    assert "units" in found.remedy


def test_costs_and_counts_that_fall_the_wrong_way_are_noted() -> None:
    found = check_labels(data_of(entries((30, 60), 0), costs=[5.0, 1.0]))
    assert [finding.code for finding in found] == ["costs-fall", "more-runs-above"]
    assert all(finding.severity == "note" for finding in found)
    assert check_labels(data_of(entries((60, 30), 0), costs=[1.0, 5.0])) == ()


def test_levels_of_other_shapes_are_left_alone() -> None:
    levels = entries((200, 20), 0)
    theta, coarse, fine = levels[1]
    levels[1] = (theta, coarse, fine[:, :2])
    assert check_labels(data_of(levels)) == ()


def test_the_same_seed_gives_the_same() -> None:
    levels = entries((300, 20), 0)
    levels[1] = (levels[1][0], levels[1][2], levels[1][1])
    data = data_of(levels)
    assert check_labels(data, seed=3) == check_labels(data, seed=3)


# ---------------------------------------------------------------- test runs


def test_test_runs_of_level_zero_are_told_from_those_of_level_one() -> None:
    data = data_of(entries((400, 20), 0))
    generator = torch.Generator().manual_seed(9)
    assert check_level_of(data, *runs(1, 100, generator)) == ()
    (found,) = check_level_of(data, *runs(0, 100, generator))
    assert found.code == "test-runs-of-level"
    assert "look like runs of level 0" in found.text
    assert "not of level 1" in found.text


def test_test_runs_of_no_level_are_told() -> None:
    data = data_of(entries((400, 20), 0))
    theta, x = runs(1, 100, torch.Generator().manual_seed(9))
    (found,) = check_level_of(data, theta, x + 3.0)
    assert found.code == "test-runs-differ"


def test_few_runs_say_nothing() -> None:
    theta, x = runs(0, 4, torch.Generator().manual_seed(9))
    assert check_level_of(data_of(entries((400, 20), 0)), theta, x) == ()
    theta, x = runs(0, 100, torch.Generator().manual_seed(9))
    assert check_level_of(data_of(entries((400, 3), 0)), theta, x) == ()


# ---------------------------------------------------------------- the test itself


def test_p_values_are_uniform_under_one_law_and_small_under_two() -> None:
    generator = torch.Generator().manual_seed(4)
    learn, rest = Runs(*runs(0, 400, generator)).halves()
    same, other = [], []
    for seed in range(30):
        sets = [rest, Runs(*runs(0, 15, generator)), Runs(*runs(1, 15, generator))]
        features = features_of(learn, sets)
        assert features is not None
        same.append(same_law(features[0], features[1], seed=seed))
        other.append(same_law(features[0], features[2], seed=seed))
    assert stats.kstest(same, "uniform").pvalue > 0.001
    assert sum(p < 0.01 for p in other) >= 27


def test_less_noise_is_another_law() -> None:
    generator = torch.Generator().manual_seed(4)
    theta, x = runs(0, 400, generator)
    learn, rest = Runs(theta, x).halves()
    few = torch.rand(10, 2, generator=generator) * 1.98 - 0.99
    quiet = run(0, few, 0.1 * torch.randn(10, OUTPUTS, generator=generator))
    features = features_of(learn, [rest, Runs(few, quiet)])
    assert features is not None
    assert same_law(*features, seed=0) < 0.01


def test_too_few_runs_to_learn_from() -> None:
    generator = torch.Generator().manual_seed(4)
    assert features_of(Runs(*runs(0, 10, generator)), [Runs(*runs(0, 10, generator))]) is None


# ---------------------------------------------------------------- bad input


def test_bad_input_is_refused_by_name() -> None:
    data = data_of(entries((60, 20), 0))
    theta, x = runs(1, 10, torch.Generator().manual_seed(0))
    with pytest.raises(TypeError, match="data must be MultilevelData"):
        check_labels([1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed"):
        check_labels(data, seed=-1)
    with pytest.raises(ValueError, match="theta_test must have shape"):
        check_level_of(data, theta[:, :1], x)
    with pytest.raises(ValueError, match="x_test must have shape"):
        check_level_of(data, theta, x[:5])
    with pytest.raises(ValueError, match="x_test must be finite"):
        check_level_of(data, theta, x * torch.nan)


# ---------------------------------------------------------------- the library's tasks


TASKS = {
    "ou": tasks.ornstein_uhlenbeck,
    "g-and-k": tasks.g_and_k,
    "linear-gaussian": lambda: tasks.linear_gaussian(3),
    "toggle": tasks.toggle_switch,
} | {name: lambda name=name: tasks.stress(name) for name in tasks.STRESS}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TASKS))
def test_healthy_tasks_raise_no_more_false_alarms_than_they_may(name: str) -> None:
    hierarchy = TASKS[name]().hierarchy
    assert hierarchy is not None
    times, levels = (10 if name in {"toggle", "wide"} else 30), len(hierarchy.levels)
    alarms = 0
    for seed in range(times):
        data = simulate(hierarchy, (600, 40, 20)[:levels], seed=seed)
        test = simulate(hierarchy, (1, 1, 1)[: levels - 1] + (60,), seed=9000 + seed)
        found = check_labels(data, seed=seed)
        found += check_level_of(data, test.theta(levels - 1), test.x(levels - 1), seed=seed)
        alarms += bool(warned(found))
    assert alarms / times <= 0.02 + 3 * math.sqrt(0.02 / times)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ou", "noisy", "anti", "bimodal"])
def test_levels_of_tasks_that_are_swapped_are_found(name: str) -> None:
    hierarchy = TASKS[name]().hierarchy
    assert hierarchy is not None
    hits = 0
    for seed in range(10):
        data = simulate(hierarchy, (600, 20), seed=seed)
        pair = (data.theta(1), data.x(1), data.x_coarse(1))
        swapped = MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0)), pair])
        hits += warned(check_labels(swapped, seed=seed)) == ["levels-swapped"]
    assert hits >= 9


@pytest.mark.data
def test_camels_raises_nothing_and_its_swapped_levels_do(data_folder: Any) -> None:
    data, theta, x = tasks.camels(data_folder).data((780, 50), 0)
    assert check_labels(data) == ()
    assert check_level_of(data, theta, x) == ()
    pair = (data.theta(1), data.x(1), data.x_coarse(1))
    swapped = MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0)), pair])
    assert warned(check_labels(swapped)) == ["levels-swapped"]
