"""The posterior at the observation: a picture with the levels laid over each other, and a table."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.reporting.markup import (
    Markup,
    Section,
    code_block,
    join,
    number,
    plain,
    table,
    tag,
    to_digit,
)
from mlsbi.reporting.pictures import figure
from mlsbi.reporting.subject import LOW_FIT, THIS_FIT, Subject
from mlsbi.reporting.words import counted

__all__ = ["posterior_section"]

_SHOWN = 6  # parameters in the picture: more panels are too small to read
_PRIOR_DRAWS = 20_000


def posterior_section(subject: Subject) -> Section:
    """What the fit says of the parameters, and what level 0 alone would have said."""
    if subject.own_draws is None:
        return Section("posterior", "The posterior", _missing())
    parts = [_figure(subject), _table(subject, subject.own_draws), *_others(subject)]
    return Section("posterior", "The posterior", join(parts))


def _missing() -> Markup:
    return tag(
        "div",
        tag("p", "No posterior is shown: the report was made without an observation. To have it:"),
        code_block('mlsbi.report(fit, "report.html", x_o=x_o, ...)'),
        class_="missing",
    )


def _figure(subject: Subject) -> Markup:
    shown = subject.labels[:_SHOWN]
    count = len(shown)

    def draw() -> Figure:
        from mlsbi.plots import pairplot

        sets = {name: draws[:, :count] for name, draws in subject.draws.items()}
        truth = None if subject.theta_o is None else subject.theta_o[:count]
        return pairplot(sets, labels=shown, truth=truth)

    parts = [
        "The posterior at the observation. On the diagonal: each parameter by itself. Below it: "
        "the regions of highest density with 90 % and 50 % of the mass."
        if count > 1
        else "The posterior at the observation."
    ]
    if LOW_FIT in subject.draws:
        parts.append(
            " Laid over it is what the cheapest level says when its runs alone are trusted: the "
            "difference is what the finer runs taught."
        )
    if subject.theta_o is not None:
        parts.append(" Dotted lines mark the true parameters.")
    if len(subject.labels) > count:
        parts.append(f" The first {counted(count, 'parameter')} are shown; the table has all.")
    return figure(draw, name="posterior-plot", alt=_alt(subject), caption="".join(parts))


def _alt(subject: Subject) -> str:
    """Means and standard deviations in words."""
    said = []
    for name, draws in subject.draws.items():
        means, sds = draws.mean(0).tolist(), draws.std(0).tolist()
        each = [
            f"{plain(label)} {to_digit(mean, sd)} ± {number(sd, 2)}"
            for label, mean, sd in zip(subject.labels, means, sds, strict=True)
        ][:_SHOWN]
        said.append(f"{name}: {', '.join(each)}")
    return "Corner plot of posteriors. Mean ± standard deviation, " + "; ".join(said) + "."


def _table(subject: Subject, draws: Tensor) -> Markup:
    draws = draws.double()
    quantiles = draws.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64), dim=0)
    mean, sd = draws.mean(0), draws.std(0)
    prior = _prior_sd(subject)
    heads = ["parameter", "mean", "sd", "5 %", "median", "95 %", "prior sd / sd"]
    heads += ["truth", "truth in sd"] if subject.theta_o is not None else []
    rows: list[list[object]] = []
    for i, name in enumerate(subject.labels):
        width = float(sd[i])
        row: list[object] = [name, to_digit(float(mean[i]), width), number(width, 2)]
        row += [to_digit(float(q), width) for q in quantiles[:, i]]
        row.append(number(float(prior[i] / sd[i]), 2))
        if subject.theta_o is not None:
            truth = float(subject.theta_o[i])
            row += [to_digit(truth, width), _signed((truth - float(mean[i])) / width, 2)]
        rows.append(row)
    notes = [
        f"From {counted(len(draws), 'draw')}. Prior sd / sd: how many times narrower the posterior "
        "is than the prior."
    ]
    if subject.theta_o is not None:
        notes.append("Truth in sd: how many standard deviations it lies above the mean.")
    caption = "Parameters at the observation: mean, standard deviation and quantiles"
    return table(heads, rows, caption=caption, notes=notes)


def _prior_sd(subject: Subject) -> Tensor:
    generator = make_generator(subject.seed, "report", "prior")
    return subject.fit.prior.sample(_PRIOR_DRAWS, generator).double().std(0)


def _others(subject: Subject) -> list[Markup]:
    """How far the other posteriors are from this fit's, parameter by parameter."""
    others: Mapping[str, Tensor] = {n: d for n, d in subject.draws.items() if n != THIS_FIT}
    own = subject.own_draws
    if not others or own is None:
        return []
    mean, sd = own.double().mean(0), own.double().std(0)
    heads = ["parameter", THIS_FIT, *others]
    rows: list[list[object]] = []
    for i, label in enumerate(subject.labels):
        row: list[object] = [label, _around(own[:, i])]
        for draws in others.values():
            moved = float((draws[:, i].double().mean() - mean[i]) / sd[i])
            row.append(f"{_around(draws[:, i])} ({_signed(moved)} sd)")
        rows.append(row)
    notes = ["In brackets: how far the mean lies from this fit's, in this fit's sd."]
    caption = "Posteriors beside each other: mean ± standard deviation"
    return [table(heads, rows, caption=caption, notes=notes)]


def _around(draws: Tensor) -> str:
    """Mean and standard deviation."""
    mean, sd = float(draws.double().mean()), float(draws.double().std())
    return f"{to_digit(mean, sd)} ± {number(sd, 2)}"


def _signed(value: float, decimals: int = 1) -> str:
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"
