"""What the site's own extensions make: formulas, docstrings, links out of its folder."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sphinx.errors import ExtensionError

import mlsbi

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(autouse=True)
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")


def test_the_configuration_fetches_nothing(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = runpy.run_path(str(DOCS / "conf.py"))
    assert found["release"] == mlsbi.__version__
    assert found["html_math_renderer"] == "static"  # no MathJax
    assert found["nb_ipywidgets_js"] == {}
    assert found["nitpicky"]
    assert "sphinx.ext.intersphinx" not in found["extensions"]


def test_formulas_are_one_path_each():
    from static_math import _svg

    svg = _svg(r"\frac{1}{n_0} \sum_{i=1}^{n_0} f^0(\theta_i)")
    assert svg.count("<path") == 1
    assert r'aria-label="\frac{1}{n_0}' in svg
    assert len(_svg("x + y")) < len(svg)
    with pytest.raises(ExtensionError, match="cannot draw this formula"):
        _svg(r"\nosuchcommand{x}")


class Base:
    """One.

    Attributes:
        first: The first.
    """

    first: int

    @property
    def figure(self) -> float:
        """E|d|^2 of the pairs: its `|mean|`."""
        return 0.0


class Derived(Base):
    """Two, of both.

    Attributes:
        second: The second.
    """

    second: int


def converted(what, name, obj, monkeypatch):
    import google_docstrings

    monkeypatch.setattr(Base, "__module__", "mlsbi.base")
    lines = google_docstrings.getdoc(obj).splitlines()
    app = SimpleNamespace(config=google_docstrings.CONFIG)
    google_docstrings._convert(app, what, name, obj, None, lines)
    return "\n".join(lines)


def test_a_class_has_the_attributes_of_its_bases(monkeypatch):
    text = converted("class", "Derived", Derived, monkeypatch)
    assert text.index(":ivar second: The second.") < text.index(":ivar first: The first.")


def test_a_property_is_prose_and_bars_are_bars(monkeypatch):
    text = converted("property", "figure", Base.figure, monkeypatch)
    assert text.strip() == r"E\|d\|^2 of the pairs: its `|mean|`."


def test_links_out_of_the_folder_are_files(tmp_path):
    from outside_links import _rewrite

    site = tmp_path / "docs"
    (site / "howto").mkdir(parents=True)
    for name in ("CHANGELOG.md", "notes.md", "docs/start.md"):
        (tmp_path / name).touch()
    app = SimpleNamespace(srcdir=site, env=SimpleNamespace(doc2path=lambda d: site / f"{d}.md"))
    text = ["[a](../../CHANGELOG.md) [b](../../notes.md) [c](../start.md) [d](../gone.md)"]
    _rewrite(app, "howto/page", text)
    assert text[0] == (
        "[a](../changelog.md) [b](path:../../notes.md) [c](../start.md) [d](../gone.md)"
    )
