"""What a check found: verdicts, scores, coverage, ranks, and the single level beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from mlsbi.reporting.markup import Markup, Section, code_block, join, number, plain, table, tag
from mlsbi.reporting.pictures import figure
from mlsbi.reporting.subject import Subject

__all__ = ["trust_section"]


def trust_section(subject: Subject) -> Section:
    """Whether the fit can be believed, with the evidence."""
    title = "Can it be trusted?"
    check = subject.check
    if check is None:
        return Section("trust", title, _missing())
    parts: list[object] = [tag("p", _how(check)), _verdicts(check), *_figures(check)]
    parts += [_scores(check), *_comparison(check), *_tests(check)]
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
            "it: the fit was made again fold by fold, without the runs of the fold "
            "(cross-fitting). These fits learn from fewer runs than the one reported, "
            "and are a little worse."
        )
    return f"Judged on {runs} held-out runs of the finest level, which the fit has not seen."


def band(value: Any, digits: int = 2) -> str:
    """An estimate with its interval: 1.2 (0.9 to 1.6)."""
    ends = f"{number(value.low, digits)} to {number(value.high, digits)}"
    return f"{number(value.value, digits)} ({ends})"


def _verdicts(check: Any) -> Markup:
    rows: list[list[object]] = []
    for verdict in check.verdicts:
        state = tag("span", verdict.state.value, class_=f"state {verdict.state.name.lower()}")
        rows.append([verdict.name, state, band(verdict.scale), band(verdict.shift), verdict.text])
    heads = ["parameter", "verdict", "width factor", "shift (sd)", "evidence"]
    level = check.verdicts[0].scale.level if check.verdicts else 0.95
    notes = [
        "Width factor: by how much the posterior's width would have to be multiplied; 1 is right, "
        "above 1 the fit is over-confident. Shift: how far its centre would have to move, in "
        f"posterior standard deviations. In brackets: {level:.0%} intervals."
    ]
    return table(heads, rows, caption="Verdict by parameter", words=(0, 1, 4), notes=notes)


def _scores(check: Any) -> Markup:
    rows: list[list[object]] = []
    named = [("posterior, −log q(θ | x)", check.nlpd, check.nlpd_band)]
    if check.log_likelihood is not None:
        named.append(("likelihood, −log q(x | θ)", check.log_likelihood, None))
    for name, score, own in named:
        interval = "–" if own is None else f"{number(own.low)} to {number(own.high)}"
        rows.append(
            [name, score.mean, score.standard_error, interval, score.median, score.q90]
        )  # fmt: skip
    heads = ["density", "mean", "standard error", "95 % interval", "median", "90 % quantile"]
    caption = "Negative log density of the runs that were not seen (nats, lower is better)"
    return table(heads, rows, caption=caption)


def _comparison(check: Any) -> list[Markup]:
    found = check.comparison
    if found is None:
        return []
    return [tag("h3", "Against a single level"), tag("p", found.text)]


def _tests(check: Any) -> list[Markup]:
    made = check.tests
    if made is None or not len(made):
        return []
    columns = made.columns
    rows = [[row.get(c) for c in columns] for row in made]
    words = [i for i, c in enumerate(columns) if any(isinstance(v, str) for v in made.column(c))]
    caption = made.title or "Tests of calibration"
    return [table(columns, rows, caption=caption, words=words or [0], notes=list(made.notes))]


def _figures(check: Any) -> list[Markup]:
    return [_coverage(check), *_optional(check)]


def _coverage(check: Any) -> Markup:
    def draw() -> Figure:
        from mlsbi.plots import coverage_plot

        return coverage_plot({"all parameters": check.coverage})

    curve = check.coverage
    side = "below (over-confident)" if curve.bias < 0 else "above (too wide)"
    alt = (
        f"Coverage curve of all parameters together. On average it lies "
        f"{number(abs(curve.bias), 2)} {side} the diagonal; its mean absolute deviation is "
        f"{number(curve.error, 2)}."
    )
    caption = (
        "How often regions of a nominal credibility hold the true parameters. On the diagonal is "
        "calibrated; a curve below it is over-confident. The band shows where a calibrated fit "
        "lies with so few runs."
    )
    return figure(draw, name="coverage-plot", alt=alt, caption=caption)


_OPTIONAL: tuple[tuple[str, str, str], ...] = (
    ("rank_plot", "ranks", "Ranks of the true parameters among posterior draws."),
    ("tarp_plot", "tarp", "TARP: coverage of regions around random points."),
    ("moments_plot", "moments", "Posterior z-score against contraction, a point a run."),
    ("score_plot", "scores", "Log density of each run that was not seen."),
)


def _optional(check: Any) -> list[Markup]:
    """Figures that the plots package has."""
    from mlsbi import plots

    found = []
    for function, name, caption in _OPTIONAL:
        draw: Callable[[Any], Figure] | None = getattr(plots, function, None)
        if draw is not None:
            made = figure(
                lambda draw=draw: draw(check), name=f"{name}-plot", alt=plain(caption),
                caption=caption,
            )  # fmt: skip
            found.append(made)
    return found
