"""Posteriors of several fits at one observation: what the cheap level alone would have said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mlsbi._checks import as_tensor, check_count, check_seed, check_type
from mlsbi.plots.pairs import pairplot

__all__ = ["levels_plot"]


def levels_plot(
    fits: Mapping[str, Any],
    x_o: Any,
    *,
    num_samples: int = 2000,
    labels: Sequence[str] | None = None,
    truth: Any = None,
    limits: Any = None,
    axes: Any = None,
    seed: int = 0,
) -> Figure:
    """A corner plot of the posteriors of several fits at one observation.

    Args:
        fits: Name of each -> a posterior or likelihood fit, such as `{"level 0 alone": low,
            "all levels": fit}`. All must have the same parameters.
        x_o: The observation, shape `(*event,)`.
        num_samples: Posterior draws of each fit.
        labels: Names of the parameters.
        truth: A point to mark, shape `(d,)`.
        limits: Ends of each axis, shape `(d, 2)`.
        axes: Axes to draw into, shape `(d, d)`.
        seed: Of the draws.

    Returns:
        The figure; see `pairplot`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If there is no fit, they differ in their parameters, or `x_o` is not one of
            their observations.
    """
    from mlsbi.checking.draws import posterior_draws
    from mlsbi.results import Fit

    check_type(fits, Mapping, name="fits", remedy="Pass {name: fit}.")
    if not fits:
        raise ValueError("fits must hold at least one fit; got none. Pass {name: fit}.")
    for name, fit in fits.items():
        check_type(fit, Fit, name=f"fits[{name!r}]", remedy="Pass what fit_posterior returns.")
    if len({fit.theta_dim for fit in fits.values()}) > 1:
        dims = {name: fit.theta_dim for name, fit in fits.items()}
        raise ValueError(f"fits must have the same parameters; got numbers of them {dims}.")
    count, seed = check_count(num_samples, name="num_samples", minimum=2), check_seed(seed)
    x = as_tensor(x_o, name="x_o")
    for name, fit in fits.items():
        if tuple(x.shape) != tuple(fit.event_shape):
            raise ValueError(
                f"x_o must have shape {tuple(fit.event_shape)}, one observation of "
                f"fits[{name!r}]; got {tuple(x.shape)}. Pass one row of x."
            )
    samples = {
        name: posterior_draws(fit, x[None], count, seed=seed).theta[:, 0]
        for name, fit in fits.items()
    }
    return pairplot(samples, labels=labels, truth=truth, limits=limits, axes=axes)
