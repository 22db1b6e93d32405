"""Whole jobs side by side: results in order, failures on their own, nothing left running."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mlsbi import LocalProcesses
from mlsbi._workers import check_executor, each, slots_of


def work(job):
    """What a job may do: return, fail, print, or take its process down."""
    if job == "fail":
        raise ValueError("of its own making")
    if job == "die":
        os._exit(3)
    if job == "odd":
        raise Unpicklable(threading.Lock())
    print("something on standard output")
    return torch.full((3,), float(job)), os.getpid(), torch.get_num_threads()


class Unpicklable(Exception):
    """Cannot go to another process."""


def ran(jobs, executor):
    counts, executor = [], check_executor(executor)
    return each(work, jobs, executor=executor, done=counts.append), counts


@pytest.mark.parametrize("executor", [None, 2, "threads"], ids=str)
def test_results_come_in_order_and_a_failure_ends_no_other(executor):
    jobs = [3, "fail", 1, "odd", 2]
    if executor == "threads":
        with ThreadPoolExecutor(2) as threads:
            results, counts = ran(jobs, threads)
    else:
        results, counts = ran(jobs, executor)
    assert counts == [1, 2, 3, 4, 5]
    for job, result in zip(jobs, results, strict=True):
        if isinstance(job, int):
            assert torch.equal(result[0], torch.full((3,), float(job)))
            assert (result[1] == os.getpid()) == (executor != 2)
    assert isinstance(results[1], ValueError)
    assert str(results[1]) == "of its own making"
    if executor is not None:
        assert "in another process" in str(results[1].__cause__)
        assert isinstance(results[3], RuntimeError)


def test_a_process_that_dies_costs_its_job_alone_and_none_is_left():
    results, _ = ran([1, "die", 2, 3], 1)
    assert "exit code 3" in str(results[1])
    assert [int(results[i][0][0]) for i in (0, 2, 3)] == [1, 2, 3]
    assert results[2][1] == results[3][1] != results[0][1]  # one that replaced it
    for pid in (results[0][1], results[3][1]):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_threads_are_shared_out():
    torch.set_num_threads(1)
    results, _ = ran([1, 2], 2)
    assert [threads for _, _, threads in results] == [1, 1]


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mlsbi import LocalProcesses\nfrom mlsbi._workers import each\n"
        "def double(x):\n    return 2 * x\n"
        "print(each(double, [1, 2], executor=LocalProcesses(1), done=lambda n: None))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[2, 4]"


def device(_):
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_worker_has_a_device_of_its_own():
    two = LocalProcesses(devices=["5"])
    assert each(device, [1, 2], executor=two, done=lambda n: None) == ["5", "5"]


def test_what_cannot_be_pickled_is_named():
    lock = threading.Lock()
    (result,) = each(work, [lock], executor=LocalProcesses(1), done=lambda n: None)
    assert isinstance(result, TypeError)
    assert "executor=None" in str(result)


def test_executors():
    assert check_executor(None) is None
    assert slots_of(None, 5) == 1
    assert [slots_of(check_executor(n), 5) for n in (3, 8)] == [3, 5]
    assert check_executor(LocalProcesses(2, threads=3)).threads == 3
    with ThreadPoolExecutor(2) as threads:
        assert check_executor(threads) is threads
        assert slots_of(threads, 5) == 2
    for wrong in ("two", True, 1.5):
        with pytest.raises(TypeError, match="executor must be None, a number of processes"):
            check_executor(wrong)
    with pytest.raises(ValueError, match="executor must be at least 1"):
        check_executor(0)
