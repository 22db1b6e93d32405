"""Links from a page to the repository's other Markdown files, which are not pages of the site."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

# Those that the site shows in another place.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}

LINK = re.compile(r"\]\((\.\./[^)#\s]+\.md)\)")


def _rewrite(app: Sphinx, docname: str, source: list[str]) -> None:
    """`../benchmarks/README.md` becomes a file to download; links between pages stay."""
    page = Path(app.env.doc2path(docname))
    site = Path(app.srcdir)

    def target(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(page.parent / match[1]))
        if path.is_relative_to(site) or not path.exists():
            return match[0]  # a page, or broken: Sphinx says so
        name = Path(os.path.relpath(path, site.parent)).as_posix()
        if name in PAGES:
            up = "../" * docname.count("/")
            return f"]({up}{PAGES[name]})"
        return f"](path:{match[1]})"

    if page.suffix == ".md":
        source[0] = LINK.sub(target, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
