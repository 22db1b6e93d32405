"""The demo, tiny: what it prints and writes, and that it says plainly when nothing was saved."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import mlsbi
from mlsbi._compare import Match
from mlsbi._demo_report import saving
from mlsbi.demo import camels_problem, ou_problem, run_demo
from page_reader import read_page
from quick import rough_processes


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    rough_processes(monkeypatch)


def run(problem, out, **options):
    console = Console(width=120, record=True, file=io.StringIO())
    result = run_demo(problem, out=out, console=console, max_steps=3, **options)
    return result, console.export_text()


def data(costs):
    pairs = (torch.rand(4, 1), torch.rand(4, 2), torch.rand(4, 2))
    prior = [torch.distributions.Uniform(0.0, 1.0)]
    low = (torch.rand(100, 1), torch.rand(100, 2))
    return mlsbi.MultilevelData.from_arrays(prior, [low, pairs], costs=costs)


def test_ou_from_simulation_to_files(tmp_path):
    problem = replace(ou_problem(), n=(30, 6), curve=(6, 12))
    result, text = run(problem, tmp_path / "[bold]", seed=1)  # brackets are no markup
    assert [line.name for line in result.lines] == [
        "multilevel", "high level alone", "low level alone", "exact posterior",
    ]  # fmt: skip
    assert result.lines[0].n == (30, 6)
    assert result.lines[0].cost == 30 + 6 * 11
    assert list(result.curve) == [6, 12]
    # the exact posterior is the best there is
    assert result.lines[-1].nlpd == min(line.nlpd for line in result.lines)
    for path in result.files.values():
        assert path.exists()
        assert str(path) in text
    assert mlsbi.load_fit(result.files["fit"]).n == (30, 6)
    assert "mlsbi bench ou" in text
    assert "Checked on 500 held-out runs" in text
    page = read_page(result.files["report"].read_text(encoding="utf-8"))
    assert page.headings[0][1].startswith("Ornstein-Uhlenbeck")
    assert [row[0] for row in page.tables["Verdict by parameter"]][2:] == ["γ", "μ", "σ"]
    assert (
        "level 1 alone" in page.tables["Posteriors beside each other: mean ± standard deviation"][0]
    )


@pytest.mark.data
def test_camels_tests_on_the_runs_that_nobody_used(tmp_path, data_folder):
    problem = replace(camels_problem(data_folder), curve=(20, 40))
    result, text = run(problem, tmp_path, seed=0)
    assert "980 held-out" in text
    assert result.lines[0].n == (980, 20)
    assert result.lines[0].cost is None
    assert len(result.lines) == 3
    assert (tmp_path / "posterior.png").stat().st_size > 5_000
    page = read_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.headings[0] == (
        1,
        "CAMELS: σ8 from the matter power spectrum of a hydrodynamic simulation",
    )


@pytest.mark.parametrize(
    ("match", "costs", "words"),
    [
        (Match(4, "at most"), (1.0, 10.0), "No saving here: the same 4"),
        (Match(400, "about"), (1.0, 10.0), "factor 100.0 in high-level runs, and 27.8 in cost"),
        (Match(8, "about"), (1.0, 10.0), "factor 2.0 in high-level runs, but nothing in cost"),
        (
            Match(8, "more than"),
            (1.0, 10.0),
            "more than 2.0 in high-level runs; in cost it is open",
        ),
        (Match(80, "more than"), (1.0, 10.0), "and more than 5.6 in cost"),
        (Match(8, "about"), None, "do not say what a run costs"),
    ],
)
def test_the_saving_in_words(match, costs, words):
    assert words in saving(match, data(costs))
