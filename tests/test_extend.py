"""Runs that are there already: some levels only, spread of run times, joined data, `extend`."""

from __future__ import annotations

import pickle
import time
from itertools import cycle

import numpy as np
import pytest
import torch

from campaign_models import good_batch, good_row, hierarchy
from mlsbi import Hierarchy, Level, MultilevelData, simulate
from mlsbi._run_times import RunTime
from mlsbi.data import from_store
from mlsbi.simulate import read_store
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
