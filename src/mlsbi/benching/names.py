"""What the benchmark calls things on the command line: tasks, strategies, budgets, estimators."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlsbi.estimators.sbi_builder import sbi_estimator_names
from mlsbi.estimators.specs import NAMED
from mlsbi.fit import fit_posterior
from mlsbi.options import Training
from mlsbi.strategies import (
    BY_WORD,
    Bridge,
    Multilevel,
    SingleLevel,
    Stack,
    Strategy,
)
from mlsbi.tasks import (
    STRESS,
    Task,
    camels,
    g_and_k,
    linear_gaussian,
    ornstein_uhlenbeck,
    stress,
    toggle_switch,
)

__all__ = [
    "EQUAL",
    "EXACT",
    "HIGH_ALONE",
    "RIVALS",
    "TASKS",
    "BenchTask",
    "Budget",
    "check_strategy",
    "library_estimator",
    "make_strategy",
    "make_task",
    "metric_of",
    "parse_budget",
    "parse_estimator",
    "parse_runs",
]

Budget = tuple[int, ...]
HIGH_ALONE = "paper-high"  # the paper's NPE and NLE of the high level's runs
RIVALS = ("sbi", "sbi-npe", "sbi-nle")  # sbi's own training on the high level's runs
EXACT = "exact"  # the exact posterior on the test pairs, where it is known
EQUAL = "-equal"  # behind a strategy of level L alone: as many runs as the whole budget buys


@dataclass(frozen=True)
class BenchTask:
    """A task as the command line knows it.

    Attributes:
        make: Builds the task; takes the data folder where `needs_data`.
        metric: The metric that the table compares; lower is better.
        paper_epochs: Epochs of the paper's own training.
        needs_data: Whether the task reads stored runs.
    """

    make: Callable[..., Task]
    metric: str
    paper_epochs: int
    needs_data: bool = False


TASKS: dict[str, BenchTask] = {
    "g-and-k-nle": BenchTask(partial(g_and_k, "likelihood"), "kld_median", 10_000),
    "g-and-k-npe": BenchTask(partial(g_and_k, "posterior"), "nlpd_mean", 800),
    "ou": BenchTask(ornstein_uhlenbeck, "nlpd_mean", 500),
    "toggle": BenchTask(toggle_switch, "mmd_squared_mean", 2000),
    "camels-sigma8": BenchTask(camels, "nlpd_mean", 400, needs_data=True),
    "camels-2": BenchTask(
        partial(camels, parameters=("Omega_m", "sigma_8")), "nlpd_mean", 400, needs_data=True
    ),
    "linear-gaussian": BenchTask(linear_gaussian, "nlpd_mean", 800),
    **{f"stress-{name}": BenchTask(partial(stress, name), "nlpd_mean", 800) for name in STRESS},
}

_GRADIENT = {
    "rescale": {"rescale": True, "project": False},
    "project": {"rescale": False, "project": True},
    "none": {"rescale": False, "project": False},
}
_OPTIONS: dict[str, dict[str, Any]] = {
    **_GRADIENT,
    **{name: {"standardise": name} for name in ("pooled", "level", "array")},
    "telescoped": {"held_out": "telescoped"},
}
# What can be taken away from a bridge, and where its cheap draws come from.
_BRIDGE: dict[str, dict[str, Any]] = {
    "raw": {"compress": False},
    "uninflated": {"inflate": False},
    "sighted": {"crossfit": False},
    "real": {"draws": "real"},
    "emulated": {"draws": "emulated"},
}
_PLAIN = ("default", "single", "pooled", "transfer", "emulator")  # have no variants
_STRATEGIES = (
    "single, multilevel, paper, transfer, pooled, emulator, bridge, stack, paper-high, default, "
    "sbi or exact; single, paper-high and sbi with -equal; "
    f"multilevel and paper with any of {', '.join('-' + name for name in _OPTIONS)}; bridge and "
    f"stack with any of {', '.join('-' + name for name in _BRIDGE)}; paper with @EPOCHS"
)


def metric_of(task: str) -> str:
    """The metric that tells results of a task apart; lower is better."""
    return TASKS[task].metric if task in TASKS else "multilevel_ratio"  # table 1


def make_task(name: str, *, folder: Path | None = None) -> Task:
    """Build a task.

    Raises:
        ValueError: There is no such task, or it needs a data folder and got none.
    """
    if name not in TASKS:
        raise ValueError(f"TASK must be one of {', '.join(TASKS)}, or all; got {name!r}.")
    entry = TASKS[name]
    if not entry.needs_data:
        return entry.make()
    if folder is None:
        raise ValueError(f"{name} needs the CAMELS spectra: pass their folder by --data FOLDER.")
    return entry.make(folder)


def check_strategy(name: str) -> None:
    """Refuse a strategy that the benchmark does not know.

    Raises:
        ValueError: There is no such strategy.
    """
    stem = name.removesuffix(EQUAL)
    if stem in RIVALS or name == EXACT:
        return
    if stem != name and stem != "single" and not stem.startswith(HIGH_ALONE):
        raise ValueError(f"strategy must be {_STRATEGIES}; got {name!r}.")
    make_strategy(stem)


def make_strategy(name: str) -> Strategy | None:
    """The strategy of a name such as "multilevel-rescale" or "paper-none@2000".

    Returns:
        The strategy; None for "default", which leaves the choice to the library.

    Raises:
        ValueError: There is no such strategy.
    """
    unknown = ValueError(f"strategy must be {_STRATEGIES}; got {name!r}.")
    stem, at, epochs = name.partition("@")
    base, *words = stem.split("-")
    if stem == HIGH_ALONE and (epochs.isdecimal() or not at):
        return SingleLevel(training=Training.paper(epochs=int(epochs or 2000)))
    if base in ("bridge", "stack") and all(word in _BRIDGE for word in words) and not at:
        return _bridged(base, words)
    if any(word not in _OPTIONS for word in words) or (at and base != "paper"):
        raise unknown
    if base in _PLAIN and not words:
        return None if base == "default" else BY_WORD[base]()
    options = {key: value for word in words for key, value in _OPTIONS[word].items()}
    if base == "multilevel":
        return Multilevel(**options)
    if base != "paper" or (at and not epochs.isdigit()) or (at and int(epochs) < 1):
        raise unknown
    paper = Multilevel.paper(epochs=int(epochs)) if at else Multilevel.paper()
    return replace(paper, **options)


def _bridged(base: str, words: list[str]) -> Strategy:
    """A bridge, or a stack of candidates, without some of its parts."""
    options = {key: value for word in words for key, value in _BRIDGE[word].items()}

    def without(strategy: Strategy) -> Strategy:
        own = {field.name for field in fields(strategy)}
        return replace(strategy, **{key: value for key, value in options.items() if key in own})

    if base == "bridge":
        return without(Bridge())
    return Stack(candidates=tuple(without(candidate) for candidate in Stack().candidates))


def parse_budget(text: str, *, levels: int | None = None) -> Budget:
    """A budget such as "1000,50".

    Raises:
        ValueError: It is not numbers, or has not one number a level, or runs no level.
    """
    wanted = "numbers of runs, one a level" if levels is None else f"{levels} numbers of runs"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or levels not in (None, len(parts)):
        raise ValueError(f"budget must hold {wanted}, coarsest first, such as 1000,50; got {text}.")
    budget = tuple(int(part) for part in parts)
    if 0 in budget and sum(n > 0 for n in budget) != 1:
        raise ValueError(
            f"budget must run every level, or one alone such as 0,800 (the highest); got {text}."
        )
    return budget


def parse_runs(text: str) -> list[int]:
    """Numbers of runs such as "100,300"; none of an empty text.

    Raises:
        ValueError: One is not a positive number.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"must hold positive numbers such as 100,300,800; got {text!r}.")
    return [int(word) for word in words]


def parse_estimator(text: str) -> tuple[str, int | None]:
    """Name and ensemble size of "mdn" or "nsf:1".

    Raises:
        ValueError: The name is unknown, or the size is not a positive number.
    """
    name, colon, size = text.partition(":")
    if colon and (not size.isdecimal() or int(size) < 1):
        raise ValueError(f"estimator must be NAME or NAME:MEMBERS such as nsf:1; got {text!r}.")
    if name not in NAMED and name not in sbi_estimator_names():
        others = ", ".join(n for n in sbi_estimator_names() if n not in NAMED)
        raise ValueError(
            f"estimator must be one of {', '.join(NAMED)}, or of sbi's {others}; got {name!r}."
        )
    return name, int(size) if colon else None


def library_estimator() -> str:
    """The estimator that a fit uses by default."""
    return str(inspect.signature(fit_posterior).parameters["estimator"].default)
