"""Matplotlib figures as SVG inside a page: no ids that collide, no dates, colours of the page.

Matplotlib writes colours as fixed numbers. Here every grey becomes a variable that the page's dark
theme turns round, and every colour of the palette one that it brightens; as a file of its own, or
where styles are missing, a picture shows the colours it was drawn in.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure

from mlsbi.reporting.markup import Markup, tag

__all__ = ["dark_colours", "figure", "svg_of"]

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # the same shapes whatever fonts the reader has
    "font.size": 10.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Okabe and Ito's colours where the page is dark: as bright as text on it has to be.
_DARK = {
    "#0072b2": "#4aa8e8",
    "#d55e00": "#ff8a3d",
    "#009e73": "#2fd0a0",
    "#cc79a7": "#e59cc4",
    "#e69f00": "#f2b632",
    "#56b4e9": "#9bd6ff",
    "#f0e442": "#f5ec6a",
}
_LARGEST = 1.4  # pixels a point: text of 10 points becomes one of 14 pixels
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_ID = re.compile(r'\b(id="|(?:xlink:)?href="#|url\(#)([^")]+)')
_PATH = re.compile(r'\bd="[^"]*"')
_DECIMAL = re.compile(r"-?\d+\.\d{3,}")
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_GLOBAL_STYLE = re.compile(r'<defs>\s*<style type="text/css">[^<]*</style>\s*</defs>', re.DOTALL)
_OPENING = re.compile(r"<svg[^>]*>")
_VIEW = re.compile(r'viewBox="([^"]+)"')


def svg_of(draw: Callable[[], Figure], *, name: str, alt: str) -> Markup:
    """Draw a figure and return it as an `svg` element.

    Args:
        draw: Makes the figure; called with the page's style in force.
        name: Begins every id in the picture, so that no two pictures of a page share one.
        alt: What is seen, for those who do not see it.
    """
    with rc_context():  # the user's own style would make another page
        rcdefaults()
        rcParams.update(_STYLE)
        rcParams["svg.hashsalt"] = name
        made = draw()
        buffer = io.StringIO()
        made.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(buffer.getvalue(), name=name, alt=alt)


def _inlined(source: str, *, name: str, alt: str) -> Markup:
    text = _HEAD.sub("", source)
    text = _GLOBAL_STYLE.sub("", _METADATA.sub("", text))
    text = _ID.sub(lambda found: f"{found[1].replace('xlink:', '')}{name}-{found[2]}", text)
    text = _PATH.sub(lambda path: _DECIMAL.sub(lambda n: _short(n[0]), path[0]), text)
    text = _COLOUR.sub(lambda found: _variable(found[0].lower()), text)
    box = _VIEW.search(text)
    view = "0 0 1 1" if box is None else box[1]
    width, height = (float(v) for v in view.split()[2:])
    opening = tag(
        "svg", viewBox=view, width=f"{width:.0f}", height=f"{height:.0f}", role="img",
        aria_label=alt, style=f"max-width:{_LARGEST * width:.0f}px",
    ).removesuffix("</svg>")  # fmt: skip
    return Markup(_OPENING.sub(lambda _: opening, text, count=1).strip())


def _short(decimal: str) -> str:
    rounded = f"{float(decimal):.2f}".rstrip("0").rstrip(".")
    return "0" if rounded in {"-0", ""} else rounded


def _variable(colour: str) -> str:
    return f"var(--c{colour[1:]},{colour})" if _in_the_dark(colour) else colour


def _in_the_dark(colour: str) -> str | None:
    """What a colour is on a dark page; None where it stays."""
    red, green, blue = colour[1:3], colour[3:5], colour[5:7]
    if red == green == blue:
        grey = int(red, 16) / 255
        low, high = 0.11, 0.93  # of the page, and of its text
        value = round(255 * (high - grey * (high - low)))
        return f"#{value:02x}{value:02x}{value:02x}"
    return _DARK.get(colour)


def dark_colours(page: str) -> str:
    """The values of a page's colour variables on a dark page, as declarations of CSS."""
    found = sorted(set(re.findall(r"var\(--c([0-9a-f]{6}),", page)))
    return "".join(f"--c{colour}:{_in_the_dark('#' + colour)};" for colour in found)


def figure(draw: Callable[[], Figure], *, name: str, alt: str, caption: object) -> Markup:
    """A figure element: the picture, and a caption that says what it shows.

    Args:
        draw: Makes the figure.
        name: Its id.
        alt: What is seen.
        caption: What it shows and how to read it.
    """
    picture = svg_of(draw, name=name, alt=alt)
    return tag(
        "figure",
        tag("div", picture, class_="picture"),
        tag("figcaption", caption),
        id=name,
    )
