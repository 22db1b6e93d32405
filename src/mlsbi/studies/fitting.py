"""From a study's `[fit]` and `[run]` to what fits take: estimator, net, training, executor."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mlsbi._device import check_device
from mlsbi.estimators.specs import NAMED, EstimatorSpec
from mlsbi.options import Training
from mlsbi.studies.build import build_strategy
from mlsbi.studies.file import words
from mlsbi.studies.imports import load_object

if TYPE_CHECKING:
    from mlsbi.results import LikelihoodFit, PosteriorFit
    from mlsbi.study import Study

__all__ = ["fit_options", "load", "opened_executor"]

_PATIENCE = 30  # seconds to wait for a scheduler


def fit_options(study: Study) -> dict[str, Any]:
    """The arguments of `fit_posterior` or `fit_likelihood`, but for data and where to keep it.

    Raises:
        ValueError: Something that `[fit]` names is not there, or not what it must be.
    """
    own = study.file.fit
    try:
        return {
            "seed": study.seed,
            "strategy": build_strategy(study.file.strategy),
            "estimator": _estimator(own.estimator, study.path.parent),
            "embedding_net": _net(own.embedding_net, study.path.parent),
            "ensemble": own.ensemble,
            "training": _training(study),
            "tails": own.tails,
            "device": _device(own.device),
        }
    except ValueError as error:
        raise ValueError(f"{study.path}: {error}") from error


def load(study: Study, prior: Any) -> PosteriorFit | LikelihoodFit:
    """The fit in a study's output folder.

    Raises:
        ValueError: There is none, or it cannot be read.
    """
    from mlsbi.fit_io import load_fit

    options = fit_options(study)
    estimator = options["estimator"]
    return load_fit(
        study.output / "fit",
        prior=prior,
        estimator=None if isinstance(estimator, str | EstimatorSpec) else estimator,
        embedding_net=options["embedding_net"],
        device=options["device"],
    )


def _device(name: str) -> str:
    try:
        check_device(name)
    except ValueError as error:
        raise ValueError(f"fit.{error}") from error
    return name


def _training(study: Study) -> Training | None:
    table = study.file.fit.training
    if table is None:
        return None
    # TOML has no word for nothing: false stands for it where nothing is allowed
    given: dict[str, Any] = {
        name: None if value is False and name != "common_dropout" else value
        for name, value in words(table).items()
    }
    return Training(**given)


def _estimator(name: str, folder: Path) -> Any:
    if name in NAMED:
        return NAMED[name]
    if ":" in name:
        found = load_object(name, folder, key="fit.estimator")
        if isinstance(found, EstimatorSpec) or callable(found):
            return found
        raise ValueError(
            f"fit.estimator must name an estimator such as mlsbi.MDN(components=8), or an sbi "
            f"builder; got {name!r}, {type(found).__name__}"
        )
    from mlsbi.estimators.sbi_builder import sbi_estimator_names

    known = sbi_estimator_names()
    if name not in known:
        raise ValueError(
            f"fit.estimator must be one of {', '.join(dict.fromkeys([*NAMED, *known]))}, or "
            f"'package.module:object'; got {name!r}"
        )
    return name


def _net(reference: str | None, folder: Path) -> nn.Module | None:
    if reference is None:
        return None
    key = "fit.embedding_net"
    found = load_object(reference, folder, key=key)
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise ValueError(
                f"{key} must name a torch.nn.Module, or what returns one without arguments; "
                f"{reference!r} ended in {type(error).__name__}: {error}"
            ) from error
    if isinstance(found, nn.Module):
        return found
    raise ValueError(
        f"{key} must name a torch.nn.Module, or what returns one without arguments; got "
        f"{reference!r}, which leads to {type(found).__name__}"
    )


@contextmanager
def opened_executor(study: Study) -> Iterator[Any]:
    """What `run.executor` stands for; what is opened here is closed at the end.

    Raises:
        ValueError: A scheduler cannot be reached, or the function is not there or fails.
    """
    word = study.file.run.executor
    if word is None or isinstance(word, int):
        yield word
        return
    dask = word.startswith("dask:")
    try:
        found = _dask_client(word[5:]) if dask else _own_executor(word, study.path.parent)
    except ValueError as error:
        raise ValueError(f"{study.path}: {error}") from error
    try:
        yield found
    finally:
        if isinstance(found, Executor):
            found.shutdown(wait=True, cancel_futures=True)
        elif hasattr(found, "close"):
            found.close()
            if not dask and getattr(found, "cluster", None) is not None:
                found.cluster.close()  # a Dask client's, which the function started with it


def _dask_client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "run.executor needs the package distributed, which is not installed; install it (pip "
            "install 'mlsbi[dask]'), or name another executor"
        ) from error
    try:
        return Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"run.executor must be the address of a Dask scheduler that runs, such as "
            f"'dask:tcp://127.0.0.1:8786'; got {address!r}: {error}"
        ) from error


def _own_executor(reference: str, folder: Path) -> Any:
    from mlsbi.simulate._pool import as_executor

    made = load_object(reference, folder, key="run.executor")
    try:
        found = made()
    except Exception as error:
        raise ValueError(
            f"run.executor must name a function that can be called without arguments; "
            f"{reference!r} ended in {type(error).__name__}: {error}"
        ) from error
    try:
        as_executor(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"run.executor, {reference!r}: {error}") from error
    return found
