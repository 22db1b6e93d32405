"""Figures of levels, losses and predictions: that what is drawn is what was given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mlsbi
from fake_checks import NAMES, band_of, check, losses, png, predictive
from mlsbi import plots
from mlsbi.checking.predictive import of_draws
from tiny import linear_data, tiny


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


def test_levels_take_one_observation_of_their_shape(two_fits):
    fits, x_o = two_fits
    with pytest.raises(ValueError, match="x_o must have shape"):
        plots.levels_plot(fits, x_o[:2])


def test_levels_of_likelihood_fits_show_their_posteriors():
    data = linear_data((60, 24))
    fit = mlsbi.fit_likelihood(
        data, strategy=mlsbi.SingleLevel(), estimator="mdn", training=tiny(), seed=0
    )
    figure = plots.levels_plot({"likelihood": fit}, data.x(1)[0], num_samples=100)
    x, density = figure.axes[0].lines[0].get_data()
    assert x.min() > -1.2  # the prior's support is (-1, 1)
    assert np.sum(density) * (x[1] - x[0]) == pytest.approx(1, abs=0.05)
