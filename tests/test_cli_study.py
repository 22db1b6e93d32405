"""The commands that work on a study: what they do, say and return."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import mlsbi
from mlsbi.checking.verdict import State
from mlsbi.cli import app
from mlsbi.commands._session import few_threads, opened, session, shortened
from mlsbi.commands._words import check_code
from mlsbi.study import Study
from quick import short_trainings
from studies import COUNTS, FIT, LEVELS, PRIOR, WHOLE, Place

PACKAGE = str(Path(mlsbi.__file__).parent)
RUNNING = ("simulate", "fit", "check", "report", "run")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a study, in which commands run; trainings are short."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    short_trainings(monkeypatch, steps=20)
    made = Place(tmp_path)
    made.study()
    yield made
    sys.modules.pop(made.models, None)


def run(*arguments):
    """Exit code, stdout and stderr."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def document(*arguments):
    code, text, _ = run(*arguments, "--json")
    return code, json.loads(text)


def test_a_whole_study_and_then_again(place):
    code, text, log = run("run")
    study = Study.load("study.toml")
    found = study.check()
    assert code == check_code(found)
    assert place.calls == (52, 12)
    assert str(study.run()) in text
    assert "Next: " in text
    assert "mlsbi sample study.toml -n 10000 --out samples.csv" in text
    assert [line[9:] for line in log.splitlines() if "begins" in line] == [
        f"{step}: begins" for step in RUNNING[:-1]
    ]
    code, record = document("run", "--quiet")
    assert code == check_code(found)
    assert place.calls == (52, 12)
    assert record["kept"] == list(RUNNING[:-1])
    assert record["runs"] == {"n": [40, 12], "cost": 172.0, "failed": [0, 0]}
    assert record["fit"]["strategy"] == "Multilevel"
    assert record["check"]["state"] == found.state.value
    assert Path(record["report"]).is_file()
    assert {step["state"] for step in record["steps"]} == {"not needed", "done"}


def documented(command):
    """The keys that docs/cli.md says the document of a command has."""
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| (?:`{command}`|{command}) \| (.*) \|$", page, re.MULTILINE)[1]
    return set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row)))


def test_documents_are_as_the_page_says(place):
    common = documented("all steps")
    for command in RUNNING:
        record = document(command, "-q")[1]
        assert set(record) == common | documented(command)
    assert set(document("validate")[1]) == {"study", "file"} | documented("validate")
    known = {"study", "file", "output"} | documented("status")
    assert set(document("status")[1]) == known
    known = {"study", "n"} | documented("sample")
    assert set(document("sample", "-n", 5)[1]) == known - {"path", "posterior"}
    assert set(document("sample", "-n", 5, "--out", "s.npy")[1]) == known - {"draws"}
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    example = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    assert set(example) == common | documented("run")
    record = document("run", "-q")[1]
    assert set(example["fit"]) <= set(record["fit"])
    assert set(example["check"]) <= set(record["check"])
    assert set(example["steps"][0]) == set(record["steps"][0])


def test_one_step_at_a_time(place):
    code, text, _ = run("simulate", "-q")
    assert code == 0
    assert "Runs: 40 runs of level 0, 12 pairs of level 1; cost 172" in text
    assert "Written: study-output/runs.zarr" in text
    assert "Next: mlsbi fit study.toml" in text
    code, text, log = run("fit", "-q")
    assert (code, log) == (0, "")
    assert "Fit: posterior by Multilevel; " in text
    assert 'mlsbi.load_fit("study-output/fit")' in text
    code, record = document("check", "-q")
    assert record["path"].endswith("check.json")
    assert [verdict["name"] for verdict in record["verdicts"]] == ["joint", "a", "b"]
    code, text, _ = run("report", "-q")
    assert code == 0
    assert "Written: study-output/report.html" in text
    assert place.calls == (52, 12)


def test_the_lines_that_are_said_run(place, monkeypatch):
    text = run("fit", "-q", "--output", "elsewhere")[1]
    line = re.search(r"in Python: (.*)", text)[1]
    names = {"mlsbi": mlsbi}
    exec(line, names)
    assert names["fit"].n == (40, 12)
    text = run("simulate", "-q", "--output", "elsewhere")[1]
    exec(re.search(r"in Python: (.*)", text)[1], names)
    assert names["data"].n == (40, 12)
    assert place.calls == (52, 12)
    assert (place.folder / "elsewhere" / "fit").is_dir()
    assert not (place.folder / "study-output").exists()


def test_again_does_a_step_anew(place):
    run("fit", "-q")
    written = place.folder / "study-output" / "fit" / "fit.json"
    before = written.stat().st_mtime_ns
    assert document("fit", "-q")[1]["kept"] == ["simulate", "fit"]
    assert written.stat().st_mtime_ns == before
    assert document("fit", "-q", "--again")[1]["kept"] == ["simulate"]
    assert written.stat().st_mtime_ns > before
    assert place.calls == (52, 12)


def test_status_says_how_far_it_is(place):
    code, text, _ = run("status")
    assert code == 0
    assert not (place.folder / "study-output").exists()
    assert re.search(r"simulate +to do +it was not done yet", text)
    assert "mlsbi run study.toml" in text
    run("fit", "-q")
    place.study(WHOLE.replace("max_steps = 20", "max_steps = 15"))
    record = document("status")[1]
    states = {step["name"]: step["state"] for step in record["steps"]}
    assert states["simulate"] == "done"
    assert states["fit"] == "stale"
    assert record["next"] == "mlsbi run study.toml"


def test_validate_says_what_must_be_mended(place):
    code, text, _ = run("validate")
    assert code == 0
    assert "Next: mlsbi run study.toml" in text
    place.study(PRIOR + LEVELS + "[plan]\nbudget = 900\n")
    assert "Next: mlsbi plan study.toml" in run("validate")[1]
    (place.folder / "broken").touch()
    code, record = document("validate")
    assert code == 2
    assert not record["ok"]
    assert "no convergence" in " ".join(record["problems"])
    assert not (place.folder / "study-output").exists()


def test_a_simulator_that_fails(place):
    (place.folder / "broken").touch()
    code, text, log = run("simulate", "-q")
    assert (code, text) == (1, "")
    assert "level 1 failed at row 0" in log
    assert "theta [" in log
    assert f"{place.models}.py" in log
    assert PACKAGE not in log
    assert "mlsbi validate study.toml" in log
    code, text, log = run("run", "--json")
    assert (code, text) == (1, "")
    assert "simulate: failed after" in log


def test_what_is_wrong_ends_in_2(place):
    code, text, log = run("run", "nowhere.toml")
    assert (code, text) == (2, "")
    assert log.startswith("Error: there is no nowhere.toml")
    assert "mlsbi init" in log
    file = place.folder / "study.toml"
    file.write_text(file.read_text().replace("folds = 2", "folds = 1"))
    code, _, log = run("fit")
    assert code == 2
    assert "check.folds must be" in log
    assert "Traceback" not in log
    place.study(PRIOR + LEVELS + FIT + COUNTS + "[observation]\nx = [1.0]\n")
    assert run("sample")[0] == 2
    code, _, log = run("status", "--output", "study.toml")
    assert code == 2
    assert "name a folder" in log


def test_ctrl_c_ends_in_130_and_the_same_command_goes_on(place, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlsbi.fit.fit_posterior", stopped)
        code, text, log = run("run")
    assert (code, text) == (130, "")
    assert "fit: stopped after" in log
    assert "the same command goes on" in log
    assert place.calls == (52, 12)
    assert document("run", "-q")[1]["kept"] == ["simulate"]
    assert place.calls == (52, 12)


def test_a_folder_in_use_ends_in_1(place):
    from mlsbi.studies.journal import at_work

    with at_work(place.folder / "study-output"):
        code, _, log = run("fit", "-q")
    assert code == 1
    assert "in use" in log
    assert "validate" not in log  # no simulator failed


def test_jobs_take_the_place_of_the_executor(place):
    place.study(WHOLE + '[run]\nexecutor = "MODELS:executor"\n')
    with opened(Path("study.toml"), output=None, jobs=2) as study:
        assert study.file.run.executor == 2
    with opened(Path("study.toml"), output=None) as study:
        assert study.file.run.executor == f"{place.models}:executor"
    assert run("simulate", "-q", "--jobs", 0)[0] == 2


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([State.CALIBRATED, State.UNDECIDED], 0),
        ([State.CALIBRATED, State.UNDER], 0),
        ([State.UNDER, State.OVER], 3),
        ([State.BIASED], 3),
    ],
)
def test_the_code_of_a_check(states, code):
    verdicts = [SimpleNamespace(state=state) for state in states]
    assert check_code(SimpleNamespace(verdicts=verdicts)) == code


def read(path):
    """Draws in a file, by the reader of its kind."""
    if path.suffix == ".csv":
        return np.loadtxt(path, delimiter=",", skiprows=1)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        assert table.column_names == ["a", "b"]
        return np.stack([table["a"].to_numpy(), table["b"].to_numpy()], axis=1)
    loaded = np.load(path)
    return loaded if path.suffix == ".npy" else loaded["samples"]


@pytest.fixture
def fitted(place):
    run("fit", "-q")
    return place


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".parquet"])
def test_samples_in_each_format(fitted, suffix):
    path = fitted.folder / "new" / f"samples{suffix}"
    code, text, _ = run("sample", "-n", 7, "--out", path, "--seed", 5)
    assert code == 0
    wanted = Study.load("study.toml").sample(7, seed=5).numpy()
    np.testing.assert_allclose(read(path), wanted, rtol=1e-6)
    assert "a  " in text
    assert "Next: in Python: samples = " in text


def test_samples_on_stdout(fitted):
    code, text, _ = run("sample", "-n", 4)
    wanted = Study.load("study.toml").sample(4)
    assert code == 0
    assert text.splitlines()[0] == "a,b"
    drawn = [[float(cell) for cell in line.split(",")] for line in text.splitlines()[1:]]
    np.testing.assert_allclose(drawn, wanted, rtol=1e-6)
    code, record = document("sample", "-n", 4)
    assert record["parameters"] == ["a", "b"]
    np.testing.assert_allclose(record["draws"], wanted)
    record = document("sample", "-n", 50, "--out", "s.npy")[1]
    assert record["path"] == "s.npy"
    own = np.load("s.npy")[:, 1]
    assert record["posterior"]["b"]["mean"] == pytest.approx(float(own.mean()))


def test_samples_at_another_observation(fitted):
    np.save("other.npy", np.array([[0.5, 0.5]]))
    study = Study.load("study.toml")
    wanted = study.sample(3, x=[0.5, 0.5]).tolist()
    assert document("sample", "-n", 3, "--x", "0.5,0.5")[1]["draws"] == wanted
    assert document("sample", "-n", 3, "--x", "other.npy")[1]["draws"] == wanted
    assert study.sample(3).tolist() != wanted
    code, _, log = run("sample", "--x", "0.5,0.5,0.5")
    assert code == 2
    assert run("sample", "--x", "nowhere.npy")[0] == 2


def test_what_cannot_be_sampled(place):
    code, _, log = run("sample")
    assert code == 2
    assert "mlsbi fit study.toml" in log
    code, _, log = run("sample", "--out", "samples.xls")
    assert code == 2
    assert ".parquet" in log
    place.study(PRIOR + LEVELS + FIT + COUNTS)
    run("fit", "-q")
    code, _, log = run("sample")
    assert code == 2
    assert "[observation]" in log


def user_module(folder, text):
    """A module of the user's, loaded from a file."""
    path = folder / "mine.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("error", ["KeyError('k')", "ValueError('v')", "RuntimeError('r')"])
def test_errors_in_the_users_code_show_where_it_is(tmp_path, capsys, error):
    mine = user_module(tmp_path, f"def net():\n    raise {error}\n")
    with pytest.raises(typer.Exit) as ended, session(Path("study.toml")):
        mine.net()
    text = capsys.readouterr().err
    assert ended.value.exit_code == 1
    assert f'{tmp_path / "mine.py"}", line 2, in net' in text
    assert "not mlsbi's" in text
    assert "mlsbi validate study.toml" in text


def test_frames_of_the_library_are_left_out_of_tracebacks():
    text = (
        "Traceback (most recent call last):\n"
        f'  File "{PACKAGE}/simulate/_calls.py", line 3, in call\n    f(x)\n    ^^^^\n'
        '  File "/home/me/model.py", line 7, in fine\n    1 / 0\n    ~~^~~\n'
        "ZeroDivisionError: division by zero"
    )
    assert shortened(text).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/home/me/model.py", line 7, in fine',
        "    1 / 0",
        "    ~~^~~",
        "ZeroDivisionError: division by zero",
    ]


def test_warnings_are_a_line_of_text(capsys):
    with session(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("low level unused", UserWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: low level unused\n"


def test_threads_are_one_unless_the_user_says_otherwise(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        with few_threads():
            assert torch.get_num_threads() == 1
        with few_threads(wanted=False):
            assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with few_threads():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
