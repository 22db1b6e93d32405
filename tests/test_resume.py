"""Campaigns with a store: stopped anywhere, continued, extended, and always the same data."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import campaign_models as models
from campaign_models import bad_row, good_batch, good_row, hierarchy, same
from mlsbi import Hierarchy, Level, MultilevelData, simulate
from mlsbi.simulate import DONE, FAILED, PENDING, read_store

ROOT = Path(__file__).parents[1]
N = (300, 40)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "run.zarr"


def reference(n=N, seed=0):
    return simulate(hierarchy(good_row, good_row), n, seed=seed)


class Stops:
    """`good_row` that raises at its k-th call, or does something worse; counts its calls."""

    def __init__(self, at, error=KeyboardInterrupt):
        self.at, self.error, self.calls = at, error, 0

    def __call__(self, theta, seed):
        self.calls += 1
        if self.calls == self.at:
            raise self.error("stop")
        return good_row(theta, seed)


@pytest.mark.parametrize("executor", [None, 2])
def test_a_store_gives_the_same_data(store, executor):
    own = hierarchy(good_row, good_row)
    data = simulate(own, N, seed=0, store=store, executor=executor)
    assert same(data, reference())
    assert data.costs == (1.0, 2.0)
    assert same(MultilevelData.load(store), reference())
    assert all(0 < seconds < 0.1 for seconds in data.seconds)
    reader = read_store(store)
    assert all((reader.status(level) == DONE).all() for level in range(2))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_interrupted_campaign_goes_on_where_it_stopped(store, error):
    with pytest.raises((KeyboardInterrupt, RuntimeError), match="stop"):
        simulate(hierarchy(Stops(100, error), good_row), N, seed=0, store=store)
    done = [(read_store(store).status(level) == DONE).sum() for level in range(2)]
    again = Stops(10**9)
    data = simulate(hierarchy(again, good_row), N, seed=0, store=store, allow_changes=True)
    assert same(data, reference())
    # All calls of level 0's simulator but those of rows that were done; each pair calls it, too.
    assert again.calls == sum(N) - sum(done)
    assert done[0] >= 50 if error is not KeyboardInterrupt else done[0] >= 0


def test_a_finished_store_runs_nothing(store):
    simulate(hierarchy(Stops(0), good_row), N, seed=0, store=store)
    calls = Stops(0)
    data = simulate(hierarchy(calls, good_row), N, seed=0, store=store)
    assert calls.calls == 0
    assert same(data, reference())


@pytest.mark.parametrize("executor", [None, 2])
def test_more_rows_later(store, executor):
    own = hierarchy(good_row, good_row)
    simulate(own, (30, 7), seed=0, store=store, executor=executor)
    grown = simulate(own, (2100, 40), seed=0, store=store, executor=executor)
    assert same(grown, reference((2100, 40)))
    fewer = simulate(own, (100, 11), seed=0, store=store)
    assert same(fewer, reference((100, 11)))
    assert read_store(store).n == (2100, 40)


def test_another_campaigns_store_is_refused_with_what_differs(store):
    own = hierarchy(good_row, good_row)
    simulate(own, (5, 5), seed=0, store=store)
    with pytest.raises(ValueError, match="(?s)seed: 0 in the store, 1 now"):
        simulate(own, (5, 5), seed=1, store=store)
    with pytest.raises(ValueError, match="levels"):
        simulate(hierarchy(good_row), (5,), seed=0, store=store)
    with pytest.raises(ValueError, match="bad_row"):
        simulate(hierarchy(good_row, bad_row), (5, 5), seed=0, store=store)
    wide = Hierarchy(models.BoxUniform(torch.zeros(2), 2 * torch.ones(2)), own.levels)
    with pytest.raises(ValueError, match="prior"):
        simulate(wide, (5, 5), seed=0, store=store)
    assert same(simulate(own, (5, 5), seed=0, store=store), reference((5, 5)))


def test_a_changed_simulator_is_noticed(store):
    def make(shift):
        return lambda theta, seed: theta + shift

    simulate(hierarchy(make(1.0)), (5,), seed=0, store=store)
    simulate(hierarchy(make(1.0)), (6,), seed=0, store=store)
    with pytest.raises(ValueError, match="(?s)changed.*allow_changes=True"):
        simulate(hierarchy(make(2.0)), (7,), seed=0, store=store)
    data = simulate(hierarchy(make(2.0)), (7,), seed=0, store=store, allow_changes=True)
    shifts = (data.x(0) - data.theta(0)).round()
    assert shifts[:6].eq(1).all()
    assert shifts[6].eq(2).all()


def test_failures_are_kept_and_run_again_when_asked(store, tmp_path):
    switch = tmp_path / "broken"
    switch.touch()
    own = hierarchy(good_row, models.Broken(switch))
    options = {"seed": 0, "store": store, "on_failure": "drop", "max_failed": 0.9}
    with pytest.warns(UserWarning, match="biases the posterior"):
        data = simulate(own, (20, 40), **options)
    failed = data.failures
    assert 0 < len(failed) == data.dropped[1]
    assert all(failure.row_seed % 4 == 0 for failure in failed)
    switch.unlink()
    with pytest.warns(UserWarning, match="left out"):  # not asked to
        assert len(simulate(own, (20, 40), **options).failures) == len(failed)
    mended = simulate(own, (20, 40), **options, retry_failed=True)
    assert len(mended.failures) == 0
    assert same(mended, reference((20, 40)))


def test_raise_runs_the_failed_row_again_next_time(store, tmp_path):
    switch = tmp_path / "broken"
    switch.touch()
    own = hierarchy(models.Broken(switch))
    with pytest.raises(RuntimeError, match="(?s)not mended yet.*Finished rows are in the store"):
        simulate(own, (40,), seed=0, store=store)
    assert (read_store(store).status(0) == DONE).any() or read_store(store).event_shape(0) is None
    with pytest.raises(RuntimeError, match="not mended yet"):
        simulate(own, (40,), seed=0, store=store)
    switch.unlink()
    assert same(simulate(own, (40,), seed=0, store=store), reference_of(own, 40))


def reference_of(own, n):
    return simulate(own, (n,), seed=0)


def test_the_shape_of_most_runs_wins_whichever_came_first(store):
    """Row 0 is the odd one: what the store has of it is thrown away when others outvote it."""
    own = hierarchy(good_row)
    first = float(simulate(own, (1,), seed=0).theta(0)[0, 0])

    def odd(theta, seed):
        return np.zeros(9, dtype=np.float32) if float(theta[0]) == first else good_row(theta, seed)

    for executor in (None, 2):
        path = store.with_name(f"{executor}.zarr")
        with pytest.warns(UserWarning, match="left out"):
            data = simulate(
                hierarchy(odd, odd), (50, 20), seed=0, store=path, on_failure="drop",
                executor=executor,
            )  # fmt: skip
        assert [(f.level, f.row, f.kind) for f in data.failures] == [(0, 0, "shape")]
        assert same(data, reference((50, 20)).subset([list(range(1, 50)), None]))


def test_a_damaged_file_costs_its_chunk_only(store):
    own = Hierarchy(models.PRIOR, [Level(good_batch)])
    simulate(own, (20_000,), seed=0, store=store)
    whole = simulate(own, (20_000,), seed=0)
    victim = sorted((store / "level_0" / "x").rglob("*"), key=lambda p: p.stat().st_size)[-1]
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"(?s){victim.name}.*simulate"):
        MultilevelData.load(store).x(0)
    calls = []

    def counted(theta, u):
        calls.append(len(theta))
        return good_batch(theta, u)

    counted.__qualname__, counted.__module__ = good_batch.__qualname__, good_batch.__module__
    with pytest.warns(UserWarning, match=f"(?s)level_0.*{victim.name}"):
        data = simulate(
            Hierarchy(models.PRIOR, [Level(counted)]), (20_000,), seed=0, store=store,
            allow_changes=True,
        )  # fmt: skip
    assert same(data, whole)
    assert 0 < sum(calls) <= 8192


def test_two_processes_on_one_store(store):
    """The second is told so, by name, and the first goes on undisturbed."""
    gate = store.with_name("gate")

    def waits(theta, seed):
        import time

        while not gate.exists():
            time.sleep(0.01)
        return good_row(theta, seed)

    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT / "tests")!r})
        from campaign_models import good_row, hierarchy
        from mlsbi import simulate
        try:
            simulate(hierarchy(good_row), (5,), seed=0, store={str(store)!r}, allow_changes=True)
        except RuntimeError as error:
            print(error)
            sys.exit(7)
    """

    def second(theta, seed):
        if not gate.exists():
            command = [sys.executable, "-c", textwrap.dedent(code)]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            gate.write_text(answer.stdout)
            gate.with_suffix(".code").write_text(str(answer.returncode))
        return good_row(theta, seed)

    del waits
    data = simulate(hierarchy(second), (5,), seed=0, store=store)
    assert gate.with_suffix(".code").read_text() == "7"
    assert str(os.getpid()) in gate.read_text()
    assert same(data, reference_of(hierarchy(good_row), 5))
    own = hierarchy(good_row)
    assert same(simulate(own, (5,), seed=0, store=store, allow_changes=True), data)


KILLED = """
    import os, sys
    sys.path.insert(0, {tests!r})
    from campaign_models import good_row, hierarchy
    from mlsbi import simulate

    def simulator(theta, seed):
        if {seed} == seed:
            os.kill(os.getpid(), 9)
        return good_row(theta, seed)

    simulate(hierarchy(simulator, good_row), {n}, seed=0, store={store!r}, allow_changes=True)
"""


def test_killed_in_the_middle_of_a_run(store):
    """In this process there is no one to survive a kill: but the store does."""
    from mlsbi.simulate._reproduce import draw_row

    _, u = draw_row(hierarchy(good_row, good_row), level=0, row=200, seed=0)
    code = KILLED.format(tests=str(ROOT / "tests"), seed=int(u), n=N, store=str(store))
    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert answer.returncode == -9
    own = hierarchy(good_row, good_row)
    assert same(simulate(own, N, seed=0, store=store, allow_changes=True), reference())


def test_large_sets_are_read_when_they_are_used(store):
    def wide(theta, u):
        return theta[:, :1].expand(-1, 4096).contiguous()

    own = Hierarchy(models.PRIOR, [Level(wide)])
    data = simulate(own, (5000,), seed=0, store=store)  # 80 MB
    assert "5000 runs" in repr(data)
    part = data.subset([[3, 4000]])
    assert torch.equal(part.x(0), wide(part.theta(0), None))
    assert same(data, simulate(own, (5000,), seed=0))


def test_statuses_are_what_the_file_format_says():
    assert (PENDING, DONE, FAILED) == (0, 1, 2)


def test_runs_that_have_begun_are_finished_when_another_fails(store, caplog):
    """They may have taken days: an error in one row must not cost the others."""

    def simulator(theta, seed):
        import time

        if theta[0] < 0.5:
            time.sleep(0.4)
            raise ValueError("first")
        time.sleep(1.0)
        return theta

    theta = simulate(hierarchy(good_row), (20,), seed=0).theta(0)[:, 0]
    assert (theta[:2] < 0.5).sum() == 1  # one of the first two rows fails, the other is slow
    own = Hierarchy(models.PRIOR, [Level(simulator, batched=False)])
    with pytest.raises(RuntimeError, match="first"):
        simulate(own, (2,), seed=0, store=store, executor=2)
    assert (read_store(store).status(0) == DONE).sum() == 1
    assert "tasks that have begun" in caplog.text
