"""What a code object does, as a digest that comments, line numbers and docstrings do not change."""

from __future__ import annotations

import dis
import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from enum import Enum
from types import CodeType
from typing import Any

import numpy as np

__all__ = [
    "code_digest",
    "constant_digest",
    "digest",
    "global_chains",
    "names_used",
    "written_names",
]

_NOTHING = frozenset({"NOP", "CACHE", "EXTENDED_ARG", "RESUME"})
_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_CONSTANTS, _NAMES = frozenset(dis.hasconst), frozenset(dis.hasname)
_ABOUT_SOURCE = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_CHANGES = frozenset(
    "add append appendleft clear discard extend insert pop popitem popleft remove setdefault "
    "update".split()
)
_LOADS = {"LOAD_GLOBAL": "global", "LOAD_DEREF": "cell", "LOAD_ATTR": "attribute"}
_ITEMS = {"STORE_SUBSCR": 1, "STORE_SLICE": 2}  # and how many values its key takes
_STORES = {"STORE_GLOBAL": "global", "STORE_DEREF": "cell"}


def digest(*parts: str | bytes | int | None) -> bytes:
    """16 bytes of hash over the parts, which cannot run into each other."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "backslashreplace")
        state.update(len(data).to_bytes(8, "little") + data)
    return state.digest()


def constant_digest(value: object) -> bytes | None:
    """Digest of something that cannot change, as code objects hold them; None for all else."""
    if isinstance(value, CodeType):
        return code_digest(value)
    if type(value) in _PLAIN:
        return digest(type(value).__name__, repr(value))
    if isinstance(value, Enum):
        return digest("enum", type(value).__module__, type(value).__qualname__, value.name)
    if isinstance(value, np.generic) and value.dtype != object:
        return digest("generic", value.dtype.str, value.tobytes())
    if type(value) is slice:
        return constant_digest(("slice", value.start, value.stop, value.step))
    if type(value) not in {tuple, frozenset} or not isinstance(value, tuple | frozenset):
        return None
    members = [d for member in value if (d := constant_digest(member)) is not None]
    if len(members) < len(value):
        return None
    ordered = members if type(value) is tuple else sorted(members)  # sets have no order to keep
    return digest(type(value).__name__, *ordered)


def code_digest(code: CodeType) -> bytes:
    """Digest of the instructions with what they refer to, and of the signature."""
    kept = _instructions(code)
    offsets = [instruction.offset for instruction in kept]
    arguments = code.co_argcount + code.co_kwonlyargcount
    parts: list[str | bytes | int | None] = [
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & 0x2AC,  # *args, **kwargs, generator, coroutine, asynchronous generator
        *code.co_varnames[:arguments],
        code.co_exceptiontable,
    ]
    for instruction in kept:
        parts += [instruction.opname, _argument(instruction, offsets)]
    return digest(*parts)


def _argument(instruction: dis.Instruction, offsets: list[int]) -> str | bytes | int | None:
    if instruction.opcode in _CONSTANTS:
        return constant_digest(instruction.argval)
    if instruction.opcode in _JUMPS:
        return bisect_left(offsets, instruction.argval)
    if instruction.opcode in _NAMES:
        return str(instruction.argval)
    return instruction.arg


def _instructions(code: CodeType) -> list[dis.Instruction]:
    """All that do something. In the body of a class, not those that only describe its source."""
    kept: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in _NOTHING:
            continue
        if instruction.opname == "STORE_NAME" and instruction.argval in _ABOUT_SOURCE:
            kept.pop()  # the constant that it stores
            continue
        kept.append(instruction)
    return kept


def _nested(code: CodeType) -> Iterator[CodeType]:
    """The code and all code in it: inner functions, lambdas, comprehensions, classes."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def global_chains(code: CodeType) -> list[tuple[str, ...]]:
    """Global names that the code reads, each with the attributes asked of it: `("np", "pi")`."""
    chains: dict[tuple[str, ...], None] = {}
    for inner in _nested(code):
        chain: list[str] = []
        for instruction in [*_instructions(inner), None]:
            name = instruction.opname if instruction is not None else ""
            if chain and instruction is not None and name in {"LOAD_ATTR", "LOAD_METHOD"}:
                chain.append(str(instruction.argval))
                continue
            if chain:
                chains[tuple(chain)] = None
                chain = []
            if instruction is not None and name in {"LOAD_GLOBAL", "LOAD_NAME"}:
                chain = [str(instruction.argval)]
    return list(chains)


def names_used(code: CodeType) -> set[str]:
    """Names of globals and attributes in the code."""
    return {name for inner in _nested(code) for name in inner.co_names}


def written_names(code: CodeType) -> set[tuple[str, str]]:
    """What the code itself changes: such things are its state (counters, caches), not settings.

    Found are the usual forms only: `name = value`, `name += value`, `name.append(value)`,
    `name[key] = value`, where name is a global, a variable of an outer function or an attribute
    of the first argument.

    Returns:
        Pairs of a kind (`"global"`, `"cell"` or `"attribute"`) and a name.
    """
    written: set[tuple[str, str]] = set()
    for inner in _nested(code):
        kept = _instructions(inner)
        for i, instruction in enumerate(kept):
            name = instruction.opname
            if name in _STORES:
                written.add((_STORES[name], str(instruction.argval)))
            elif name == "STORE_ATTR" and i and _is_self(kept[i - 1], inner):
                written.add(("attribute", str(instruction.argval)))
            elif name in {"LOAD_METHOD", "LOAD_ATTR"} and i and instruction.argval in _CHANGES:
                written |= _loaded(kept[i - 1])
            elif name in _ITEMS:
                written |= _container(kept[:i], _ITEMS[name])
    return written


def _is_self(instruction: dis.Instruction, code: CodeType) -> bool:
    """Whether it loads the first argument. `self.n += 1` is known by the SWAP that it ends with."""
    if instruction.opname == "SWAP":
        return True
    loaded: Any = instruction.argval
    last = loaded[-1] if isinstance(loaded, tuple) and loaded else loaded
    return instruction.opname.startswith("LOAD_FAST") and last == (*code.co_varnames, None)[0]


def _container(before: list[dis.Instruction], missing: int) -> set[tuple[str, str]]:
    """What `container[key] = value` changes: goes back over what put the keys on the stack."""
    last = len(before) - 1
    if last >= 0 and before[last].opname == "SWAP":  # container[key] += value copies both first
        while last >= 0 and before[last].opname != "COPY":
            last -= 1
        last -= 2
    while missing > 0 and last >= 0:
        missing -= dis.stack_effect(before[last].opcode, before[last].arg, jump=False)
        last -= 1
    return _loaded(before[last]) if last >= 0 else set()


def _loaded(instruction: dis.Instruction) -> set[tuple[str, str]]:
    kind = _LOADS.get(instruction.opname)
    return set() if kind is None else {(kind, str(instruction.argval))}
