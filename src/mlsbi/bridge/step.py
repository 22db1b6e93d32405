"""One step of the bridge: p(x_l | x_(l-1), theta) from coupled pairs, in k folds.

Each output is a Gaussian process (`gp.py`) for x_l or for x_l - x_(l-1), whichever the evidence
prefers. What the processes are wrong about is taken from rows they did not see: the width from
held-out residuals, the shape of the noise and its correlation between outputs from leave-one-out
residuals. Member e never sees fold e, so that its density of those rows is honest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.bridge import gp
from mlsbi.bridge.inputs import Inputs
from mlsbi.bridge.residuals import Residuals
from mlsbi.bridge.width import best_noise

__all__ = ["Step", "fit_step"]

# What leave-one-out residuals ask for: a factor on a variance, as if so many more were as foretold.
_OWN_ROWS, _LIMITS = 8.0, (0.05, 4.0)
# With few rows several sets of hyperparameters explain them; the fit then keeps many of them.
_FITTED_ROWS = 160
_MOST_VARIANTS = 8


@dataclass(frozen=True)
class Step:
    """A fitted step.

    Attributes:
        processes: Of member e, variant v and output j, in this order.
        variants: Sets of hyperparameters a member, V; rows take turns.
        difference: Where the process is for x_l - x_(l-1), bool `(k V, D)`.
        factor: On the standard deviations, `(k, D)`.
        residuals: Draws of the standardised noise.
        copied: Outputs that are the same number at both levels in every pair, bool `(D,)`.
        rows: For the history: what the step explained, an output a row.
    """

    processes: gp.GaussianProcesses
    variants: int
    difference: Tensor
    factor: Tensor
    residuals: Residuals
    copied: Tensor
    rows: tuple[dict[str, float], ...] = ()

    def predict(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_l, `(k, N, D)` each, of inputs `(k, N, ...)`.

        Row i is predicted by variant i modulo V of its member.
        """
        n = inputs.covariate.shape[1]
        turns = -(-n // self.variants)
        # (k, N, ...) -> (k V, N / V, ...): each variant has its share of the rows
        dealt = inputs.map(lambda t: _deal(t, turns, self.variants))
        mean, deviation = (_gather(t, self.variants)[:, :n] for t in self._each(dealt))
        return mean, deviation * self.factor.unsqueeze(1).float()

    def moments(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the mixture of all variants, `(k, N, D)` each."""
        every = inputs.map(lambda t: t.repeat_interleave(self.variants, 0))
        mean, deviation = (t.unflatten(0, (-1, self.variants)) for t in self._each(every))
        within = deviation.square().mean(1) * self.factor.unsqueeze(1).float().square()
        return mean.mean(1), (within + mean.var(1, correction=0)).sqrt()

    def noise_variance(self, inputs: Inputs) -> Tensor:
        """Variance of x_l about its mean, without what is not known of the mean, `(k, N, D)`."""
        every = inputs.map(lambda t: t.repeat_interleave(self.variants, 0))
        outputs = self.factor.shape[1]
        noise = self.processes.noise_variance(every.design(outputs))
        noise = noise.unflatten(0, (-1, self.variants, outputs)).mean(1).transpose(1, 2)
        return torch.where(self.copied, 0.0, noise * self.factor.double().square().unsqueeze(1))

    def _each(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Prediction of each variant at rows of its own, `(k V, N, D)`."""
        outputs = self.factor.shape[1]
        mean, deviation = (
            t.unflatten(0, (-1, outputs)).transpose(1, 2)
            for t in self.processes.predict(inputs.design(outputs))
        )
        if inputs.coarse is not None:
            coarse = inputs.coarse.double()
            mean = mean + torch.where(self.difference.unsqueeze(1), coarse, 0.0)
            mean = torch.where(self.copied, coarse, mean)
            deviation = torch.where(self.copied, 0.0, deviation)
        return mean.float(), deviation.float()


def fit_step(
    fine: Tensor,
    inputs: Inputs,
    train: Tensor,
    *,
    level: int,
    seed: int,
    inflate: bool = True,
    variants: int | None = None,
) -> Step:
    """Fit a step.

    Args:
        fine: x_l, `(n, D)`, in the network's units.
        inputs: Of the same runs, `(n, ...)`.
        train: Which rows each member sees, bool `(k, n)`.
        level: l, for the history.
        seed: Of the sets of hyperparameters.
        inflate: Widen the noise by what held-out rows show.
        variants: Sets of hyperparameters a member; None: by the number of rows.
    """
    outputs = fine.shape[1]
    if variants is None:
        variants = min(_MOST_VARIANTS, max(1, round(_FITTED_ROWS / int(train.sum(1).max()))))
    fine = fine.double()
    every = inputs.expand(len(train) * variants)
    processes, difference = _processes(
        fine, every, train.repeat_interleave(variants, 0), variants=variants, seed=seed
    )
    copied = torch.zeros(outputs, dtype=torch.bool)
    if inputs.coarse is not None:
        copied = (fine == inputs.coarse.double()).all(0)
    z, factor, seen = _leave_one_out(processes, difference, fine, inputs, train)
    residuals = Residuals.fit(z, seen)
    if bool(copied.any()) and not bool(copied.all()):
        # What is copied has no noise, and no say in the shape of the others'.
        residuals = replace(residuals, blur=Residuals.fit(z[..., ~copied], seen).blur)
    step = Step(processes, variants, difference, factor, residuals, copied)
    return _checked(step, fine, inputs, train, level=level, inflate=inflate)


def _processes(
    fine: Tensor, inputs: Inputs, train: Tensor, *, variants: int, seed: int
) -> tuple[gp.GaussianProcesses, Tensor]:
    """Processes of all members, variants and outputs, and which are of the difference."""
    outputs = fine.shape[1]
    design, groups = inputs.design(outputs), inputs.groups(outputs)
    trained = train.repeat_interleave(outputs, 0)
    spread = None
    if variants > 1:
        spread = gp.prior_draws(
            design, groups, outputs=outputs, generator=make_generator(seed, "hyperparameters")
        )

    def fitted(target: Tensor) -> gp.GaussianProcesses:
        rows = target.T.repeat(len(train), 1)
        return gp.fit(design, rows, trained, groups, outputs=outputs, spread=spread)

    processes = fitted(fine)
    if inputs.coarse is None:
        return processes, torch.zeros(len(train), outputs, dtype=torch.bool)
    other = fitted(fine - inputs.coarse[0].double())
    better = other.evidence > processes.evidence
    return gp.either(better, other, processes), better.reshape(-1, outputs)


def _leave_one_out(
    processes: gp.GaussianProcesses, difference: Tensor, fine: Tensor, inputs: Inputs, train: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised residuals `(k, n, D)`, the factor they ask for, and which rows have one."""
    outputs = fine.shape[1]
    coarse = torch.zeros_like(fine) if inputs.coarse is None else inputs.coarse.double()
    target = fine - torch.where(difference.unsqueeze(1), coarse, 0.0)  # (k V, n, D)
    each = processes.leave_one_out(target.transpose(1, 2).flatten(0, 1))
    mean, deviation = (t.reshape(len(train), -1, outputs, len(fine)) for t in each)
    target = target.transpose(1, 2).reshape(mean.shape)
    middle = (target - mean).mean(1)
    variance = deviation.square().mean(1) + (target - mean).var(1, correction=0)
    z = (middle / variance.sqrt()).transpose(1, 2)
    seen = torch.isfinite(z).all(2)
    z = torch.where(seen.unsqueeze(2), z, 0.0)
    count = seen.sum(1, keepdim=True)
    square = (z.square().sum(1) + _OWN_ROWS) / (count + _OWN_ROWS)
    factor = square.clamp(*_LIMITS).sqrt()
    return z / factor.unsqueeze(1), factor, seen


def _checked(
    step: Step, fine: Tensor, inputs: Inputs, train: Tensor, *, level: int, inflate: bool
) -> Step:
    """The step with its noise widened, and what held-out rows say of it."""
    held = ~train
    if not bool(held.any()):  # nothing held out: nothing to check on
        return step
    mean, deviation = step.moments(inputs.expand(len(train)))
    weight = (held / held.sum()).unsqueeze(-1)
    wrong = fine - mean
    z = torch.where(deviation > 0, wrong / deviation.clamp(min=1e-12), 0.0).double()
    mean_square = (z.square() * weight).sum((0, 1))
    widen, residuals = torch.ones(fine.shape[1]), step.residuals
    free = ~step.copied
    if inflate and bool(free.any()):
        rows = float(held.any(0).sum())
        widen[free], shape = best_noise(z[..., free], weight, residuals.of(free), rows=rows)
        residuals = replace(residuals, blur=shape.blur, freedom=shape.freedom)
    error = (wrong.square() * weight).sum((0, 1))
    spread = fine.var(0, correction=0).clamp(min=1e-12)
    found = tuple(
        {
            "level": float(level),
            "output": float(j),
            "held_out_r2": float(1 - error[j] / spread[j]),
            "held_out_z2": float(mean_square[j]),
            "inflation": float(widen[j]),
            "freedom": residuals.freedom,
        }
        for j in range(fine.shape[1])
    )
    return replace(step, factor=step.factor * widen, residuals=residuals, rows=found)


def _deal(values: Tensor, turns: int, variants: int) -> Tensor:
    """`(k, N, ...)` to `(k V, N / V, ...)`, the last row repeated where V does not divide N."""
    short = turns * variants - values.shape[1]
    padded = torch.cat([values, values[:, -1:].expand(-1, short, -1)], 1)
    return padded.unflatten(1, (turns, variants)).transpose(1, 2).flatten(0, 1)


def _gather(values: Tensor, variants: int) -> Tensor:
    """The inverse of `_deal`."""
    return values.unflatten(0, (-1, variants)).transpose(1, 2).flatten(1, 2)
