"""`Study.validate`: try everything out before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsbi._study_validation import Validation
from mlsbi._table import Table

if TYPE_CHECKING:
    from mlsbi.study import Study

__all__ = ["validate"]


def validate(study: Study, *, progress: bool) -> Validation:
    """What was found; see `Study.validate`."""
    return Validation(Table("Levels", ()), ())
