"""Where to compute, checked at the boundary."""

from __future__ import annotations

import torch

from mlsbi._checks import check_type

__all__ = ["check_device"]


def check_device(device: str | torch.device) -> torch.device:
    """The CPU, or a CUDA device that is there.

    Raises:
        TypeError: If `device` is neither a name nor a `torch.device`.
        ValueError: If it is no CPU or CUDA device, or this PyTorch does not see it.
    """
    check_type(device, (str, torch.device), name="device", remedy="Pass 'cpu' or 'cuda'.")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'cpu' or 'cuda' (or 'cuda:1', ...); got {device!r}"
        ) from error
    if place.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda'; got {device!r}")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device: {device!r} was asked for and this PyTorch sees "
            f"{torch.cuda.device_count()} CUDA devices; use 'cpu', or one of those it sees"
        )
    return place
