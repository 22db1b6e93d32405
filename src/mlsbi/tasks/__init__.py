"""The tasks of Hikida et al. (2025, arXiv:2506.06087): simulators, budgets, references, scores.

`g_and_k`, `ornstein_uhlenbeck` and `toggle_switch` simulate; `camels` reads spectra from a folder.
Besides them, `stress` makes hierarchies on which combining levels can hurt (`STRESS` names them),
and `linear_gaussian` a ladder of levels of which everything is known in closed form.
"""

from __future__ import annotations

from mlsbi.tasks.base import Task
from mlsbi.tasks.camels import camels
from mlsbi.tasks.g_and_k import g_and_k
from mlsbi.tasks.linear_gaussian import linear_gaussian
from mlsbi.tasks.ornstein_uhlenbeck import ornstein_uhlenbeck
from mlsbi.tasks.stress import STRESS, stress
from mlsbi.tasks.toggle_switch import toggle_switch

__all__ = [
    "STRESS",
    "Task",
    "camels",
    "g_and_k",
    "linear_gaussian",
    "ornstein_uhlenbeck",
    "stress",
    "toggle_switch",
]
