"""Are the runs of the levels what their labels say."""

from __future__ import annotations

from typing import Any

from mlsbi.checking.finding import Finding
from mlsbi.data import MultilevelData

__all__ = ["check_labels", "check_level_of"]


def check_labels(data: MultilevelData, *, seed: int = 0) -> tuple[Finding, ...]:
    """Look whether levels, or the two halves of pairs, are exchanged."""
    return ()


def check_level_of(
    data: MultilevelData,
    theta_test: Any,
    x_test: Any,
    *,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Look whether test runs follow another level's law than that of the finest."""
    return ()
