"""The multilevel objective: a telescoping sum of losses over coupled pairs.

    loss = mean f^0 + sum_l mean (f^l - f^(l-1)),    f^l = -log q(. | .) at level l's run,

each difference over runs that share theta and u. Its expectation is the loss of level L; its
variance falls with the coupling (Hikida, Bharti, Jeffrey, Briol 2025, arXiv:2506.06087, theorem 1).
Algorithm 1 there steadies the gradient, whose negative terms are unbounded below.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mlsbi._checks import check_option, check_positive, check_type
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.options import Training
from mlsbi.problem import Objective, Problem, Term
from mlsbi.strategies.base import Strategy, joined
from mlsbi.training import StageResult, train

__all__ = ["Multilevel", "algorithm_1"]

_TINY = 1e-30


@dataclass(frozen=True)
class Multilevel(Strategy):
    """ML-NPE and ML-NLE for any number of levels.

    Attributes:
        rescale: Scale the gradient of each negative term to the norm of its positive partner.
        project: Where the level-0 gradient and the sum of the corrections' point against each
            other, project each onto the other's normal plane.
        start: Weights that the telescoping objective starts from. "fresh": random ones, as in the
            paper. "warm": those of a training on level 0 alone. "auto": both are tried, and the one
            with the lower held-out loss is kept.
        warm_rate: Learning rate behind a warm start, as a multiple of the first.
        held_out: "high" stops on the held-out runs of level L, "telescoped" on the held-out value
            of the whole objective, whose noise can hide the minimum when level L has few runs.
        standardise: Statistics that put x into the network's units. "pooled": one set for all
            levels. "level": one a level, the same wherever that level's runs appear, so that the
            sum still telescopes. "auto": "level" where the pairs show that it lets what level 0
            knows hold at level L, else "pooled". "array": one an array, as in the released code of
            the paper; the sum then telescopes only approximately.

    References:
        Hikida, Bharti, Jeffrey, Briol (2025), arXiv:2506.06087, equations for ML-NLE and ML-NPE
        and algorithm 1; the projection is that of Yu et al. (2020), arXiv:2001.06782.
    """

    rescale: bool = True
    project: bool = True
    start: str = "auto"
    warm_rate: float = 0.3
    held_out: str = "high"
    standardise: str = "auto"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            TypeError: A switch is not a bool.
            ValueError: An option is none of those allowed.
        """
        super().__post_init__()
        for name in ("rescale", "project"):
            check_type(getattr(self, name), bool, name=name)
        check_option(self.start, name="start", allowed=("auto", "fresh", "warm"))
        check_positive(self.warm_rate, name="warm_rate")
        check_option(self.held_out, name="held_out", allowed=("high", "telescoped"))
        check_option(
            self.standardise, name="standardise", allowed=("auto", "pooled", "level", "array")
        )

    @property
    def statistics(self) -> str:
        """As `standardise` says."""
        return self.standardise

    @classmethod
    def paper(cls, *, epochs: int = 2000, rescale: bool = True, project: bool = True) -> Multilevel:
        """As the authors trained; see `Training.paper` for the loop.

        x is standardised array by array, which their results owe something to: it takes out the
        difference in location and scale between levels before the network sees it.
        """
        return cls(
            training=Training.paper(epochs=epochs),
            rescale=rescale,
            project=project,
            start="fresh",
            standardise="array",
        )

    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """Minimise the telescoping sum."""
        objective = self._objective(problem)
        # Nothing to correct: level 0 alone. Nothing held out: no way to choose a start.
        choose = len(objective.terms) > 1 and problem.training.validation_fraction is not None
        start = self.start if choose or self.start == "warm" else "fresh"
        if start == "fresh" or len(objective.terms) == 1:
            return train(density, objective, problem)
        random = copy.deepcopy(density.state_dict())
        if start == "warm":
            return joined(self._warm(density, objective, problem))
        fresh = train(density, objective, problem)
        trained = copy.deepcopy(density.state_dict())
        density.load_state_dict(random)
        warm = self._warm(density, objective, problem)
        kept = joined(warm)
        if warm[-1].held_out_loss >= fresh.held_out_loss:
            density.load_state_dict(trained)
            kept = fresh
        return StageResult(kept.status, joined([fresh, *warm]).rows)

    def _warm(
        self, density: ConditionalDensity, objective: Objective, problem: Problem
    ) -> list[StageResult]:
        """Level 0 alone, then the whole sum at a lower learning rate."""
        first = Objective((Term(0),), (Term(0),))
        training = problem.training
        slower = replace(training, learning_rate=training.learning_rate * self.warm_rate)
        return [
            train(density, first, problem, stage=1),
            train(density, objective, problem.with_training(slower), stage=2),
        ]

    def _objective(self, problem: Problem) -> Objective:
        terms = [Term(0)]
        for level, rows in enumerate(problem.levels):
            # A level whose pairs are identical corrects nothing, exactly: it has no terms.
            if level and not rows.identical_pair:
                terms += [Term(level), Term(level, coarse=True, sign=-1.0)]
        top = (Term(len(problem.levels) - 1),)
        combine = partial(algorithm_1, rescale=self.rescale, project=self.project)
        return Objective(
            tuple(terms),
            tuple(terms) if self.held_out == "telescoped" else top,
            combine if self.rescale or self.project else None,
        )


def algorithm_1(
    gradients: Tensor, *, rescale: bool = True, project: bool = True
) -> tuple[Tensor, dict[str, float]]:
    """Algorithm 1 of Hikida et al. (2025), for each member on its own.

    Args:
        gradients: Of the terms h_0, +f^1, -f^0, +f^2, -f^1, ..., signs included, `(2 L + 1, k, P)`.
        rescale: Scale each negative term to the norm of its positive partner.
        project: Remove the conflict between the level-0 gradient and the corrections'.

    Returns:
        The direction, `(k, P)`, and means over members for the history: the cosine between the
        level-0 gradient and the correction's, the share of members that were projected, and the
        ratio of the corrections' norms to the level-0 gradient's.
    """
    base, positive, negative = gradients[0], gradients[1::2], gradients[2::2]
    if rescale:
        norms = torch.linalg.vector_norm(positive, dim=-1, keepdim=True)
        partner = torch.linalg.vector_norm(negative, dim=-1, keepdim=True)
        negative = negative * (norms / partner.clamp(min=_TINY))
    correction = (positive + negative).sum(0)
    inner = (base * correction).sum(-1, keepdim=True)
    base_square = base.square().sum(-1, keepdim=True)
    square = correction.square().sum(-1, keepdim=True)
    conflict = (inner < 0) if project else torch.zeros_like(inner, dtype=torch.bool)
    along = torch.where(conflict, inner, torch.zeros_like(inner))
    direction = (
        base
        - along / square.clamp(min=_TINY) * correction
        + correction
        - along / base_square.clamp(min=_TINY) * base
    )
    cosine = inner / (base_square * square).sqrt().clamp(min=_TINY)
    figures = {
        "cosine": float(cosine.mean()),
        "projected": float(conflict.float().mean()),
        "correction_ratio": float((square / base_square.clamp(min=_TINY)).sqrt().mean()),
    }
    return direction, figures
