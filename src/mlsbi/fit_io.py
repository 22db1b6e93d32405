"""Fits on disk: a folder of JSON and safetensors; reading one runs no code from it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mlsbi import strategies
from mlsbi._checks import check_type
from mlsbi.estimators import specs
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Standardise, Support, Transform
from mlsbi.history import History, Status
from mlsbi.options import Training
from mlsbi.prior import Prior, as_prior
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

if TYPE_CHECKING:
    from mlsbi.estimators.specs import EstimatorSpec

__all__ = ["load_fit", "save_fit"]

FORMAT = 1
_JSON, _WEIGHTS = "fit.json", "weights.safetensors"
_CUSTOM = "custom"
_SPECS: dict[str, type[EstimatorSpec]] = {c.__name__: c for c in (specs.MDN, specs.MAF, specs.NSF)}
_TRANSFORMS = {c.__name__: c for c in (Standardise, Support)}


def save_fit(fit: Fit, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write `fit` to the folder `path`: whole, or not at all."""
    folder = Path(path)
    if folder.exists() and not overwrite:
        raise ValueError(f"path: {folder} exists; name another folder, or pass overwrite=True")
    if folder.exists() and not (folder / _JSON).is_file():
        raise ValueError(f"path: {folder} exists and holds no fit; name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        tensors = {n: t.detach().cpu().contiguous() for n, t in fit.estimator.state_dict().items()}
        save_file(tensors, part / _WEIGHTS)
        (part / _JSON).write_text(json.dumps(_describe(fit), indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
    folder = Path(path)
    if not (folder / _JSON).is_file():
        raise ValueError(f"path: {folder} holds no {_JSON}; pass the folder given to fit.save")
    try:
        config = json.loads((folder / _JSON).read_text())
        weights = load_file(folder / _WEIGHTS)
    except (json.JSONDecodeError, SafetensorError, OSError) as error:
        raise ValueError(f"path: the fit in {folder} cannot be read: {error}") from error
    if config.get("format") != FORMAT:
        raise ValueError(
            f"path: {folder} has format {config.get('format')!r}, this version reads {FORMAT}; "
            "use the version of mlsbi that wrote it"
        )
    blueprint = _blueprint(config["blueprint"], estimator, embedding_net)
    whole = _estimator(config, blueprint, weights, folder)
    kind = PosteriorFit if blueprint.kind == "posterior" else LikelihoodFit
    return kind(
        estimator=whole.to(device).eval().requires_grad_(requires_grad=False),
        blueprint=blueprint,
        prior=_prior(config["prior"], prior),
        event_shape=tuple(config["event_shape"]),
        strategy=_strategy(config["strategy"]),
        training=Training(**config["training"]),
        status=Status[config["status"]],
        history=History(tuple(config["history"])),
        n=tuple(config["n"]),
        cost=config["cost"],
        seed=config["seed"],
    )


def _describe(fit: Fit) -> dict[str, Any]:
    from mlsbi import __version__

    blueprint = {f.name: getattr(fit.blueprint, f.name) for f in fields(Blueprint)}
    blueprint["estimator"] = _describe_estimator(fit.blueprint.estimator)
    blueprint["embedding_net"] = None if fit.blueprint.embedding_net is None else _CUSTOM
    return {
        "format": FORMAT,
        "mlsbi": __version__,
        "torch": torch.__version__,
        "blueprint": blueprint,
        "transforms": [
            type(t).__name__
            for t in (fit.estimator.value_transform, fit.estimator.context_transform)
        ],
        "prior": fit.prior.to_dict(),
        "event_shape": list(fit.event_shape),
        "strategy": {"name": type(fit.strategy).__name__, **asdict(fit.strategy)},
        "training": asdict(fit.training),
        "status": fit.status.name,
        "history": list(fit.history),
        "n": list(fit.n),
        "cost": fit.cost,
        "seed": fit.seed,
    }


def _describe_estimator(estimator: object) -> Any:  # noqa: ANN401
    if isinstance(estimator, specs.EstimatorSpec):
        return {"name": type(estimator).__name__, **asdict(estimator)}
    return estimator if isinstance(estimator, str) else _CUSTOM


def _blueprint(
    described: Mapping[str, Any],
    estimator: Callable[..., Any] | None,
    embedding_net: nn.Module | None,
) -> Blueprint:
    values = dict(described)
    found = values["estimator"]
    if isinstance(found, dict):
        options = dict(found)
        options["hidden"] = tuple(options["hidden"])
        values["estimator"] = _SPECS[options.pop("name")](**options)
    elif found == _CUSTOM:
        if estimator is None:
            raise ValueError("estimator: this fit was made with an sbi builder; pass it again")
        values["estimator"] = estimator
    if values["embedding_net"] is not None:
        if embedding_net is None:
            raise ValueError(
                "embedding_net: this fit was made with an embedding net; pass a module of the same "
                "architecture (its weights come from the file)"
            )
        check_type(embedding_net, nn.Module, name="embedding_net")
        values["embedding_net"] = embedding_net
    values["context_shape"] = tuple(values["context_shape"])
    return Blueprint(**values)


def _estimator(
    config: Mapping[str, Any], blueprint: Blueprint, weights: dict[str, Tensor], folder: Path
) -> Estimator:
    density = blueprint.build(seed=0)
    whole = Estimator(
        density,
        _transform(config["transforms"][0], "value_transform", weights),
        _transform(config["transforms"][1], "context_transform", weights),
    )
    try:
        whole.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"path: the weights in {folder} do not fit the architecture: {error}. Pass the "
            "estimator and embedding_net of the fit that was saved."
        ) from error
    return whole


def _transform(name: str, prefix: str, weights: Mapping[str, Tensor]) -> Transform:
    """An empty transform of the right shapes; `load_state_dict` fills it."""
    start = f"{prefix}."
    return _TRANSFORMS[name](
        **{n[len(start) :]: t.clone() for n, t in weights.items() if n.startswith(start)}
    )


def _prior(described: Mapping[str, Any], prior: Any) -> Prior:  # noqa: ANN401
    return Prior.from_dict(described) if prior is None else as_prior(prior)


def _strategy(described: Mapping[str, Any]) -> strategies.Strategy:
    options = dict(described)
    name = options.pop("name")
    if name not in strategies.NAMED:
        raise ValueError(
            f"path: the fit names a strategy {name!r} that this version does not have; it has "
            f"{sorted(strategies.NAMED)}. Use the version of mlsbi that wrote it."
        )
    if options.get("training") is not None:
        options["training"] = Training(**options["training"])
    return strategies.NAMED[name](**options)
