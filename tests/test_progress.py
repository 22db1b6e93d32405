"""Progress that a view watches: who reports to it, and who does not."""

from __future__ import annotations

import contextvars
import threading

import pytest
import torch
from torch.distributions import Independent, Uniform

import mlsbi
from mlsbi._progress import note, progress_bar, watched, watching
from mlsbi.live.state import Activity
from mlsbi.simulate._status_line import campaign_progress


@pytest.fixture
def view():
    return Activity("test", ["work"])


def test_bars_campaigns_and_notes_go_to_the_view_and_nowhere_else(view, capfd):
    with watched(view):
        with progress_bar("checks", 3, enabled=True) as update:
            update(1, "one", 0.5)
            update(2, "two")
        with campaign_progress([10, 4], [2, 0], [1.0, 5.0], enabled=True) as report:
            report.update(0, 3, 1, 0.1)
        note("a word", enabled=True)
    assert [(work.title, work.done, work.text, work.values) for work in view.works] == [
        ("checks", 2, "two", [0.5])
    ]
    (tally,) = view.tallies
    assert [(level.through, level.total, level.failed) for level in tally.levels] == [
        (6, 10, 1),
        (0, 4, 0),
    ]
    assert view.notes == ["a word"]
    assert capfd.readouterr() == ("", "")


def test_what_is_not_asked_for_is_not_shown(view, capfd):
    with watched(view):
        with progress_bar("checks", 3, enabled=False) as update:
            update(1, "one", 0.5)
        with campaign_progress([10], [0], [None], enabled=False) as report:
            report.update(0, 3, 1, 0.1)
        note("a word", enabled=False)
    assert (view.works, view.tallies, view.notes) == ([], [], [])
    assert capfd.readouterr() == ("", "")


def test_the_view_watches_within_its_block_alone(view, capfd):
    def work():
        with watched(view):
            assert watching() is view
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert watching() is None
    note("alone", enabled=True)
    assert view.notes == []
    assert capfd.readouterr() == ("", "alone\n")


def test_threads_of_the_same_context_report_too(view):
    def work():
        with progress_bar("in a thread", 1, enabled=True) as update:
            update(1, "")

    with watched(view):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
    assert [work.title for work in view.works] == ["in a thread"]


def test_a_campaign_and_a_fit_report_to_it(view, capfd):
    prior = Independent(Uniform(-torch.ones(1), torch.ones(1)), 1)
    hierarchy = mlsbi.Hierarchy(
        prior,
        levels=[mlsbi.Level(lambda t, u: t + 0.1, cost=1), mlsbi.Level(lambda t, u: t, cost=9)],
    )
    with watched(view), view.step("work"):
        data = mlsbi.simulate(hierarchy, [60, 20], seed=0, progress=True)
        fit = mlsbi.fit_posterior(
            data,
            strategy=mlsbi.Stack(candidates=(mlsbi.SingleLevel(), mlsbi.SingleLevel(level=0))),
            estimator="mdn",
            ensemble=2,
            training=mlsbi.Training(max_steps=20, evaluate_every=10),
            seed=0,
            progress=True,
        )
    assert fit.n == (60, 20)
    assert [level.through for level in view.tallies[0].levels] == [60, 20]
    assert [work.title for work in view.works] == [
        "training, 0-SingleLevel",
        "training, 1-SingleLevel",
    ]
    assert all(len(work.values) == 2 and work.done == 20 for work in view.works)
    assert all(work.seconds is not None for work in view.works)
    assert capfd.readouterr() == ("", "")
