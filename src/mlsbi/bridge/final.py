"""The density of a fit, trained on synthetic draws of level L."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlsbi.estimators.build import Part
from mlsbi.estimators.specs import MDN
from mlsbi.history import Status
from mlsbi.problem import DrawnRows, Objective, Problem, Term
from mlsbi.strategies.base import Solution
from mlsbi.training import train

__all__ = ["train_on_draws"]

# Where draws are plentiful a mixture can have more components than few runs would bear.
_PLENTY = MDN(components=8)


def train_on_draws(
    problem: Problem, sources: Sequence[DrawnRows], rows: Sequence[dict[str, float]] = ()
) -> Solution:
    """Train on equal shares of the sources, with noise of its own for every row of every batch.

    There is nothing to overfit to, so that the number of steps is fixed and the learning rate falls
    to zero; the real runs that a member did not see stay unseen, for whoever weighs the result.

    Args:
        problem: Gives the density, the seeds and the loop's options.
        sources: Draws of level L.
        rows: For the history, before those of the training.
    """
    spec = _PLENTY if problem.estimator == "mdn" else None
    density = problem.build(seed=problem.density_seed, estimator=spec)
    batch = problem.training.batch_size
    share = 1 / len(sources)
    training = replace(
        problem.training, batch_size=None if batch is None else max(1, round(batch * share))
    )
    terms = tuple(Term(i, weight=share, drawn=True) for i in range(len(sources)))
    inner = replace(problem, drawn=tuple(sources), training=training)
    result = train(density, Objective(terms, ()), inner)
    status = Status.ON_DRAWS if result.status is Status.FIXED_STEPS else result.status
    parts = (Part(spec, density.members),)
    return Solution(density, parts, status, (*rows, *result.rows), unseen=True)
