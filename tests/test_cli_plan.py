"""`mlsbi plan`: what it says, what it runs, its document and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mlsbi
from mlsbi.cli import app
from mlsbi.study import Study

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("mlsbi")

MODELS = """
import os
from pathlib import Path

import torch

CALLS = Path(__file__).with_name("calls")

def noise(n, generator):
    return torch.randn(n, 2, generator=generator)

def ladder(theta, u, off=0.0):
    with CALLS.open("a") as file:
        file.write("x" * len(theta))
    print("a simulator's own words")
    os.write(1, b"and past Python\\n")
    return theta + 0.3 * u + off * (theta[:, :1] - 0.3)

def careless(theta, u):
    return theta + 0.3 * torch.from_numpy(__import__("numpy").random.normal(size=u.shape)).float()

def broken(theta, u):
    raise ArithmeticError("no convergence")
"""
STUDY = """
[study]
seed = 3
[pilot]
n = 16
[noise]
python = "MODELS:noise"
[[parameters]]
name = "a"
low = -1.0
high = 1.0
[[parameters]]
name = "b"
low = -1.0
high = 1.0
[[levels]]
simulator = "MODELS:ladder"
options = { off = 0.1 }
cost = 1
[[levels]]
simulator = "MODELS:ladder"
cost = 50
"""
MIDDLE = """
[[levels]]
simulator = "MODELS:ladder"
options = { off = 0.05 }
cost = 7
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A function that writes a study, with its two levels beside it, and returns its path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    models = "ladder_" + re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{models}.py").write_text(MODELS)

    def write(text=STUDY, more=""):
        path = tmp_path / "study.toml"
        path.write_text((text + more).replace("MODELS", models))
        return path

    yield write
    sys.modules.pop(models, None)


def run(*arguments):
    """Exit code, stdout and stderr."""
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def calls(path):
    return len((path.parent / "calls").read_text())


def test_it_says_what_to_run_and_runs_the_pilot_alone(study):
    path = study(more="[plan]\nbudget = 2000\n")
    code, text, _ = run(path)
    assert code == 0, text
    assert calls(path) == 2 * 18
    loaded = Study.load(path)
    pilot = loaded.pilot()
    plan = loaded.allocate(pilot)
    assert calls(path) == 2 * 18  # all of it was in the output folder
    assert str(pilot) in text
    assert str(pilot.diagnosis).splitlines()[0] in text
    assert "Other budgets" in text
    assert ", ".join(f"{n:,}" for n in plan) in text
    assert "study.run()" in text
    assert text.endswith(run(path)[1])  # it began with what the simulators printed
    assert calls(path) == 2 * 18


def test_the_lines_that_it_prints_run(study):
    path = study(more="[plan]\nbudget = 2000\n")
    document = json.loads(run(path, "--json", "--n", 16)[1])
    lines = document["next"]
    assert "study.run()" in lines[-1]
    names: dict[str, object] = {}
    exec("\n".join([*lines[:-1], "data = study.simulate()"]), names)
    data = names["data"]
    assert isinstance(data, mlsbi.MultilevelData)
    assert list(data.n) == document["plan"]["n"]  # the pilot's rows count
    assert min(data.n) >= 16
    assert data.cost <= 2000 + 16 * (1 + 51)


def test_the_document_says_the_same(study):
    path = study(more="[plan]\nbudget = 2000\n")
    code, text, _ = run(path, "--json", "--budget", 1000, "--n", 32)
    document = json.loads(text)
    loaded = Study.load(path)
    pilot = loaded.pilot(n=32)
    plan = loaded.allocate(pilot, budget=1000)
    assert code == 0
    assert document["pilot"]["n"] == 32
    assert document["pilot"]["cost"] == 34 * 51
    assert document["plan"]["n"] == list(plan)
    assert document["plan"]["budget"] == 1000
    assert [row["budget"] for row in document["around"]["rows"]] == [500, 1000, 2000]
    assert document["diagnosis"]["verdict"] == pilot.diagnosis.verdict.name
    assert document["levels"] is None
    assert json.loads((path.parent / "study-output" / "plan.json").read_text()) == document


def test_stdout_holds_the_document_alone(study):
    path = study(more="[plan]\nbudget = 2000\n[run]\nexecutor = 1\n")
    done = subprocess.run(
        [COMMAND, "plan", path, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pilot"]["n"] == 16
    assert "and past Python" in done.stderr


def test_without_a_budget_it_says_what_three_would_buy(study):
    code, text, _ = run(study(), "--json")
    document = json.loads(text)
    assert code == 0
    assert document["plan"] is None
    assert [row["budget"] for row in document["around"]["rows"]] == [1500, 5000, 15000]
    assert "--budget" in document["next"][0]


def test_an_error_or_a_deadline_in_place_of_a_budget(study):
    path = study()
    budget = json.loads(run(path, "--json", "--budget", 3000)[1])["plan"]
    error = budget["expected"]["error"]
    back = json.loads(run(path, "--json", "--error", error)[1])["plan"]
    assert back["expected"]["error"] <= error
    assert back["expected"]["cost"] <= budget["expected"]["cost"]
    code, text, _ = run(path, "--json", "--deadline", 0.5, "--cores", 2)
    assert code == 0
    timed = json.loads(text)["plan"]
    assert (timed["deadline"], timed["cores"]) == (0.5, 2)


def test_more_runs_add_to_those_that_are_there_and_out_moves_them(study, tmp_path):
    path = study(more="[plan]\nbudget = 2000\n")
    Study.load(path).pilot()
    Study.load(path).pilot(n=24)
    assert calls(path) == 2 * 26
    run(path, "--n", 12, "--out", tmp_path / "else")
    assert calls(path) == 2 * 26 + 2 * 14
    assert (tmp_path / "else" / "plan.json").exists()


def test_three_levels_are_chosen_from(study):
    first, last = STUDY.rindex("[[levels]]"), len(STUDY)
    path = study(STUDY[:first] + MIDDLE + STUDY[first:last], "[plan]\nbudget = 4000\n")
    code, text, _ = run(path, "--n", 32)
    assert code == 0
    document = json.loads((path.parent / "study-output" / "plan.json").read_text())
    assert len(document["levels"]["rows"]) >= 2
    assert document["levels"]["best"][-1] == 2
    assert document["levels"]["title"] in text


def test_a_fault_ends_in_3_and_is_said(study):
    path = study(
        STUDY.replace("options = { off = 0.1 }\n", "").replace("ladder", "careless", 1),
        more="[plan]\nminimum = 33\n",
    )
    code, text, _ = run(path, "--budget", 2000, "--n", 32)
    assert code == 3
    assert "Mend what the doctor calls a fault" in text
    code, text, _ = run(
        path, "--budget", 2, "--n", 32
    )  # no plan is no reason to keep the verdict back
    assert code == 3
    assert "No plan: budget must" in text
    assert str(Study.load(path).pilot(n=32).diagnosis) in text


def test_a_broken_simulator_ends_in_1(study):
    path = study(STUDY.replace("MODELS:ladder", "MODELS:broken").replace("options = { off =", "#"))
    code, text, words = run(path, "--json", "--budget", 2000)
    assert (code, text) == (1, "")
    assert "all 18 runs of level 0 failed" in words
    raising = study(path.read_text(), '[run]\non_failure = "raise"\n')
    code, text, words = run(raising, "--budget", 2000, "--out", path.parent / "other")
    assert code == 1
    assert "no convergence" in words


@pytest.mark.parametrize(
    ("more", "arguments", "part"),
    [
        ("[run]\nworkers = 3\n", [], "run.workers is no known key"),
        ("[plan]\nbudget = 20\nminimum = 500\n", [], "budget must"),
        ("", ["--budget", "-1"], "no positive number"),
        ("", ["--budget", "1", "--error", "1"], "not both"),
        ("", ["--n", "4"], "--n"),
        ("", ["--out", __file__], "is a file"),
        ("[prior]\npython = 'a:b'\n", [], "got both"),
    ],
)
def test_what_is_wrong_ends_in_2(more, arguments, part, study):
    code, text, words = run(study(more=more), "--json", *arguments)
    assert (code, text) == (2, "")
    assert part in re.sub(r"[\s│╭╮╰╯─]+", " ", words)


def test_a_pilot_that_is_too_small_to_plan_from_still_says_what_it_saw(study):
    path = study(more="[plan]\nbudget = 2000\n")
    code, text, words = run(path, "--n", 8)
    assert code == 2
    assert str(Study.load(path).pilot(n=8)) in text
    assert "No plan: levels must have" in text
    assert "Error: levels must have" in words
    assert not (path.parent / "study-output" / "plan.json").exists()


def test_another_seed_needs_another_folder(study):
    path = study()
    run(path, "--n", 8)
    path.write_text(path.read_text().replace("seed = 3", "seed = 4"))
    code, _, words = run(path, "--n", 8)
    assert code == 2
    assert "seed" in words


def test_the_example_is_a_study():
    study = Study.load(ROOT / "examples" / "ou_study.toml")
    assert study.parameter_names == ("rate", "mean", "spread")
    data = mlsbi.simulate(study.hierarchy(), [200, 200, 200], seed=0)
    apart = [(data.x(level) - data.x_coarse(level)).var() for level in (1, 2)]
    assert apart[1] < apart[0] / 4 < data.x(2).var() / 40
