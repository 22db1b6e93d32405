"""What the package declares of itself, and what it imports; `make package` builds it."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import mlsbi

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mlsbi"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]

# What takes long to import, or is not installed everywhere: imported where it is used.
HEAVY = [
    "arviz",
    "dask",
    "distributed",
    "h5py",
    "matplotlib",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyro",
    "rich",
    "sbi",
    "scipy",
    "sklearn",
    "typer",
    "xarray",
]


def imported_by(code):
    """Top-level modules in a fresh interpreter after `code`."""
    show = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_light():
    assert imported_by("import mlsbi") & set(HEAVY) == set()


def test_lightness_could_fail():
    """Negative control: what is used later is seen when it is there."""
    found = imported_by("import mlsbi; mlsbi.plots; import mlsbi.sbi_posterior")
    assert {"sbi", "matplotlib"} <= found


def test_every_public_name_is_there():
    assert [name for name in mlsbi.__all__ if not hasattr(mlsbi, name)] == []
    assert mlsbi.__all__ == sorted(mlsbi.__all__, key=lambda name: (not name.isupper(), name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mlsbi.nothing


def test_one_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert PROJECT["version"] == mlsbi.__version__
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == mlsbi.__version__


def test_every_file_goes_into_the_wheel():
    """The build takes .py files of packages, and what package-data names; nothing else."""
    globs = PYPROJECT["tool"]["setuptools"]["package-data"]["mlsbi"]
    named = {path for glob in globs for path in PACKAGE.glob(glob)}
    assert all(any(PACKAGE.glob(glob)) for glob in globs)
    files = {f for f in PACKAGE.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
    assert {f for f in files - named if f.suffix != ".py"} == set()
    folders = {f.parent for f in files if f.suffix == ".py"}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def names_of(requirements):
    """Distributions that requirements name, as they are imported."""
    found = {re.match(r"[\w-]+", line)[0].lower() for line in requirements}
    modules = {"google-crc32c": "google_crc32c"}
    return {modules.get(name, name) for name in found}


def imports_of(path):
    """Top-level modules that a file imports anywhere, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def test_what_is_imported_is_declared():
    used = set().union(*(imports_of(path) for path in PACKAGE.rglob("*.py")))
    others = used - set(sys.stdlib_module_names) - {"mlsbi"}
    extras = PROJECT["optional-dependencies"]
    declared = names_of(
        PROJECT["dependencies"] + [line for some in extras.values() for line in some]
    )
    # nflows and pyknos come with sbi, whose estimators are made of them
    assert others - declared <= {"google", "nflows", "pyknos", "sklearn", "dask"}


def test_constraints_pin_what_is_declared():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    missing = {re.match(r"[\w-]+", line)[0].lower() for line in PROJECT["dependencies"]} - pinned
    assert missing == set()


def test_the_workflow_calls_what_exists():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    commands = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    called = {target for line in commands for target in re.findall(r"make ([a-z]+)", line)}
    assert {"lint", "types", "docs", "package"} == called
    assert called <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    versions = jobs["tests"]["strategy"]["matrix"]["python"]
    named = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"]]
    assert versions == [name for name in named if re.fullmatch(r"3\.\d+", name)]


def test_the_oldest_torch_is_found():
    """By the line of the workflow that chooses it."""
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "oldest)" in line)
    command = line[line.index("sed") : line.index("> chosen.txt")]
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    declared = next(line for line in PROJECT["dependencies"] if line.startswith("torch"))
    oldest = re.match(r"torch>=([\d.]+)", declared)[1]
    assert done.stdout == f"torch=={oldest}.0\n"


def test_extras_of_the_readme_exist():
    extras = PROJECT["optional-dependencies"]
    assert {"dask", "report", "docs", "dev"} <= set(extras)
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = {name for group in re.findall(r"mlsbi\[([\w,]+)\]", text) for name in group.split(",")}
    assert named <= set(extras)


# the check of what is built

CONTENTS = ROOT / ".ci" / "package_contents.py"


@pytest.fixture(scope="module")
def contents():
    spec = importlib.util.spec_from_file_location("package_contents", CONTENTS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


METADATA = """\
Metadata-Version: 2.4
Name: mlsbi
Version: {version}
License-Expression: MIT
Description-Content-Type: text/markdown
{extras}

{readme}
"""


def wheel_of(names, path, *, version=mlsbi.__version__):
    import zipfile

    extras = "\n".join(f"Provides-Extra: {name}" for name in PROJECT["optional-dependencies"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
        info = f"mlsbi-{version}.dist-info"
        described = METADATA.format(version=version, extras=extras, readme=readme)
        wheel.writestr(f"{info}/METADATA", described)
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nmlsbi = mlsbi.cli:app\n")
    return path


def test_a_whole_wheel_has_no_faults(contents, tmp_path):
    assert contents.check_wheel(wheel_of(contents.sources(), tmp_path / "whole.whl")) == []


def test_faults_of_a_wheel_are_named(contents, tmp_path):
    names = contents.sources() - {"mlsbi/py.typed"} | {"tests/test_fit.py"}
    faults = contents.check_wheel(wheel_of(names, tmp_path / "torn.whl", version="0.0.9"))
    assert "not in the wheel: mlsbi/py.typed" in faults
    assert "should not be in the wheel: tests/test_fit.py" in faults
    assert any("0.0.9 is not" in fault for fault in faults)
