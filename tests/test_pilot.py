"""The pilot: figures of the multilevel table against closed forms, warnings, costs, the object."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

import mlsbi
from linear_gaussian import _A, _B, _NOISE, _SHIFT, D, Ladder, normal_prior
from mlsbi import Hierarchy, Level, MultilevelData
from mlsbi._table import Table
from mlsbi.estimators.transforms import Standardise
from mlsbi.planning._level_sums import Groups, kurtosis, top_share
from mlsbi.planning._pilot_costs import expected_factors
from mlsbi.planning.columns import Columns, run_columns
from mlsbi.planning.level_table import LevelStatistics, dominated, level_statistics
from mlsbi.planning.needs import Needs
from mlsbi.planning.pilot import Pilot


def normal_noise(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, D, generator=generator)


def hierarchy_of(*levels: Callable[[Tensor, Tensor], Tensor], costs: Any = None) -> Hierarchy:
    costs = [2.0**level for level in range(len(levels))] if costs is None else costs
    runs = [Level(level, cost=cost) for level, cost in zip(levels, costs, strict=True)]
    return Hierarchy(normal_prior(), runs, noise=normal_noise)


def columns_of(*x: Tensor) -> Columns:
    """Levels' outputs as columns, without twins."""
    ok = torch.stack([level.flatten(1).isfinite().all(1) for level in x])
    nothing = torch.empty(0, 2, dtype=torch.int64)
    none = (None,) * len(x)
    copies = tuple((level[:0], level[:0]) for level in x)
    return Columns(torch.zeros(len(x[0]), D), x, ok, nothing, copies, none, none)


def exact(ladder: Ladder, columns: Columns, level: int) -> dict[str, float]:
    """What the table estimates, in the units that it uses."""
    unit = Standardise.fit(torch.cat(list(columns.x)))
    assert not bool(unit.asinh.any())

    def parts(of: int) -> tuple[Tensor, Tensor, float]:
        gap = ladder.gap_of(of)
        return (_A + gap * _B).double(), gap * _SHIFT.double(), _NOISE * (1 + gap / 2)

    weight, shift, noise = parts(level)
    variance = (weight.square().sum(1) + noise**2) / unit.scale**2
    facts = {
        "variance": float(variance.mean()),
        "noise_share": float((noise**2 / unit.scale**2).mean() / variance.mean()),
    }
    if level:
        below = parts(level - 1)
        weight, shift, noise = (a - b for a, b in zip((weight, shift, noise), below, strict=True))
        moved = (weight.square().sum(1) + noise**2) / unit.scale**2
        facts["difference_variance"] = float(moved.mean())
        facts["difference"] = float((moved + (shift / unit.scale).square()).mean())
        facts["mean_difference"] = float((shift / unit.scale).square().mean().sqrt())
    return facts


def scores(n: int, seeds: range) -> dict[str, Tensor]:
    """Errors of estimates over their own standard errors, by figure."""
    ladder = Ladder(levels=3)
    found: dict[str, list[float]] = {"variance": [], "difference": []}
    for seed in seeds:
        columns = run_columns(ladder.hierarchy(), n, seed=seed)
        figures = level_statistics(columns, (1, 4, 16))
        for level in (0, 1, 2):
            truth = exact(ladder, columns, level)
            for name in found.keys() & truth.keys():
                error = getattr(figures, f"{name}_error")[level]
                found[name].append((getattr(figures, name)[level] - truth[name]) / error)
    return {name: torch.tensor(values) for name, values in found.items()}


def test_figures_agree_with_closed_forms_within_their_errors() -> None:
    for name, values in scores(64, range(30)).items():
        assert abs(float(values.mean())) < 0.45, name  # levels of a seed share their draws
        assert 0.7 < float(values.std()) < 1.4, name


def test_figures_converge() -> None:
    ladder = Ladder(levels=3)
    columns = run_columns(ladder.hierarchy(), 20_000, seed=0)
    figures = level_statistics(columns, (1, 4, 16))
    for level in range(3):
        for name, truth in exact(ladder, columns, level).items():
            assert getattr(figures, name)[level] == pytest.approx(truth, rel=0.04), (name, level)
    assert figures.n == (20_000,) * 3
    assert figures.ratio[1] == pytest.approx(figures.difference[1] / figures.variance[1])
    for level, correlation in enumerate(figures.correlation[1:], start=1):
        both = torch.cat([columns.x[level - 1], columns.x[level]], 1).double().T
        direct = torch.corrcoef(both)[[0, 1], [2, 3]]
        assert torch.allclose(correlation, direct, atol=1e-4)


def test_twins_count_once() -> None:
    """A value of theta alone tells as much as each theta's first column does."""
    columns = run_columns(Ladder().hierarchy(), 64, seed=0)
    values = columns.theta[:, 0].double()
    firsts = torch.ones(64, dtype=torch.bool)
    firsts[columns.twins[:, 1]] = False
    own = values[firsts]
    mean, error = Groups(torch.ones(64, dtype=torch.bool), columns.twins).mean(values)
    assert mean == pytest.approx(float(own.mean()))
    assert error == pytest.approx(float(own.std() / len(own) ** 0.5))
    assert error > float(values.std() / 8)  # what 64 independent columns would have


def rates_of(alpha: float, beta: float, gamma: float, levels: int = 4) -> LevelStatistics:
    def level(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        bias, noise = 3 * 2.0 ** (-alpha * number), 2.0 ** (-beta / 2 * number)
        return lambda theta, u: theta + bias + noise * (u - u.mean(0))

    costs = [2.0 ** (gamma * number) for number in range(levels)]
    hierarchy = hierarchy_of(*map(level, range(levels)), costs=costs)
    return level_statistics(run_columns(hierarchy, 64, seed=0), costs)


@pytest.mark.parametrize("rates", [(1.0, 2.0, 1.0), (0.5, 3.0, 2.0), (2.0, 1.0, 0.3)])
def test_rates(rates: tuple[float, float, float]) -> None:
    figures = rates_of(*rates)
    assert (figures.alpha, figures.beta, figures.gamma) == pytest.approx(rates, abs=0.15)
    assert any(note.startswith("rates, powers of 2 a level: alpha") for note in figures.notes)
    few = rates_of(*rates, levels=2)
    assert (few.alpha, few.beta, few.gamma) == (None, None, None)


def test_identical_levels() -> None:
    def level(theta: Tensor, u: Tensor) -> Tensor:
        return theta + u

    columns = run_columns(hierarchy_of(level, level, level), 20, seed=0)
    figures = level_statistics(columns, (1, 2, 4))
    assert figures.difference[1:] == (0.0, 0.0)
    assert (figures.kurtosis[1], figures.top_share[1]) == (None, None)
    assert torch.allclose(figures.correlation[1], torch.ones(D, dtype=torch.float64))
    assert (figures.alpha, figures.beta, figures.gamma) == (None, None, 1.0)


def test_a_few_rows_that_dominate_are_warned_of() -> None:
    def jumps(theta: Tensor, u: Tensor) -> Tensor:
        return theta + 0.01 * u + 2 * (u[:, :1] > 1.9)

    def smooth(theta: Tensor, u: Tensor) -> Tensor:
        return theta + 0.3 * u

    def plain(theta: Tensor, u: Tensor) -> Tensor:
        return theta

    warned = {jumps: 0, smooth: 0}
    for fine in warned:
        for seed in range(20):
            columns = run_columns(hierarchy_of(plain, fine), 64, seed=seed)
            notes = level_statistics(columns, (1, 2)).notes
            warned[fine] += any("hold most of the difference of levels 0 and 1" in n for n in notes)
    assert warned[smooth] == 0
    assert warned[jumps] >= 12  # that a row jumps at all has probability 0.84, 4 may be too many


@pytest.mark.parametrize(("rows", "outputs", "times"), [(64, 1, 2000), (64, 500, 30), (20, 5, 500)])
def test_normal_differences_are_never_warned_of(rows: int, outputs: int, times: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(times):
        moved = torch.randn(rows, outputs, generator=generator, dtype=torch.float64)
        assert not dominated(rows, kurtosis(moved), top_share(moved, 0.05))


def test_kurtosis_and_top_share_in_closed_form() -> None:
    one = torch.zeros(100, 2, dtype=torch.float64)
    one[7, 1] = 3.0
    assert kurtosis(one) == pytest.approx(98 + 1 / 99)  # the largest that 100 rows can have
    assert top_share(one, 0.05) == 1.0
    assert top_share(torch.ones(100, 1), 0.05) == pytest.approx(0.05)
    many = torch.randn(100_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert kurtosis(many) == pytest.approx(3.0, abs=0.1)


def test_levels_of_other_shapes_have_no_difference() -> None:
    def wide(theta: Tensor, u: Tensor) -> Tensor:
        return torch.cat([theta, u], 1)

    def narrow(theta: Tensor, u: Tensor) -> Tensor:
        return theta

    pilot = mlsbi.pilot(hierarchy_of(narrow, wide, wide), 32, seed=0)
    figures = pilot.statistics
    assert figures.difference[1] is None
    assert figures.correlation[1] is None
    assert None not in figures.variance
    assert figures.difference[2] == 0.0
    assert figures.alpha is None
    assert any("levels 0 and 1 return x of shapes (2,) and (4,)" in note for note in figures.notes)
    pilot.plot()


def test_heavy_tails_are_bent_and_constants_have_no_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    tails = torch.randn(64, 1, generator=generator)
    tails[0] = 1e4
    x = torch.cat([tails, torch.ones(64, 1)], 1)
    figures = level_statistics(columns_of(x, x + 0.01 * (x - 1)), (1, 2))
    assert "asinh of 1 output(s)" in figures.notes[0]
    varies, constant = figures.correlation[1].tolist()
    assert varies > 0.99
    assert math.isnan(constant)
    still = level_statistics(columns_of(torch.ones(64, 2), torch.ones(64, 2)), (1, 2))
    assert bool(still.correlation[1].isnan().all())
    assert still.noise_share == (None, None)
    assert str(still.table())


def test_few_and_missing_rows() -> None:
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    gone = x.clone()
    gone[1:] = math.nan
    figures = level_statistics(columns_of(x, gone), (1, 2))
    assert figures.n == (10, 1)
    assert figures.failed == pytest.approx((0.0, 0.9))
    assert figures.variance[1] is None
    assert figures.difference[1] == 0.0
    assert str(figures.table())


def test_the_table_prints_and_returns(capsys: pytest.CaptureFixture[str]) -> None:
    pilot = mlsbi.pilot(Ladder(levels=3).hierarchy(), seed=0)
    table = pilot.table()
    assert isinstance(table, Table)
    assert capsys.readouterr().out == f"{table}\n"
    assert table.column("level") == [0, 1, 2]
    assert table.column("cost") == [1.0, 4.0, 16.0]
    assert table.column("E|d|^2") == list(pilot.statistics.difference)
    assert table.column("corr")[0] is None
    assert "66 runs of each level" in table.title
    assert Table.from_dict(table.to_dict()) == table
    assert pilot.cost == 66 * 21
    assert (pilot.costs, pilot.cost_unit) == ((1.0, 4.0, 16.0), "given")
    assert isinstance(pilot.data, MultilevelData)
    assert pilot.data.n == (64, 64, 64)
    assert pilot.data.cost == 64 * (1 + 5 + 20)
    assert repr(pilot) == "Pilot(3 level(s), 64 columns, cost 1386)"
    with pytest.raises(AttributeError):
        pilot.seed = 1


def sleeping(seconds: float) -> Callable[[Any, int], Any]:
    def run(theta: Any, seed: int) -> Any:
        time.sleep(seconds)
        return theta

    return run


def test_costs_are_measured_where_any_is_not_given() -> None:
    levels = [Level(sleeping(s), batched=False) for s in (0.0001, 0.005)]
    levels += [Level(lambda theta, u: theta, cost=7.0)]
    pilot = mlsbi.pilot(Hierarchy(normal_prior(), levels), 8, seed=0)
    assert pilot.cost_unit == "seconds"
    assert pilot.costs == pilot.columns.seconds
    assert pilot.costs[0] < pilot.costs[1]
    table = pilot._table()
    assert "cost" not in table.columns  # they are the seconds
    assert any("measured seconds" in note for note in table.notes)
    assert any("levels [2] take batches" in note for note in table.notes)
    assert pilot.data.costs == pilot.costs
    top = pilot.subset([2])  # in the unit of the whole, to be compared
    assert (top.costs, top.cost_unit) == (pilot.costs[2:], "seconds")


def test_subset() -> None:
    pilot = mlsbi.pilot(Ladder(levels=3).hierarchy(), 16, seed=5)
    part = pilot.subset([0, 2])
    assert part.costs == (1.0, 16.0)
    assert part.hierarchy.num_levels == 2
    assert torch.equal(part.data.x_coarse(1), pilot.columns.x[0])
    assert part.seed == 5


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_plot(levels: int) -> None:
    pilot = mlsbi.pilot(Ladder(levels=levels).hierarchy(), 16, seed=0)
    figure = pilot.plot()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 3
    own = Figure()
    assert pilot.plot(own.subplots(1, 3)) is own
    figure.canvas.draw()
    with pytest.raises(ValueError, match=r"axes must be 3 matplotlib Axes; got 2"):
        pilot.plot(Figure().subplots(1, 2))


def test_expected_factors_in_closed_form() -> None:
    needs = Needs((4.0, 1.0), 9.0, "made up")
    costs, rows = (1.0, 8.0), (1.0, 9.0)
    budget = 1000.0
    total = sum(math.sqrt(b * k) for b, k in zip(needs.b, rows, strict=True))
    n = [budget * math.sqrt(b / k) / total for b, k in zip(needs.b, rows, strict=True)]
    equal = needs.single / sum(b / m for b, m in zip(needs.b, n, strict=True))
    factors = expected_factors(needs, costs)
    assert factors == pytest.approx((equal / n[1], equal * costs[1] / budget))
    assert expected_factors(Needs((1.0, 0.0), 2.0, ""), costs) == (None, pytest.approx(16.0))
    assert expected_factors(Needs((0.0, 0.0), 2.0, ""), costs) == (None, None)


def test_what_it_hands_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def needs(pilot: Pilot, strategy: Any, *, method: str, kind: str, seed: int) -> Needs:
        asked.append((strategy, method, kind, seed))
        return Needs((1.0, 0.05), 1.0, "a test")

    monkeypatch.setattr("mlsbi.planning.needs.pilot_needs", needs, raising=False)
    pilot = mlsbi.pilot(Ladder().hierarchy(), seed=0)
    plan = pilot.allocate(500.0, strategy="a strategy", method="loss", kind="likelihood", seed=3)
    assert asked == [("a strategy", "loss", "likelihood", 3)]
    assert len(plan) == 2
    assert plan[0] > plan[1] > 0
    assert mlsbi.simulate(pilot.hierarchy, tuple(plan), seed=1).n == tuple(plan)
    more = pilot.allocate(500.0, existing=pilot.data)
    assert all(total >= 64 for total in more)
    text = str(pilot)
    assert text.startswith("Pilot: 66 runs of each level")
    assert text.endswith(str(pilot.diagnosis))
    factor, _ = expected_factors(Needs((1.0, 0.05), 1.0, "a test"), pilot.costs)
    assert pilot.diagnosis.factor == pytest.approx(factor)


def test_importing_is_cheap() -> None:
    code = "import sys, mlsbi; mlsbi.pilot; print({'sbi', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_bad_input() -> None:
    hierarchy = Ladder().hierarchy()
    with pytest.raises(TypeError, match="hierarchy must be Hierarchy; got list"):
        mlsbi.pilot([], seed=0)
    with pytest.raises(ValueError, match="n must be at least 8; got 4"):
        mlsbi.pilot(hierarchy, 4, seed=0)
    with pytest.raises(TypeError, match="seed must be an integer"):
        mlsbi.pilot(hierarchy, seed=0.5)
    with pytest.raises(ValueError, match="ascending"):
        mlsbi.pilot(hierarchy, 8, seed=0).subset([1, 0])
