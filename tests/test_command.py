"""`CommandLevel`: programs as simulators, and what they do wrong."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform

from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import simulate
from mlsbi.simulate._command import CommandLevel
from mlsbi.simulate._scratch import remove_leftovers, scratch_folder

THETA = np.array([0.1, 2.5], dtype=np.float32)
PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))


def sh(script, *arguments, **options):
    """A level that runs a shell script; arguments are $1, $2, ..."""
    return CommandLevel(["sh", "-c", script.replace("{", "{{").replace("}", "}}"), "sh",
                         *arguments], **options)  # fmt: skip


def run(level, theta=THETA, seed=7):
    """One row, as `simulate` would call it."""
    return np.asarray(level.simulator(theta, seed))


def executable(path, script):
    path.write_text(script)
    path.chmod(0o755)
    return path


def alive(pid):
    """Whether a process runs (a zombie that nobody collects does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch folder"


def test_it_is_a_row_by_row_level():
    level = CommandLevel(["sh", "-c", "true"], cost=2.0)
    assert isinstance(level, Level)
    assert (level.batched, level.cost, level.name) == (False, 2.0, "sh")
    assert CommandLevel(["sh"], name="own").name == "own"


def test_placeholders(scratch):
    script = 'printf "%s\\n" "$@" "$MLSBI_SEED" "$PWD" >"$4"'
    arguments = ["{theta}", "a{theta[1]}b{theta[0]}", "{seed}", "{out}", "{scratch}", "{cwd}",
                 "{{theta}}", ""]  # fmt: skip
    level = sh(script, *arguments, scratch=scratch, read=lambda p: p.read_text().split("\n"))
    got = run(level).tolist()
    folder = got[4]
    exact = repr(float(np.float32(0.1)))
    assert got[:3] == [f"{exact},2.5", f"a2.5b{exact}", "7"]
    assert (Path(folder).parent, got[3]) == (scratch, f"{folder}/out")
    assert got[5:] == [os.getcwd(), "{theta}", "", "7", folder, ""]
    spaced = sh('printf "%s" "$1"', "{theta}", separator=" ", read=lambda p: p.read_text())
    assert str(run(spaced)) == f"{exact} 2.5"


def test_numbers_read_back_exactly():
    theta = torch.randn(200, generator=torch.Generator().manual_seed(1)).numpy() * 1e-3
    got = run(sh('printf "%s\\n" "$@"', *[f"{{theta[{i}]}}" for i in range(200)]), theta)
    assert np.array_equal(got.astype(np.float32), theta)


@pytest.mark.parametrize("text", ["1 2.5\n", "1,2.5", "# head\n1\n\n2.5 # tail\n", "1, 2.5\n"])
def test_text_is_read_as_a_vector(text):
    assert np.array_equal(run(sh('printf "%b" "$1"', text)), [1.0, 2.5])
    assert np.array_equal(run(sh('printf "%b" "$2" >"$1"', "{out}", text)), [1.0, 2.5])


def test_npy_keeps_its_shape_and_holds_no_objects():
    code = "import sys, numpy; numpy.save(sys.argv[1], {})"
    level = CommandLevel(
        [sys.executable, "-c", code.format("numpy.ones((2, 3))"), "{out}"], suffix=".npy"
    )
    assert run(level).shape == (2, 3)
    bad = CommandLevel(
        [sys.executable, "-c", code.format("numpy.array([None])"), "{out}"], suffix=".npy"
    )
    with pytest.raises(RuntimeError, match="cannot be read: ValueError: Object arrays"):
        run(bad)


def test_in_a_hierarchy_pairs_share_theta_and_seed():
    level = sh('echo "$1 $(($2 % 997))"', "{theta[0]}", "{seed}")
    data = simulate(Hierarchy(PRIOR, [level, level]), [3, 2], seed=0)
    assert torch.equal(data.x(1), data.x_coarse(1))
    assert torch.equal(data.x(1)[:, 0], data.theta(1)[:, 0])
    assert len(set(data.x(0)[:, 1].tolist())) == 3


def test_program_is_found_from_the_current_folder_once(tmp_path, monkeypatch):
    place = tmp_path / "my programs"
    place.mkdir()
    executable(place / "sim", "#!/bin/sh\necho 5\n")
    monkeypatch.chdir(place)
    levels = [CommandLevel(["./sim"]), CommandLevel([Path("sim").absolute()])]
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    levels.append(CommandLevel(["sim"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.undo()
    assert [run(level).tolist() for level in levels] == [[5.0]] * 3


def test_links_are_not_followed(tmp_path):
    (tmp_path / "other").symlink_to("/bin/sh")
    level = CommandLevel([tmp_path / "other", "-c", 'basename "$0"'], read=lambda p: p.read_text())
    assert str(run(level)).strip() == "other"


def test_it_can_be_pickled():
    level = pickle.loads(pickle.dumps(sh('echo "$1"', "{theta}")))
    assert np.array_equal(run(level).astype(np.float32), THETA)


@pytest.mark.parametrize(
    ("argv", "error", "message"),
    [
        ("sh", TypeError, r"argv must be list or tuple; got str"),
        ([], ValueError, r"argv must not be empty"),
        (["sh", 3], TypeError, r"argv\[1\] must be str or PathLike; got int"),
        (["sh", "{thta}"], ValueError, r"argv\[1\] .* got \{thta\} in '\{thta\}'.*\{theta\[0\]\}"),
        (["sh", "{}"], ValueError, r"known placeholders"),
        (["sh", "{theta[x]}"], ValueError, r"got \{theta\[x\]\}"),
        (["sh", "{seed:d}"], ValueError, r"got \{seed:d\}"),
        (["sh", "{seed!r}"], ValueError, r"got \{seed!r\}"),
        (["sh", "{theta"], ValueError, r"balanced braces.*Double"),
        (["sh", "a}"], ValueError, r"balanced braces"),
        (["{out}"], ValueError, r"argv\[0\] must have no placeholder"),
        (["no-such-program"], ValueError, r"'no-such-program', which was not found"),
        (["./no-such-program"], ValueError, r"not found"),
        (["/"], ValueError, r"not found"),
    ],
)
def test_bad_argv_is_refused_at_once(argv, error, message):
    with pytest.raises(error, match=message):
        CommandLevel(argv)


def test_a_file_that_is_not_executable(tmp_path):
    (tmp_path / "sim").write_text("#!/bin/sh\n")
    with pytest.raises(ValueError, match=r"not executable.*chmod \+x"):
        CommandLevel([tmp_path / "sim"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"read": 3}, TypeError, "read must be callable"),
        ({"timeout": 0}, ValueError, "timeout must be finite and positive"),
        ({"scratch": 3}, TypeError, "scratch must be"),
        ({"keep_failed": 1}, TypeError, "keep_failed must be bool"),
        ({"separator": None}, TypeError, "separator must be str"),
        ({"suffix": 3}, TypeError, "suffix must be str"),
        ({"suffix": "/x"}, ValueError, "suffix must hold no path"),
        ({"cost": -1.0}, ValueError, "cost must be"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        CommandLevel(["sh"], **options)


@pytest.mark.parametrize("u", [1.5, True, np.zeros(3), {"z": 1}])
def test_other_noise_is_refused(u):
    with pytest.raises(TypeError, match="one seed a row.*Leave noise out"):
        run(sh("echo 1"), seed=u)


def test_a_parameter_that_is_not_there():
    with pytest.raises(ValueError, match=r"\{theta\[0\]\} to \{theta\[1\]\}; got \{theta\[2\]\}"):
        run(sh("echo 1", "{theta[2]}"))


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

    def interrupt():
        if wait_until(lambda: note.exists() and note.read_text().endswith("\n")):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(sh(f'echo $$ >"{note}"; exec sleep 60', scratch=scratch))
    thread.join()
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
