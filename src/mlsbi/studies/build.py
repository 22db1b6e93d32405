"""From a study's tables to the objects that they describe: prior, levels, noise, strategy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributions as td

from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.prior import Prior, as_prior
from mlsbi.simulate._command import CommandLevel
from mlsbi.simulate._placeholders import Argument, parse, settle
from mlsbi.strategies import BY_WORD, Strategy
from mlsbi.studies.file import StudyFile
from mlsbi.studies.imports import load_object
from mlsbi.studies.sources import LevelTable, ParameterTable

__all__ = ["build_hierarchy", "build_prior", "build_strategy"]


def build_strategy(name: str) -> Strategy | None:
    """The strategy of that word; None leaves the choice to the library."""
    return None if name == "default" else BY_WORD[name]()


def build_hierarchy(file: StudyFile, folder: Path) -> Hierarchy:
    """The hierarchy of a file in `folder`.

    Raises:
        TypeError: If something that the file names is not what it must be.
        ValueError: If it is not there, or cannot be used.
    """
    if file.hierarchy is not None:
        return _named_hierarchy(file.hierarchy, folder)
    if file.source != "simulators":
        raise ValueError(
            "levels must have simulators or commands to be run; got runs on disk. Read them: "
            "study.simulate()"
        )
    noise = None
    if file.noise is not None:
        noise = _function(file.noise.python, folder, key="noise.python")
    levels = [
        _level(table, folder, key=f"levels[{number}]")
        for number, table in enumerate(file.levels or [])
    ]
    return Hierarchy(build_prior(file, folder), levels, noise=noise)


def _named_hierarchy(reference: str, folder: Path) -> Hierarchy:
    found = load_object(reference, folder, key="hierarchy")
    if callable(found):
        found = _called(found, reference, key="hierarchy")
    found = found if isinstance(found, Hierarchy) else getattr(found, "hierarchy", found)  # a Task
    if not isinstance(found, Hierarchy):
        raise TypeError(
            f"hierarchy must name an mlsbi.Hierarchy, or a function without arguments that returns "
            f"one; got {reference!r}, {type(found).__name__}"
        )
    return found


def build_prior(file: StudyFile, folder: Path) -> Prior:
    """The prior of `[[parameters]]` or `[prior]`.

    Raises:
        ValueError: If what the file names is not there, or is no prior.
    """
    if file.prior is None:
        return _prior_of(file.parameters or [])
    reference, key = file.prior.python, "prior.python"
    found = load_object(reference, folder, key=key)
    if callable(found):
        found = _called(found, reference, key=key)
    try:
        return as_prior(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key} must name a prior; got {reference!r}: {error}") from error


def _prior_of(tables: Sequence[ParameterTable]) -> Prior:
    if all(table.kind == "uniform" for table in tables):  # one distribution draws faster
        low, high = (
            torch.tensor([getattr(table, key) for table in tables]) for key in ("low", "high")
        )
        return as_prior(td.Independent(td.Uniform(low, high), 1))
    return as_prior([_distribution(table) for table in tables])


def _distribution(table: ParameterTable) -> td.Distribution:
    if table.kind == "normal":
        return td.Normal(_number(table.mean), _number(table.sd))
    low, high = _number(table.low), _number(table.high)
    if table.kind == "uniform":
        return td.Uniform(low, high)
    return td.TransformedDistribution(td.Uniform(low.log(), high.log()), [td.ExpTransform()])


def _number(value: float | None) -> torch.Tensor:
    return torch.tensor([0.0 if value is None else value])  # the file's checks leave no None here


def _level(table: LevelTable, folder: Path, *, key: str) -> Level:
    try:
        if table.simulator is None:
            return _command(table, folder, key=key)
        simulator = _function(table.simulator, folder, key=f"{key}.simulator")
        return Level(
            partial(simulator, **table.options) if table.options else simulator,
            cost=table.cost,
            batched=True if table.batched is None else table.batched,
            name=table.name or table.simulator.partition(":")[2],
            batch_size=table.batch_size,
        )
    except (TypeError, ValueError) as error:
        if str(error).startswith(key):
            raise
        raise ValueError(f"{key}: {error}") from error


def _command(table: LevelTable, folder: Path, *, key: str) -> Level:
    """A program; paths that the file gives start at its folder, not at the current one."""
    words = table.command or []
    if isinstance(words, str):
        try:
            words = shlex.split(words)
        except ValueError as error:
            raise ValueError(
                f"{key}.command must be words as in a shell; got {words!r} ({error}). Close the "
                "quotes, or write a list of words"
            ) from error
    cwd = str(folder)
    argv = [
        _written(settle(parse(word, f"{key}.command, word {i}"), "cwd", cwd))
        for i, word in enumerate(words)
    ]
    if os.path.dirname(argv[0]):
        argv[0] = os.path.join(cwd, argv[0])
    read = None if table.read is None else _function(table.read, folder, key=f"{key}.read")
    return CommandLevel(
        argv,
        read=read,
        cost=table.cost,
        name=table.name,
        timeout=table.timeout,
        separator="," if table.separator is None else table.separator,
        suffix=table.suffix or "",
        keep_failed=bool(table.keep_failed),
    )


def _written(piece: Argument) -> str:
    """An argument as it is written, braces that are meant as such doubled."""
    return "".join(
        text.replace("{", "{{").replace("}", "}}") + ("" if field is None else f"{{{field}}}")
        for text, field in piece
    )


def _function(reference: str, folder: Path, *, key: str) -> Callable[..., Any]:
    found = load_object(reference, folder, key=key)
    if not callable(found):
        raise TypeError(
            f"{key} must name a function; got {reference!r}, which is {type(found).__name__}"
        )
    function: Callable[..., Any] = found
    return function


def _called(function: Callable[[], Any], reference: str, *, key: str) -> Any:
    try:
        return function()
    except Exception as error:
        raise ValueError(
            f"{key} must name a function that can be called without arguments; {reference!r} "
            f"ended in {type(error).__name__}: {error}"
        ) from error
