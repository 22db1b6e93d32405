"""Strategies: how the levels' data are combined in training. One file a strategy."""

from __future__ import annotations

from mlsbi.strategies.base import Solution, Strategy
from mlsbi.strategies.multilevel import Multilevel
from mlsbi.strategies.pooled import Pooled
from mlsbi.strategies.single import SingleLevel
from mlsbi.strategies.transfer import Transfer

__all__ = ["NAMED", "Multilevel", "Pooled", "SingleLevel", "Solution", "Strategy", "Transfer"]

# A saved fit names its strategy; loading looks the name up here and runs no code from the file.
NAMED: dict[str, type[Strategy]] = {
    c.__name__: c for c in (Multilevel, Pooled, SingleLevel, Transfer)
}
