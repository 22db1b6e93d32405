"""Joined data: the rows of one set, then those of the other; nothing is read before its time."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, Uniform

from campaign_models import good_row, hierarchy
from mlsbi import MultilevelData, simulate
from mlsbi.data import from_store
from mlsbi.simulate import read_store
from tiny import linear_data


def tensors(data):
    """Every array of a data set, by name."""
    arrays = {}
    for level in range(data.num_levels):
        arrays[level, "theta"], arrays[level, "x"] = data.theta(level), data.x(level)
        if level:
            arrays[level, "x_coarse"] = data.x_coarse(level)
    return arrays


def assert_is_both(whole, first, second):
    """Rows of the first, then rows of the second, bit for bit."""
    first, second = tensors(first), tensors(second)
    for name, array in tensors(whole).items():
        assert torch.equal(array, torch.cat([first[name], second[name]]))
        assert array.dtype == torch.float32


def in_memory(n, seed):
    return simulate(hierarchy(good_row, good_row), n, seed=seed)


@pytest.fixture
def stored(tmp_path):
    """Data in a store of their own, nothing read yet; and what was read of each store."""

    def make(n, seed):
        path = tmp_path / f"{seed}.zarr"
        prior = simulate(hierarchy(good_row, good_row), n, seed=seed, store=path).prior
        reader = read_store(path)
        plain = reader.read

        def read(level, name, rows):
            make.reads.append((seed, level, name, len(rows)))
            return plain(level, name, rows)

        reader.read = read
        return from_store(reader, prior=prior, eager_bytes=0)

    make.reads = []
    return make


@pytest.mark.parametrize("late", [(False, False), (True, False), (False, True), (True, True)])
def test_joined_rows_are_the_rows_of_both(late, stored):
    first = (stored if late[0] else in_memory)((30, 7), 0)
    second = (stored if late[1] else in_memory)((5, 2), 1)
    whole = first.joined(second)
    assert not stored.reads
    assert (whole.n, whole.num_levels, whole.event_shape(1)) == ((35, 9), 2, (3,))
    assert (whole.costs, whole.dropped, whole.cost) == ((1.0, 2.0), (0, 0), 35 + 9 * 3.0)
    assert "level 1: 9 pairs" in repr(whole)
    assert not stored.reads
    again = pickle.loads(pickle.dumps(whole))
    assert_is_both(whole, in_memory((30, 7), 0), in_memory((5, 2), 1))
    assert_is_both(again, in_memory((30, 7), 0), in_memory((5, 2), 1))
    reads = len(stored.reads)
    assert reads == 5 * sum(late)
    tensors(whole)
    assert len(stored.reads) == reads


def test_parts_of_joined_data_are_parts_of_the_rows(stored):
    late = stored((30, 7), 0).joined(in_memory((5, 2), 1)).joined(stored((11, 4), 2))
    eager = in_memory((30, 7), 0).joined(in_memory((5, 2), 1)).joined(in_memory((11, 4), 2))
    picks = [[45, 0, 31, 31, 2, 40], [12, 8]]
    for read_before in (False, True):
        if read_before:
            tensors(late)
        for change in (
            lambda d: d.subset(picks),
            lambda d: d.subset(picks).subset([[5, 0, 1], None]),
            lambda d: d.subset([[33, 34], None]),
            lambda d: d.split(0.3, seed=1)[1],
            lambda d: d.top(),
            lambda d: d.subset([None, [12, 0]]).top().subset([[1, 0]]),
        ):
            ours, theirs = tensors(change(late)), tensors(change(eager))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_part_of_joined_data_reads_its_own_rows_only(stored):
    whole = stored((30, 7), 0).joined(stored((11, 4), 1))
    whole.subset([[40, 35], None]).x(0)
    assert stored.reads == [(1, 0, "x", 2)]
    whole.theta(0)
    whole.subset([[40, 2], None]).theta(0)
    assert [read[2] for read in stored.reads] == ["x", "theta", "theta"]


def test_joining_leaves_both_sets_as_they_are(stored):
    first, second = stored((30, 7), 0), stored((5, 2), 1)
    theta = first.theta(0)
    whole = first.joined(second)
    tensors(whole)
    assert first.theta(0) is theta
    assert_is_both(whole, first, second)


def failing_row(theta, seed):
    if seed % 4 == 0:
        raise ArithmeticError("no solution")
    return good_row(theta, seed)


def with_failures(seed, store=None):
    with pytest.warns(UserWarning, match="left out"):
        return simulate(
            hierarchy(failing_row, failing_row), (40, 20), seed=seed, store=store,
            on_failure="drop", max_failed=1.0,
        )  # fmt: skip


@pytest.mark.parametrize("late", [False, True])
def test_failures_add_up_in_order(late, tmp_path):
    first, second = with_failures(0, tmp_path / "a"), with_failures(1, tmp_path / "b")
    expected = (*first.failures, *second.failures)
    dropped = tuple(a + b for a, b in zip(first.dropped, second.dropped, strict=True))
    if late:
        first = from_store(tmp_path / "a", prior=first.prior, eager_bytes=0)
    whole = first.joined(second)
    assert isinstance(whole.failures, tuple) != late
    assert whole.dropped == dropped
    assert len(whole.failures) == sum(dropped) > 5
    assert tuple(whole.failures) == whole.failures[:] == expected
    assert (whole.failures[-1], repr(whole.failures)[:1]) == (expected[-1], "<" if late else "(")
    assert tuple(whole.top().failures) == tuple(f for f in expected if f.level == 1)


@pytest.mark.parametrize("late", [False, True])
def test_times_are_those_of_all_runs(late, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    parts = [
        simulate(hierarchy(good_row), (n,), seed=n, store=path)
        for n, path in zip((30, 8), paths, strict=True)
    ]
    seconds = np.concatenate(
        [
            read_store(path).read(0, "seconds", np.arange(n))
            for n, path in zip((30, 8), paths, strict=True)
        ]
    ).astype(np.float64)
    if late:
        parts = [from_store(path, prior=parts[0].prior, eager_bytes=0) for path in paths]
    for whole in (parts[0].joined(parts[1]), pickle.loads(pickle.dumps(parts[1].joined(parts[0])))):
        assert whole.seconds == pytest.approx((seconds.mean(),), rel=1e-9)
        assert whole.seconds_sd == pytest.approx((seconds.std(ddof=1),), rel=1e-9)
    untimed = MultilevelData.from_arrays(parts[0].prior, [tuple(tensors(parts[0]).values())])
    assert untimed.joined(untimed).seconds is None
    for whole in (untimed.joined(parts[0]), parts[0].joined(untimed)):
        assert (whole.seconds, whole.seconds_sd) == (parts[0].seconds, parts[0].seconds_sd)
        assert whole.costs == (1.0,)


def under(prior, *, costs=None):
    """Two levels, theta drawn from anywhere, under a prior that allows it."""
    theta = torch.linspace(0.1, 0.9, 6).reshape(3, 2)
    levels = [(theta, theta), (theta, theta, theta)]
    return MultilevelData.from_arrays(prior, levels, costs=costs)


ZEROS, ONES = torch.zeros(2), torch.ones(2)


def test_a_prior_may_be_written_in_another_way():
    box = hierarchy(good_row).prior
    for prior in (Independent(Uniform(ZEROS, ONES), 1), [Uniform(0.0, 1.0)] * 2):
        assert under(box).joined(under(prior)).n == (6, 6)
        assert under(prior).joined(under(box)).prior.dim == 2


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            Independent(Normal(ZEROS, ONES), 1),
            Independent(Normal(ZEROS, 1.1 * ONES), 1),
            "other must have the prior Independent.*as these data; got .*density differs",
        ),
        (
            Independent(Uniform(ZEROS, ONES), 1),
            Independent(Uniform(ZEROS, 3 * ONES), 1),
            r"prior with high \[1.0, 1.0\], as these data; got \[3.0, 3.0\].",
        ),
        (
            Independent(Uniform(ZEROS, ONES), 1),
            Independent(Uniform(-ONES, ONES), 1),
            r"prior with low \[0.0, 0.0\], as these data; got \[-1.0, -1.0\]",
        ),
    ],
)
def test_another_prior_is_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        under(first).joined(under(second))


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (None, TypeError, "other must be MultilevelData; got NoneType.*mlsbi.simulate"),
        (linear_data((5,)), ValueError, r"must have 2 level\(s\), as these data; got 1"),
        (
            linear_data((5, 3), event=(2, 2)),
            ValueError,
            r"event shape \(3,\) at level 0, as these data; got \(2, 2\)",
        ),
        (linear_data((5, 3), costs=[1.0, 9.0]), ValueError, r"costs \(1.0, 8.0\).*got \(1.0, 9.0"),
    ],
)
def test_data_that_do_not_fit_are_refused(other, error, message):
    with pytest.raises(error, match=message):
        linear_data((5, 3), costs=[1.0, 8.0]).joined(other)


def test_data_with_other_parameters_are_refused():
    prior = Independent(Uniform(torch.zeros(3), torch.ones(3)), 1)
    data = [(torch.rand(4, 3), torch.zeros(4, 3)), (torch.rand(4, 3), *[torch.zeros(4, 3)] * 2)]
    with pytest.raises(ValueError, match=r"other must have 2 parameter\(s\).*got 3"):
        linear_data().joined(MultilevelData.from_arrays(prior, data))


def test_unknown_costs_are_filled():
    known, unknown = linear_data((5, 3), costs=[1.0, 8.0]), linear_data((5, 3), seed=1)
    assert known.joined(unknown).costs == unknown.joined(known).costs == (1.0, 8.0)
    assert unknown.joined(unknown).costs is None
