"""Whether a fit can be believed: scores of runs that it has not seen, and what they say.

What a check is made of, for reports and plots: `check` and `Check`, `RunScores`, `Verdict` with its
`State`, `Band`, `Comparison`, `TwoLevel`, `Finding`, `ObservationCheck`; and `refit`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlsbi.checking.bands import Band
    from mlsbi.checking.comparison import Comparison
    from mlsbi.checking.finding import Finding
    from mlsbi.checking.observation import ObservationCheck, check_observation
    from mlsbi.checking.refit import refit
    from mlsbi.checking.result import Check
    from mlsbi.checking.run_scores import RunScores
    from mlsbi.checking.scores import score_runs
    from mlsbi.checking.two_level import TwoLevel
    from mlsbi.checking.verdict import State, Verdict

# Imported when first used: parts of this package are used by what others of it import.
_HOME = {
    "Band": "bands",
    "Check": "result",
    "Comparison": "comparison",
    "Finding": "finding",
    "ObservationCheck": "observation",
    "RunScores": "run_scores",
    "State": "verdict",
    "TwoLevel": "two_level",
    "Verdict": "verdict",
    "check_observation": "observation",
    "refit": "refit",
    "score_runs": "scores",
}


def __getattr__(name: str) -> object:
    """A name of one of the modules."""
    if name in _HOME:
        return getattr(import_module(f"mlsbi.checking.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mlsbi.checking' has no attribute {name!r}")


__all__ = [
    "Band",
    "Check",
    "Comparison",
    "Finding",
    "ObservationCheck",
    "RunScores",
    "State",
    "TwoLevel",
    "Verdict",
    "check_observation",
    "refit",
    "score_runs",
]
