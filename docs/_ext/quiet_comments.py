"""HTML comments of the pages (hidden setup, marks for the tests) stay out of the built site."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def _drop_comments(app: Sphinx, doctree: nodes.document) -> None:
    """Remove raw HTML that is one comment."""
    for node in list(doctree.findall(nodes.raw)):
        text = node.astext().strip()
        if text.startswith("<!--") and text.endswith("-->"):
            node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", _drop_comments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
