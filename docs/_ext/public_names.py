"""Names lead to where they are documented: those in signatures, and those in code words.

A class is documented by its public name (`mlsbi.Plan`), and a signature names the module where it
lives (`mlsbi.planning._plan.Plan`). In text, `mlsbi.simulate` links to its entry; in docstrings so
does `Plan.table`. What has no entry is plain code.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# Classes whose constructors users call; of all others, a library function makes the objects.
CONSTRUCTED = {
    *("Level", "Hierarchy", "LocalProcesses", "Training", "MAF", "MDN", "NSF", "Strategy"),
    *("Bridge", "Emulator", "Multilevel", "Pooled", "SingleLevel", "Stack", "Transfer"),
}

IN_PAGES = re.compile(r"(mlsbi(?:\.\w+)+)(?:\(.*\))?")
IN_DOCSTRINGS = re.compile(r"(mlsbi(?:\.\w+)+|[A-Z]\w+(?:\.\w+)*)(?:\(.*\))?")


def _entry(env: BuildEnvironment, target: str, module: str | None) -> str | None:
    """The full name under which `target` has an entry; None if there is no one such name."""
    objects = env.domains.python_domain.objects
    if target in objects:
        return target
    head, _, last = target.rpartition(".")
    found = [full for full in objects if full.endswith(f".{last}")]
    if head and not head.startswith("mlsbi"):  # Class.method
        return next((full for full in found if full.endswith(f".{target}")), None)
    found = [full for full in found if last[:1].isupper() or objects[full].objtype == "function"]
    near = [full for full in found if _package(full) in {_package(target), _package(module or "")}]
    found = near if len(found) > 1 else found
    return found[0] if len(found) == 1 else None


def _package(name: str) -> str:
    """`mlsbi.planning`, of anything in it."""
    return ".".join(name.split(".")[:2])


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """A reference to a name's entry; for a word in text that has none, the word."""
    if node.get("refdomain") != "py":
        return None
    full = _entry(env, node["reftarget"], node.get("py:module"))
    if full is None:
        return content if node.get("word") else None
    entry = env.domains.python_domain.objects[full]
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    reference = nodes.reference("", "", internal=True, refuri=f"{uri}#{entry.node_id}")
    reference += content
    return reference


def _link_words(app: Sphinx, doctree: nodes.document) -> None:
    """Make references of code words that may be names."""
    docname = app.env.current_document.docname
    pattern = IN_DOCSTRINGS if docname.startswith("api/") else IN_PAGES
    for word in list(doctree.findall(nodes.literal)):
        match = pattern.fullmatch(word.astext())
        if match is None or isinstance(word.parent, nodes.title | nodes.reference | pending_xref):
            continue
        reference = pending_xref(
            "", refdomain="py", reftype="obj", reftarget=match[1], refdoc=docname, word=True
        )
        word.replace_self(reference)
        reference += word


def _signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """No constructor for what a library function makes; defaults that are made anew as `...`."""
    if what == "class" and name.rpartition(".")[2] not in CONSTRUCTED:
        return "", None
    if signature and "<factory>" in signature:
        return signature.replace("<factory>", "..."), returns
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-read", _link_words)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
