"""A campaign under fire: signals to its processes at random, and nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from chaos import run_chaos


def check(chaos, kills):
    assert sum(chaos.kills.values()) == kills
    assert chaos.starts > 1  # the coordinator was hit, too
    assert chaos.rerun == 0, "rows that were in the store were run again"
    assert chaos.failures == 0, "a kill cost a row"
    assert chaos.identical


def test_a_few_kills(tmp_path):
    check(run_chaos(tmp_path, kills=7, seed=2, n=(1000, 200)), 7)


@pytest.mark.slow
def test_fifty_kills(tmp_path):
    check(run_chaos(tmp_path, kills=50, seed=0), 50)
