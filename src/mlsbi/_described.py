"""Strategies, estimators and blueprints as plain JSON types, and back; names are looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from torch import nn

from mlsbi import strategies
from mlsbi.estimators import specs
from mlsbi.estimators.build import Blueprint, Part
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.options import Training
from mlsbi.recipe import Recipe
from mlsbi.strategies.base import Strategy

__all__ = [
    "describe_blueprint",
    "describe_recipe",
    "describe_strategy",
    "known",
    "read_blueprint",
    "read_recipe",
    "read_strategy",
]

_CUSTOM = "custom"
_SPECS: dict[str, type[EstimatorSpec]] = {c.__name__: c for c in (specs.MDN, specs.MAF, specs.NSF)}
_T = TypeVar("_T")


def known(name: str, names: Mapping[str, _T], what: str) -> _T:
    """Look `name` up, so that no code named by a file ever runs.

    Raises:
        ValueError: `names` does not hold it.
    """
    if name not in names:
        raise ValueError(
            f"path: the fit names a {what} {name!r} that this version does not have; it has "
            f"{sorted(names)}. Use the version of mlsbi that wrote it."
        )
    return names[name]


def describe_strategy(strategy: Strategy) -> dict[str, Any]:
    """A strategy's name and options, strategies and estimators among these likewise."""
    return _named(strategy)


def _named(described: Strategy | EstimatorSpec) -> dict[str, Any]:
    options = {f.name: _plain(getattr(described, f.name)) for f in fields(described)}
    return {"name": type(described).__name__, **options}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Strategy | EstimatorSpec):
        return _named(value)
    if isinstance(value, Training):
        return asdict(value)
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value


def read_strategy(described: Mapping[str, Any]) -> Strategy:
    """The strategy that `describe_strategy` described.

    Raises:
        ValueError: It names something that this version does not have.
    """
    options = dict(described)
    kind = known(options.pop("name"), strategies.NAMED, "strategy")
    if options.get("training") is not None:
        options["training"] = Training(**options["training"])
    return kind(**{name: _object(value) for name, value in options.items()})


def _object(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return tuple(_object(entry) for entry in value)
    if isinstance(value, Mapping) and "name" in value:
        return _spec(value) if value["name"] in _SPECS else read_strategy(value)
    return value


def _spec(described: Mapping[str, Any]) -> EstimatorSpec:
    options = {name: _object(value) for name, value in described.items() if name != "name"}
    return known(described["name"], _SPECS, "estimator")(**options)


def describe_blueprint(blueprint: Blueprint) -> dict[str, Any]:
    """A blueprint's fields; a builder or a net of the user's own by a mark in its place."""
    described = {f.name: getattr(blueprint, f.name) for f in fields(Blueprint)}
    described["estimator"] = _describe_estimator(blueprint.estimator)
    described["embedding_net"] = None if blueprint.embedding_net is None else _CUSTOM
    if blueprint.parts is not None:
        described["parts"] = [
            part._asdict() | {"estimator": _describe_estimator(part.estimator)}
            for part in blueprint.parts
        ]
    return described


def _describe_estimator(estimator: object) -> Any:  # noqa: ANN401
    if isinstance(estimator, EstimatorSpec):
        return _named(estimator)
    return estimator if isinstance(estimator, str | None) else _CUSTOM


def read_blueprint(
    described: Mapping[str, Any],
    estimator: Callable[..., Any] | None,
    embedding_net: nn.Module | None,
) -> Blueprint:
    """The blueprint that `describe_blueprint` described.

    Args:
        described: What it returned.
        estimator: The user's builder, where there is a mark in its place.
        embedding_net: The user's net, likewise.

    Raises:
        ValueError: One of the two is needed and missing, or a name is not known.
    """
    values = dict(described)
    values["estimator"] = _read_estimator(values["estimator"], estimator)
    if values["embedding_net"] is not None:
        if embedding_net is None:
            raise ValueError(
                "embedding_net: this fit was made with an embedding net; pass a module of the same "
                "architecture (its weights come from the file)"
            )
        values["embedding_net"] = embedding_net
    values["context_shape"] = tuple(values["context_shape"])
    if values.get("parts") is not None:
        values["parts"] = tuple(
            Part(**part | {"estimator": _read_estimator(part["estimator"], estimator)})
            for part in values["parts"]
        )
    return Blueprint(**values)


def _read_estimator(described: Any, estimator: Callable[..., Any] | None) -> Any:  # noqa: ANN401
    if isinstance(described, Mapping):
        return _spec(described)
    if described != _CUSTOM:
        return described
    if estimator is None:
        raise ValueError("estimator: this fit was made with an sbi builder; pass it again")
    return estimator


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe without its kind and strategy, which a fit has; marks as in a blueprint."""
    has_net = recipe.embedding_net is not None or "embedding_net" in recipe.missing
    builder = "estimator" in recipe.missing
    return {
        "estimator": _CUSTOM if builder else _describe_estimator(recipe.estimator),
        "embedding_net": _CUSTOM if has_net else None,
        "ensemble": recipe.ensemble,
        "training": None if recipe.training is None else asdict(recipe.training),
        "tails": recipe.tails,
    }


def read_recipe(
    described: Mapping[str, Any],
    *,
    kind: str,
    strategy: Strategy,
    estimator: Callable[..., Any] | None,
    embedding_net: nn.Module | None,
) -> Recipe:
    """The recipe that `describe_recipe` described.

    Args:
        described: What it returned.
        kind: "posterior" or "likelihood".
        strategy: The fit's.
        estimator: The user's builder, where there is a mark in its place.
        embedding_net: The user's net, likewise. What is needed and not given is `missing`.
    """
    values = dict(described)
    given = {"estimator": estimator, "embedding_net": embedding_net}
    marked = [name for name in given if values[name] == _CUSTOM]
    made = {name: given[name] for name in marked}
    if "estimator" not in marked:
        made["estimator"] = _read_estimator(values["estimator"], None)
    if values["training"] is not None:
        values["training"] = Training(**values["training"])
    missing = tuple(name for name in marked if given[name] is None)
    return Recipe(**(values | made), kind=kind, strategy=strategy, missing=missing)
