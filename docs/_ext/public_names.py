"""Names in signatures lead to where the public name is documented, whatever module it lives in."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def _documented(env: BuildEnvironment) -> dict[str, list[str]]:
    """Last part of a name -> the full names that have an entry."""
    found: dict[str, list[str]] = {}
    for full in env.domains.python_domain.objects:
        found.setdefault(full.rpartition(".")[2], []).append(full)
    return found


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """`mlsbi.data.MultilevelData` -> `mlsbi.MultilevelData`; what is not public is plain text."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    entries = [
        full
        for full in _documented(env).get(target.rpartition(".")[2], [])
        if env.domains.python_domain.objects[full].objtype in {"class", "function", "exception"}
    ]
    if len(entries) != 1:
        return None
    entry = env.domains.python_domain.objects[entries[0]]
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    reference = nodes.reference("", "", internal=True, refuri=f"{uri}#{entry.node_id}")
    reference += content
    return reference


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
