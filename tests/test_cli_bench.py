"""`mlsbi bench`: what it prints, what it refuses, and that a second call runs nothing."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from command_line import run
from mlsbi.benching.names import TASKS, check_strategy
from mlsbi.cli import app
from mlsbi.commands import _bench_options

TINY = ["--max-steps", "2", "--estimator", "mdn:1", "--budget", "20,5", "--seeds", "1"]


def test_help_names_the_tasks():
    code, text = run("bench", "--help")
    assert code == 0
    assert "max-steps" not in text
    assert all(name in text for name in [*TASKS, "by default official", "--quick"])


@pytest.mark.parametrize(
    ("arguments", "option", "remedy"),
    [
        (["bench", "nope"], "TASK", "must be one of g-and-k-nle"),
        (["bench", "ou", "--strategy", "nope"], "--strategy", "multilevel, paper, transfer"),
        (["bench", "ou", "--budget", "1000"], "--budget", "2 numbers of runs"),
        (["bench", "ou", "--single-runs", "x"], "--single-runs", "100,300,800"),
        (["bench", "ou", "--single-runs", "0"], "--single-runs", "100,300,800"),
        (["bench", "ou", "--estimator", "nope"], "--estimator", "mdn, maf, nsf"),
        (["bench", "ou", "--paper-estimator", "mdn:x"], "--paper-estimator", "nsf:1"),
        (["bench", "ou", "--seeds", "0"], "--seeds", "1"),
        (["bench", "camels-2"], "--data", "--data FOLDER"),
        (["bench"], "TASK", "or use --all or --quick"),
        (["bench", "ou", "--strategy", "default-equal"], "--strategy", "sbi with -equal"),
        (["bench", "--all", "--budget", "20,5"], "--all", "leave --budget"),
        (["bench", "ou", "--quick", "--paper-epochs", "3"], "--quick", "--paper-epochs out"),
        (["bench", "linear-gaussian", "--quick"], "TASK", "got linear-gaussian"),
        (["bench", "nope", "--all"], "TASK", "stress-wide; got nope"),
        (["bench", "camels-2", "--data", "/nowhere"], "--data", "folder of the CAMELS spectra"),
    ],
)
def test_errors_name_the_option_and_the_remedy(arguments, option, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # should one slip through, its results.csv stays here
    code, text = run(*arguments)
    assert code == 2
    assert f"Invalid value for {option}" in text.replace("'", "")
    assert remedy in text


def test_out_that_is_no_results_file_is_refused(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n")
    code, text = run("bench", "ou", "--out", other, *TINY)
    assert code == 2
    assert "Invalid value for --out" in text
    assert other.read_text() == "a,b\n"


def test_bench_runs_resumes_and_shows_the_figures_of_others(tmp_path):
    out = tmp_path / "results.csv"
    call = ["bench", "ou", "--strategy", "single", "--strategy", "paper-none", "--out", out, *TINY]
    code, text = run(*call)
    assert code == 0
    assert "2 of 2 cells to run" in text
    assert "paper-none@500" in text
    assert "exact posterior" in text
    written = out.read_bytes()
    code, text = run(*call)
    assert code == 0
    assert "0 of 2 cells to run" in text
    assert out.read_bytes() == written
    assert "1 of 3 cells to run" in run(*call, "--single-runs", "8")[1]


def test_a_failed_cell_is_said_and_ends_in_1(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken simulator")

    monkeypatch.setattr("mlsbi.benching.run.fit_posterior", broken)
    code, text = run("bench", "ou", "--strategy", "single", "--out", tmp_path / "r.csv", *TINY)
    assert code == 1
    assert "FAILED, RuntimeError: broken simulator" in text


def test_all_leaves_camels_out_without_data(tmp_path):
    code, text = run("bench", "all", "--budget", "20,5", "--out", tmp_path / "r.csv")
    assert code == 2  # the toggle switch has three levels
    assert "CAMELS tasks are left out" in text
    assert "3 numbers of runs" in text


def test_quick_says_how_long_it_will_take_and_draws_the_figures(tmp_path):
    out, figures, page = (tmp_path / name for name in ("r.parquet", "new", "page.md"))
    page.write_text("<!-- bench: ou -->\n<!-- bench end -->\n")
    call = ["bench", "ou", "--quick", "--strategy", "exact", "--jobs", "1", "--out", out]
    code, text = run(*call, "--figures", figures)
    assert code == 0
    assert "1 of 1 cells to run" in text
    assert re.search(r"about \d+ s on 1 idle core", text)
    assert {p.name for p in figures.iterdir()} == {
        "tables.md", "figure-2.png", "figure-3.png", "figure-4.png", "figure-5.png"
    }  # fmt: skip
    assert out.exists()
    out.with_suffix(".csv").unlink()  # the Parquet file alone will do
    code, text = run(*call, "--show", "--page", page)
    assert code == 0
    assert "cells to run" not in text
    assert "exact posterior" in page.read_text()
    assert run(*call, "--show", "--page", tmp_path / "none.md")[0] == 2


def test_the_whole_reproduction_is_shown_without_running(tmp_path):
    code, text = run("bench", "--all", "--show", "--out", tmp_path / "none.csv")
    assert code == 0
    assert "CAMELS tasks are left out" in text
    assert all(name in text for name in ("g-and-k-nle", "g-and-k-npe", "ou", "toggle"))
    assert not (tmp_path / "none.csv").exists()


def test_the_shell_completes_tasks_and_strategies():
    def offered(*words):
        place = str(len(words) + 1)
        asked = {"COMP_WORDS": " ".join(("mlsbi", "bench", *words)), "COMP_CWORD": place}
        env = {"_MLSBI_COMPLETE": "complete_bash", **asked}
        return CliRunner().invoke(app, [], prog_name="mlsbi", env=env).output.split()

    assert offered("g-and") == ["g-and-k-nle", "g-and-k-npe"]
    assert offered("--strategy", "sb") == ["sbi", "sbi-equal"]
    assert offered("nothing-begins-so") == []


@pytest.mark.parametrize("name", _bench_options._PLAIN)
def test_strategies_that_are_offered_exist(name):
    check_strategy(name)
