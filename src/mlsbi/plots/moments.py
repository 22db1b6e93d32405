"""Posterior z-score against contraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._corner import line_style
from mlsbi.plots._axes import figure_of, one_axes
from mlsbi.plots._parts import names_of, part

__all__ = ["moments_plot"]

_MARKERS = "os^Dv<>"


def moments_plot(
    check: Any,
    contraction: Any = None,
    *,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Each run's posterior z-score against how much it narrowed the prior, a colour a parameter.

    To the right, data say much; about 95 % of points should lie between the thin lines at -2 and 2.
    Points far above or below are posteriors that are sure of a wrong value; points all near 0 are
    posteriors that are too wide. Schad, Betancourt and Vasishth (2021), "Toward a principled
    Bayesian workflow in cognitive science", Psychological Methods 26, arXiv:1904.12765.

    Args:
        check: A `Check` or its `scores`; or the z-scores, shape `(n, d)`, (mean - theta) / sd.
        contraction: With z-scores: 1 - posterior variance / prior variance, shape `(n, d)`.
        labels: Names of the `d` parameters; by default those of the check.
        ax: Axes to draw into.

    Returns:
        The figure. Points that are not finite are left out.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If the shapes differ, or one of the arrays is missing.
    """
    if contraction is None and not hasattr(getattr(check, "scores", check), "contraction"):
        raise ValueError(
            "contraction must be given with z-scores; got none. Pass a Check, or both arrays."
        )
    z = part(check, "z", name="check", ndim=2, finite=False)
    given, name = (check, "check") if contraction is None else (contraction, "contraction")
    narrowed = part(given, "contraction", name=name, shape=z.shape, finite=False)
    z, narrowed = (np.where(np.isfinite(v), v, np.nan) for v in (z, narrowed))
    names = names_of(check, labels, dim=z.shape[1])
    ax = one_axes(ax, size=(4.8, 3.6))
    ax.axhline(0, color="0.4", linewidth=1, zorder=0)
    for line in (-2, 2):
        ax.axhline(line, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    size = float(np.clip(40 / np.sqrt(len(z)), 2.0, 6.0))
    for index, label in enumerate(names):
        ax.plot(
            narrowed[:, index], z[:, index], _MARKERS[index % len(_MARKERS)], label=label,
            color=line_style(index)["color"], markersize=size, alpha=0.6, markeredgewidth=0,
        )  # fmt: skip
    least = np.nanmin([0.0, *narrowed.flat])
    ax.set_xlim(least - 0.05 if least < 0 else 0.0, 1.02)
    top = 1.08 * np.nanmax([2.8, *np.abs(z).flat])
    ax.set_ylim(-top, top)
    ax.set(xlabel="contraction (1: all is learned)", ylabel="z-score (posterior mean - truth, sd)")
    ax.legend(
        frameon=False, fontsize="small", ncols=min(4, len(names)), loc="lower center",
        bbox_to_anchor=(0.5, 1), handletextpad=0.2, columnspacing=1,
    )  # fmt: skip
    return figure_of(ax)
