"""The harness: names, plans, results that resume, and the table."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import mlsbi
from mlsbi._compare import level_alone, runs_to_match
from mlsbi.benching import results, table
from mlsbi.benching.cells import Cell, Outcome, plan
from mlsbi.benching.names import (
    TASKS,
    library_estimator,
    make_strategy,
    make_task,
    parse_budget,
    parse_estimator,
)
from mlsbi.benching.run import run_cell, run_cells

ROOT = Path(__file__).parents[1]
CELL = Cell("ou", (20, 5), "multilevel", "mdn:1", 0)


def shown(made):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(made)
    return console.export_text()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("single", mlsbi.SingleLevel()),
        ("transfer", mlsbi.Transfer()),
        ("pooled", mlsbi.Pooled()),
        ("default", None),
        ("multilevel", mlsbi.Multilevel()),
        ("multilevel-rescale", mlsbi.Multilevel(rescale=True, project=False)),
        ("multilevel-project", mlsbi.Multilevel(rescale=False, project=True)),
        (
            "multilevel-none-level",
            mlsbi.Multilevel(rescale=False, project=False, standardise="level"),
        ),
        ("multilevel-telescoped", mlsbi.Multilevel(held_out="telescoped")),
        ("paper@70", mlsbi.Multilevel.paper(epochs=70)),
        ("paper-none@70", mlsbi.Multilevel.paper(epochs=70, rescale=False, project=False)),
    ],
)
def test_strategies_by_name(name, made):
    assert make_strategy(name) == made


@pytest.mark.parametrize(
    "name",
    ["", "nope", "single-none", "multilevel-", "multilevel@3", "paper@", "paper@x", "paper@0"],
)
def test_unknown_strategies_are_refused(name):
    with pytest.raises(ValueError, match="strategy must be single, multilevel"):
        make_strategy(name)


def test_budgets():
    assert parse_budget("1000, 50", levels=2) == (1000, 50)
    assert parse_budget("0,0,7", levels=3) == (0, 0, 7)
    for text in ("1000", "a,b", "-1,2", "1,2,3", "0,0", ""):
        with pytest.raises(ValueError, match="budget must"):
            parse_budget(text, levels=2)
    with pytest.raises(ValueError, match="one alone"):
        parse_budget("0,5,5", levels=3)


def test_estimators():
    assert parse_estimator("nsf:1") == ("nsf", 1)
    assert parse_estimator("zuko_nsf") == ("zuko_nsf", None)
    assert parse_estimator(library_estimator()) == (library_estimator(), None)
    for text in ("nope", "mdn:", "mdn:0", "mdn:x"):
        with pytest.raises(ValueError, match="estimator must be"):
            parse_estimator(text)


def test_a_plan_is_a_fair_comparison_at_every_prefix():
    task = make_task("toggle")
    cells = plan(
        "toggle", task, strategies=["single", "paper"], seeds=[3, 4], single_runs=[50, 60],
        paper_estimator="nsf:1",
    )  # fmt: skip
    assert [c.seed for c in cells] == sorted(c.seed for c in cells)
    assert Cell("toggle", (0, 0, 60), "single", "mdn", 4) in cells
    assert Cell("toggle", task.budgets[0], "paper@2000", "nsf:1", 3) in cells
    assert {c.strategy for c in cells if 0 in c.budget} == {"single"}
    assert len(cells) == len(set(cells))


def test_level_alone_keeps_its_runs_and_cost():
    data = make_task("ou").data((6, 4), 0)[0]
    low, high = level_alone(data, 0), level_alone(data, 1)
    assert (low.n, high.n) == ((6,), (4,))
    assert (low.cost, high.cost) == (6.0, 40.0)
    assert (high.x(0) == data.x(1)).all()


def test_high_level_runs_alone_are_those_of_the_multilevel_budget():
    task = make_task("ou")
    assert (task.data((1, 4), 0)[0].x(1) == task.data((30, 4), 0)[0].x(1)).all()


def test_runs_to_match():
    curve = {10: 1.0, 100: 0.0, 1000: 0.1, 10000: -1.0}
    halfway = runs_to_match(curve, 0.5)
    assert halfway.runs == pytest.approx(10**1.5)
    assert str(halfway) == "about 32"
    assert str(runs_to_match(curve, 2.0)) == "at most 10"
    assert str(runs_to_match(curve, -2.0)) == "more than 10000"
    assert runs_to_match({10: float("inf"), 100: 0.0}, 0.5).runs == 100
    with pytest.raises(ValueError, match="curve must hold"):
        runs_to_match({}, 0.0)


def test_a_cell_is_reproducible_and_scored():
    first, again = (run_cell(CELL, max_steps=3) for _ in range(2))
    assert first.metrics == again.metrics
    assert first.metrics["steps"] == 3
    assert {"nlpd_mean", "coverage_error", "status_ok"} <= set(first.metrics)


@pytest.mark.parametrize("budget", [(0, 8), (8, 0)])
def test_one_level_alone(budget):
    assert run_cell(Cell("ou", budget, "single", "mdn:1", 0), max_steps=2).metrics["steps"] == 2


def test_a_likelihood_cell():
    outcome = run_cell(Cell("g-and-k-nle", (20, 8), "paper@2", "mdn:1", 0), max_steps=2)
    assert outcome.metrics["kld_median"] > 0


def test_an_error_in_a_cell_is_an_outcome():
    bad = Cell("ou", (20, 5), "nope", "mdn:1", 0)
    outcomes = list(run_cells([bad, CELL], max_steps=2))
    assert [bool(o.error) for o in outcomes] == [True, False]
    assert "ValueError: strategy must be" in results.line(outcomes[0])


@pytest.mark.slow
def test_processes_give_the_same_numbers():
    cells = [CELL, Cell("ou", (0, 8), "single", "mdn:1", 1)]
    serial = {o.cell: o.metrics for o in run_cells(cells, max_steps=3)}
    parallel = {o.cell: o.metrics for o in run_cells(cells, max_steps=3, jobs=2)}
    assert serial.keys() == parallel.keys()
    for cell, metrics in serial.items():
        assert parallel[cell] == pytest.approx(metrics, rel=1e-4)


def test_results_are_read_back(tmp_path):
    path = tmp_path / "new" / "results.csv"
    assert results.read(path) == []
    results.append(path, Outcome(CELL, {"nlpd_mean": 0.1 + 0.2}, 1.5), source="abc")
    results.append(path, Outcome(CELL, {}, 0.0, "ValueError: no"), source="abc")
    results.append(path, Outcome(CELL, {"coverage_error": float("inf")}, 1.5), source="abc")
    rows = results.read(path)
    assert [(r.metric, r.value, r.cell) for r in rows] == [
        ("nlpd_mean", 0.1 + 0.2, CELL),
        ("coverage_error", float("inf"), CELL),
    ]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="--out"):
        results.read(path)


def test_the_table_has_means_errors_and_the_figures_of_others():
    rows = []
    for seed, value in enumerate((0.0, 0.2)):
        cell = Cell("ou", (1000, 10), "multilevel", "mdn", seed)
        rows += [results.Row(cell, "nlpd_mean", value, 2.0)]
    for n, value in ((10, 1.1), (1000, -0.9)):
        rows += [results.Row(Cell("ou", (0, n), "single", "mdn", 0), "nlpd_mean", value, 2.0)]
    text = shown(table.table("ou", rows, results.read_reference()["ou"]))
    mine = next(line for line in text.splitlines() if "multilevel" in line)
    assert "0.100 ± 0.100" in mine
    assert "-0.53" in mine  # official 0.63
    assert "about 100" in mine
    for words in ("official", "0.630", "exact posterior", "-1.479", "0,1000"):
        assert words in text


def test_a_ratio_where_the_metric_is_positive():
    rows = [results.Row(Cell("toggle", (10000, 500, 100), "single", "mdn", 0),
                        "mmd_squared_mean", 0.132, 1.0)]  # fmt: skip
    assert "× 0.50" in shown(table.table("toggle", rows, results.read_reference()["toggle"]))


def test_the_reference_file_covers_the_tasks(tmp_path):
    held = json.loads((ROOT / "benchmarks" / "reference.json").read_text())
    assert "arXiv:2506.06087" in held["about"]
    assert set(held["tasks"]) == set(TASKS)
    for name, figures in results.read_reference().items():
        needs = TASKS[name].needs_data
        levels = 2 if needs else len(make_task(name).budgets[0])
        assert {len(f.budget) for f in figures} <= {0, levels}
    assert results.read_reference(tmp_path / "none.json") == {}
