"""Two of the examples' notebooks, run from first cell to last; the others take longer."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from test_examples import notebooks

SCORE = re.compile(r"^(.*?) +\d+ \D+(?:853)? +(-?\d+\.\d+) \+- (\d+\.\d+)$", re.MULTILINE)


def printed(notebook):
    """All that its cells print."""
    return "\n".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )


def scores_of(notebook):
    """Name of each fit -> its NLPD and standard error, from the table that the notebook prints."""
    return {m[1]: (float(m[2]), float(m[3])) for m in SCORE.finditer(printed(notebook))}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rival"), [("pendulum", "expensive"), ("sir", "exact")])
def test_a_notebook_runs_and_tells_the_same_story(name, rival):
    scores = scores_of(notebooks.execute(notebooks.from_script(name)))
    together, error = scores["all levels"]
    alone = [nlpd for fit, (nlpd, _) in scores.items() if fit.startswith(f"{rival} runs alone")]
    assert len(alone) == 2
    assert together < min(alone) - 3 * error


@pytest.mark.parametrize("name", ["pendulum", "sir"])
def test_the_tables_are_read(name):
    there = nbformat.read(notebooks.PAGES / f"{name}.ipynb", as_version=4)
    assert len(scores_of(there)) == 5


@pytest.mark.slow
def test_a_cell_that_fails_fails_the_run():
    cells = [nbformat.v4.new_code_cell("1 + 1"), nbformat.v4.new_code_cell("1 / 0")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebooks.execute(nbformat.v4.new_notebook(cells=cells, metadata=kernel))
