"""What an adaptive run has decided so far: a JSON file that is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mlsbi._json import to_json
from mlsbi.planning.needs import Needs
from mlsbi.planning.plan import Plan
from mlsbi.simulate._store_files import (
    Damage,
    Lock,
    clean_folder,
    is_leftover,
    read_json,
    write_files,
    writing,
)

__all__ = ["Entry", "Journal", "open_journal"]

FORMAT = 1
_FILE = "infer.json"


@dataclass(frozen=True)
class Entry:
    """A round that is planned, and what came of it once it is finished.

    Attributes:
        number: Of the round, from 1.
        budget: Of the whole call that planned it.
        plan: Made before the round; its needs and costs are what was known then.
        rows: Rows of the campaign's streams asked for up to here, those that fail included.
        n: Rows that a fit can use, the pilot's included; None while the round isn't finished.
        costs: Of one run of each level, as known after the round.
        spent: In all, the pilot included.
        nlpd: Loss of the round's fit on held-out runs of level L.
        seconds: Wall-clock time of the round.
        needs: What all runs tell of the next round's plan; None: not yet asked.
    """

    number: int
    budget: float
    plan: Plan
    rows: tuple[int, ...]
    n: tuple[int, ...] | None = None
    costs: tuple[float, ...] | None = None
    spent: float | None = None
    nlpd: float | None = None
    seconds: float | None = None
    needs: Needs | None = None

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        record: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        record["plan"] = self.plan.to_dict()
        record["needs"] = None if self.needs is None else asdict(self.needs)
        return record

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Entry:
        """The entry that `to_dict` described."""
        known = _numbers(record)
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in known.items()
        }
        values["plan"] = Plan.from_dict(known["plan"])
        if known["needs"] is not None:
            values["needs"] = Needs(**known["needs"] | {"b": tuple(known["needs"]["b"])})
        return Entry(**values)


def _numbers(value: Any) -> Any:
    """NaN and infinities, words in JSON, as numbers again."""
    if isinstance(value, Mapping):
        return {name: _numbers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


class Journal:
    """The rounds of a call, in a folder or in memory only."""

    def __init__(
        self, call: Mapping[str, Any], folder: Path | None, record: Mapping[str, Any] | None
    ) -> None:
        """Go on from what a file says, or begin."""
        self.folder, self._call = folder, call
        known = {} if record is None else record
        self._pilot: str | None = known.get("pilot")
        self._levels: list[int] | None = known.get("levels")
        self._rounds = {r["number"]: Entry.from_dict(r) for r in known.get("rounds", ())}

    @property
    def last(self) -> Entry | None:
        """The round that was planned last."""
        return self._rounds[max(self._rounds)] if self._rounds else None

    @property
    def budget(self) -> float:
        """The largest budget that a round was planned for; 0 before."""
        return max((entry.budget for entry in self._rounds.values()), default=0.0)

    def get(self, number: int) -> Entry | None:
        """A round, if it has been planned."""
        return self._rounds.get(number)

    def put(self, entry: Entry) -> None:
        """Note a round, in the place of what was noted for its number."""
        self._rounds[entry.number] = entry
        self.write()

    def same_pilot(self, digest: str) -> None:
        """Note the pilot's data, or compare them with those noted.

        Raises:
            ValueError: They are others.
        """
        if self._pilot is None:
            self._pilot = digest
            self.write()
        elif self._pilot != digest:
            raise ValueError(
                f"store {str(self.folder)!r} was begun with other runs of the pilot. Pass the same "
                "pilot, or another store."
            )

    def levels(self, choose: Callable[[], Sequence[int]]) -> tuple[int, ...]:
        """The levels to use, as noted, or as chosen now and noted: a larger budget keeps them."""
        if self._levels is None:
            self._levels = list(choose())
            self.write()
        return tuple(self._levels)

    def write(self) -> None:
        """Bring it to disk, if it has a place there."""
        if self.folder is None:
            return
        rounds = [self._rounds[number].to_dict() for number in sorted(self._rounds)]
        record = {
            "format": FORMAT, "call": self._call, "pilot": self._pilot, "levels": self._levels,
            "rounds": rounds,
        }  # fmt: skip
        with writing(self.folder):
            write_files([(self.folder / _FILE, ((to_json(record) + "\n").encode(),))])


@contextmanager
def open_journal(folder: Path | None, call: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal of a call; nobody else may write to the folder meanwhile.

    Args:
        folder: Where it is or will be; None: in memory.
        call: What decides about the result, by name.

    Raises:
        ValueError: The folder holds the journal of another call, or something else.
        RuntimeError: Another process works there, or nothing can be written.
    """
    call = json.loads(to_json(call))
    if folder is None:
        yield Journal(call, None, None)
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder)
    try:
        clean_folder(folder)
        journal = Journal(call, folder, _read(folder, call))
        journal.write()
        yield journal
    finally:
        lock.release()


def _read(folder: Path, call: Mapping[str, Any]) -> dict[str, Any] | None:
    path = folder / _FILE
    try:
        record = read_json(path)
    except Damage as damage:
        raise ValueError(
            f"store {str(folder)!r}: {damage}. Restore that file, or pass another store."
        ) from damage
    if record is None:
        others = sorted(i.name for i in folder.iterdir() if not is_leftover(i.name))
        if others:
            raise ValueError(
                f"store {str(folder)!r} holds no {_FILE} but {', '.join(others[:3])}: it is no "
                "folder of mlsbi.infer. Pass another store."
            )
        return None
    if record.get("format") != FORMAT:
        raise ValueError(
            f"store {str(folder)!r} has format {record.get('format')!r}, this version reads "
            f"{FORMAT}. Use the version of mlsbi that wrote it, or pass another store."
        )
    _check_same(folder, record["call"], call)
    return record


def _check_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    names: Sequence[str] = [name for name in new if old.get(name) != new[name]]
    if names:
        found = "; ".join(f"{name} was {old.get(name)}, now {new[name]}" for name in names)
        raise ValueError(
            f"store {str(folder)!r} belongs to another call of mlsbi.infer: {found}. Pass the "
            "arguments of that call (budget and rounds may grow), or another store."
        )
