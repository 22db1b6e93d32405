"""The command line: what it prints, and what it refuses."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import pytest
import torch

import mlsbi
from command_line import run


def test_version():
    code, text = run("--version")
    assert code == 0
    assert text.startswith(f"mlsbi {mlsbi.__version__} python {platform.python_version()} torch")
    assert f"torch {torch.__version__}" in text
    code, text = run("--version", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["sbi"] == metadata.version("sbi")
    assert {"zuko", "numpy", "zarr", "platform", "cuda"} <= set(found)


def test_help_names_the_commands():
    code, text = run("--help")
    assert code == 0
    assert "demo" in text
    assert "bench" in text


@pytest.mark.parametrize(
    ("arguments", "option", "remedy"),
    [
        (["demo", "--data", "/nowhere"], "--data", "folder of the CAMELS spectra"),
    ],
)
def test_errors_name_the_option_and_the_remedy(arguments, option, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # should one slip through, what it writes stays here
    code, text = run(*arguments)
    assert code == 2
    assert f"Invalid value for {option}" in text.replace("'", "")
    assert remedy in text


def test_out_that_is_a_file_is_refused(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n")
    assert run("demo", "--out", other)[0] == 2
