"""Processes that run simulators: watched, killed, replaced, and never left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mlsbi import Level
from mlsbi.simulate._calls import InProcess, Request
from mlsbi.simulate._sandbox import Sandbox, SandboxClosedError


def act(theta, seed):
    """The seed says what to do."""
    if seed == 1:
        raise ValueError("one")
    if seed == 2:
        os._exit(7)
    if seed == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 4:
        time.sleep(60)
    if seed == 5:  # leaves something behind that would run on
        os.system("sleep 61 &")
    if seed == 6:
        time.sleep(0.08)
    return theta + seed


def request(*seeds, timeout=None):
    groups = [np.array([i]) for i in range(len(seeds))]
    return Request(0, groups, torch.zeros(len(seeds), 2), torch.tensor(seeds), timeout)


def results(runner, *seeds, timeout=None):
    """Of each run: its value, or the kind of its fault."""
    found = dict(runner.run(request(*seeds, timeout=timeout)))
    assert sorted(found) == list(range(len(seeds)))
    return [r.fault.kind if r.fault else float(r.x[0, 0]) for _, r in sorted(found.items())]


@pytest.fixture
def sandbox():
    box = Sandbox([Level(act, batched=False)])
    yield box
    box.close()


def fork_of(sandbox):
    """The process that runs simulators, and what it started."""
    pid = sandbox._warden.process.pid
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_every_group_gets_one_result_whatever_happens(sandbox):
    seeds = [0, 1, 10, 2, 20, 4, 30, 3, 40]
    expected = [0, "exception", 10, "died", 20, "timeout", 30, "died", 40]
    assert results(sandbox, *seeds, timeout=0.4) == expected
    assert results(sandbox, 50, 60) == [50, 60]


def test_it_agrees_with_this_process(sandbox):
    assert results(sandbox, 0, 1, 10, 6) == results(
        InProcess([Level(act, batched=False)]), 0, 1, 10, 6
    )


def test_messages_say_how_a_process_ended(sandbox):
    texts = [r.fault.message for _, r in sandbox.run(request(2, 3))]
    assert "exit code 7" in texts[0]
    assert "SIGSEGV" in texts[1]


def test_a_timeout_is_of_one_run_not_of_all(sandbox):
    assert results(sandbox, *[6] * 10, timeout=0.5) == [6.0] * 10  # 0.8 s together


def test_killed_from_outside(sandbox):
    """The fork, then the warden: what had no result is run again, nobody is blamed but the row."""
    results(sandbox, 0)

    def kill_fork():
        os.kill(fork_of(sandbox)[0], signal.SIGKILL)

    def kill_warden():
        sandbox._warden.process.kill()

    for kill in (kill_fork, kill_warden):
        timer = threading.Timer(0.25, kill)
        timer.start()
        found = results(sandbox, *[6] * 12)
        timer.join()
        assert found.count("died") <= 1
        assert set(found) <= {6.0, "died"}
        assert results(sandbox, 7) == [7]


def test_what_a_simulator_started_ends_with_it(sandbox):
    results(sandbox, 5)
    mine = os.getpgid(fork_of(sandbox)[0])

    def members():
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.getpgid(int(entry.name)) == mine:
                        found.append(int(entry.name))
                except ProcessLookupError:
                    pass
        return found

    assert len(members()) > 1
    assert results(sandbox, 2) == ["died"]
    assert wait_until(lambda: members() == [])


def test_closing_while_it_runs(sandbox):
    caught = []

    def run():
        try:
            results(sandbox, 4)
        except SandboxClosedError as error:
            caught.append(error)

    results(sandbox, 0)
    pid = fork_of(sandbox)[0]
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    sandbox.close()
    thread.join(timeout=10)
    assert len(caught) == 1
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(SandboxClosedError):
        results(sandbox, 0)


def test_a_closed_sandbox_leaves_its_warden_for_the_next_one():
    first = Sandbox([Level(act, batched=False)])
    results(first, 0)
    warden = first._warden
    first.close()
    second = Sandbox([Level(lambda theta, seed: theta - seed, batched=False)])
    assert results(second, 3) == [-3]
    assert second._warden is warden
    second.close()
    other = Sandbox([Level(act, batched=False)], environment={"MLSBI_TEST": "1"})
    results(other, 0)
    assert other._warden is not warden  # its environment is not what this one asked for
    other._warden.end()
    other.close()


def test_the_working_folder_is_the_callers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text("5")
    box = Sandbox(
        [Level(lambda theta, seed: theta + float(Path("here").read_text()), batched=False)]
    )
    assert results(box, 0) == [5]
    box.close()


def test_simulators_are_loaded_after_the_fork_where_a_gpu_is_in_use(monkeypatch):
    """A process that has touched a GPU cannot fork one that uses it."""

    class Loaded:
        """Notes which process loaded it."""

        def __call__(self, theta, seed):
            return np.float32([self.loaded_by, os.getpid()])

        def __getstate__(self):
            return {}

        def __setstate__(self, state):
            self.loaded_by = os.getpid()

    found = {}
    for in_use in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda in_use=in_use: in_use)
        box = Sandbox([Level(Loaded(), batched=False)])
        ((_, result),) = box.run(request(0))
        loader, runner = result.x[0].tolist()
        found[in_use] = loader == runner
        box.close()
    assert found == {False: False, True: True}


def test_a_request_that_is_given_up_leaves_nothing_to_the_next(sandbox):
    """Its results must not be taken for those of the request that follows."""
    first = sandbox.run(request(*[6] * 20))
    assert next(first)[1].x[0, 0] == 6
    first.close()
    assert results(sandbox, 10, 20, 30) == [10, 20, 30]
