"""The tables of a study's file that say what is done with the runs: fit, check, report, where.

A field's description is the second half of the error about it, as in `file.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

__all__ = [
    "ARRAY",
    "FUNCTION",
    "Array",
    "CheckTable",
    "Count",
    "DataTable",
    "FitTable",
    "ObservationTable",
    "Positive",
    "Reference",
    "ReportTable",
    "Rows",
    "RunTable",
    "SimulateTable",
    "StrategyName",
    "Table",
    "Text",
    "TrainingTable",
]

_NAME = r"[A-Za-z_][\w.]*"

Text = Annotated[str, StringConstraints(min_length=1)]
Array = Annotated[str, StringConstraints(min_length=1)]
Reference = Annotated[str, StringConstraints(pattern=rf"^{_NAME}:{_NAME}$")]
Rows = Annotated[str, StringConstraints(pattern=r"^\s*\d*\s*:\s*\d*\s*$")]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _only_false(value: bool) -> bool:  # noqa: FBT001  pydantic's signature
    if value:
        raise ValueError("true says nothing")
    return value


# TOML has no word for nothing; not Literal[False], to which 0 is equal
Nothing = Annotated[bool, AfterValidator(_only_false)]
StrategyName = Literal[
    "default", "single", "emulator", "multilevel", "transfer", "pooled", "bridge", "stack"
]
_Executor = Count | Annotated[str, StringConstraints(pattern=rf"^(dask:.+|{_NAME}:{_NAME})$")]

FUNCTION = "'package.module:function'; the module lies beside the file or on Python's path"
ARRAY = (
    "'FILE' or 'FILE:NAME', with a file that ends in .npy, .npz, .csv, .txt, .parquet, .h5, .hdf5 "
    "or .zarr"
)
_ROWS = "rows to take, 'START:STOP' counted from 0, such as '0:980'"
_STRATEGIES = (
    "'default', 'single', 'emulator', 'multilevel', 'transfer', 'pooled', 'bridge' or 'stack'"
)


class Table(BaseModel):
    """What all tables share: unknown keys are refused, and numbers are what they say they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataTable(Table):
    """`[data]`: runs of all levels that were saved before, in place of levels."""

    path: Text = Field(
        description="a folder that MultilevelData.save wrote, or the store of a campaign"
    )


class SimulateTable(Table):
    """`[simulate]`: how many runs, where no plan is wanted."""

    n: Annotated[list[Count], Field(min_length=1)] | None = Field(
        None,
        description="a list with a whole number for each level, coarsest first: runs, and coupled "
        "pairs above level 0; it takes the place of the plan",
    )


class TrainingTable(Table):
    """`[fit.training]`: options of the training loop, the fields of `mlsbi.Training`."""

    max_steps: Count | None = Field(None, description="a whole number, at least 1")
    learning_rate: Positive | None = Field(None, description="a positive number")
    batch_size: Count | Nothing | None = Field(
        None, description="a whole number, at least 1, or false: all rows in every step"
    )
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        None, description="a number, zero or positive"
    )
    clip: Positive | Nothing | None = Field(
        None, description="a positive number, or false: no clipping"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] | Nothing | None = Field(
        None, description="a number between 0 and 1, or false: nothing is held out"
    )
    patience: Count | None = Field(None, description="a whole number, at least 1")
    evaluate_every: Count | None = Field(None, description="a whole number, at least 1")
    warmup: Annotated[int, Field(ge=0)] | None = Field(
        None, description="a whole number, at least 0"
    )
    schedule: Literal["cosine", "constant"] | None = Field(
        None, description="'cosine' or 'constant'"
    )
    average: Annotated[float, Field(ge=0, le=0.9999)] | None = Field(
        None, description="a number from 0 to 0.9999"
    )
    dropout: Annotated[float, Field(ge=0, le=0.9999)] | None = Field(
        None, description="a number from 0 to 0.9999"
    )
    common_dropout: bool | None = Field(None, description="true or false")
    checkpoint_seconds: Annotated[float, Field(ge=0)] | None = Field(
        None, description="a number of seconds, zero or positive"
    )


class FitTable(Table):
    """`[fit]`: what is learned from the runs."""

    kind: Literal["posterior", "likelihood"] | None = Field(
        None, description="'posterior' or 'likelihood'"
    )
    strategy: StrategyName | None = Field(None, description=_STRATEGIES)
    estimator: Text = Field(
        "mdn",
        description="'mdn', 'maf', 'nsf', the name of one of sbi's density estimators, or "
        "'package.module:object', an estimator such as mlsbi.MDN(components=8) or an sbi builder",
    )
    ensemble: Count = Field(5, description="a whole number, at least 1: members of the ensemble")
    embedding_net: Reference | None = Field(
        None,
        description="'package.module:object', a torch.nn.Module, or a function or class that "
        "returns one when it is called without arguments",
    )
    tails: Literal["auto", "asinh", "linear"] = Field(
        "auto", description="'auto', 'asinh' or 'linear'"
    )
    device: Text = Field("cpu", description="'cpu' or 'cuda'")
    training: TrainingTable | None = Field(None, description="a table, [fit.training]")


class CheckTable(Table):
    """`[check]`: how the fit is checked."""

    folds: int = Field(
        5, ge=2, description="a whole number, at least 2: folds of the cross-fitting"
    )
    theta: Array | None = Field(
        None, description=f"parameters of runs of level L that were held out: {ARRAY}"
    )
    x: Array | None = Field(None, description=f"the outputs of these runs: {ARRAY}")
    rows: Rows | None = Field(None, description=_ROWS)

    @model_validator(mode="after")
    def _both(self) -> CheckTable:
        if (self.theta is None) != (self.x is None):
            got, other = ("theta", "x") if self.x is None else ("x", "theta")
            raise ValueError(
                f"must have theta and x of the held-out runs; got {got} without {other}"
            )
        if self.rows is not None and self.theta is None:
            raise ValueError("must have no rows without theta and x; leave it out")
        return self


class ObservationTable(Table):
    """`[observation]`: what was seen."""

    x: Annotated[list[Any], Field(min_length=1)] | Array = Field(
        description=f"a list of numbers (of lists, for an x of several axes), or {ARRAY}"
    )
    rows: Rows | None = Field(None, description=_ROWS)
    theta: Annotated[list[float], Field(min_length=1)] | None = Field(
        None, description="a list of numbers: the true parameters, where they are known"
    )

    @model_validator(mode="after")
    def _rows_of_a_file(self) -> ObservationTable:
        if self.rows is not None and not isinstance(self.x, str):
            raise ValueError("must have no rows where x is a list of numbers; leave it out")
        return self


class ReportTable(Table):
    """`[report]`: words of the report."""

    title: Text | None = Field(None, description="a text; by default the study's name")
    description: Text | None = Field(None, description="a text; an empty line begins a paragraph")
    outputs: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="a list with the name of each entry of x"
    )


class RunTable(Table):
    """`[run]`: what runs the simulators."""

    executor: _Executor | None = Field(
        None,
        description="a whole number of processes, at least 1, 'dask:ADDRESS' of a scheduler, or "
        "'package.module:function' without arguments that returns an executor; left out: this "
        "process",
    )
    timeout: Positive | None = Field(None, description="a positive number of seconds for a run")
    on_failure: Literal["drop", "retry", "raise"] | None = Field(
        None, description="'drop', 'retry' or 'raise'"
    )
    retries: Annotated[int, Field(ge=0)] | None = Field(
        None, description="a whole number, at least 0"
    )
    isolate: bool | None = Field(None, description="true or false")
    allow_changes: bool | None = Field(
        None, description="true or false: whether runs go on although a simulator's code changed"
    )
