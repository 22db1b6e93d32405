"""Which rows a step sees, and which rows decide when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.problem import Problem, Term

__all__ = ["Batches", "HeldOut", "RowSampler"]

_MAX_HELD_OUT_ROWS = 2000  # a level and member; more do not sharpen the stopping decision


_Reader = Callable[[Tensor | None, int], tuple[Tensor, Tensor]]


class RowSampler:
    """Rows of one level for each step and member, without replacement within an epoch.

    The rows of step s depend on `(seed, stage, level, s)` alone, so that a resumed training goes
    on with the same batches.
    """

    def __init__(
        self, train: Tensor, *, batch_size: int | None, seed: int, path: Sequence[int | str]
    ) -> None:
        """Draw from the rows where `train`, bool `(k, n)`, is true."""
        self.train, self.seed, self.path = train, seed, tuple(path)
        fewest = int(train.sum(1).min())
        self.full = batch_size is None or fewest <= batch_size
        self.batch = train.shape[1] if self.full else int(batch_size or fewest)
        self.steps_per_epoch = 1 if self.full else fewest // self.batch
        share = train / train.sum(1, keepdim=True) if self.full else None
        self._weights = torch.full((train.shape[0], self.batch), 1 / self.batch)
        if share is not None:
            self._weights = share
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def draw(self, step: int) -> tuple[Tensor | None, Tensor]:
        """Row indices `(k, b)`, or None for all rows, and the weight of each, `(k, b)`."""
        if self.full:
            return None, self._weights
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = make_generator(self.seed, *self.path, epoch)
            keys = torch.rand(self.train.shape, generator=generator)
            self._order = torch.argsort(keys.masked_fill(~self.train, 2.0), dim=1)
            self._epoch = epoch
        rows = self._order[:, position * self.batch : (position + 1) * self.batch]
        return rows, self._weights


class Batches:
    """The rows of every term for each step, one behind the other."""

    def __init__(
        self, terms: tuple[Term, ...], problem: Problem, stage: int, device: torch.device
    ) -> None:
        self.terms, self.device = terms, device
        self.seed, self.path = problem.seed, ("noise", stage)
        self.readers = [self._reader(term, problem) for term in terms]
        self.samplers = {
            (drawn, level): RowSampler(
                problem.drawn[level].usable if drawn else problem.train_rows[level],
                batch_size=problem.training.batch_size,
                seed=problem.seed,
                path=("rows", stage, *(("drawn",) if drawn else ()), level),
            )
            for drawn, level in {(t.drawn, t.level) for t in terms}
        }

    def _reader(self, term: Term, problem: Problem) -> _Reader:
        """What gives a term's value and context at rows, None for all rows, of a step."""
        if term.drawn:
            source = problem.drawn[term.level]

            def drawn(rows: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
                if rows is None:
                    rows = torch.arange(source.usable.shape[1]).expand(source.usable.shape)
                generator = make_generator(self.seed, *self.path, term.level, step)
                value, context = source.draw(rows, generator)
                return value.to(self.device), context.to(self.device)

            return drawn
        value, context = (
            t.to(self.device) for t in problem.levels[term.level].member(coarse=term.coarse)
        )
        members = len(problem.train_rows[term.level])

        def stored(rows: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
            if rows is None:
                return value.expand(members, *value.shape), context.expand(members, *context.shape)
            rows = rows.to(self.device)
            return value[rows], context[rows]

        return stored

    def at(self, step: int) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """Values `(k, n, d)`, contexts `(k, n, *event)`, signed weights `(k, n)`, rows a term."""
        drawn = {key: sampler.draw(step) for key, sampler in self.samplers.items()}
        values, contexts, weights = [], [], []
        for term, read in zip(self.terms, self.readers, strict=True):
            rows, weight = drawn[term.drawn, term.level]
            value, context = read(rows, step)
            values.append(value)
            contexts.append(context)
            weights.append(term.factor * weight)
        sizes = [w.shape[1] for w in weights]
        signed = torch.cat(weights, 1).to(self.device)
        return torch.cat(values, 1), torch.cat(contexts, 1), signed, sizes


class HeldOut:
    """The held-out loss: for each term the mean over all members' held-out rows together."""

    def __init__(self, terms: tuple[Term, ...], problem: Problem, device: torch.device) -> None:
        self.rows: list[tuple[float, Tensor, Tensor, Tensor]] = []
        if problem.training.validation_fraction is None:
            return
        for term in terms:
            held = ~problem.train_rows[term.level]
            if not bool(held.any()):
                continue
            widest = min(int(held.sum(1).max()), _MAX_HELD_OUT_ROWS)
            index = torch.argsort((~held).int(), dim=1, stable=True)[:, :widest]
            weight = torch.gather(held, 1, index).float()
            value, context = problem.levels[term.level].member(coarse=term.coarse)
            self.rows.append(
                (
                    term.factor,
                    value[index].to(device),
                    context[index].to(device),
                    (weight / weight.sum()).to(device),
                )
            )

    def loss(self, density: ConditionalDensity) -> float:
        """Sum of the terms' held-out means, nats; infinite where it is not a number."""
        total = 0.0
        for factor, value, context, weight in self.rows:
            weighted = density.log_prob(value, context) * weight
            total -= factor * float(torch.where(weight > 0, weighted, 0.0).sum())
        return total if math.isfinite(total) else math.inf
