"""Python objects that a study's file names: `package.module:attribute`."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["load_object"]


def load_object(reference: str, folder: Path, *, key: str) -> Any:
    """Import what a key of the file names.

    The file's folder comes first on `sys.path`, as a script's does, and stays there: worker
    processes and imports within functions look there, too.

    Args:
        reference: `"package.module:attribute"`; the attribute may have dots.
        folder: The file's folder.
        key: The key that holds the reference, for messages.

    Returns:
        The object.

    Raises:
        ValueError: If there is no such module or attribute, or the module cannot be imported.
    """
    name, _, attribute = reference.partition(":")
    found: Any = _module(name, folder, key=key)
    for part in attribute.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"{key} must name an attribute of the module {name!r}; got {reference!r}, and "
                f"there is no {part!r}{hint}"
            )
        found = getattr(found, part)
    return found


def _module(name: str, folder: Path, *, key: str) -> ModuleType:
    place = str(folder)
    if place not in sys.path:
        sys.path.insert(0, place)
    importlib.invalidate_caches()  # files may be younger than what Python remembers of the folder
    _check_not_another(name.partition(".")[0], folder, key=key)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(
                f"{key} must name a module beside the file or on Python's path; got {name!r}, "
                f"which is neither in {place!r} nor installed"
            ) from error
        raise _broken(name, error, key=key) from error
    except Exception as error:
        raise _broken(name, error, key=key) from error


def _broken(name: str, error: Exception, *, key: str) -> ValueError:
    return ValueError(
        f"{key} must name a module that can be imported; importing {name!r} ended in "
        f"{type(error).__name__}: {error}"
    )


def _check_not_another(name: str, folder: Path, *, key: str) -> None:
    """Refuse a module of another folder that this process has imported under the same name."""
    loaded = sys.modules.get(name)
    own = [path for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.exists()]
    if loaded is None or not own:
        return
    origin = getattr(loaded, "__file__", None)
    if origin is None or Path(origin).resolve() not in [path.resolve() for path in own]:
        raise ValueError(
            f"{key} names {own[0]}, but this process has another module {name!r}, of {origin}. "
            "Rename the file, or use the two studies in different processes"
        )
