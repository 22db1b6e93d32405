"""What results become: files, merged files, figures, tables, and the benchmark page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench_rows import rows_of
from mlsbi.benching import results
from mlsbi.benching.cells import Outcome, cell_of
from mlsbi.benching.figures import FIGURES, LABELS
from mlsbi.benching.names import metric_of
from mlsbi.benching.page import filled, parts, renew
from mlsbi.benching.paper import OTHERS, Wanted, paper_cells
from mlsbi.benching.report import write_figures
from mlsbi.benching.results import CURVE, Row
from mlsbi.benching.shortcomings import shortcomings
from mlsbi.benching.tables import score_table, table_1, table_4
from mlsbi.benching.values import Values

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from merge import merged, write  # noqa: E402  (a script, not a package)

DATA = Path("somewhere")  # cells are planned without looking into it


def whole_file():
    """A row of every metric for every cell of the full reproduction: better the more runs."""
    rows = []
    for cell in paper_cells(Wanted(seeds=(10, 2)), DATA):
        score = 1 / sum(cell.budget) + 0.1 * (cell.strategy != "default") + 0.01 * cell.seed
        rows.append(Row(cell, metric_of(cell.task), score, 3.0, "abc"))
        more = {f"{CURVE}0.50": 0.4, f"{CURVE}0.90": 0.8, "coverage_error": 0.1,
                "coverage_bias": -0.1, "single_ms": 1.0, "multilevel_ms": 1.2, "released_ms": 2.0,
                "released_ratio": 2.0}  # fmt: skip
        rows += [Row(cell, name, value, 3.0, "abc") for name, value in more.items()]
    return rows


# Results


def test_parquet_is_made_of_the_csv_beside_it(tmp_path):
    path = tmp_path / "results.parquet"
    cell = cell_of("ou", (1000, 50), "default", 1)
    results.append(path, Outcome(cell, {"nlpd_mean": 0.1}, 1.5), source="abc")
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]
    results.write_parquet(path)
    rows = results.read(path)
    (tmp_path / "results.csv").unlink()
    assert results.read(path) == rows == [Row(cell, "nlpd_mean", 0.1, 1.5, "abc")]


def test_the_last_row_of_a_cell_counts():
    cell = cell_of("ou", (1000, 50), "default", 10)
    rows = [*rows_of(cell, [1.0]), *rows_of(cell, [2.0])]
    assert [row.value for row in results.latest(rows)] == [2.0]
    assert Values(rows).group("ou", (1000, 50), "default").mean("nlpd_mean") == (2.0, 0.0)


def test_merging_keeps_the_newest_commit_of_a_cell(tmp_path):
    order = {"aaa1" * 10: 0, "1085c7e" + "0" * 33: 1, "bbb2" * 10: 2}
    single, default = (cell_of("ou", (1000, 50), name, 10) for name in ("single", "default"))
    old = [*rows_of(single, [1.0], commit="aaa1"), *rows_of(default, [1.0], commit="aaa1")]
    new = rows_of(single, [2.0], commit="bbb2")
    for files in ([old, new], [new, old]):
        found = merged(files, range(10, 15), order)
        assert [(row.cell.strategy, row.value) for row in found] == [("single", 2.0)]
    changed = rows_of(single, [3.0], commit="bbb2+")
    assert merged([changed, new], range(10, 15), order)[0].value == 3.0
    assert merged([new], range(11, 15), order) == []
    write(tmp_path / "out.csv", merged([new], range(10, 15), order))
    assert results.read(tmp_path / "out.csv") == new


# Figures, tables, the page


def test_figures_and_tables_show_every_strategy(tmp_path):
    rows = whole_file()
    values, others = Values(rows), results.read_reference()
    for draw in FIGURES.values():
        figure = draw(values, others)
        names = {text.get_text() for text in figure.legends[0].get_texts()}
        assert set(LABELS.values()) <= names
    written = write_figures(rows, others, tmp_path / "new")
    assert [path.name for path in written] == [
        *(f"figure-{i}.png" for i in (2, 3, 4, 5)),
        "tables.md",
    ]
    text = written[-1].read_text()
    assert "| step" not in text
    assert text.count("as printed") == 3
    assert "exact posterior" in score_table(values, "ou", others)
    assert "1.15" in table_1(values)
    assert parts(rows, others)["others"].count("\n") == 1 + 2 * len(OTHERS)
    assert "2000 epochs" in table_4(values)


def test_figures_are_drawn_of_few_results():
    few = rows_of(cell_of("ou", (1000, 50), "default", 0), [0.1, 0.2])
    for rows in ([], few):
        for draw in FIGURES.values():
            draw(Values(rows), {})
        assert parts(rows, {})["ou"].count("\n") == 1 + bool(rows)


def test_a_table_has_means_errors_and_what_they_are_worth():
    own = cell_of("ou", (1000, 10), "default", 0)
    rows = rows_of(own, [0.0, 0.2])
    for n, value in ((10, 1.1), (1000, -0.9)):
        rows += rows_of(cell_of("ou", (0, n), "single", 0), [value])
    line = next(x for x in score_table(Values(rows), "ou", {}).splitlines() if "default" in x)
    assert "0.10 ± 0.10" in line
    assert "10 / – / –" in line  # about 100 runs alone, for 10


def test_what_falls_short_is_found():
    budget = (1000, 100)
    default = rows_of(cell_of("ou", budget, "default", 0), [0.0, 0.1, 0.2])
    worse = rows_of(cell_of("ou", budget, "transfer", 0), [1.0, 1.1, 1.3])
    better = rows_of(cell_of("ou", budget, "sbi-equal", 0), [-1.0, -0.9, -0.7])
    same = rows_of(cell_of("ou", budget, "emulator", 0), [0.1, 0.0, 0.2])
    cover = rows_of(cell_of("ou", budget, "default", 0), [0.1] * 3, metric="coverage_error")
    cover += rows_of(cell_of("ou", budget, "default", 0), [-0.1] * 3, metric="coverage_bias")
    assert shortcomings(Values(default + worse)) == []
    found = " ".join(shortcomings(Values(default + worse + better + same + cover)))
    assert "sbi, level L alone, equal cost is better by 0.967" in found
    assert "add nothing that is sure" in found
    assert "coverage error 0.100 (target 0.03), over-confident" in found
    assert "Transfer" not in found


def test_a_page_is_renewed_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- bench: ou -->\nold\n<!-- bench end -->\nkept\n")
    rows = rows_of(cell_of("ou", (1000, 50), "default", 0), [0.25])
    renew(page, rows, {})
    text = page.read_text()
    assert "old" not in text
    assert "0.25" in text
    assert text.startswith("# A\n")
    assert text.endswith("kept\n")
    renew(page, rows, {})
    assert page.read_text() == text
    with pytest.raises(ValueError, match="the mark 'nope'"):
        filled("<!-- bench: nope -->\n<!-- bench end -->", {"ou": ""})
    with pytest.raises(ValueError, match="got none"):
        filled("nothing", {"ou": ""})
    with pytest.raises(ValueError, match="Markdown file"):
        renew(tmp_path / "absent.md", rows, {})


def test_the_benchmark_page_says_what_the_results_say():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    rows = results.latest(results.read(ROOT / "benchmarks" / "results" / "paper.csv"))
    found = parts(rows, results.read_reference())
    assert filled(page, found) == page
    assert all(f"<!-- bench: {name} -->" in page for name in found)


def test_a_quick_run_says_so():
    cell = cell_of("ou", (1000, 10), "paper", 10, paper_epochs=200)
    assert "Quick" in parts(rows_of(cell, [0.0]), {})["made"]
    full = rows_of(cell_of("ou", (1000, 10), "paper", 10), [0.0])
    assert "Quick" not in parts(full, {})["made"]
