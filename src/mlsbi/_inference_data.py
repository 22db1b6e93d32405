"""Groups of arrays as ArviZ's own container, whichever of its two the installed version has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["inference_data"]


def inference_data(
    groups: Mapping[str, Mapping[str, Any]],
    *,
    coords: Mapping[str, Any],
    dims: Mapping[str, Sequence[str]],
    attrs: Mapping[str, Any],
) -> Any:
    """Build ArviZ's container.

    Args:
        groups: Group -> variable -> array; but for groups of data, the first two axes are chain
            and draw.
        coords: Dimension -> its values.
        dims: Variable -> names of its further axes.
        attrs: Set on the whole and on every group.

    Returns:
        An `arviz.InferenceData`; from ArviZ 1.0 on an `xarray.DataTree`.

    Raises:
        ImportError: ArviZ is not installed.
    """
    arviz = _arviz()
    layout: dict[str, Any] = {"coords": dict(coords), "dims": {k: list(v) for k, v in dims.items()}}
    if "InferenceData" in vars(arviz):  # hasattr warns from version 1.0 on
        made = arviz.from_dict(**groups, **layout)
    else:
        made = arviz.from_dict(groups, **layout)
    for group in groups:
        made[group].attrs.update(attrs)
    made.attrs.update(attrs)
    return made


def _arviz() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions before 1.0 announce it when imported
            import arviz
    except ImportError as error:
        raise ImportError(
            "to_arviz needs ArviZ, which is not installed. Install it: pip install 'mlsbi[arviz]'."
        ) from error
    return arviz
