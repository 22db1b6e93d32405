"""The benchmark "never worse": its arithmetic, and that it runs, resumes and says what is worse."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def never_worse() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "never_worse.py"
    spec = importlib.util.spec_from_file_location("never_worse", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_excess_is_over_the_better_single_level_method_by_mean(never_worse: ModuleType) -> None:
    def scores(*values: float) -> object:
        return never_worse.Scores(nlpd=dict(enumerate(values)))

    found = {"single": scores(1.0, 3.0), "emulator": scores(2.0, 1.0), "default": scores(2.5, 1.1)}
    assert never_worse.best_single_level(found) == "emulator"
    above = never_worse.excess(found, "default")
    assert above == pytest.approx([0.5, 0.1])
    assert never_worse.mean_and_error(above, sign="+") == "+0.300 ± 0.200"
    assert never_worse.is_worse(above, 0.29)
    assert not never_worse.is_worse(above, 0.31)
    assert never_worse.is_worse([math.nan], 0.1)
    assert never_worse.is_worse([math.inf, 0.0], 0.1)
    assert not never_worse.is_worse([], 0.1)
    assert never_worse.excess(found, "single") == []


def test_never_worse_runs_resumes_and_says_what_is_worse(
    never_worse: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "never_worse.csv"
    call = ["--strategies", "single,multilevel", "--tasks", "integers", "--budget", "30,8"]
    call += ["--estimator", "mdn:1", "--seeds", "1", "--max-steps", "2", "--jobs", "1"]
    code = never_worse.main([*call, "--out", str(out), "--tolerance", "1e6"])
    text = capsys.readouterr().out
    assert code == 0
    assert "2 of 2 cells to run" in text
    assert "exact posterior -0." in text
    assert "CONVERGED 1" in text
    written = out.read_bytes()
    assert never_worse.main([*call, "--out", str(out), "--tolerance=-1e6"]) == 1
    text = capsys.readouterr().out
    assert "0 of 2 cells to run" in text
    assert "stress-integers (30, 8) multilevel" in text
    assert out.read_bytes() == written
    with pytest.raises(SystemExit):
        never_worse.main([*call, "--tasks", "nope"])
    assert "name must be one of" in capsys.readouterr().err
