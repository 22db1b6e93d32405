"""Does a store belong to this campaign? What two manifests differ in, said readably."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Change", "check_manifest"]

_SOFT = ("code", "settings", "simulator", "name")  # may change without changing results
_FREE = ("cost", "versions")  # say nothing about results

Change = dict[str, Any]
"""Something that was allowed to change: `path`, `old` and `new`."""


def check_manifest(
    stored: Mapping[str, Any], now: Mapping[str, Any], *, store: str, allow_changes: bool
) -> tuple[dict[str, Any], list[Change]]:
    """The manifest to keep, and what changed in a simulator's code or settings.

    Args:
        stored: The store's manifest.
        now: This campaign's, plain JSON.
        store: The store's name, for messages.
        allow_changes: Whether code and settings may differ.

    Raises:
        ValueError: If they differ in something that changes results, or that may.
    """
    kept, found = _merge(stored, now, path="", owner="")
    hard = [entry for entry in found if entry["owner"] is None]
    soft = [entry for entry in found if entry["owner"] is not None]
    if hard:
        lines = [*map(_hard_line, hard), *map(_soft_line, soft)]
        raise ValueError(
            f"store {store!r} belongs to another campaign. It differs in:\n  "
            + "\n  ".join(lines)
            + "\nPass another store, or the hierarchy, prior and seed that it was made with."
        )
    if soft and not allow_changes:
        raise ValueError(
            f"store {store!r} holds rows of simulators that have changed since:\n  "
            + "\n  ".join(_soft_line(entry) for entry in soft)
            + "\nPass allow_changes=True if the change does not alter results; otherwise pass "
            "another store."
        )
    return kept, [{name: entry[name] for name in ("path", "old", "new")} for entry in soft]


def _hard_line(entry: Mapping[str, Any]) -> str:
    return f"{entry['path']}: {_show(entry['old'])} in the store, {_show(entry['new'])} now"


def _soft_line(entry: Mapping[str, Any]) -> str:
    what = entry["path"].rpartition(".")[2]
    if what in {"simulator", "name"}:
        return _hard_line(entry)
    return f"{entry['path']}: the {what} of {entry['owner']} changed"


def _merge(old: Any, new: Any, *, path: str, owner: str) -> tuple[Any, list[dict[str, Any]]]:
    """The value to keep, and the differences."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        kept, found = {}, []
        named = new.get("simulator") or new.get("name")
        inner = f"{named!r} ({path})" if isinstance(named, str) and path else path or owner
        for key, where, value, fresh in _entries(old, new, path):
            kept[key], more = _merge_entry(key, value, fresh, where, inner)
            found += more
        return {key: value for key, value in kept.items() if value is not _ABSENT}, found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [
            _merge(a, b, path=f"{path}[{i}]", owner=owner)
            for i, (a, b) in enumerate(zip(old, new, strict=True))
        ]
        return [kept for kept, _ in pairs], [entry for _, found in pairs for entry in found]
    same = type(old) is type(new) and old == new
    same = same or (_is_number(old) and _is_number(new) and old == new)
    return new, [] if same else [{"path": path, "old": old, "new": new, "owner": None}]


def _merge_entry(
    key: str, old: Any, new: Any, path: str, owner: str
) -> tuple[Any, list[dict[str, Any]]]:
    if key in _FREE:
        return new, []
    if key in _SOFT:
        if old == new or _incomparable(old, new):
            return old, []
        return new, [{"path": path, "old": _plain(old), "new": _plain(new), "owner": owner}]
    if old is _ABSENT or new is _ABSENT:
        return new, [{"path": path, "old": old, "new": new, "owner": None}]
    return _merge(old, new, path=path, owner=owner)


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _entries(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str, Any, Any]]:
    for key in dict.fromkeys([*new, *old]):
        where = f"{path}.{key}" if path else key
        yield key, where, old.get(key, _ABSENT), new.get(key, _ABSENT)


def _incomparable(old: Any, new: Any) -> bool:
    """Bytecode of two versions of Python says nothing about whether the source changed."""
    both = isinstance(old, Mapping) and isinstance(new, Mapping)
    return both and old.get("python") != new.get("python")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return None if value is _ABSENT else value


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
