"""Data in a campaign's store: read when they are used, only what is needed, the same numbers."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from sbi.utils import BoxUniform

from mlsbi.data import MultilevelData, from_store
from mlsbi.prior import as_prior
from mlsbi.simulate._rows import DONE, FAILED, PENDING, Fault, Outcome, Task
from mlsbi.simulate._store import CampaignStore

PRIOR = as_prior(BoxUniform(torch.zeros(2), torch.ones(2)))
COUNTS, EVENTS = (50, 20), ((3,), (2, 2))
ALL = [(0, "theta"), (0, "x"), (1, "theta"), (1, "x"), (1, "x_coarse")]


class FakeReader:
    """A store in memory that notes what is read."""

    def __init__(self, path="campaign.zarr", *, failed=((3, 40), (7,)), pending=((49,), ())):
        self.path, self.n, self.num_levels, self.reads = Path(path), COUNTS, 2, []
        self.manifest = {
            "seed": 5,
            "levels": [{"cost": 1.0}, {"cost": 8.0}],
            "prior": {"description": PRIOR.to_dict()},
        }
        self.opened, self.asked = 0, 0
        self._arrays = {}
        self._status = [np.full(n + 4, DONE, dtype=np.uint8) for n in COUNTS]
        generator = np.random.default_rng(0)
        for level, n in enumerate(COUNTS):
            self._status[level][list(failed[level])] = FAILED
            self._status[level][[*pending[level], *range(n, n + 4)]] = PENDING
            shapes = {"theta": (2,), "x": EVENTS[level], "seconds": ()}
            shapes |= {"x_coarse": EVENTS[level - 1]} if level else {}
            bad = self._status[level] != DONE
            for name, shape in shapes.items():
                values = generator.random((n + 4, *shape), dtype=np.float32)
                values[bad] = np.nan
                self._arrays[level, name] = values

    def status(self, level):
        return self._status[level]

    def event_shape(self, level):
        return EVENTS[level]

    def read(self, level, name, rows):
        assert isinstance(rows, np.ndarray)
        assert (np.diff(rows) > 0).all()
        self.reads.append((level, name, rows.tolist()))
        return self._arrays[level, name][rows]

    def failures(self):
        self.asked += 1
        return [
            {
                "level": level,
                "row": int(row),
                "simulator": level,
                "kind": "exception",
                "message": "boom",
                "attempts": 1,
                "theta": [0.5, 0.25],
                "row_seed": 9,
            }
            for level in range(2)
            for row in np.flatnonzero(self._status[level] == FAILED)
        ]


def lazy(reader, **options):
    return from_store(reader, prior=PRIOR, eager_bytes=0, **options)


def tensors(data):
    levels = range(data.num_levels)
    arrays = [data.theta(i) for i in levels] + [data.x(i) for i in levels]
    return arrays + [data.x_coarse(i) for i in levels if i]


def assert_equal(first, second):
    for a, b in zip(tensors(first), tensors(second), strict=True):
        assert torch.equal(a, b)
        assert a.dtype == b.dtype == torch.float32


def pickled(data, reader, monkeypatch):
    """Through a pickle, as in another process: the store is opened again by its path."""

    def read_store(path):
        assert path == reader.path.absolute()
        reader.opened += 1
        return reader

    store = SimpleNamespace(read_store=read_store)
    monkeypatch.setitem(sys.modules, "mlsbi.simulate._store", store)
    return pickle.loads(pickle.dumps(data))


def test_finished_rows_come_in_order_and_failed_ones_count_as_dropped():
    reader = FakeReader()
    data = from_store(reader, prior=PRIOR)
    assert (data.n, data.dropped, data.costs) == ((47, 19), (2, 1), (1.0, 8.0))
    kept = [i for i in range(50) if i not in {3, 40, 49}]
    assert torch.equal(data.x(0), torch.from_numpy(reader._arrays[0, "x"][kept]))
    assert [(f.level, f.row, f.seed) for f in data.failures] == [(0, 3, 5), (0, 40, 5), (1, 7, 5)]
    means = [np.nanmean(reader._arrays[i, "seconds"].astype(np.float64)) for i in range(2)]
    assert data.seconds == pytest.approx(means, rel=1e-12)


def test_lazy_and_eager_are_the_same():
    eager, late = from_store(FakeReader(), prior=PRIOR), lazy(FakeReader())
    assert_equal(late, eager)
    assert repr(late) == repr(eager)
    assert (late.seconds, late.cost) == (eager.seconds, eager.cost)
    assert list(late.failures) == list(eager.failures)
    assert late.failures[:1] == eager.failures[:1]
    for ours, theirs in zip(late.split(0.3, seed=1), eager.split(0.3, seed=1), strict=True):
        assert_equal(ours, theirs)
    assert_equal(late.top(), eager.top())


def test_eager_data_need_the_store_no_more():
    reader = FakeReader()
    data = from_store(reader, prior=PRIOR)
    reads, asked = len(reader.reads), reader.asked
    tensors(data)
    assert (len(data.failures), len(data.seconds)) == (3, 2)
    assert (len(reader.reads), reader.asked) == (reads, asked)


def test_size_decides_what_is_read_at_once():
    size = 4 * (47 * (2 + 3) + 19 * (2 + 4 + 3))
    at_once, later = FakeReader(), FakeReader()
    from_store(at_once, prior=PRIOR, eager_bytes=size)
    from_store(later, prior=PRIOR, eager_bytes=size - 1)
    assert at_once.reads
    assert not later.reads


def test_numbers_about_the_data_read_nothing():
    reader = FakeReader()
    data = lazy(reader)
    part = data.subset([[4, 2], None]).split(0.5, seed=0)[0].top()
    for each in (data, part):
        _ = (each.n, repr(each), each.cost, each.dropped, each.event_shape(0), repr(each.failures))
    assert not reader.reads
    assert reader.asked == 0
    assert "level 1: 19 pairs, x (2, 2), cost 8 a run, 1 dropped" in repr(data)


def test_each_array_is_read_once():
    reader = FakeReader()
    data = lazy(reader)
    for _ in range(2):
        tensors(data)
    assert sorted((level, name) for level, name, _ in reader.reads) == ALL
    tensors(data.subset([[0], [1]]))
    assert len(reader.reads) == len(ALL)


def test_a_subset_reads_its_rows_and_no_others():
    reader = FakeReader()
    part = lazy(reader).subset([[10, 2, 3, 3], [7]])
    x = part.x(0)
    assert reader.reads == [(0, "x", [2, 4, 11])]  # row 3 of the store failed
    assert torch.equal(x, torch.from_numpy(reader._arrays[0, "x"][[11, 2, 4, 4]]))
    assert torch.equal(part.subset([[1], None]).theta(0), lazy(reader).theta(0)[[2]])


def test_fewer_rows_than_the_store_holds():
    data = lazy(FakeReader(), n=(10, 5))
    assert (data.n, data.dropped) == ((9, 5), (1, 0))
    assert [failure.row for failure in data.failures] == [3]
    assert_equal(data, lazy(FakeReader()).subset([list(range(9)), list(range(5))]))


def test_without_failures_there_is_nothing_to_ask_for():
    data = lazy(FakeReader(failed=((), ()), pending=((), ())))
    assert (data.n, data.dropped, data.failures) == (COUNTS, (0, 0), ())


def test_the_finest_level_keeps_its_own_failures():
    for data in (lazy(FakeReader()), from_store(FakeReader(), prior=PRIOR)):
        top = data.top()
        assert [(f.level, f.row) for f in top.failures] == [(1, 7)]
        assert list(top.top().failures) == list(top.failures)
        assert top.seconds == data.seconds[1:]


def test_a_row_that_succeeded_since_is_no_failure_of_these_data():
    reader = FakeReader()
    data = lazy(reader)
    reader._status[0][40] = DONE
    reader._status[0][5] = FAILED
    assert [(f.level, f.row) for f in data.failures] == [(0, 3), (1, 7)]


def test_pickles_hold_the_path_only_and_open_the_store_again(monkeypatch):
    reader = FakeReader()
    data = lazy(reader)
    size = len(pickle.dumps(data))
    expected = tensors(data)
    assert len(pickle.dumps(data)) == size
    again = pickled(data, reader, monkeypatch)
    assert reader.opened == 0
    for a, b in zip(tensors(again), expected, strict=True):
        assert torch.equal(a, b)
    assert (again.seconds, list(again.failures)) == (data.seconds, list(data.failures))
    assert reader.opened == 1


def test_unknown_costs_and_seconds():
    reader = FakeReader()
    reader.manifest["levels"][1]["cost"] = None
    reader._arrays[1, "seconds"][:] = np.nan
    data = lazy(reader)
    assert data.costs is None
    assert data.seconds[0] > 0
    assert data.seconds[1] is None


def damage(name, value, *, row=3, level=1):
    reader = FakeReader()
    reader._arrays[level, name][row] = value
    return reader


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (damage("x", np.inf), "level 1: x .*1 rows.*damaged.*simulate again"),
        (damage("x_coarse", np.nan), "level 1: x_coarse .*damaged"),
        (damage("theta", np.nan, row=4, level=0), "level 0: theta .*damaged"),
        (damage("theta", 7.0), "level 1: theta must lie in the prior's support.*row 3"),
        (FakeReader(failed=((), range(20))), "level 1 has no finished rows yet, of 20"),
    ],
)
@pytest.mark.parametrize("eager_bytes", [0, 2**20])
def test_damage_is_noticed_when_it_is_read(reader, message, eager_bytes):
    with pytest.raises(ValueError, match=f"store .*campaign.zarr.*{message}"):
        tensors(from_store(reader, prior=PRIOR, eager_bytes=eager_bytes))


def test_a_prior_of_another_dimension_is_refused():
    prior = as_prior(BoxUniform(torch.zeros(3), torch.ones(3)))
    with pytest.raises(ValueError, match=r"theta has shape \(47, 2\).*prior 3.*Pass the prior"):
        from_store(FakeReader(), prior=prior)


def test_load_takes_a_campaign_store_and_warns_of_failures(tmp_path, monkeypatch):
    reader = FakeReader(tmp_path / "run.zarr")
    store = SimpleNamespace(read_store=lambda path: reader, is_store=lambda path: True)
    monkeypatch.setitem(sys.modules, "mlsbi.simulate._store", store)
    with pytest.warns(UserWarning, match=r"level 0: 2 of 49, level 1: 1 of 20.*bias") as caught:
        data = MultilevelData.load(tmp_path / "run.zarr")
    assert caught[0].filename == __file__
    assert_equal(data, from_store(reader, prior=PRIOR))
    theta = data.theta(0)
    assert torch.equal(data.prior.log_prob(theta), PRIOR.log_prob(theta))
    reader.manifest["prior"]["description"] = {"type": "custom", "family": "Mine"}
    with pytest.raises(ValueError, match="Mine.*prior="):
        MultilevelData.load(tmp_path / "run.zarr")
    with pytest.warns(UserWarning, match="left out"):
        assert MultilevelData.load(tmp_path / "run.zarr", prior=PRIOR).n == data.n


@pytest.fixture
def campaign(tmp_path):
    """A real store that is still written: 30 of 32 rows are done, one failed; chunks of 4 rows."""
    path, generator = tmp_path / "run.zarr", np.random.default_rng(0)
    manifest = {**FakeReader().manifest, "levels": [{"cost": None}]}
    with CampaignStore.open(path, manifest=manifest, n=[32], noise_seeds=True, theta_dim=2) as own:
        for rows in (np.arange(16, 31), np.arange(16)):
            ok = rows != 5
            theta, x = (generator.random((len(rows), k), dtype=np.float32) for k in (2, 3))
            fault = Fault(0, "exception", "boom")
            own.add(
                Outcome(
                    task=Task(0, rows),
                    theta=theta,
                    row_seed=rows,
                    ok=ok,
                    x=x[ok],
                    x_coarse=None,
                    seconds=np.full(len(rows), 15.0, dtype=np.float32),
                    seconds_coarse=None,
                    faults={int(i): fault for i in np.flatnonzero(~ok)},
                )
            )
        own.flush()
        yield path


def test_a_campaign_that_is_running_is_read(campaign):
    with pytest.warns(UserWarning, match="level 0: 1 of 31"):
        data = MultilevelData.load(campaign)
    assert (data.n, data.dropped, data.seconds) == ((30,), (1,), (15.0,))
    assert [(f.row, f.row_seed, f.message, f.seed) for f in data.failures] == [(5, 5, "boom", 5)]
    late = lazy(campaign)
    assert_equal(late, data)
    assert_equal(pickle.loads(pickle.dumps(late)), data)


def test_a_store_is_not_overwritten_by_saved_data(campaign):
    data = lazy(campaign)
    with pytest.raises(ValueError, match="something other than saved data.*Choose another"):
        data.save(campaign, overwrite=True)
    assert lazy(campaign).n == (30,)


def test_a_subset_needs_the_files_of_its_rows_only(campaign):
    part, data = lazy(campaign).subset([[29, 9, 10]]), lazy(campaign)
    expected = data.x(0)[[29, 9, 10]]  # rows 30, 10 and 11 of the store
    for file in (campaign / "level_0" / "x").glob("c*"):
        if file.name not in {"c.7.0", "c.2.0"}:
            file.unlink()
    assert torch.equal(part.x(0), expected)
    with pytest.raises(ValueError, match=r"c\.0\.0.*simulate again"):
        lazy(campaign).x(0)


def test_failures_and_seconds_are_saved(tmp_path, monkeypatch):
    data = lazy(FakeReader())
    data.save(tmp_path / "runs")
    again = MultilevelData.load(tmp_path / "runs")
    assert_equal(again, data)
    assert (again.failures, again.seconds) == (tuple(data.failures), data.seconds)
    monkeypatch.setattr("mlsbi.data_io._FAILURES", 2)
    for name, source in (("a", data), ("b", None)):
        (source or MultilevelData.load(tmp_path / "a")).save(tmp_path / name)
        few = MultilevelData.load(tmp_path / name)
        assert few.failures == tuple(data.failures[:2])
        assert zarr.open_group(tmp_path / name, mode="r").attrs["num_failures"] == 3
