"""Figures of checks: that what is drawn is what was given."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from fake_checks import NAMES, band_of, check, four_axes, png, scores, verdict
from mlsbi import plots
from mlsbi.checking.bands import coverage_band, simultaneous_band
from mlsbi.checking.two_level import two_level_coverage
from mlsbi.checking.verdict import State
from mlsbi.metrics import coverage_of_ranks

# --- coverage and TARP --------------------------------------------------------------------------


def test_coverage_bands_are_those_of_the_statistics():
    made = check(n=25)
    calibrated, own = plots.coverage_plot(made).axes[0].collections
    levels = made.coverage.levels.numpy()
    points, low, high = band_of(calibrated)
    expected = [e.numpy() for e in simultaneous_band(25, made.coverage.levels)]
    assert np.allclose(points, [0, *levels, 1])
    assert np.allclose(low[1:-1], expected[0])
    assert np.allclose(high[1:-1], expected[1])
    points, low, high = band_of(own)
    expected = [e.numpy() for e in coverage_band(made.coverage.ranks, made.coverage.levels)]
    assert np.allclose(points, levels)
    assert np.allclose(low, expected[0])
    assert np.allclose(high, expected[1])


def test_coverage_of_a_check_is_its_curves():
    made = check()
    lines = plots.coverage_plot(made, parameters=True).axes[0].lines[1:]
    assert [line.get_label() for line in lines] == ["all parameters", *NAMES]
    curves = [made.coverage, *made.marginal_coverage]
    for line, curve in zip(lines, curves, strict=True):
        assert np.array_equal(line.get_xdata(), curve.levels.numpy())
        assert np.array_equal(line.get_ydata(), curve.empirical.numpy())
    alone = plots.coverage_plot(made.coverage).axes[0].lines[1]
    assert (alone.get_label(), len(alone.get_xdata())) == ("40 runs", 19)


def test_coverage_shows_the_two_level_curve_only_where_it_is_used():
    g = torch.Generator().manual_seed(0)
    fine = torch.rand(40, generator=g, dtype=torch.float64)
    cheap = torch.rand(500, generator=g, dtype=torch.float64)
    helped = two_level_coverage(fine, fine, cheap, levels=coverage_of_ranks(fine).levels)
    assert helped.used
    ax = plots.coverage_plot(check(two_level=helped)).axes[0]
    (shown,) = [c for c in ax.containers if c.get_label() == "with cheap runs"]
    assert np.allclose(shown[0].get_ydata(), helped.coverage.empirical.numpy())
    ends = np.array([segment[:, 1] for segment in shown[2][0].get_segments()])
    low, high = helped.band()
    assert (ends[:, 0] <= helped.coverage.empirical.numpy() + 1e-9).all()
    assert np.abs(ends[:, 0] - low.numpy()).max() < 0.05
    assert np.abs(ends[:, 1] - high.numpy()).max() < 0.05
    unused = plots.coverage_plot(check(two_level=replace(helped, used=False)))
    assert unused.axes[0].containers == []


def test_bands_around_many_curves_are_left_out():
    curves = {str(i): coverage_of_ranks(torch.rand(30)) for i in range(3)}
    assert len(plots.coverage_plot(curves).axes[0].collections) == 1


def test_tarp_curve_is_the_share_of_credibilities():
    made = scores()
    line = plots.tarp_plot(made).axes[0].lines[1]
    assert np.allclose(line.get_ydata(), coverage_of_ranks(made.tarp).empirical.numpy())
    by_hand = plots.tarp_plot(made.tarp, num_levels=4).axes[0].lines[1]
    assert np.allclose(by_hand.get_xdata(), [0.2, 0.4, 0.6, 0.8])


# --- ranks --------------------------------------------------------------------------------------


def test_rank_curves_are_differences_from_uniform():
    made = check()
    figure = plots.rank_plot(made)
    for ax, name, ranks in zip(figure.axes, NAMES, made.scores.rank.T, strict=True):
        x, y = ax.lines[1].get_data()
        share = (ranks.numpy()[:, None] <= x).mean(0)
        assert np.allclose(y, share - x)
        assert ax.get_title().startswith(name)


def test_panels_outside_the_band_say_so():
    good = torch.linspace(0.01, 0.99, 60, dtype=torch.float64)
    narrow = torch.cat([torch.full((30,), 0.01), torch.full((30,), 0.99)]).double()
    ranks = torch.stack([good, narrow, good**3], dim=1)
    for kind in ("ecdf", "histogram"):
        titles = [ax.get_title() for ax in plots.rank_plot(ranks, kind=kind, labels=NAMES).axes]
        assert titles == ["rate", "size: outside the band", "drift: outside the band"]


def test_calibrated_fits_stay_inside_together():
    """95 % of calibrated fits of 4 parameters, of 30 runs, have no panel outside."""
    g = torch.Generator().manual_seed(0)
    out, axes = 0, four_axes()  # figures take their time: one for all
    for _ in range(60):
        ranks = torch.rand(30, 4, generator=g, dtype=torch.float64)
        titles = [ax.get_title() for ax in plots.rank_plot(ranks, axes=axes).axes]
        out += any("outside" in title for title in titles)
    assert out <= 3 + 4 * math.sqrt(60 * 0.05 * 0.95)


def test_histograms_count_runs():
    made = check()
    for ax, ranks in zip(
        plots.rank_plot(made, kind="histogram").axes, made.scores.rank.T, strict=True
    ):
        counts = ax.patches[-1].get_data().values
        assert np.array_equal(counts, np.histogram(ranks, bins=len(counts), range=(0, 1))[0])
        assert counts.sum() == 40


# --- verdicts -----------------------------------------------------------------------------------


def bars_of(ax):
    """(low, high) of each row, first row first."""
    found = {}
    for line in ax.lines:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        if len(x) == 2 and y[0] == y[1] and line.get_marker() == "None":
            found[float(y[0])] = (float(x[0]), float(x[1]))
    return [found[row] for row in sorted(found, reverse=True)]


def test_verdicts_are_bars_from_end_to_end():
    given = (verdict("joint"), verdict("size", State.BIASED, (1, 0.8, 1.3), (-1.1, -1.5, -0.7)))
    left, right = plots.verdict_plot(given).axes
    assert bars_of(left) == [(1.2, 2.1), (0.8, 1.3)]
    assert bars_of(right) == [(-0.2, 0.4), (-1.5, -0.7)]
    words = [t.get_text() for t in left.get_yticklabels()]
    assert words == ["joint\nover-confident", "size\nbiased"]
    assert left.get_xscale() == "log"


def test_alarms_differ_in_more_than_colour(tmp_path):
    states = [State.OVER, State.UNDER, State.BIASED, State.CALIBRATED, State.UNDECIDED]
    given = [verdict(s.value, s, (1.0, 0.9, 1.1)) for s in states]
    left = plots.verdict_plot(given).axes[0]
    marks = [line for line in left.lines if len(line.get_xdata()) == 1]
    looks = {(m.get_marker(), m.get_markerfacecolor()) for m in marks}
    assert len(looks) == len(states)
    weights = [t.get_fontweight() for t in left.get_yticklabels()]
    assert weights == ["bold"] * 3 + ["normal"] * 2
    png(left.figure, tmp_path)


def test_bands_without_end_stop_at_the_edge_in_an_arrow(tmp_path):
    wide = verdict("rate", State.UNDECIDED, (2.0, 0.0, math.inf), (math.nan, -math.inf, math.inf))
    left, right = plots.verdict_plot([wide]).axes
    for ax in (left, right):
        assert bars_of(ax) == [ax.get_xlim()]
        arrows = [line.get_marker() for line in ax.lines if line.get_marker() in ("<", ">")]
        assert arrows == ["<", ">"]
    png(left.figure, tmp_path)


# --- moments and scores -------------------------------------------------------------------------


def test_moments_are_the_points_given():
    made = check()
    ax = plots.moments_plot(made).axes[0]
    points = [line for line in ax.lines if line.get_label() in NAMES]
    for index, line in enumerate(points):
        assert np.array_equal(line.get_xdata(), made.scores.contraction[:, index].numpy())
        assert np.array_equal(line.get_ydata(), made.scores.z[:, index].numpy())
    by_hand = plots.moments_plot(made.scores.z, made.scores.contraction, labels=NAMES)
    shown = [line.get_label() for line in by_hand.axes[0].lines if line.get_label() in NAMES]
    assert shown == list(NAMES)
    assert len({line.get_marker() for line in points}) == 3


def test_moments_with_points_at_infinity_show_the_others(tmp_path):
    made = scores()
    z = made.z.clone()
    z[0, 0] = math.inf
    png(plots.moments_plot(replace(made, z=z)), tmp_path)


def test_scores_are_paired_run_by_run():
    own, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.5, 1.0])
    ax = plots.score_plot(own, other, names=("all levels", "level 1 alone")).axes[0]
    points = ax.lines[1]
    assert np.array_equal(points.get_xdata(), other.numpy())
    assert np.array_equal(points.get_ydata(), own.numpy())
    assert ax.get_title(loc="left") == "all levels better in 2 of 3 runs"
    assert "level 1 alone" in ax.get_xlabel()


def test_scores_of_a_check_meet_its_comparison():
    rows = torch.tensor([0, 5, 7])
    rival = SimpleNamespace(name="SingleLevel", log_prob=torch.zeros(3).double(), rows=rows)
    made = check(comparison=rival)
    ax = plots.score_plot(made).axes[0]
    assert np.array_equal(ax.lines[1].get_ydata(), made.scores.posterior_log_prob[rows].numpy())
    assert "SingleLevel" in ax.get_xlabel()


def test_stray_scores_are_arrows_at_the_edge(tmp_path):
    own, other = torch.randn(50), torch.randn(50)
    own[0], other[1] = -math.inf, -1e6
    ax = plots.score_plot(own, other).axes[0]
    assert ax.get_ylim()[0] > -20
    assert {line.get_marker() for line in ax.lines[1:]} == {"o", "v", "<"}
    png(ax.figure, tmp_path)
    single = plots.score_plot(own).axes[0]
    assert {line.get_marker() for line in single.lines[:2]} == {"o", "<"}


def test_sorted_scores_rise_to_one():
    line = plots.score_plot(torch.tensor([3.0, 1.0, 2.0])).axes[0].lines[0]
    assert list(line.get_xdata()) == [1, 2, 3]
    assert np.allclose(line.get_ydata(), [1 / 3, 2 / 3, 1])


def test_parameters_without_names_are_set_as_mathematics():
    made = check(labels=("theta_1", "theta_12", "theta"))
    titles = [ax.get_title() for ax in plots.rank_plot(made).axes]
    assert titles[:2] == [r"$\theta_{1}$", r"$\theta_{12}$"]
    assert titles[2] == "theta"
    assert r"$\theta_{12}$" in {t.get_label() for t in plots.moments_plot(made).axes[0].lines}
