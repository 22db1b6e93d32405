"""The tables of a study's file that say where its runs come from: prior, levels, pilot, plan.

A field's description is the second half of the error about it, as in `file.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mlsbi.studies.tables import (
    ARRAY,
    FUNCTION,
    Array,
    Count,
    Positive,
    Reference,
    Rows,
    StrategyName,
    Table,
    Text,
)

__all__ = [
    "LevelTable",
    "NoiseTable",
    "ParameterTable",
    "PilotTable",
    "PlanTable",
    "PriorTable",
]


_ARRAYS = ("theta", "x", "x_coarse")
_KEYS = {  # that a level of each kind may have, beside cost and name
    "simulator": ("simulator", "options", "batched", "batch_size"),
    "command": ("command", "read", "separator", "suffix", "timeout", "keep_failed"),
    "arrays": (*_ARRAYS, "rows"),
}


class ParameterTable(Table):
    """`[[parameters]]`: one entry of theta and its prior."""

    name: Text = Field(description="the parameter's name, a text")
    kind: Literal["uniform", "log-uniform", "normal"] = Field(
        "uniform", description="'uniform', 'log-uniform' or 'normal'"
    )
    low: float | None = Field(None, description="a finite number, the prior's lower end")
    high: float | None = Field(None, description="a finite number, the prior's upper end")
    mean: float | None = Field(None, description="a finite number")
    sd: Positive | None = Field(None, description="a positive number, the standard deviation")

    @model_validator(mode="after")
    def _numbers(self) -> ParameterTable:
        wanted = ("mean", "sd") if self.kind == "normal" else ("low", "high")
        given = [key for key in ("low", "high", "mean", "sd") if getattr(self, key) is not None]
        if given != list(wanted):
            raise ValueError(
                f"must have {wanted[0]} and {wanted[1]}, as kind = '{self.kind}' wants; got "
                f"{', '.join(given) or 'neither'}"
            )
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"must have low < high; got low = {self.low:g}, high = {self.high:g}")
        if self.kind == "log-uniform" and self.low is not None and self.low <= 0:
            raise ValueError(f"must have low > 0, as it is log-uniform; got low = {self.low:g}")
        return self


class PriorTable(Table):
    """`[prior]`: any other prior, from Python."""

    python: Reference = Field(
        description="'package.module:attribute': a torch or sbi distribution over theta, or a list "
        "of one-dimensional ones, or a function without arguments that returns one"
    )


class LevelTable(Table):
    """`[[levels]]`: a Python function, a program, or its runs on disk."""

    simulator: Reference | None = Field(None, description=FUNCTION)
    command: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="a command line such as './simulator {theta} {seed}', or a list of words"
    )
    theta: Array | None = Field(None, description=f"parameters of runs on disk: {ARRAY}")
    x: Array | None = Field(None, description=f"outputs of runs on disk: {ARRAY}")
    x_coarse: Array | None = Field(
        None, description=f"above level 0, what the level below gave in these runs: {ARRAY}"
    )
    rows: Rows | None = Field(
        None, description="rows to take, 'START:STOP' counted from 0, such as '0:980'"
    )
    cost: Positive | None = Field(
        None, description="a positive number: the cost of one run, in one unit for all levels"
    )
    name: Text | None = Field(None, description="a text, used in messages")
    options: dict[str, Any] | None = Field(
        None, description="a table of further keyword arguments of the simulator"
    )
    batched: bool | None = Field(
        None, description="true (many rows at once, the default) or false (one row at a time)"
    )
    batch_size: Count | None = Field(None, description="a whole number, at least 1")
    read: Reference | None = Field(None, description=f"{FUNCTION}: read(path) -> x")
    separator: str | None = Field(None, description="a text: what joins the numbers of {theta}")
    suffix: str | None = Field(None, description="the end of the output's name, such as '.npy'")
    timeout: Positive | None = Field(
        None, description="a positive number: seconds that one run of the program may take"
    )
    keep_failed: bool | None = Field(None, description="true or false")

    @property
    def source(self) -> str:
        """`"simulator"`, `"command"` or `"arrays"`."""
        if self.simulator is not None:
            return "simulator"
        return "arrays" if self.command is None else "command"

    @model_validator(mode="after")
    def _one_kind(self) -> LevelTable:
        arrays = [key for key in _ARRAYS if getattr(self, key) is not None]
        given = (self.simulator is not None) + (self.command is not None) + bool(arrays)
        if given != 1:
            got = "neither" if given == 0 else "both" if given == 2 else "all"
            raise ValueError(
                "must have simulator or command, or theta and x of runs on disk, one of these; "
                f"got {got}"
            )
        if arrays and (self.theta is None or self.x is None):
            missing = "theta" if self.theta is None else "x"
            raise ValueError(
                f"must have theta and x, as its runs are on disk; {missing} is missing"
            )
        wrong = [
            key
            for key in LevelTable.model_fields
            if getattr(self, key) is not None and key not in {*_KEYS[self.source], "cost", "name"}
        ]
        if wrong:
            what = {"arrays": "of runs on disk"}.get(self.source, f"a {self.source}")
            raise ValueError(f"must have no {wrong[0]}, as it is {what}; leave it out")
        if self.batched is False and self.batch_size is not None:
            raise ValueError("must have no batch_size with batched = false; leave it out")
        return self


class NoiseTable(Table):
    """`[noise]`: what coupled runs share, where it is not a seed a row."""

    python: Reference = Field(description=f"{FUNCTION}: noise(n, generator) -> u")


class PilotTable(Table):
    """`[pilot]`: the small coupled run."""

    n: int = Field(64, ge=8, description="a whole number, at least 8: runs of every level")


class PlanTable(Table):
    """`[plan]`: what may be spent, and on what."""

    budget: Positive | None = Field(None, description="a positive number, in the unit of cost")
    error: Positive | None = Field(
        None, description="a positive number: the error to reach, in place of a budget"
    )
    deadline: Positive | None = Field(None, description="a positive number of seconds")
    cores: Count | None = Field(None, description="a whole number, at least 1")
    strategy: StrategyName | None = Field(
        None,
        description="'default', 'single', 'emulator', 'multilevel', 'transfer', 'pooled', "
        "'bridge' or 'stack'",
    )
    kind: Literal["posterior", "likelihood"] | None = Field(
        None, description="'posterior' or 'likelihood'"
    )
    minimum: Count | Annotated[list[Count], Field(min_length=1)] | None = Field(
        None, description="a whole number, at least 1, or a list with one for each level"
    )

    @model_validator(mode="after")
    def _one_aim(self) -> PlanTable:
        if self.budget is not None and self.error is not None:
            raise ValueError("must have budget or error, not both; leave one out")
        return self
