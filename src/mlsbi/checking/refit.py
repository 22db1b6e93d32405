"""A fit made once more: the same request, other data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, overload

import torch

from mlsbi._checks import check_seed, check_type
from mlsbi._data_join import check_joinable, check_shape
from mlsbi.calibration import Calibration
from mlsbi.data import MultilevelData
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.recipe import Recipe
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit
from mlsbi.strategies.base import Strategy

Fitted = TypeVar("Fitted", bound=PosteriorFit | LikelihoodFit)

__all__ = ["calibrated_like", "check_data_of", "make", "recipe_of", "refit"]


@overload
def refit(
    fit: PosteriorFit,
    data: MultilevelData,
    *,
    seed: int,
    strategy: Strategy | None = None,
    progress: bool = False,
) -> PosteriorFit: ...
@overload
def refit(
    fit: LikelihoodFit,
    data: MultilevelData,
    *,
    seed: int,
    strategy: Strategy | None = None,
    progress: bool = False,
) -> LikelihoodFit: ...
def refit(
    fit: PosteriorFit | LikelihoodFit,
    data: MultilevelData,
    *,
    seed: int,
    strategy: Strategy | None = None,
    progress: bool = False,
) -> PosteriorFit | LikelihoodFit:
    """Make a fit again, as it was asked for, from other runs of the same simulators.

    With the fit's own data and seed it is the same fit, bit for bit (on the same device, with the
    same versions of PyTorch and mlsbi), but for a calibration, which belongs to one fit.

    Args:
        fit: What `mlsbi.fit_posterior` or `mlsbi.fit_likelihood` returned, or `mlsbi.load_fit`.
        data: Runs of its levels, or with another `strategy` of any levels.
        seed: Of the new fit.
        strategy: How the levels are combined; None: as in `fit`.
        progress: Show a progress bar on standard error.

    Returns:
        The new fit, on the device of `fit`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The data are of other parameters or of x of another shape; the fit does not
            know how it was made (it was saved by an older version, or loaded without the builder
            or the embedding net that it was made with).
    """
    check_type(fit, (PosteriorFit, LikelihoodFit), name="fit", remedy="Pass a fit.")
    levels = len(fit.n) if strategy is None else None
    check_data_of(fit, data, levels=levels)
    if strategy is not None:
        check_type(strategy, Strategy, name="strategy", remedy="For example mlsbi.SingleLevel().")
    recipe = recipe_of(fit, strategy)
    return make(recipe, data, seed=check_seed(seed), device=fit.device, progress=progress)


def recipe_of(fit: Fit, strategy: Strategy | None = None) -> Recipe:
    """How to make a fit again, with another strategy if one is given.

    Raises:
        ValueError: It is not known, or an argument of `load_fit` is missing.
    """
    recipe = fit.recipe
    if recipe is None:
        raise ValueError(
            "fit must know how it was made; got one that was saved by an older version of mlsbi. "
            "Fit again with this version, or check it on runs of their own: "
            "mlsbi.check(fit, theta_test, x_test)."
        )
    if recipe.missing:
        names = " and ".join(recipe.missing)
        given = ", ".join(f"{name}=..." for name in recipe.missing)
        raise ValueError(
            f"fit must be complete to be made again; got one that was loaded without the {names} "
            f"that it was made with, which no file holds. Load it by load_fit(path, {given})."
        )
    return recipe if strategy is None else replace(recipe, strategy=strategy)


def make(
    recipe: Recipe,
    data: MultilevelData,
    *,
    seed: int,
    device: str | torch.device,
    progress: bool = False,
) -> PosteriorFit | LikelihoodFit:
    """The fit that a recipe describes."""
    options: dict[str, Any] = {
        "strategy": recipe.strategy,
        "estimator": recipe.estimator,
        "embedding_net": recipe.embedding_net,
        "ensemble": recipe.ensemble,
        "training": recipe.training,
        "tails": recipe.tails,
        "device": device,
        "progress": progress,
    }
    if recipe.kind == "posterior":
        return fit_posterior(data, seed=seed, **options)
    return fit_likelihood(data, seed=seed, **options)


def calibrated_like(calibration: Calibration, fit: Fitted) -> Fitted:
    """A fit widened as another one was.

    Args:
        calibration: Of the other one.
        fit: As it was trained.
    """
    estimator = fit.estimator
    own = estimator.widening
    scale = own * torch.tensor(calibration.scale, dtype=own.dtype, device=own.device)
    return replace(fit, estimator=estimator.with_widening(scale), calibration=calibration)


def check_data_of(fit: Fit, data: Any, *, levels: int | None, name: str = "data") -> None:
    """Refuse data that are not of a fit's problem.

    Args:
        fit: The fit.
        data: What should hold runs like those that it was made from.
        levels: How many levels they must have; None: any number.
        name: The argument's name in messages.

    Raises:
        TypeError: `data` is no `MultilevelData`.
        ValueError: They have other levels, another prior, or x of another shape at level L.
    """
    remedy = "Pass what mlsbi.simulate or MultilevelData.from_arrays returned."
    check_type(data, MultilevelData, name=name, remedy=remedy)
    wanted = data.num_levels if levels is None else levels
    check_joinable(data, wanted, fit.prior, name=name, like="as the fit")
    top = data.num_levels - 1
    check_shape(data, top, fit.event_shape, name=name, like="as the fit")
