"""Rows of the benchmark, made up."""

from __future__ import annotations

from mlsbi.benching.cells import Cell
from mlsbi.benching.names import metric_of
from mlsbi.benching.results import Row


def rows_of(cell, values, *, metric=None, commit="abc", seconds=2.0):
    """A row for each seed."""
    metric = metric or metric_of(cell.task)
    return [
        Row(Cell(cell.task, cell.budget, cell.strategy, cell.estimator, seed), metric, value,
            seconds, commit)
        for seed, value in enumerate(values, start=10)
    ]  # fmt: skip
