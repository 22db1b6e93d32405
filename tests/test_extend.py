"""Runs that are there already: some levels only, spread of run times, joined data, `extend`."""

from __future__ import annotations

import pickle
import sys
import time
from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch

from campaign_models import good_batch, good_row, hierarchy, same
from mlsbi import Hierarchy, Level, MultilevelData, simulate
from mlsbi._run_times import RunTime
from mlsbi.data import from_store
from mlsbi.simulate import DONE, read_store
from tiny import linear_data


def test_a_hierarchy_of_some_levels_keeps_their_order_prior_and_noise():
    def noise(n, generator):
        return torch.rand(n, generator=generator)

    whole = Hierarchy(
        hierarchy(good_row).prior,
        [Level(good_batch, cost=float(i + 1), name=f"level {i}") for i in range(4)],
        noise=noise,
    )
    for levels in ([0, 2], (0, 2), np.array([0, 2]), torch.tensor([0, 2]), range(0, 4, 2)):
        part = whole.subset(levels)
        assert part.levels == (whole.levels[0], whole.levels[2])
        assert part.costs == (1.0, 3.0)
        assert part.prior is whole.prior
        assert not part.row_seeds
        for ours, theirs in zip(
            part.draw(3, torch.Generator().manual_seed(0)),
            whole.draw(3, torch.Generator().manual_seed(0)),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
    assert whole.subset([3]).num_levels == 1
    assert whole.subset(range(4)).levels == whole.levels


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        (1, TypeError, "levels must be list or tuple or range; got int.*such as"),
        ("01", TypeError, "levels must be .*got str"),
        ([], ValueError, "levels must have at least one entry; got none"),
        ([0.0], TypeError, "level must be an integer"),
        ([True], TypeError, "level must be an integer"),
        ([0, 2], ValueError, "level must be below 2; got 2"),
        ([-1], ValueError, "level must be at least 0"),
        ([1, 0], ValueError, r"levels must be ascending and distinct; got \[1, 0\]"),
        ([1, 1], ValueError, r"levels must be ascending and distinct; got \[1, 1\]"),
    ],
)
def test_levels_that_make_no_hierarchy_are_refused(levels, error, message):
    with pytest.raises(error, match=message):
        hierarchy(good_row, good_row).subset(levels)


# --- Spread of run times ---------------------------------------------------------------------


def sleepy(pauses):
    """Row by row; the runs take these times, in turn."""
    left = cycle(pauses)

    def simulator(theta, seed):
        time.sleep(next(left))
        return good_row(theta, seed)

    return simulator


def test_a_steady_simulator_spreads_less_than_an_unsteady_one():
    data = simulate(hierarchy(sleepy([0.0]), sleepy([0.0, 0.03])), (20, 6), seed=0)
    steady, unsteady = data.seconds_sd
    assert 0 <= steady < unsteady
    assert simulate(hierarchy(good_row), (1,), seed=0).seconds_sd == (None,)
    assert data.top().seconds_sd == (unsteady,)
    assert data.subset([[0], None]).seconds_sd == data.seconds_sd
    assert linear_data((5, 3)).seconds_sd is None


@pytest.mark.parametrize("eager_bytes", [0, 2**20])
def test_a_stores_spread_is_that_of_its_rows(tmp_path, eager_bytes, monkeypatch):
    monkeypatch.setattr("mlsbi._run_times._PIECE", 7)  # the last piece holds a single row
    path = tmp_path / "run.zarr"
    data = simulate(hierarchy(good_row, good_row), (50, 1), seed=0, store=path)
    reader = read_store(path)
    late = from_store(reader, prior=data.prior, eager_bytes=eager_bytes)
    seconds = reader.read(0, "seconds", np.arange(50)).astype(np.float64)
    for each in (data, late, pickle.loads(pickle.dumps(late))):
        assert each.seconds[0] == pytest.approx(seconds.mean(), rel=1e-12)
        assert each.seconds_sd[0] == pytest.approx(seconds.std(ddof=1), rel=1e-9)
        assert each.seconds_sd[1] is None
    assert late.top().seconds_sd == (None,)
    assert MultilevelData.load(path).seconds_sd == data.seconds_sd


def test_run_times_of_parts_add_up_to_those_of_the_whole():
    seconds = np.random.default_rng(0).gamma(2.0, size=100)
    seconds[[3, 50]] = np.nan
    whole = RunTime.of(seconds)
    known = seconds[np.isfinite(seconds)]
    assert (whole.count, whole.mean) == (98, pytest.approx(known.mean()))
    for cuts in ([50], [0, 1, 2, 30], [99]):
        parts = [RunTime.of(part) for part in np.split(seconds, cuts)]
        total = sum(parts, RunTime(0, None, None))
        assert total.count == 98
        assert total.mean == pytest.approx(whole.mean, rel=1e-12)
        assert total.sd == pytest.approx(known.std(ddof=1), rel=1e-12)
    unknown = RunTime(5, 1.0, None) + whole
    assert (unknown.count, unknown.sd) == (103, None)


# --- Runs that exist already -----------------------------------------------------------------


class Calls:
    """`good_row` that counts its calls, and may raise at one of them."""

    def __init__(self, stop_at=0, error=ValueError):
        self.stop_at, self.error, self.calls = stop_at, error, 0

    def __call__(self, theta, seed):
        self.calls += 1
        if self.calls == self.stop_at:
            raise self.error("stop")
        return good_row(theta, seed)


OWN = hierarchy(good_row, good_row)
EARLIER = simulate(OWN, (20, 8), seed=7)


@pytest.fixture(params=[False, True], ids=["memory", "store"])
def store(request, tmp_path):
    """Where new rows go."""
    return tmp_path / "run.zarr" if request.param else None


@pytest.mark.parametrize("executor", [None, 2])
def test_only_missing_rows_are_run_and_they_come_last(store, executor):
    data = simulate(OWN, (50, 11), seed=0, extend=EARLIER, store=store, executor=executor)
    assert data.n == (50, 11)
    assert same(data, EARLIER.joined(simulate(OWN, (30, 3), seed=0)))
    assert (data.costs, data.dropped) == ((1.0, 2.0), (0, 0))
    if store is not None:
        assert read_store(store).n == (30, 3)


@pytest.mark.parametrize("n", [(50, 8), (20, 11), (50, 2), (3, 11), (20, 8), (1, 1)])
def test_levels_with_rows_enough_run_nothing(n, store):
    coarse, fine = Calls(), Calls()
    for again in range(2):
        own = hierarchy(coarse, fine)
        data = simulate(own, n, seed=0, extend=EARLIER, store=store, progress=again == 1)
        new = [max(asked - have, 0) for asked, have in zip(n, EARLIER.n, strict=True)]
        runs = 1 + again if store is None else 1
        assert (coarse.calls, fine.calls) == (runs * sum(new), runs * new[1])
        assert data.n == tuple(max(asked, have) for asked, have in zip(n, EARLIER.n, strict=True))
        whole = simulate(OWN, (30, 30), seed=0)
        for level, count in enumerate(new):
            assert torch.equal(data.x(level)[: EARLIER.n[level]], EARLIER.x(level))
            assert torch.equal(data.x(level)[EARLIER.n[level] :], whole.x(level)[:count])
        assert all(seconds > 0 for seconds in data.seconds)


def test_with_nothing_to_run_the_same_call_is_the_same_data(store):
    kept = simulate(OWN, EARLIER.n, seed=7, extend=EARLIER, store=store)
    assert same(kept, EARLIER)
    if store is not None:
        with pytest.raises(ValueError, match=r"level 0 has no rows.*extend=.*Call simulate again"):
            MultilevelData.load(store)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_campaign_that_died_goes_on(error, tmp_path):
    path = tmp_path / "run.zarr"
    dies = Calls(25, error)
    with pytest.raises((KeyboardInterrupt, RuntimeError), match="stop"):
        simulate(hierarchy(dies, good_row), (60, 11), seed=0, extend=EARLIER, store=path)
    done = [int((read_store(path).status(level) == DONE).sum()) for level in range(2)]
    assert 0 < sum(done) < 43
    coarse = Calls()
    data = simulate(
        hierarchy(coarse, good_row), (60, 11), seed=0, extend=EARLIER, store=path,
        allow_changes=True,
    )  # fmt: skip
    assert coarse.calls == 43 - sum(done)
    assert same(data, EARLIER.joined(simulate(OWN, (40, 3), seed=0)))


def test_a_store_grows_and_gives_its_first_rows(tmp_path):
    path = tmp_path / "run.zarr"
    calls = Calls()
    own = hierarchy(calls, good_row)
    whole = simulate(OWN, (2000, 30), seed=0)

    def check(n, new, *, extend=EARLIER, runs):
        before = calls.calls
        data = simulate(own, n, seed=0, extend=extend, store=path)
        part = whole.subset([range_list(new[0]), range_list(new[1])])
        assert same(data, part if extend is None else extend.joined(part))
        assert calls.calls - before == runs

    check((5, 3), (5, 3), extend=None, runs=8)
    check((30, 11), (10, 3), runs=5)
    check((1500, 20), (1480, 12), runs=1479)
    check((100, 9), (80, 1), runs=0)
    check((100, 12), (100, 12), extend=None, runs=0)
    larger = EARLIER.joined(simulate(OWN, (10, 10), seed=3))
    check((100, 20), (70, 2), extend=larger, runs=0)
    assert read_store(path).n == (1480, 12)


def range_list(n):
    return list(range(n))


def test_large_sets_stay_in_their_stores(tmp_path, monkeypatch):
    path, below = tmp_path / "run.zarr", tmp_path / "earlier.zarr"
    earlier = simulate(OWN, EARLIER.n, seed=7, store=below)
    earlier = from_store(below, prior=earlier.prior, eager_bytes=0)
    module = sys.modules["mlsbi.simulate._run"]  # the package has a function of this name
    monkeypatch.setattr(module, "from_store", partial(from_store, eager_bytes=0))
    data = simulate(OWN, (50, 9), seed=0, extend=earlier, store=path)
    for folder in (path, below):
        folder.rename(folder.with_suffix(".away"))
    with pytest.raises(ValueError, match="holds no campaign|simulate again|missing"):
        pickle.loads(pickle.dumps(data)).x(0)
    for folder in (path, below):
        folder.with_suffix(".away").rename(folder)
    assert same(data, EARLIER.joined(simulate(OWN, (30, 1), seed=0)))


def failing_row(theta, seed):
    if seed % 4 == 0:
        raise ArithmeticError("no solution")
    return good_row(theta, seed)


def test_failures_are_those_of_both(store):
    own = hierarchy(failing_row, failing_row)
    options = {"on_failure": "drop", "max_failed": 1.0}
    with pytest.warns(UserWarning, match="left out"):
        earlier = simulate(own, (40, 20), seed=7, **options)
    with pytest.warns(UserWarning, match=r"level 0: \d+ of 25, level 1: \d+ of"):
        data = simulate(
            own, (earlier.n[0] + 25, earlier.n[1] + 9), seed=0, extend=earlier, store=store,
            **options,
        )  # fmt: skip
    with pytest.warns(UserWarning, match="left out"):
        new = simulate(own, (25, 9), seed=0, **options)
    assert same(data, earlier.joined(new))
    assert tuple(data.failures) == (*earlier.failures, *new.failures)
    assert data.dropped == tuple(a + b for a, b in zip(earlier.dropped, new.dropped, strict=True))
    assert sum(new.dropped) > 3


def always_fails(theta, seed):
    raise ArithmeticError("no solution")


def test_max_failed_is_a_share_of_the_rows_that_are_run(store):
    own = hierarchy(good_row, failing_row)
    options = {"seed": 0, "extend": EARLIER, "store": store, "on_failure": "drop"}
    with pytest.raises(RuntimeError, match=r"\d of 9 runs of level 1 failed, more than max_failed"):
        simulate(own, (20, 17), max_failed=0.1, **options)
    with pytest.warns(UserWarning, match=r"level 0: 0 of 0, level 1: \d of 9"):
        data = simulate(own, (20, 17), max_failed=0.9, **options)
    assert data.n[1] + data.dropped[1] == 17


def test_new_runs_that_all_fail_leave_the_earlier_ones(store):
    """As in an adaptive run whose last round pays for one more row."""
    own = hierarchy(always_fails, good_row)
    options = {"seed": 0, "extend": EARLIER, "store": store, "on_failure": "drop"}
    with pytest.warns(UserWarning, match="level 0: 2 of 2"):
        data = simulate(own, (22, 8), max_failed=1.0, **options)
    # a store notes a level's failures with its first result: without one they run again
    assert (data.n, data.dropped) == (EARLIER.n, (2 if store is None else 0, 0))
    assert same(data, EARLIER)


def wide_row(theta, seed):
    return np.concatenate([good_row(theta, seed), good_row(theta, seed)])


@pytest.mark.parametrize("on_failure", ["raise", "drop"])
def test_another_event_shape_ends_the_campaign_early(store, on_failure):
    fine = Calls()

    def wide(theta, seed):
        return np.concatenate([fine(theta, seed), np.zeros(2)])

    with pytest.raises(
        ValueError, match=r"extend must have x of event shape \(5,\) at level 1, .*got \(3,\)"
    ):
        simulate(
            hierarchy(good_row, wide), (400, 100), seed=0, extend=EARLIER, store=store,
            on_failure=on_failure,
        )  # fmt: skip
    assert fine.calls < 92
    if store is not None:  # what has been run is kept
        coarse = Calls()
        data = simulate(
            hierarchy(coarse, good_row), (400, 100), seed=0, extend=EARLIER, store=store,
            allow_changes=True, retry_failed=True,
        )  # fmt: skip
        assert same(data, EARLIER.joined(simulate(OWN, (380, 92), seed=0)))


def test_a_store_of_another_event_shape_is_refused_before_anything_runs(tmp_path):
    calls = Calls()

    def wide(theta, seed):
        return np.tile(calls(theta, seed), 2)

    own = hierarchy(good_row, wide)
    kept = simulate(own, (5, 5), seed=0, store=tmp_path / "run.zarr")
    with pytest.raises(
        ValueError, match=r"extend must have x of event shape \(6,\) at level 1, as"
    ):
        simulate(own, (90, 90), seed=0, extend=EARLIER, store=tmp_path / "run.zarr")
    assert calls.calls == 5
    assert same(simulate(own, (5, 5), seed=0, store=tmp_path / "run.zarr"), kept)


def test_one_run_of_another_shape_costs_its_row(store):
    """Also where it is the first, and alone: the runs that are there say which shape is right."""
    first = int(simulate(OWN, (1, 1), seed=0).theta(1)[0, 0] * 1e6)

    def odd(theta, seed):
        return wide_row(theta, seed) if int(theta[0] * 1e6) == first else good_row(theta, seed)

    with pytest.warns(UserWarning, match="level 1: 1 of 30"):
        data = simulate(
            hierarchy(good_row, odd), (20, 38), seed=0, extend=EARLIER, store=store,
            on_failure="drop",
        )  # fmt: skip
    assert data.n == (20, 37)
    assert [(f.row, f.kind) for f in data.failures] == [(0, "shape")]
    assert "the runs in extend had (3,)" in data.failures[0].message


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"extend": [EARLIER]}, TypeError, "extend must be MultilevelData; got list"),
        ({"extend": EARLIER.top()}, ValueError, r"extend must have 2 level\(s\), as the hier.*1"),
        ({"extend": linear_data()}, ValueError, r"extend must have a prior with low \[0.0, 0.0\]"),
        ({"seed": 7}, ValueError, "seed must be another than that of the runs in extend; got 7"),
        (
            {"hierarchy": Hierarchy(OWN.prior, [Level(good_row, cost=c) for c in (1.0, 5.0)])},
            ValueError,
            r"extend must have the costs \(1.0, 5.0\), as the hierarchy, or None; got \(1.0, 2.0",
        ),
    ],
)
def test_runs_that_do_not_fit_are_refused(change, error, message, tmp_path):
    arguments = {"hierarchy": OWN, "n": (90, 90), "seed": 0, "extend": EARLIER} | change
    with pytest.raises(error, match=message):
        simulate(**arguments, store=tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr").exists()


def test_seeds_are_known_of_data_however_they_were_put_together(tmp_path):
    both = EARLIER.joined(simulate(OWN, (3, 3), seed=1))
    for data in (both.split(0.5, seed=0)[1], simulate(OWN, (30, 12), seed=1, extend=EARLIER)):
        for seed in (1, 7):
            with pytest.raises(ValueError, match=f"got {seed}, whose rows would be there twice"):
                simulate(OWN, (90, 90), seed=seed, extend=data)


def test_costs_that_were_measured_are_kept():
    untold = Hierarchy(OWN.prior, [Level(good_row, batched=False)] * 2)
    data = simulate(untold, (25, 9), seed=0, extend=EARLIER)
    assert (data.n, data.costs) == ((25, 9), EARLIER.costs)
