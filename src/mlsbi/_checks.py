"""Checks of the public boundary: every error names the argument, what came, and the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "as_tensor",
    "check_count",
    "check_fraction",
    "check_option",
    "check_positive",
    "check_seed",
    "check_type",
]

_SEED_LIMIT = 2**63


def as_tensor(
    value: Any,
    *,
    name: str,
    ndim: int | tuple[int, ...] | None = None,
    shape: tuple[int | None, ...] | None = None,
    dtype: torch.dtype | None = torch.float32,
    finite: bool = True,
    remedy: str = "",
) -> Tensor:
    """Turn an array-like argument into a tensor, checking its type, shape and values.

    A float tensor of the wanted dtype is passed on without a copy, on the device it is on; a NumPy
    array of that dtype shares its memory where it can.

    Args:
        value: NumPy array, torch tensor, or (nested) sequence of numbers.
        name: The argument's name in the error message.
        ndim: Allowed number(s) of dimensions.
        shape: Expected shape; `None` stands for any length.
        dtype: Dtype of the result; `None` keeps the value's own.
        finite: Whether NaN and infinite values are refused.
        remedy: What to do about a wrong shape, added to the message.

    Returns:
        The tensor, without gradient history.

    Raises:
        TypeError: If `value` is not array-like or not made of real numbers.
        ValueError: If the shape is wrong, or a value is not finite.
    """
    tensor = _to_tensor(value, name=name, dtype=dtype)
    _check_shape(tensor, name=name, ndim=ndim, shape=shape, remedy=remedy)
    if finite and tensor.is_floating_point():
        _check_finite(tensor, name=name)
    return tensor


def _to_tensor(value: Any, *, name: str, dtype: torch.dtype | None) -> Tensor:
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Tensor) for v in value):
        try:
            value = torch.stack(list(value))
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"{name} must be a rectangular array; got tensors that do not stack ({error}). "
                "Give all rows the same shape."
            ) from error
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must hold real numbers; got {value.dtype}. Pass its parts.")
        return value.detach() if dtype is None else value.detach().to(dtype)
    if not isinstance(value, (np.ndarray, list, tuple)):
        raise TypeError(
            f"{name} must be a NumPy array, a torch tensor or a sequence of numbers; got "
            f"{type(value).__name__}. Convert it first, for example with numpy.asarray."
        )
    return _from_numpy(_to_numpy(value, name=name), dtype=dtype)


def _to_numpy(value: Any, *, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be a rectangular array of numbers; got a sequence that is none "
            f"({error}). Give all rows the same length."
        ) from error
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold real numbers; got dtype {array.dtype}. "
            "Convert it first, for example with .astype('float32')."
        )
    return array


def _from_numpy(array: np.ndarray, *, dtype: torch.dtype | None) -> Tensor:
    if array.dtype == np.longdouble or array.dtype.kind == "u":
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    native = array.dtype.newbyteorder("=")
    array = np.ascontiguousarray(array, dtype=native).reshape(array.shape)
    if not array.flags.writeable:
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor if dtype is None else tensor.to(dtype)


def _check_shape(
    tensor: Tensor,
    *,
    name: str,
    ndim: int | tuple[int, ...] | None,
    shape: tuple[int | None, ...] | None,
    remedy: str,
) -> None:
    got = tuple(tensor.shape)
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if len(got) not in allowed:
            expected = " or ".join(str(n) for n in allowed)
            hint = remedy or "Reshape it."
            raise ValueError(f"{name} must have {expected} dimension(s); got shape {got}. {hint}")
    if shape is not None:
        fits = len(shape) == len(got) and all(
            want is None or want == have for want, have in zip(shape, got, strict=True)
        )
        if not fits:
            hint = remedy or "Reshape it."
            raise ValueError(f"{name} must have shape {_shape_text(shape)}; got {got}. {hint}")


def _shape_text(shape: tuple[int | None, ...]) -> str:
    parts = [("n" if i == 0 else "*") if s is None else str(s) for i, s in enumerate(shape)]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _check_finite(tensor: Tensor, *, name: str) -> None:
    bad = ~torch.isfinite(tensor)
    if not bool(bad.any()):
        return
    if tensor.ndim == 0:
        raise ValueError(f"{name} must be finite; got {tensor.item()}. Pass a finite number.")
    rows = bad.reshape(tensor.shape[0], -1).any(dim=1).nonzero().flatten()
    raise ValueError(
        f"{name} must be finite; got NaN or infinite values (in {tensor.dtype}) in {len(rows)} of "
        f"{tensor.shape[0]} rows, the first at row {int(rows[0])}. Remove those rows, or rescale "
        "values that overflow."
    )


def check_type(value: Any, types: type | tuple[type, ...], *, name: str, remedy: str = "") -> None:
    """Refuse a value that is not an instance of `types`; a bool does not count as an int.

    Raises:
        TypeError: If the type is wrong.
    """
    allowed = types if isinstance(types, tuple) else (types,)
    as_number = isinstance(value, bool) and bool not in allowed and object not in allowed
    if as_number or not isinstance(value, allowed):
        names = " or ".join(t.__name__ for t in allowed)
        hint = remedy or f"Pass {names}."
        raise TypeError(f"{name} must be {names}; got {type(value).__name__} ({value!r}). {hint}")


def check_count(value: Any, *, name: str, minimum: int = 1) -> int:
    """An integer that is at least `minimum`.

    Raises:
        TypeError: If `value` is not an integer.
        ValueError: If it is too small.
    """
    number = _integer(value, name=name)
    if number < minimum:
        raise ValueError(
            f"{name} must be at least {minimum}; got {number}. Pass {minimum} or more."
        )
    return number


def check_level(level: Any, *, num_levels: int) -> int:
    """A level's number.

    Raises:
        TypeError: If `level` is not an integer.
        ValueError: If there is no such level.
    """
    number = check_count(level, name="level", minimum=0)
    if number >= num_levels:
        raise ValueError(
            f"level must be below {num_levels}; got {number}. Levels run from 0 (coarsest) to "
            f"{num_levels - 1} (finest)."
        )
    return number


def check_counts(n: Any, num_levels: int) -> tuple[int, ...]:
    """Number of rows of each level, from a sequence or an array.

    Raises:
        TypeError: If `n` is no sequence, or an entry is not an integer.
        ValueError: If there is not one entry a level, or an entry is less than 1.
    """
    if isinstance(n, (np.ndarray, Tensor)):
        n = n.tolist()
    hint = "Pass the number of runs of each level, coarsest first."
    if not isinstance(n, Sequence) or isinstance(n, (str, bytes)):
        raise TypeError(f"n must be a list, a tuple or a plan; got {type(n).__name__}. {hint}")
    if len(n) != num_levels:
        raise ValueError(f"n must have one entry a level, {num_levels}; got {len(n)}. {hint}")
    return tuple(check_count(count, name=f"n[{level}]") for level, count in enumerate(n))


def _integer(value: Any, *, name: str) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"{name} must be an integer; got {type(value).__name__} ({value!r}). "
            "Pass a whole number, for example int(value)."
        )
    return int(value)


def check_positive(
    value: Any, *, name: str, maximum: float | None = None, strict: bool = True
) -> float:
    """A finite number above zero (or zero too, if not `strict`), and not above `maximum`.

    Raises:
        TypeError: If `value` is not a real number.
        ValueError: If it is out of range.
    """
    number = _real(value, name=name)
    low_ok = number > 0 if strict else number >= 0
    if math.isfinite(number) and low_ok and (maximum is None or number <= maximum):
        return number
    kind = "positive" if strict else "zero or positive"
    limit = "" if maximum is None else f" and at most {maximum}"
    raise ValueError(
        f"{name} must be finite and {kind}{limit}; got {number}. Pass a number in that range."
    )


def _real(value: Any, *, name: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} must be a number; got {type(value).__name__} ({value!r}). "
            "Pass a float or an int."
        )
    return float(value)


def check_fraction(value: Any, *, name: str) -> float:
    """A number strictly between 0 and 1.

    Raises:
        TypeError: If `value` is not a real number.
        ValueError: If it is out of range.
    """
    number = _real(value, name=name)
    if not 0.0 < number < 1.0:
        raise ValueError(
            f"{name} must lie strictly between 0 and 1; got {number}. Pass for example 0.1."
        )
    return number


def check_seed(value: Any, *, name: str = "seed") -> int:
    """A seed: an integer in `[0, 2**63)`.

    Raises:
        TypeError: If `value` is not an integer.
        ValueError: If it is out of range.
    """
    number = _integer(value, name=name)
    if not 0 <= number < _SEED_LIMIT:
        raise ValueError(
            f"{name} must lie in [0, 2**63); got {number}. Pass a small whole number such as 0."
        )
    return number


def check_option(value: Any, *, name: str, allowed: Sequence[str]) -> str:
    """One of a few named options.

    Raises:
        TypeError: If `value` is not a string.
        ValueError: If it is none of the options.
    """
    options = ", ".join(repr(a) for a in allowed)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be one of {options}; got {type(value).__name__} ({value!r}). "
            "Pass the option's name as a string."
        )
    if value not in allowed:
        raise ValueError(f"{name} must be one of {options}; got {value!r}. Choose one of these.")
    return value
