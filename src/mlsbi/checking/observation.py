"""Is an observation something that the simulators can produce, and what does the fit do there.

All that is looked at shares a probability of about 5 % of a false alarm: the comparison with runs
(`_misfit.py`), the ensemble's agreement (`_members.py`), the posterior's place in the prior and
among the runs (`_posterior.py`), and the posterior predictive (`predictive.py`).

sbi's own test of misspecification (`sbi.diagnostics.misspecification`, MMD between observations and
simulations) needs several observations and cannot say less than one over the number of runs: with
one x_o and twenty runs it has nothing to add.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_type
from mlsbi._random import derive_seed
from mlsbi._table import Table
from mlsbi.checking._members import disagreement
from mlsbi.checking._observation_result import ObservationCheck
from mlsbi.checking._observed import Seen, far_from_units, look
from mlsbi.checking._observed_words import (
    about_edges,
    about_members,
    about_predictive,
    about_reach,
    about_seen,
    about_units,
)
from mlsbi.checking._posterior import edges, reaches
from mlsbi.checking.arguments import Asked, as_asked
from mlsbi.checking.draws import data_draws, is_likelihood, posterior_draws
from mlsbi.checking.finding import Finding, sorted_findings
from mlsbi.checking.predictive import Predictive, of_draws, of_runs, primary
from mlsbi.data import MultilevelData

__all__ = ["ObservationCheck", "check_observation"]

_ALPHA_PREDICTIVE = 0.005
_MOST = 4000  # runs of a level that are weighted
_MOST_ROWS = 1000  # outputs in the table
_UNITS = (
    "x_o was looked at in the units of the fit's network only: no runs are at hand to test it by. "
    "Pass data=, the runs that the fit was made from."
)


def check_observation(
    fit: Any,
    x_o: Any,
    *,
    data: MultilevelData | None = None,
    predictive: Any = None,
    num_draws: int = 500,
    labels: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    seed: int = 0,
) -> ObservationCheck:
    """Look at an observation before believing what a fit says of it.

    With `data` it is compared with level L's runs, however few, and with the posterior predictive
    of runs that exist. Without, a likelihood fit's own draws stand for the runs; of a posterior fit
    only what lies very far out in the network's units is seen.

    Args:
        fit: A posterior or a likelihood fit.
        x_o: The observation, shape `(*event,)`.
        data: The runs that the fit was made from.
        predictive: Your own simulations of level L at draws from the posterior, shape
            `(m, *event)`: the best predictive check there is.
        num_draws: Posterior draws.
        labels: Names of the parameters.
        outputs: Names of the outputs, as many as x has numbers.
        seed: Of all draws; the same seed gives the same result.

    Returns:
        The findings, and the figures behind them.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong shape, is not finite, or does not fit the others.
    """
    began = time.perf_counter()
    asked = as_asked(fit, labels=labels, num_draws=num_draws, seed=seed, x_o=x_o)
    observed = asked.x_o
    if observed is None:
        raise TypeError("x_o must be an observation; got None. Pass one x.")
    data = _checked_data(fit, data)
    simulated = _checked_predictive(fit, predictive)
    names = _names(fit, outputs)
    seen = look(fit, observed, data, seed=seed)
    draws = posterior_draws(
        fit, observed.unsqueeze(0), num_draws, seed=derive_seed(seed, "observation")
    ).theta[:, 0]
    given, levels = _predictives(asked, observed, draws, data, simulated)
    basis, findings, figures = _of_runs(fit, observed, seen, names)
    of_posterior, of_figures = _of_posterior(asked, observed, draws, data)
    shown = given if given is not None else primary(levels)
    # what level L's runs do not predict is odd; that other levels differ is as it should be
    for made in (given, *levels[:1]):
        if made is not None and made.level in {None, len(fit.n) - 1}:
            predicted = names if len(names) == len(made.observed) else _summary_names(made)
            findings += about_predictive(made, predicted)
    if shown is not None:
        basis.append(str(shown))
    return ObservationCheck(
        findings=sorted_findings(findings + of_posterior),
        basis=tuple(basis),
        outputs=_table(observed, seen, names),
        figures=figures | of_figures,
        predictive=shown,
        levels=tuple(levels),
        seconds=time.perf_counter() - began,
    )


def _checked_data(fit: Any, data: Any) -> MultilevelData | None:
    if data is None:
        return None
    check_type(data, MultilevelData, name="data", remedy="Use MultilevelData.from_arrays(...).")
    top = data.num_levels - 1
    if data.theta_dim != fit.theta_dim or tuple(data.event_shape(top)) != tuple(fit.event_shape):
        raise ValueError(
            f"data must have {fit.theta_dim} parameter(s) and x of shape {tuple(fit.event_shape)} "
            f"at level L, as the fit; got {data.theta_dim} and {tuple(data.event_shape(top))}. "
            "Pass the runs that the fit was made from."
        )
    checked: MultilevelData = data
    return checked


def _checked_predictive(fit: Any, predictive: Any) -> Tensor | None:
    if predictive is None:
        return None
    event = tuple(fit.event_shape)
    remedy = "Pass one simulation of level L a row, at theta = fit.sample(m, x=x_o)."
    given = as_tensor(predictive, name="predictive", shape=(None, *event), remedy=remedy).cpu()
    if len(given) < 2:
        raise ValueError(f"predictive must have at least 2 rows; got {len(given)}. {remedy}")
    return given


def _names(fit: Any, outputs: Any) -> list[str]:
    event = tuple(fit.event_shape)
    count = math.prod(event)
    if outputs is None:
        if count == 1:
            return ["x"]
        places = [torch.unravel_index(torch.tensor(j), event) for j in range(count)]
        return [f"x[{', '.join(str(int(i)) for i in place)}]" for place in places]
    if isinstance(outputs, str) or not isinstance(outputs, Sequence):
        raise TypeError(
            f"outputs must be a sequence of names; got {type(outputs).__name__}. Pass one for each "
            "number in x."
        )
    if len(outputs) != count:
        raise ValueError(
            f"outputs must hold {count} names, one for each number in x; got {len(outputs)}. Pass "
            "them in the order of x.flatten()."
        )
    return [str(name) for name in outputs]


def _summary_names(made: Predictive) -> list[str]:
    return [f"summary {j + 1}" for j in range(len(made.observed))]


def _of_runs(
    fit: Any, x_o: Tensor, seen: Seen | None, names: list[str]
) -> tuple[list[str], list[Finding], dict[str, float]]:
    """What the comparison with runs says: its basis in words, findings, figures."""
    if seen is None:
        z, far = far_from_units(fit, x_o)
        own = names if len(names) == len(z) else [f"summary {j + 1}" for j in range(len(z))]
        return [_UNITS], about_units(z, far, own), {"farthest": float(z.abs().max())}
    found = about_seen(seen, names, top=len(fit.n) - 1)
    figures = {}
    compared = [one for one in (seen.top, seen.summary) if one is not None]
    for one in compared:
        figures["distance"], figures["distance_p"] = one.distance, one.distance_p
        figures["farthest"] = float(one.z.abs().max())
    few = "" if compared else ": they are too few to say anything"
    scale = f"; {seen.scale}" if compared and seen.scale else ""
    return [f"x_o was compared with {seen.against}{few}{scale}."], found, figures


def _of_posterior(
    asked: Asked, x_o: Tensor, draws: Tensor, data: MultilevelData | None
) -> tuple[list[Finding], dict[str, float]]:
    """What the posterior and the members at x_o say: findings and figures."""
    fit, seed = asked.fit, asked.seed
    of_edges = edges(draws, fit.prior, asked.labels, seed=seed)
    figures = {f"prior mass below {edge.name}": edge.median for edge in of_edges}
    figures |= {f"lowest hundredth of {edge.name}": edge.low for edge in of_edges}
    figures |= {f"highest hundredth of {edge.name}": edge.high for edge in of_edges}
    runs = None if data is None else data.x(data.num_levels - 1)
    members = disagreement(fit, x_o, runs, seed=derive_seed(seed, "members"))
    findings = [*about_members(members), *about_edges(of_edges)]
    if members is not None:
        figures |= {"disagreement": members.nats, "disagreement_most": members.most}
        figures |= {"disagreement_typical": members.typical, "disagreement_share": members.share}
    if data is not None:
        of_reach = reaches(draws, data, seed=seed)
        findings += about_reach(of_reach)
        figures |= {f"distance of level {reach.level}": reach.ratio for reach in of_reach}
    return findings, figures


def _predictives(
    asked: Asked, x_o: Tensor, draws: Tensor, data: MultilevelData | None, simulated: Tensor | None
) -> tuple[Predictive | None, list[Predictive]]:
    """The user's own or the fit's, if there is one; and that of each level's runs, finest first."""
    fit, given = asked.fit, None
    if simulated is not None:
        source = f"{len(simulated)} simulations at draws of the posterior"
        given = of_draws(simulated, x_o, source=source, alpha=_ALPHA_PREDICTIVE)
    elif is_likelihood(fit):
        seed = derive_seed(asked.seed, "predictive")
        x = data_draws(fit, draws.float().to(fit.device), 1, seed=seed)[0][0].detach().cpu()
        one = x_o if fit.summary is None else _summary(fit, x_o)
        what = "x" if fit.summary is None else "summaries of x"
        source = f"{len(x)} draws of {what} from the fit"
        given = of_draws(x, one, source=source, alpha=_ALPHA_PREDICTIVE)
    levels = [] if data is None else range(data.num_levels - 1, -1, -1)
    return given, [_of_level(fit, x_o, data, k) for k in levels if _same(data, k, x_o)]


def _same(data: MultilevelData | None, level: int, x_o: Tensor) -> bool:
    return data is not None and tuple(data.event_shape(level)) == tuple(x_o.shape)


def _summary(fit: Any, x_o: Tensor) -> Tensor:
    made: Tensor = fit.summarise(x_o.unsqueeze(0).to(fit.device)).detach().cpu()[0]
    return made


def _of_level(fit: Any, x_o: Tensor, data: Any, level: int) -> Predictive:
    theta, x = data.theta(level)[:_MOST], data.x(level)[:_MOST]
    weights = fit.log_prob(theta, x_o).detach().cpu().double()
    if not is_likelihood(fit):
        weights = weights - data.prior.log_prob(theta).cpu().double()
    coarse = level < data.num_levels - 1
    return of_runs(x, weights, x_o, level=level, coarse=coarse, alpha=_ALPHA_PREDICTIVE)


def _table(x_o: Tensor, seen: Seen | None, names: list[str]) -> Table:
    """A row an output: x_o, the median of the runs, and how far off it is."""
    found = None if seen is None else seen.top
    flat = x_o.flatten().double()
    rows = []
    for j, name in enumerate(names[:_MOST_ROWS]):
        row: dict[str, float | int | str | None] = {"output": name, "x_o": float(flat[j])}
        if seen is not None and seen.median is not None:
            row["median of runs"] = float(seen.median[j])
        if found is not None:
            row["sd away"] = float(found.z[j])
        if found is not None and found.given is not None:
            row["given others"] = float(found.given[j])
        rows.append(row)
    return Table("x_o, output by output", tuple(rows))
