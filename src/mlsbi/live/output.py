"""A terminal of one's own: what simulators print meanwhile is handed over, line by line.

A program that a simulator starts, or a worker process, writes to the terminal past `sys.stdout`, in
the middle of what is drawn there. So the terminal's descriptors lead into a pipe for a while.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["captured", "own_terminal"]

_PATIENCE = 1.0  # seconds that what is left in the pipe may take


@contextmanager
def own_terminal() -> Iterator[TextIO]:
    """A stream to standard error's terminal, which stays one while output is captured."""
    encoding = sys.stderr.encoding or "utf-8"
    with os.fdopen(os.dup(2), "w", encoding=encoding, errors="replace") as terminal:
        yield terminal


@contextmanager
def captured(show: Callable[[str], None]) -> Iterator[None]:
    """Hand over what is written to standard output or error, as far as they are a terminal.

    Args:
        show: Called, in a thread, with each line; with the last one before the block is left.
    """
    encoding = sys.stderr.encoding or "utf-8"
    _flush()
    kept = {number: os.dup(number) for number in (1, 2) if os.isatty(number)}
    source, sink = os.pipe()
    for number in kept:
        os.dup2(sink, number)
    os.close(sink)
    reader = threading.Thread(target=_hand_over, args=(source, encoding, show), daemon=True)
    reader.start()
    try:
        yield
    finally:
        _flush()
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        reader.join(_PATIENCE)  # a process that lives on holds the pipe's other end open


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _hand_over(source: int, encoding: str, show: Callable[[str], None]) -> None:
    """Read until nobody can write any more, whatever `show` does: a full pipe stops simulators."""
    with os.fdopen(source, "r", encoding=encoding, errors="replace", newline="") as pipe:
        for line in _lines(pipe):
            try:
                show(line)
            except Exception:  # noqa: S110  nowhere is left to say it
                pass


def _lines(pipe: TextIO) -> Iterator[str]:
    """Lines as a terminal would be left with: of what goes over itself, the last."""
    rest = ""
    while text := pipe.readline():
        rest += text
        if rest.endswith("\n"):
            yield rest.rstrip("\r\n").rpartition("\r")[2]
            rest = ""
    if rest:
        yield rest.rpartition("\r")[2]
