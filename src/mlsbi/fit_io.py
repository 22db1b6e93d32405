"""Fits on disk: a folder of JSON and safetensors; reading one runs no code from it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mlsbi._checks import check_type
from mlsbi._described import (
    describe_blueprint,
    describe_recipe,
    describe_strategy,
    known,
    read_blueprint,
    read_recipe,
    read_strategy,
)
from mlsbi._described_transforms import describe_transform, read_transform
from mlsbi._device import check_device
from mlsbi._folders import as_folder, written_whole
from mlsbi._json import to_json
from mlsbi.calibration import Calibration
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.estimator import Estimator
from mlsbi.history import History, Status
from mlsbi.multilevel_table import MultilevelLosses
from mlsbi.options import Training
from mlsbi.prior import Prior, as_prior
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

__all__ = ["load_fit", "save_fit"]

FORMAT = 1
_JSON, _WEIGHTS = "fit.json", "weights.safetensors"
_KINDS: dict[str, type[PosteriorFit] | type[LikelihoodFit]] = {
    "posterior": PosteriorFit,
    "likelihood": LikelihoodFit,
}
_PREFIXES = ("value_transform", "context_transform")


def save_fit(fit: Fit, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write `fit` to the folder `path`: whole, or not at all."""
    folder = as_folder(path)
    check_type(overwrite, bool, name="overwrite", remedy="Pass True or False.")
    if folder.exists():
        _check_replaceable(folder, overwrite=overwrite)
    with written_whole(folder) as fresh:
        fresh.mkdir()
        # Cloned: tied weights share memory, which safetensors refuses.
        state = fit.estimator.state_dict().items()
        save_file({n: t.detach().cpu().clone().contiguous() for n, t in state}, fresh / _WEIGHTS)
        (fresh / _JSON).write_text(to_json(_describe(fit)) + "\n", encoding="utf-8")
        # safetensors makes a file for its owner alone; who may read the folder may read it, too
        shutil.copymode(fresh / _JSON, fresh / _WEIGHTS)


def _check_replaceable(folder: Path, *, overwrite: bool) -> None:
    if not overwrite:
        raise ValueError(f"path: {folder} exists; name another folder, or pass overwrite=True")
    names = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    if _JSON not in names:
        raise ValueError(f"path: {folder} exists and holds no fit; name another folder")
    if names - {_JSON, _WEIGHTS}:
        others = ", ".join(sorted(names - {_JSON, _WEIGHTS})[:3])
        raise ValueError(
            f"path: {folder} holds files that are no part of a fit ({others}), which overwriting "
            "would delete; move them, or name another folder"
        )


def load_fit(
    path: str | os.PathLike[str],
    *,
    prior: Any = None,  # noqa: ANN401
    estimator: Callable[..., Any] | None = None,
    embedding_net: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> PosteriorFit | LikelihoodFit:
    """Read a fit that `fit.save(path)` wrote; densities are the same bit for bit.

    Args:
        path: The folder.
        prior: The prior, needed only if it was a class of one's own.
        estimator: The sbi builder, needed only if the fit was made with one.
        embedding_net: The embedding net, needed only if the fit was made with one; its weights
            come from the file.
        device: Where to evaluate.

    Returns:
        The posterior or the likelihood fit.

    Raises:
        ValueError: No fit there, one of another format, or one that needs an argument left out.
    """
    folder = as_folder(path)
    if embedding_net is not None:
        check_type(embedding_net, nn.Module, name="embedding_net")
    place = check_device(device)
    config, weights = _read(folder)
    with _damage_named(folder):
        blueprint = read_blueprint(config["blueprint"], estimator, embedding_net)
        kind = known(blueprint.kind, _KINDS, "kind")
        transforms = [
            read_transform(described, _under(prefix, weights), embedding_net)
            for described, prefix in zip(config["transforms"], _PREFIXES, strict=True)
        ]
        record: dict[str, Any] = {
            "event_shape": tuple(config["event_shape"]),
            "strategy": read_strategy(config["strategy"]),
            "training": Training(**config["training"]),
            "status": Status[config["status"]],
            "history": History(tuple(_numbers(row) for row in config["history"])),
            "n": tuple(config["n"]),
            "cost": config["cost"],
            "seed": config["seed"],
            "multilevel": _losses(config.get("multilevel")),
            "seconds": config.get("seconds"),
            "calibration": _calibration(config.get("calibration")),
        }
        if config.get("recipe") is not None:
            record["recipe"] = read_recipe(
                config["recipe"],
                kind=blueprint.kind,
                strategy=record["strategy"],
                estimator=estimator,
                embedding_net=embedding_net,
            )
        described = config["prior"]
    whole = _weighted(Estimator(blueprint.build(seed=0), *transforms), weights, folder)
    return kind(
        estimator=whole.to(place).eval().requires_grad_(requires_grad=False),
        blueprint=blueprint,
        prior=_prior(described, prior, blueprint),
        **record,
    )


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    """Name the file where reading it fails for want of an entry, or over one of a wrong kind."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"path: {folder / _JSON} is damaged, or of another version of mlsbi "
            f"({type(error).__name__}: {error}). Use the version that wrote it, or save it again."
        ) from error


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The two files of a fit."""
    if not (folder / _JSON).is_file():
        raise ValueError(f"path: {folder} holds no {_JSON}; pass the folder given to fit.save")
    try:
        config = json.loads((folder / _JSON).read_text(encoding="utf-8"))
        weights = load_file(folder / _WEIGHTS)
    except (ValueError, SafetensorError, OSError) as error:
        raise ValueError(
            f"path: the fit in {folder} cannot be read: {error}. Save it again."
        ) from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"path: {folder} has format {found!r}, this version reads {FORMAT}; "
            "use the version of mlsbi that wrote it"
        )
    return config, weights


def _numbers(row: Mapping[str, float | str]) -> dict[str, float]:
    """A row of the history, its NaN and infinities numbers again."""
    return {name: float(value) for name, value in row.items()}


def _losses(record: Mapping[str, Any] | None) -> MultilevelLosses | None:
    """None of fits saved before they had any."""
    return None if record is None else MultilevelLosses.from_dict(record)


def _calibration(record: Mapping[str, Any] | None) -> Calibration | None:
    """None of fits that were not calibrated."""
    return None if record is None else Calibration.from_dict(record)


def _describe(fit: Fit) -> dict[str, Any]:
    from mlsbi import __version__

    return {
        "format": FORMAT,
        "mlsbi": __version__,
        "torch": torch.__version__,
        "blueprint": describe_blueprint(fit.blueprint),
        "transforms": [
            describe_transform(t)
            for t in (fit.estimator.value_transform, fit.estimator.context_transform)
        ],
        "prior": fit.prior.to_dict(),
        "event_shape": list(fit.event_shape),
        "strategy": describe_strategy(fit.strategy),
        "training": asdict(fit.training),
        "status": fit.status.name,
        "history": list(fit.history),
        "n": list(fit.n),
        "cost": fit.cost,
        "seed": fit.seed,
        "multilevel": None if fit.multilevel is None else fit.multilevel.to_dict(),
        "recipe": None if fit.recipe is None else describe_recipe(fit.recipe),
        "seconds": fit.seconds,
        "calibration": None if fit.calibration is None else fit.calibration.to_dict(),
    }


def _weighted(whole: Estimator, weights: Mapping[str, Tensor], folder: Path) -> Estimator:
    # Fits saved before there were weights of members, or scales, have equal ones, and ones.
    given = {n: getattr(whole, n) for n in ("log_weights", "scale", "widening")} | dict(weights)
    try:
        whole.load_state_dict(given)
    except RuntimeError as error:
        raise ValueError(
            f"path: the weights in {folder} do not fit the architecture: {error}. Pass the "
            "estimator and embedding_net of the fit that was saved."
        ) from error
    return whole


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under the rest of the name."""
    start = f"{prefix}."
    return {n[len(start) :]: t for n, t in weights.items() if n.startswith(start)}


def _prior(described: Mapping[str, Any], prior: Any, blueprint: Blueprint) -> Prior:  # noqa: ANN401
    if prior is None:
        return Prior.from_dict(described)
    given, posterior = as_prior(prior), blueprint.kind == "posterior"
    dim = blueprint.value_dim if posterior else blueprint.context_shape[0]
    if given.dim != dim:
        raise ValueError(
            f"prior must be over {dim} parameters, as the fit is; got one over {given.dim}. "
            "Pass the prior of the data that the fit was trained on."
        )
    return given
