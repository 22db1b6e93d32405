"""What figures read from a check: the check itself, its scores, or plain arrays will do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mlsbi._corner import Array
from mlsbi.plots._axes import parameter_labels, to_array

__all__ = ["fractions", "in_print", "names_of", "part"]

_UNNAMED = re.compile(r"^theta_(\d+)$")  # the names that checks give where the user gave none


def part(given: Any, attribute: str, *, name: str, **checks: Any) -> Array:
    """One array of a check's scores.

    Args:
        given: A `Check`, its `scores`, or the array itself.
        attribute: Of the scores.
        name: The argument's name in errors.
        **checks: As of `as_tensor`.

    Raises:
        TypeError: `given` is none of them.
        ValueError: The array has a wrong shape, holds no row, or is not finite.
    """
    scores = getattr(given, "scores", given)
    array = to_array(getattr(scores, attribute, scores), name=name, **checks)
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one run; got shape {array.shape}.")
    return array


def fractions(given: Any, attribute: str, *, name: str, **checks: Any) -> Array:
    """As `part`, of numbers in [0, 1].

    Raises:
        TypeError: As of `part`.
        ValueError: As of `part`, or a number is outside.
    """
    array = part(given, attribute, name=name, **checks)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"{name} must hold fractions in [0, 1]; got values from {array.min():g} to "
            f"{array.max():g}. Divide ranks by the number of draws."
        )
    return array


def names_of(given: Any, labels: Sequence[str] | None, *, dim: int) -> list[str]:
    """The user's labels, else those of the check, else theta_1, theta_2, ...

    Raises:
        TypeError: `labels` is not a sequence.
        ValueError: It does not hold `dim` names.
    """
    names = parameter_labels(getattr(given, "labels", None) if labels is None else labels, dim=dim)
    return [in_print(name) for name in names]


def in_print(name: str) -> str:
    """`theta_1` as mathematics, any other name as it is."""
    return _UNNAMED.sub(r"$\\theta_{\1}$", name)
