"""`mlsbi bench`: what it prints, what it refuses, and that a second call runs nothing."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from mlsbi.benching.names import TASKS
from mlsbi.cli import app

TINY = ["--max-steps", "2", "--estimator", "mdn:1", "--budget", "20,5", "--seeds", "1"]


def run(*arguments, env=None):
    """Exit code, and all output with the panel's frame and folds taken out."""
    result = CliRunner().invoke(
        app, list(map(str, arguments)), env={"MLSBI_DATA": "", **(env or {})}
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, re.sub(r"[\s│╭╮╰╯─]+", " ", result.output)


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
