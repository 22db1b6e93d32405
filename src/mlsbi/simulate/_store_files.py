"""Files of a campaign store: durable writes, checksummed chunks, and the lock.

Chunks are written and read here without Zarr: one is its array's bytes and their CRC-32C, which is
what Zarr's codecs `bytes` and `crc32c` say, so that Zarr reads them, and a write costs no more than
the disk does.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import google_crc32c
import numpy as np

__all__ = [
    "Damage",
    "Lock",
    "chunk_file",
    "clean_folder",
    "drop_folder",
    "is_leftover",
    "json_file",
    "read_chunk",
    "read_json",
    "write_files",
    "writing",
]

_TEMPORARY = ".tmp-"
_LOCK, _HOLDER = ".lock", ".holder.json"
_CRC_BYTES = 4
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # some network filesystems

File = tuple[Path, tuple[Any, ...]]
"""A path and the buffers that make up its content."""


class Damage(Exception):
    """A file is not what was written.

    Attributes:
        path: The file.
        why: What is wrong with it, as in "it is missing".
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def write_files(files: Iterable[File]) -> None:
    """Write files, each whole or not at all, that are on disk when this returns.

    Contents reach the disk before the names do: a machine that is lost half-way leaves of each file
    the old one or the new one.
    """
    fresh: list[tuple[Path, Path]] = []
    try:
        for path, parts in files:
            temporary = path.with_name(_TEMPORARY + path.name)
            fresh.append((temporary, path))
            with open(temporary, "wb", buffering=0) as stream:
                for part in parts:
                    _write_all(stream.fileno(), part)
                os.fsync(stream.fileno())
        for temporary, path in fresh:
            os.replace(temporary, path)
    except BaseException:
        for temporary, _ in fresh:  # a full disk needs the room
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise
    for folder in dict.fromkeys(path.parent for _, path in fresh):
        sync_folder(folder)


def _write_all(descriptor: int, part: Any) -> None:
    """`os.write` may take less than it is given."""
    left = memoryview(part).cast("B")
    while len(left):
        left = left[os.write(descriptor, left) :]


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def json_file(path: Path, value: Mapping[str, Any]) -> File:
    """A file for `write_files` that holds JSON."""
    return path, (json.dumps(value, indent=2, allow_nan=False).encode(),)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None where there is no file.

    Raises:
        Damage: The file holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise Damage(path, f"it is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise Damage(path, "it is not a JSON object")
    return value


def chunk_file(path: Path, array: np.ndarray) -> File:
    """A file for `write_files` that holds a chunk; `array` is C-contiguous and little-endian."""
    flat = array.reshape(-1).view(np.uint8)
    return path, (flat, int(google_crc32c.value(flat)).to_bytes(_CRC_BYTES, "little"))


def read_chunk(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray | None:
    """The chunk in a file, read-only; None where there is no file.

    Raises:
        Damage: Its size or its checksum is wrong.
    """
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damage(path, f"it cannot be read ({error})") from error
    expected = int(np.prod(shape)) * dtype.itemsize + _CRC_BYTES
    if len(content) != expected:
        raise Damage(path, f"it has {len(content)} bytes, not {expected}")
    data, crc = content[:-_CRC_BYTES], content[-_CRC_BYTES:].tobytes()
    if int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little") != crc:
        raise Damage(path, "its checksum does not match")
    return data.view(dtype).reshape(shape)


def clean_folder(folder: Path) -> None:
    """Remove what writes that were cut short left in a folder."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(_TEMPORARY)]:
            _remove(folder / name)


def drop_folder(folder: Path) -> None:
    """Remove a folder, all of it at once: whatever ends this, it is there whole or not at all."""
    if not folder.exists():
        return
    gone = folder.with_name(_TEMPORARY + folder.name)
    _remove(gone)
    os.replace(folder, gone)
    sync_folder(folder.parent)
    _remove(gone)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Whether a file is what a creation that was cut short may have left."""
    return name in (_LOCK, _HOLDER) or name.startswith(_TEMPORARY)


@contextmanager
def writing(store: Path) -> Iterator[None]:
    """Turn an `OSError` into one that says what it means for the campaign.

    Raises:
        RuntimeError: The disk is full, may not be written to, or lost what was written.
    """
    try:
        yield
    except Damage as damage:
        raise RuntimeError(
            f"the store {str(store)!r} was damaged while in use: {damage}. Make the same call "
            "again: only what is damaged is run again."
        ) from damage
    except OSError as error:
        try:
            free = f"{shutil.disk_usage(store).free:,} bytes are free there"
        except OSError:
            free = "how much space is free there cannot be told"
        raise RuntimeError(
            f"the store {str(store)!r} could not be written: {error}; {free}. Rows that were "
            "written before are safe. Free space (or mend what the error names), then make the "
            "same call again: it goes on where this one stopped."
        ) from error


class Lock:
    """One writer a store. The system releases it when its process ends, however it ends."""

    def __init__(self, store: Path) -> None:
        """Take the lock of a folder that exists.

        Raises:
            RuntimeError: Another process, or this one, has the store open.
        """
        self._holder = store / _HOLDER
        self._lock = filelock.FileLock(store / _LOCK, timeout=0)
        try:
            self._lock.acquire()
        except (filelock.Timeout, RuntimeError) as error:  # the latter: by this very thread
            raise RuntimeError(
                f"the store {str(store)!r} is in use by {self._describe()}. Two campaigns cannot "
                "write one store: wait until that one ends or stop it, or pass another store. "
                "Reading it meanwhile is fine: MultilevelData.load."
            ) from error
        since = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        try:
            write_files([json_file(self._holder, entry)])
        except BaseException:
            self.release()
            raise

    def _describe(self) -> str:
        try:
            entry = read_json(self._holder)
        except (Damage, OSError):
            entry = None
        if not entry:
            return "another process"
        own = (entry.get("host"), entry.get("pid")) == (socket.gethostname(), os.getpid())
        text = f"process {entry.get('pid')} on {entry.get('host')} since {entry.get('since')}"
        return f"{text} (this very process)" if own else text

    def release(self) -> None:
        """Let others write. Raises nothing."""
        with suppress(OSError):
            self._holder.unlink(missing_ok=True)
        with suppress(OSError):
            self._lock.release()
