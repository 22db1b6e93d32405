"""Laws of all figures of checks, and what they refuse."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fake_checks import check, four_axes, losses, png, predictive, verdict
from mlsbi import plots

FIGURES = {
    "coverage": (lambda **o: plots.coverage_plot(check(), **o), 1),
    "coverage of parameters": (lambda **o: plots.coverage_plot(check(), parameters=True, **o), 1),
    "tarp": (lambda **o: plots.tarp_plot(check(), **o), 1),
    "moments": (lambda **o: plots.moments_plot(check(), **o), 1),
    "scores": (lambda **o: plots.score_plot(check(), **o), 1),
    "pairs of scores": (lambda **o: plots.score_plot(check(), torch.randn(40), **o), 1),
    "ranks": (lambda **o: plots.rank_plot(check(), **o), 3),
    "histograms": (lambda **o: plots.rank_plot(check(), kind="histogram", **o), 3),
    "verdicts": (lambda **o: plots.verdict_plot(check(), **o), 2),
    "losses": (lambda **o: plots.multilevel_plot(losses(), **o), 2),
    "predictive": (lambda **o: plots.predictive_plot(predictive(), **o), 1),
    "predictive of many": (lambda **o: plots.predictive_plot(predictive(60), **o), 1),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_made_and_rendered(name, tmp_path):
    draw, count = FIGURES[name]
    figure = draw()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == count
    assert all(ax.has_data() for ax in figure.axes)
    assert figure.get_figwidth() <= 5.6  # text is readable where a phone shows it 390 pixels wide
    png(figure, tmp_path)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_into_given_axes(name):
    draw, count = FIGURES[name]
    figure = Figure()
    axes = figure.subplots(1, count)
    option = {"ax": axes} if isinstance(axes, Axes) and name != "ranks" else {"axes": axes}
    assert draw(**option) is figure
    assert len(figure.axes) == count
    assert all(ax.has_data() for ax in figure.axes)


def test_pyplot_is_left_alone():
    before = "matplotlib.pyplot" in sys.modules
    figures = list(sys.modules["matplotlib.pyplot"].get_fignums()) if before else []
    for draw, _ in FIGURES.values():
        draw()
    assert before or "matplotlib.pyplot" not in sys.modules
    if before:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == figures


# --- input --------------------------------------------------------------------------------------

NOTHING = SimpleNamespace(predictive=None)
RANKS = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plots.rank_plot("text"), TypeError, "check"),
        (lambda: plots.rank_plot(RANKS[:, 0]), ValueError, "check must"),
        (lambda: plots.rank_plot(RANKS + 1), ValueError, "check must hold fractions"),
        (lambda: plots.rank_plot(RANKS[:0]), ValueError, "check must hold at least one run"),
        (lambda: plots.rank_plot(RANKS, kind="pie"), ValueError, "kind must be one of"),
        (lambda: plots.rank_plot(RANKS, level=1.0), ValueError, "level must lie"),
        (lambda: plots.rank_plot(RANKS, labels=["a"]), ValueError, "labels must hold 2"),
        (lambda: plots.rank_plot(RANKS, axes=[1, 2]), ValueError, "axes must hold 2"),
        (lambda: plots.rank_plot(RANKS, axes=four_axes()), ValueError, "axes must hold 2 .*got 4"),
        (lambda: plots.tarp_plot(RANKS), ValueError, "check must"),
        (lambda: plots.tarp_plot([0.5], num_levels=0), ValueError, "num_levels"),
        (lambda: plots.tarp_plot([0.5], ax=3), TypeError, "ax must be"),
        (lambda: plots.coverage_plot(check(), level=2), ValueError, "level must lie"),
        (lambda: plots.moments_plot(RANKS), ValueError, "contraction must be given"),
        (lambda: plots.moments_plot(RANKS, RANKS[:3]), ValueError, "contraction must have shape"),
        (lambda: plots.score_plot([math.nan]), ValueError, "check must hold numbers"),
        (lambda: plots.score_plot([]), ValueError, "check must hold at least one run"),
        (lambda: plots.score_plot([1.0], [1.0, 2.0]), ValueError, "against must have shape"),
        (lambda: plots.score_plot([1.0], names="ab"), ValueError, "names must be two"),
        (lambda: plots.verdict_plot(3), TypeError, "check must be"),
        (lambda: plots.verdict_plot([3]), TypeError, "check must hold verdicts"),
        (lambda: plots.verdict_plot([]), ValueError, "check must hold at least one verdict"),
        (lambda: plots.verdict_plot([verdict()], axes=four_axes()), ValueError, "axes must hold 2"),
        (lambda: plots.multilevel_plot(3), TypeError, "fit must be"),
        (lambda: plots.multilevel_plot(None), ValueError, "fit must have multilevel losses"),
        (lambda: plots.predictive_plot(RANKS), TypeError, "predictive must be"),
        (lambda: plots.predictive_plot(NOTHING), ValueError, "predictive must hold .*got none"),
        (lambda: plots.predictive_plot(predictive(), outputs=["a"]), ValueError, "outputs must"),
        (lambda: plots.predictive_plot(predictive(), outputs=3), TypeError, "outputs must be"),
        (lambda: plots.levels_plot([], [0.0]), TypeError, "fits must be"),
        (lambda: plots.levels_plot({}, [0.0]), ValueError, "fits must hold at least one"),
        (lambda: plots.levels_plot({"a": 3}, [0.0]), TypeError, r"fits\['a'\] must be"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
