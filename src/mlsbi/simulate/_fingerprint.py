"""What a simulator is: its name, a digest of its code, and a digest of its settings.

Code is what was written: functions, the user's own helpers that they call, and constants. Settings
are what it was made with: closures, arguments of `functools.partial`, attributes, weights. Only the
digest of code depends on the version of Python. What cannot be read counts by its name.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlsbi.simulate._fingerprint_bytecode import (
    code_digest,
    constant_digest,
    digest,
    global_chains,
    written_names,
)
from mlsbi.simulate._fingerprint_objects import (
    attributes,
    cells,
    is_generated,
    is_own,
    label,
    parts_of,
    qualified_name,
    state_names,
    top_package,
    wrapped,
)

__all__ = ["Fingerprint", "qualified_name", "value_digest"]

_BY_TEXT = (PurePath, np.dtype, torch.dtype, torch.device, torch.Size, range)
_NOT_BEHAVIOUR = frozenset(
    "__annotate_func__ __doc__ __firstlineno__ __module__ __qualname__".split()
)


def value_digest(value: Any) -> str:
    """Digest of plain values, arrays and tensors, and of tuples, lists and dicts of these."""
    return Fingerprint(None).value(value, "").hex()


class Fingerprint:
    """Reads one simulator. Parts of code are kept in a set, so no order can matter."""

    def __init__(self, simulator: Any) -> None:
        """Read it; never raises, whatever the simulator is."""
        self._code: set[tuple[str, bytes]] = set()
        self._seen: set[str] = set()
        self._active: set[int] = set()
        self._written: dict[int, set[tuple[str, str]]] = {}
        self._top = top_package(simulator)
        self.settings = self.value(simulator, "simulator").hex()

    @property
    def code(self) -> dict[str, str]:
        """The version of Python, and a digest that can be compared within that version only."""
        parts = [part for entry in sorted(self._code) for part in entry]
        return {"python": "{}.{}".format(*sys.version_info), "digest": digest(*parts).hex()}

    def value(self, value: Any, path: str) -> bytes:
        """Digest of a setting; what it does is added to the code, under `path`."""
        if id(value) in self._active:
            return digest("itself")
        self._active.add(id(value))
        try:
            return self._value(value, path)
        except Exception:  # of odd objects: nothing that users bring may stop a campaign
            return digest("object", label(type(value)))
        finally:
            self._active.discard(id(value))

    def _value(self, value: Any, path: str) -> bytes:
        constant = constant_digest(value)
        if constant is not None:
            return constant
        if isinstance(value, np.ndarray | np.generic | Tensor):
            return self._array(value, path)
        if isinstance(value, tuple | list):
            name = type(value).__name__
            return digest(name, *(self.value(v, f"{path}[{i}]") for i, v in enumerate(value)))
        if isinstance(value, Mapping):
            return self._named(type(value).__name__, value.items(), path)
        if isinstance(value, set | frozenset):
            return digest("set", *sorted(self.value(member, f"{path}{{}}") for member in value))
        if isinstance(value, _BY_TEXT):
            return digest(type(value).__name__, str(value))
        if isinstance(value, ModuleType):
            return digest("module", value.__name__)
        return self._callable(value, path) if callable(value) else self._object(value, path)

    def _array(self, value: Any, path: str) -> bytes:
        if isinstance(value, Tensor):
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            return digest("tensor", str(value.dtype), str(tuple(value.shape)), data.tobytes())
        array = np.asarray(value)
        shape = str(array.shape)
        if array.dtype.hasobject:
            return digest("objects", shape, self.value(array.ravel().tolist(), path))
        return digest("array", str(array.dtype.descr), shape, array.tobytes())

    def _named(self, kind: str, items: Iterable[tuple[Any, Any]], path: str) -> bytes:
        parts = []
        for name, value in items:
            key = self.value(name, f"{path}.keys")
            inner = name if isinstance(name, str) else key.hex()
            parts.append(digest(key, self.value(value, f"{path}.{inner}")))
        return digest(kind, *sorted(parts))

    def _callable(self, value: Any, path: str) -> bytes:
        if isinstance(value, FunctionType):
            return self._function(value, path)
        if isinstance(value, MethodType):
            own, name = value.__self__, value.__func__.__name__
            inner = self.value(value.__func__, path)
            if isinstance(own, type):
                return digest("method", inner, self.value(own, f"{path}.self"))
            return digest("method", inner, self._object(own, f"{path}.self", start=name))
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return digest("partial", *(self.value(p, f"{path}/{i}") for i, p in enumerate(parts)))
        if isinstance(value, type):
            self._class(value)
            return digest("class", label(value))
        return self._object(value, path)

    def _object(self, value: Any, path: str, *, start: str = "__call__") -> bytes:
        """Attributes of the user's objects and of dataclasses; of others the type only."""
        kind = label(type(value))
        if isinstance(value, nn.Module):
            return self._module(value, path, start)
        inner = wrapped(value)
        if inner is not None:
            return digest("wrapped", kind, self.value(inner, path))
        self._class(type(value))
        if not (is_dataclass(value) or is_own(type(value), self._top)):
            return digest("object", kind)
        return self._named(kind, self._attributes(value, start), path)

    def _module(self, module: nn.Module, path: str, start: str) -> bytes:
        parts = [self._named("weights", module.state_dict().items(), path)]
        for name, inner in module.named_modules():
            self._class(type(inner))
            first = "forward" if name or start == "__call__" else start
            plain = [(k, v) for k, v in self._attributes(inner, first) if not k.startswith("_")]
            parts.append(self._named(label(type(inner)), plain, f"{path}.{name}"))
        return digest("network", *parts)

    def _attributes(self, value: Any, start: str) -> Iterator[tuple[str, Any]]:
        state = state_names(type(value), start)
        for name, attribute in attributes(value):
            if name not in state:
                yield name, attribute

    # Code. Entries say under which name something is reached, so that swapping two is a change.

    def _function(self, function: FunctionType, path: str) -> bytes:
        """Adds the code of a function that is a setting; returns the digest of its closure."""
        state = {name for kind, name in written_names(function.__code__) if kind == "cell"}
        kept = [(name, value) for name, value in cells(function) if name not in state]
        self._add_function(function, path)
        return digest("function", label(function), self._named("cells", kept, path))

    def _add_function(self, function: FunctionType, key: str) -> None:
        self._code.add((key, digest(label(function))))
        if not is_own(function, self._top):
            return
        self._code.add((key, code_digest(function.__code__)))
        defaults = {"=": function.__defaults__, "*=": function.__kwdefaults__}
        self._code.add((f"{key}=", self.value(defaults, f"{key}=")))
        for chain in global_chains(function.__code__):
            self._add_global(function, chain)

    def _add_global(self, function: FunctionType, chain: tuple[str, ...]) -> None:
        """Adds what a function reads by a global name, or by an attribute of a module."""
        space = function.__globals__
        module = str(space.get("__name__"))
        for i, name in enumerate(chain):
            if name not in space or ("global", name) in self._changing(space):
                return
            value, key = space[name], f"{module}:{name}"
            if not isinstance(value, ModuleType):
                self._add(value, key)
                return
            if not is_own(value, self._top) or i + 1 == len(chain):
                return
            module, space = value.__name__, vars(value)

    def _add(self, value: Any, key: str) -> None:
        """Adds something that is not a setting: globals that can change may be caches."""
        if key in self._seen:
            return
        self._seen.add(key)
        constant = constant_digest(value)
        if constant is not None:
            self._code.add((key, constant))
        elif isinstance(value, FunctionType):
            self._add_function(value, key)
            for name, cell in cells(value):
                self._add(cell, f"{key}.{name}")
        elif isinstance(value, type):
            self._code.add((key, digest(label(value))))
            self._class(value)
        elif (inner := wrapped(value)) is not None:
            self._add(inner, f"{key}.wrapped")
        elif isinstance(value, functools.partial):
            for i, part in enumerate((value.func, *value.args)):
                self._add(part, f"{key}/{i}")
            for name, part in value.keywords.items():
                self._add(part, f"{key}/{name}")
        else:
            self._code.add((key, digest(label(type(value)))))
            self._class(type(value))

    def _class(self, kind: type) -> None:
        """Adds the methods and constants of a user's class, and of the user's among its bases."""
        for base in kind.__mro__:
            key = f"class {label(base)}"
            if key in self._seen or not is_own(base, self._top):
                continue
            self._seen.add(key)
            self._code.add((key, digest(*map(label, base.__mro__))))
            for name, member in vars(base).items():
                for i, part in enumerate(parts_of(member)):
                    known = isinstance(part, FunctionType | type) or constant_digest(part)
                    if known and not is_generated(part) and name not in _NOT_BEHAVIOUR:
                        self._add(part, f"{key}.{name}/{i}")

    def _changing(self, space: dict[str, Any]) -> set[tuple[str, str]]:
        """Globals that a function of their module changes."""
        if id(space) not in self._written:
            members = list(space.values())
            for member in list(members):
                if isinstance(member, type) and member.__module__ == space.get("__name__"):
                    members += [part for value in vars(member).values() for part in parts_of(value)]
            own = (m for m in members if isinstance(m, FunctionType) and m.__globals__ is space)
            written = set().union(*(written_names(function.__code__) for function in own))
            self._written[id(space)] = written
        return self._written[id(space)]
