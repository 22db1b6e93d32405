"""From what a fit was asked for to what it is made of: checks, preparation, the strategy."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlsbi._checks import check_count, check_option, check_seed, check_type
from mlsbi._described import describe_strategy
from mlsbi._device import check_device
from mlsbi._multilevel_losses import measure
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
from mlsbi.recipe import Recipe
from mlsbi.strategies import Strategy
from mlsbi.summaries import Learner, is_wanted

__all__ = ["Request", "run_fit"]


@dataclass(frozen=True)
class Request:
    """What a fit was asked for; see `mlsbi.fit_posterior`."""

    kind: str
    data: MultilevelData
    seed: int
    strategy: Strategy
    estimator: str | EstimatorSpec | Callable[..., Any]
    embedding_net: nn.Module | None
    ensemble: int
    training: Training | None
    tails: str
    device: str | torch.device
    progress: bool
    checkpoint: str | Path | None

    @property
    def options(self) -> Training:
        """Of the loop: the strategy's own, else those given, else the strategy's default."""
        return self.strategy.training or self.training or self.strategy.default_training

    @property
    def recipe(self) -> Recipe:
        """How to make the fit again."""
        return Recipe(
            self.kind,
            self.strategy,
            self.estimator,
            self.embedding_net,
            self.ensemble,
            self.training,
            self.tails,
        )

    @property
    def x_net(self) -> nn.Module | None:
        """The embedding net where it embeds x, and not theta."""
        return self.embedding_net if self.kind == "posterior" else None

    def checked(self) -> Request:
        """The request with its numbers and its device as they are used.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value.
        """
        remedy = "Use MultilevelData.from_arrays(...)."
        check_type(self.data, MultilevelData, name="data", remedy=remedy)
        seed = check_seed(self.seed)
        remedy = "For example mlsbi.Multilevel()."
        check_type(self.strategy, Strategy, name="strategy", remedy=remedy)
        ensemble = check_count(self.ensemble, name="ensemble")
        check_option(self.tails, name="tails", allowed=("auto", "asinh", "linear"))
        _check_networks(self.estimator, self.embedding_net)
        if self.training is not None:
            remedy = "Use mlsbi.Training(...)."
            check_type(self.training, Training, name="training", remedy=remedy)
        device = check_device(self.device)
        check_type(self.progress, bool, name="progress", remedy="Pass True or False.")
        if self.checkpoint is not None:
            remedy = "Pass a file's path."
            check_type(self.checkpoint, (str, Path), name="checkpoint", remedy=remedy)
            if Path(self.checkpoint).is_dir():
                raise ValueError(
                    f"checkpoint: {self.checkpoint} is a folder; delete it, or name another file"
                )
        self.strategy.check(self.data.num_levels)
        return replace(self, seed=seed, ensemble=ensemble, device=device)


def run_fit(asked: Request) -> dict[str, Any]:
    """Check, prepare, solve: the fields of a `Fit`."""
    began = time.perf_counter()
    asked = asked.checked()
    learner, shared = _learner(asked)
    prepared = prepare(
        asked.data,
        kind=asked.kind,
        statistics=asked.strategy.statistics,
        tails=asked.tails,
        shared=shared,
        learner=learner,
    )
    # A net that learns the summary leaves a density that sees the summary only.
    consumed = learner is not None and asked.x_net is not None
    blueprint = _blueprint(asked, prepared, None if consumed else asked.embedding_net)
    problem = _problem(asked, prepared, blueprint, summarised=learner is not None)
    solution = asked.strategy.solve(problem)
    whole = Estimator(
        solution.density,
        prepared.value_transform,
        prepared.context_transform,
        weights=solution.weights,
        scale=solution.scale,
    ).to(asked.device)
    data = asked.data
    losses = measure(whole.eval(), problem, data, history=solution.rows)
    return {
        "estimator": whole.requires_grad_(requires_grad=False),
        "blueprint": blueprint.of_parts(solution.blueprint_parts),
        "prior": data.prior,
        "event_shape": tuple(data.event_shape(data.num_levels - 1)),
        "strategy": asked.strategy,
        "training": asked.options,
        "status": solution.status,
        "history": History((*prepared.rows, *solution.rows)),
        "n": data.n,
        "cost": data.cost,
        "seed": asked.seed,
        "multilevel": losses,
        "recipe": asked.recipe,
        "seconds": time.perf_counter() - began,
    }


def _learner(asked: Request) -> tuple[Learner | None, bool]:
    """Who learns summaries, and whether a net for x is left that wants one scale for all of x."""
    net = asked.x_net
    if not is_wanted(asked.data, compress=asked.strategy.compress, x_net=net):
        return None, net is not None
    place = torch.device(asked.device)
    return Learner(asked.seed, net, asked.tails, place, asked.progress), False


def _blueprint(asked: Request, prepared: Prepared, net: nn.Module | None) -> Blueprint:
    first, options = prepared.levels[0], asked.options
    return Blueprint(
        estimator=asked.estimator,
        kind=asked.kind,
        members=asked.ensemble,
        value_dim=first.value.shape[1],
        context_shape=tuple(first.context.shape[1:]),
        dropout=options.dropout,
        common_dropout=options.common_dropout,
        embedding_net=net,
    )


def _problem(
    asked: Request, prepared: Prepared, blueprint: Blueprint, *, summarised: bool
) -> Problem:
    """What the strategy is given."""
    posterior = asked.kind == "posterior"

    def build(*, seed: int, **options: Any) -> ConditionalDensity:
        return blueprint.variant(**options).build(seed=seed).to(asked.device)

    density_seed = derive_seed(asked.seed, "density")
    # Built here too: a wrong estimator is found out before any work is done.
    networks = [build(seed=density_seed), asked.embedding_net or nn.Identity()]
    return Problem(
        levels=prepared.levels,
        train_rows=train_rows(asked.data, asked.ensemble, asked.options, asked.seed),
        training=asked.options,
        seed=derive_seed(asked.seed, "training"),
        kind=asked.kind,
        parameters=Parameters(
            asked.data.prior,
            prepared.value_transform if posterior else prepared.context_transform,
        ),
        build=build,
        density_seed=density_seed,
        estimator=asked.estimator,
        summarised=summarised,
        training_given=asked.strategy.training is not None or asked.training is not None,
        device=torch.device(asked.device),
        progress=asked.progress,
        checkpoint=None if asked.checkpoint is None else Path(asked.checkpoint),
        fingerprint=_fingerprint(prepared, asked.strategy, asked.options, networks, asked.seed),
    )


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
