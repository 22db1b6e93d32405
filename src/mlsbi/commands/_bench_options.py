"""The options of `mlsbi bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = [
    "All",
    "Budgets",
    "Data",
    "Estimator",
    "Figures",
    "FirstSeed",
    "Jobs",
    "MaxSteps",
    "Page",
    "PaperEpochs",
    "PaperEstimator",
    "Quick",
    "Reference",
    "Results",
    "Seeds",
    "Show",
    "SingleRuns",
    "Strategies",
    "Tasks",
]

_PLAIN = (
    "default", "single", "emulator", "multilevel", "transfer", "pooled", "bridge", "stack", "paper",
    "paper-high", "sbi", "single-equal", "sbi-equal", "exact",
)  # fmt: skip


def _tasks(begun: str) -> list[str]:
    """Names of tasks, for the shell's completion."""
    from mlsbi.benching.names import TASKS

    return [name for name in (*TASKS, "all") if name.startswith(begun)]


def _strategies(begun: str) -> list[str]:
    """Names of strategies without their variants, for the shell's completion."""
    return [name for name in _PLAIN if name.startswith(begun)]


Tasks = Annotated[
    Optional[list[str]],  # noqa: UP045  typer reads it at run time
    typer.Argument(
        help="g-and-k-nle, g-and-k-npe, ou, toggle, linear-gaussian, camels-sigma8, camels-2; "
        "stress-noise, stress-anti, stress-decoupled, stress-blind, stress-noisy, stress-integers, "
        "stress-bimodal, stress-wide; or all.",
        metavar="[TASK]...",
        autocompletion=_tasks,
    ),
]
All = Annotated[
    bool,
    typer.Option("--all", help="The paper's experiments, with our default and sbi's beside."),
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="A cut of --all, of the TASKs or all: minutes, one seed."),
]
Show = Annotated[bool, typer.Option("--show", help="Run nothing; show what --out holds.")]
Strategies = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        help="Repeatable: single, multilevel, paper, transfer, default, sbi; single-equal, "
        "multilevel-rescale, paper-none, multilevel-level, paper@2000, ... for variants. "
        "By default single, multilevel, paper and transfer; with --all or --quick every one.",
        autocompletion=_strategies,
    ),
]
Budgets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(help="Repeatable: runs of each level, such as 1000,50; by default official."),
]
SingleRuns = Annotated[
    str,
    typer.Option(help="Numbers of high-level runs to train single on besides: 100,300,800."),
]
Seeds = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Number of seeds; by default 3, with --all 5, with --quick 1."),
]
FirstSeed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=0, help="The first seed; by default 0, with --all or --quick 10."),
]
Jobs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Processes that share the cores; by default 1, with --quick 2."),
]
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(envvar="MLSBI_DATA", help="Folder of the CAMELS spectra."),
]
Estimator = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="NAME, or NAME:MEMBERS such as nsf:1; by default the library's."),
]
PaperEstimator = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="For the paper strategies; by default that of the others."),
]
PaperEpochs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="For the paper strategies; by default the paper's, by task."),
]
Results = Annotated[
    Path,
    typer.Option(help="Results, .csv or .parquet; cells that are in it are not run again."),
]
Figures = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder for the paper's figures 2 to 5, and tables.md."),
]
Page = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="A Markdown page whose tables, between <!-- bench --> marks, to renew."),
]
Reference = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Figures to show beside; by default benchmarks/reference.json."),
]
MaxSteps = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, hidden=True, help="Cut every training short, to try a command out."),
]
