"""Campaigns: the same data whoever runs them; failures that cost their row and nothing else."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch

import campaign_models as models
from campaign_models import bad_batch, bad_row, good_batch, good_row, hierarchy, same
from mlsbi import Hierarchy, Level, LocalProcesses, simulate
from mlsbi.simulate import CHUNK_ROWS, reproduce
from mlsbi.simulate._chunks import Chunk, draw_chunk

N = (160, 60)


def row_seeds(level, n, seed=0):
    """The seeds that rows draw."""
    own = hierarchy(good_row, good_row)
    blocks = -(-n // CHUNK_ROWS)
    u = [draw_chunk(own, Chunk(level, b, CHUNK_ROWS), seed)[1] for b in range(blocks)]
    return torch.cat(u)[:n].tolist()


EXECUTORS = {
    "none": lambda: None,
    "none, isolated": lambda: None,
    "1 process": lambda: 1,
    "2 processes": lambda: 2,
    "LocalProcesses": lambda: LocalProcesses(2, threads=1),
    "threads": lambda: ThreadPoolExecutor(2),
}


def run(name, own, n, **options):
    executor = EXECUTORS[name]()
    isolate = True if name == "none, isolated" else None
    try:
        return simulate(own, n, executor=executor, isolate=isolate, **options)
    finally:
        if isinstance(executor, Executor):
            executor.shutdown()


KINDS = {
    "row by row": lambda: hierarchy(good_row, good_row),
    "batched": lambda: hierarchy(good_batch, good_batch, batched=True),
    "small batches": lambda: hierarchy(good_batch, good_batch, batched=True, batch_size=7),
    "mixed": lambda: Hierarchy(models.PRIOR, [Level(good_batch), Level(good_row, batched=False)]),
}


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize("kind", KINDS)
def test_data_do_not_depend_on_who_runs_them(name, kind):
    reference = simulate(hierarchy(good_batch, good_batch, batched=True), (1100, 40), seed=0)
    assert same(run(name, KINDS[kind](), (1100, 40), seed=0), reference)


def test_functions_of_scripts_and_closures_go_to_other_processes():
    def make(shift):
        return lambda theta, seed: theta + shift

    data = simulate(hierarchy(make(1.0), make(2.0)), (20, 10), seed=0, executor=2)
    assert torch.equal(data.x(0), data.theta(0) + 1)
    assert torch.equal(data.x(1), data.theta(1) + 2)
    assert torch.equal(data.x_coarse(1), data.theta(1) + 1)


def expected_failures(n=N, seed=0):
    """(level, row): (simulator, kind) of every failure of two levels of `bad_row`."""
    return {
        (level, row): (max(level - 1, 0), models.kind(row_seed))  # the coarse member runs first
        for level, count in enumerate(n)
        for row, row_seed in enumerate(row_seeds(level, count, seed))
        if models.kind(row_seed)
    }


@pytest.mark.parametrize("name", ["1 process", "2 processes", "threads"])
def test_failures_are_listed_exactly(name):
    own = hierarchy(bad_row, bad_row)
    expected = expected_failures()
    assert {kind for _, kind in expected.values()} == {
        "exception", "non-finite", "shape", "timeout", "died",
    }  # fmt: skip
    with pytest.warns(UserWarning, match="biases the posterior") as caught:
        data = run(name, own, N, seed=0, on_failure="drop", timeout=0.3, max_failed=0.5)
    found = {(f.level, f.row): (f.simulator, f.kind) for f in data.failures}
    assert found == expected
    counts = tuple(sum(level == i for level, _ in expected) for i in range(2))
    assert data.dropped == counts
    assert all(f"level {i}: {counts[i]} of {N[i]}" in str(caught[0].message) for i in range(2))

    whole = simulate(hierarchy(good_row, good_row), N, seed=0)
    kept = [[r for r in range(N[i]) if (i, r) not in expected] for i in range(2)]
    assert same(data, whole.subset(kept))
    for failure in data.failures:
        assert failure.theta == tuple(whole.theta(failure.level)[failure.row].tolist())
        assert failure.row_seed == row_seeds(failure.level, N[failure.level])[failure.row]
        assert failure.attempts == (3 if failure.kind == "died" else 1)
    died = [f for f in data.failures if f.kind == "died"]
    assert all("SIGKILL" in f.message for f in died)
    assert all("0.3 s" in f.message for f in data.failures if f.kind == "timeout")


def test_one_failure_can_be_run_again():
    with pytest.warns(UserWarning, match="left out"):
        data = simulate(
            hierarchy(bad_row, bad_row), N, seed=0, executor=2, on_failure="drop", timeout=0.3,
            max_failed=0.5,
        )  # fmt: skip
    failure = next(f for f in data.failures if f.level == 1 and "no solution" in f.message)
    assert "in bad_row" in failure.message  # the traceback leads to the line
    with pytest.raises(ArithmeticError, match=f"seed {failure.row_seed}"):
        failure.reproduce(hierarchy(bad_row, bad_row))
    with pytest.raises(RuntimeError, match=f"seed {failure.row_seed}"):
        reproduce(hierarchy(bad_row, bad_row), level=1, row=failure.row, seed=0)
    coarse, fine = reproduce(hierarchy(good_row, good_row), level=1, row=3, seed=0)
    whole = simulate(hierarchy(good_row, good_row), N, seed=0)
    assert torch.equal(coarse[0], whole.x_coarse(1)[3])
    assert torch.equal(fine[0], whole.x(1)[3])


def test_a_failed_batch_costs_its_bad_rows_only():
    """A batch that raises, hangs or dies is cut up until the rows to blame are alone."""
    own = hierarchy(bad_batch, batched=True)
    with pytest.warns(UserWarning, match="left out"):
        data = simulate(
            own, (50,), seed=3, on_failure="drop", timeout=0.3, retries=0, max_failed=0.5
        )
    blamed = {"exception", "timeout", "died", "non-finite"}
    seeds = row_seeds(0, 50, seed=3)
    bad = {row: models.fate(s) for row, s in enumerate(seeds) if models.fate(s) in blamed}
    assert {f.row: f.kind for f in data.failures} == bad
    assert {"exception", "died"} <= set(bad.values())
    whole = simulate(hierarchy(good_batch, batched=True), (50,), seed=3)
    assert same(data, whole.subset([[r for r in range(50) if r not in bad]]))


def test_raise_stops_at_the_first_failure_and_says_how_to_see_it():
    own = hierarchy(bad_row)
    seeds = row_seeds(0, 40)
    first = next(row for row, seed in enumerate(seeds) if models.kind(seed))
    message = rf"(?s)level 0 failed at row {first} of level 0.*seed {seeds[first]}.*reproduce\("
    with pytest.raises(RuntimeError, match=message):
        simulate(own, (40,), seed=0)
    with pytest.raises(RuntimeError, match="(?s)failed at row .*reproduce"):
        simulate(own, (40,), seed=0, executor=2, timeout=0.3)


def test_retry_repeats_what_a_simulator_may_do_better_next_time(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    own = hierarchy(models.Flaky(tmp_path / "a"))
    data = simulate(own, (50,), seed=0, executor=2, on_failure="retry")
    assert data.failures == ()
    assert same(data, simulate(hierarchy(good_row), (50,), seed=0))
    with pytest.warns(UserWarning, match="left out"):  # negative control
        once = simulate(
            hierarchy(models.Flaky(tmp_path / "b")), (50,), seed=0, on_failure="drop", max_failed=1
        )
    assert once.dropped == (sum(seed % 5 == 0 for seed in row_seeds(0, 50)),)
    assert once.dropped[0] > 0


def test_too_many_failures_are_an_error_long_before_the_end():
    calls = []

    def mostly(theta, seed):
        calls.append(seed)
        if seed % 3:
            raise ValueError("bad")
        return theta

    with pytest.raises(RuntimeError, match=r"(?s) of 9000 runs.*max_failed=0.05.*ValueError: bad"):
        simulate(hierarchy(mostly), (9000,), seed=0, on_failure="drop")
    assert len(calls) < 2000
    with pytest.warns(UserWarning, match="left out"):
        data = simulate(hierarchy(mostly), (100,), seed=0, on_failure="drop", max_failed=0.9)
    assert data.n[0] + data.dropped[0] == 100
    with pytest.raises(RuntimeError, match="all 20 runs of level 0 failed"):
        simulate(
            hierarchy(lambda theta, seed: 1 / 0), (20,), seed=0, on_failure="drop", max_failed=1
        )


def test_one_level_may_fail_less_than_another():
    """The share is of each level's rows: many good cheap runs do not hide bad expensive ones."""

    def half(theta, seed):
        return theta if seed % 2 else theta * np.nan

    own = Hierarchy(models.PRIOR, [Level(good_batch), Level(half, batched=False)])
    with pytest.raises(RuntimeError, match="of 20 runs of level 1 failed"):
        simulate(own, (5000, 20), seed=0, on_failure="drop")


def test_each_worker_has_its_device():
    own = hierarchy(models.visible_device)
    data = simulate(own, (60,), seed=0, executor=LocalProcesses(devices=[4, 7]))
    workers = set(map(tuple, data.x(0).tolist()))
    assert {device for device, _ in workers} == {4.0, 7.0}
    assert len(workers) == 2  # one process a device, and not this one
    assert os.getpid() not in {int(pid) for _, pid in workers}


def test_a_simulator_may_do_what_it_likes_to_its_process():
    def rude(theta, seed):
        os.chdir("/")
        torch.manual_seed(0)
        np.random.seed(0)
        torch.set_num_threads(3)
        print("x" * 100_000)  # not into our pipes
        return theta

    here = os.getcwd()
    data = simulate(hierarchy(rude), (10,), seed=0, executor=1)
    assert torch.equal(data.x(0), data.theta(0))
    assert os.getcwd() == here


def test_an_executor_that_loses_tasks_is_asked_again():
    class Loses(ThreadPoolExecutor):
        lost = 0

        def submit(self, function, /, *args, **kwargs):
            if self.lost < 2:
                self.lost += 1
                future = Future()
                future.set_exception(OSError("the node went away"))
                return future
            return super().submit(function, *args, **kwargs)

    with Loses(2) as executor:
        data = simulate(hierarchy(good_row), (30,), seed=0, executor=executor, isolate=False)
    assert executor.lost == 2
    assert same(data, simulate(hierarchy(good_row), (30,), seed=0))


class KilledWorker(Exception):  # noqa: N818  the name that Dask gives it
    pass


def test_a_row_that_kills_its_worker_each_time_is_found():
    """Without isolation: tasks that lose workers are cut into rows, each tried on its own."""
    culprit = 17

    class Cluster(ThreadPoolExecutor):
        def submit(self, function, job, task):
            if culprit in task.rows:
                future = Future()
                future.set_exception(KilledWorker("4 workers died"))
                return future
            return super().submit(function, job, task)

    with (
        Cluster(2) as executor,
        pytest.warns(UserWarning, match="left out"),
    ):
        data = simulate(
            hierarchy(good_row), (40,), seed=0, executor=executor, isolate=False, on_failure="drop"
        )
    assert [(f.row, f.kind) for f in data.failures] == [(culprit, "died")]
    rest = [row for row in range(40) if row != culprit]
    assert same(data, simulate(hierarchy(good_row), (40,), seed=0).subset([rest]))


def test_an_executor_that_always_fails_is_an_error_that_says_why():
    class Useless(ThreadPoolExecutor):
        def submit(self, function, /, *args, **kwargs):
            future = Future()
            future.set_exception(ModuleNotFoundError("No module named 'mlsbi'"))
            return future

    with (
        Useless(1) as executor,
        pytest.raises(RuntimeError, match="(?s)outside the simulators.*No module.*installed"),
    ):
        simulate(hierarchy(good_row), (5,), seed=0, executor=executor)


def test_outputs_of_another_shape_between_tasks_are_failures():
    def grows(theta, seed):
        return np.zeros(3 if theta[0] < 0.97 else 4, dtype=np.float32)

    with pytest.warns(UserWarning, match="left out"):
        data = simulate(hierarchy(grows), (300,), seed=0, on_failure="drop")
    wide = (simulate(hierarchy(good_row), (300,), seed=0).theta(0)[:, 0] >= 0.97).sum()
    assert data.event_shape(0) == (3,)
    assert [f.kind for f in data.failures] == ["shape"] * int(wide)
    assert int(wide) > 0


def test_seconds_are_noted():
    data = simulate(hierarchy(good_row, good_row), (10, 5), seed=0)
    assert len(data.seconds) == 2
    assert all(0 < seconds < 0.1 for seconds in data.seconds)


ONE = hierarchy(good_row)
BAD = {
    "executor": ({"executor": "threads"}, TypeError, ("executor", "Dask client")),
    "executor=0": ({"executor": 0}, ValueError, ("executor", "at least 1")),
    "executor=True": ({"executor": True}, TypeError, ("executor", "number of processes")),
    "timeout": ({"timeout": 0}, ValueError, ("timeout", "positive")),
    "timeout type": ({"timeout": "1s"}, TypeError, ("timeout", "number")),
    "timeout here": ({"timeout": 1, "isolate": False}, ValueError, ("timeout", "isolate")),
    "isolate": ({"isolate": 1}, TypeError, ("isolate", "None")),
    "isolate here": ({"isolate": False, "executor": 2}, ValueError, ("isolate", "executor=None")),
    "retries": ({"retries": -1}, ValueError, ("retries", "at least 0")),
    "max_failed": ({"max_failed": 1.5}, ValueError, ("max_failed", "[0, 1]")),
    "max_failed type": ({"max_failed": "5%"}, TypeError, ("max_failed", "share")),
    "retry_failed": ({"retry_failed": True}, ValueError, ("retry_failed", "store=")),
    "retry_failed type": ({"retry_failed": 1}, TypeError, ("retry_failed", "True or False")),
    "allow_changes": ({"allow_changes": 1}, TypeError, ("allow_changes", "True or False")),
    "store": ({"store": 5}, TypeError, ("path", "folder")),
}


@pytest.mark.parametrize(("options", "error", "words"), BAD.values(), ids=BAD)
def test_refusals_name_the_argument_and_the_remedy(options, error, words):
    with pytest.raises(error) as caught:
        simulate(ONE, (3,), seed=0, **options)
    assert all(word in str(caught.value) for word in words)


LOCAL = {
    "nothing": ({}, ValueError, "count"),
    "count": ({"count": 0}, ValueError, "count"),
    "count type": ({"count": 1.5}, TypeError, "count"),
    "threads": ({"count": 1, "threads": 0}, ValueError, "threads"),
    "devices": ({"devices": "01"}, TypeError, "devices"),
    "no devices": ({"devices": []}, ValueError, "devices"),
    "both": ({"count": 3, "devices": [0, 1]}, ValueError, "count"),
}


@pytest.mark.parametrize(("options", "error", "word"), LOCAL.values(), ids=LOCAL)
def test_local_processes_refuse(options, error, word):
    with pytest.raises(error, match=word):
        LocalProcesses(**options)


def test_what_cannot_be_pickled_is_refused_before_anything_runs():
    import threading

    lock = threading.Lock()
    own = hierarchy(lambda theta, seed: theta if lock else theta)
    with pytest.raises(TypeError, match="(?s)simulators must be picklable.*inside the simulator"):
        simulate(own, (3,), seed=0, executor=1)
    assert simulate(own, (3,), seed=0).n == (3,)


def test_simulators_that_cannot_be_loaded_elsewhere_are_an_error():
    class Loads:
        def __call__(self, theta, seed):
            return theta

        def __reduce__(self):
            return (__import__, ("no_such_module",))

    with pytest.raises(RuntimeError, match="(?s)could not be loaded.*no_such_module"):
        simulate(hierarchy(Loads()), (3,), seed=0, executor=1)


def test_nothing_is_left_running():
    """A simulator that hangs when the campaign ends dies with it."""

    def waits(theta, seed):
        import time

        if theta[0] < 0.5:
            raise ValueError("first")
        time.sleep(60)

    with pytest.raises(RuntimeError, match="first"):
        simulate(hierarchy(waits), (40,), seed=0, executor=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(
            simulate(hierarchy(good_row), (20,), seed=0, executor=2),
            simulate(hierarchy(good_row), (20,), seed=0),
        )
