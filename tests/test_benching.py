"""The paper made anew: which cells, how they run, the rivals, how long it takes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import mlsbi
from bench_rows import rows_of
from mlsbi._span import span
from mlsbi.benching import results
from mlsbi.benching.cells import Cell, cell_of, drawn_runs
from mlsbi.benching.estimates import Remaining, estimates
from mlsbi.benching.figures import LABELS
from mlsbi.benching.names import TASKS, check_strategy, make_task, metric_of
from mlsbi.benching.paper import (
    BUDGETS,
    OTHERS,
    PAPER_TASKS,
    Wanted,
    paper_cells,
    quick_cells,
    unfinished,
)
from mlsbi.benching.results import CURVE, Row
from mlsbi.benching.rivals import fit_by_sbi
from mlsbi.benching.run import run_cell, run_cells

DATA = Path("somewhere")  # cells are planned without looking into it


# Cells


def test_the_reproduction_has_every_experiment_once():
    cells = paper_cells(Wanted(), DATA)
    assert len(cells) == len(set(cells))
    assert {cell.task for cell in cells} == {*PAPER_TASKS, *OTHERS, "step-nle", "step-npe"}
    for task, budgets in BUDGETS.items():
        for budget in budgets:
            have = {c.strategy.split("@")[0] for c in cells if (c.task, c.budget) == (task, budget)}
            assert {*LABELS, "emulator"} <= have
    assert Cell("toggle", (0, 7537, 0), "paper-high@2000", "mdn:1", 10) in cells
    assert Cell("g-and-k-nle", (10_000, 300), "paper-none@2000", "mdn:1", 10) in cells
    assert Cell("ou", (0, 1), "exact", "none", 10) in cells
    for cell in cells:
        if cell.task in TASKS:
            check_strategy(cell.strategy)


def test_quick_is_a_small_part_in_time():
    expected = estimates([])
    seconds = sum(map(expected, quick_cells(Wanted(seeds=(10, 1)), DATA)))
    assert seconds < 2 * 15 * 60  # two cores, a quarter of an hour
    assert {c.task for c in quick_cells(Wanted(), None)}.isdisjoint({"camels-2", "camels-sigma8"})
    few = Wanted(tasks=("ou",), strategies=("default", "paper"), seeds=(3, 1))
    assert {c.strategy for c in quick_cells(few, None) if c.task == "ou"} == {
        "default",
        "paper@200",
    }


def test_what_a_file_lacks_is_run():
    cells = paper_cells(Wanted(), DATA)
    rows = [Row(cell, metric_of(cell.task), 0.0, 1.0) for cell in cells]
    again = unfinished(cells, rows)
    assert {(c.task, c.budget) for c in again} == {  # whose curves the figures show
        ("g-and-k-npe", (1000, 100)),
        ("camels-sigma8", (980, 20)),
    }
    assert unfinished(cells, rows + [Row(cell, f"{CURVE}0.50", 0.5, 1.0) for cell in cells]) == []
    assert unfinished(cells, rows[1:])[0] == cells[0]


def test_equal_cost_counts_both_runs_of_a_pair():
    cell = cell_of("ou", (1000, 50), "single-equal", 0)
    assert drawn_runs(cell, (1.0, 10.0)) == (1, (1000 + 50 * 11) // 10)
    toggle = cell_of("toggle", (10_000, 500, 100), "sbi-equal", 0)
    assert drawn_runs(toggle, make_task("toggle").costs) == (1, 1, 2010)  # as the paper's NLE
    assert drawn_runs(cell_of("ou", (1000, 50), "single", 0), (1.0, 10.0)) == (1000, 50)
    with pytest.raises(ValueError, match="needs the costs of runs"):
        drawn_runs(cell_of("camels-2", (980, 20), "single-equal", 0), None)


@pytest.mark.parametrize("name", ["default-equal", "multilevel-equal", "sbi-nope", "exact-equal"])
def test_only_level_l_alone_can_have_equal_cost(name):
    with pytest.raises(ValueError, match="strategy must be"):
        check_strategy(name)


# Running them


def test_the_curve_of_coverage_is_kept_with_a_posterior():
    metrics = run_cell(
        cell_of("ou", (30, 8), "single-equal", 0, estimator="mdn:1"), max_steps=3
    ).metrics
    curve = [value for name, value in metrics.items() if name.startswith(CURVE)]
    assert len(curve) == 19
    away = [abs(v - (i + 1) / 20) for i, v in enumerate(curve)]
    assert metrics["coverage_error"] == pytest.approx(sum(away) / 19)
    task = make_task("ou")
    data, theta, x = task.data((1, 11), 0)  # (30 + 8 * 11) / 10 runs
    fit = mlsbi.fit_posterior(
        data.top(), strategy=mlsbi.SingleLevel(), ensemble=1, estimator="mdn",
        training=mlsbi.Training(max_steps=3), seed=_seed(0),
    )  # fmt: skip
    assert task.score(fit, theta, x, seed=0).items() <= metrics.items()


def _seed(seed):
    from mlsbi._random import derive_seed

    return derive_seed(seed, "bench", "fit")


def test_the_exact_posterior_is_scored_on_the_same_pairs():
    outcome = run_cell(cell_of("ou", (1000, 10), "exact", 3))
    _, theta, x = make_task("ou").data((1, 1), 3)
    assert outcome.metrics["nlpd_mean"] == pytest.approx(
        -float(make_task("ou").reference_posterior(theta, x).mean())
    )
    failed = next(iter(run_cells([cell_of("g-and-k-npe", (1000, 10), "exact", 0)])))
    assert "no exact posterior" in failed.error


def test_a_step_is_timed_by_itself():
    cell = Cell("step-nle", (40, 20), "multilevel", "mdn:1", 0)
    before = torch.get_num_threads()
    outcome = next(iter(run_cells([cell], max_steps=3)))
    assert torch.get_num_threads() == before
    assert outcome.metrics["single_ms"] > 0
    assert {"multilevel_ratio", "released_ratio"} <= outcome.metrics.keys()
    assert "multilevel_ratio" in results.line(outcome)


# sbi


def test_sbis_posterior_is_normalised_inside_the_prior():
    data, _, x = make_task("ou").data((5, 40), 0)
    fit = fit_by_sbi(data, "posterior", seed=1, max_epochs=2)
    low, high = (edge.double() for edge in (data.prior.low, data.prior.high))
    grid = torch.stack(
        torch.meshgrid(
            *(torch.linspace(0.5 / 40, 1 - 0.5 / 40, 40).double() * (b - a) + a
              for a, b in zip(low, high, strict=True)), indexing="ij"),
        -1,
    ).reshape(-1, 3).float()  # fmt: skip
    cell = float(((high - low) / 40).prod())
    at = x[:1].expand(len(grid), -1)
    mass = float(fit.log_prob(grid, at).exp().sum()) * cell
    assert mass == pytest.approx(1.0, abs=0.1)  # 400 draws say how much of the flow is inside
    assert float(fit.uncorrected(grid, at).exp().sum()) * cell < 0.9  # and that a part is not
    drawn = fit.sample_batched(50, x=x[:3], seed=0)
    assert drawn.shape == (50, 3, 3)
    assert bool(data.prior.contains(drawn.flatten(0, 1)).all())
    assert float(fit.log_prob(2 * high[None].float(), x[:1])) == -math.inf


def test_sbi_runs_as_a_strategy_and_leaves_no_trace(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    first, again = (
        run_cell(cell_of("g-and-k-nle", (30, 20), "sbi", 4), max_steps=2) for _ in range(2)
    )
    assert first.metrics == again.metrics
    assert first.metrics["kld_median"] > 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


def test_sbi_sees_level_l_alone():
    task = make_task("ou")
    few, many = task.data((5, 20), 0)[0], task.data((50, 20), 0)[0]
    fits = [fit_by_sbi(data, "posterior", seed=1, max_epochs=1) for data in (few, many)]
    theta, x = few.theta(1), few.x(1)
    assert torch.equal(fits[0].uncorrected(theta, x), fits[1].uncorrected(theta, x))
    with pytest.raises(ValueError, match="at least 2 runs"):
        fit_by_sbi(task.data((5, 1), 0)[0], "posterior", seed=1)


# Estimates


def test_estimates_come_from_what_such_cells_took():
    cell = cell_of("ou", (1000, 50), "default", 99)
    before = estimates([])(cell)
    rows = [*rows_of(cell, [0.0, 0.1, 0.2], seconds=100.0), *rows_of(cell, [0.0], seconds=400.0)]
    assert estimates(rows)(cell) == pytest.approx(before + 100 - 22)
    long, short = (cell_of("g-and-k-nle", (10_000, 50), f"paper@{n}", 0) for n in (10_000, 200))
    assert estimates([])(long) > 20 * estimates([])(short)
    assert [span(s) for s in (40, 700, 12600)] == ["40 s", "12 min", "3.5 h"]


def test_what_remains_follows_the_pace():
    whole = Remaining([10.0] * 10, jobs=2)
    assert whole.left == 50
    assert whole.after(10.0, elapsed=5.0) == 45  # as expected
    for _ in range(8):
        left = whole.after(10.0, elapsed=90.0)
    assert left == pytest.approx(5 * 1.9)  # twice as slow, mostly believed
    assert whole.after(10.0, elapsed=100.0) == 0
