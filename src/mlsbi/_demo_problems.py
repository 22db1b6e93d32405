"""What the demo runs on: the Ornstein-Uhlenbeck task, or the CAMELS spectra."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mlsbi.tasks import Task, camels, ornstein_uhlenbeck

__all__ = ["DemoProblem", "camels_problem", "ou_problem"]

_OU = (
    "A process that is drawn back to its mean $\\mu$ at a speed $\\gamma$ while noise of size "
    "$\\sigma$ pushes it about, seen at five of 100 steps from $x_0 = 2$. The cheap level replaces "
    "the path by independent draws of what the process settles to. The costs of 1 and 10 are made "
    "up. It is a demonstration: the exact posterior is known, and shown too."
)
_CAMELS = (
    "The matter power spectrum of simulated universes at 39 wave numbers, and the amplitude "
    "$\\sigma_8$ of its fluctuations. The cheap simulations have gravity alone; the expensive ones "
    "have gas, stars and black holes too. The runs are those of CAMELS (Villaescusa-Navarro et al. "
    "2023); the observation is a simulation that was held out."
)


@dataclass(frozen=True)
class DemoProblem:
    """What a demo runs on.

    Attributes:
        title: One line.
        levels: What each level is, coarsest first.
        task: The task.
        n: Runs of each level.
        curve: Numbers of high-level runs alone that the multilevel fit is compared with; the first
            is the last of `n`.
        labels: Of the parameters.
        outputs: Of the entries of x.
        about: What the study is of, for the report.
        bench: The command that repeats the comparison over seeds.
    """

    title: str
    levels: tuple[str, ...]
    task: Task = field(repr=False)
    n: tuple[int, ...]
    curve: tuple[int, ...]
    labels: tuple[str, ...]
    outputs: tuple[str, ...]
    about: str
    bench: str


def ou_problem() -> DemoProblem:
    """Three parameters of an Ornstein-Uhlenbeck process; simulates its own runs."""
    return DemoProblem(
        title="Ornstein-Uhlenbeck process: speed, mean and volatility from five values of a path",
        levels=("independent draws of the stationary law", "the path itself, step by step"),
        task=ornstein_uhlenbeck(),
        n=(1000, 50),
        curve=(50, 100, 200, 400, 800, 1600),
        labels=(r"$\gamma$", r"$\mu$", r"$\sigma$"),
        outputs=tuple(f"x at step {step}" for step in (1, 4, 10, 32, 100)),
        about=_OU,
        bench="mlsbi bench ou",
    )


def camels_problem(folder: Path) -> DemoProblem:
    """sigma_8 from CAMELS matter power spectra, 980 N-body runs and 20 hydrodynamic ones.

    Args:
        folder: Folder of the spectra, or the folder above it.

    Raises:
        ValueError: The files are missing or not as expected.
    """
    return DemoProblem(
        title=r"CAMELS: $\sigma_8$ from the matter power spectrum of a hydrodynamic simulation",
        levels=("N-body simulations, gravity alone", "hydrodynamic simulations"),
        task=camels(folder),
        n=(980, 20),
        curve=(20, 40, 80, 160, 320, 640),
        labels=(r"$\sigma_8$",),
        outputs=tuple(f"k[{i}]" for i in range(39)),
        about=_CAMELS,
        bench=f"mlsbi bench camels-sigma8 --data {folder}",
    )
