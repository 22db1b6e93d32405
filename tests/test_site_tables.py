"""The measured tables of the front page and the strategies are those of the results kept here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mlsbi.benching.page import filled

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "paper.csv"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(
        "measured_tables", ROOT / "examples" / "measured_tables.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_show_what_was_measured(script):
    found = script.parts(RESULTS)
    for page in script.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        renew = "run: python examples/measured_tables.py benchmarks/results/paper.csv"
        assert filled(text, found) == text, renew


def test_a_row_has_the_mean_over_seeds_and_its_error(script, tmp_path):
    lines = ["task,budget,strategy,estimator,seed,metric,value,seconds,commit"]
    for strategy, budget, values in (
        ("default", "1000,10", (-1.0, -2.0)),
        ("emulator", "1000,10", (-0.5, -0.7)),
        ("single", "1000,10", (0.0, 0.2)),
        ("single", "0,100", (-1.0, -1.0)),
        ("single", "0,1000", (-2.0, -2.0)),
    ):
        for seed, value in enumerate(values, 10):
            lines.append(f'ou,"{budget}",{strategy},mdn,{seed},nlpd_mean,{value},1.0,abc')
    path = tmp_path / "results.csv"
    path.write_text("\n".join(lines) + "\n")
    front = script.parts(path)["front"].splitlines()
    # Half way, on a logarithmic scale, from 100 runs at -1 to 1000 at -2.
    row = "| Ornstein-Uhlenbeck | 10 | **-1.50 ± 0.50** | -0.60 | 0.10 | 320 |"
    assert row in front
    assert "| g-and-k | 10 |  |  |  |  |" in front  # not measured
