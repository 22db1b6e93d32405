"""`mlsbi.report`: a fit, its runs, its check and an observation on one page, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from mlsbi._checks import check_count, check_type
from mlsbi._random import derive_seed
from mlsbi.data import MultilevelData
from mlsbi.reporting.draws import gather_draws, low_level_fit
from mlsbi.reporting.markup import Section
from mlsbi.reporting.observation import observation_section
from mlsbi.reporting.page import page
from mlsbi.reporting.posterior import posterior_section
from mlsbi.reporting.reproduce import cite_section, reproduce_section
from mlsbi.reporting.study import study_section
from mlsbi.reporting.subject import Subject, check_subject
from mlsbi.reporting.summary import summary_section, warnings_section
from mlsbi.reporting.training import training_section
from mlsbi.reporting.trust import trust_section
from mlsbi.reporting.words import subtitle
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

__all__ = ["report"]


def report(
    fit: Fit,
    path: str | PathLike[str],
    *,
    data: MultilevelData | None = None,
    check: Any = None,
    x_o: Any = None,
    theta_o: Any = None,
    predictive: Any = None,
    title: str | None = None,
    description: str | None = None,
    labels: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    num_draws: int = 10_000,
    low_fit: Fit | None = None,
    overlay: bool = True,
    others: Mapping[str, Any] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write a report of a fit: one HTML file that needs no network and no other file.

    What is not given is left out, and the page says how to have it. The same arguments give the
    same file, byte for byte.

    Args:
        fit: A posterior or likelihood fit.
        path: The file to write.
        data: The runs that the fit learned from: shown level by level, and their fingerprint.
        check: What `mlsbi.check` found of the fit: verdicts, coverage, scores.
        x_o: The observation, shape `(*event,)`, or m i.i.d. ones `(m, *event)` of a likelihood fit:
            the posterior there, and whether the simulators can produce it.
        theta_o: Its true parameters, shape `(d,)`, where they are known.
        predictive: Outputs simulated at posterior draws, shape `(m, *event)`.
        title: Of the page.
        description: What the study is about, in your words; an empty line begins a paragraph.
        labels: Names of the parameters, TeX between dollars allowed; by default the check's.
        outputs: Names of the entries of x.
        levels: What each level is, in a few words, coarsest first.
        num_draws: Posterior draws at `x_o`.
        low_fit: A fit of level 0 alone, to lay its posterior beneath.
        overlay: Whether such a fit is made where none is given and `data` is; a few seconds.
        others: Name -> draws of other posteriors at `x_o`, shape `(n, d)`, such as exact ones.
        seed: Of all draws.
        overwrite: Whether a file that is there may be replaced.
        progress: Show progress bars on standard error.

    Returns:
        The path of the file.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument does not belong to the fit, or the file exists.
    """
    target = _target(path, overwrite=overwrite)
    check_count(num_draws, name="num_draws", minimum=100)
    subject = check_subject(
        fit, data=data, check=check, x_o=x_o, theta_o=theta_o, predictive=predictive,
        labels=labels, outputs=outputs, levels=levels, seed=seed,
    )  # fmt: skip
    if low_fit is not None:
        check_type(low_fit, (PosteriorFit, LikelihoodFit), name="low_fit")
    elif overlay and data is not None and subject.x_o is not None:
        own = derive_seed(subject.seed, "report", "low fit")
        low_fit = low_level_fit(data, fit, seed=own, progress=progress)
    draws = gather_draws(subject, num_draws=num_draws, low_fit=low_fit, others=others)
    subject = replace(subject, draws=draws)
    observed = _observed(subject)
    text = page(
        title=title or "A multilevel fit and what speaks for it",
        subtitle=subtitle(subject),
        sections=_sections(subject, observed, description),
        foot="Made by mlsbi, multilevel simulation-based inference.",
    )
    target.write_text(text, encoding="utf-8")
    return target


def _target(path: str | PathLike[str], *, overwrite: bool) -> Path:
    check_type(path, (str, PathLike), name="path", remedy='Pass a file name, as "report.html".')
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"path must be a file; got the folder {target}. Name a file in it.")
    if target.exists() and not overwrite:
        raise ValueError(
            f"path: {target} exists already. Name another file, or pass overwrite=True."
        )
    if not target.parent.is_dir():
        raise ValueError(f"path: there is no folder {target.parent}. Make it first.")
    return target


def _observed(subject: Subject) -> Any:
    """What was found of the observation: the check's word, or asked now."""
    if subject.x_o is None or tuple(subject.x_o.shape) != subject.fit.event_shape:
        return None  # of many observations none is looked at by itself
    found = None if subject.check is None else subject.check.observation
    if found is not None:
        return found
    from mlsbi.checking.observation import check_observation

    return check_observation(
        subject.fit, subject.x_o, data=subject.data, predictive=subject.predictive,
        seed=derive_seed(subject.seed, "report", "observation"),
    )  # fmt: skip


def _sections(subject: Subject, observed: Any, description: str | None) -> list[Section]:
    findings = [] if subject.check is None else list(subject.check.findings)
    known = {f.text for f in findings}
    findings += [] if observed is None else [f for f in observed.findings if f.text not in known]
    made = (
        summary_section(subject, findings),
        warnings_section(findings),
        study_section(subject, description),
        posterior_section(subject),
        trust_section(subject),
        observation_section(subject, observed),
        training_section(subject),
        reproduce_section(subject),
        cite_section(),
    )
    return [section for section in made if section is not None]
