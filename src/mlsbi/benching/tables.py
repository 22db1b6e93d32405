"""Tables of the benchmark page in Markdown: scores by task, and the paper's tables 1, 3 and 4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlsbi.benching.names import EQUAL, Budget, metric_of
from mlsbi.benching.paper import ABLATIONS, BUDGETS, OTHERS
from mlsbi.benching.values import Group, Values, mean_and_error

if TYPE_CHECKING:
    from mlsbi.benching.results import Figure

__all__ = ["NAMES", "markdown", "others_table", "score_table", "table_1", "table_3", "table_4"]

Others = Mapping[str, Sequence["Figure"]]

NAMES = {
    "default": "**default**, `Stack()`",
    "emulator": "`Emulator()`, level L alone",
    "multilevel": "`Multilevel()`",
    "transfer": "`Transfer()`",
    "single": "`SingleLevel()`, level L alone",
    "paper": "the paper's training",
    "paper-high": "the paper's, level L alone",
    "sbi": "sbi, level L alone",
    "single-equal": "`SingleLevel()`, level L alone, equal cost",
    "sbi-equal": "sbi, level L alone, equal cost",
}
_VARIANTS = ("", "-rescale", "-project", "-none")
_VARIANT_NAMES = ("both", "rescale", "project", "none")
# Table 4 as printed, and table 3.
_PRINTED_4 = {
    "g-and-k-npe": ("-0.30", "-0.21", "-0.11", "-0.13"),
    "g-and-k-nle": ("0.22", "0.21", "0.24", "0.24"),
    "toggle": ("0.26", "0.50", "0.35", "0.59"),
}
_TABLE_3: tuple[tuple[str, Budget, str], ...] = (
    ("10000, 500, 100", (10_000, 500, 100), "0.16"),
    ("9260, 200, 300", (9260, 200, 300), "0.33"),
    ("1077, 1077, 1077", (1077, 1077, 1077), "0.29"),
    ("2010 of level 2 alone", (0, 0, 2010), "0.43"),
    ("7537 of level 1 alone", (0, 7537, 0), "0.37"),
    ("12060 of level 0 alone", (12_060, 0, 0), "0.59"),
)
_PRINTED_1 = {"step-nle": "1.82 / 1.58 = 1.15", "step-npe": "8.04 / 6.56 = 1.23"}
_TITLES_1 = {"step-nle": "NLE, mixture", "step-npe": "NPE, spline flow"}


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(values: Iterable[float], digits: int = 2) -> str:
    """Mean ± standard error; a mean of one seed has no error."""
    own = list(values)
    mean, error = mean_and_error(own)
    if math.isnan(mean):
        return ""
    return f"{mean:.{digits}f} ± {error:.{digits}f}" if len(own) > 1 else f"{mean:.{digits}f}"


def score_table(values: Values, task: str, others: Others) -> str:
    """All strategies of a task: the metric at each budget, coverage, worth in runs, seconds."""
    budgets, metric = BUDGETS[task], metric_of(task)
    digits = 3 if metric != "nlpd_mean" else 2
    curves = metric == "nlpd_mean"
    best = _best(values, task)
    rows = []
    for strategy, name in NAMES.items():
        groups = [values.group(task, budget, strategy) for budget in budgets]
        if not any(groups):
            continue
        scores = [number(g.values(metric).values(), digits) if g else "" for g in groups]
        scores = [
            f"**{text}**" if strategy == best.get(budget) else text
            for text, budget in zip(scores, budgets, strict=True)
        ]
        coverage = [" / ".join(_coverage(g) for g in groups)] if curves else []
        worth = " / ".join(_worth(values, task, b, g) for b, g in zip(budgets, groups, strict=True))
        seconds = " / ".join(f"{g.mean('seconds')[0]:.0f}" if g else "–" for g in groups)
        worth = "" if strategy == "single" or strategy.endswith(EQUAL) else worth
        rows.append((name, *scores, *coverage, worth, seconds))
    width = len(budgets)
    rows += [
        (name, *scores, *[""] * (2 + curves)) for name, scores in _released(task, others, budgets)
    ]
    exact = values.exact(task)
    if exact:
        rows.append(("exact posterior", *[number(exact.values())] * width, *[""] * (2 + curves)))
    heads = [", ".join(map(str, budget)) for budget in budgets]
    tail = [*["coverage error"] * curves, "n_eq / n_L", "seconds"]
    return markdown(("strategy", *heads, *tail), rows)


def _best(values: Values, task: str) -> dict[Budget, str]:
    """The strategy of the lowest mean at each budget."""
    found = {}
    for budget in BUDGETS[task]:
        means = {
            strategy: group.mean(metric_of(task))[0]
            for strategy in NAMES
            if (group := values.group(task, budget, strategy)) is not None
        }
        if means:
            found[budget] = min(means, key=means.__getitem__)
    return found


def _coverage(group: Group | None) -> str:
    own = group.values("coverage_error") if group else {}
    return f"{mean_and_error(own.values())[0]:.2f}" if own else "–"


def _worth(values: Values, task: str, budget: Budget, group: Group | None) -> str:
    match = values.worth(task, group) if group else None
    if match is None:
        return "–"
    sign = {"about": "", "more than": "> ", "at most": "≤ "}[match.relation]
    factor = match.runs / budget[-1]
    return f"{sign}{factor:.0f}" if factor >= 10 else f"{sign}{factor:.1f}"


def _released(task: str, others: Others, budgets: Sequence[Budget]) -> list[tuple[str, list[str]]]:
    """The authors' released code as run by this project."""
    found: dict[Budget, float] = {}
    for figure in others.get(task, ()):
        if figure.who.startswith("official") and figure.budget in budgets:
            found[figure.budget] = figure.value  # the last: the one of most epochs
    texts = [f"{found[budget]:.2f}" if budget in found else "" for budget in budgets]
    return [("the authors' released code, run by us", texts)] if found else []


def others_table(values: Values, others: Others) -> str:
    """NLPD on the tasks beside the paper's, with the exact posterior's."""
    shown = ("default", "emulator", "single", "multilevel", "transfer")
    rows = []
    for task, budgets in OTHERS.items():
        exact = [f"{f.value:.2f}" for f in others.get(task, ()) if f.who == "exact posterior"]
        for budget in budgets:
            groups = [values.group(task, budget, strategy) for strategy in shown]
            if any(groups):
                cells = [number(g.values(metric_of(task)).values()) if g else "" for g in groups]
                rows.append((task, ", ".join(map(str, budget)), *cells, "".join(exact)))
    return markdown(("task", "runs", *(NAMES[name] for name in shown), "exact"), rows)


def table_1(values: Values) -> str:
    """Milliseconds of a training step, and the ratio of multilevel to single level."""
    rows = []
    for task, title in _TITLES_1.items():
        group = values.group(task, (1000, 500), "multilevel")
        if group is not None:
            times = [number(group.values(f"{way}_ms").values()) for way in _WAYS]
            ratios = [number(group.values(f"{way}_ratio").values()) for way in _WAYS[1:]]
            rows.append((title, *times, *ratios, _PRINTED_1[task]))
    heads = ("", "single, ms", "multilevel, ms", "2 L + 1 passes, ms")
    return markdown((*heads, "multilevel / single", "2 L + 1 passes / single", "paper"), rows)


_WAYS = ("single", "multilevel", "released")


def table_3(values: Values) -> str:
    """The toggle switch at equal cost."""
    rows = []
    for label, budget, printed in _TABLE_3:
        names = (
            ("", "", "paper-high", "") if 0 in budget else ("default", "multilevel", "paper", "")
        )
        groups = [values.group("toggle", budget, name) if name else None for name in names]
        if budget[:2] == (0, 0):  # as many runs as the first budget buys
            groups[-1] = values.group("toggle", _TABLE_3[0][1], "single-equal")
        cells = [number(g.values("mmd_squared_mean").values(), 3) if g else "" for g in groups]
        if any(cells):
            rows.append((label, *cells, printed))
    heads = ("runs", "default", "`Multilevel()`", "the paper's training", "`SingleLevel()`")
    return markdown((*heads, "paper, its own scale"), rows)


def table_4(values: Values) -> str:
    """What each half of algorithm 1 does, in the paper's training and in ours."""
    rows = []
    for task, budget in ABLATIONS.items():
        metric, label = metric_of(task), f"{task} {', '.join(map(str, budget))}"
        plain = values.group(task, budget, "paper-none")
        for base, title in (("paper", "the paper's training"), ("multilevel", "`Multilevel()`")):
            epochs = plain.epochs if plain is not None and base == "paper" else None
            groups = [
                values.group(task, budget, f"{base}{variant}", epochs=epochs)
                for variant in _VARIANTS
            ]
            if all(groups):
                cells = [number(g.values(metric).values(), 3) for g in groups if g]
                note = f", {epochs} epochs" if epochs else ""
                rows.append((label, f"{title}{note}", *cells))
        if any(row[0] == label for row in rows):
            rows.append((label, "as printed", *_PRINTED_4[task]))
    return markdown(("task, runs", "", *_VARIANT_NAMES), rows)
