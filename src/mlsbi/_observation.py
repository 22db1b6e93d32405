"""An observation as the user gives it: one, or m independent ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mlsbi._checks import as_tensor

__all__ = ["as_observation", "as_observations"]


def as_observation(
    x_o: Any, event: tuple[int, ...], *, remedy: str, several: bool = False
) -> Tensor:
    """One observation `(*event,)`, on the CPU; with `several` also m of them, `(m, *event)`.

    Raises:
        TypeError: It is no array of numbers.
        ValueError: It has another shape, or is not finite.
    """
    tensor = as_tensor(x_o, name="x_o").cpu()
    shape = tuple(tensor.shape)
    if shape in {event, (1, *event)}:
        return tensor.reshape(event)
    if several and shape[1:] == event and len(shape) > len(event) and shape[0] > 0:
        return tensor
    many = f", or {('m', *event)} for m i.i.d. ones" if several else ""
    raise ValueError(f"x_o must have shape {event}, one observation{many}; got {shape}. {remedy}")


def as_observations(x_o: Any, event: tuple[int, ...], *, remedy: str = "Reshape it.") -> Tensor:
    """Observations with their axis in front, `(m, *event)`, on the CPU; errors as above."""
    tensor = as_observation(x_o, event, remedy=remedy, several=True)
    return tensor.unsqueeze(0) if tuple(tensor.shape) == event else tensor
