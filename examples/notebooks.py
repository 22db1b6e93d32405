"""The notebooks of the examples: made from the scripts beside this file, and run.

python examples/notebooks.py               # all of them: those whose code has changed are run
python examples/notebooks.py --only sir    # one of them
python examples/notebooks.py --again       # run them whether their code changed or not
python examples/notebooks.py --check       # say which differ from their script; run nothing
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
PAGES = HERE.parent / "docs" / "examples"
NAMES = ("pendulum", "sir", "lotka_volterra", "burgers")
TIMEOUT = 1800  # seconds a cell may take, on a busy machine too

Notebook = nbformat.NotebookNode


def from_script(name: str) -> Notebook:
    """The notebook of a script, without outputs; the same bytes for the same script."""
    notebook = jupytext.read(HERE / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": kernel, "language_info": {"name": "python"}}
    )
    return notebook


def execute(notebook: Notebook) -> Notebook:
    """Run all cells where the scripts lie, for the files that they read; errors are raised."""
    before = dict(notebook.metadata)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--log-level=ERROR"],
    )
    # tqdm, which sbi imports, asks for ipywidgets, which nothing here needs
    client.execute(env={**os.environ, "PYTHONWARNINGS": "ignore:IProgress not found"})
    notebook.metadata = nbformat.from_dict(before)
    return notebook


def is_stale(name: str) -> bool:
    """Whether the notebook is missing, was never run, or its cells are not the script's."""
    there = _there(name)
    return there is None or _written(there.cells) != _written(from_script(name).cells)


def with_outputs(name: str) -> Notebook | None:
    """The script's notebook with the outputs there are, if they come from the same code."""
    there, wanted = _there(name), from_script(name)
    if there is None or _written(_code(there)) != _written(_code(wanted)):
        return None
    for old, new in zip(_code(there), _code(wanted), strict=True):
        new.outputs, new.execution_count = old.outputs, old.execution_count
    return wanted


def _there(name: str) -> Notebook | None:
    """The notebook on disk, if it has been run."""
    path = PAGES / f"{name}.ipynb"
    there = nbformat.read(path, as_version=4) if path.exists() else None
    return there if there and all(cell.execution_count for cell in _code(there)) else None


def _code(notebook: Notebook) -> list[Notebook]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _written(cells: list[Notebook]) -> list[tuple[str, str, list[str]]]:
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in cells]


def _make(name: str, *, again: bool) -> None:
    began = time.perf_counter()
    kept = None if again else with_outputs(name)
    notebook = execute(from_script(name)) if kept is None else kept
    nbformat.write(notebook, PAGES / f"{name}.ipynb")
    how = "its code is as it was: not run" if kept else f"{time.perf_counter() - began:.0f} s"
    print(f"{name}.ipynb: {how}")


def main(arguments: list[str]) -> int:
    """Make the notebooks, or say which of them are stale; 1 if one is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--again", action="store_true", help="run them whatever has changed")
    parser.add_argument("--check", action="store_true", help="say which are stale; run nothing")
    options = parser.parse_args(arguments)
    if options.check:
        stale = [name for name in options.only if is_stale(name)]
        for name in stale:
            print(f"{name}.ipynb is not its script's: python examples/notebooks.py --only {name}")
        return int(bool(stale))
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        _make(name, again=options.again)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
