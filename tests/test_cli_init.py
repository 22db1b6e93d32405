"""`mlsbi init`: every template loads, runs, and explains all keys there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from mlsbi.cli import app
from mlsbi.commands.init import Source, template
from mlsbi.studies.file import StudyFile
from mlsbi.study import Study
from quick import short_trainings

SOURCES = list(Source)


def init(*arguments):
    """Exit code and all output."""
    result = CliRunner().invoke(app, ["init", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def _own_modules(monkeypatch):
    """What a template's study imports is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in ("model", "cluster"):
        if name not in before:
            sys.modules.pop(name, None)


@pytest.mark.usefixtures("_own_modules")
@pytest.mark.parametrize("source", SOURCES)
def test_every_template_loads_and_passes_validation(source, tmp_path):
    folder = tmp_path / "new" / "study"
    code, text = init(folder, "--from", source.value)
    assert code == 0
    assert f"cd {folder}" in text
    assert all(str(folder / name) in text for name in template(source))
    if source is Source.ARRAYS:
        subprocess.run([sys.executable, "save_runs.py"], cwd=folder, check=True)
    study = Study.load(folder / "study.toml")
    assert study.parameter_names == ("rate", "capacity")
    found = study.validate()
    assert found.ok, found
    assert len(found.levels) == 2


def test_the_default_is_a_study_of_python_simulators(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = init()
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.py", "study.toml"]
    assert "mlsbi run study.toml" in text
    assert "cd " not in text


def test_nothing_is_written_over_without_force(tmp_path):
    own = tmp_path / "model.py"
    own.write_text("mine")
    code, text = init(tmp_path)
    assert code == 2
    assert f"{own} is there" in text
    assert own.read_text() == "mine"
    assert not (tmp_path / "study.toml").exists()
    assert init(tmp_path, "--force")[0] == 0
    assert own.read_text() != "mine"


def test_a_folder_that_cannot_be_made_ends_in_1(tmp_path):
    (tmp_path / "file").write_text("")
    code, text = init(tmp_path / "file" / "inside")
    assert code == 1
    assert "cannot be written to" in text


def keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """(table, key) of all that may stand in a study's file; tables themselves left out."""
    found = []
    for name, field in model.model_fields.items():
        inner = next(models_of(field.annotation), None)
        own = (*path, name)
        found += [(".".join(path), name)] if inner is None else keys(inner, own)
    return found


def models_of(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_of(argument)


def explained(text: str) -> set[tuple[str, str]]:
    """(table, key) of a file, commented out or not."""
    table, found = "", set()
    for line in text.splitlines():
        if header := re.match(r"^#?\[\[?([\w.]+)\]\]?", line):
            table = header[1]
        elif key := re.match(r"^#?(\w+) = ", line):
            found.add((table, key[1]))
    return found


def test_the_default_template_has_every_key_and_no_other():
    assert explained(template(Source.PYTHON)["study.toml"]) == set(keys(StudyFile))
    assert ("levels", "x_coarse") in keys(StudyFile)  # the walk sees what it should


def test_tables_that_are_commented_out_are_valid():
    text = template(Source.PYTHON)["study.toml"]
    tried = {
        "[prior]": "[[parameters]]",
        "[simulate]": None,
        "[fit.training]": None,
        "[noise]": None,
    }
    for header, instead in tried.items():
        block = re.search(rf"^#{re.escape(header)}.*\n(?:#\w.*\n)+", text, re.MULTILINE)[0]
        changed = text.replace(block, re.sub("^#", "", block, flags=re.MULTILINE))
        if instead is not None:
            changed = re.sub(rf"^{re.escape(instead)}\n(?:#?\w.*\n)+", "", changed, flags=re.M)
        load_text(changed)


def test_keys_that_are_commented_out_are_valid():
    """Of the tables that are not: one by one, but for those that need more than themselves."""
    with_others = {
        ("", "hierarchy"),  # in place of all else
        ("study", "parameters"),  # in place of their tables
        ("plan", "error"),  # in place of the budget
        ("levels", "batch_size"),  # of batched simulators
        ("observation", "rows"),  # of a file
        *(("check", key) for key in ("theta", "x", "rows")),
    }
    lines, table, tried = template(Source.PYTHON)["study.toml"].splitlines(), "", 0
    for i, line in enumerate(lines):
        if header := re.match(r"^(#?)\[\[?([\w.]+)\]\]?", line):
            table = header[2] if not header[1] else None
        key = re.match(r"^#(\w+) = ", line)
        if key and table is not None and (table, key[1]) not in with_others:
            load_text("\n".join([*lines[:i], line[1:], *lines[i + 1 :]]))
            tried += 1
    assert tried >= 20


def load_text(text):
    import tomllib

    return StudyFile.model_validate(tomllib.loads(text))


def test_the_observation_is_one_that_the_model_gives(tmp_path, monkeypatch):
    names: dict[str, object] = {}
    exec(template(Source.PYTHON)["model.py"], names)
    file = load_text(template(Source.PYTHON)["study.toml"])
    made = names["fine"](np.array(file.observation.theta), 7)
    np.testing.assert_allclose(file.observation.x, made, atol=0.05)


def test_pairs_are_coupled():
    names: dict[str, object] = {}
    exec(template(Source.PYTHON)["model.py"], names)
    theta = np.array([0.7, 140.0])
    low, high = ([names[f](theta, seed) for seed in range(200)] for f in ("coarse", "fine"))
    apart = np.corrcoef(np.array(low)[:, -1], np.array(high)[:, -1])[0, 1]
    assert apart > 0.95


QUICK = {
    "folds = 3": "folds = 2",
    "#[simulate]\n#n = [2000, 50] ": "[simulate]\nn = [60, 20] ",
    '#strategy = "default"            # single': 'strategy = "single" #',
    "#ensemble = 5": "ensemble = 2",
}


@pytest.mark.usefixtures("_own_modules")
@pytest.mark.parametrize("source", [Source.PYTHON, Source.ARRAYS])
def test_a_template_runs_to_the_end(source, tmp_path, monkeypatch):
    short_trainings(monkeypatch, steps=10)
    init(tmp_path, "--from", source.value)
    if source is Source.ARRAYS:
        subprocess.run([sys.executable, "save_runs.py"], cwd=tmp_path, check=True)
    file = tmp_path / "study.toml"
    text = file.read_text()
    for old, new in QUICK.items():
        text = text.replace(old, new)
    own = "\n[fit]\nstrategy = 'single'\nensemble = 2\n" if source is Source.ARRAYS else ""
    file.write_text(text + own)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["run", "-q"])
    assert result.exit_code in {0, 3}, result.output  # of trainings cut short
    assert Path("study-output/report.html").is_file()
    assert CliRunner().invoke(app, ["sample", "-n", "20", "--out", "s.csv"]).exit_code == 0
    assert Path("s.csv").read_text().startswith("rate,capacity\n")


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_the_first_two_commands_as_a_user_types_them(source, tmp_path):
    mlsbi = Path(sys.executable).with_name("mlsbi")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def do(*words, cwd=tmp_path):
        return subprocess.run(
            words, cwd=cwd, env=environment, check=False, capture_output=True, text=True
        )

    assert do(mlsbi, "init", "new", "--from", source.value).returncode == 0
    folder = tmp_path / "new"
    if source is Source.ARRAYS:
        assert do(sys.executable, "save_runs.py", cwd=folder).returncode == 0
    done = do(mlsbi, "run", "study.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "calibrated" in done.stdout or "not enough runs" in done.stdout
    assert "\x1b" not in done.stderr
