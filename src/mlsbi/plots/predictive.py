"""What the posterior predicts of each output, and what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._checks import check_type
from mlsbi._corner import Array, line_style
from mlsbi.checking.predictive import Predictive
from mlsbi.plots._axes import figure_of, names_given, one_axes

__all__ = ["predictive_plot"]

_MOST_ROWS = 24  # outputs that can be read as rows with their names; more are drawn as a curve
_EDGE = 6.0  # standard deviations; what is further out is an arrow at the edge
_TAIL_TO_TAIL = 3.2897  # from the 5 % to the 95 % quantile of a normal, in standard deviations


def predictive_plot(
    predictive: Any,
    *,
    outputs: Sequence[str] | None = None,
    raw: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Posterior predictive of each output as bands of 50 % and 90 %, and x_o as points.

    Few outputs are rows with their names, many a band along their numbers. Outputs of which x_o is
    not what the posterior predicts are marked by another colour and a square.

    Args:
        predictive: A `Predictive`, or what holds one: an `ObservationCheck` or a `Check`.
        outputs: Names of the D outputs.
        raw: In the outputs' own units; by default each is less its median, in standard deviations
            (from the 5 % and 95 % quantiles), so that outputs of all sizes can be compared.
        ax: Axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If `outputs` does not hold D names, or nothing was predicted.
    """
    found = _predictive(predictive)
    observed = np.asarray(found.observed, dtype=float)
    quantiles = np.asarray(found.quantiles, dtype=float)
    names = _names(outputs, count=len(observed))
    if not raw:
        observed, quantiles = _standardised(observed, quantiles)
    flagged = np.zeros(len(observed), dtype=bool)
    flagged[list(found.flagged)] = True
    what = "output" if raw else "output - median (sd)"
    if len(observed) <= _MOST_ROWS:
        ax = one_axes(ax, size=(4.8, 1.3 + 0.28 * len(observed)))
        _draw_rows(ax, quantiles, observed, flagged, names=names, clip=not raw)
        ax.set_xlabel(what)
    else:
        ax = one_axes(ax, size=(4.8, 3.4))
        _draw_curve(ax, quantiles, observed, flagged, clip=not raw)
        ax.set(xlabel="number of the output", ylabel=what)
    entries = len(ax.get_legend_handles_labels()[0])
    ax.legend(
        frameon=False, fontsize="small", ncols=3 if entries == 3 else 2,
        loc="lower center", bbox_to_anchor=(0.5, 1),
        title=f"{found.source} ({found.effective:.3g} count)", title_fontsize="small",
    )  # fmt: skip
    return figure_of(ax)


def _predictive(given: Any) -> Predictive:
    """The object itself, or that of an `ObservationCheck` or a `Check`."""
    held = getattr(given, "observation", None) or given
    found = getattr(held, "predictive", held)
    remedy = "Pass what check_observation(fit, x_o) returned."
    if found is None:
        raise ValueError(f"predictive must hold a posterior predictive; got none. {remedy}")
    check_type(found, Predictive, name="predictive", remedy=remedy)
    checked: Predictive = found
    return checked


def _names(outputs: Sequence[str] | None, *, count: int) -> list[str]:
    if outputs is None:
        return [f"x[{i}]" for i in range(count)]
    return names_given(outputs, name="outputs", count=count, of="an output")


def _standardised(observed: Array, quantiles: Array) -> tuple[Array, Array]:
    width = (quantiles[4] - quantiles[0]) / _TAIL_TO_TAIL
    width = np.where(width > 0, width, 1.0)  # an output that never varies
    return (observed - quantiles[2]) / width, (quantiles - quantiles[2]) / width


def _draw_rows(
    ax: Axes, quantiles: Array, observed: Array, flagged: Any, *, names: list[str], clip: bool
) -> None:
    rows = np.arange(len(observed))[::-1]
    for low, high, shade, label in ((0, 4, "0.85", "90 %"), (1, 3, "0.65", "50 %")):
        ax.barh(
            rows, quantiles[high] - quantiles[low], left=quantiles[low], height=0.6, color=shade,
            label=f"predicted, {label}",
        )  # fmt: skip
    ax.vlines(quantiles[2], rows - 0.3, rows + 0.3, color="0.3", linewidth=1)
    shown = np.clip(observed, -_EDGE, _EDGE) if clip else observed
    for mask, style in _marks(observed - shown, flagged, arrows="<>"):
        ax.plot(shown[mask], rows[mask], clip_on=False, **style)
    if clip:
        reach = max(3.0, float(np.abs(shown).max()) + 0.3)
        ax.set_xlim(-reach, reach)
    ax.set_yticks(rows, names, fontsize="small")
    ax.set_ylim(-0.6, len(rows) - 0.4)


def _draw_curve(ax: Axes, quantiles: Array, observed: Array, flagged: Any, *, clip: bool) -> None:
    points = np.arange(len(observed))
    for low, high, shade, label in ((0, 4, "0.85", "90 %"), (1, 3, "0.65", "50 %")):
        ax.fill_between(
            points, quantiles[low], quantiles[high], color=shade, linewidth=0,
            label=f"predicted, {label}",
        )  # fmt: skip
    ax.plot(points, quantiles[2], color="0.3", linewidth=1)
    shown = np.clip(observed, -_EDGE, _EDGE) if clip else observed
    for mask, style in _marks(observed - shown, flagged, arrows="v^"):
        ax.plot(points[mask], shown[mask], **style)
    ax.set_xlim(-1, len(points))


def _marks(beyond: Array, flagged: Any, *, arrows: str) -> list[tuple[Any, dict[str, Any]]]:
    """Which outputs, and how their points look.

    Args:
        beyond: How far each is outside of the axis; 0 inside.
        flagged: Which are not what the posterior predicts.
        arrows: Markers of those below and above the axis.
    """
    plain, bad = line_style(0)["color"], line_style(1)["color"]
    look: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0}
    inside = beyond == 0
    kinds = [
        (inside & ~flagged, "o", 4.5, plain, "observed"),
        (inside & flagged, "s", 6.5, bad, "observed, not predicted"),
        (beyond < 0, arrows[0], 7.5, bad, "observed, far outside"),
        (
            beyond > 0,
            arrows[1],
            7.5,
            bad,
            "observed, far outside" if not (beyond < 0).any() else "",
        ),
    ]
    return [
        (mask, look | {"marker": marker, "markersize": size, "color": colour, "label": label})
        for mask, marker, size, colour, label in kinds
        if mask.any()
    ]
