"""From data to a trained density: `fit_posterior`, `fit_likelihood`, and what they return."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlsbi._checks import check_count, check_option, check_seed, check_type
from mlsbi._described import describe_strategy
from mlsbi._device import check_device
from mlsbi._random import derive_seed
from mlsbi.data import MultilevelData
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.history import History
from mlsbi.options import Training
from mlsbi.parameters import Parameters
from mlsbi.prepare import Prepared, prepare, train_rows
from mlsbi.problem import Problem
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.strategies import Stack, Strategy
from mlsbi.summaries import Learner, is_wanted

__all__ = ["fit_likelihood", "fit_posterior"]


def fit_posterior(
    data: MultilevelData,
    *,
    seed: int,
    strategy: Strategy | None = None,
    estimator: str | EstimatorSpec | Callable[..., Any] = "mdn",
    embedding_net: nn.Module | None = None,
    ensemble: int = 5,
    training: Training | None = None,
    tails: str = "auto",
    device: str | torch.device = "cpu",
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> PosteriorFit:
    """Learn the posterior p(theta | x) of level L (neural posterior estimation).

    Args:
        data: Runs of all levels.
        seed: Gives the initial weights, the held-out rows and the batches; the same seed gives the
            same fit.
        strategy: How the levels are combined; None is the library's default, `Stack()`.
        estimator: "mdn", "maf", "nsf", `mlsbi.MDN(...)` and its like, the name of one of sbi's
            density estimators, or an sbi builder.
        embedding_net: Compresses x, `(n, *event) -> (n, features)`; trained with the density. A
            strategy that works on summaries of x (`fit.summary`) learns them through this net on
            level 0 alone. Wrap a summary function of your own in a module that calls it.
            Prefer layer norm to batch norm: with `Multilevel`, batch norm would scale the two runs
            of a pair by different statistics, and the sum would not telescope in training.
        ensemble: Members k; they are trained together and mixed with equal weights. Each holds out
            another part of the runs.
        training: Options of the loop. A strategy that brings its own, as `Multilevel.paper()`
            does, goes before.
        tails: "auto" sends outputs of x that are heavy-tailed through asinh, "asinh" all of them,
            "linear" none.
        device: Where to train and evaluate, "cpu" or "cuda".
        progress: Show a progress bar on standard error.
        checkpoint: A file to which the training is written now and then; the same call goes on
            from it after an interruption.

    Returns:
        The fit, in the user's units.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value, or the levels' x differ in shape.

    References:
        Hikida, Bharti, Jeffrey, Briol (2025), arXiv:2506.06087.
    """
    fit = _fit(
        "posterior", data, seed, strategy, estimator, embedding_net, ensemble, training, tails,
        device, progress, checkpoint,
    )  # fmt: skip
    return PosteriorFit(**fit)


def fit_likelihood(
    data: MultilevelData,
    *,
    seed: int,
    strategy: Strategy | None = None,
    estimator: str | EstimatorSpec | Callable[..., Any] = "mdn",
    embedding_net: nn.Module | None = None,
    ensemble: int = 5,
    training: Training | None = None,
    tails: str = "auto",
    device: str | torch.device = "cpu",
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> LikelihoodFit:
    """Learn the likelihood p(x | theta) of level L (neural likelihood estimation).

    Args:
        data: Runs of all levels.
        seed: Gives the initial weights, the held-out rows and the batches; the same seed gives the
            same fit.
        strategy: How the levels are combined; None is the library's default, `Stack()`.
        estimator: As in `fit_posterior`.
        embedding_net: Embeds theta, `(n, d) -> (n, features)`; trained with the density.
        ensemble: As in `fit_posterior`.
        training: Options of the loop.
        tails: As in `fit_posterior`.
        device: Where to train and evaluate, "cpu" or "cuda".
        progress: Show a progress bar on standard error.
        checkpoint: As in `fit_posterior`.

    Returns:
        The fit, in the user's units.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value, or the levels' x differ in shape.

    References:
        Hikida, Bharti, Jeffrey, Briol (2025), arXiv:2506.06087.
    """
    fit = _fit(
        "likelihood", data, seed, strategy, estimator, embedding_net, ensemble, training, tails,
        device, progress, checkpoint,
    )  # fmt: skip
    return LikelihoodFit(**fit)


def _fit(
    kind: str,
    data: MultilevelData,
    seed: int,
    strategy: Strategy | None,
    estimator: str | EstimatorSpec | Callable[..., Any],
    embedding_net: nn.Module | None,
    ensemble: int,
    training: Training | None,
    tails: str,
    device: str | torch.device,
    progress: bool,  # noqa: FBT001  private, called by name order from two places only
    checkpoint: str | Path | None,
) -> dict[str, Any]:
    check_type(data, MultilevelData, name="data", remedy="Use MultilevelData.from_arrays(...).")
    seed = check_seed(seed)
    strategy = Stack() if strategy is None else strategy
    check_type(strategy, Strategy, name="strategy", remedy="For example mlsbi.Multilevel().")
    ensemble = check_count(ensemble, name="ensemble")
    check_option(tails, name="tails", allowed=("auto", "asinh", "linear"))
    _check_networks(estimator, embedding_net)
    if training is not None:
        check_type(training, Training, name="training", remedy="Use mlsbi.Training(...).")
    options = strategy.training or training or strategy.default_training
    place = check_device(device)
    check_type(progress, bool, name="progress", remedy="Pass True or False.")
    if checkpoint is not None:
        check_type(checkpoint, (str, Path), name="checkpoint", remedy="Pass a file's path.")
        if Path(checkpoint).is_dir():
            raise ValueError(
                f"checkpoint: {checkpoint} is a folder; delete it, or name another file"
            )
    strategy.check(data.num_levels)

    fingerprinted = embedding_net or nn.Identity()
    x_net = embedding_net if kind == "posterior" else None
    learner = None
    if is_wanted(data, compress=strategy.compress, x_net=x_net):
        learner = Learner(seed, x_net, tails, place, progress)
        if x_net is not None:  # it learns the summary, and what is left to learn sees that only
            x_net = embedding_net = None
    prepared = prepare(
        data,
        kind=kind,
        statistics=strategy.statistics,
        tails=tails,
        shared=x_net is not None,
        learner=learner,
    )
    first = prepared.levels[0]
    blueprint = Blueprint(
        estimator=estimator,
        kind=kind,
        members=ensemble,
        value_dim=first.value.shape[1],
        context_shape=tuple(first.context.shape[1:]),
        dropout=options.dropout,
        common_dropout=options.common_dropout,
        embedding_net=embedding_net,
    )

    def build(*, seed: int, **options: Any) -> ConditionalDensity:
        return blueprint.variant(**options).build(seed=seed).to(place)

    density_seed = derive_seed(seed, "density")
    problem = Problem(
        levels=prepared.levels,
        train_rows=train_rows(data, ensemble, options, seed),
        training=options,
        seed=derive_seed(seed, "training"),
        kind=kind,
        parameters=Parameters(
            data.prior,
            prepared.value_transform if kind == "posterior" else prepared.context_transform,
        ),
        build=build,
        density_seed=density_seed,
        estimator=estimator,
        summarised=learner is not None,
        training_given=strategy.training is not None or training is not None,
        device=place,
        progress=progress,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        fingerprint=_fingerprint(
            prepared,
            strategy,
            options,
            # Built here too: a wrong estimator is found out before any work is done.
            [build(seed=density_seed), fingerprinted],
            seed,
        ),
    )
    solution = strategy.solve(problem)
    whole = Estimator(
        solution.density,
        prepared.value_transform,
        prepared.context_transform,
        weights=solution.weights,
    ).to(place)
    return {
        "estimator": whole.eval().requires_grad_(requires_grad=False),
        "blueprint": blueprint.of_parts(solution.blueprint_parts),
        "prior": data.prior,
        "event_shape": tuple(data.event_shape(data.num_levels - 1)),
        "strategy": strategy,
        "training": options,
        "status": solution.status,
        "history": History((*prepared.rows, *solution.rows)),
        "n": data.n,
        "cost": data.cost,
        "seed": seed,
    }


def _check_networks(
    estimator: str | EstimatorSpec | Callable[..., Any], embedding_net: nn.Module | None
) -> None:
    if isinstance(estimator, type) and issubclass(estimator, EstimatorSpec):
        raise TypeError(
            f"estimator must be an instance; got the class {estimator.__name__}. "
            f"Pass mlsbi.{estimator.__name__}()."
        )
    if embedding_net is not None:
        remedy = "Pass a module, such as nn.Sequential(...)."
        check_type(embedding_net, nn.Module, name="embedding_net", remedy=remedy)


def _fingerprint(
    prepared: Prepared,
    strategy: Strategy,
    options: Training,
    networks: Sequence[nn.Module],
    seed: int,
) -> str:
    """A name of everything that a checkpoint must agree with."""
    digest = hashlib.blake2b(digest_size=16)
    words = (describe_strategy(strategy), asdict(options), seed)
    digest.update(repr(words).encode())
    # What was built names the estimator: a builder's own repr is an address, new in every run.
    for network in networks:
        layers = [type(module).__name__ for module in network.modules()]
        shapes = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
        digest.update(repr((layers, shapes)).encode())
    for rows in prepared.levels:
        for tensor in (rows.value, rows.context, rows.coarse_value, rows.coarse_context):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
