"""Runs in the form that sbi keeps them, as `MultilevelData`: `mlsbi.from_sbi`."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_option
from mlsbi._data_join import same_prior
from mlsbi.data import MultilevelData
from mlsbi.prior import Prior, as_prior

__all__ = ["from_sbi"]

_ENTRY = (
    "Give (theta, x) or an sbi inference object with its simulations appended; above level 0 also "
    "(theta, x_coarse, x)."
)


class _Runs(NamedTuple):
    """What one entry holds; `x_coarse` is None where it is still to be found at the level below."""

    theta: Tensor
    x_coarse: Tensor | None
    x: Tensor

    def keep(self, rows: Tensor) -> _Runs:
        coarse = None if self.x_coarse is None else self.x_coarse[rows]
        return _Runs(self.theta[rows], coarse, self.x[rows])


def from_sbi(
    levels: Sequence[Any],
    *,
    prior: Any = None,
    costs: Sequence[float] | None = None,
    on_invalid: str = "raise",
) -> MultilevelData:
    """Bring runs that sbi made or holds.

    Where a level above 0 comes as `(theta, x)`, its coupled pairs are found by theta: each of its
    rows must have been run at the level below with the very same theta. That run becomes the
    coarse half of the pair, and leaves the level below, since a theta counts at one level only.
    Whether the two runs share their noise, too, only you know: without it pairs tell less.

    Args:
        levels: One entry a level, coarsest first. An sbi inference object (`NPE`, `NLE`, `NRE`,
            ...) after `append_simulations`; or `(theta, x)`, as `simulate_for_sbi` returns it;
            or, above level 0, `(theta, x_coarse, x)`. theta `(n, d)`; x `(n, *event)`.
        prior: The prior that theta was drawn from: anything `mlsbi.Prior` takes, what sbi's
            `process_prior` returns included. Left out, it is that of the inference objects.
        costs: Cost of one run of each level, in any one unit.
        on_invalid: `"raise"`, or `"drop"` to leave out, with a warning, runs with NaN or infinite
            values, and runs without their coarse half.

    Returns:
        The data.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there is no prior, or two that differ; if runs were drawn from a proposal;
            if a run has no coarse half, or several; or as in `MultilevelData.from_arrays`.
    """
    drop = check_option(on_invalid, name="on_invalid", allowed=("raise", "drop")) == "drop"
    if not isinstance(levels, (list, tuple)):
        raise TypeError(f"levels must be a list; got {type(levels).__name__}. {_ENTRY}")
    if not levels:
        raise ValueError(f"levels must have at least one entry; got none. {_ENTRY}")
    own_prior = _prior_of(levels, prior)
    runs = [_runs_of(entry, level) for level, entry in enumerate(levels)]
    for level in range(len(runs) - 1, 0, -1):
        if runs[level].x_coarse is None:
            runs[level] = _paired(runs[level], runs[level - 1], level=level, drop=drop)
            runs[:level] = [_without(lower, runs[level].theta) for lower in runs[:level]]
    for level, found in enumerate(runs):
        if not len(found.theta):
            raise ValueError(
                f"levels[{level}] must have runs of its own; every theta of its "
                f"{len(_runs_of(levels[level], level).theta)} runs is also at a finer level, and "
                "they are the coarse halves there. Add runs of this level at other theta."
            )
    entries = [tuple(part for part in found if part is not None) for found in runs]
    return MultilevelData.from_arrays(own_prior, entries, costs=costs, on_invalid=on_invalid)


def _is_inference(entry: object) -> bool:
    """Whether sbi's class made it; asked of sbi only where it is imported, as it must be then."""
    base = sys.modules.get("sbi.inference.trainers.base")
    return base is not None and isinstance(entry, base.NeuralInference)


def _prior_of(levels: Sequence[Any], prior: Any) -> Prior:
    """The prior that was given, or the inference objects'; all must be the same."""
    found: Prior | None = None if prior is None else as_prior(_on_cpu(prior))
    whose = "prior"
    for level, entry in enumerate(levels):
        held = getattr(entry, "_prior", None) if _is_inference(entry) else None
        if held is None:
            continue
        other = as_prior(_on_cpu(held))
        if found is None:
            found, whose = other, f"levels[{level}]"
        elif not same_prior(found, other):
            raise ValueError(
                f"levels[{level}] must have the prior of {whose}, {found.distribution}; got "
                f"{other.distribution}. All levels must be run at theta from one prior."
            )
    if found is None:
        raise ValueError(
            "prior must be given, as no entry of levels holds one; got None. Pass the prior that "
            "theta was drawn from, such as sbi's BoxUniform(low, high)."
        )
    return found


def _on_cpu(prior: Any) -> Any:
    """A prior that sbi moved to a GPU for its training, as a copy back on the CPU."""
    if str(getattr(prior, "device", None) or "cpu") == "cpu" or not hasattr(prior, "to"):
        return prior
    moved = copy.deepcopy(prior)
    moved.to("cpu")
    return moved


def _runs_of(entry: Any, level: int) -> _Runs:
    where = f"levels[{level}]"
    if _is_inference(entry):
        return _appended(entry, where)
    if not isinstance(entry, (list, tuple)):
        raise TypeError(f"{where} must be a tuple; got {type(entry).__name__}. {_ENTRY}")
    names = ("theta", "x") if len(entry) == 2 else ("theta", "x_coarse", "x")
    if len(entry) != len(names) or (level == 0 and len(entry) == 3):
        raise ValueError(f"{where} must not have {len(entry)} entries. {_ENTRY}")
    parts = {
        name: as_tensor(value, name=f"{where}: {name}", finite=False).cpu()
        for name, value in zip(names, entry, strict=True)
    }
    theta = as_tensor(parts["theta"], name=f"{where}: theta", ndim=2)
    for name in names[1:]:
        if parts[name].ndim < 2 or len(parts[name]) != len(theta):
            raise ValueError(
                f"{where}: {name} must have shape (n, *event) with n = {len(theta)} (from theta); "
                f"got {tuple(parts[name].shape)}. Pass one row per run."
            )
    return _Runs(theta, parts.get("x_coarse"), parts["x"])


def _appended(inference: Any, where: str) -> _Runs:
    """What was appended to an inference object, all rounds that were drawn from the prior."""
    if not inference._data_round_index:
        raise ValueError(
            f"{where} must hold simulations; got {type(inference).__name__} without any. Call its "
            "append_simulations(theta, x) first."
        )
    theta, x, from_prior = inference.get_simulations()
    proposed = int((~from_prior.reshape(len(theta), -1).bool().all(dim=1)).sum())
    if proposed:
        raise ValueError(
            f"{where} must hold runs at theta drawn from the prior; {proposed} of {len(theta)} "
            "were drawn from a proposal, in later rounds. mlsbi is amortised and does not correct "
            "for proposals: append the first round alone, or pass it as (theta, x)."
        )
    return _Runs(theta.detach().float().cpu(), None, x.detach().float().cpu())


def _keys(theta: Tensor) -> list[bytes]:
    """One hashable a row; 0 and -0 are the same number."""
    return [row.tobytes() for row in (theta + 0.0).numpy()]


def _paired(fine: _Runs, coarse: _Runs, *, level: int, drop: bool) -> _Runs:
    """The runs of a level with the runs of the level below at the same theta."""
    keys, below = _keys(fine.theta), _keys(coarse.theta)
    row_of = {key: row for row, key in enumerate(below)}
    wanted = set(keys)
    again = len(keys) - len(wanted) + sum(key in wanted for key in below) - len(wanted & set(below))
    if again:
        raise ValueError(
            f"levels[{level}] cannot be paired by theta: {again} of its theta occur more than once "
            f"there or at level {level - 1}. Say which runs belong together: (theta, x_coarse, x)."
        )
    missing = [row for row, key in enumerate(keys) if key not in row_of]
    if missing and (not drop or len(missing) == len(keys)):
        raise ValueError(
            f"levels[{level}] must be run at theta of level {level - 1}, since pairs are found by "
            f"theta; {len(missing)} of {len(keys)} are not there, the first at row {missing[0]}: "
            f"{fine.theta[missing[0]].tolist()}. Run the level below at these theta, too (sbi "
            "leaves out runs with NaN values when they are appended), pass (theta, x_coarse, x), "
            "or leave such runs out with on_invalid='drop'."
        )
    rows = torch.tensor([row_of.get(key, 0) for key in keys])
    found = coarse.x[rows].clone()
    found[missing] = torch.nan  # left out, counted and warned of with the other invalid runs
    return _Runs(fine.theta, found, fine.x)


def _without(runs: _Runs, theta: Tensor) -> _Runs:
    """The runs at other theta than these."""
    taken = set(_keys(theta))
    return runs.keep(torch.tensor([key not in taken for key in _keys(runs.theta)]))
