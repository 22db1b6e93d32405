"""Looking at functions, classes and objects without running any of their code."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

from mlsbi.simulate._fingerprint_bytecode import names_used, written_names

__all__ = [
    "attributes",
    "cells",
    "is_generated",
    "is_own",
    "label",
    "parts_of",
    "qualified_name",
    "state_names",
    "top_package",
    "wrapped",
]

_LIBRARIES = frozenset("jax mlsbi numba numpy pandas sbi scipy sklearn torch".split())
_TASKS = "mlsbi.tasks"  # simulators, unlike the rest of mlsbi


def label(named: Any) -> str:
    """`module.name` of a class or a function."""
    name = getattr(named, "__qualname__", None) or type(named).__qualname__
    return f"{getattr(named, '__module__', None) or 'builtins'}.{name}"


def qualified_name(simulator: Any) -> str:
    """`module.name` of a function, of the class of a callable object, or of what partial wraps."""
    while isinstance(simulator, functools.partial):
        simulator = simulator.func
    if isinstance(simulator, MethodType):
        own = simulator.__self__
        owner = own if isinstance(own, type) else type(own)
        return f"{label(owner)}.{getattr(simulator, '__name__', '?')}"
    simulator = wrapped(simulator) or simulator
    named = isinstance(getattr(simulator, "__qualname__", None), str)
    return label(simulator if named else type(simulator))


def wrapped(value: Any) -> FunctionType | MethodType | None:
    """The function inside of one that a decorator made an object: a cache, a compiler."""
    if isinstance(value, FunctionType | MethodType | type):
        return None
    for name in ("__wrapped__", "py_func", "_orig_mod"):
        try:
            inner = getattr(value, name, None)
        except Exception:  # of an odd object's own making
            return None
        if isinstance(inner, FunctionType | MethodType):
            return inner
    return None


def cells(function: FunctionType) -> list[tuple[str, Any]]:
    """The variables of outer functions that a function uses."""
    found = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # not assigned yet
            continue
    return found


def parts_of(member: Any) -> list[Any]:
    """The functions in what a class holds under a name, or the thing itself."""
    if isinstance(member, staticmethod | classmethod):
        return [member.__func__]
    if isinstance(member, property):
        return [part for part in (member.fget, member.fset) if part is not None]
    return [member.func if isinstance(member, functools.cached_property) else member]


def attributes(value: Any) -> list[tuple[str, Any]]:
    """Fields of a dataclass that its comparison looks at; of other objects, all attributes."""
    if is_dataclass(value):
        names = [f.name for f in fields(value) if f.compare]
    else:
        slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
        names = [n for slot in slots for n in ([slot] if isinstance(slot, str) else slot)]
        names = [n for n in names if not n.startswith("__")]
        names += list(getattr(value, "__dict__", {}))
    missing = object()
    found = [(name, getattr(value, name, missing)) for name in dict.fromkeys(names)]
    return [(name, attribute) for name, attribute in found if attribute is not missing]


def state_names(kind: type, start: str) -> set[str]:
    """Attributes that a method, or the methods that it calls, changes in its own object."""
    todo, seen, state = [start], {start}, set()
    while todo:
        method = inspect.getattr_static(kind, todo.pop(), None)
        if isinstance(method, FunctionType):
            code = method.__code__
            state |= {name for what, name in written_names(code) if what == "attribute"}
            todo += sorted(names_used(code) - seen)
            seen |= names_used(code)
    return state


def is_generated(value: Any) -> bool:
    """Whether it is a function that the standard library wrote, as in a dataclass."""
    return isinstance(value, FunctionType) and _file(value).startswith("<string")


def is_own(thing: FunctionType | type | ModuleType, top: str | None) -> bool:
    """Whether the user wrote it, as far as its module and file tell.

    Args:
        thing: What to look at.
        top: A package that is the user's, wherever it is installed.
    """
    module, file = _module_name(thing), _file(thing)
    package = module.partition(".")[0]
    if package in {top, "__main__"} or f"{module}.".startswith(f"{_TASKS}."):
        return True
    if package in _LIBRARIES or package in sys.stdlib_module_names or not file:
        return False
    standard = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    installed = {"site-packages", "dist-packages"} & set(PurePath(file).parts)
    return not installed and not file.startswith(standard)


def top_package(simulator: Any) -> str | None:
    """The package of a simulator; None if it is that of a well-known library."""
    while isinstance(simulator, functools.partial | MethodType):
        if isinstance(simulator, functools.partial):
            simulator = simulator.func
        else:
            simulator = simulator.__func__
    simulator = wrapped(simulator) or simulator
    known = isinstance(simulator, FunctionType | type)
    package = _module_name(simulator if known else type(simulator)).partition(".")[0]
    return None if package in _LIBRARIES or package in sys.stdlib_module_names else package


def _module_name(thing: Any) -> str:
    """Where the code is: decorators copy the `__module__` of what they wrap."""
    if isinstance(thing, FunctionType):
        return str(thing.__globals__.get("__name__"))
    return str(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__)


def _file(thing: Any) -> str:
    if isinstance(thing, FunctionType):
        return thing.__code__.co_filename
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(str(thing.__module__))
    return str(getattr(module, "__file__", None) or "")
