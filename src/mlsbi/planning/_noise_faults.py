"""Faults of the noise: levels that are no function of (theta, u), and pairs that do not share u."""

from __future__ import annotations

import math

from mlsbi.planning._evidence import (
    MATTERS,
    NOTHING,
    NoiseLink,
    dependence,
    link_noise,
    link_residuals,
    response_correlation,
)
from mlsbi.planning._finding import FEWEST, Case, Finding, percent

__all__ = ["find_ignored_noise", "find_own_noise", "find_uncoupled", "tells_nothing"]

_SURE = 0.01  # p-value from which a link is taken for real
_TELLS = 0.003  # the same for what a level tells, which is asked in four ways
_LIKELY = 0.1  # the same where the correlation is strong besides
_STRONG = 0.6
_VAGUE = 0.4  # standard error of a correlation that says nothing: a few twins make it up
_HINT = 0.3  # the same for twins, and the least correlation, where all columns show the link
_MINOR = 0.05  # a level's own part of its noise below which it does no harm
_PART = 0.2  # and below which, where the pair shares noise all the same
_ENOUGH = 32  # columns from which a level that shows nothing counts as one that tells nothing
_INFORMED = 0.1  # share of a level's variance that theta explains, held out

_USE_U = (
    "row by row: `rng = np.random.default_rng(seed)` first, then draw everything from rng; in "
    "batches: `Hierarchy(..., noise=lambda n, generator: torch.randn(n, k, generator=generator))`, "
    "then `x = mean + sd * u`"
)


def find_own_noise(case: Case) -> list[Finding]:
    """Levels that give different x for the same theta and u."""
    found = []
    for level, view in enumerate(case.views):
        if view is None or view.own is None or not bool((view.own > NOTHING).any()):
            continue
        worst = int(view.own.argmax())
        own, noise = float(view.own[worst]), float(view.noise[worst])
        share = min(1.0, own / max(noise, own))
        # two rows say little: the variance may be as much larger as a chi-square quantile allows
        most = share * view.num_copies / (-2 * math.log(1 - _SURE))
        harmless = max(own, noise) < MATTERS or most < _MINOR
        harmless = harmless or (share < _PART and _is_coupled_anyway(case, level))
        found.append(
            Finding(
                "not-reproducible",
                level,
                "warning" if harmless else "fault",
                f"level {level} gave another x when run again with the same theta and the same u: "
                f"about {percent(share)} of its noise is its own, so that no other level can share "
                "it.",
                f"Draw all noise of level {level} from u and from nothing else (no global "
                f"generator, no clock, no generator kept or seeded outside the row): {_USE_U}.",
            )
        )
    return found


def _is_coupled_anyway(case: Case, level: int) -> bool:
    pairs = [k for k in case.pairs if level in (k - 1, k)]
    links = [_link(case, k) for k in pairs]
    return bool(links) and all(
        link is not None and _coupled(case, k, link) for k, link in zip(pairs, links, strict=True)
    )


def find_ignored_noise(case: Case) -> list[Finding]:
    """Levels on which u has no effect, where others have noise that matters."""
    seen = {level: view for level, view in enumerate(case.views) if view is not None}
    still = [level for level, view in seen.items() if view.deterministic]
    if len(still) == len(case.views) and still:
        return [
            Finding(
                "deterministic",
                0,
                "note",
                "u changes nothing at any level: all levels are functions of theta alone.",
                "Nothing, if that is meant; levels are coupled by theta.",
            )
        ]
    noisy = [level for level, view in seen.items() if bool(view.noisy.any())]
    return [_ignores(case, level, noisy) for level in still if noisy]


def _ignores(case: Case, level: int, noisy: list[int]) -> Finding:
    other = min(noisy, key=lambda k: abs(k - level))
    share = float(case.view(other).noise.max())
    return Finding(
        "ignores-noise",
        level,
        "warning",
        f"level {level} gives the same x whatever u is, while up to {percent(min(1.0, share))} of "
        f"the variance of level {other}'s outputs is noise.",
        f"If level {level} is meant to have noise, pass u to it, and seed no generator by a "
        f"constant ({_USE_U}). If it is a mean-field model, nothing: it can "
        "still help, by what it knows of the response to theta.",
    )


def find_uncoupled(case: Case) -> list[Finding]:
    """Pairs whose noises have nothing to do with each other; of the others, how they do."""
    found = []
    for level in case.pairs:
        if _out_of_question(case, level):
            continue
        link = _link(case, level)
        if link is None:
            continue
        if _coupled(case, level, link):
            found.append(_correlation_note(level, link))
        elif link.rows < FEWEST or abs(link.correlation) > _STRONG or link.error > _VAGUE:
            found.append(_unclear(level, link))
        else:
            found.append(_uncoupled(case, level, link))
    return found


def _out_of_question(case: Case, level: int) -> bool:
    """Whether another finding says it already, or there is no noise that matters."""
    low, high = case.view(level - 1), case.view(level)
    own = [v for v in (low, high) if v.own is not None and bool((v.own > NOTHING).any())]
    noiseless = not (bool(low.noisy.any()) and bool(high.noisy.any()))
    return bool(own) or noiseless or tells_nothing(case, level - 1)


def _link(case: Case, level: int) -> NoiseLink | None:
    return link_noise(case.view(level - 1), case.view(level), case.columns.twins)


def _coupled(case: Case, level: int, link: NoiseLink) -> bool:
    """Whether the noises of a pair are linked, output by output."""
    if link.p < _SURE or (link.p < _LIKELY and abs(link.correlation) > _STRONG):
        return True
    if link.rows >= FEWEST and (link.p > _HINT or link.error > _VAGUE):
        return False
    more = link_residuals(case.view(level - 1), case.view(level), case.columns.theta)
    if more is None or more.p > _SURE or abs(more.correlation) < _HINT:
        return False
    return link.rows < FEWEST or more.correlation * link.correlation > 0


def _figure(link: NoiseLink) -> str:
    return f"{link.correlation:+.2f} +- {link.error:.2f}"


def _correlation_note(level: int, link: NoiseLink) -> Finding:
    return Finding(
        "noise-correlation",
        level,
        "note",
        f"levels {level - 1} and {level} share noise: at the same theta its correlation is "
        f"{_figure(link)}, all outputs together.",
    )


def _unclear(level: int, link: NoiseLink) -> Finding:
    return Finding(
        "unclear-coupling",
        level,
        "warning",
        f"{link.rows} twins are too few to tell whether levels {level - 1} and {level} share "
        f"their noise (correlation at the same theta {_figure(link)}).",
        "Run a larger pilot: mlsbi.pilot(hierarchy, n=128, seed=...) keeps the columns of a "
        "smaller one; with store=... they are not run again.",
    )


def _uncoupled(case: Case, level: int, link: NoiseLink) -> Finding:
    low, high = case.view(level - 1), case.view(level)
    response = response_correlation(low, high, case.columns.theta)
    seen = (
        f"levels {level - 1} and {level} do not share their noise: both have noise (up to "
        f"{percent(min(1.0, float(low.noise.max())))} and "
        f"{percent(min(1.0, float(high.noise.max())))} of an output's variance), and "
        f"both respond to theta (the responses correlate by {response:+.2f}), but at the same "
        f"theta the correlation of the noises is {_figure(link)}."
    )
    if link.p_any < _SURE:
        seen += " Noise of one output turns up at another output: the draws are in another order."
    elif response > 0.8:
        seen += (
            " Likely the two use the seed's draws in another order, or each has a seed of its own."
        )
    matters = max(float(low.noise.mean()), float(high.noise.mean())) > MATTERS
    return Finding(
        "other-order",
        level,
        "fault" if matters else "warning",  # only a few outputs have noise to speak of
        seen,
        "Use the same draws for the same things: draw what both levels share first, all at once, "
        f"in the same order and sizes, then the rest ({_USE_U}). A coarser grid of a path sums the "
        "finer one's increments.",
    )


def tells_nothing(case: Case, level: int) -> bool:
    """Whether a level below L knows nothing of theta, nor of the level above it."""
    above = level + 1 if case.alike(level, level + 1) and case.sees(level, level + 1) else None
    if int(case.view(level).ok.sum()) < _ENOUGH:
        return False
    link = None if above is None else _link(case, above)
    if link is not None and min(link.p, link.p_any) < _TELLS:
        return False
    other = None if above is None else case.view(above)
    if min(dependence(case.view(level), case.columns.theta, other)) < _TELLS:
        return False
    gains = [gain for (_, coarse), gain in case.gains.items() if coarse == level]
    return all(g.nats < 2 * g.error and g.information < _INFORMED for g in gains)
