"""The density of a fit, trained on synthetic draws of level L."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlsbi.estimators.build import Part
from mlsbi.estimators.specs import MDN
from mlsbi.history import Status
from mlsbi.problem import DrawnRows, Objective, Problem, Term
from mlsbi.stacking import held_out_log_density, mean_and_error
from mlsbi.strategies.base import Solution
from mlsbi.training import train

__all__ = ["corrected", "train_on_draws"]

# Of the correction by real runs, relative to the training before it.
_SLOWER, _SHORTER, _PATIENCE = 0.1, 0.3, 8
# Where draws are plentiful a mixture can have more components than few runs would bear.
_PLENTY = MDN(components=8)


def train_on_draws(
    problem: Problem,
    sources: Sequence[DrawnRows],
    rows: Sequence[dict[str, float]] = (),
    *,
    unseen: bool = True,
) -> Solution:
    """Train on equal shares of the sources, with noise of its own for every row of every batch.

    There is nothing to overfit to, so that the number of steps is fixed and the learning rate falls
    to zero; the real runs that a member did not see stay unseen, for whoever weighs the result.

    Args:
        problem: Gives the density, the seeds and the loop's options.
        sources: Draws of level L.
        rows: For the history, before those of the training.
        unseen: Whether the draws owe nothing to the runs that a member holds out.
    """
    spec = _PLENTY if problem.estimator == "mdn" else None
    density = problem.build(seed=problem.density_seed, estimator=spec)
    batch = problem.training.batch_size
    training = replace(
        problem.training, batch_size=None if batch is None else max(1, round(batch / len(sources)))
    )
    inner = replace(problem, drawn=tuple(sources), training=training)
    result = train(density, Objective(_shares(sources), ()), inner)
    status = Status.ON_DRAWS if result.status is Status.FIXED_STEPS else result.status
    parts = (Part(spec, density.members),)
    return Solution(density, parts, status, (*rows, *result.rows), unseen=unseen)


def corrected(
    solution: Solution,
    problem: Problem,
    sources: Sequence[DrawnRows],
    counterparts: DrawnRows,
) -> Solution:
    """Go on with the real runs in place of what the bridge makes of the same pairs.

    The gradient's expectation is that of level L's own loss: a mean over many draws, plus a mean
    over the real runs less one over their synthetic counterparts (the telescoping sum of Hikida et
    al. 2025 with the bridge as the lower level). It is kept only where it makes the runs that the
    members did not see more likely by a standard error.

    Args:
        solution: Trained on `sources`.
        problem: Gives the real runs and who holds out which.
        sources: As in `train_on_draws`.
        counterparts: The bridge's draws at level L's pairs, row by row.
    """
    density = solution.density
    before = {name: value.clone() for name, value in density.state_dict().items()}
    score = held_out_log_density(solution, problem)
    top = len(problem.levels) - 1
    terms = (*_shares(sources), Term(top), Term(len(sources), sign=-1.0, drawn=True))
    training = replace(
        problem.training,
        learning_rate=problem.training.learning_rate * _SLOWER,
        max_steps=max(1, round(problem.training.max_steps * _SHORTER)),
        patience=_PATIENCE,
    )
    inner = replace(problem, drawn=(*sources, counterparts), training=training)
    result = train(density, Objective(terms, (Term(top),)), inner, stage=1)
    gain, error = mean_and_error(held_out_log_density(solution, problem) - score)
    kept = bool(gain > error)
    if not kept:
        density.load_state_dict(before)
    rows = (*solution.rows, *(row | {"corrected": float(kept)} for row in result.rows))
    # Whoever weighs it goes by the score that the held-out runs had no part in.
    return replace(solution, rows=rows, held_out=score)


def _shares(sources: Sequence[DrawnRows]) -> tuple[Term, ...]:
    """A term for each source, with equal weights."""
    return tuple(Term(i, weight=1 / len(sources), drawn=True) for i in range(len(sources)))
