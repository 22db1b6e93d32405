"""Placeholders in a program's arguments: `{theta}`, `{seed}`, `{out}` and so on."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence

__all__ = ["Argument", "fill", "is_plain", "parse", "plain_text", "settle", "uses"]

_FIELD = re.compile(r"theta\[\d+\]|theta|seed|out|scratch|cwd")
_FIELDS = "{theta}, {theta[0]}, {theta[1]}, ..., {seed}, {out}, {scratch} and {cwd}"

# Pieces of an argument: (text, placeholder that follows or None).
Argument = tuple[tuple[str, str | None], ...]


def parse(text: str, name: str) -> Argument:
    """Cut an argument at its placeholders."""
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"{name} must have balanced braces; got {text!r} ({error}). Double the braces that are "
            f"meant as such; placeholders are {_FIELDS}."
        ) from error
    for _, field, spec, conversion in pieces:
        if field is not None and (not _FIELD.fullmatch(field) or spec or conversion):
            shown = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(
                f"{name} must use known placeholders only; got {{{shown}}} in {text!r}. "
                f"Placeholders are {_FIELDS}; double braces that are meant as such."
            )
    return tuple((literal, field) for literal, field, _, _ in pieces)


def is_plain(piece: Argument) -> bool:
    """Whether an argument has no placeholder."""
    return all(field is None for _, field in piece)


def plain_text(piece: Argument) -> str:
    """What an argument without placeholders says."""
    return "".join(text for text, _ in piece)


def uses(pieces: Sequence[Argument], field: str) -> bool:
    """Whether any argument has a placeholder."""
    return any(name == field for piece in pieces for _, name in piece)


def settle(piece: Argument, name: str, value: str) -> Argument:
    """An argument with one of its placeholders replaced."""
    return tuple((text + value, None) if field == name else (text, field) for text, field in piece)


def fill(piece: Argument, numbers: Sequence[str], values: Mapping[str, str]) -> str:
    """An argument with its placeholders replaced."""
    parts = []
    for text, field in piece:
        parts.append(text)
        if field is None:
            continue
        if field in values:
            parts.append(values[field])
            continue
        index = int(field.removeprefix("theta[").removesuffix("]"))
        if index >= len(numbers):
            raise ValueError(
                f"argv must use the parameters that there are, {{theta[0]}} to "
                f"{{theta[{len(numbers) - 1}]}}; got {{{field}}}. Correct it, or the prior."
            )
        parts.append(numbers[index])
    return "".join(parts)
