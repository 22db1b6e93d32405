"""What may stand in a study's file: one model a table; `mlsbi.study` says what it is for.

A field's description is the second half of the error about it: "levels[0].cost must be ...". A new
table is a new model (`sources.py`, `tables.py`) and its line in `StudyFile`; unknown keys are
refused everywhere.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from mlsbi.studies.sources import (
    LevelTable,
    NoiseTable,
    ParameterTable,
    PilotTable,
    PlanTable,
    PriorTable,
)
from mlsbi.studies.tables import (
    CheckTable,
    DataTable,
    FitTable,
    ObservationTable,
    Reference,
    ReportTable,
    RunTable,
    SimulateTable,
    Table,
    Text,
)

__all__ = ["StudyFile", "StudyTable", "words"]


class StudyTable(Table):
    """`[study]`: its name, seed and output folder."""

    name: Text | None = Field(None, description="a text; by default the file's name")
    parameters: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None,
        description="a list with the name of each parameter, where [[parameters]] does not give it",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="a whole number in [0, 2**63)")
    output: Text | None = Field(
        None, description="a folder, absolute or seen from the file; by default beside the file"
    )


class StudyFile(Table):
    """The whole file."""

    hierarchy: Reference | None = Field(
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
    data: DataTable | None = Field(None, description="a table, [data]")
    pilot: PilotTable = Field(default_factory=PilotTable, description="a table, [pilot]")
    plan: PlanTable = Field(default_factory=PlanTable, description="a table, [plan]")
    simulate: SimulateTable = Field(
        default_factory=SimulateTable, description="a table, [simulate]"
    )
    fit: FitTable = Field(default_factory=FitTable, description="a table, [fit]")
    check: CheckTable = Field(default_factory=CheckTable, description="a table, [check]")
    observation: ObservationTable | None = Field(None, description="a table, [observation]")
    report: ReportTable = Field(default_factory=ReportTable, description="a table, [report]")
    run: RunTable = Field(default_factory=RunTable, description="a table, [run]")

    @property
    def source(self) -> str:
        """Where runs come from: `"simulators"`, `"arrays"` on disk or saved `"data"`."""
        if self.data is not None:
            return "data"
        stored = self.levels is not None and self.levels[0].source == "arrays"
        return "arrays" if stored else "simulators"

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of theta's entries; None where the file has none."""
        if self.parameters is not None:
            return tuple(table.name for table in self.parameters)
        return None if self.study.parameters is None else tuple(self.study.parameters)

    @property
    def kind(self) -> str:
        """Of the fit: `"posterior"` or `"likelihood"`."""
        return self.fit.kind or self.plan.kind or "posterior"

    @property
    def strategy(self) -> str:
        """The word for the strategy of the fit."""
        return self.fit.strategy or self.plan.strategy or "default"

    @property
    def planned_kind(self) -> str:
        """The kind of fit to plan for."""
        return self.plan.kind or self.kind

    @property
    def planned_strategy(self) -> str:
        """The word for the strategy to plan for."""
        return self.plan.strategy or self.strategy

    @model_validator(mode="after")
    def _one_source(self) -> StudyFile:
        keys = ("parameters", "prior", "levels", "noise", "data")
        given = [key for key in keys if getattr(self, key) is not None]
        if self.hierarchy is not None:
            if given:
                raise ValueError(
                    f"the file must have hierarchy or {given[0]}, not both; leave one out"
                )
            return self
        if self.parameters is not None and self.prior is not None:
            raise ValueError(_PRIOR.format("both"))
        if self.data is not None:
            others = [key for key in ("levels", "noise") if key in given]
            if others:
                raise ValueError(
                    f"the file must have [data] or {others[0]}, not both; leave one out"
                )
            return self
        if self.parameters is None and self.prior is None:
            raise ValueError(_PRIOR.format("neither"))
        if self.levels is None:
            raise ValueError("the file must have [[levels]], one a simulator; got none")
        self._arrays(self.levels)
        return self

    def _arrays(self, levels: list[LevelTable]) -> None:
        """Runs on disk: of all levels or of none, and pairs above level 0."""
        kinds = [table.source for table in levels]
        if "arrays" not in kinds:
            return
        if set(kinds) != {"arrays"}:
            other = next(
                i for i, kind in enumerate(kinds) if (kind == "arrays") != (kinds[0] == "arrays")
            )
            raise ValueError(
                "the file must have runs on disk at all levels or at none; got "
                f"levels[0] with {_what(kinds[0])} and levels[{other}] with {_what(kinds[other])}"
            )
        if self.noise is not None:
            raise ValueError("the file must have no [noise], as its runs are on disk; leave it out")
        for number, table in enumerate(levels):
            if number == 0 and table.x_coarse is not None:
                raise ValueError(
                    "levels[0] must have no x_coarse: there is no level below it; leave it out"
                )
            if number > 0 and table.x_coarse is None:
                raise ValueError(
                    f"levels[{number}] must have x_coarse, what level {number - 1} gave with the "
                    "same theta and noise; it is missing"
                )

    @model_validator(mode="after")
    def _lengths(self) -> StudyFile:
        names = list(self.names or ())
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"parameters must have different names; got {twice[0]!r} twice")
        if self.parameters is not None and self.study.parameters is not None:
            raise ValueError(
                "the file must have [[parameters]] or study.parameters, not both; leave one out"
            )
        true = None if self.observation is None else self.observation.theta
        if names and true is not None and len(true) != len(names):
            raise ValueError(
                f"observation.theta must have one number a parameter, {len(names)}; got {len(true)}"
            )
        for key, own in (("plan.minimum", self.plan.minimum), ("simulate.n", self.simulate.n)):
            if self.levels and isinstance(own, list) and len(own) != len(self.levels):
                raise ValueError(
                    f"{key} must have one number a level, {len(self.levels)}; got {len(own)}"
                )
        if self.source != "simulators" and self.simulate.n is not None:
            raise ValueError(
                "simulate.n must be left out, as the runs are on disk; take fewer of them with "
                "rows = 'START:STOP' of a level"
            )
        return self


_PRIOR = "the file must have [[parameters]] or [prior], one of the two; got {}"


def _what(kind: str) -> str:
    return "runs on disk" if kind == "arrays" else f"a {kind}"


def words(table: Table) -> dict[str, Any]:
    """What a table says, keys that are left out left out."""
    return table.model_dump(exclude_none=True)
