"""What happens around every command: errors in words, exit codes, one document on stdout."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from mlsbi.commands._options import FAILED, STOPPED, WRONG

if TYPE_CHECKING:
    from mlsbi.study import Study

__all__ = ["few_threads", "only_the_document", "opened", "session", "shortened"]

_ALONE = """
Next: try it out by itself: mlsbi validate {path}
      to go on without runs that fail: on_failure = "drop" in [run]
      in Python: hierarchy = mlsbi.Study.load("{path}").hierarchy()"""
_PACKAGE = Path(__file__).parents[1]
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line \d+.*\n(?:    .*\n)*', re.MULTILINE)


@contextmanager
def opened(
    path: Path, *, output: Path | None, as_json: bool = False, jobs: int | None = None
) -> Iterator[Study]:
    """Read a study's file, and work on it within the block.

    Args:
        path: The file.
        output: The output folder, None for the file's.
        as_json: Whether stdout is to be left alone within the block.
        jobs: Takes the place of the file's executor.

    Yields:
        The study.
    """
    with session(path, as_json=as_json):
        from mlsbi.study import Study

        if not path.exists():
            raise ValueError(f"there is no {path}. Name a study's file; mlsbi init writes one.")

        study = Study.load(path, output=output)
        if jobs is not None:
            study = _with_jobs(study, jobs)
        with few_threads(wanted=_small(study)):
            yield study


@contextmanager
def session(path: Path | None = None, *, as_json: bool = False) -> Iterator[None]:
    """Say what ends the block in words, and leave with its exit code.

    Errors of the library are written for users. Of other exceptions, which come from a simulator or
    another module of the user's, the frames that are the user's are shown.
    """
    hint = "" if path is None else _ALONE.format(path=path)
    try:
        with only_the_document() if as_json else nullcontext(), _plain_warnings():
            yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        _say("\nStopped. What is finished is kept; the same command goes on from there.")
        raise typer.Exit(STOPPED) from None
    except (TypeError, ValueError) as error:
        if not _ours(error):
            _end_with_traceback(error, hint)
        _end(error, WRONG)
    except RuntimeError as error:
        if not _ours(error):
            _end_with_traceback(error, hint)
        _end(error, FAILED, hint if "failed" in str(error) else "")
    except Exception as error:
        _end_with_traceback(error, hint)


def _with_jobs(study: Study, jobs: int) -> Study:
    from dataclasses import replace

    run = study.file.run.model_copy(update={"executor": jobs})
    return replace(study, file=study.file.model_copy(update={"run": run}))


def _small(study: Study) -> bool:
    """Whether the networks are small: nobody has brought one."""
    fit = study.file.fit
    return fit.embedding_net is None and ":" not in fit.estimator


@contextmanager
def few_threads(*, wanted: bool = True) -> Iterator[None]:
    """One thread for small networks: more gain nothing, and wait for each other on a busy machine.

    OMP_NUM_THREADS says otherwise. Only a command does this; the library leaves torch's settings
    alone.
    """
    if not wanted or os.environ.get("OMP_NUM_THREADS"):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def only_the_document() -> Iterator[None]:
    """What simulators print meanwhile, in this process or in workers, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as a line of text, without the line of code that they came from."""

    def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, DeprecationWarning | PendingDeprecationWarning):
            return  # for developers
        _say(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _end(error: BaseException, code: int, hint: str = "") -> NoReturn:
    _say(f"Error: {shortened(str(error))}{hint}")
    raise typer.Exit(code) from error


def _end_with_traceback(error: BaseException, hint: str) -> NoReturn:
    text = shortened("".join(traceback.format_exception(error)).rstrip())
    _say(f"{text}\n\nError: {type(error).__name__}, in code that is not mlsbi's (above).{hint}")
    raise typer.Exit(FAILED) from error


def _ours(error: BaseException) -> bool:
    """Whether the library raised an error itself."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _of_the_library(frames[-1].filename)


def _of_the_library(file: str) -> bool:
    return Path(file).is_relative_to(_PACKAGE)


def shortened(text: str) -> str:
    """A text without the frames of the library that a traceback in it has."""

    def kept(found: re.Match[str]) -> str:
        return "" if _of_the_library(found["file"]) else found[0]

    return _FRAME.sub(kept, text)
