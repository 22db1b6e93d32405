"""Is one x like the runs of a level: output by output, given the other outputs, and as a whole.

Outputs go to normal scores by the runs of a cheaper level, of which there are many (see
`_normal.py`); the level's own runs, of which there may be twenty, give each output a place and a
width there, and Student's t says how odd x is. "Given the others" does the same with what is left
of an output when the others have explained what they can, with the covariance of the cheaper
level: one output off a smooth curve is seen there. "As a whole" is a distance after Mahalanobis in
which each run of the level is compared with the others (a conformal score: Vovk, Gammerman and
Shafer 2005), with a t tail on its log. The three share the probability of a false alarm evenly, and
outputs share theirs by Bonferroni's bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi.checking._normal import LinearScale, NormalScale, two_sided, upper_tail, z_of

__all__ = ["FEWEST", "Misfit", "Odd", "misfit", "nearest_distances"]

FEWEST = 4  # runs below which nothing is said
_FEWEST_WHOLE = 6
_FOR_RANKS = 50  # reference runs that normal scores take
_PER_OUTPUT = 3  # reference runs an output that a covariance takes
_MOST_OUTPUTS = 512  # above which outputs are not judged given the others
_MOST_NUMBERS = 20_000_000  # in the reference runs
_MOST_ODD = 12  # outputs that are named given the others
_RIDGE = 1e-3
_NEIGHBOUR = 3


@dataclass(frozen=True)
class Odd:
    """An output in which x is unlike the runs.

    Attributes:
        output: Its number, flattened.
        z: Standard deviations above (or, negative, below) the runs.
        p: Probability of any output being as far off, by chance.
        given_others: Whether it is off only by what the other outputs lead to expect.
    """

    output: int
    z: float
    p: float
    given_others: bool


@dataclass(frozen=True, eq=False)
class Misfit:
    """How one x compares with the runs of a level.

    Attributes:
        runs: Their number.
        z: Standard deviations of x from the runs, of each output, `(D,)`.
        given: The same given the other outputs, `(D,)`; None where there are too few runs.
        odd: The outputs that are off.
        distance: Of x from the runs as a whole, in units of the median run's; NaN if not known.
        distance_p: Its p-value; 1 if not known.
        far: Whether x is off as a whole.
    """

    runs: int
    z: Tensor
    given: Tensor | None
    odd: tuple[Odd, ...]
    distance: float
    distance_p: float
    far: bool

    @property
    def outside(self) -> bool:
        """Whether x is unlike the runs in any way."""
        return self.far or bool(self.odd)


def misfit(runs: Tensor, reference: Tensor | None, one: Tensor, *, alpha: float) -> Misfit | None:
    """Compare one x with the runs of a level.

    Args:
        runs: Of the level, shape `(n, D)`.
        reference: Many runs of a level like it, shape `(N, D)`; None: the level's own are split,
            if they are many, or else taken without normal scores.
        one: Shape `(D,)`.
        alpha: Probability of finding anything in an x that is one of the level.

    Returns:
        The comparison; None where there are fewer than `FEWEST` runs.
    """
    runs, one = runs.double(), one.double()
    if reference is None and len(runs) >= 2 * _FOR_RANKS:
        reference, runs = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    if len(runs) < FEWEST:
        return None
    scale, known = _reference(reference if reference is not None else runs[:0], runs)
    scores, score = scale(runs), scale(one.unsqueeze(0))[0]
    whole = len(one) > 1 and len(runs) >= _FEWEST_WHOLE
    if isinstance(scale, LinearScale):
        alpha /= 2  # nothing has made tails normal
    part = alpha / (1 + (known is not None) + whole)
    z = z_of(scores, score)
    p = two_sided(z, len(runs)) * len(z)
    odd = [
        Odd(j, float(z[j]), min(1.0, float(p[j])), given_others=False)
        for j in p.argsort().tolist()
        if float(p[j]) < part
    ]
    given = None
    if known is not None:
        given = _given_others(known, scores, score)
        odd += _odd_given_others(known, scores, score, [o.output for o in odd], part)
    distance, distance_p = _whole(known, scores, score) if whole else (float("nan"), 1.0)
    return Misfit(len(runs), z, given, tuple(odd), distance, distance_p, distance_p < part)


def _reference(reference: Tensor, runs: Tensor) -> tuple[NormalScale | LinearScale, Tensor | None]:
    """The scale of outputs, and the reference's scores where they allow a covariance, `(N, D)`."""
    outputs = runs.shape[1]
    reference = reference[: max(_FOR_RANKS, _MOST_NUMBERS // outputs)]
    if len(reference) < _FOR_RANKS:
        return LinearScale(runs), None
    scale = NormalScale(reference)
    if not 1 < outputs <= _MOST_OUTPUTS or len(reference) < _PER_OUTPUT * outputs:
        return scale, None
    return scale, scale(reference)


def _covariance(known: Tensor) -> Tensor:
    return torch.cov(known.T) + _RIDGE * torch.eye(known.shape[1], dtype=torch.float64)


def _given_others(known: Tensor, scores: Tensor, score: Tensor) -> Tensor:
    """Z of what is left of each output when the others have explained what they can, `(D,)`."""
    precision = torch.linalg.inv(_covariance(known))
    weights = precision / precision.diagonal()
    scale = NormalScale(known @ weights)  # these have tails of their own
    return z_of(scale(scores @ weights), scale((score @ weights).unsqueeze(0))[0])


def _odd_given_others(
    known: Tensor, scores: Tensor, score: Tensor, off: list[int], alpha: float
) -> list[Odd]:
    """Outputs that are off given the others, the worst first, each left out once it is found.

    An output that is off pulls what is expected of its neighbours, so that these would be named
    with it.
    """
    outputs = len(score)
    left = [j for j in range(outputs) if j not in set(off)]
    found: list[Odd] = []
    while len(left) > 1 and len(found) < _MOST_ODD:
        z = _given_others(known[:, left], scores[:, left], score[left])
        p = two_sided(z, len(scores)) * outputs
        worst = int(p.argmin())
        if float(p[worst]) >= alpha:
            break
        found.append(Odd(left.pop(worst), float(z[worst]), float(p[worst]), given_others=True))
    return found


def _whole(known: Tensor | None, scores: Tensor, score: Tensor) -> tuple[float, float]:
    """Distance of x from the runs in units of the median run's from the others, and its p-value."""
    if known is not None:
        values, vectors = torch.linalg.eigh(_covariance(known))
        turn = vectors / values.sqrt()
        scores, score = scores @ turn, score @ turn
    n = len(scores)
    centred = scores - scores.mean(0)
    squares = centred.square()
    # of each run, from mean and width of the others
    others = ((squares.sum(0) - n / (n - 1) * squares) / (n - 2)).clamp(min=1e-12)
    distances = ((n / (n - 1)) ** 2 * squares / others).mean(1).sqrt()
    distance = float(z_of(scores, score).square().mean().sqrt())
    return distance / float(distances.median().clamp(min=1e-300)), upper_tail(distances, distance)


def nearest_distances(reference: Tensor, rows: Tensor, *, own: bool = False) -> Tensor:
    """Distance of each row from the third nearest reference row, `(m,)`.

    Args:
        reference: Shape `(N, d)`.
        rows: Shape `(m, d)`.
        own: Whether `rows` are the first m rows of the reference, which are not their own
            neighbours.
    """
    count = min(_NEIGHBOUR, len(reference) - own)
    distances = torch.cdist(rows, reference)
    if own:
        distances[torch.arange(len(rows)), torch.arange(len(rows))] = torch.inf
    return distances.topk(count, dim=1, largest=False).values[:, -1]
