"""Runs made elsewhere: the exported table, and results that come back."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from campaign_models import same
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import simulate
from mlsbi.simulate._imported import outcomes_from_results
from mlsbi.simulate._tables import export_runs, import_runs, write_runs
from mlsbi.simulate._tables_io import write_table
from run_tables import (
    HIERARCHY,
    PRIOR,
    SEED,
    N,
    change,
    plan,
    read_csv,
    run_line,
    write_csv,
)


def test_lines_of_the_plan(tmp_path):
    lines = plan(tmp_path)
    assert list(lines[0]) == ["run_id", "level", "row", "simulator", "theta_0", "theta_1", "seed"]
    names = [f"l0-r{row}-s0" for row in range(5)]
    names += [f"l1-r{row}-s{simulator}" for row in range(3) for simulator in (0, 1)]
    assert [line["run_id"] for line in lines] == names
    for line in lines:
        assert line["run_id"] == f"l{line['level']}-r{line['row']}-s{line['simulator']}"
    for first, second in zip(lines[5::2], lines[6::2], strict=True):
        assert [first[k] for k in ("theta_0", "theta_1", "seed")] == [
            second[k] for k in ("theta_0", "theta_1", "seed")
        ]
    data = simulate(HIERARCHY, N, seed=SEED)
    theta = np.array([[line["theta_0"], line["theta_1"]] for line in lines[:5]], dtype=np.float64)
    assert np.array_equal(theta, data.theta(0).numpy().astype(np.float64))


@pytest.mark.parametrize("n", [N, [1030, 2]])
def test_import_is_simulate_bit_for_bit(tmp_path, n):
    lines = [run_line(line) for line in plan(tmp_path, n)]
    order = np.random.default_rng(0).permutation(len(lines))
    path = write_csv(tmp_path / "results.csv", [lines[i] for i in order])
    data = import_runs(HIERARCHY, n, path, seed=SEED)
    expected = simulate(HIERARCHY, n, seed=SEED)
    assert same(data, expected)
    assert (data.costs, data.dropped) == (expected.costs, expected.dropped)


def test_parquet_there_and_back(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    export_runs(HIERARCHY, N, tmp_path / "plan.parquet", seed=SEED)
    table = pq.read_table(tmp_path / "plan.parquet")
    lines = plan(tmp_path)
    for name in table.column_names:
        kind = type(table[name][0].as_py())
        assert table[name].to_pylist() == [kind(line[name]) for line in lines]
    done = [run_line(line) for line in lines]
    columns = {"run_id": [line["run_id"] for line in done]} | {
        name: [float(line[name]) if name in line else None for line in done]
        for name in ("x_0", "x_1", "x_2")
    }
    pq.write_table(pa.table(columns), tmp_path / "results.parquet")
    data = import_runs(HIERARCHY, N, tmp_path / "results.parquet", seed=SEED)
    assert same(data, simulate(HIERARCHY, N, seed=SEED))


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pyarrow, which is not installed. Install it"):
        export_runs(HIERARCHY, N, tmp_path / "plan.parquet", seed=SEED)


def test_a_mapping_a_folder_and_a_function(tmp_path):
    lines = [run_line(line) for line in plan(tmp_path)]
    arrays = {
        line["run_id"]: np.array([v for k, v in line.items() if k != "run_id"], dtype=np.float64)
        for line in lines
    }
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / ".hidden").touch()
    for i, (run_id, x) in enumerate(arrays.items()):
        if i % 2:
            np.save(folder / f"{run_id}.npy", x)
        else:
            (folder / f"{run_id}.txt").write_text(" ".join(map(repr, x.tolist())))

    def load(run_id):
        return np.load(tmp_path / "more" / f"{run_id}.npy")

    expected = simulate(HIERARCHY, N, seed=SEED)
    for results in (arrays, folder, arrays.__getitem__):
        assert same(import_runs(HIERARCHY, N, results, seed=SEED), expected)
    for results in (load, lambda run_id: None):
        with pytest.raises(ValueError, match="hold all 11 runs; 11 are missing"):
            import_runs(HIERARCHY, N, results, seed=SEED)
    np.save(folder / "l0-r0-s0.npy", arrays["l0-r0-s0"])
    with pytest.raises(ValueError, match=r"one file a run; got 'l0-r0-s0.npy' and 'l0-r0-s0.txt'"):
        import_runs(HIERARCHY, N, folder, seed=SEED)


def test_images(tmp_path):
    def image(theta, seed):
        return np.full((2, 4), theta[0], dtype=np.float32)

    own = Hierarchy(PRIOR, [Level(image, batched=False)])
    theta = {line["run_id"]: float(line["theta_0"]) for line in plan(tmp_path, [4], own)}
    data = import_runs(own, [4], lambda run_id: np.full((2, 4), theta[run_id]), seed=SEED)
    assert same(data, simulate(own, [4], seed=SEED))
    assert data.costs is None


def test_missing_runs(tmp_path):
    lines = [run_line(line) for line in plan(tmp_path)]
    gone = {"l0-r1-s0", "l1-r0-s1", "l1-r2-s0"}
    path = write_csv(tmp_path / "r.csv", [line for line in lines if line["run_id"] not in gone])
    with pytest.raises(ValueError, match=r"all 11 runs; 3 are missing, the first \['l0-r1-s0'"):
        import_runs(HIERARCHY, N, path, seed=SEED)
    data = import_runs(HIERARCHY, N, path, seed=SEED, allow_missing=True)
    assert same(data, simulate(HIERARCHY, N, seed=SEED).subset([[0, 2, 3, 4], [1]]))
    assert data.dropped == (0, 0)
    with pytest.raises(ValueError, match="level 1 has none"):
        import_runs(
            HIERARCHY,
            N,
            write_csv(path, [line for line in lines if line["run_id"][1] == "0"]),
            seed=SEED,
            allow_missing=True,
        )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e39", ""])
def test_failed_runs(tmp_path, value):
    lines = [run_line(line) for line in plan(tmp_path)]
    by_name = {line["run_id"]: line for line in lines}
    by_name["l0-r4-s0"] |= {"x_0": value, "x_1": value}
    by_name["l1-r1-s0"]["x_0"] = value
    path = write_csv(tmp_path / "r.csv", lines)
    with pytest.raises(ValueError, match=r"2 runs .* first \['l0-r4-s0', 'l1-r1-s0'\].*'drop'"):
        import_runs(HIERARCHY, N, path, seed=SEED)
    with pytest.warns(UserWarning, match="level 0: 1 of 5, level 1: 1 of 3"):
        data = import_runs(HIERARCHY, N, path, seed=SEED, on_failure="drop")
    assert same(data, simulate(HIERARCHY, N, seed=SEED).subset([[0, 1, 2, 3], [0, 2]]))
    assert data.dropped == (1, 1)
    assert [(f.level, f.row, f.simulator, f.kind) for f in data.failures] == [
        (0, 4, 0, "non-finite"),
        (1, 1, 0, "non-finite"),
    ]
    assert torch.equal(data.failures[1].reproduce(HIERARCHY)[0], run_of(by_name, plan(tmp_path)))


def run_of(by_name, lines):
    """The output of the coarse member of level 1's row 1."""
    line = next(line for line in lines if line["run_id"] == "l1-r1-s0")
    x = run_line(line)
    return torch.tensor([float(x["x_0"]), float(x["x_1"])])


def test_parameters_written_with_few_digits_are_the_same(tmp_path):
    keep = ("run_id", "theta_0", "theta_1")
    lines = [run_line(line, keep) for line in plan(tmp_path)]
    for line in lines:
        line["theta_1"] = f"{float(line['theta_1']):.6g}"
    path = write_csv(tmp_path / "r.csv", lines)
    assert same(import_runs(HIERARCHY, N, path, seed=SEED), simulate(HIERARCHY, N, seed=SEED))


def test_export_replaces_only_when_told(tmp_path):
    path = tmp_path / "new folder" / "plan.csv"
    export_runs(HIERARCHY, N, path, seed=SEED)
    before = path.read_text()
    with pytest.raises(ValueError, match="exists already.*overwrite=True"):
        export_runs(HIERARCHY, [1, 1], path, seed=SEED)
    assert path.read_text() == before
    export_runs(HIERARCHY, [1, 1], path, seed=SEED, overwrite=True)
    assert len(read_csv(path)) == 3
    assert list(path.parent.iterdir()) == [path]


def test_an_export_that_fails_leaves_the_old_file(tmp_path):
    def pieces():
        yield {"run_id": ["a"]}
        raise OSError("disk full")

    path = tmp_path / "plan.csv"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        write_table(path, pieces())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_wanted_rows_only(tmp_path):
    mask = [np.array([False, True, False, False, True]), np.array([False, False, True])]
    pieces = list(write_runs(HIERARCHY, N, SEED, lambda level: mask[level]))
    names = [run_id for piece in pieces for run_id in piece["run_id"]]
    assert names == ["l0-r1-s0", "l0-r4-s0", "l1-r2-s0", "l1-r2-s1"]
    whole = {line["run_id"]: line for line in plan(tmp_path)}
    assert [whole[n]["seed"] for n in names] == [str(s) for p in pieces for s in p["seed"]]
    write_table(
        tmp_path / "none.parquet", write_runs(HIERARCHY, N, SEED, lambda level: [False] * 5)
    )


def test_outcomes_for_a_store(tmp_path):
    lines = [run_line(line) for line in plan(tmp_path, [1030, 3])]
    lines = change(lines, "l0-r1025-s0", x_0="nan")
    lines = [line for line in lines if line["run_id"] != "l1-r1-s1"]
    path = write_csv(tmp_path / "r.csv", lines)
    found = list(outcomes_from_results(HIERARCHY, [1030, 3], path, SEED, allow_missing=True))
    assert [(o.task.level, len(o.task)) for o in found] == [(0, 1024), (0, 6), (1, 2)]
    assert found[2].task.rows.tolist() == [0, 2]
    assert found[1].ok.tolist() == [True, False, True, True, True, True]
    assert (found[1].faults[1].kind, found[1].x.shape) == ("non-finite", (5, 2))
    assert found[1].row_seed.dtype == np.int64
    assert (found[2].x.shape, found[2].x_coarse.shape) == ((2, 3), (2, 2))
    assert found[0].x_coarse is None
