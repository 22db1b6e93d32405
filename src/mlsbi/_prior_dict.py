"""Priors as plain JSON: a whitelist of families, each named with its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from mlsbi._prior_product import Product

__all__ = ["as_float32", "distribution_from_dict", "distribution_to_dict"]

_CUSTOM = "custom"
_DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float32, torch.float64)}

# Family -> constructor arguments, which are also the names of its attributes.
_FAMILIES: dict[type[td.Distribution], tuple[str, ...]] = {
    td.Uniform: ("low", "high"),
    td.Normal: ("loc", "scale"),
    td.LogNormal: ("loc", "scale"),
    td.Laplace: ("loc", "scale"),
    td.Cauchy: ("loc", "scale"),
    td.Gumbel: ("loc", "scale"),
    td.StudentT: ("df", "loc", "scale"),
    td.HalfNormal: ("scale",),
    td.HalfCauchy: ("scale",),
    td.Exponential: ("rate",),
    td.Gamma: ("concentration", "rate"),
    td.Chi2: ("df",),
    td.InverseGamma: ("concentration", "rate"),
    td.Beta: ("concentration1", "concentration0"),
    td.Kumaraswamy: ("concentration1", "concentration0"),
    td.Weibull: ("scale", "concentration"),
    td.Pareto: ("scale", "alpha"),
    td.MultivariateNormal: ("loc", "scale_tril"),
}
_BY_NAME = {family.__name__: family for family in _FAMILIES}


class _UnknownFamilyError(Exception):
    pass


def distribution_to_dict(distribution: td.Distribution) -> dict[str, Any]:
    """Describe a distribution in JSON types; `{"type": "custom"}` if a part is not known."""
    try:
        return _describe(distribution)
    except _UnknownFamilyError as unknown:
        return {"type": _CUSTOM, "family": str(unknown)}


def distribution_from_dict(description: Mapping[str, Any]) -> td.Distribution:
    """Build the distribution that `distribution_to_dict` described.

    Raises:
        ValueError: If the description is of a custom prior, or is malformed.
    """
    kind = description.get("type")
    if kind == _CUSTOM:
        raise ValueError(
            f"the saved prior is a custom distribution ({description.get('family')}), which is not "
            "stored. Pass it again: prior=..."
        )
    try:
        return _build(description)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"the description of the prior cannot be read (type {kind!r}: {error}). "
            "Pass what Prior.to_dict returned, or the prior itself: prior=..."
        ) from error


def as_float32(distribution: td.Distribution) -> td.Distribution:
    """The same distribution with float32 parameters, if it has others and is of a known family.

    theta is float32 everywhere, and sbi's transforms refuse a prior of another dtype.
    """
    description = distribution_to_dict(distribution)
    narrowed = _narrow(description)
    if description["type"] == _CUSTOM or narrowed == description:
        return distribution
    return _build(narrowed)


def _narrow(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            k: "float32" if k == "dtype" and v == "float64" else _narrow(v) for k, v in part.items()
        }
    if isinstance(part, list) and part and isinstance(part[0], dict):
        return [_narrow(entry) for entry in part]
    return part


def _describe(distribution: td.Distribution) -> dict[str, Any]:
    family = type(distribution)  # exactly: a subclass may have another density
    found: Any = distribution
    if family.__module__.partition(".")[0] == "sbi":
        return _describe_sbi(found)
    if isinstance(found, Product):
        parts = [_describe(c) for c in found.components]
        return {"type": "Product", "components": parts}
    if family is td.Independent:
        count = found.reinterpreted_batch_ndims
        return {"type": "Independent", "base": _describe(found.base_dist), "ndims": count}
    if family is td.TransformedDistribution:
        steps = [_describe_transform(t) for t in found.transforms]
        base = _describe(found.base_dist)
        return {"type": "Transformed", "base": base, "transforms": steps}
    if family in _FAMILIES:
        values = {name: _pack(getattr(found, name)) for name in _FAMILIES[family]}
        return {"type": family.__name__, "parameters": values}
    raise _UnknownFamilyError(family.__name__)


def _describe_sbi(found: Any) -> dict[str, Any]:
    """Families of sbi, which takes long to import: only where such a prior is there already."""
    from sbi.utils import BoxUniform, MultipleIndependent

    if type(found) is MultipleIndependent:
        parts = [_describe(d) for d in found.dists]
        return {"type": "MultipleIndependent", "components": parts}
    if type(found) is BoxUniform:
        return {"type": "BoxUniform", "low": _pack(found.low), "high": _pack(found.high)}
    raise _UnknownFamilyError(type(found).__name__)


def _describe_transform(transform: td.Transform) -> dict[str, Any]:
    if type(transform) is td.ExpTransform:
        return {"type": "exp"}
    if type(transform) is td.AffineTransform and transform.event_dim == 0:
        return {
            "type": "affine",
            "loc": _pack(transform.loc),
            "scale": _pack(transform.scale),
        }
    raise _UnknownFamilyError(type(transform).__name__)


def _pack(value: Tensor | float) -> dict[str, Any]:
    if not isinstance(value, Tensor):
        return {"dtype": "number", "values": float(value)}
    # float32 -> Python float -> float32 is exact, so the density comes back bit for bit.
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise _UnknownFamilyError(f"a parameter of dtype {dtype}")
    return {"dtype": dtype, "values": value.detach().cpu().tolist()}


def _unpack(packed: Mapping[str, Any]) -> Any:
    if packed["dtype"] == "number":
        return float(packed["values"])
    return torch.tensor(packed["values"], dtype=_DTYPES[packed["dtype"]])


def _build_product(description: Mapping[str, Any]) -> td.Distribution:
    return Product([_build(c) for c in description["components"]])


def _build_multiple(description: Mapping[str, Any]) -> td.Distribution:
    from sbi.utils import MultipleIndependent

    parts = [_build(c) for c in description["components"]]
    return MultipleIndependent(parts, validate_args=False)


def _build_box(description: Mapping[str, Any]) -> td.Distribution:
    from sbi.utils import BoxUniform

    return BoxUniform(_unpack(description["low"]), _unpack(description["high"]))


def _build_independent(description: Mapping[str, Any]) -> td.Distribution:
    return td.Independent(_build(description["base"]), int(description["ndims"]))


def _build_transformed(description: Mapping[str, Any]) -> td.Distribution:
    transforms: list[td.Transform] = []
    for step in description["transforms"]:
        if step["type"] == "exp":
            transforms.append(td.ExpTransform())
        elif step["type"] == "affine":
            transforms.append(td.AffineTransform(_unpack(step["loc"]), _unpack(step["scale"])))
        else:
            raise ValueError(f"unknown transform {step['type']!r}")
    return td.TransformedDistribution(_build(description["base"]), transforms)


_BUILDERS: dict[str, Callable[[Mapping[str, Any]], td.Distribution]] = {
    "Product": _build_product,
    "MultipleIndependent": _build_multiple,
    "BoxUniform": _build_box,
    "Independent": _build_independent,
    "Transformed": _build_transformed,
}


def _build(description: Mapping[str, Any]) -> td.Distribution:
    kind = description["type"]
    if kind in _BUILDERS:
        return _BUILDERS[kind](description)
    if kind not in _BY_NAME:
        raise ValueError(f"unknown family {kind!r}")
    family = _BY_NAME[kind]
    names = _FAMILIES[family]
    values = {name: _unpack(description["parameters"][name]) for name in names}
    return family(**values, validate_args=False)
