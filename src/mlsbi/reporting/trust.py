"""What a check found: verdicts, scores, coverage, ranks, and the single level beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from mlsbi.reporting.markup import (
    Markup,
    Section,
    code_block,
    fixed,
    join,
    number,
    plain,
    rich,
    table,
    tag,
    to_digit,
)
from mlsbi.reporting.pictures import figure
from mlsbi.reporting.subject import Subject

__all__ = ["band", "evidence", "trust_section"]

_NOMINAL = (0.5, 0.8, 0.9, 0.95)


def trust_section(subject: Subject) -> Section:
    """Whether the fit can be believed, with the evidence."""
    title = "Can it be trusted?"
    check = subject.check
    if check is None:
        return Section("trust", title, _missing())
    parts: list[object] = [tag("p", _how(check)), _verdicts(check), _verdict_figure(check)]
    parts += [_figures(check), _coverages(check), *_two_level(check), _scores(check)]
    parts += [*_comparison(check), *_tests(check)]
    return Section("trust", title, join(parts))


def _missing() -> Markup:
    return tag(
        "div",
        tag("p", "This fit has not been checked, or the report was made without the check. Nothing "
            "here says whether its widths can be believed. No spare runs are needed to find out:"),
        code_block(
            'check = mlsbi.check(fit, data)  # with spare runs: check(fit, theta_test, x_test)\n'
            'mlsbi.report(fit, "report.html", check=check, ...)'
        ),
        class_="missing",
    )  # fmt: skip


def _how(check: Any) -> str:
    runs = number(len(check.scores.log_prob))
    if check.source == "cross-fitting":
        return (
            f"Each of the {runs} runs of the finest level was judged by a fit that had not seen "
            f"it: the fit was made again for each of {check.folds} folds without the runs of the "
            "fold (cross-fitting). These fits learn from fewer runs than the one reported, "
            "and are a little worse."
        )
    return f"Judged on {runs} held-out runs of the finest level, which the fit has not seen."


def band(value: Any) -> str:
    """An estimate with its interval: 1.20 (0.90 to 1.60)."""
    if math.isnan(value.value):
        return "–"
    return f"{fixed(value.value)} ({fixed(value.low)} to {fixed(value.high)})"


def evidence(verdict: Any) -> str:
    """What stands behind a verdict: its sentence, without the verdict itself."""
    text = str(verdict.text)
    for opening in (f"{verdict.state.value}: ", f"{verdict.state.value} "):
        text = text.removeprefix(opening)
    return text


def _verdicts(check: Any) -> Markup:
    more = any(verdict.more is not None for verdict in check.verdicts)
    heads = ["parameter", "verdict", "width factor", "shift (sd)", "p"]
    heads += ["more runs"] if more else []
    rows: list[list[object]] = []
    for verdict in check.verdicts:
        state = tag("span", verdict.state.value, class_=f"state {verdict.state.name.lower()}")
        p = "< 0.0001" if verdict.p_value < 1e-4 else number(verdict.p_value, 1)
        name = "all together" if verdict.name == "joint" else verdict.name
        row: list[object] = [name, state, band(verdict.scale), band(verdict.shift), p]
        row += ["–" if verdict.more is None else f"{number(verdict.more)}"] if more else []
        rows.append(row)
    level = check.verdicts[0].scale.level if check.verdicts else 0.95
    notes = [
        "Width factor: by how much the posterior's width would have to be multiplied; 1 is right, "
        "above 1 the fit is over-confident. Shift: how far its centre would have to move, in "
        "posterior standard deviations; positive: it is too low. In brackets: "
        f"{level:.0%} intervals. p: how easily a fit that is good enough would look as bad."
    ]
    if more:
        notes.append("More runs: about how many it would take to tell.")
    return table(heads, rows, caption="Verdict by parameter", words=(0, 1), notes=notes)


def _verdict_figure(check: Any) -> Markup:
    from mlsbi.plots import verdict_plot

    said = "; ".join(f"{plain(v.name)}: {v.state.value}, {band(v.scale)}" for v in check.verdicts)
    caption = (
        "The width factor and the shift of the table, with their intervals. Left, to the right of "
        "1: too narrow."
    )
    draw = partial(verdict_plot, check)
    alt = f"Intervals of the width factors. {said}."
    return figure(draw, name="verdict-plot", alt=alt, caption=caption)


def _coverages(check: Any) -> Markup:
    """How often regions hold the truth, of all parameters together and of each."""
    curves = {"all together": check.coverage}
    curves |= dict(zip(check.labels, check.marginal_coverage, strict=True))
    if check.predictive_coverage is not None:
        curves["x given θ"] = check.predictive_coverage
    shown = [i for i, v in enumerate(check.coverage.levels.tolist()) if round(v, 6) in _NOMINAL]
    nominal = [float(check.coverage.levels[i]) for i in shown]
    rows: list[list[object]] = [
        [name, *[f"{float(curve.empirical[i]):.0%}" for i in shown], fixed(curve.error, 3)]
        for name, curve in curves.items()
    ]
    heads = ["parameter", *[f"{v:.0%} regions" for v in nominal], "mean deviation"]
    caption = "How often regions of highest density hold the truth"
    notes = ["Mean deviation: of the whole curve from the diagonal, whatever its sign."]
    return table(heads, rows, caption=caption, notes=notes)


def _two_level(check: Any) -> list[Markup]:
    if check.two_level is None:
        return []
    text = str(check.two_level.reason)
    said = f"Help of the cheaper level's runs in judging the coverage: {text.rstrip('.')}."
    return [tag("p", said)]


def _scores(check: Any) -> Markup:
    rows: list[list[object]] = []
    named = [("posterior, −log q(θ | x)", check.nlpd, check.nlpd_band)]
    if check.log_likelihood is not None:
        named.append(("likelihood, −log q(x | θ)", check.log_likelihood, None))
    for name, score, own in named:
        error = score.standard_error
        interval = (
            "–" if own is None else " to ".join(to_digit(v, error) for v in (own.low, own.high))
        )
        row = [name, to_digit(score.mean, error), number(error, 2), interval]
        rows.append([*row, to_digit(score.median, error), to_digit(score.q90, error)])
    heads = ["density", "mean", "standard error", "95 % interval", "median", "90 % quantile"]
    caption = "Negative log density of the runs that were not seen (nats, lower is better)"
    return table(heads, rows, caption=caption)


def _comparison(check: Any) -> list[Markup]:
    found = check.comparison
    if found is None:
        return []
    verb = "" if found.text.startswith("cannot") else "is "
    text = f"On the same runs this fit {verb}{found.text.rstrip('.')}."
    return [tag("h3", "Against another fit"), tag("p", rich(text))]


def _tests(check: Any) -> list[Markup]:
    made = check.tests
    if not len(made):
        return []
    rows = [[row.get(c) for c in made.columns] for row in made]
    notes = list(made.notes)
    return [table(made.columns, rows, caption=made.title, words=made.word_columns, notes=notes)]


def _figures(check: Any) -> Markup:
    """The pictures, two a row where there is room."""
    from mlsbi import plots

    drawn: tuple[tuple[str, Callable[[Any], Figure], str, str], ...] = (
        ("coverage", plots.coverage_plot, _coverage_alt(check), _COVERAGE),
        ("tarp", plots.tarp_plot, "Coverage of regions around random points.", _TARP),
        ("moments", plots.moments_plot, _moments_alt(check), _MOMENTS),
        ("scores", plots.score_plot, _scores_alt(check), _score_caption(check)),
        ("ranks", plots.rank_plot, _ranks_alt(check), _RANKS),
    )
    made = [
        figure(partial(draw, check), name=f"{name}-plot", alt=alt, caption=caption)
        for name, draw, alt, caption in drawn
    ]
    return tag("div", *made, class_="pictures")


_COVERAGE = (
    "Coverage: how often regions of a nominal credibility hold the true parameters. On the "
    "diagonal is calibrated, below it over-confident. Grey: where the whole curve of a calibrated "
    "fit lies with so few runs. Coloured: where this fit's coverage may lie."
)
_TARP = (
    "TARP: the same of regions around random points, which also sees a fit whose centre is off. "
    "On the diagonal is calibrated."
)
_RANKS = (
    "Ranks of the true parameters among posterior draws (SBC): the share up to a rank, less what "
    "it should be. Inside the grey band is what a calibrated fit may show. Above zero on the left "
    "and below on the right: too narrow."
)
_MOMENTS = (
    "Each run's error, in posterior standard deviations, against how much it narrowed the prior. "
    "To the right: runs that say much. About 95 % of points should lie between the lines."
)


def _score_caption(check: Any) -> str:
    if check.comparison is None:
        return "Log density that the fit gave the true parameters of each run, in rising order."
    return (
        "Log density that this fit and the other gave the true parameters of each run. "
        "Above the diagonal this fit is better."
    )


def _coverage_alt(check: Any) -> str:
    curve = check.coverage
    side = "below (over-confident)" if curve.bias < 0 else "above (too wide)"
    return (
        "Coverage curve of all parameters together. On average it lies "
        f"{number(abs(curve.bias), 2)} {side} the diagonal; its mean absolute deviation is "
        f"{number(curve.error, 2)}."
    )


def _ranks_alt(check: Any) -> str:
    means = check.scores.rank.mean(0).tolist()
    each = [f"{plain(n)} {number(m, 2)}" for n, m in zip(check.labels, means, strict=True)]
    return f"Curves of the ranks, a panel a parameter. Mean rank (0.5 is right): {', '.join(each)}."


def _moments_alt(check: Any) -> str:
    scores = check.scores
    inside = float((scores.z.abs() < 2).double().mean())
    learned = number(float(scores.contraction.mean()), 2)
    return (
        f"Scatter of z-scores against contraction: {inside:.0%} of the points lie within 2 "
        f"standard deviations; the mean contraction is {learned}."
    )


def _scores_alt(check: Any) -> str:
    found = check.nlpd
    median, mean = number(-found.median), number(-found.mean)
    return f"Log densities of the runs: median {median} nats, mean {mean} nats."
