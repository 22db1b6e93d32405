"""Google docstrings as reST: napoleon, but a property's docstring is read as prose.

Napoleon takes "The mean: of all members" for a property of type "The mean", and reST takes |x| for a
name that stands for something else.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

CONFIG = Config(napoleon_use_rtype=False, napoleon_use_ivar=True)

BAR = re.compile(r"\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")  # of |x|, outside code


def _convert(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    lines[:] = [BAR.sub(r"\\|", line) for line in lines]
    kind = "method" if what in {"property", "attribute", "data"} else what
    lines[:] = GoogleDocstring(lines, CONFIG, app, kind, name, obj, options).lines()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _convert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
