"""`docs/cli.md` names every command, every option, every exit code and every key of documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mlsbi.cli import app
from mlsbi.commands import _options

PAGE = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def rows(text):
    """First cell -> the other cells, of the tables in a text."""
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {first.strip(): " | ".join(rest) for first, *rest in cells}


def options_of(command):
    """The names of all options that are shown."""
    shown = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    return {name for parameter in shown for name in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_row_with_its_options(name):
    table = rows(section("Commands"))
    own = next(text for first, text in table.items() if re.match(rf"`mlsbi {name}\b", first))
    named = set(re.findall(r"`(--?[a-z-]+)`", own))
    shared = {o for first in table for o in re.findall(r"`(--?[a-z-]+)`", first)}
    wanted = options_of(COMMANDS[name])
    assert wanted <= named | shared
    assert named <= wanted  # none that is gone


def test_no_row_is_of_a_command_that_is_gone():
    named = [re.match(r"`mlsbi (\w+)", first) for first in rows(section("Commands"))]
    assert {found[1] for found in named if found} == set(COMMANDS)


def test_shared_options_are_those_of_several_commands():
    table = rows(section("Commands"))
    shared = {o for first in table for o in re.findall(r"`(--?[a-z-]+)`", first)}
    for name in shared:
        assert sum(name in options_of(command) for command in COMMANDS.values()) >= 2, name


def test_exit_codes_are_those_of_the_code():
    known = {_options.FAILED, _options.WRONG, _options.FAULT, _options.STOPPED, 0}
    assert {int(code) for code in rows(section("Exit codes")) if code.isdigit()} == known
    assert {int(code) for code in re.findall(r"\b\d+\b", _options.EPILOG)} == known


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_has_the_exit_codes(name):
    result = CliRunner().invoke(app, ["--help"] if name is None else [name, "--help"])
    assert result.exit_code == 0
    text = re.sub(r"[\s│]+", " ", result.output)
    assert _options.EPILOG in text


def test_the_page_names_what_the_app_has_besides():
    for name in ("--version", "--install-completion", "--show-completion"):
        assert f"`{name}`" in PAGE or f"mlsbi {name}" in PAGE


@pytest.mark.parametrize("name", re.findall(r"images/(terminal-\w+\.svg)", PAGE))
def test_pictures_load_nothing(name):
    text = (Path(__file__).parents[1] / "docs" / "images" / name).read_text(encoding="utf-8")
    assert "mlsbi" in text
    assert "@font-face" not in text
    assert re.findall(r"(?:href|src|url)[=(]\s*[\"']?(?!#)\w+", text) == []


def complete(*words):
    """What bash is offered after these words."""
    environment = {
        "_MLSBI_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    return CliRunner().invoke(app, [], prog_name="mlsbi", env=environment).stdout.split()


def test_shells_complete_commands_options_and_studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("study.toml", "notes.md", ".hidden.toml"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "other.toml").touch()
    assert complete("mlsbi", "st") == ["status"]
    assert complete("mlsbi", "run", "") == ["inner/", "study.toml"]
    assert complete("mlsbi", "run", "inner/o") == ["inner/other.toml"]
    assert complete("mlsbi", "fit", "--ag") == ["--again"]
    assert complete("mlsbi", "init", "--from", "a") == ["arrays"]
    assert complete("mlsbi", "run", "nowhere/") == []
