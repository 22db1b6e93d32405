"""Figures of checks: that what is drawn is what was given, and what they refuse."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mlsbi
from mlsbi import plots
from mlsbi.checking.bands import Band, coverage_band, simultaneous_band
from mlsbi.checking.predictive import of_draws
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.two_level import two_level_coverage
from mlsbi.checking.verdict import State, Verdict
from mlsbi.metrics import coverage_of_ranks
from mlsbi.multilevel_table import MultilevelLosses
from tiny import linear_data, tiny

NAMES = ("rate", "size", "drift")


def scores(n=40, d=3, *, seed=0):
    g = torch.Generator().manual_seed(seed)
    u = {"generator": g, "dtype": torch.float64}
    return RunScores(
        log_prob=torch.randn(n, **u),
        posterior_log_prob=torch.randn(n, **u),
        rank=torch.rand(n, d, **u),
        hpd=torch.rand(n, **u),
        marginal_hpd=torch.rand(n, d, **u),
        tarp=torch.rand(n, **u),
        z=torch.randn(n, d, **u),
        contraction=1 - 0.5 * torch.rand(n, d, **u),
    )


def verdict(name="rate", state=State.OVER, scale=(1.6, 1.2, 2.1), shift=(0.1, -0.2, 0.4)):
    more = 40 if state is State.UNDECIDED else None
    return Verdict(name, state, Band(*scale), Band(*shift), 0.01, more, "words")


def check(n=40, d=3, **changes):
    """What the figures read of a `Check`."""
    made = scores(n, d)
    parts = {
        "scores": made,
        "labels": NAMES[:d],
        "coverage": coverage_of_ranks(made.hpd),
        "marginal_coverage": tuple(coverage_of_ranks(r) for r in made.marginal_hpd.T),
        "verdicts": (verdict("joint"), *(verdict(name, State.CALIBRATED) for name in NAMES[:d])),
        "two_level": None,
        "comparison": None,
        "observation": None,
    }
    return SimpleNamespace(**(parts | changes))


def losses(levels=3, **changes):
    n = (1000, 100, 20)[:levels]
    parts = {
        "n": n, "costs": None, "rows": n, "held_out_rows": n,
        "loss_mean": (1.2, 1.5, 1.6)[:levels], "loss_variance": (2.0, 2.2, 2.1)[:levels],
        "coarse_mean": (math.nan, 1.25, 1.45)[:levels],
        "coarse_variance": (math.nan, 2.0, 2.1)[:levels],
        "difference_mean": (1.2, 0.25, 0.1)[:levels],
        "difference_variance": (2.0, 0.2, 0.01)[:levels],
        "kurtosis": (3.0,) * levels, "identical": (False,) * levels,
        "gradient_norm": None, "cosine": None, "projected": None, "unit": "nats",
    }  # fmt: skip
    return MultilevelLosses(**(parts | changes))


def predictive(outputs=4, *, moved=(), draws=200):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(draws, outputs, generator=g) * torch.logspace(-1, 2, outputs)
    x_o = x[0].clone()
    for output, sd in moved:
        x_o[output] = x[:, output].mean() + sd * x[:, output].std()
    return of_draws(x, x_o, source="draws of the fit", alpha=0.01)


def png(figure, folder):
    """Render for real: layout and font problems show only then."""
    figure.savefig(folder / "figure.png")
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def band_of(collection):
    """Lower and upper end of a filled band by its abscissa."""
    vertices = collection.get_paths()[0].vertices
    points = np.unique(vertices[:, 0])
    ends = [vertices[vertices[:, 0] == x, 1] for x in points]
    return points, np.array([e.min() for e in ends]), np.array([e.max() for e in ends])


# --- laws of all figures ------------------------------------------------------------------------

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
    out, axes = 0, _four()  # figures take their time: one for all
    for _ in range(60):
        ranks = torch.rand(30, 4, generator=g, dtype=torch.float64)
        titles = [ax.get_title() for ax in plots.rank_plot(ranks, axes=axes).axes]
        out += any("outside" in title for title in titles)
    assert out <= 3 + 4 * math.sqrt(60 * 0.05 * 0.95)


def _four():
    return Figure().subplots(2, 2)


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


# --- levels, losses, predictive -----------------------------------------------------------------


def test_losses_are_those_of_the_table(tmp_path):
    given = losses()
    left, right = plots.multilevel_plot(SimpleNamespace(multilevel=given)).axes
    own, halves, total = left.containers
    assert np.array_equal(own[0].get_ydata(), given.loss_mean)
    assert np.array_equal(halves[0].get_ydata(), given.coarse_mean[1:])
    assert total[0].get_ydata()[0] == given.telescoped[0]
    widths = [segment[1, 1] - segment[0, 1] for segment in own[2][0].get_segments()]
    assert np.allclose(widths, 2 * 1.96 * np.sqrt(np.array(given.loss_variance) / given.rows))
    assert np.array_equal(right.lines[0].get_ydata(), given.loss_variance)
    assert np.array_equal(right.lines[1].get_ydata(), given.difference_variance[1:])
    png(left.figure, tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        losses(1),
        losses(2, identical=(False, True), difference_variance=(2.0, 0.0)),
        losses(2, loss_variance=(0.0, 0.0), difference_variance=(0.0, 0.0)),
    ],
)
def test_losses_of_odd_hierarchies_are_drawn(given, tmp_path):
    png(plots.multilevel_plot(given), tmp_path)


def test_predictive_bands_and_points_are_those_given():
    found = predictive(3)
    ax = plots.predictive_plot(found, outputs=NAMES, raw=True).axes[0]
    bars = [(b.get_x(), b.get_x() + b.get_width()) for b in ax.patches]
    q = found.quantiles.numpy()
    assert np.allclose(bars, [*zip(q[0], q[4], strict=True), *zip(q[1], q[3], strict=True)])
    assert np.allclose(np.sort(ax.lines[0].get_xdata()), np.sort(found.observed.numpy()))
    assert [t.get_text() for t in ax.get_yticklabels()] == list(NAMES)
    assert "draws of the fit" in ax.get_legend().get_title().get_text()


def test_predictive_of_many_outputs_is_a_band():
    found = predictive(60)
    outer, inner = plots.predictive_plot(found, raw=True).axes[0].collections
    q = found.quantiles.numpy()
    for band, (low, high) in ((outer, (0, 4)), (inner, (1, 3))):
        points, lower, upper = band_of(band)
        assert np.array_equal(points, np.arange(60))
        assert np.allclose(lower, q[low])
        assert np.allclose(upper, q[high])


@pytest.mark.parametrize("outputs", [4, 60])
def test_outputs_that_are_not_predicted_stand_out(outputs, tmp_path):
    found = predictive(outputs, moved=((1, 5), (3, -50)))
    assert found.flagged == (1, 3)
    ax = plots.predictive_plot(found).axes[0]
    shown = {line.get_label(): line for line in ax.lines if "observed" in line.get_label()}
    assert set(shown) == {"observed", "observed, not predicted", "observed, far outside"}
    where = "get_xdata" if outputs == 4 else "get_ydata"
    assert 4 < getattr(shown["observed, not predicted"], where)()[0] < 6
    assert list(getattr(shown["observed, far outside"], where)()) == [-6]
    png(ax.figure, tmp_path)


def test_predictive_is_found_in_what_holds_it():
    found = predictive()
    held = SimpleNamespace(predictive=found)
    for given in (held, check(observation=held)):
        assert plots.predictive_plot(given).axes[0].has_data()


def test_an_output_that_never_varies_is_drawn(tmp_path):
    found = of_draws(torch.ones(50, 2), torch.tensor([1.0, 2.0]), source="draws", alpha=0.05)
    png(plots.predictive_plot(found), tmp_path)


@pytest.fixture(scope="module")
def two_fits():
    data = linear_data((60, 24))
    options = {"estimator": "mdn", "training": tiny(), "seed": 0}
    low = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(level=0), **options)
    own = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(), **options)
    return {"level 0 alone": low, "all levels": own}, data.x(1)[0]


def test_levels_are_sample_sets_by_their_names(two_fits, tmp_path):
    fits, x_o = two_fits
    figure = plots.levels_plot(fits, x_o, num_samples=200, labels=["a", "b"], truth=[0, 0])
    names = [t.get_text() for ax in figure.axes if ax.legend_ for t in ax.legend_.texts]
    assert names == ["level 0 alone", "all levels", "truth"]
    again = plots.levels_plot(fits, x_o, num_samples=200)
    assert np.array_equal(figure.axes[0].lines[0].get_ydata(), again.axes[0].lines[0].get_ydata())
    png(figure, tmp_path)


# --- input --------------------------------------------------------------------------------------

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
        (lambda: plots.rank_plot(RANKS, axes=_four()), ValueError, "axes must hold 2 .*got 4"),
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
        (lambda: plots.verdict_plot([verdict()], axes=_four()), ValueError, "axes must hold 2"),
        (lambda: plots.multilevel_plot(3), TypeError, "fit must be"),
        (lambda: plots.multilevel_plot(None), ValueError, "fit must have multilevel losses"),
        (lambda: plots.predictive_plot(RANKS), TypeError, "predictive must be"),
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


def test_levels_take_one_observation_of_their_shape(two_fits):
    fits, x_o = two_fits
    with pytest.raises(ValueError, match="x_o must have shape"):
        plots.levels_plot(fits, x_o[:2])
