"""Shorter work for tests of the mechanics: what is fitted is rougher, every part still runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlsbi.training import _Loop


def rough_processes(patch: pytest.MonkeyPatch) -> None:
    """The bridge's Gaussian processes take a few steps towards their hyperparameters' mode."""
    patch.setattr("mlsbi.bridge.gp._STEPS", 4)


def short_trainings(patch: pytest.MonkeyPatch, *, steps: int = 40) -> None:
    """No training takes more than so many steps, whatever its options say."""
    usual = _Loop.__init__

    def short(self: _Loop, density: Any, objective: Any, problem: Any, stage: int) -> None:
        usual(self, density, objective, problem, stage)
        self.options = replace(self.options, max_steps=min(steps, self.options.max_steps))

    patch.setattr(_Loop, "__init__", short)
