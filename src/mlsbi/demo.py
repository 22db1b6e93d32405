"""The whole job, small: levels, runs, fits, a check, a report, and what the cheap level saved.

On the Ornstein-Uhlenbeck task, which needs no data, or on the CAMELS power spectra; both are tasks
of Hikida et al. (2025, arXiv:2506.06087).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from mlsbi._compare import Match, level_alone, runs_to_match
from mlsbi._demo_problems import DemoProblem, camels_problem, ou_problem
from mlsbi._demo_report import (
    Line,
    checked,
    comparison,
    levels_table,
    next_steps,
    save_plots,
    saving,
)
from mlsbi._random import derive_seed, make_generator
from mlsbi.checking.check import check
from mlsbi.data import MultilevelData
from mlsbi.fit import fit_posterior
from mlsbi.metrics import Coverage, expected_coverage, nlpd
from mlsbi.options import Training
from mlsbi.reporting import report
from mlsbi.reporting.markup import plain
from mlsbi.results import PosteriorFit
from mlsbi.simulate import simulate
from mlsbi.strategies import SingleLevel, Strategy
from mlsbi.tasks import Task

__all__ = ["DemoProblem", "DemoResult", "camels_problem", "ou_problem", "run_demo"]

_PRIOR_DRAWS = 200_000
_PLOT_DRAWS = 10_000
_CHECK_DRAWS = 200
_PREDICTIVE_DRAWS = 500


@dataclass(frozen=True)
class DemoResult:
    """What a demo found.

    Attributes:
        lines: One a fit, as in the printed table.
        curve: Number of high-level runs alone -> NLPD.
        match: How many of them do as well as the multilevel fit.
        files: What was written.
    """

    lines: tuple[Line, ...]
    curve: dict[int, float]
    match: Match
    files: dict[str, Path]


def run_demo(
    problem: DemoProblem,
    *,
    out: Path,
    seed: int,
    console: Console,
    progress: bool = False,
    max_steps: int | None = None,
) -> DemoResult:
    """Run the whole job and print what happens.

    Args:
        problem: What to run on.
        out: Folder for plots and the fit; made if need be.
        seed: Seed of everything.
        console: Where to print.
        progress: Show progress bars on standard error.
        max_steps: Cuts every training short, to try the demo out.

    Returns:
        What it found.
    """
    task = problem.task
    console.print(f"[bold]{plain(problem.title)}[/bold]")
    data, theta, x = _runs(problem, seed=seed, progress=progress)
    console.print(levels_table(problem.levels, data))
    fitter = _Fitter(console, seed=seed, progress=progress, max_steps=max_steps)
    fits = {
        "multilevel": fitter(data, None, "all levels together"),  # None: the default strategy
        "high level alone": fitter(
            data.top(), SingleLevel(), f"{data.n[-1]} high-level runs alone"
        ),
        "low level alone": fitter(
            level_alone(data, 0), SingleLevel(), f"{data.n[0]} low-level runs alone"
        ),
    }
    curve, match = _high_level_curve(problem, fits, fitter, seed=seed)
    lines, coverages = _scored(task, fits, theta, x, seed=seed)
    console.print(comparison(lines, curve, tests=len(theta), costs=data.costs))
    console.print(saving(match, data))

    shown = _central(theta, data)
    draws = _draws(task, fits, x[shown], seed=seed)
    files = save_plots(
        out, draws=draws, truth=theta[shown], labels=problem.labels, coverages=coverages
    )
    fits["multilevel"].save(out / "fit", overwrite=True)
    files["fit"] = out / "fit"
    files["report"] = _report(
        problem, data, fits, (theta, x), shown, draws, out=out, seed=seed, console=console
    )
    console.print(next_steps(files, problem.bench), markup=False)
    return DemoResult(tuple(lines), curve, match, files)


def _report(
    problem: DemoProblem, data: MultilevelData, fits: dict[str, PosteriorFit],
    tests: tuple[Tensor, Tensor], shown: int, draws: dict[str, Tensor], *,
    out: Path, seed: int, console: Console,
) -> Path:  # fmt: skip
    """Check the fit on the held-out runs, print the check, and write the report."""
    theta, x = tests
    fit = fits["multilevel"]
    found = check(
        fit, theta, x, against=fits["high level alone"], labels=problem.labels,
        num_draws=_CHECK_DRAWS, seed=derive_seed(seed, "demo", "check"),
    )  # fmt: skip
    console.print(checked(found))
    names = {"exact": "exact", "high level alone": f"level {data.num_levels - 1} alone"}
    return report(
        fit, out / "report.html", data=data, check=found, x_o=x[shown], theta_o=theta[shown],
        predictive=_predictive(problem.task, fit, x[shown], seed=seed), title=problem.title,
        description=problem.about, labels=problem.labels, outputs=problem.outputs,
        levels=problem.levels, low_fit=fits["low level alone"], num_draws=_PLOT_DRAWS,
        others={names[n]: d for n, d in draws.items() if n in names}, overwrite=True,
        seed=derive_seed(seed, "demo", "report"),
    )  # fmt: skip


def _predictive(task: Task, fit: PosteriorFit, x_o: Tensor, *, seed: int) -> Tensor | None:
    """Runs of the highest level at posterior draws; None where there is no simulator."""
    if task.hierarchy is None:
        return None
    generator = make_generator(seed, "demo", "predictive")
    theta = fit.sample(_PREDICTIVE_DRAWS, x=x_o, seed=derive_seed(seed, "demo", "predictive"))
    _, u = task.hierarchy.draw(_PREDICTIVE_DRAWS, generator)
    return task.hierarchy.levels[-1].run(theta, u)


def _runs(
    problem: DemoProblem, *, seed: int, progress: bool
) -> tuple[MultilevelData, Tensor, Tensor]:
    """Training runs, and held-out parameters and observations of the highest level."""
    hierarchy = problem.task.hierarchy
    if hierarchy is None:
        return problem.task.data(problem.n, seed)
    data = simulate(hierarchy, problem.n, seed=seed, progress=progress)
    # The held-out runs have a stream of their own: they are the same whatever the budget.
    _, theta, x = problem.task.data((1,) * len(problem.n), seed)
    return data, theta, x


def _scored(
    task: Task, fits: dict[str, PosteriorFit], theta: Tensor, x: Tensor, *, seed: int
) -> tuple[list[Line], dict[str, Coverage]]:
    """NLPD and coverage of each fit on the held-out pairs, and the exact posterior's NLPD."""
    coverages = {
        name: expected_coverage(fit, theta, x, seed=derive_seed(seed, "demo", "coverage"))
        for name, fit in fits.items()
    }
    lines = [
        Line(name, fit.n, nlpd(fit.log_prob(theta, x)).mean, coverages[name].error, fit.cost)
        for name, fit in fits.items()
    ]
    if task.reference_posterior is not None:
        lines.append(Line("exact posterior", (), nlpd(task.reference_posterior(theta, x)).mean))
    return lines, coverages


class _Fitter:
    """Fits, and says how long each took."""

    def __init__(
        self, console: Console, *, seed: int, progress: bool, max_steps: int | None
    ) -> None:
        self.console, self.seed, self.progress = console, derive_seed(seed, "demo", "fit"), progress
        self.options: dict[str, Any] = {}
        if max_steps is not None:
            self.options["training"] = replace(Training(), max_steps=max_steps)

    def __call__(self, data: MultilevelData, strategy: Strategy | None, title: str) -> PosteriorFit:
        start = time.perf_counter()
        fit = fit_posterior(
            data, strategy=strategy, seed=self.seed, progress=self.progress, **self.options
        )
        self.console.print(f"fitted {title} in {time.perf_counter() - start:.1f} s")
        if not fit.status.ok:
            self.console.print(f"[red]{fit.status.value}[/red]")
        return fit


def _high_level_curve(
    problem: DemoProblem, fits: dict[str, PosteriorFit], fitter: Callable[..., PosteriorFit], *,
    seed: int,
) -> tuple[dict[int, float], Match]:  # fmt: skip
    """NLPD over the number of high-level runs alone, and where the multilevel fit's lies on it."""
    below = (1,) * (len(problem.n) - 1)
    sets = {n: problem.task.data((*below, n), seed) for n in problem.curve}
    # Stored runs that are trained on cannot be tested on: compare on those that nobody uses. The
    # order of the runs depends on the seed alone, so these are the last of each test set.
    common = min(len(theta) for _, theta, _ in sets.values())
    _, theta, x = sets[problem.curve[-1]]
    theta, x = theta[-common:], x[-common:]

    def loss(fit: PosteriorFit) -> float:
        return nlpd(fit.log_prob(theta, x)).mean

    curve = {problem.n[-1]: loss(fits["high level alone"])}
    for n in problem.curve:
        if n not in curve:
            fit = fitter(sets[n][0].top(), SingleLevel(), f"{n} high-level runs alone")
            curve[n] = loss(fit)
    return curve, runs_to_match(curve, loss(fits["multilevel"]))


def _central(theta: Tensor, data: MultilevelData) -> int:
    """The held-out row nearest to the middle of the prior's box: chosen without a look at fits."""
    low, high = data.prior.low, data.prior.high
    return int((((theta - low) / (high - low) - 0.5) ** 2).sum(1).argmin())


def _draws(task: Task, fits: dict[str, PosteriorFit], x: Tensor, *, seed: int) -> dict[str, Tensor]:
    """Posterior draws at one observation: each fit's but the low level's, and the exact ones."""
    draws = {
        name: fit.sample(_PLOT_DRAWS, x=x, seed=derive_seed(seed, "demo", "draws", name))
        for name, fit in fits.items()
        if name != "low level alone"
    }
    if task.reference_posterior is None or task.hierarchy is None:
        return draws
    generator = make_generator(seed, "demo", "exact")
    theta = task.hierarchy.prior.sample(_PRIOR_DRAWS, generator)
    weights = torch.softmax(task.reference_posterior(theta, x[None]), 0)
    rows = torch.multinomial(weights, _PLOT_DRAWS, replacement=True, generator=generator)
    return {"exact": theta[rows], **draws}
