"""What may stand in a study's file: one model a table; `mlsbi.study` says what it is for.

A field's description is the second half of the error about it: "levels[0].cost must be ...". A new
table is a new model and its line in `StudyFile`; unknown keys are refused everywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

__all__ = [
    "LevelTable",
    "NoiseTable",
    "ParameterTable",
    "PilotTable",
    "PlanTable",
    "PriorTable",
    "RunTable",
    "StudyFile",
    "StudyTable",
]

_Text = Annotated[str, StringConstraints(min_length=1)]
_Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]

_FUNCTION = "'package.module:function'; the module lies beside the file or on Python's path"
_STRATEGY = Literal[
    "default", "single", "emulator", "multilevel", "transfer", "pooled", "bridge", "stack"
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StudyTable(_Table):
    """`[study]`: its name, seed and output folder."""

    name: _Text | None = Field(None, description="a text; by default the file's name")
    seed: int = Field(0, ge=0, lt=2**63, description="a whole number in [0, 2**63)")
    output: _Text | None = Field(
        None, description="a folder, absolute or seen from the file; by default beside the file"
    )


class ParameterTable(_Table):
    """`[[parameters]]`: one entry of theta and its prior."""

    name: _Text = Field(description="the parameter's name, a text")
    kind: Literal["uniform", "log-uniform", "normal"] = Field(
        "uniform", description="'uniform', 'log-uniform' or 'normal'"
    )
    low: float | None = Field(None, description="a finite number, the prior's lower end")
    high: float | None = Field(None, description="a finite number, the prior's upper end")
    mean: float | None = Field(None, description="a finite number")
    sd: _Positive | None = Field(None, description="a positive number, the standard deviation")

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


class PriorTable(_Table):
    """`[prior]`: any other prior, from Python."""

    python: _Reference = Field(
        description="'package.module:attribute': a torch or sbi distribution over theta, or a list "
        "of one-dimensional ones, or a function without arguments that returns one"
    )


class LevelTable(_Table):
    """`[[levels]]`: one simulator, a Python function or a program."""

    simulator: _Reference | None = Field(None, description=_FUNCTION)
    command: _Text | Annotated[list[_Text], Field(min_length=1)] | None = Field(
        None, description="a command line such as './simulator {theta} {seed}', or a list of words"
    )
    cost: _Positive | None = Field(
        None, description="a positive number: the cost of one run, in one unit for all levels"
    )
    name: _Text | None = Field(None, description="a text, used in messages")
    options: dict[str, Any] | None = Field(
        None, description="a table of further keyword arguments of the simulator"
    )
    batched: bool | None = Field(
        None, description="true (many rows at once, the default) or false (one row at a time)"
    )
    batch_size: _Count | None = Field(None, description="a whole number, at least 1")
    read: _Reference | None = Field(None, description=f"{_FUNCTION}: read(path) -> x")
    separator: str | None = Field(None, description="a text: what joins the numbers of {theta}")
    suffix: str | None = Field(None, description="the end of the output's name, such as '.npy'")
    timeout: _Positive | None = Field(
        None, description="a positive number: seconds that one run of the program may take"
    )
    keep_failed: bool | None = Field(None, description="true or false")

    @model_validator(mode="after")
    def _one_kind(self) -> LevelTable:
        if (self.simulator is None) == (self.command is None):
            got = "neither" if self.simulator is None else "both"
            raise ValueError(f"must have simulator or command, one of the two; got {got}")
        kind = "simulator"
        others: tuple[str, ...] = ("read", "separator", "suffix", "timeout", "keep_failed")
        if self.command is not None:
            kind, others = "command", ("options", "batched", "batch_size")
        wrong = [key for key in others if getattr(self, key) is not None]
        if wrong:
            raise ValueError(f"must have no {wrong[0]}, as it is a {kind}; leave it out")
        if self.batched is False and self.batch_size is not None:
            raise ValueError("must have no batch_size with batched = false; leave it out")
        return self


class NoiseTable(_Table):
    """`[noise]`: what coupled runs share, where it is not a seed a row."""

    python: _Reference = Field(description=f"{_FUNCTION}: noise(n, generator) -> u")


class PilotTable(_Table):
    """`[pilot]`: the small coupled run."""

    n: int = Field(64, ge=8, description="a whole number, at least 8: runs of every level")


class PlanTable(_Table):
    """`[plan]`: what may be spent, and on what."""

    budget: _Positive | None = Field(None, description="a positive number, in the unit of cost")
    error: _Positive | None = Field(
        None, description="a positive number: the error to reach, in place of a budget"
    )
    deadline: _Positive | None = Field(None, description="a positive number of seconds")
    cores: _Count | None = Field(None, description="a whole number, at least 1")
    strategy: _STRATEGY = Field(
        "default",
        description="'default', 'single', 'emulator', 'multilevel', 'transfer', 'pooled', "
        "'bridge' or 'stack'",
    )
    kind: Literal["posterior", "likelihood"] = Field(
        "posterior", description="'posterior' or 'likelihood'"
    )
    minimum: _Count | Annotated[list[_Count], Field(min_length=1)] | None = Field(
        None, description="a whole number, at least 1, or a list with one for each level"
    )

    @model_validator(mode="after")
    def _one_aim(self) -> PlanTable:
        if self.budget is not None and self.error is not None:
            raise ValueError("must have budget or error, not both; leave one out")
        return self


class RunTable(_Table):
    """`[run]`: what runs the simulators."""

    executor: _Count | None = Field(
        None, description="a whole number of processes, at least 1; left out: this process"
    )
    timeout: _Positive | None = Field(None, description="a positive number of seconds for a run")
    on_failure: Literal["drop", "retry", "raise"] | None = Field(
        None, description="'drop', 'retry' or 'raise'"
    )
    retries: Annotated[int, Field(ge=0)] | None = Field(
        None, description="a whole number, at least 0"
    )
    isolate: bool | None = Field(None, description="true or false")


class StudyFile(_Table):
    """The whole file."""

    hierarchy: _Reference | None = Field(
        None,
        description="'package.module:object', an mlsbi.Hierarchy or a function without arguments "
        "that returns one; the module lies beside the file or on Python's path",
    )
    study: StudyTable = Field(default_factory=StudyTable, description="a table, [study]")
    parameters: Annotated[list[ParameterTable], Field(min_length=1)] | None = Field(
        None, description="one or more tables, [[parameters]]"
    )
    prior: PriorTable | None = Field(None, description="a table, [prior]")
    levels: Annotated[list[LevelTable], Field(min_length=1)] | None = Field(
        None, description="one or more tables, [[levels]], coarsest first"
    )
    noise: NoiseTable | None = Field(None, description="a table, [noise]")
    pilot: PilotTable = Field(default_factory=PilotTable, description="a table, [pilot]")
    plan: PlanTable = Field(default_factory=PlanTable, description="a table, [plan]")
    run: RunTable = Field(default_factory=RunTable, description="a table, [run]")

    @model_validator(mode="after")
    def _one_source(self) -> StudyFile:
        parts = {key: getattr(self, key) for key in ("parameters", "prior", "levels", "noise")}
        given = [key for key, value in parts.items() if value is not None]
        if self.hierarchy is not None:
            if given:
                raise ValueError(
                    f"the file must have hierarchy or {given[0]}, not both; leave one out"
                )
            return self
        if (self.parameters is None) == (self.prior is None):
            got = "neither" if self.prior is None else "both"
            raise ValueError(
                f"the file must have [[parameters]] or [prior], one of the two; got {got}"
            )
        if self.levels is None:
            raise ValueError("the file must have [[levels]], one a simulator; got none")
        self._lengths(len(self.levels))
        return self

    def _lengths(self, levels: int) -> None:
        names = [entry.name for entry in self.parameters or []]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"parameters must have different names; got {twice[0]!r} twice")
        minimum = self.plan.minimum
        if isinstance(minimum, list) and len(minimum) != levels:
            raise ValueError(
                f"plan.minimum must have one number a level, {levels}; got {len(minimum)}"
            )
