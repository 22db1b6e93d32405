"""Formulas as SVG, drawn by Matplotlib when the site is built: no script, and no font needed.

Each formula is one path in the colour of the text, and its TeX is what screen readers say.
"""

from __future__ import annotations

from html import escape

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator

EM = 250  # the drawing's units in the size of the surrounding text
SIZE = 1.1 * EM  # Computer Modern is small beside a sans serif
LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


def _outline(path: Path) -> str:
    """A path in SVG's letters; its y axis points down."""
    pieces = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        if code == Path.CLOSEPOLY:
            pieces.append("Z")
            continue
        at = [f"{x:.0f} {-y:.0f}" for x, y in points.reshape(-1, 2)]
        pieces.append(LETTERS[code] + " ".join(at))
    return "".join(pieces)


def _svg(tex: str) -> str:
    """One formula."""
    text = f"${' '.join(tex.split())}$"
    font = FontProperties(size=SIZE, math_fontfamily="cm")
    try:
        width, height, depth = text_to_path.get_text_width_height_descent(text, font, ismath=True)
        path = _outline(TextPath((0, 0), text, prop=font))
    except ValueError as error:
        raise ExtensionError(f"Matplotlib cannot draw this formula: {tex}: {error}") from error
    return (
        f'<svg class="formula" role="img" aria-label="{escape(tex)}" '
        f'viewBox="0 {depth - height:.0f} {width:.0f} {height:.0f}" '
        f'style="width:{width / EM:.3f}em;height:{height / EM:.3f}em;'
        f'vertical-align:{-depth / EM:.3f}em"><path d="{path}"/></svg>'
    )


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_svg(node.astext()))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    tex = node.astext().replace(r"\frac", r"\dfrac")  # as large as TeX sets them by themselves
    translator.body.append(f'<div class="formula-block">{_svg(tex)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("static", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
