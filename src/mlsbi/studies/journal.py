"""What a study's output folder remembers of its steps: `steps.json`, and one writer at a time.

Each step is noted with a digest of all that its result depends upon. A result counts as long as the
digest of now is the one that was noted; so a note is taken away before a result is replaced, and
written when the new one is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from mlsbi._json import to_json
from mlsbi._replaced import replaced

__all__ = ["Journal", "Note", "at_work", "digest"]

_FORMAT = 1
_LOCK = ".lock"


@dataclass(frozen=True)
class Note:
    """One step that was done.

    Attributes:
        inputs: Digest of what it depends upon.
        result: What later steps depend upon, in JSON types.
        seconds: Wall-clock time it took; None where it was not measured.
        when: When it ended, UTC.
        versions: Of what did it.
    """

    inputs: str
    result: Any = None
    seconds: float | None = None
    when: str = ""
    versions: Mapping[str, str] | None = None


class Journal:
    """The notes of one output folder."""

    def __init__(self, folder: Path) -> None:
        """Read them; a file that cannot be read counts as one without notes."""
        self.path = folder / "steps.json"
        self._notes: dict[str, Note] = {}
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if record["format"] == _FORMAT:
                self._notes = {name: Note(**note) for name, note in record["steps"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    def find(self, step: str) -> Note | None:
        """What is noted of a step."""
        return self._notes.get(step)

    def holds(self, step: str, inputs: str) -> Note | None:
        """The note of a step if it was done with these inputs."""
        found = self.find(step)
        return found if found is not None and found.inputs == inputs else None

    def note(self, step: str, inputs: str, *, result: Any = None, seconds: float | None) -> None:
        """Note a step that is done, and write the notes."""
        import torch

        from mlsbi import __version__

        now = datetime.now(UTC).isoformat(timespec="seconds")
        versions = {"mlsbi": __version__, "torch": str(torch.__version__)}
        self._notes[step] = Note(inputs, result, seconds, now, versions)
        self._write()

    def forget(self, step: str) -> None:
        """Take a note away, and write the notes."""
        if self._notes.pop(step, None) is not None:
            self._write()

    def _write(self) -> None:
        steps = {name: asdict(note) for name, note in self._notes.items()}
        with replaced(self.path) as part:
            part.write_text(to_json({"format": _FORMAT, "steps": steps}) + "\n", encoding="utf-8")


@contextmanager
def at_work(folder: Path) -> Iterator[Journal]:
    """Make the output folder, and work in it alone.

    Raises:
        RuntimeError: Another process, or this one, works in it already.
        ValueError: There is a file of that name, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"study.output must be a folder that can be made; got {str(folder)!r} ({error}). Name "
            "another."
        ) from error
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except (filelock.Timeout, RuntimeError) as error:  # the latter: by this very thread
        raise RuntimeError(
            f"the output folder {str(folder)!r} is in use: another process, or another call in "
            "this one, works on its steps. Wait until it ends or stop it, or name another output "
            "folder."
        ) from error
    try:
        yield Journal(folder)
    finally:
        lock.release()


def digest(value: Any) -> str:
    """32 hexadecimal digits of a value in JSON types; the order of keys does not matter."""
    text = json.dumps(json.loads(to_json(value)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
