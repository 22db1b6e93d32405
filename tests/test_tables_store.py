"""Runs made elsewhere and a store: in portions, mixed with `simulate`, and never another's."""

from __future__ import annotations

import pytest

from campaign_models import same
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import DONE, FAILED, read_store, simulate
from mlsbi.simulate._tables import export_runs, import_runs
from run_tables import HIERARCHY, PRIOR, SEED, N, coarse, plan, read_csv, run_line, write_csv


def results(tmp_path, keep):
    lines = [run_line(line) for line in plan(tmp_path) if keep(line)]
    return write_csv(tmp_path / "results.csv", lines)


def test_portions_fill_a_store_and_the_plan_shrinks(tmp_path):
    store, left = tmp_path / "run.zarr", tmp_path / "left.csv"
    even = results(tmp_path, lambda line: int(line["row"]) % 2 == 0)
    first = import_runs(HIERARCHY, N, even, seed=SEED, store=store, allow_missing=True)
    assert first.n == (3, 2)
    export_runs(HIERARCHY, N, left, seed=SEED, store=store)
    assert {line["run_id"] for line in read_csv(left)} == {
        "l0-r1-s0", "l0-r3-s0", "l1-r1-s0", "l1-r1-s1",
    }  # fmt: skip
    rest = write_csv(tmp_path / "rest.csv", [run_line(line) for line in read_csv(left)])
    whole = import_runs(HIERARCHY, N, rest, seed=SEED, store=store)
    assert same(whole, simulate(HIERARCHY, N, seed=SEED))


def test_simulate_runs_what_did_not_come_back(tmp_path):
    store = tmp_path / "run.zarr"
    some = results(tmp_path, lambda line: line["level"] == "0" or line["row"] == "1")
    import_runs(HIERARCHY, N, some, seed=SEED, store=store, allow_missing=True)
    assert [(read_store(store).status(i) == DONE).sum() for i in range(2)] == [5, 1]
    data = simulate(HIERARCHY, N, seed=SEED, store=store)
    assert same(data, simulate(HIERARCHY, N, seed=SEED))


def test_failed_results_may_come_right_later(tmp_path):
    store = tmp_path / "run.zarr"
    lines = [run_line(line) for line in plan(tmp_path)]
    good = write_csv(tmp_path / "good.csv", lines)
    broken = [dict(line) for line in lines]
    broken[1]["x_0"] = "nan"
    bad = write_csv(tmp_path / "bad.csv", broken)
    with pytest.raises(ValueError, match="l0-r1-s0"):
        import_runs(HIERARCHY, N, bad, seed=SEED, store=store)
    with pytest.warns(UserWarning, match="left out"):
        data = import_runs(HIERARCHY, N, bad, seed=SEED, store=store, on_failure="drop")
    assert [(f.level, f.row) for f in data.failures] == [(0, 1)]
    assert read_store(store).status(0)[1] == FAILED
    mended = import_runs(HIERARCHY, N, good, seed=SEED, store=store)
    assert same(mended, simulate(HIERARCHY, N, seed=SEED))


def test_another_campaigns_store_is_refused(tmp_path):
    store, table = tmp_path / "run.zarr", results(tmp_path, lambda line: True)
    import_runs(HIERARCHY, N, table, seed=SEED, store=store)
    with pytest.raises(ValueError, match="seed"):
        export_runs(HIERARCHY, N, tmp_path / "a.csv", seed=SEED + 1, store=store)
    other = Hierarchy(PRIOR, [Level(coarse, batched=False)])
    with pytest.raises(ValueError, match="levels"):
        import_runs(other, N[:1], {}, seed=SEED, store=store, allow_missing=True)


def test_a_store_that_is_not_there_yet_has_nothing(tmp_path):
    path = tmp_path / "all.csv"
    export_runs(HIERARCHY, N, path, seed=SEED, store=tmp_path / "none.zarr")
    assert len(read_csv(path)) == N[0] + 2 * N[1]
    assert not (tmp_path / "none.zarr").exists()
