"""Figures: what they hold, what they refuse, and that they leave pyplot alone."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mlsbi import Bridge, SingleLevel, Stack
from mlsbi.history import History
from mlsbi.metrics import coverage_of_ranks
from mlsbi.plots import coverage_plot, history_plot, pairplot


def two_sets(dim):
    return {"a": torch.randn(300, dim), "b": np.random.randn(50, dim) + 1}


def png(figure, folder):
    """Render for real: layout and font problems show only then."""
    path = folder / "figure.png"
    figure.savefig(path)
    return path.read_bytes()


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_pairplot_is_a_corner(dim, tmp_path):
    figure = pairplot(two_sets(dim), truth=np.zeros(dim))
    assert isinstance(figure, Figure)
    grid = np.asarray(figure.axes).reshape(dim, dim)
    shown = np.array([[ax.axison for ax in row] for row in grid])
    assert (shown == np.tril(np.ones((dim, dim), dtype=bool))).all()
    assert grid[-1, 0].get_xlabel() == r"$\theta_{1}$"
    assert png(figure, tmp_path).startswith(b"\x89PNG")


def test_pairplot_names_every_set_once():
    figure = pairplot(two_sets(3), truth=[0, 0, 0], labels=["p", "q", "r"])
    names = [text.get_text() for ax in figure.axes if ax.legend_ for text in ax.legend_.texts]
    assert names == ["a", "b", "truth"]
    assert [figure.axes[i].get_xlabel() for i in (6, 7, 8)] == ["p", "q", "r"]


def test_pairplot_density_is_normalised_and_true():
    draws = torch.randn(20_000, 1)
    line = pairplot({"normal": draws}, limits=[[-4, 4]]).axes[0].lines[0]
    x, density = line.get_data()
    assert np.sum(density) * (x[1] - x[0]) == pytest.approx(1, abs=5e-3)
    exact = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    assert np.abs(density - exact).max() < 0.03


def test_pairplot_does_not_dip_at_the_edge_of_the_support():
    line = pairplot({"uniform": torch.rand(20_000, 1)}, limits=[[0, 1]]).axes[0].lines[0]
    assert np.abs(line.get_ydata() - 1).max() < 0.12


def test_pairplot_regions_hold_their_mass():
    draws = torch.randn(20_000, 2)
    ax = pairplot({"normal": draws}).axes[2]
    radii = [np.linalg.norm(p.vertices, axis=1) for p in ax.collections[-1].get_paths()]
    # A circle of radius r holds 1 - exp(-r^2 / 2) of a standard normal's mass.
    assert sorted(np.mean(r) for r in radii) == pytest.approx(
        [np.sqrt(-2 * np.log(0.5)), np.sqrt(-2 * np.log(0.1))], abs=0.12
    )


@pytest.mark.parametrize(
    "samples",
    [
        {"constant": torch.full((20, 2), 3.0)},
        {"one row": torch.zeros(1, 2)},
        {"a": torch.zeros(10, 2), "far": torch.full((10, 2), 1e9)},
    ],
)
def test_pairplot_draws_degenerate_sets(samples, tmp_path):
    png(pairplot(samples), tmp_path)


def test_pairplot_with_no_sample_inside_the_limits(tmp_path):
    png(pairplot(two_sets(2), limits=[[50, 51], [50, 51]]), tmp_path)


def test_functions_draw_into_given_axes():
    figure = Figure()
    axes = figure.subplots(2, 3)
    assert pairplot(two_sets(2), axes=axes[:, :2]) is figure
    assert coverage_plot({"a": ([0.5], [0.4])}, ax=axes[0, 2]) is figure
    assert history_plot(History(({"step": 0.0, "train_loss": 1.0},)), ax=axes[1, 2]) is figure
    assert all(ax.has_data() or not ax.axison for ax in figure.axes)


def test_coverage_plot_has_bands_only_where_the_counts_are_known(tmp_path):
    coverage = coverage_of_ranks(torch.rand(100))
    figure = coverage_plot({"fit": coverage})
    assert len(figure.axes[0].collections) == 2
    assert np.allclose(figure.axes[0].lines[1].get_ydata(), coverage.empirical)
    assert len(coverage_plot({"fit": coverage, "pair": ([0, 1], [0, 1])}).axes[0].collections) == 1
    png(figure, tmp_path)


def lines_of(figure, label):
    """The lines of one loss, stage by stage."""
    colours = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    return [line for line in figure.axes[0].lines if line.get_color() == colours[label]]


def test_history_plot_lays_stages_end_to_end(tmp_path):
    rows = [
        {"stage": stage, "step": step, "train_loss": 1.0, "held_out_loss": loss, "cosine": 0.1}
        for stage, step, loss in [(0, 0, 3.0), (0, 10, 2.0), (1, 0, np.inf), (1, 10, 1.0)]
    ]
    figure = history_plot(History(tuple(rows)))
    first, second = lines_of(figure, "held out")
    assert [*first.get_xdata(), *second.get_xdata()] == [0, 10, 10, 20]
    assert np.isnan(second.get_ydata()[0])
    assert len(lines_of(figure, "train")) == 2
    boundary = figure.axes[0].lines[-1]
    assert list(boundary.get_xdata()) == [10, 10]
    names = [text.get_text() for text in figure.axes[0].get_legend().texts]
    assert names == ["train", "held out"]
    png(figure, tmp_path)


def test_history_plot_keeps_steps_that_count_through():
    rows = [{"stage": s, "step": t, "train_loss": 1.0} for s, t in [(0, 0), (0, 10), (1, 20)]]
    first, second = lines_of(history_plot(History(tuple(rows))), "train")
    assert [*first.get_xdata(), *second.get_xdata()] == [0, 10, 20]


def test_history_plot_cuts_off_what_runs_away_after_the_best():
    held_out = [3.0, 2.0, 1.0, 40.0, 900.0]
    train = [3.0, 1.5, 0.5, -60.0, -700.0]
    rows = [
        {"step": float(i), "train_loss": t, "held_out_loss": h}
        for i, (t, h) in enumerate(zip(train, held_out, strict=True))
    ]
    low, high = history_plot(History(tuple(rows))).axes[0].get_ylim()
    assert -1 < low < 0.5
    assert 3 < high < 4
    low, high = history_plot(History(tuple(rows[:3]))).axes[0].get_ylim()
    assert low < 0.5
    assert high > 3


def test_history_plot_names_the_candidates_of_a_stack(tmp_path):
    rows = [
        {"candidate": c, "stage": 0.0, "step": step, "train_loss": 1.0}
        for c in (0.0, 1.0, 2.0)
        for step in (0.0, 5.0)
    ]
    rows.insert(0, {"candidate": 0.0, "inflation": 1.0})  # no loss
    history = History(tuple(rows))
    fit = SimpleNamespace(history=history, strategy=Stack(candidates=(Bridge(), SingleLevel())))
    named = history_plot(fit)
    assert [t.get_text() for t in named.axes[0].texts] == ["Bridge", "SingleLevel", "candidate 2"]
    assert [line.get_xdata()[0] for line in lines_of(named, "train")] == [0, 5, 10]
    assert history_plot(history).axes[0].texts[0].get_text() == "candidate 0"
    png(named, tmp_path)


def test_history_plot_of_losses_that_are_no_numbers(tmp_path):
    rows = ({"step": 0.0, "train_loss": np.nan}, {"step": 1.0, "train_loss": np.inf})
    png(history_plot(History(rows)), tmp_path)


GOOD = {"a": np.zeros((4, 2))}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pairplot(np.zeros((4, 2))), TypeError, "samples must be"),
        (lambda: pairplot({}), ValueError, "samples must hold at least one"),
        (lambda: pairplot({"a": "text"}), TypeError, "samples"),
        (lambda: pairplot({"a": np.zeros(4)}), ValueError, r"samples\['a'\] must have shape"),
        (lambda: pairplot({"a": np.zeros((0, 2))}), ValueError, r"\['a'\] must not be empty"),
        (lambda: pairplot({"a": np.full((4, 2), np.nan)}), ValueError, r"samples\['a'\] .*finite"),
        (lambda: pairplot({**GOOD, "b": np.zeros((4, 3))}), ValueError, r"samples\['b'\]"),
        (lambda: pairplot(GOOD, labels=["x"]), ValueError, "labels must hold 2"),
        (lambda: pairplot(GOOD, labels="xy"), ValueError, "labels must hold 2"),
        (lambda: pairplot(GOOD, labels=3), TypeError, "labels must be"),
        (lambda: pairplot(GOOD, truth=[1.0]), ValueError, "truth must have shape"),
        (lambda: pairplot(GOOD, limits=[[0, 1]]), ValueError, "limits must have shape"),
        (lambda: pairplot(GOOD, limits=[[0, 1], [1, 0]]), ValueError, "limits .* low < high"),
        (lambda: pairplot(GOOD, axes=Figure().add_subplot()), ValueError, "axes must hold"),
        (lambda: pairplot(GOOD, axes=np.zeros((2, 2))), ValueError, "axes must hold"),
        (lambda: coverage_plot([1, 2]), TypeError, "curves must be"),
        (lambda: coverage_plot({}), ValueError, "curves must hold"),
        (lambda: coverage_plot({"a": 3}), TypeError, r"curves\['a'\] must be"),
        (lambda: coverage_plot({"a": ([0.5], [0.5, 1])}), ValueError, r"curves\['a'\]\[1\]"),
        (lambda: coverage_plot({"a": ([], [])}), ValueError, r"curves\['a'\]"),
        (lambda: coverage_plot({"a": ([50], [40])}), ValueError, "fractions"),
        (lambda: coverage_plot({"a": ([0.5], [0.5])}, ax=1), TypeError, "ax must be"),
        (lambda: history_plot({"train_loss": [1]}), TypeError, "history must be"),
        (lambda: history_plot(History()), ValueError, "history must hold"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_pyplot_is_never_imported():
    import mlsbi.plots

    assert "plt" not in vars(mlsbi.plots)
    if "matplotlib.pyplot" in sys.modules:  # another library's doing
        import matplotlib.pyplot as plt

        before = plt.get_fignums()
        pairplot(two_sets(2))
        assert plt.get_fignums() == before
