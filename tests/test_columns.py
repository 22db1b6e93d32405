"""Columns of a pilot: the same draws for all levels, twins, copies, failures, stores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from linear_gaussian import box_prior, normal_prior
from mlsbi import Hierarchy, Level, MultilevelData
from mlsbi.planning.columns import Columns, run_columns


def draw_pair(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 2, generator=generator), torch.rand(n, generator=generator)


def draw_dict(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    first, second = draw_pair(n, generator)
    return {"first": first, "second": second}


def echo(theta: Tensor, u: Any) -> Tensor:
    """theta and the noise itself: 2 + 3 numbers."""
    parts = list(u.values()) if isinstance(u, dict) else list(u)
    return torch.cat([theta, parts[0], parts[1][:, None]], 1)


def echo_seed(theta: np.ndarray, seed: int) -> np.ndarray:
    return np.append(theta, [seed % 2**20, seed >> 43])  # exact in float32


def echo_seeds(theta: Tensor, u: Tensor) -> Tensor:
    return torch.cat([theta, torch.stack([u % 2**20, u >> 43], 1)], 1)


def fails_high(theta: np.ndarray, seed: int) -> np.ndarray:
    if theta[0] > 0.5:
        raise ArithmeticError("too high")
    return theta


def gaps(theta: Tensor, u: Tensor) -> Tensor:
    """NaN for theta_1 below -0.5."""
    return torch.where(theta[:, 1:] < -0.5, math.nan, theta)


def echoing(noise: Any = None, *, levels: int = 2) -> Hierarchy:
    if noise is None:
        row = Level(echo_seed, batched=False)
        return Hierarchy(normal_prior(), [row, Level(echo_seeds)][:levels])
    return Hierarchy(normal_prior(), [Level(echo)] * levels, noise=noise)


def failing() -> Hierarchy:
    return Hierarchy(normal_prior(), [Level(gaps), Level(fails_high, batched=False), Level(gaps)])


def same(first: Columns, second: Columns, n: int) -> bool:
    """Whether the first n columns agree, NaN included."""
    pairs = [(first.theta, second.theta), (first.ok.T, second.ok.T)]
    pairs += zip(first.x, second.x, strict=True)
    return all(np.array_equal(a[:n].numpy(), b[:n].numpy(), equal_nan=True) for a, b in pairs)


@pytest.mark.parametrize("noise", [None, draw_pair, draw_dict])
def test_levels_share_theta_and_noise(noise: Any) -> None:
    columns = run_columns(echoing(noise), 64, seed=3)
    assert len(columns) == 64
    assert columns.num_levels == 2
    assert torch.equal(columns.x[0], columns.x[1])  # one of them row by row, without `noise`
    assert torch.equal(columns.x[0][:, :2], columns.theta)
    assert bool(columns.ok.all())
    assert columns.theta.dtype == torch.float32
    other = run_columns(echoing(noise), 64, seed=4)
    assert not torch.equal(other.theta, columns.theta)
    assert same(run_columns(echoing(noise), 64, seed=3), columns, 64)


@pytest.mark.parametrize("noise", [None, draw_pair, draw_dict])
def test_twins_share_theta_alone_and_copies_share_both(noise: Any) -> None:
    columns = run_columns(echoing(noise), 64, seed=0)
    first, second = columns.twins.T
    # rows 10 and 11, 14 and 15, ..., 62 and 63; rows 1 and 5 are copies and no columns
    assert columns.twins.tolist() == [[row - 2, row - 1] for row in range(10, 63, 4)]
    assert torch.equal(columns.theta[first], columns.theta[second])
    noise_of = columns.x[0][:, 2:]
    assert bool((noise_of[first] != noise_of[second]).any(1).all())
    assert len(noise_of.unique(dim=0)) == 64
    assert len(columns.theta.unique(dim=0)) == 64 - len(first)
    for level, (a, b) in enumerate(columns.copies):
        assert a.shape == b.shape == (2, *columns.event_shapes[level])
        assert torch.equal(a, b)
        assert torch.equal(a[0], columns.x[level][0])  # row 0
        assert torch.equal(a[1], columns.x[level][3])  # row 4


def test_copies_of_a_level_with_randomness_of_its_own_differ() -> None:
    state = torch.Generator().manual_seed(0)

    def own(theta: Tensor, u: Tensor) -> Tensor:
        return theta + torch.randn(theta.shape, generator=state)

    columns = run_columns(Hierarchy(normal_prior(), [Level(gaps), Level(own)]), 8, seed=1)
    a, b = columns.copies[1]
    assert bool((a != b).all())


@pytest.mark.parametrize("noise", [None, draw_pair])
def test_a_larger_pilot_keeps_the_columns_of_a_smaller_one(noise: Any) -> None:
    sizes = [8, 9, 11, 64, 1021, 1022, 1023, 1100]
    large = run_columns(echoing(noise), sizes[-1], seed=2)
    for n in sizes[:-1]:
        small = run_columns(echoing(noise), n, seed=2)
        assert len(small) == n
        assert same(small, large, n)
        inside = large.twins[(large.twins < n).all(1)]
        assert torch.equal(small.twins, inside)
    # over blocks of draws, too, a column is no copy, and twins are twins
    assert len(large.x[0].unique(dim=0)) == len(large)
    assert len(large.theta.unique(dim=0)) == len(large) - len(large.twins)
    first, second = large.twins.T
    assert torch.equal(large.theta[first], large.theta[second])


def test_events_of_any_shape() -> None:
    def shaped(*event: int) -> Level:
        return Level(
            lambda theta, u: theta[:, :1].reshape(-1, *[1] * len(event)).expand(-1, *event)
        )

    levels = [shaped(1), shaped(5), shaped(4, 3)]
    columns = run_columns(Hierarchy(normal_prior(), levels), 16, seed=0)
    assert columns.event_shapes == ((1,), (5,), (4, 3))
    theta, coarse, fine = columns.pairs(2, 0)
    assert (theta.shape, coarse.shape, fine.shape) == ((16, 2), (16, 1), (16, 4, 3))
    assert torch.equal(fine[:, 0, 0], theta[:, 0])
    assert columns.copies[2][0].shape == (2, 4, 3)


def test_rows_that_failed_are_nan_and_left_out_of_pairs() -> None:
    hierarchy = failing()
    columns = run_columns(hierarchy, 64, seed=0)
    low, high = columns.theta[:, 1] < -0.5, columns.theta[:, 0] > 0.5
    assert torch.equal(columns.ok, torch.stack([~low, ~high, ~low]))
    for x, ok in zip(columns.x, columns.ok, strict=True):
        assert torch.equal(x[ok], columns.theta[ok])
        assert bool(x[~ok].isnan().all())
    theta, coarse, fine = columns.pairs(1)
    assert torch.equal(theta, columns.theta[~low & ~high])
    assert torch.equal(coarse, theta)
    assert torch.equal(fine, theta)
    assert len(columns.pairs(2, 0)[0]) == int((~low).sum())


def test_data_hold_what_is_ok(tmp_path: Path) -> None:
    columns = run_columns(failing(), 64, seed=0)
    data = columns.data(failing(), (1, 2, 3))
    both = int((columns.ok[0] & columns.ok[1]).sum())
    assert data.n == (int(columns.ok[0].sum()), both, both)
    assert data.costs == (1.0, 2.0, 3.0)
    assert data.dropped == tuple(64 - n for n in data.n)
    assert torch.equal(data.x_coarse(1), columns.pairs(1)[1])
    for level in range(3):
        of_level = [failure for failure in data.failures if failure.level == level]
        assert len(of_level) == data.dropped[level]
        assert {failure.simulator for failure in of_level} <= {level - 1, level}
    assert columns.data(failing()).costs is None
    data.save(tmp_path / "data.zarr")
    again = MultilevelData.load(tmp_path / "data.zarr", prior=normal_prior())
    assert again.n == data.n


def test_failures_can_be_run_again() -> None:
    hierarchy = failing()
    columns = run_columns(hierarchy, 64, seed=0)
    assert {failure.level for failure in columns.failures} == {0, 1, 2}
    for failure in columns.failures:
        assert failure.simulator == failure.level
    raised = next(failure for failure in columns.failures if failure.level == 1)
    assert raised.kind == "exception"
    assert "pilot, row" in str(raised)
    with pytest.raises(ArithmeticError, match="too high"):
        raised.reproduce(hierarchy)
    other = next(failure for failure in columns.failures if failure.level == 2)
    assert bool(other.reproduce(hierarchy).isnan().all())
    for failure in columns.data(hierarchy).failures:  # the coarse member of a pair, too
        if failure.simulator != 1:
            assert bool(failure.reproduce(hierarchy).isnan().all())
    part = columns.subset([1, 2])
    moved = next(failure for failure in part.failures if failure.level == 0)
    with pytest.raises(ArithmeticError, match="too high"):
        moved.reproduce(hierarchy.subset([1, 2]))
    with pytest.raises(ValueError, match="got another: it has 1 level"):
        other.reproduce(hierarchy.subset([0]))
    with pytest.raises(ValueError, match="got another: it draws theta"):
        raised.reproduce(Hierarchy(box_prior(), hierarchy.levels))


def test_a_level_without_a_result_is_named() -> None:
    def nothing(theta: Tensor, u: Tensor) -> Tensor:
        return theta * math.nan

    hierarchy = Hierarchy(normal_prior(), [Level(gaps), Level(nothing)])
    with pytest.raises(RuntimeError, match="all 66 runs of level 1 failed.*'raise'"):
        run_columns(hierarchy, 64, seed=0)

    def left(theta: Tensor, u: Tensor) -> Tensor:
        return torch.where(theta[:, :1] > 0, math.nan, theta)

    def right(theta: Tensor, u: Tensor) -> Tensor:
        return torch.where(theta[:, :1] <= 0, math.nan, theta)

    columns = run_columns(Hierarchy(normal_prior(), [Level(left), Level(right)]), 64, seed=0)
    with pytest.raises(ValueError, match="both level 0 and level 1: level 0 has .* of 64, level 1"):
        columns.data(failing())


def test_the_first_failure_ends_a_pilot_that_asks_for_it() -> None:
    levels = [Level(echo_seeds), Level(fails_high, batched=False)]
    with pytest.raises(RuntimeError, match="stopped at level 1.*too high") as caught:
        run_columns(Hierarchy(normal_prior(), levels), 64, seed=0, on_failure="raise")
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert "reproduce(" not in str(caught.value)


class Counted:
    """A row-by-row simulator that notes each run in a file, and dies at one of them."""

    def __init__(self, path: Path, factor: float) -> None:
        self.path, self.factor = path, factor

    def __call__(self, theta: np.ndarray, seed: int) -> np.ndarray:
        with self.path.open("a") as file:
            file.write(f"{seed}\n")
        if (self.path.parent / "stop").exists() and self.runs() == 30:
            raise KeyboardInterrupt
        return self.factor * theta

    def runs(self) -> int:
        return len(self.path.read_text().splitlines()) if self.path.exists() else 0


def test_a_store_continues_where_it_stopped(tmp_path: Path) -> None:
    simulators = [Counted(tmp_path / f"level {level}", 1.0 + level) for level in range(2)]
    levels = [Level(simulator, batched=False) for simulator in simulators]
    hierarchy = Hierarchy(normal_prior(), levels)
    store = tmp_path / "pilot"
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        run_columns(hierarchy, 38, seed=0, store=store)
    (tmp_path / "stop").unlink()
    before = simulators[0].runs()
    assert before == 30
    columns = run_columns(hierarchy, 38, seed=0, store=store)
    assert simulators[0].runs() < 2 * 40
    assert simulators[1].runs() == 40
    assert torch.equal(columns.x[1], 2 * columns.theta)
    made = [simulator.runs() for simulator in simulators]
    assert same(run_columns(hierarchy, 38, seed=0, store=store), columns, 38)
    assert [simulator.runs() for simulator in simulators] == made
    larger = run_columns(hierarchy, 50, seed=0, store=store)
    assert same(larger, columns, 38)
    assert [simulator.runs() for simulator in simulators] == [count + 12 for count in made]
    assert same(run_columns(hierarchy, 50, seed=0), larger, 50)
    with pytest.raises(ValueError, match=r"level-0.zarr' belongs to another campaign"):
        run_columns(hierarchy, 50, seed=1, store=store)


@pytest.mark.parametrize("options", [{"executor": 2}, {"on_failure": "retry", "retries": 1}])
def test_who_runs_them_and_how_often_makes_no_difference(options: dict[str, Any]) -> None:
    hierarchy = Hierarchy(normal_prior(), [Level(fails_high, batched=False)])
    columns = run_columns(hierarchy, 12, seed=0)
    assert not bool(columns.ok.all())
    assert same(run_columns(hierarchy, 12, seed=0, **options), columns, 12)


def test_run_times_where_known() -> None:
    columns = run_columns(echoing(), 16, seed=0)
    assert all(mean is not None and mean > 0 for mean in columns.seconds)
    spread, batched = columns.seconds_sd
    assert spread is not None
    assert spread > 0
    assert batched is None  # a single batch shares its time


def test_subset() -> None:
    columns = run_columns(failing(), 20, seed=0)
    part = columns.subset((0, 2))
    assert part.num_levels == 2
    assert torch.equal(part.ok, columns.ok[[0, 2]])
    assert part.x[1] is columns.x[2]
    assert part.seconds == (columns.seconds[0], columns.seconds[2])
    assert {failure.level for failure in part.failures} == {0, 1}
    assert len(part.failures) == sum(failure.level != 1 for failure in columns.failures)


def test_warnings_of_simulators_are_passed_on() -> None:
    def warns(theta: Tensor, u: Tensor) -> Tensor:
        import warnings

        warnings.warn("careful", stacklevel=1)
        return theta

    with pytest.warns(UserWarning, match="careful"):
        run_columns(Hierarchy(normal_prior(), [Level(warns)]), 8, seed=0)


def random_noise(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n)


BAD = {
    "hierarchy": (lambda: run_columns("h", 64, seed=0), TypeError, "hierarchy must be Hierarchy"),
    "few": (lambda: run_columns(failing(), 7, seed=0), ValueError, "n must be at least 8; got 7"),
    "count": (lambda: run_columns(failing(), 9.5, seed=0), TypeError, "n must be an integer"),
    "seed": (lambda: run_columns(failing(), 9, seed=-1), ValueError, "seed must lie in"),
    "policy": (
        lambda: run_columns(failing(), 9, seed=0, on_failure="no"),
        ValueError,
        "on_failure",
    ),
    "timeout": (lambda: run_columns(failing(), 9, seed=0, timeout=-1), ValueError, "timeout must"),
    "retries": (lambda: run_columns(failing(), 9, seed=0, retries=-1), ValueError, "retries must"),
    "executor": (
        lambda: run_columns(failing(), 9, seed=0, executor="x"),
        TypeError,
        "executor must",
    ),
    "store": (lambda: run_columns(failing(), 9, seed=0, store=3), TypeError, "path must be str"),
    "noise": (lambda: run_columns(echoing_at_random(), 9, seed=0), ValueError, "noise must depend"),
    "level": (lambda: columns_of_two().pairs(2), ValueError, "level must be below 2; got 2"),
    "level 0": (
        lambda: columns_of_two().pairs(0),
        ValueError,
        "level must be at least 1 for pairs",
    ),
    "coarse": (lambda: columns_of_two().pairs(1, 1), ValueError, "coarse must be below level 1"),
    "subset": (lambda: columns_of_two().subset([1, 0]), ValueError, r"ascending.*got \[1, 0\]"),
    "none": (lambda: columns_of_two().subset([]), ValueError, "levels must be ascending"),
    "text": (lambda: columns_of_two().subset("01"), TypeError, "levels must be list"),
}


def echoing_at_random() -> Hierarchy:
    return Hierarchy(normal_prior(), [Level(lambda theta, u: theta)], noise=random_noise)


def columns_of_two() -> Columns:
    return run_columns(echoing(), 8, seed=0)


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, kind, text = BAD[name]
    with pytest.raises(kind, match=text):
        call()
