"""What is said of an observation: findings from figures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mlsbi.checking._members import Disagreement
from mlsbi.checking._misfit import Misfit, Odd
from mlsbi.checking._observed import Seen
from mlsbi.checking._posterior import Edge, Reach
from mlsbi.checking.finding import Finding
from mlsbi.checking.predictive import Predictive

__all__ = [
    "about_edges",
    "about_members",
    "about_predictive",
    "about_reach",
    "about_seen",
    "about_units",
]

_ALPHA = 0.005
_ALPHA_EDGE = 0.02  # Markov's bound is far above the rate at which it happens
_NAMED = 6

_LOOK = (
    "See whether x_o was measured and reduced as the simulators' x are: units, order, masks. If it "
    "was, the simulators do not produce it: leave such outputs out, add what is missing to the "
    "simulators, or widen the prior. Until then the fit is asked where it was not trained."
)


def _listed(parts: Sequence[str]) -> str:
    shown, rest = list(parts[:_NAMED]), len(parts) - _NAMED
    if rest > 0:
        shown.append(f"{rest} more")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def _off(odd: Odd, names: Sequence[str]) -> str:
    side = "above" if odd.z > 0 else "below"
    what = "what the other outputs lead to expect" if odd.given_others else "them"
    size = "far" if abs(odd.z) >= 99 else f"{abs(odd.z):.1f} sd"
    return f"{names[odd.output]} is {size} {side} {what}"


def _evidence(found: Misfit, names: Sequence[str]) -> dict[str, float]:
    evidence = {f"z of {names[odd.output]}": odd.z for odd in found.odd}
    evidence |= {f"p of {names[odd.output]}": odd.p for odd in found.odd}
    return evidence | {"distance": found.distance, "p of the distance": found.distance_p}


def about_seen(seen: Seen, names: Sequence[str], *, top: int) -> list[Finding]:
    """Of the comparison with runs, or with draws."""
    found = []
    if seen.top is not None and seen.top.outside:
        found.append(_outside(seen.top, seen, names))
    if seen.summary is not None and seen.summary.outside:
        found.append(_outside_summary(seen.summary, seen))
    if seen.like:
        levels = _listed([f"level {level}" for level in seen.like])
        found.append(
            Finding(
                "observation-of-level",
                "note",
                f"x_o does look like a run of {levels}.",
                f"If it was simulated, use level {top}: the fit is of that one.",
                {"level": float(seen.like[-1])},
            )
        )
    if seen.beyond:
        levels = _listed([f"level {level}" for level in seen.beyond])
        found.append(
            Finding(
                "beyond-coarse",
                "note",
                f"x_o lies outside the runs of {levels}, where those of level {top} seldom are: "
                "what the coarser runs teach is extrapolated there.",
                f"Rely on more runs of level {top} near x_o, or widen the prior if it is narrow.",
                {"level": float(seen.beyond[0])},
            )
        )
    return found


def _outside(top: Misfit, seen: Seen, names: Sequence[str]) -> Finding:
    if not top.odd:
        return Finding(
            "observation-outside",
            "warning",
            f"x_o as a whole is unlike {seen.against}: {top.distance:.1f} times as far from them "
            f"as they are from each other (p = {top.distance_p:.1g}), although no single output "
            "is off.",
            _LOOK,
            _evidence(top, names),
        )
    worst = min(odd.p for odd in top.odd)
    return Finding(
        "outputs-outside",
        "warning",
        f"x_o is unlike {seen.against}: {_listed([_off(odd, names) for odd in top.odd])} "
        f"(p = {worst:.1g}).",
        _LOOK,
        _evidence(top, names),
    )


def _outside_summary(found: Misfit, seen: Seen) -> Finding:
    names = [f"summary {j + 1}" for j in range(len(found.z))]
    parts = [_off(odd, names) for odd in found.odd]
    parts = parts or [f"as a whole it is {found.distance:.1f} times as far as they are"]
    return Finding(
        "summary-outside",
        "warning",
        f"What the fit sees of x_o, its learned summary, is unlike {seen.against}: "
        f"{_listed(parts)}.",
        _LOOK,
        _evidence(found, names),
    )


def about_units(z: Tensor, far: Tensor, names: Sequence[str]) -> list[Finding]:
    """Of x_o in the units of a posterior fit's network, where there are no runs at hand."""
    numbers = far.nonzero().flatten().tolist()
    if not numbers:
        return []
    parts = [
        f"{names[j]} is {abs(float(z[j])):.1f} {'above' if z[j] > 0 else 'below'}" for j in numbers
    ]
    return [
        Finding(
            "outputs-far",
            "warning",
            f"x_o lies far out in the units of the network, in robust widths of the training runs "
            f"from their median: {_listed(parts)}.",
            "Pass data=, the runs that the fit was made from, for a test. " + _LOOK,
            {f"z of {names[j]}": float(z[j]) for j in numbers},
        )
    ]


def about_members(found: Disagreement | None) -> list[Finding]:
    """Of the ensemble's members."""
    if found is None or found.p >= _ALPHA or not found.matters:
        return []
    return [
        Finding(
            "members-disagree",
            "warning",
            f"The ensemble's members disagree about theta at x_o by {found.nats:.2f} nats (of at "
            f"most {found.most:.2f}), more than at {100 * found.share:.0f} % of {found.runs} runs "
            f"of level L (there {found.typical:.2f}): the posterior is a guess.",
            "Do not read much into its shape. More runs of level L near the posterior help most: "
            "mlsbi.infer adds them round by round.",
            {
                "nats": found.nats, "most": found.most, "typical": found.typical,
                "share": found.share, "p": found.p,
            },
        )
    ]  # fmt: skip


def about_edges(found: Sequence[Edge]) -> list[Finding]:
    """Of the prior's bounds."""
    odd = [edge for edge in found if edge.p < _ALPHA_EDGE]
    if not odd:
        return []
    parts = []
    for edge in odd:
        end, mass = ("lowest", edge.median) if edge.median < 0.5 else ("highest", 1 - edge.median)
        bound = f", at its bound {edge.bound:g}" if abs(edge.bound) < float("inf") else ""
        parts.append(
            f"half of it is in the {end} {100 * mass:.2g} % of the prior of {edge.name}{bound}"
        )
    return [
        Finding(
            "prior-edge",
            "warning",
            f"The posterior piles up at the edge of the prior: {_listed(parts)}.",
            "Widen the prior there, if values beyond are possible; if they are not, x_o is hardly "
            "what the simulators produce.",
            {f"prior mass below the median of {edge.name}": edge.median for edge in odd},
        )
    ]


def about_reach(found: Sequence[Reach]) -> list[Finding]:
    """Of runs near the posterior."""
    odd = [reach for reach in found if reach.p < _ALPHA]
    if not odd:
        return []
    near = [reach.level for reach in found if reach not in odd]
    levels = _listed([f"level {reach.level}" for reach in odd])
    rests = f"rests on {_listed([f'level {level}' for level in near])}" if near else "rests on none"
    return [
        Finding(
            "no-runs-near",
            "warning",
            f"No run of {levels} lies near where the posterior is; what the fit says there "
            f"{rests}. The nearest are {odd[-1].ratio:.1f} times as far as runs of level "
            f"{odd[-1].level} are from each other.",
            f"Add runs of {levels} there, with theta from all of the prior.",
            {f"distance of level {reach.level}": reach.ratio for reach in odd}
            | {f"p of level {reach.level}": reach.p for reach in odd},
        )
    ]


def about_predictive(found: Predictive, names: Sequence[str]) -> list[Finding]:
    """Of what the posterior predicts."""
    if not found.flagged:
        return []
    odd = sorted(found.flagged, key=lambda j: float(found.p_value[j]))
    parts = [
        f"{names[j]} is {min(abs(float(found.z[j])), 99):.1f} sd "
        f"{'above' if found.z[j] > 0 else 'below'}"
        for j in odd
    ]
    return [
        Finding(
            "predictive-differs",
            "warning",
            f"x_o is not what its own posterior predicts, by {found.source}: {_listed(parts)}.",
            "The simulators cannot produce these outputs at any theta that the posterior holds for "
            "likely, or the posterior is wrong: see mlsbi.check, and whether x_o was reduced as "
            "the simulators' x are.",
            {f"z of {names[j]}": float(found.z[j]) for j in odd},
        )
    ]
