"""Stacking: candidates mixed by weights that the held-out expensive runs give them.

    q = sum_c w_c q_c,    w = argmax sum_i log sum_c w_c q_c(run i) + a sum_c p_c log w_c

over runs i of level L that the members concerned did not see (Yao, Vehtari, Simpson, Gelman 2018,
arXiv:1704.02030, section 2), with a prior of a runs that prefers the first candidates. It includes
single-level candidates, so that cheap levels which tell nothing cost little. The same runs say how
wide the mixture should be (`mlsbi.rescaling`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mlsbi._checks import check_positive, check_type
from mlsbi._random import derive_seed
from mlsbi.estimators.union import union
from mlsbi.history import Status
from mlsbi.problem import Problem
from mlsbi.rescaling import held_out_width
from mlsbi.stacking import Weights, admitted, held_out_log_density, mean_and_error, stack
from mlsbi.strategies.base import Solution, Strategy
from mlsbi.strategies.bridge import Bridge
from mlsbi.strategies.emulator import Emulator
from mlsbi.strategies.single import SingleLevel

__all__ = ["Stack"]

_MISSED = 0.1  # nats
_NEGLIGIBLE = 0.02  # a weight that is not worth the time of evaluating its density


@dataclass(frozen=True)
class Stack(Strategy):
    """A mixture of what several strategies learn; the library's default.

    Attributes:
        candidates: Strategies, the preferred one first; all see the same folds. A candidate whose
            training was stopped by the held-out runs has a flattering score on them, and takes part
            only if it beats all others by a standard error.
        prior_count: Held-out runs that the prior weights count as, each candidate's half of that of
            the one before it. The fewer real runs there are, the nearer the weights stay to them.
        calibrate: Stretch the mixture about its centre by what the credible regions of its members
            say of the runs that they did not see, shrunk towards no change. False: as it was mixed.
    """

    candidates: tuple[Strategy, ...] = field(
        default_factory=lambda: (Bridge(), Emulator(), SingleLevel())
    )
    prior_count: float = 3.0
    calibrate: bool = True

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            TypeError: A candidate is no strategy, or the switch no bool.
            ValueError: There is no candidate, or the prior's count is negative.
        """
        super().__post_init__()
        remedy = "Pass strategies, such as (mlsbi.Bridge(), mlsbi.SingleLevel())."
        check_type(self.candidates, (tuple, list), name="candidates", remedy=remedy)
        object.__setattr__(self, "candidates", tuple(self.candidates))
        if not self.candidates:
            raise ValueError(f"candidates must hold at least one strategy; got none. {remedy}")
        for candidate in self.candidates:
            check_type(candidate, Strategy, name="candidates", remedy=remedy)
        check_positive(self.prior_count, name="prior_count", strict=False)
        remedy = "Pass True or False."
        check_type(self.calibrate, bool, name="calibrate", remedy=remedy)

    @property
    def compress(self) -> str | bool:
        """As the first candidate that works on summaries wants it; all see the same x."""
        return next((c.compress for c in self.candidates if c.compress), False)

    @property
    def uses_low_levels(self) -> bool:
        """Whether any candidate does."""
        return any(c.uses_low_levels for c in self.candidates)

    def check(self, levels: int) -> None:
        """As each candidate does."""
        for candidate in self.candidates:
            candidate.check(levels)

    def solve(self, problem: Problem) -> Solution:
        """Solve with every candidate, and weigh what comes of it."""
        if len(problem.levels) == 1:
            return SingleLevel().within(problem)
        solutions = [
            _mixed_alone(candidate).within(problem.scoped(f"{i}-{type(candidate).__name__}"))
            for i, candidate in enumerate(self.candidates)
        ]
        scores = torch.stack([held_out_log_density(s, problem) for s in solutions], 1)
        weights = stack(
            scores,
            admitted=admitted(scores, [s.unseen for s in solutions]),
            prior_count=self.prior_count,
            seed=derive_seed(problem.seed, "weights"),
        )
        kept = [i for i, w in enumerate(weights.mean.tolist()) if w >= _NEGLIGIBLE]
        density = union([solutions[i].density for i in kept])
        parts = [part for i in kept for part in solutions[i].blueprint_parts]
        shares = _member_weights([solutions[i] for i in kept], weights.mean[kept])
        # The runs flatter whoever was stopped by them: they cannot say how wide that should be.
        fair = sum(float(weights.mean[i]) for i in kept if solutions[i].unseen)
        width = None
        if self.calibrate and fair > 0.5:
            width = held_out_width(
                density, shares, problem, seed=derive_seed(problem.seed, "width")
            )
        rows = self._rows(solutions, weights)
        return Solution(
            density,
            tuple(parts),
            self._status(scores, solutions, summarised=problem.summarised),
            rows if width is None else (*rows, width.row),
            shares,
            scale=1.0 if width is None else width.scale,
        )

    def _rows(self, solutions: list[Solution], weights: Weights) -> tuple[dict[str, float], ...]:
        """Every candidate's rows, told apart by `candidate`, and its weight in a last one."""
        rows: list[dict[str, float]] = []
        for i, solution in enumerate(solutions):
            rows += [row | {"candidate": float(i)} for row in solution.rows]
            rows.append(
                {
                    "candidate": float(i),
                    "held_out_log_density": float(weights.log_density[i]),
                    "weight": float(weights.mean[i]),
                    "weight_error": float(weights.error[i]),
                }
            )
        return tuple(rows)

    def _status(self, scores: Tensor, solutions: list[Solution], *, summarised: bool) -> Status:
        """The status that most needs attention, or that the low levels add nothing."""
        worst = Status.worst(s.status for s in solutions)
        low = [i for i, c in enumerate(self.candidates) if c.uses_low_levels]
        alone = [i for i in range(len(self.candidates)) if i not in low]
        # Where the cheap level taught the summary, every candidate has learned from it.
        if summarised or not worst.ok or not low or not alone or len(scores) < 2:
            return worst
        best = scores[:, low[int(scores[:, low].mean(0).argmax())]]
        other = scores[:, alone[int(scores[:, alone].mean(0).argmax())]]
        gain, error = mean_and_error(best - other)
        # Less than chance alone would often give, and less than anybody would miss.
        useless = float(gain) < min(0.5 * float(error), _MISSED)
        return Status.LOW_LEVEL_UNUSED if useless else worst


def _mixed_alone(candidate: Strategy) -> Strategy:
    """A stack within a stack leaves the width to the outer one."""
    return replace(candidate, calibrate=False) if isinstance(candidate, Stack) else candidate


def _member_weights(solutions: list[Solution], weights: Tensor) -> Tensor:
    """Of every member of the union: its candidate's weight, shared as the candidate shares it."""
    parts = []
    for solution, weight in zip(solutions, weights / weights.sum(), strict=True):
        k = solution.density.members
        own = torch.full((k,), 1 / k) if solution.weights is None else solution.weights
        parts.append(weight * own.double())
    return torch.cat(parts)
