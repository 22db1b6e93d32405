"""What is said of each parameter, as a forest plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mlsbi.checking._evidence import SCALE, SHIFT
from mlsbi.checking.bands import Band
from mlsbi.checking.verdict import State, Verdict
from mlsbi.plots._axes import figure_of, panels
from mlsbi.plots._parts import in_print

__all__ = ["verdict_plot"]

# Okabe and Ito's colours, and a marker each: the state is told apart in black and white, too.
_LOOKS = {
    "calibrated": ("#009E73", "o"),
    "over-confident": ("#D55E00", ">"),
    "under-confident": ("#0072B2", "<"),
    "biased": ("#CC79A7", "D"),
}
_OPEN = ("0.4", "o")  # nothing can be said
_ZONES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tolerable", {"color": "0.92", "linewidth": 0, "zorder": 0}),
    ("indifferent", {"color": "0.84", "linewidth": 0, "zorder": 0}),
)
_WIDEST = 8.0  # factors beyond this are drawn at the edge
_FURTHEST = 4.0  # shifts, in standard deviations


def verdict_plot(check: Any, *, axes: Any = None) -> Figure:
    """Width factor and shift of each parameter with their bands; the verdict in words beside them.

    Left, the factor by which the posterior would have to be widened: at 1 it is right, to the right
    of it too narrow. Right, how far its centre would have to be moved, in posterior standard
    deviations. In the dark zone a fit is as good as right; a band inside the light zone is
    calibrated enough. A band that goes on beyond the edge ends in an arrow.

    Args:
        check: A `Check`, or its `verdicts`.
        axes: Two axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If `check` is neither.
        ValueError: If there is no verdict, or `axes` are not two.
    """
    verdicts = _verdicts(check)
    size = (2.5, 0.9 + 0.45 * len(verdicts))
    left, right = panels(axes, 2, columns=2, size=size, sharey=True)
    rows = np.arange(len(verdicts))[::-1]
    _draw_scales(left, verdicts, rows)
    _draw_shifts(right, verdicts, rows)
    left.set_yticks(rows, [_words(v) for v in verdicts], fontsize="small")
    for tick, verdict in zip(left.get_yticklabels(), verdicts, strict=True):
        tick.set_fontweight("bold" if verdict.state.alarm else "normal")
    left.set_ylim(-0.6, len(verdicts) - 0.4)
    right.set_ylim(-0.6, len(verdicts) - 0.4)
    right.set_yticks(rows)
    right.tick_params(labelleft=False)
    return figure_of(left)


def _verdicts(check: Any) -> list[Verdict]:
    given = getattr(check, "verdicts", check)
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise TypeError(
            f"check must be what mlsbi.check returned, or its verdicts; got {type(check).__name__}."
        )
    verdicts = list(given)
    for verdict in verdicts:
        if not isinstance(verdict, Verdict):
            raise TypeError(
                f"check must hold verdicts; got {type(verdict).__name__} among them. "
                "Pass what mlsbi.check returned."
            )
    if not verdicts:
        raise ValueError("check must hold at least one verdict; got none.")
    return verdicts


def _words(verdict: Verdict) -> str:
    short = {State.UNDECIDED: "not enough runs"}
    return f"{in_print(verdict.name)}\n{short.get(verdict.state, verdict.state.value)}"


def _look(verdict: Verdict) -> tuple[str, str]:
    return _LOOKS.get(verdict.state.value, _OPEN)


def _draw_scales(ax: Axes, verdicts: Sequence[Verdict], rows: Any) -> None:
    known = [abs(np.log(e)) for v in verdicts for e in _ends(v.scale) if e > 0]
    reach = float(np.exp(np.clip(1.15 * max(known, default=0.0), np.log(2.5), np.log(_WIDEST))))
    ax.set_xscale("log")
    for zone, shade in _ZONES:
        ax.axvspan(np.exp(-getattr(SCALE, zone)), np.exp(getattr(SCALE, zone)), **shade)
    ax.axvline(1, color="0.4", linewidth=1, zorder=0)
    for verdict, row in zip(verdicts, rows, strict=True):
        _draw_band(ax, verdict.scale, row, limits=(1 / reach, reach), look=_look(verdict))
    ticks = [t for t in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8) if 1 / reach <= t <= reach]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    ax.set_xlim(1 / reach, reach)
    ax.set_xlabel("widths should be\n$\\leftarrow$ narrower    wider $\\rightarrow$")


def _draw_shifts(ax: Axes, verdicts: Sequence[Verdict], rows: Any) -> None:
    known = [abs(e) for v in verdicts for e in _ends(v.shift)]
    reach = float(np.clip(1.15 * max(known, default=0.0), 1.0, _FURTHEST))
    for zone, shade in _ZONES:
        ax.axvspan(-getattr(SHIFT, zone), getattr(SHIFT, zone), **shade)
    ax.axvline(0, color="0.4", linewidth=1, zorder=0)
    for verdict, row in zip(verdicts, rows, strict=True):
        _draw_band(ax, verdict.shift, row, limits=(-reach, reach), look=_look(verdict))
    ax.set_xlim(-reach, reach)
    ax.set_xlabel("centre should be (sd)\n$\\leftarrow$ lower    higher $\\rightarrow$")


def _ends(band: Band) -> list[float]:
    return [end for end in (band.low, band.value, band.high) if np.isfinite(end)]


def _draw_band(
    ax: Axes, band: Band, row: float, *, limits: tuple[float, float], look: tuple[str, str]
) -> None:
    """A bar from end to end, an arrow where it goes on beyond the limits, a mark at the value."""
    colour, marker = look
    low = limits[0] if np.isnan(band.low) else max(band.low, limits[0])
    high = limits[1] if np.isnan(band.high) else min(band.high, limits[1])
    ax.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
    for end, given, arrow in ((low, band.low, "<"), (high, band.high, ">")):
        if given != end:
            ax.plot([end], [row], marker=arrow, color=colour, markersize=7, clip_on=False)
    if limits[0] <= band.value <= limits[1]:
        face = "white" if look == _OPEN else colour
        ax.plot(
            [band.value], [row], marker=marker, color=colour, markerfacecolor=face, markersize=7,
            linestyle="none",
        )  # fmt: skip
