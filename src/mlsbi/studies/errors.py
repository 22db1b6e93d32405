"""Read a study's file, with errors that say which key, on which line, what came, what may."""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mlsbi.studies.file import StudyFile

__all__ = ["explain", "line_of", "models_of", "read_file"]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([\w.\-]+)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([\w.\-]+)\s*=")

_Loc = Sequence[int | str]


def read_file(path: Path) -> StudyFile:
    """A study's file, all its keys checked.

    Raises:
        ValueError: There is no such file, it is not TOML, or a key is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"path must name a study's file, TOML in UTF-8; got {str(path)!r}, which cannot be "
            f"read ({error}). Pass the name of a file such as study.toml."
        ) from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}.") from error
    try:
        return StudyFile.model_validate(tables)
    except ValidationError as error:
        raise ValueError(f"{path} is no study:\n{explain(error, StudyFile, text)}") from None


def explain(error: ValidationError, model: type[BaseModel], text: str) -> str:
    """All that is wrong with a file, a line each.

    Args:
        error: What pydantic found.
        model: The model of the whole file.
        text: The file's text.

    Returns:
        Such as "levels[1].cost must be a positive number ...; got -3 (line 14: cost = -3)".
    """
    lines: dict[str, str] = {}  # members of a union complain one by one: the first word counts
    for entry in error.errors(include_url=False):
        path, field, inner = _walk(model, entry["loc"])
        shown = _dotted(path)
        place = line_of(text, path)
        where = "" if place is None else f" (line {place[0]}: {place[1]})"
        lines.setdefault(shown, _sentence(entry, shown, field, inner, model) + where)
    return "\n".join(lines.values())


def _sentence(
    entry: Any, shown: str, field: FieldInfo | None, inner: type[BaseModel], model: type[BaseModel]
) -> str:
    kind, allowed = entry["type"], (field.description or "") if field else ""
    if kind == "extra_forbidden":
        return _unknown(str(entry["loc"][-1]), shown, entry["input"], inner, model)
    if kind == "missing":
        return f"{shown} is missing: it must be {allowed}"
    if kind == "value_error":  # of our own validators: they say it all
        message = str(entry["ctx"]["error"])
        return f"{shown} {message}" if shown else message
    return f"{shown} must be {allowed}; got {_value(entry['input'])}"


def _unknown(
    key: str, shown: str, value: Any, inner: type[BaseModel], model: type[BaseModel]
) -> str:
    names = list(inner.model_fields)
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if key in model.model_fields and inner is not model:
        hint = f"; {key} stands at the top of the file, before any [table]"
    return f"{shown} is no known key; got {_value(value)}. Known are {', '.join(names)}{hint}"


def _value(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _walk(
    model: type[BaseModel], loc: _Loc
) -> tuple[list[int | str], FieldInfo | None, type[BaseModel]]:
    """The path of a key without the names of a union's members; its field; the model it is in."""
    path: list[int | str] = []
    field: FieldInfo | None = None
    inner: type[BaseModel] | None = model
    owner = model
    for part in loc:
        if isinstance(part, int):
            path.append(part)
            continue
        if inner is None:  # within a field that is no table: a member of a union, or its own key
            continue
        owner, field = inner, inner.model_fields.get(part)
        path.append(part)
        inner = None if field is None else next(models_of(field.annotation), None)
    return path, field, owner if inner is None else inner


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_of(argument)


def _dotted(path: _Loc) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def line_of(text: str, path: _Loc) -> tuple[int, str] | None:
    """Number and content of the line on which a key stands, or its table begins.

    None where it cannot be told, as of tables within a line.
    """
    found: tuple[int, str] | None = None
    table: list[int | str] = []
    counts: dict[str, int] = {}
    for number, line in _lines(text):
        header, key = _HEADER.match(line), _KEY.match(line)
        here: list[int | str]
        if header:
            table = list(header[2].split("."))
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], -1) + 1
                table.append(counts[header[2]])
            here = table
        elif key:
            here = [*table, *key[1].split(".")]
        else:
            continue
        if here == list(path[: len(here)]) and here:
            found = number, line.strip()
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, but for those within texts of several lines."""
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if inside:
            inside = "" if inside in line else inside
            continue
        yield number, line
        if not line.lstrip().startswith("#"):
            opened = [mark for mark in ('"""', "'''") if line.count(mark) % 2]
            inside = opened[0] if opened else ""
