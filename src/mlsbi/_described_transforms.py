"""Transforms as plain JSON types, and back: a name, and what a learned summary was built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mlsbi._described import describe_blueprint, known, read_blueprint
from mlsbi.estimators.transforms import Standardise, Support, Transform
from mlsbi.summaries import PosteriorMean, Ridge, Summary

__all__ = ["describe_transform", "read_transform"]

_PLAIN: dict[str, type[Standardise] | type[Support]] = {
    c.__name__: c for c in (Standardise, Support)
}
_SUMMARIES = {Summary.__name__: Summary}
_COMPRESSORS: dict[str, type[PosteriorMean] | type[Ridge]] = {
    c.__name__: c for c in (PosteriorMean, Ridge)
}


def describe_transform(transform: Transform) -> Any:  # noqa: ANN401
    """The name of a transform; for a summary, what it takes to build its compressor again."""
    if not isinstance(transform, Summary):
        return type(transform).__name__
    described: dict[str, Any] = {
        "name": Summary.__name__,
        "final": describe_transform(transform.final),
        "compressor": type(transform.compressor).__name__,
    }
    if isinstance(transform.compressor, PosteriorMean):
        described["blueprint"] = describe_blueprint(transform.compressor.blueprint)
    return described


def read_transform(
    described: Any,  # noqa: ANN401
    tensors: Mapping[str, Tensor],
    embedding_net: nn.Module | None,
) -> Transform:
    """A transform of the right shapes; a summary's networks get their weights from the fit's.

    Args:
        described: What `describe_transform` returned.
        tensors: The transform's part of the saved tensors, by their names in it.
        embedding_net: The user's, where the summary was learned through one.

    Raises:
        ValueError: A name is not known, or the embedding net is missing.
    """
    if isinstance(described, str):
        kind = known(described, _PLAIN, "transform")
        return kind(**{name: tensor.clone() for name, tensor in tensors.items()})
    summary = known(described["name"], _SUMMARIES, "transform")
    final = read_transform(described["final"], _part(tensors, "final."), None)
    standardise = Standardise(**_part(tensors, "compressor.standardise."))
    if known(described["compressor"], _COMPRESSORS, "compressor") is Ridge:
        own = _part(tensors, "compressor.")
        return summary(Ridge(standardise, own["weights"], own["offset"]), final)
    blueprint = read_blueprint(described["blueprint"], None, embedding_net)
    return summary(PosteriorMean(standardise, blueprint, blueprint.build(seed=0)), final)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t.clone() for n, t in tensors.items() if n.startswith(prefix)}
