"""From data to a trained density: `fit_posterior`, `fit_likelihood`, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlsbi._fitting import Request, run_fit
from mlsbi.data import MultilevelData
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.options import Training
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.strategies import Stack, Strategy

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
    asked = Request(
        "posterior", data, seed, Stack() if strategy is None else strategy, estimator,
        embedding_net, ensemble, training, tails, device, progress, checkpoint,
    )  # fmt: skip
    return PosteriorFit(**run_fit(asked))


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
    asked = Request(
        "likelihood", data, seed, Stack() if strategy is None else strategy, estimator,
        embedding_net, ensemble, training, tails, device, progress, checkpoint,
    )  # fmt: skip
    return LikelihoodFit(**run_fit(asked))
