"""What a report is about: its ingredients, checked once, and the draws that several parts show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed, check_type
from mlsbi._observation import as_observation
from mlsbi.data import MultilevelData
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

__all__ = ["Subject", "check_subject", "text_list"]

_PLAIN = re.compile(r"^theta_(\d+)$")  # what a check calls parameters without names
THIS_FIT = "this fit"
LOW_FIT = "level 0 alone"


@dataclass(frozen=True, eq=False)
class Subject:
    """The ingredients of a report.

    Attributes:
        fit: What it is of.
        data: The runs that the fit learned from.
        check: What `mlsbi.check` found of the fit.
        x_o: The observation, `(*event,)`, or m of them for a likelihood fit, `(m, *event)`.
        theta_o: Its true parameters, `(d,)`, where known.
        predictive: Outputs simulated at posterior draws, `(m, *event)`.
        labels: Names of the parameters.
        outputs: Names of the entries of x, flattened.
        levels: What each level is, in words.
        draws: Name -> draws from a posterior at `x_o`, `(n, d)`, this fit's first.
        seed: Of all draws.
    """

    fit: Fit
    data: MultilevelData | None
    check: Any
    x_o: Tensor | None
    theta_o: Tensor | None
    predictive: Tensor | None
    labels: tuple[str, ...]
    outputs: tuple[str, ...] | None
    levels: tuple[str, ...] | None
    draws: Mapping[str, Tensor]
    seed: int

    @property
    def is_posterior(self) -> bool:
        """Whether the fit is of the posterior, not of the likelihood."""
        return isinstance(self.fit, PosteriorFit)

    @property
    def top(self) -> int:
        """The finest level, L."""
        return len(self.fit.n) - 1

    @property
    def own_draws(self) -> Tensor | None:
        """This fit's draws at `x_o`."""
        return self.draws.get(THIS_FIT)


def check_subject(
    fit: Fit,
    *,
    data: Any,
    check: Any,
    x_o: Any,
    theta_o: Any,
    predictive: Any,
    labels: Sequence[str] | None,
    outputs: Sequence[str] | None,
    levels: Sequence[str] | None,
    seed: int,
) -> Subject:
    """The ingredients without draws.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument does not belong to the fit; the message names it.
    """
    remedy = "Pass what mlsbi.fit_posterior, mlsbi.fit_likelihood or mlsbi.load_fit returned."
    check_type(fit, (PosteriorFit, LikelihoodFit), name="fit", remedy=remedy)
    event, dim = fit.event_shape, fit.theta_dim
    if data is not None:
        _check_data(fit, data)
    if check is not None:
        _check_check(fit, check)
    names = _labels(labels, check, dim)
    if check is not None:
        check = _relabelled(check, names)
    return Subject(
        fit=fit,
        data=data,
        check=check,
        x_o=None if x_o is None else _observation(fit, x_o),
        theta_o=None if theta_o is None else as_tensor(theta_o, name="theta_o", shape=(dim,)),
        predictive=None if predictive is None else _simulated(predictive, event),
        labels=names,
        outputs=text_list(outputs, name="outputs", count=_size(event), of="an entry of x"),
        levels=text_list(levels, name="levels", count=len(fit.n), of="a level"),
        draws={},
        seed=check_seed(seed),
    )


def _check_data(fit: Fit, data: Any) -> None:
    check_type(data, MultilevelData, name="data", remedy="Pass the runs that the fit learned from.")
    if tuple(data.n) != tuple(fit.n) or data.theta_dim != fit.theta_dim:
        raise ValueError(
            f"data must be the runs that the fit learned from, {fit.n} of its levels with "
            f"{fit.theta_dim} parameter(s); got {data.n} with {data.theta_dim}. Pass that data "
            "set, or leave data out."
        )


def _check_check(fit: Fit, check: Any) -> None:
    from mlsbi.checking.result import Check

    check_type(check, Check, name="check", remedy="Pass what mlsbi.check returned.")
    kind = "posterior" if isinstance(fit, PosteriorFit) else "likelihood"
    if check.kind != kind or len(check.labels) != fit.theta_dim:
        raise ValueError(
            f"check must be of this fit, a {kind} fit with {fit.theta_dim} parameter(s); got that "
            f"of a {check.kind} fit with {len(check.labels)}. Pass what mlsbi.check returned of it."
        )


def _relabelled(check: Any, names: tuple[str, ...]) -> Any:
    """The same check under the names of the report."""
    known = dict(zip(check.labels, names, strict=True))
    verdicts = tuple(replace(v, name=known.get(v.name, v.name)) for v in check.verdicts)
    rows = tuple(
        {k: known.get(v, v) if isinstance(v, str) else v for k, v in row.items()}
        for row in check.tests
    )
    tests = replace(check.tests, rows=rows)
    return replace(check, labels=names, verdicts=verdicts, tests=tests)


def _observation(fit: Fit, x_o: Any) -> Tensor:
    remedy = "Pass the observation that the posterior is wanted for."
    several = isinstance(fit, LikelihoodFit)
    return as_observation(x_o, fit.event_shape, remedy=remedy, several=several)


def _simulated(predictive: Any, event: tuple[int, ...]) -> Tensor:
    remedy = "Pass outputs simulated at posterior draws, one a row."
    shape = (None, *event)
    tensor = as_tensor(predictive, name="predictive", shape=shape, remedy=remedy).cpu()
    check_count(len(tensor), name="the number of rows of predictive", minimum=2)
    return tensor


def _labels(labels: Sequence[str] | None, check: Any, dim: int) -> tuple[str, ...]:
    if labels is None and check is not None:
        return tuple(_PLAIN.sub(r"$\\theta_{\1}$", str(label)) for label in check.labels)
    given = text_list(labels, name="labels", count=dim, of="a parameter")
    return given or tuple(rf"$\theta_{{{i + 1}}}$" for i in range(dim))


def text_list(
    texts: Sequence[str] | None, *, name: str, count: int, of: str
) -> tuple[str, ...] | None:
    """So many texts, or None.

    Raises:
        TypeError: `texts` is no sequence, or a string.
        ValueError: There are not `count` of them.
    """
    if texts is None:
        return None
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise TypeError(
            f"{name} must be a list of {count} strings, one for {of}; got {type(texts).__name__} "
            f"({texts!r}). Put the names into a list."
        )
    if len(texts) != count:
        raise ValueError(
            f"{name} must hold {count} names, one for {of}; got {len(texts)}. Name all of them, or "
            "leave it out."
        )
    return tuple(str(text) for text in texts)


def _size(event: tuple[int, ...]) -> int:
    return int(torch.tensor(event).prod()) if event else 1
