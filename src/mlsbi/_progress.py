"""Progress of long work, shown only when asked for: as a bar of its own, or in a view that watches.

A command that shows everything in one place makes its view the watcher of all that is done within
`watched(view)`: bars and campaigns then report there, and draw nothing themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mlsbi.simulate._status_line import Report

__all__ = ["Update", "Watcher", "note", "progress_bar", "watched", "watching"]


class Update(Protocol):
    """Takes how far the work is."""

    def __call__(self, done: int, text: str, value: float = ...) -> None:
        """Say how far it is.

        Args:
            done: Of the total.
            text: What to show beside it.
            value: A figure whose course a view may draw, such as a loss.
        """
        ...


class Watcher(Protocol):
    """A view that shows what is reported while it watches."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Update]:
        """Work of `total` parts, until the block is left."""
        ...

    def campaign(
        self, counts: Sequence[int], done: Sequence[int], costs: Sequence[float | None]
    ) -> AbstractContextManager[Report]:
        """A campaign, as `campaign_progress` gets it, until the block is left."""
        ...

    def note(self, text: str) -> None:
        """A line about what is being done."""
        ...


_WATCHER: ContextVar[Watcher | None] = ContextVar("mlsbi progress", default=None)


@contextmanager
def watched(view: Watcher) -> Iterator[None]:
    """Let a view show the progress of all that is done within the block, in this context."""
    token = _WATCHER.set(view)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def watching() -> Watcher | None:
    """The view that watches, None where there is none."""
    return _WATCHER.get()


def note(text: str, *, enabled: bool) -> None:
    """A line to the view that watches, or on standard error. Does nothing unless `enabled`."""
    view = watching()
    if enabled and view is not None:
        view.note(text)
    elif enabled:
        print(text, file=sys.stderr)


@contextmanager
def progress_bar(title: str, total: int, *, enabled: bool) -> Iterator[Update]:
    """A bar, where a view watches or on standard error; yields `update(done, text, value)`.

    Does nothing unless `enabled`.
    """
    view = watching()
    if not enabled:
        yield lambda done, text, value=0.0: None
    elif view is not None:
        with view.bar(title, total) as update:
            yield update
    else:
        with _bar(title, total) as update:
            yield update


@contextmanager
def _bar(title: str, total: int) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=total, text="")
        yield lambda done, text, value=0.0: progress.update(task, completed=done, text=text)
