"""Adaptive runs with a store: the same whatever interrupts them, and no run is made twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mlsbi
from infer_ladder import QUICK, Runs, digest, know_needs, ladder, same
from mlsbi import Multilevel
from mlsbi.planning import _infer_call, _infer_journal, _infer_rounds


class Kill(BaseException):
    """What ends a process; nothing in the library catches it."""


@pytest.fixture(autouse=True)
def _no_syncing(monkeypatch):
    """What a lost machine leaves is tested elsewhere, and waiting for the disk takes long."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def runs(monkeypatch):
    return Runs(monkeypatch)


@pytest.fixture
def stub_needs(monkeypatch):
    know_needs(monkeypatch)


@pytest.mark.usefixtures("stub_needs")
def test_the_same_seed_gives_the_same_result_with_a_store_or_without(runs, tmp_path):
    made, rows = [], []
    for seed, store in ((5, None), (5, tmp_path / "s"), (5, tmp_path / "s"), (6, None)):
        runs.clear()
        made.append(mlsbi.infer(ladder(), budget=400, seed=seed, store=store, **QUICK))
        rows.append(runs.rows)
    same(made[0], made[1])
    same(made[0], made[2])
    assert rows[1] == rows[0]
    assert rows[2] == 0  # all is there
    assert digest(made[3].fit) != digest(made[0].fit)


def bombs(monkeypatch, runs, at):
    """Count what an adaptive run does, and end it before step `at`."""
    steps = []

    def step(name):
        steps.append(name)
        if len(steps) - 1 == at:
            raise Kill(name)

    def armed(owner, name, label):
        usual = getattr(owner, name)

        def before(*args, **kwargs):
            step(label)
            return usual(*args, **kwargs)

        monkeypatch.setattr(owner, name, before)

    runs.before = lambda: step("simulator")
    armed(_infer_call, "fit_posterior", "fit")
    armed(mlsbi.PosteriorFit, "save", "save")
    armed(_infer_rounds, "reestimate", "needs")
    armed(_infer_journal, "write_files", "journal")
    armed(_infer_rounds, "crossfit", "check")
    return steps


def interrupted(runs, store, monkeypatch, at):
    """Kill a run before step `at`, then go on: the result, the step, and all that was run."""
    runs.clear()
    with monkeypatch.context() as patch:
        steps = bombs(patch, runs, at)
        with pytest.raises(Kill):
            mlsbi.infer(ladder(), budget=400, seed=5, store=store, **QUICK)
    runs.before = lambda: None
    made = mlsbi.infer(ladder(), budget=400, seed=5, store=store, **QUICK)
    return made, steps[-1], (runs.rows, runs.seen)


def uninterrupted(runs, store, monkeypatch):
    runs.clear()
    with monkeypatch.context() as patch:
        steps = bombs(patch, runs, -1)
        made = mlsbi.infer(ladder(), budget=400, seed=5, store=store, **QUICK)
    runs.before = lambda: None
    return made, steps, (runs.rows, runs.seen)


@pytest.mark.usefixtures("stub_needs")
def test_killed_at_one_step_of_each_kind_it_goes_on(runs, tmp_path, monkeypatch):
    expected, steps, usual = uninterrupted(runs, tmp_path / "s", monkeypatch)
    kinds = {"simulator", "fit", "save", "needs", "journal", "check"}
    assert set(steps) == kinds
    middle = steps.index("needs")  # where there is something to lose
    for kind in sorted(kinds):
        at = steps.index(kind, middle)
        made, step, all_runs = interrupted(runs, tmp_path / f"at-{at}", monkeypatch, at)
        assert step == kind
        same(made, expected)
        assert all_runs == usual  # the same ones, none made twice


@pytest.mark.slow
@pytest.mark.usefixtures("stub_needs")
def test_killed_at_any_step_it_goes_on(runs, tmp_path, monkeypatch):
    expected, steps, usual = uninterrupted(runs, tmp_path / "s", monkeypatch)
    assert len(steps) > 25
    for at in range(len(steps)):
        made, step, all_runs = interrupted(runs, tmp_path / f"at-{at}", monkeypatch, at)
        same(made, expected)
        assert all_runs[1] == usual[1]
        if step != "simulator":  # between the runs of a pair, the first of them is lost
            assert all_runs[0] == usual[0]


LOST = """
import os, sys
import pytest, mlsbi
from infer_ladder import QUICK, Runs, know_needs, ladder
from test_infer_resume import bombs, Kill

patch = pytest.MonkeyPatch()
know_needs(patch)
bombs(patch, Runs(patch), int(sys.argv[1]))
try:
    mlsbi.infer(ladder(), budget=400, seed=5, store=sys.argv[2], **QUICK)
except Kill:
    os._exit(9)  # no one tidies up
"""


@pytest.mark.slow
@pytest.mark.usefixtures("stub_needs")
def test_a_process_that_vanishes_loses_nothing(runs, tmp_path, monkeypatch):
    expected, _, _ = uninterrupted(runs, tmp_path / "s", monkeypatch)
    codes = []
    while not codes or codes[-1] == 9:  # each time it gets eight steps further
        command = [sys.executable, "-c", LOST, "8", str(tmp_path / "t")]
        ended = subprocess.run(
            command, cwd=Path(__file__).parent, timeout=120, check=False, capture_output=True
        )
        assert ended.returncode in (0, 9), ended.stderr
        codes.append(ended.returncode)
    assert codes[-1] == 0
    assert len(codes) > 2
    same(mlsbi.infer(ladder(), budget=400, seed=5, store=tmp_path / "t", **QUICK), expected)


@pytest.mark.usefixtures("stub_needs")
def test_a_fit_that_is_in_the_store_is_not_made_again(runs, tmp_path, monkeypatch):
    made = mlsbi.infer(ladder(), budget=400, seed=5, store=tmp_path / "s", **QUICK)
    steps = bombs(monkeypatch, runs, -1)
    again = mlsbi.infer(ladder(), budget=400, seed=5, store=tmp_path / "s", **QUICK)
    same(made, again)
    assert {"fit", "save", "needs"}.isdisjoint(steps)


CHANGES = [
    ({"seed": 6}, "seed was 5, now 6"),
    ({"strategy": Multilevel()}, "strategy was .*SingleLevel.*, now .*Multilevel"),
    ({"strategy": None}, "strategy was"),
    ({"kind": "likelihood"}, "kind was posterior, now likelihood"),
    ({"pilot": 9}, "pilot was .*8.*, now .*9"),
    ({"ensemble": 2}, "ensemble was 1, now 2"),
    ({"estimator": "maf"}, "estimator was mdn, now maf"),
    ({"training": None}, "training was"),
    ({"minimum": 3}, r"minimum was None, now \[3, 3\]"),
    ({"hierarchy": ladder((1.0, 5.0))}, "costs was"),
    ({"budget": 300}, "budget must be at least 400.*spent.*got 300"),
    ({"rounds": 2}, "rounds must be at least 3.*got 2"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The store of a finished call, and its arguments."""
    store = tmp_path_factory.mktemp("infer") / "store"
    with pytest.MonkeyPatch.context() as patch:
        know_needs(patch)
        mlsbi.infer(ladder(), budget=400, seed=5, store=store, **QUICK)
    return store


@pytest.mark.usefixtures("stub_needs")
@pytest.mark.parametrize(("change", "words"), CHANGES, ids=lambda v: str(v)[:30])
def test_a_store_of_another_call_is_refused(runs, finished, change, words):
    arguments = {"hierarchy": ladder(), "budget": 400, "seed": 5} | QUICK | change
    with pytest.raises(ValueError, match=words):
        mlsbi.infer(arguments.pop("hierarchy"), store=finished, **arguments)
    assert runs.rows == 0


@pytest.mark.usefixtures("stub_needs")
def test_a_larger_budget_or_more_rounds_go_on(runs, tmp_path):
    store = tmp_path / "s"
    first = mlsbi.infer(ladder(), budget=400, seed=5, store=store, **QUICK)
    more = mlsbi.infer(ladder(), budget=800, seed=5, store=store, **QUICK)
    assert [r.n for r in more.rounds[:2]] == [r.n for r in first.rounds[:2]]
    assert len(more.rounds) == 3
    assert all(a >= b for a, b in zip(more.data.n, first.data.n, strict=True))
    longer = mlsbi.infer(ladder(), budget=1600, seed=5, store=store, rounds=4, **QUICK)
    assert [r.n for r in longer.rounds[:3]] == [r.n for r in more.rounds]
    for made, budget in ((more, 800), (longer, 1600)):
        assert budget - 1 < made.spent <= budget
        assert made.fit.n == made.data.n == made.rounds[-1].n
    assert runs.spent == longer.spent  # nothing was run twice
    again = mlsbi.infer(ladder(), budget=1600, seed=5, store=store, rounds=4, **QUICK)
    same(again, longer)


@pytest.mark.usefixtures("stub_needs")
@pytest.mark.parametrize("at", [0, 3, 8])
def test_a_larger_budget_after_an_interruption_wastes_nothing(runs, tmp_path, monkeypatch, at):
    store = tmp_path / "s"
    with monkeypatch.context() as patch:
        steps = bombs(patch, runs, -1)
        usual = runs.before

        def before():
            usual()
            if steps.count("simulator") > 2 + at:
                raise Kill

        runs.before = before
        with pytest.raises(Kill):
            mlsbi.infer(ladder(), budget=400, seed=5, store=store, **QUICK)
    runs.before = lambda: None
    made = mlsbi.infer(ladder(), budget=600, seed=5, store=store, **QUICK)
    assert made.spent <= runs.spent < made.spent + 40  # coarse runs of pairs that were under way
    assert 599 < made.spent <= 600


def test_a_folder_of_something_else_and_a_damaged_one_are_refused(tmp_path):
    arguments = {"budget": 400, "seed": 5} | QUICK
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds no infer.json but notes.txt"):
        mlsbi.infer(ladder(), store=tmp_path / "other", **arguments)
    for text, words in (("{", "not JSON"), ('{"format": 99}', "format 99")):
        (tmp_path / "other" / "infer.json").write_text(text)
        with pytest.raises(ValueError, match=words):
            mlsbi.infer(ladder(), store=tmp_path / "other", **arguments)


@pytest.mark.usefixtures("stub_needs")
def test_the_journal_is_plain_json(finished):
    record = json.loads((finished / "infer.json").read_text())
    assert [r["number"] for r in record["rounds"]] == [1, 2, 3]
    assert record["call"]["pilot"]["columns"] == 8
    assert {item.name for item in finished.iterdir()} >= {"pilot", "runs.zarr", "round-3"}
