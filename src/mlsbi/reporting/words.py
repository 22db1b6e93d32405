"""Sentences about a fit and its runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

from mlsbi._facts import row_sums
from mlsbi.history import Status
from mlsbi.reporting.markup import Markup, join, number, plain, rich, tag, trimmed
from mlsbi.reporting.subject import Subject
from mlsbi.strategies import Stack, Strategy

__all__ = ["counted", "duration", "listed", "sentence", "study_in_words", "subtitle"]

_UNITS = ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min"))
_WORD = re.compile(r"^(?:[a-z]{2,}|a)\b")  # no symbol, such as x_o
_NAMED = 4  # parameters that a title names
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def counted(count: int, noun: str) -> str:
    """So many of them: one run, 50 runs."""
    word = _SMALL[count] if count < len(_SMALL) else number(count)
    return f"{word} {noun}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    whole = _WORD.sub(lambda found: found[0].capitalize(), text)
    return whole if whole.endswith((".", "!", "?", ":")) else f"{whole}."


def listed(items: Sequence[object]) -> Markup:
    """Items as a, b and c; they may hold TeX-like names."""
    parts = [rich(item) for item in items]
    if len(parts) < 2:
        return join(parts)
    return join([join(parts[:-1], ", "), " and ", parts[-1]])


def subtitle(subject: Subject) -> Markup:
    """One line: what was learned of what from what."""
    fit = subject.fit
    what = "Posterior of" if subject.is_posterior else "Likelihood of x given"
    runs = " + ".join(number(n) for n in fit.n)
    levels, count = counted(len(fit.n), "level"), len(subject.labels)
    names = listed(subject.labels) if count <= _NAMED else counted(count, "parameter")
    return join([what, " ", names, f" from {runs} runs of {levels}"])


def study_in_words(subject: Subject) -> list[Markup]:
    """Paragraphs: the question, the runs and their cost, the training."""
    return [tag("p", part) for part in (_aim(subject), _runs(subject), _training(subject)) if part]


def _aim(subject: Subject) -> Markup:
    fit, top = subject.fit, subject.top
    theta, x = tag("i", "θ"), tag("i", "x")
    density = (
        join(["posterior ", tag("i", "p"), "(", theta, " | ", x, ")"])
        if subject.is_posterior
        else join(["likelihood ", tag("i", "p"), "(", x, " | ", theta, ")"])
    )
    names = listed(subject.labels) if len(subject.labels) <= 8 else ""
    verb = "is" if len(subject.labels) == 1 else "are"
    of = counted(len(subject.labels), "parameter")
    sizes = " × ".join(map(str, fit.event_shape))
    output = "a single number" if sizes in {"", "1"} else f"an output of {sizes} numbers"
    ladder = f", the most faithful of {counted(top + 1, 'level')}" if top else ", the only one"
    return join([
        "The aim is the ", density, f" of level {top}{ladder}, where ", theta, f" {verb} {of}",
        *([" (", names, ")"] if names else []), " and ", x,
        f" is {output}. ",
        *_level_names(subject),
    ])  # fmt: skip


def _level_names(subject: Subject) -> list[object]:
    if subject.levels is None:
        return []
    each = "; ".join(f"level {i} is {text}" for i, text in enumerate(subject.levels))
    return [f"{each[0].upper()}{each[1:]}."]


def _runs(subject: Subject) -> Markup:
    fit = subject.fit
    parts = [f"{counted(fit.n[0], 'run')} of level 0"]
    parts += [
        f"{counted(n, 'coupled pair')} of levels {level - 1} and {level}"
        for level, n in enumerate(fit.n)
        if level
    ]
    text = ["It was learned from ", listed(parts), "."]
    if len(fit.n) > 1:
        text.append(" The two runs of a pair share their parameters and their random numbers.")
    return join([*text, *_cost(subject), *_losses(subject)])


def _cost(subject: Subject) -> list[str]:
    fit, data = subject.fit, subject.data
    if fit.cost is None:
        return [" What a run costs is not known."]
    if data is None or data.costs is None or len(fit.n) == 1:
        return [f" All runs together cost {number(fit.cost)} in the units of the levels' costs."]
    costs = data.costs
    shares = [n * k / fit.cost for n, k in zip(fit.n, row_sums(costs), strict=True)]
    ratio, top = costs[-1] / costs[0], len(costs) - 1
    return [
        f" One run of level {top} costs as much as {trimmed(ratio)} of level 0. All runs together "
        f"cost {number(fit.cost)}, in the units of the levels' costs; level {top}'s pairs took "
        f"{shares[-1]:.0%} of it. For the same cost level {top} alone could have been run "
        f"{number(int(fit.cost / costs[-1]))} times."
    ]


def _losses(subject: Subject) -> list[str]:
    data = subject.data
    lost = 0 if data is None else sum(data.dropped)
    if not lost:
        return []
    return [f" {counted(lost, 'further run').capitalize()} had no valid result and are left out."]


def _training(subject: Subject) -> Markup:
    fit = subject.fit
    seconds = fit.seconds
    took = "" if seconds is None else f" It took {duration(seconds)}."
    name = type(fit.strategy).__name__
    return join([
        "The levels were combined by ", tag("code", name), f": {_described(fit.strategy)}. ",
        "The training ", _status(fit.status), ".", took, *_calibrated(subject),
    ])  # fmt: skip


def _calibrated(subject: Subject) -> list[str]:
    found = subject.fit.calibration
    return [] if found is None else [f" Afterwards the density was {found}."]


def _described(strategy: Strategy) -> str:
    """The first line of its docstring, and a stack's candidates."""
    text = (inspect.getdoc(type(strategy)) or "").split("\n")[0].rstrip(".")
    text = text if text[1:2].isupper() else text[:1].lower() + text[1:]
    if isinstance(strategy, Stack):
        names = [type(candidate).__name__ for candidate in strategy.candidates]
        text += f" (here of {plain(listed(names))})"
    return text


def _status(status: Status) -> str:
    text = status.value.rstrip(".")
    return text if status is not Status.DIVERGED else f"failed: it {text}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for limit, unit, name in _UNITS:
        if seconds < limit:
            return f"{trimmed(seconds / unit, 2)}\u00a0{name}"
    return f"{trimmed(seconds / 3600, 2)}\u00a0h"
