"""Tables of runs and results that cannot be used: errors that name the run and the remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from campaign_models import same
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import simulate
from mlsbi.simulate._tables import export_runs, import_runs
from run_tables import (
    HIERARCHY,
    PRIOR,
    SEED,
    N,
    change,
    plan,
    run_line,
    write_csv,
)

BAD = {
    "unknown run": (
        lambda lines: [*lines, lines[0] | {"run_id": "l0-r9-s0"}],
        r"in the plan; got run_id 'l0-r9-s0'",
    ),
    "other simulator": (
        lambda lines: change(lines, "l1-r0-s1", run_id="l0-r0-s1"),
        r"got run_id 'l0-r0-s1'",
    ),
    "other spelling": (
        lambda lines: change(lines, "l1-r0-s1", run_id="l1-r00-s1"),
        r"got run_id 'l1-r00-s1'",
    ),
    "twice": (
        lambda lines: [*lines, lines[2] | {"x_0": "5"}],
        r"'l0-r2-s0' is there twice, with different values",
    ),
    "no number": (
        lambda lines: change(lines, "l1-r2-s0", x_1="abc"),
        r"column x_1 must hold a number; got 'abc' for run 'l1-r2-s0'",
    ),
    "theta of another run": (
        lambda lines: change(lines, "l1-r2-s0", theta_0=lines[0]["theta_0"]),
        r"run 'l1-r2-s0' must have the theta of the plan",
    ),
    "seed of another run": (
        lambda lines: change(lines, "l1-r2-s0", seed=lines[0]["seed"]),
        r"run 'l1-r2-s0' must have the seed of the plan",
    ),
    "seed that was rounded": (
        lambda lines: change(lines, "l0-r0-s0", seed="4.61e18"),
        r"column seed must hold a whole number, as exported; got '4.61e18' for run 'l0-r0-s0'",
    ),
    "no run_id": (
        lambda lines: [{k: v for k, v in line.items() if k != "run_id"} for line in lines],
        r"must have a column run_id",
    ),
    "no outputs": (
        lambda lines: [{k: v for k, v in line.items() if k[0] != "x"} for line in lines],
        r"must have columns x_0, x_1, ... without gaps",
    ),
    "a gap": (
        lambda lines: [{k: v for k, v in line.items() if k != "x_1"} for line in lines],
        r"without gaps",
    ),
    "one theta": (
        lambda lines: [{k: v for k, v in line.items() if k != "theta_1"} for line in lines],
        r"must have the columns \['theta_0', 'theta_1'\] or none",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tables(tmp_path, kind):
    damage, message = BAD[kind]
    keep = ("run_id", "theta_0", "theta_1", "seed")
    lines = [run_line(line, keep) for line in plan(tmp_path)]
    good = write_csv(tmp_path / "good.csv", [*lines, lines[2]])  # twice the same is no harm
    assert same(import_runs(HIERARCHY, N, good, seed=SEED), simulate(HIERARCHY, N, seed=SEED))
    with pytest.raises(ValueError, match=message):
        import_runs(HIERARCHY, N, write_csv(tmp_path / "r.csv", damage(lines)), seed=SEED)


def test_the_plan_of_another_seed_is_noticed(tmp_path):
    lines = [run_line(line, ("run_id", "seed")) for line in plan(tmp_path)]
    path = write_csv(tmp_path / "r.csv", lines)
    with pytest.raises(ValueError, match="run 'l0-r0-s0' must have the seed of the plan"):
        import_runs(HIERARCHY, N, path, seed=SEED + 1)


def test_a_table_that_was_cut_off(tmp_path):
    path = write_csv(tmp_path / "r.csv", [run_line(line) for line in plan(tmp_path)])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match="must have 4 cells a line; line 12 has .*cut off"):
        import_runs(HIERARCHY, N, path, seed=SEED)


def test_shapes_that_differ():
    arrays = {f"l0-r{row}-s0": np.ones(2) for row in range(5)}
    arrays |= {f"l1-r{row}-s{s}": np.ones(2) for row in range(3) for s in (0, 1)}
    arrays["l1-r1-s0"] = np.ones(3)
    with pytest.raises(ValueError, match=r"run 'l1-r1-s0' .* others, \(2,\); got \(3,\)"):
        import_runs(HIERARCHY, N, arrays, seed=SEED)
    with pytest.raises(TypeError, match="results of run 'l0-r0-s0' must"):
        import_runs(HIERARCHY, N, lambda run_id: "text", seed=SEED)

    def broken(run_id):
        raise OSError("no network")

    with pytest.raises(ValueError, match="results of run 'l0-r0-s0' cannot be read: OSError"):
        import_runs(HIERARCHY, N, broken, seed=SEED)


def test_own_noise_is_refused(tmp_path):
    own = Hierarchy(
        PRIOR, [Level(lambda theta, u: u)], noise=lambda n, g: torch.rand(n, 1, generator=g)
    )
    with pytest.raises(ValueError, match="default noise.*Leave noise out"):
        export_runs(own, [3], tmp_path / "p.csv", seed=SEED)
    with pytest.raises(ValueError, match="default noise"):
        import_runs(own, [3], {}, seed=SEED)


def test_damaged_parquet(tmp_path):
    (tmp_path / "results.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match="cannot be read.*cut off"):
        import_runs(HIERARCHY, N, tmp_path / "results.parquet", seed=SEED)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"path": "plan.txt"}, ValueError, r"path must end in .csv or .parquet"),
        ({"path": 3}, TypeError, "path must be"),
        ({"n": [1]}, ValueError, "n must have one entry a level, 2; got 1"),
        ({"n": [1, 0]}, ValueError, r"n\[1\] must be at least 1"),
        ({"seed": -1}, ValueError, "seed must lie in"),
        ({"hierarchy": 3}, TypeError, "hierarchy must be Hierarchy"),
        ({"overwrite": 1}, TypeError, "overwrite must be bool"),
    ],
)
def test_bad_export(tmp_path, change, error, message):
    options = {"hierarchy": HIERARCHY, "n": N, "path": tmp_path / "p.csv", "seed": SEED} | change
    with pytest.raises(error, match=message):
        export_runs(**options)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"results": 3}, TypeError, "results must be the name of a table or a folder"),
        ({"results": "no.csv"}, ValueError, "is no file"),
        ({"on_failure": "retry"}, ValueError, "on_failure must be one of 'raise', 'drop'"),
        ({"allow_missing": 1}, TypeError, "allow_missing must be bool"),
    ],
)
def test_bad_import(change, error, message):
    options = {"hierarchy": HIERARCHY, "n": N, "results": {}, "seed": SEED} | change
    with pytest.raises(error, match=message):
        import_runs(**options)
