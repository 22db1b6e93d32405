"""How to make the fit again, and how to cite it."""

from __future__ import annotations

import json
import platform
from dataclasses import MISSING, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from mlsbi._data_digest import runs_digest
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.options import Training
from mlsbi.reporting.markup import Markup, Section, code_block, join, rich, table, tag
from mlsbi.reporting.subject import Subject
from mlsbi.strategies import Strategy

__all__ = ["cite_section", "reproduce_section"]

_PACKAGES = ("mlsbi", "torch", "sbi", "zuko", "numpy")
_PAPER = (
    "Yuga Hikida, Ayush Bharti, Niall Jeffrey, François-Xavier Briol (2025). Multilevel neural "
    "simulation-based inference. arXiv:2506.06087."
)
_URL = "https://arxiv.org/abs/2506.06087"
_BIBTEX = """\
@article{hikida2025multilevel,
  title   = {Multilevel neural simulation-based inference},
  author  = {Hikida, Yuga and Bharti, Ayush and Jeffrey, Niall and Briol, Fran{\\c{c}}ois-Xavier},
  journal = {arXiv preprint arXiv:2506.06087},
  year    = {2025},
  url     = {https://arxiv.org/abs/2506.06087}
}

@software{mlsbi,
  title   = {mlsbi: multilevel simulation-based inference},
  author  = {{mlsbi developers}},
  version = {VERSION},
  license = {MIT}
}"""


def reproduce_section(subject: Subject) -> Section:
    """Seeds, versions, the fingerprint of the data, and the call."""
    fit, data = subject.fit, subject.data
    rows: list[list[object]] = [["seed of the fit", str(fit.seed)]]
    if data is not None:
        seeds = sorted(data._facts["seeds"])
        rows += [["seed of the runs", ", ".join(map(str, seeds))]] if seeds else []
        rows.append(["fingerprint of the runs", tag("code", runs_digest(data))])
    rows += [] if subject.check is None else [["seed of the check", str(subject.check.seed)]]
    rows.append(["seed of this report", str(subject.seed)])
    rows += [[name, _version(name)] for name in _PACKAGES]
    rows += [["Python", platform.python_version()], ["device", str(fit.device)]]
    lead = (
        "The same runs, seed and versions give the same fit. These lines make it again from the "
        "saved runs:"
    )
    parts = [tag("p", lead), code_block(_code(subject))]
    parts.append(table(["what", "value"], rows, caption="Seeds and versions", words=(0, 1)))
    parts += _missing_arguments(subject)
    return Section("reproduce", "How to reproduce", join(parts))


def _version(package: str) -> str:
    if package == "torch":
        return str(torch.__version__)
    try:
        return version(package)
    except PackageNotFoundError:
        return "not known"


def _code(subject: Subject) -> str:
    fit = subject.fit
    function = "fit_posterior" if subject.is_posterior else "fit_likelihood"
    options = _options(subject)
    lines = ["import mlsbi", ""]
    lines.append('data = mlsbi.MultilevelData.load("runs.zarr")  # saved by data.save("runs.zarr")')
    lines += [f"fit = mlsbi.{function}(", "    data,"]
    lines += [f"    {name}={value}," for name, value in options.items()]
    lines += [f"    seed={fit.seed},", ")"]
    if fit.calibration is not None:
        method, seed = json.dumps(fit.calibration.method), fit.calibration.seed
        lines.append("check = mlsbi.check(fit, data)  # as it was made")
        lines.append(f"fit = mlsbi.calibrate(fit, check, method={method}, seed={seed})")
    return "\n".join(lines)


def _options(subject: Subject) -> dict[str, str]:
    """The arguments of the fit that are not the defaults."""
    fit = subject.fit
    recipe = fit.recipe
    found = {"strategy": call_text(fit.strategy)}
    if recipe is None:
        return found
    if isinstance(recipe.estimator, EstimatorSpec):
        found["estimator"] = call_text(recipe.estimator)
    elif isinstance(recipe.estimator, str):
        found["estimator"] = json.dumps(recipe.estimator)
    else:
        found["estimator"] = "your_builder"
    if recipe.embedding_net is not None or "embedding_net" in recipe.missing:
        found["embedding_net"] = "your_embedding_net"
    found["ensemble"] = str(recipe.ensemble)
    if recipe.training is not None:
        found["training"] = call_text(recipe.training)
    if recipe.tails != "auto":
        found["tails"] = json.dumps(recipe.tails)
    return found


def call_text(value: Any) -> str:
    """The call that makes a strategy, an estimator or options, its defaults left out."""
    if isinstance(value, tuple | list):
        inner = ", ".join(call_text(entry) for entry in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if not isinstance(value, Strategy | EstimatorSpec | Training):
        return json.dumps(value) if isinstance(value, str) else repr(value)
    given = []
    for field in fields(value):
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        if getattr(value, field.name) != default:
            given.append(f"{field.name}={call_text(getattr(value, field.name))}")
    return f"mlsbi.{type(value).__name__}({', '.join(given)})"


def _missing_arguments(subject: Subject) -> list[Markup]:
    if subject.data is not None:
        return []
    text = "The fingerprint of the runs is missing: pass data= to have it here."
    return [tag("p", text, class_="note")]


def cite_section() -> Section:
    """The method's paper and the software."""
    software = f"The software is mlsbi {_version('mlsbi')}; its CITATION.cff says the same."
    parts = [
        tag("p", "Cite the paper of the method:"),
        tag("blockquote", tag("p", rich(_PAPER), " ", tag("a", _URL, href=_URL))),
        tag("p", software),
        code_block(_BIBTEX.replace("VERSION", _version("mlsbi"))),
    ]
    return Section("cite", "How to cite", join(parts))
