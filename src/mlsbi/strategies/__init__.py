"""Strategies: how the levels' data are combined in training. One file a strategy."""

from __future__ import annotations

from mlsbi.strategies.base import Solution, Strategy
from mlsbi.strategies.bridge import Bridge
from mlsbi.strategies.emulator import Emulator
from mlsbi.strategies.multilevel import Multilevel
from mlsbi.strategies.pooled import Pooled
from mlsbi.strategies.single import SingleLevel
from mlsbi.strategies.stack import Stack
from mlsbi.strategies.transfer import Transfer

__all__ = [
    "BY_WORD",
    "NAMED",
    "Bridge",
    "Emulator",
    "Multilevel",
    "Pooled",
    "SingleLevel",
    "Solution",
    "Stack",
    "Strategy",
    "Transfer",
]

# A saved fit names its strategy; loading looks the name up here and runs no code from the file.
NAMED: dict[str, type[Strategy]] = {
    c.__name__: c for c in (Bridge, Emulator, Multilevel, Pooled, SingleLevel, Stack, Transfer)
}
# What a study's file and the benchmark call them.
BY_WORD: dict[str, type[Strategy]] = {
    "single": SingleLevel,
    "emulator": Emulator,
    "multilevel": Multilevel,
    "transfer": Transfer,
    "pooled": Pooled,
    "bridge": Bridge,
    "stack": Stack,
}
