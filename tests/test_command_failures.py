"""`CommandLevel`: what programs do wrong, and what they leave behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from sbi.utils import BoxUniform

from mlsbi import Hierarchy, simulate
from mlsbi.simulate._command import CommandLevel
from mlsbi.simulate._scratch import remove_leftovers, scratch_folder
from programs import alive, executable, run, sh, wait_until


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch folder"


FAILURES = {
    "exit code": ("echo what went wrong >&2; echo half; exit 3", "ended with exit code 3"),
    "signal": ("kill -SEGV $$", "was killed by SIGSEGV"),
    "no numbers": ("echo abc", "cannot be read: ValueError"),
    "nothing": ("true", "cannot be read: ValueError: it is empty"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failures_say_how_and_leave_nothing(kind, scratch):
    script, message = FAILURES[kind]
    level = sh(script, "a b", "{seed}", scratch=scratch)
    with pytest.raises(RuntimeError, match=message) as caught:
        run(level)
    assert "command: /" in str(caught.value)
    assert "sh 'a b' 7\n" in str(caught.value)
    assert list(scratch.iterdir()) == []
    if kind == "exit code":
        assert "stderr: what went wrong\nstdout: half\n" in str(caught.value)


def test_missing_output_names_it_and_the_remedy(scratch):
    level = sh('echo 1 >"$1.csv"', "{out}", scratch=scratch, suffix=".txt")
    with pytest.raises(RuntimeError, match=r"wrote no output file 'out.txt'; suffix="):
        run(level)


def test_a_reader_that_fails():
    def read(path):
        raise KeyError("column")

    with pytest.raises(RuntimeError, match="cannot be read: KeyError: 'column'") as caught:
        run(sh("echo 1", read=read))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_program_that_is_gone(tmp_path):
    path = executable(tmp_path / "sim", "#!/bin/sh\necho 1\n")
    level = CommandLevel([path])
    assert run(level).tolist() == [1.0]
    path.unlink()
    with pytest.raises(RuntimeError, match=r"could not be started.*No such file"):
        run(level)


def test_relative_paths_in_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sim.py").write_text("print(4)")
    with pytest.raises(RuntimeError, match=r"for 'sim.py' write '\{cwd\}/sim.py'"):
        run(CommandLevel([sys.executable, "sim.py"]))
    level = CommandLevel([sys.executable, "{cwd}/sim.py"])
    monkeypatch.chdir("/")
    assert run(level).tolist() == [4.0]


def test_keep_failed_keeps_failed_runs_only(scratch):
    script = 'echo half >"$1"; echo 5; exit "$2"'
    bad = sh(script, "{scratch}/note", "1", scratch=scratch, keep_failed=True)
    with pytest.raises(RuntimeError) as caught:
        run(bad)
    run(sh(script, "{scratch}/note", "0", scratch=scratch, keep_failed=True))
    (folder,) = scratch.iterdir()
    assert f"scratch folder, kept: {folder}" in str(caught.value)
    assert {path.name for path in folder.iterdir()} == {
        "note", "mlsbi-stdout.txt", "mlsbi-stderr.txt"
    }  # fmt: skip


def test_large_output_neither_blocks_nor_fills_the_message(scratch):
    script = "head -c 3000000 /dev/zero | tr '\\0' x >&2; head -c 3000000 /dev/zero; exit 1"
    with pytest.raises(RuntimeError) as caught:
        run(sh(script, scratch=scratch))
    assert "stderr: ... xxx" in str(caught.value)
    assert len(str(caught.value)) < 6000


def test_write_protected_folders_are_removed(scratch):
    run(sh("mkdir -p a/b; echo 1 >a/b/c; chmod -R a-w a; ln -s / away; echo 1", scratch=scratch))
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("sandbox", ["0", "1"])
def test_timeout_kills_what_the_program_started(sandbox, scratch, tmp_path, monkeypatch):
    monkeypatch.setenv("MLSBI_SANDBOX", sandbox)
    note = tmp_path / "pids"
    script = f'sleep 60 & echo $! >"{note}"; echo $$ >>"{note}"; sleep 60; echo 1'
    level = sh(script, scratch=scratch, timeout=0.3)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"killed: it ran longer than its timeout of 0.3 s"):
        run(level)
    assert time.monotonic() - begin < 10
    child, program = map(int, note.read_text().split())
    assert wait_until(lambda: not alive(child))
    assert not alive(program)
    assert list(scratch.iterdir()) == []


def test_a_child_left_behind_is_killed(tmp_path):
    note = tmp_path / "pid"
    assert run(sh(f'sleep 60 & echo $! >"{note}"; echo 1')).tolist() == [1.0]
    assert wait_until(lambda: not alive(int(note.read_text())))


def test_in_a_sandbox_the_program_stays_in_the_group(monkeypatch):
    monkeypatch.setenv("MLSBI_SANDBOX", "1")
    code = "import os; print(os.getpgid(0))"
    assert run(CommandLevel([sys.executable, "-c", code])).tolist() == [os.getpgid(0)]
    monkeypatch.setenv("MLSBI_SANDBOX", "0")
    assert run(CommandLevel([sys.executable, "-c", code])).tolist() != [os.getpgid(0)]


def test_an_interrupt_kills_the_program(tmp_path, scratch):
    note = tmp_path / "pid"
    # A shell that starts a job in the background has it ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt():
        if wait_until(lambda: note.exists() and note.read_text().endswith("\n")):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(sh(f'echo $$ >"{note}"; exec sleep 60', scratch=scratch))
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begin < 20
    assert not alive(int(note.read_text()))
    assert list(scratch.iterdir()) == []


def test_runs_at_the_same_time_do_not_meet(scratch):
    level = sh('echo "$1" >out.txt; sleep 0.05; cat out.txt', "{seed}", scratch=scratch)
    with ThreadPoolExecutor(4) as pool:
        got = [float(x[0]) for x in pool.map(lambda seed: run(level, seed=seed), range(12))]
    assert got == list(range(12))
    assert list(scratch.iterdir()) == []


def test_leftovers_of_killed_runs_are_removed(scratch):
    old = time.time() - 3600
    with scratch_folder(scratch) as kept:
        kept.keep()
    with scratch_folder(scratch) as running:
        for name, lock in (("mlsbi-run-dead", True), ("mlsbi-run-no-lock", False), ("x", True)):
            (scratch / name).mkdir()
            if lock:
                (scratch / name / "mlsbi-lock").touch()
        fresh = scratch / "mlsbi-run-fresh"
        fresh.mkdir()
        (fresh / "mlsbi-lock").touch()
        for path in scratch.iterdir():
            if path != fresh:
                os.utime(path, (old, old))
        remove_leftovers(scratch, -1)
        left = {path.name for path in scratch.iterdir()}
        assert left == {running.path.name, kept.path.name, fresh.name, "mlsbi-run-no-lock", "x"}


def test_a_new_process_removes_leftovers_by_itself(scratch):
    scratch.mkdir()
    dead = scratch / "mlsbi-run-dead"
    dead.mkdir()
    (dead / "mlsbi-lock").touch()
    os.utime(dead, (0, 0))
    run(sh("echo 1", scratch=scratch))
    assert list(scratch.iterdir()) == []


def test_what_a_program_leaves_behind_ends_with_it_in_a_worker_too(tmp_path):
    """The mark is in the command line of what is left, and nowhere else."""
    mark = f"{7_000_000 + os.getpid()}.5"
    level = CommandLevel(["sh", "-c", f"sleep {mark} & echo {{theta[0]}}"])
    prior = BoxUniform(torch.zeros(1), torch.ones(1))
    data = simulate(Hierarchy(prior, [level]), [5], seed=0, executor=1)
    assert torch.equal(data.x(0), data.theta(0))
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(entry.read_bytes())
        except OSError:
            pass  # it has just ended
    assert not [c for c in commands if f"sleep\0{mark}".encode() in c]


def test_another_version_of_a_program_is_another_simulator(tmp_path):
    script = tmp_path / "sim.sh"
    script.write_text("#!/bin/sh\necho 1\n")
    script.chmod(0o755)
    first, same = CommandLevel([script]).simulator, CommandLevel([script]).simulator
    script.write_text("#!/bin/sh\necho 2\n")
    assert first == same
    assert CommandLevel([script]).simulator != first
    by_argument = CommandLevel(["sh", script]).simulator
    script.write_text("#!/bin/sh\necho 3\n")
    assert CommandLevel(["sh", script]).simulator != by_argument
