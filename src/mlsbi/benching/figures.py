"""The paper's figures 2 to 5, drawn anew: our default beside the paper's strategies and rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsbi.benching.names import Budget, metric_of
from mlsbi.benching.paper import BUDGETS, COVERAGE_SHOWN
from mlsbi.benching.values import Values, mean_and_error, paired

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from mlsbi.benching.results import Figure

__all__ = ["FIGURES", "LABELS"]

Others = Mapping[str, Sequence["Figure"]]

LABELS = {
    "paper-high": "paper's training, level L alone",
    "single": "mlsbi, level L alone",
    "sbi": "sbi, level L alone",
    "transfer": "transfer",
    "paper": "paper's multilevel training",
    "multilevel": "mlsbi Multilevel()",
    "default": "mlsbi default",
}
# What the paper has is grey; Okabe and Ito's colours for the rest, and a marker each.
_LOOKS: dict[str, tuple[str, str, str]] = {
    "paper-high": ("0.65", ":", "v"),
    "single": ("#56B4E9", ":", "^"),
    "sbi": ("#CC79A7", "--", "D"),
    "transfer": ("#E69F00", "-.", "P"),
    "paper": ("0.35", "--", "s"),
    "multilevel": ("#009E73", "-.", "X"),
    "default": ("#0072B2", "-", "o"),
}
_METRICS = {
    "kld_median": "KLD, median over theta",
    "nlpd_mean": "NLPD",
    "mmd_squared_mean": "MMD²",
}
_WIDTH = 8.0


def _look(strategy: str) -> dict[str, Any]:
    colour, line, marker = _LOOKS[strategy]
    ours = strategy == "default"
    return {
        "color": colour,
        "linestyle": line,
        "marker": marker,
        "linewidth": 2.4 if ours else 1.3,
        "markersize": 6 if ours else 4.5,
        "zorder": 4 if ours else 3 if strategy == "multilevel" else 2,
    }


def _canvas(panels: int, *, height: float = 3.5) -> tuple[Drawing, list[Axes]]:
    from matplotlib.figure import Figure as Drawing

    figure = Drawing(figsize=(_WIDTH, height), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9)
    return figure, axes


def _legend(figure: Drawing, axes: Sequence[Axes]) -> None:
    """One legend for all panels, below them."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    ordered = sorted(handles, key=lambda name: _place(name))
    figure.legend(
        [handles[name] for name in ordered], ordered, loc="outside lower center", ncols=3,
        frameon=False, fontsize=9,
    )  # fmt: skip


def _place(label: str) -> int:
    known = [*reversed(LABELS.values())]
    return known.index(label) if label in known else len(known)


def _over_runs(
    ax: Axes,
    values: Values,
    task: str,
    others: Others,
    *,
    of: Callable[[Mapping[int, float]], Sequence[float]] = lambda own: list(own.values()),
    log: bool = False,
) -> None:
    """A task's metric over the runs of level L, a line for each strategy; `log` where it can be."""
    metric, budgets = metric_of(task), BUDGETS[task]
    ticks = [budget[-1] for budget in budgets]
    means: list[float] = []
    for strategy, label in LABELS.items():
        points = []
        for budget in budgets:
            group = values.group(task, budget, strategy)
            if group is not None and (own := of(group.values(metric))):
                points.append((budget[-1], *mean_and_error(own)))
        if points:
            n, mean, error = zip(*points, strict=True)
            means += mean
            ax.errorbar(n, mean, yerr=error, label=label, capsize=2, **_look(strategy))
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.minorticks_off()
    if log and means and min(means) > 0:
        _log_axis(ax)
    ax.set_xlim(min(ticks) / 1.35, max(ticks) * 1.35)
    ax.set_xlabel(f"runs of level {len(budgets[0]) - 1}", fontsize=9)
    ax.set_ylabel(_METRICS[metric], fontsize=9)
    released = [f for f in others.get(task, ()) if f.who == "official" and f.budget in budgets]
    if released:
        ax.plot(
            [f.budget[-1] for f in released], [f.value for f in released], "x", color="0.2",
            markersize=6, label="released code, run by us", zorder=2,
        )  # fmt: skip


def _log_axis(ax: Axes) -> None:
    """A logarithmic y axis with enough numbers to read it by."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _ceiling(ax: Axes, values: Values, task: str, *, side: str = "left") -> None:
    """What many runs of level L alone reach; the words at one side."""
    curve = values.alone(task)
    if curve and max(curve) > 3 * max(budget[-1] for budget in BUDGETS[task]):
        n = max(curve)
        ax.axhline(curve[n], color="0.2", linewidth=1, linestyle=(0, (5, 4)), zorder=1)
        low, high = ax.get_ylim()
        log = ax.get_yscale() == "log"
        low, high = (min(low, curve[n]), max(high, curve[n]))
        ax.set_ylim(low / (high / low) ** 0.1 if log else low - 0.1 * (high - low), high)
        _noted(ax, f"{n} runs of level L alone", curve[n], side=side)


def _noted(ax: Axes, text: str, height: float, *, side: str = "left", below: bool = True) -> None:
    """Words beside a horizontal line, readable where curves cross them."""
    ax.annotate(
        text,
        (0.02 if side == "left" else 0.98, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3 if below else 3),
        textcoords="offset points",
        ha=side,
        va="top" if below else "bottom",
        fontsize=7.5,
        color="0.2",
        zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
    )


def _coverage(ax: Axes, values: Values, task: str) -> None:
    """Empirical coverage of highest-density regions, the mean over seeds."""
    ax.plot([0, 1], [0, 1], color="0.2", linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    for strategy, label in LABELS.items():
        group = values.group(task, COVERAGE_SHOWN[task], strategy)
        levels, shares = group.curve() if group is not None else ([], [])
        if levels:
            look = {**_look(strategy), "marker": "", "label": label}
            ax.plot([0, *levels, 1], [0, *shares, 1], **look)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.set_aspect("equal")
    ax.set_xlabel("credibility", fontsize=9)
    ax.set_ylabel("coverage", fontsize=9)


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, fontsize=9.5, loc="left")


def figure_2(values: Values, others: Others) -> Drawing:
    """g-and-k: the likelihood's divergence, the posterior's NLPD and its coverage."""
    figure, (left, middle, right) = _canvas(3)
    _over_runs(left, values, "g-and-k-nle", others, log=True)
    _ceiling(left, values, "g-and-k-nle")
    _title(left, "g-and-k, likelihood")
    _over_runs(middle, values, "g-and-k-npe", others)
    _ceiling(middle, values, "g-and-k-npe")
    _title(middle, "g-and-k, posterior")
    _coverage(right, values, "g-and-k-npe")
    _title(right, "posterior, 100 runs")
    _legend(figure, (left, middle, right))
    return figure


def figure_3(values: Values, others: Others) -> Drawing:
    """The OU process: NLPD, and the divergence from the exact posterior."""
    figure, (left, right) = _canvas(2)
    _over_runs(left, values, "ou", others)
    exact = values.exact("ou")
    if exact:
        level, _ = mean_and_error(exact.values())
        left.axhline(level, color="0.2", linewidth=1, linestyle=(0, (5, 4)), zorder=1)
        _noted(left, "exact posterior", level, below=False)
        _over_runs(right, values, "ou", {}, of=lambda own: paired(own, exact), log=True)
    right.set_ylabel("KLD from the exact posterior", fontsize=9)
    _title(left, "Ornstein-Uhlenbeck")
    _title(right, "less what is exact")
    _legend(figure, (left, right))
    return figure


_Entry = tuple[str, Budget, str]  # what it looks like, and the budget and strategy of its results
_ALONE: tuple[tuple[str, list[_Entry]], ...] = (
    (
        "level 2 alone,\n2010 runs",
        [
            ("paper-high", (0, 0, 2010), "paper-high"),
            ("single", (10_000, 500, 100), "single-equal"),
            ("sbi", (10_000, 500, 100), "sbi-equal"),
        ],
    ),
    ("level 1 alone,\n7537 runs", [("paper-high", (0, 7537, 0), "paper-high")]),
    ("level 0 alone,\n12060 runs", [("paper-high", (12_060, 0, 0), "paper-high")]),
)


def figure_4(values: Values, others: Others) -> Drawing:
    """The toggle switch: MMD² of the paper's three splits, and of one level at equal cost."""
    figure, (ax,) = _canvas(1, height=3.9)
    task, metric = "toggle", metric_of("toggle")
    columns: list[tuple[str, list[_Entry]]] = [
        (_split(budget), [(name, budget, name) for name in LABELS]) for budget in BUDGETS[task]
    ]
    columns += _ALONE
    for place, (_, entries) in enumerate(columns):
        for look, budget, strategy in entries:
            group = values.group(task, budget, strategy)
            if group is None:
                continue
            mean, error = group.mean(metric)
            x = place + 0.085 * (list(LABELS).index(look) - 3)
            style = {**_look(look), "linestyle": "none", "label": LABELS[look]}
            ax.errorbar([x], [mean], yerr=[error], capsize=2, **style)
    for f in others.get(task, ()):
        if f.who.startswith("official, 10000") and f.budget in BUDGETS[task]:
            ax.plot(
                [BUDGETS[task].index(f.budget)], [f.value], "x", color="0.2", markersize=6,
                label="released code, run by us",
            )  # fmt: skip
    ax.set_xticks(range(len(columns)), [label for label, _ in columns])
    ax.set_ylabel(_METRICS[metric], fontsize=9)
    _ceiling(ax, values, task, side="right")
    ax.set_ylim(bottom=0)
    _title(ax, "toggle switch, cost 603,000")
    _legend(figure, (ax,))
    return figure


def _split(budget: Budget) -> str:
    return ",\n".join(map(str, budget))


def figure_5(values: Values, others: Others) -> Drawing:
    """CAMELS: NLPD of one and of both parameters, and the coverage of one."""
    figure, (left, middle, right) = _canvas(3)
    for ax, task, title in (
        (left, "camels-sigma8", "CAMELS, $\\sigma_8$"),
        (middle, "camels-2", "CAMELS, $\\Omega_m$ and $\\sigma_8$"),
    ):
        _over_runs(ax, values, task, others)
        _ceiling(ax, values, task)
        _title(ax, title)
    _coverage(right, values, "camels-sigma8")
    _title(right, "$\\sigma_8$, 20 runs")
    _legend(figure, (left, middle, right))
    return figure


FIGURES: dict[int, Callable[[Values, Others], Drawing]] = {
    2: figure_2,
    3: figure_3,
    4: figure_4,
    5: figure_5,
}
