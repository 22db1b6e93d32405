"""Google docstrings as reST: napoleon, with what it does not know of this library.

- A property's docstring is prose: napoleon takes "The mean: of all members" for a property of type
  "The mean".
- reST takes |x| for a name that stands for something else.
- A class has the attributes that its base classes describe.
"""

from __future__ import annotations

import re
from inspect import getdoc

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import Config, GoogleDocstring

CONFIG = Config(napoleon_use_rtype=False, napoleon_use_ivar=True, napoleon_attr_annotations=True)

BAR = re.compile(r"\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")  # of |x|, outside code
MODULE = re.compile(r"(?<![\w.~])(?=\w+\.\w)")  # before collections.abc.Callable
SECTION = "Attributes:"


def _own_attributes(cls: type) -> list[str]:
    """The indented lines of a docstring's section."""
    lines = (getdoc(cls) or "").splitlines() if cls.__doc__ else []
    if SECTION not in lines:
        return []
    start = lines.index(SECTION) + 1
    end = next((i for i, s in enumerate(lines) if i > start and s[:1].strip()), len(lines))
    return [line for line in lines[start:end] if line.strip()]


def _with_inherited(cls: type, lines: list[str]) -> list[str]:
    """A class's docstring, with the attributes of its bases after its own."""
    inherited = [
        line
        for base in cls.__mro__[1:]
        if base.__module__.startswith("mlsbi")
        for line in _own_attributes(base)
    ]
    if not inherited:
        return lines
    own = _own_attributes(cls)
    if not own:
        return [*lines, "", SECTION, *inherited, ""]
    place = max(i for i, line in enumerate(lines) if line.strip() == own[-1].strip()) + 1
    return [*lines[:place], *inherited, *lines[place:]]


def _convert(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    if isinstance(obj, type):
        lines[:] = _with_inherited(obj, lines)
    lines[:] = [BAR.sub(r"\|", line) for line in lines]
    kind = "method" if what in {"property", "attribute", "data"} else what
    lines[:] = [
        MODULE.sub("~", line) if line.startswith(":vartype") else line
        for line in GoogleDocstring(lines, CONFIG, app, kind, name, obj, options).lines()
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _convert)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
