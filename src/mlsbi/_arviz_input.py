"""What users say to `to_arviz`, checked; what its axes and variables are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsbi._checks import as_tensor, check_count, check_type

__all__ = [
    "chains_and_draws",
    "layout",
    "parameter_names",
    "simulations",
]

_RESERVED = {"chain", "draw", "observation", "output", "lp"}


def chains_and_draws(num_samples: int, num_chains: int) -> tuple[int, int]:
    """Number of chains, and of draws in each."""
    count = check_count(num_samples, name="num_samples")
    chains = check_count(num_chains, name="num_chains")
    if count % chains:
        raise ValueError(
            f"num_samples must be a multiple of num_chains; got {count} draws and {chains} "
            f"chains. Pass for example num_samples={-(-count // chains) * chains}."
        )
    if count < chains**2:
        raise ValueError(
            f"num_samples must be at least num_chains**2, so that chains are not shorter than "
            f"they are many; got {count} draws and {chains} chains. Pass more draws."
        )
    return chains, count // chains


def parameter_names(labels: Sequence[str] | None, dim: int) -> list[str]:
    """Names of the variables: those of the user, or theta_1, theta_2, ..."""
    if labels is None:
        return [f"theta_{i + 1}" for i in range(dim)]
    check_type(labels, Sequence, name="labels", remedy="Pass one string a parameter.")
    names = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    if len(names) != dim or len(set(names)) != dim or isinstance(labels, str):
        raise ValueError(f"labels must hold {dim} different names, one a parameter; got {labels}.")
    taken = sorted(name for name in names if name in _RESERVED or "/" in name or not name)
    if taken:
        raise ValueError(
            f"labels must not be {taken}: ArviZ or its files use these names, or cannot write "
            "them. Choose others."
        )
    return names


def layout(
    event: tuple[int, ...], outputs: Sequence[str] | None, *, iid: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Coordinates, and names of the axes of x and of its summary beside chain and draw."""
    lead = ["observation"] if iid else []
    if len(event) != 1:
        if outputs is not None:
            raise ValueError(
                f"outputs name the entries of a vector x; this fit's x has shape {event}. Leave "
                "them out."
            )
        return {}, {"x": [*lead, *(f"x_dim_{i}" for i in range(len(event)))], "summary": lead}
    names: Any = np.arange(event[0])
    if outputs is not None:
        check_type(outputs, Sequence, name="outputs", remedy="Pass one string an output.")
        if isinstance(outputs, str) or len(outputs) != event[0]:
            raise ValueError(f"outputs must hold {event[0]} names, one an output; got {outputs}.")
        names = [str(name) for name in outputs]
    return {"output": names}, {"x": [*lead, "output"], "summary": lead}


def simulations(
    predictive: Any, observed: tuple[int, ...], shape: tuple[int, int], *, iid: bool
) -> Any:
    """The user's simulations with chain and draw in front; None if there are none."""
    if predictive is None:
        return None
    x = as_tensor(predictive, name="predictive").cpu()
    if iid and observed[0] == 1 and x.shape[1:] == observed[1:]:
        x = x.unsqueeze(1)
    if tuple(x.shape[1:]) != tuple(observed) or len(x) == 0:
        raise ValueError(
            f"predictive must have shape {('k', *observed)}, simulations of x_o; got "
            f"{tuple(x.shape)}. Pass a simulation a posterior draw."
        )
    lead = shape if len(x) == math.prod(shape) else (1, len(x))
    return x.double().numpy().reshape(*lead, *x.shape[1:])
