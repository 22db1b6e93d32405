"""The store of a campaign: what is in it comes back, whatever happens to process, disk or files."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import textwrap
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from mlsbi.simulate._rows import DONE, FAILED, PENDING, Fault, Outcome, Task
from mlsbi.simulate._store import CampaignStore, is_store, read_store

FILES = sys.modules["mlsbi.simulate._store_files"]
LAYOUT = sys.modules["mlsbi.simulate._store_layout"]
STORE = sys.modules["mlsbi.simulate._store"]
MANIFEST = {"seed": 1, "levels": [{"simulator": "m.coarse", "cost": 1.0}, {"simulator": "m.fine"}]}
N = (40, 24)
NAMES = ("theta", "x", "x_coarse", "row_seed", "seconds", "seconds_coarse")


class Kill(BaseException):
    """Ends what runs where a kill would."""


def values(level, rows, name):
    """What a row holds is its number and the array's: any row out of place shows."""
    shape = {"theta": (2,), "x": (3,), "x_coarse": (2, 2)}.get(name, ())
    rows = np.asarray(rows)
    base = rows.reshape(-1, *(1 for _ in shape)) + 1000.0 * NAMES.index(name) + 1e5 * level
    array = base + np.arange(int(np.prod(shape))).reshape(shape) / 16
    return array.astype(np.int64 if name == "row_seed" else np.float32)


def outcome(level, rows, failed=(), *, seconds=8.0, message="went wrong"):
    """The default time of a run makes chunks of 4 rows (level 0) and 2 rows (level 1)."""
    rows = np.asarray(rows, dtype=np.int64)
    ok = ~np.isin(rows, failed)
    good = rows[ok]
    time = np.full(len(rows), seconds, dtype=np.float32)
    return Outcome(
        task=Task(level, rows),
        theta=values(level, rows, "theta"),
        row_seed=values(level, rows, "row_seed"),
        ok=ok,
        x=values(level, good, "x") if len(good) else None,
        x_coarse=values(level, good, "x_coarse") if level and len(good) else None,
        seconds=time,
        seconds_coarse=time if level else None,
        faults={int(i): Fault(level, "exception", message) for i in np.flatnonzero(~ok)},
    )


def open_store(path, n=N, manifest=MANIFEST, **options):
    return CampaignStore.open(
        path, manifest=manifest, n=n, noise_seeds=True, theta_dim=2, **options
    )


def names_of(level):
    return [name for name in NAMES if level or "coarse" not in name]


def assert_sound(path):
    """Every finished row is bit for bit what was added; failed rows have a record."""
    reader = read_store(path)
    for level in range(reader.num_levels):
        done = np.flatnonzero(reader.status(level) == DONE)
        for name in names_of(level) if len(done) else ():
            if not name.startswith("seconds"):
                np.testing.assert_array_equal(
                    reader.read(level, name, done), values(level, done, name)
                )
    assert len(reader.failures()) == sum((reader.status(level) == FAILED).sum() for level in (0, 1))
    return reader


def fill(path, n=N):
    """A store with rows of both levels, some failed, and a chunk that is not full."""
    with open_store(path, n) as store:
        store.add(outcome(0, range(4, 16), failed=[6]))
        store.add(outcome(1, range(8)))
        store.add(outcome(0, [0, 1, 2, 20]))
    return path


def test_what_was_added_comes_back(tmp_path):
    with open_store(fill(tmp_path / "run.zarr")) as store:
        assert store.event_shape(0) == (3,)
        store.add(outcome(0, range(24, 40)))
    reader = assert_sound(tmp_path / "run.zarr")
    assert (reader.n, reader.num_levels, reader.manifest) == (N, 2, MANIFEST)
    expected = np.zeros(40)
    expected[[0, 1, 2, *range(4, 16), 20, *range(24, 40)]] = DONE
    expected[6] = FAILED
    np.testing.assert_array_equal(reader.status(0), expected)
    assert (reader.status(1) == DONE).sum() == 8
    (failure,) = reader.failures()
    assert failure == {
        "level": 0,
        "row": 6,
        "simulator": 0,
        "kind": "exception",
        "message": "went wrong",
        "attempts": 1,
        "theta": values(0, [6], "theta")[0].tolist(),
        "row_seed": 3006,
    }
    assert np.isnan(reader.read(0, "x", np.array([6, 17]))).all()
    np.testing.assert_array_equal(reader.read(0, "theta", [6]), values(0, [6], "theta"))
    assert reader.read(0, "row_seed", np.array([17])).tolist() == [-1]
    assert reader.event_shape(1) == (3,)
    with pytest.raises(ValueError, match="name must be an array of level 0"):
        reader.read(0, "x_coarse", np.array([0]))


def test_order_does_not_matter(tmp_path):
    rows = [(0, row) for row in range(40)] + [(1, row) for row in range(24)]
    random.Random(0).shuffle(rows)
    with open_store(tmp_path / "run") as store:
        for level, row in rows:
            store.add(outcome(level, [row], failed=[3]))
            assert store.status(level)[row] != PENDING
    reader = assert_sound(tmp_path / "run")
    assert all((reader.status(level) != PENDING).all() for level in (0, 1))
    assert [(f["level"], f["row"]) for f in reader.failures()] == [(0, 3), (1, 3)]


def test_chunks_open_in_memory_are_few_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(STORE, "_SPARE_BYTES", 300)
    with open_store(tmp_path / "run") as store:
        for first in (0, 1, 2, 3):
            for row in range(first, 40, 4):
                store.add(outcome(0, [row]))
        assert store._spare_bytes() <= 600
    assert (assert_sound(tmp_path / "run").status(0) == DONE).all()


def test_rows_that_fail_before_any_succeeds(tmp_path):
    with open_store(tmp_path / "run") as store:
        store.add(outcome(1, [0, 1], failed=[0, 1]))
        store.flush()
        assert store.status(1)[:2].tolist() == [FAILED, FAILED]
        assert store.event_shape(0) is None
        store.add(outcome(1, [2, 3]))
        assert (store.event_shape(0), store.event_shape(1)) == ((2, 2), (3,))
    reader = assert_sound(tmp_path / "run")
    assert reader.status(1)[:4].tolist() == [FAILED, FAILED, DONE, DONE]
    assert reader.event_shape(0) == (2, 2)


def test_failed_rows_can_be_run_again(tmp_path):
    path = fill(tmp_path / "run")
    with open_store(path) as store:
        store.reopen(0, np.array([5, 6]))
        assert read_store(path).status(0)[5:7].tolist() == [DONE, PENDING]
        store.add(outcome(0, [6], failed=[6], message="again"))
        store.flush()
        assert [f["message"] for f in read_store(path).failures()] == ["again"]
        store.reopen(0, np.array([6]))
        store.add(outcome(0, [6]))
    assert assert_sound(path).failures() == []


@pytest.mark.parametrize("killed", [False, True])
def test_a_level_can_start_anew_with_another_shape(tmp_path, monkeypatch, killed):
    path = fill(tmp_path / "run")
    new = outcome(0, range(4))
    new = replace(new, x=new.x[:, :2])
    with open_store(path) as store:
        status = store.status(0)
        store.add(outcome(0, [30], failed=[30]))
        store.add(outcome(0, [31]))  # waits
        if killed:
            monkeypatch.setattr(FILES.shutil, "rmtree", lambda _: (_ for _ in ()).throw(Kill))
            with pytest.raises(Kill):
                store.reset(0)
            monkeypatch.undo()
        else:
            store.reset(0)
            assert store.status(0) is status
            assert (status == PENDING).all()
            store.add(new)
    with open_store(path) as store:
        assert (store.status(0) != PENDING).sum() == (0 if killed else 4)
        assert (store.status(1) == DONE).sum() == 8
        store.reset(0)
        store.add(new)
    assert not list(path.glob(".tmp-*"))
    reader = read_store(path)
    assert (reader.status(0) == DONE).sum() == 4
    np.testing.assert_array_equal(reader.read(0, "x", np.arange(4)), new.x)
    assert reader.failures() == []


def test_long_messages_are_cut(tmp_path):
    with open_store(tmp_path / "run") as store:
        store.add(outcome(0, [0, 1], failed=[1], message="first" + "x" * 10_000 + "last"))
    (failure,) = read_store(tmp_path / "run").failures()
    assert failure["message"].startswith("first")
    assert failure["message"].endswith("last")
    assert len(failure["message"]) <= 4000


def test_more_rows_extend_a_store(tmp_path):
    path = fill(tmp_path / "run")
    with open_store(path, (200, 5)) as store:
        assert (len(store.status(0)), len(store.status(1))) == (200, 24)
        store.add(outcome(0, range(36, 200)))
    reader = assert_sound(path)
    assert reader.n == (200, 24)
    assert (reader.status(0) == DONE).sum() == 15 + 164


def test_results_wait_at_most_half_a_second(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(STORE.time, "monotonic", lambda: clock[0])
    with open_store(tmp_path / "run") as store:

        def on_disk():
            return int((read_store(tmp_path / "run").status(0) == DONE).sum())

        store.add(outcome(0, [0]))
        assert on_disk() == 1
        clock[0] += 0.25
        store.add(outcome(0, [1]))
        assert on_disk() == 1
        clock[0] += 0.25
        store.add(outcome(0, [5]))
        assert on_disk() == 3
        store.add(outcome(0, [2, 3]))  # a chunk is complete
        assert on_disk() == 5
        store.add(outcome(0, [6]))
        monkeypatch.setattr(STORE, "_WAITING_BYTES", 10)
        store.add(outcome(0, [9]))
        assert on_disk() == 7


@pytest.mark.parametrize(
    ("row_bytes", "seconds", "count", "rows"),
    [
        (40, 1e-6, 1000, 8192),
        (4096, 1e-6, 1000, 256),
        (40, 1.0, 1000, 32),
        (40, 1e4, 1000, 1),
        (40, 1e4, 10**7, 2048),
        (2**26, 1e-6, 10**7, 1),
        (40, np.nan, 1000, 8192),
    ],
)
def test_chunk_rows(row_bytes, seconds, count, rows):
    one = outcome(0, [0], seconds=seconds)
    x = np.zeros((1, row_bytes // 4), dtype=np.float32)
    layout = LAYOUT.Layout.choose(
        Outcome(one.task, one.theta, None, one.ok, x, None, one.seconds, None),
        count=count,
        theta_dim=2,
        seeds=False,
    )
    assert layout.chunk_rows == rows
    assert "row_seed" not in layout.names()


# Kills.

STEPS = [
    ("add", 0, (0, 1, 2), ()),
    ("add", 1, (0, 1, 2), (1,)),
    ("add", 0, (3, 4, 5, 9), (4,)),
    ("reopen", 0, (4,), ()),
    ("add", 0, (4,), ()),
    ("add", 1, (3, 4), ()),
]


def play(path):
    for n in ((8, 6), (12, 6)):
        with open_store(path, n) as store:
            for action, level, rows, failed in STEPS:
                rows = np.array([row for row in rows if row < n[level]])
                if action == "reopen":
                    store.reopen(level, rows)
                    continue
                rows = rows[store.status(level)[rows] == PENDING]
                if len(rows):
                    store.add(outcome(level, rows, failed))
                store.flush()


CALLS = ("write", "fsync", "replace")


def killed_at(call, monkeypatch, path):
    """Play until a call to the system; whether it came to it. Nothing is written from then on."""
    left = [call]

    def killing(real):
        def function(*arguments):
            left[0] -= 1
            if left[0] <= 0:
                raise Kill
            return real(*arguments)

        return function

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, killing(getattr(os, name)))
        try:
            play(path)
        except Kill:
            return True
    return False


def check_kills(tmp_path, monkeypatch, calls):
    """Kill at some calls; the last one must be beyond the end."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # many runs: the disk is not what is tested
    for call in calls:
        path = tmp_path / f"{call}"
        if not killed_at(call, monkeypatch, path):
            break
        before = [read_store(path).status(level) for level in (0, 1)] if is_store(path) else None
        play(path)
        reader = assert_sound(path)
        for level, status in enumerate(before or ()):
            assert (reader.status(level)[np.flatnonzero(status == DONE)] == DONE).all()
        assert (reader.status(0) == DONE).sum() == 7
        assert reader.status(1)[:5].tolist() == [DONE, FAILED, DONE, DONE, DONE]
    assert not killed_at(10**9, monkeypatch, tmp_path / "last")
    return call


def test_killed_at_some_calls_a_store_goes_on(tmp_path, monkeypatch):
    check_kills(tmp_path, monkeypatch, range(1, 400, 23))


@pytest.mark.slow
def test_killed_at_any_call_a_store_goes_on(tmp_path, monkeypatch):
    assert check_kills(tmp_path, monkeypatch, range(1, 10**4)) > 200


WORKER = """
import os, random, sys, threading, time
sys.path[:0] = {paths!r}
import test_store
from mlsbi.simulate._rows import PENDING
store = test_store.open_store(sys.argv[1], (4000, 24))
threading.Timer(float(sys.argv[2]), os._exit, (9,)).start()
for row in range(0, 4000, 3):
    rows = [r for r in range(row, min(row + 3, 4000)) if store.status(0)[r] == PENDING]
    if rows:
        store.add(test_store.outcome(0, rows, failed=[r for r in rows if r % 50 == 0]))
        store.flush()
store.close()
os._exit(0)
"""


@pytest.mark.slow
def test_processes_that_end_at_any_time(tmp_path):
    code = textwrap.dedent(WORKER.format(paths=[str(Path(__file__).parent)]))
    delays, finished, ended = random.Random(1), 0, []
    for _ in range(5):
        delay = str(0.05 + 0.15 * delays.random())
        command = [sys.executable, "-c", code, str(tmp_path / "run"), delay]
        ended.append(subprocess.run(command, check=False).returncode)
        status = assert_sound(tmp_path / "run").status(0)
        assert (status != PENDING).sum() >= finished
        finished = int((status != PENDING).sum())
    assert 9 in ended
    with open_store(tmp_path / "run", (4000, 24)) as store:
        np.testing.assert_array_equal(store.status(0), assert_sound(tmp_path / "run").status(0))
    assert finished > 0


# One writer.


def test_a_store_has_one_writer(tmp_path):
    path = tmp_path / "run"
    with open_store(path):
        with pytest.raises(RuntimeError, match=f"process {os.getpid()} .*this very process"):
            open_store(path)
        code = f"""if True:
            import sys
            sys.path[:0] = [{str(Path(__file__).parent)!r}]
            import test_store
            test_store.open_store({str(path)!r})
        """
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert run.returncode == 1
        assert f"is in use by process {os.getpid()} on" in run.stderr.decode()
    open_store(path).close()


def test_a_store_can_be_read_while_it_is_written(tmp_path):
    with open_store(tmp_path / "run") as store:
        store.add(outcome(0, [0]))
        reader = read_store(tmp_path / "run")
        assert reader.status(0)[0] == DONE
        store.add(outcome(0, [1]))
        store.add(outcome(1, [1]))
        store.flush()
        assert (reader.status(0)[1], reader.status(1)[1]) == (DONE, DONE)


def test_a_closed_store_takes_nothing(tmp_path):
    store = open_store(tmp_path / "run")
    store.close()
    store.close()
    with pytest.raises(RuntimeError, match="is closed"):
        store.add(outcome(0, [0]))


# What is refused.


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("notes.txt", "mine", "new or a campaign's; got a folder that holds 'notes.txt'"),
        ("zarr.json", '{"attributes": {"format": "mlsbi.MultilevelData"}}', "MultilevelData"),
        ("zarr.json", '{"node_type": "array"}', "got a Zarr group of format None"),
        ("zarr.json", '{"attributes": {"format": "mlsbi.campaign", "format_vers', "damaged"),
        (
            "zarr.json",
            '{"attributes": {"format": "mlsbi.campaign", "format_version": 2}}',
            "format version 2; this mlsbi handles version 1",
        ),
    ],
)
def test_foreign_folders_are_refused(tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=match):
        open_store(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_file_is_refused_and_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="got a file"):
        open_store(tmp_path / "file")
    with pytest.raises(ValueError, match="holds no campaign"):
        read_store(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("")
    (tmp_path / "run" / ".tmp-zarr.json").write_text("{")
    open_store(tmp_path / "run").close()
    assert is_store(tmp_path / "run")
    assert not is_store(tmp_path)
    assert not is_store(tmp_path / "file")
    assert not (tmp_path / "run" / ".tmp-zarr.json").exists()


def manifest(**changes):
    level = {
        "simulator": "m.fine",
        "batched": True,
        "cost": 2.0,
        "code": {"python": "3.11", "digest": "a"},
        "settings": "s",
    }
    return {"seed": 1, "versions": {"torch": "2"}, "levels": [level, {**level, **changes}]}


def reopened(path, **changes):
    options = {"allow_changes": changes.pop("allow_changes", False)}
    root = {name: changes.pop(name) for name in ("seed", "versions") if name in changes}
    open_store(path, manifest={**manifest(**changes), **root}, **options).close()
    return json.loads((path / "zarr.json").read_text())["attributes"]


def test_another_campaign_is_refused_and_all_differences_named(tmp_path):
    reopened(tmp_path)
    before = (tmp_path / "zarr.json").read_text()
    with pytest.raises(ValueError, match="belongs to another campaign") as error:
        reopened(tmp_path, seed=2, simulator="m.other", batched=1, settings="t", extra=None)
    lines = [line.strip() for line in str(error.value).splitlines()[1:-1]]
    assert sorted(lines) == [
        "levels[1].batched: True in the store, 1 now",
        "levels[1].extra: nothing in the store, None now",
        "levels[1].settings: the settings of 'm.other' (levels[1]) changed",
        "levels[1].simulator: 'm.fine' in the store, 'm.other' now",
        "seed: 1 in the store, 2 now",
    ]
    with pytest.raises(ValueError, match="seed: 1 in the store"):
        reopened(tmp_path, seed=2, allow_changes=True)
    with pytest.raises(ValueError, match="levels"):
        open_store(tmp_path, (1,), manifest={**manifest(), "levels": []})
    assert (tmp_path / "zarr.json").read_text() == before


def test_changed_code_needs_permission_and_is_noted(tmp_path):
    reopened(tmp_path)
    code = {"python": "3.11", "digest": "b"}
    with pytest.raises(ValueError, match=r"(?s)code of 'm.fine' \(levels\[1\]\) .*allow_changes=T"):
        reopened(tmp_path, code=code)
    attributes = reopened(tmp_path, code=code, allow_changes=True)
    assert attributes["manifest"]["levels"][1]["code"] == code
    (change,) = attributes["changes"]
    assert (change["path"], change["old"]["digest"]) == ("levels[1].code", "a")
    assert reopened(tmp_path, code=code)["changes"] == [change]


def test_costs_versions_and_another_python_are_no_other_campaign(tmp_path):
    reopened(tmp_path)
    code = {"python": "3.12", "digest": "b"}
    now = reopened(tmp_path, versions={"torch": "3"}, cost=4.0, code=code)["manifest"]
    assert (now["versions"], now["levels"][1]["cost"]) == ({"torch": "3"}, 4.0)
    assert now["levels"][1]["code"]["python"] == "3.11"


# Damage.


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


def older(path):
    """As if the last write had been lost: a whole file, without the rows."""
    layout = LAYOUT.read_layout(path.parent.parent)
    FILES.write_files([FILES.chunk_file(path, layout.empty(path.parent.name))])


DAMAGE = [truncate, corrupt, empty, Path.unlink]
CASES = [(name, damage) for name in (*NAMES, "status") for damage in DAMAGE]
CASES += [(name, older) for name in ("theta", "x", "x_coarse")]


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_chunk_is_named_and_run_again(tmp_path, name, damage):
    path = fill(tmp_path / "run")
    file = next((path / "level_1" / name).glob("c.1*"))
    damage(file)
    where = f"level_1/{name}/{file.name}"
    lost = name == "status" and damage is Path.unlink  # a chunk that was never finished
    if not lost:
        with pytest.raises(ValueError, match=f"{where}.*Call simulate again"):
            read_store(path).read(1, "theta" if name == "status" else name, np.arange(8))
    if name != "status":
        read_store(path).read(1, name, np.array([0, 1, 4, 5]))
    before = read_store(path).status(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = open_store(path)
    with store:
        if not lost:
            (warning,) = caught
            assert f"{where}: " in str(warning.message)
            assert "2 rows of level 1 are run again" in str(warning.message)
        pending = np.flatnonzero(store.status(1)[:8] == PENDING)
        np.testing.assert_array_equal(pending, [2, 3])
        np.testing.assert_array_equal(store.status(0), before)
        store.close()
        assert_sound(path)
    with open_store(path) as store:  # found once
        store.add(outcome(1, [2, 3]))
    assert (assert_sound(path).status(1)[:8] == DONE).all()


@pytest.mark.parametrize("damage", [truncate, empty, Path.unlink])
@pytest.mark.parametrize("name", ["", "x", "status", "row_seed"])
def test_a_damaged_description_is_mended(tmp_path, name, damage):
    path = fill(tmp_path / "run")
    file = path / "level_1" / name / "zarr.json"
    content = file.read_bytes()
    damage(file)
    with pytest.warns(UserWarning, match=str(file.relative_to(path))), open_store(path) as store:
        assert (store.status(1) == DONE).sum() == 8
    assert_sound(path)
    assert file.read_bytes() == content


def test_a_level_that_nothing_describes_is_run_again(tmp_path):
    path = fill(tmp_path / "run")
    empty(path / "level_1" / "zarr.json")
    with pytest.raises(ValueError, match="level_1/zarr.json"):
        read_store(path).status(1)
    empty(path / "level_1" / "x" / "zarr.json")
    with pytest.warns(UserWarning, match="level 1 is run again"):
        store = open_store(path)
    with store:
        assert (store.status(1) == PENDING).all()
        assert (store.status(0) != PENDING).sum() == 16
        store.add(outcome(1, range(8)))
    assert (assert_sound(path).status(1) == DONE).sum() == 8


def test_a_damaged_root_is_named(tmp_path):
    path = fill(tmp_path / "run")
    truncate(path / "zarr.json")
    assert is_store(path)
    for call in (open_store, read_store):
        with pytest.raises(ValueError, match=r"run/zarr.json' is damaged .*Restore that file"):
            call(path)


def test_a_line_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "run"
    for row in range(3):
        with open_store(path) as store:
            store.add(outcome(0, [row], failed=[] if row == 0 else [row]))
        with open(path / "failures.jsonl", "ab") as stream:
            stream.write(b'{"level": 0, "row": 1, "mess')
    assert [failure["row"] for failure in assert_sound(path).failures()] == [1, 2]


def test_failed_rows_without_a_record_are_run_again(tmp_path):
    path = fill(tmp_path / "run")
    empty(path / "failures.jsonl")
    with pytest.raises(ValueError, match=r"failures.jsonl' is damaged"):
        read_store(path).failures()
    with pytest.warns(UserWarning, match=r"failures.jsonl: .*1 rows of level 0"):
        open_store(path).close()
    assert assert_sound(path).status(0)[6] == PENDING


def test_many_damaged_files_are_one_warning(tmp_path):
    with open_store(tmp_path / "run") as store:
        store.add(outcome(1, range(24)))
    for file in (tmp_path / "run" / "level_1" / "x").glob("c*"):
        corrupt(file)
    with pytest.warns(UserWarning, match="and 2 more") as caught:
        open_store(tmp_path / "run").close()
    assert len(caught) == 1


# A disk that is full.


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_at_any_write(tmp_path, monkeypatch, step):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # many runs
    real, number = os.write, 1 - step
    while True:
        number += step
        path, left = tmp_path / f"{number}", [number]

        def full(*arguments, left=left):
            left[0] -= 1
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            try:
                play(path)
                break
            except RuntimeError as error:
                text = str(error)
        assert text.startswith(f"the store '{path}' could not be written: ")
        assert all(part in text for part in ("No space left", "bytes are free", "are safe"))
        play(path)
        assert (assert_sound(path).status(0) == DONE).sum() == 7
    assert number > 20


def test_after_a_full_disk_close_is_quiet_and_the_lock_free(tmp_path, monkeypatch):
    store = open_store(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EDQUOT, "quota")))
        with pytest.raises(RuntimeError, match="quota"):
            store.add(outcome(0, [0]))
        with pytest.raises(RuntimeError, match="could not be written before"):
            store.flush()
        store.close()
    open_store(tmp_path / "run").close()


# Others read it; memory stays small.


def test_zarr_and_xarray_open_it(tmp_path):
    path = fill(tmp_path / "run.zarr")
    data = xarray.open_zarr(path, group="level_1", consolidated=False, chunks=None)
    assert dict(data.sizes) == {
        "row": 24,
        "parameter": 2,
        "x_0": 3,
        "x_coarse_0": 2,
        "x_coarse_1": 2,
    }
    done = data.isel(row=data.status == DONE)
    for name in NAMES:
        if not name.startswith("seconds"):
            np.testing.assert_array_equal(done[name], values(1, np.arange(8), name))
    group = zarr.open_group(path, mode="r")
    assert group.attrs["format"] == "mlsbi.campaign"
    np.testing.assert_array_equal(group["level_0/x"][20], values(0, [20], "x")[0])
    assert np.isnan(group["level_0/x"][30]).all()


def test_memory_does_not_grow_with_rows(tmp_path):
    rows, first = 100_000, outcome(0, range(1024), seconds=1e-6)
    tracemalloc.start()
    try:
        with open_store(tmp_path / "run", (rows, 1)) as store:
            for start in range(0, rows, 1024):
                task = Task(0, np.arange(start, min(start + 1024, rows)))
                k = len(task)
                x, ok = np.repeat(first.x[:k], 8, axis=1), first.ok[:k]
                arrays = (first.theta[:k], first.row_seed[:k], ok, x, None, first.seconds[:k], None)
                store.add(Outcome(task, *arrays))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    written = sum(file.stat().st_size for file in (tmp_path / "run").rglob("c*") if file.is_file())
    assert written > 10e6
    assert peak < 4e6
