"""The one training loop: every strategy is an `Objective` or a sequence of them.

All members of an ensemble take each step together; their gradients are clipped and combined one by
one. Stopping is decided on the held-out rows of all members pooled, which for few expensive runs
is cross-validation: every run is held out by some member (with `ensemble >= 1 / fraction`).
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi import checkpoint
from mlsbi._progress import progress_bar
from mlsbi._random import derive_seed, isolated_rng
from mlsbi.batches import Batches, HeldOut
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.stacked import Dropout
from mlsbi.gradients import assign, summed_gradient, term_gradients
from mlsbi.history import Status
from mlsbi.optimiser import adamw, learning_rate
from mlsbi.problem import Objective, Problem

__all__ = ["StageResult", "train"]

_LOGGER = logging.getLogger("mlsbi")
_MAX_STEP_BACKS = 5
_STATE = ("step", "best_loss", "best_step", "step_backs", "rate_factor", "rows")  # figures saved
_STILL_FALLING = 0.02  # nats won in the last fifth of the steps that call for more steps


@dataclass(frozen=True)
class StageResult:
    """How one stage of a training ended, and its rows of the history."""

    status: Status
    rows: tuple[dict[str, float], ...]

    @property
    def held_out_loss(self) -> float:
        """The lowest held-out loss, nats: that of the weights kept; infinite without one."""
        finite = (r["held_out_loss"] for r in self.rows)
        return min((loss for loss in finite if math.isfinite(loss)), default=math.inf)


def train(
    density: ConditionalDensity, objective: Objective, problem: Problem, *, stage: int = 0
) -> StageResult:
    """Train `density` in place and leave it with the best weights found.

    Args:
        density: k members; its device is the device of the training.
        objective: What to minimise and what decides when to stop.
        problem: Rows, folds, options, seed.
        stage: Number of this stage in a strategy that trains several times.

    Returns:
        The status and the history of this stage.
    """
    return _Loop(density, objective, problem, stage).run()


class _Loop:
    """State of one stage between two steps, and how a step changes it."""

    def __init__(
        self, density: ConditionalDensity, objective: Objective, problem: Problem, stage: int
    ) -> None:
        self.density, self.objective, self.problem = density, objective, problem
        self.options, self.stage = problem.training, stage
        self.fingerprint = f"{problem.fingerprint}/{stage}"
        self.parameters = list(density.parameters())
        self.device = self.parameters[0].device
        self.batches = Batches(objective.terms, problem, stage, self.device)
        self.held_out = HeldOut(objective.held_out, problem, self.device)
        self.optimiser = adamw(self.parameters, self.options)
        self.average = [p.detach().clone() for p in self.parameters]
        self.best = [p.clone() for p in self.average]
        # Running statistics of a batch norm belong to the weights: kept and put back with them.
        self.buffers = dict(density.named_buffers())
        self.best_buffers = {n: b.clone() for n, b in self.buffers.items()}
        self.buffers_before, self.between_steps = self.best_buffers, True
        self.step, self.best_loss, self.best_step = 0, math.inf, 0
        self.step_backs, self.rate_factor = 0, 1.0
        self.rows: list[dict[str, float]] = []
        self.generator = torch.Generator(device=self.device)
        for module in density.modules():
            if isinstance(module, Dropout):
                module.generator = self.generator

    def run(self) -> StageResult:
        if self._resume() == "done":
            return self._finish(None)
        saved = time.monotonic()
        stage = f"stage {self.stage}" if self.stage else ""
        title = ", ".join(filter(None, ("training", self.problem.part, stage)))
        bar = progress_bar(title, self.options.max_steps, enabled=self.problem.progress)
        status: Status | None = None
        try:
            with bar as advance:
                while status is None:
                    status = self._advance()
                    if self.step % self.options.evaluate_every == 0 or status is not None:
                        name = "held out" if self.held_out.rows else "train"
                        lately = self.rows[-1][f"{name.replace(' ', '_')}_loss"]
                        advance(self.step, f"{name} {min(lately, self.best_loss):.3f}", lately)
                        if time.monotonic() - saved > self.options.checkpoint_seconds:
                            self._save("running")
                            saved = time.monotonic()
        except KeyboardInterrupt:
            if self.between_steps:  # else the file written last is the one to go on from
                self._put_buffers(self.buffers_before)
                self._save("running")
            raise
        return self._finish(status)

    def _advance(self) -> Status | None:
        """One step, with an evaluation where one is due; a status when training is over."""
        if not self.rows:
            self._evaluate({}, math.nan)
        gradient, losses, figures = self._gradient()
        self.between_steps = False
        status = self._step_back() if gradient is None else self._step(gradient, losses, figures)
        self.buffers_before = {n: b.clone() for n, b in self.buffers.items()}
        self.between_steps = True
        return status

    def _step(self, gradient: Tensor, losses: Tensor, figures: dict[str, float]) -> Status | None:
        """Move the weights, and evaluate them where that is due."""
        assign(self.density, gradient)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate_factor * learning_rate(self.options, self.step)
        self.optimiser.step()
        self._update_average()
        self.step += 1
        due = self.step % self.options.evaluate_every == 0
        last = self.step >= self.options.max_steps
        if not (due or last):
            return None
        self._evaluate(figures, float(losses.sum(0).mean()))
        if not self.held_out.rows:
            return Status.FIXED_STEPS if last else None
        if (self.step - self.best_step) // self.options.evaluate_every >= self.options.patience:
            return Status.CONVERGED
        return self._status_at_last_step() if last else None

    def _status_at_last_step(self) -> Status:
        earlier = [
            r["held_out_loss"] for r in self.rows if r["step"] <= 0.8 * self.options.max_steps
        ]
        still = min(earlier, default=math.inf) - self.best_loss > _STILL_FALLING
        return Status.MAX_STEPS if still else Status.CONVERGED

    def _gradient(self) -> tuple[Tensor | None, Tensor, dict[str, float]]:
        """The clipped gradient `(k, P)`, None where it or a loss is not finite; losses `(T, k)`."""
        self.density.train()
        path = (self.stage, self.step)
        self.generator.manual_seed(derive_seed(self.problem.seed, "dropout", *path))
        value, context, weights, sizes = self.batches.at(self.step)
        figures: dict[str, float] = {}
        # The user's own network may hold dropout, which draws from the global generator.
        with isolated_rng(derive_seed(self.problem.seed, "global", *path)):
            if self.objective.combine is None or len(sizes) == 1:
                losses, gradient = summed_gradient(self.density, value, context, weights, sizes)
            else:
                losses, each = term_gradients(self.density, value, context, weights, sizes)
                gradient, figures = self.objective.combine(each)
        norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        if not (bool(torch.isfinite(losses).all()) and bool(torch.isfinite(norms).all())):
            return None, losses, figures
        if self.options.clip is not None:
            gradient = gradient * (self.options.clip / norms.clamp(min=self.options.clip))
        figures["gradient_norm"] = float(norms.mean())
        return gradient, losses, figures

    @torch.no_grad()
    def _update_average(self) -> None:
        # The running mean forgets the start faster than its decay says, or it would lag there.
        decay = min(self.options.average, (self.step + 1) / (self.step + 10))
        for mean, parameter in zip(self.average, self.parameters, strict=True):
            mean.lerp_(parameter.detach(), 1.0 - decay)

    @torch.no_grad()
    def _evaluate(self, figures: dict[str, float], train_loss: float) -> None:
        """Held-out loss under the averaged weights; remembers the best."""
        current = [p.clone() for p in self.parameters]
        self._put(self.average)
        self.density.eval()
        try:
            held = bool(self.held_out.rows)
            loss = self.held_out.loss(self.density) if held else math.nan
            better = loss < self.best_loss if held else self._has_density()
        finally:
            self._put(current)
        row = {"stage": float(self.stage), "step": float(self.step)}
        row |= {"train_loss": train_loss, "held_out_loss": loss}
        self.rows.append(row | figures)
        if better or self.step == 0:
            self.best_loss, self.best_step = loss, self.step
            self.best = [p.clone() for p in self.average]
            self.best_buffers = {n: b.clone() for n, b in self.buffers.items()}

    def _has_density(self) -> bool:
        """Whether every row of a batch has one; the last weights are kept only if so."""
        value, context, _, _ = self.batches.at(self.step)
        return bool(torch.isfinite(self.density.log_prob(value, context)).all())

    def _step_back(self) -> Status | None:
        """Return to the best weights with a fresh optimiser and half the learning rate."""
        self.step_backs += 1
        self.rate_factor *= 0.5
        _LOGGER.warning(
            "loss not finite at step %d of stage %d: stepped back to step %d",
            self.step, self.stage, self.best_step,
        )  # fmt: skip
        self._put(self.best)
        self._put_buffers(self.best_buffers)
        self.average = [p.clone() for p in self.best]
        self.optimiser = adamw(self.parameters, self.options)
        self.step += 1  # the batch that did it is not tried again
        if self.step_backs > _MAX_STEP_BACKS:
            return Status.DIVERGED
        return Status.STEPPED_BACK if self.step >= self.options.max_steps else None

    @torch.no_grad()
    def _put(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.copy_(weight)

    def _put_buffers(self, values: dict[str, Tensor]) -> None:
        for name, buffer in self.buffers.items():
            buffer.copy_(values[name])

    def _finish(self, status: Status | None) -> StageResult:
        """Leave the density with the best weights, in evaluation mode."""
        if status is not None:
            self.status = status
            if self.step_backs and status is not Status.DIVERGED:
                self.status = Status.STEPPED_BACK
            if self.held_out.rows and not math.isfinite(self.best_loss):
                self.status = Status.DIVERGED  # no weights gave the held-out rows a density
        self._put(self.best)
        self._put_buffers(self.best_buffers)
        self.density.eval()
        if status is not None:
            self._save("done")
        return StageResult(self.status, tuple(self.rows))

    def _weights(self) -> dict[str, Tensor]:
        groups = (("parameter", self.parameters), ("average", self.average), ("best", self.best))
        return {f"{name}.{i}": t for name, group in groups for i, t in enumerate(group)}

    def _save(self, progress: str) -> None:
        path = self.problem.checkpoint
        if path is None:
            return
        tensors = self._weights()
        for i, parameter in enumerate(self.parameters):
            moments = self.optimiser.state.get(parameter, {})
            tensors |= {f"moment.{i}.{n}": t for n, t in moments.items()}
        tensors |= {f"buffer.{n}": b for n, b in self.buffers.items()}
        tensors |= {f"best_buffer.{n}": b for n, b in self.best_buffers.items()}
        state: dict[str, Any] = {n: getattr(self, n) for n in _STATE}
        state |= {"progress": progress, "status": self.status.name if progress == "done" else None}
        snapshot = checkpoint.Snapshot(tensors, state)
        checkpoint.write(self._path(path), snapshot, fingerprint=self.fingerprint)

    def _path(self, path: Any) -> Any:  # noqa: ANN401
        return path if self.stage == 0 else path.with_name(f"{path.name}.stage{self.stage}")

    def _resume(self) -> str | None:
        """Take up the state in the checkpoint file; "done" if the stage had ended there."""
        path = self.problem.checkpoint
        found = path and checkpoint.read(self._path(path), fingerprint=self.fingerprint)
        if not found:
            return None
        tensors, state = found.tensors, found.state
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(tensors[name])
        for i, parameter in enumerate(self.parameters):
            prefix = f"moment.{i}."
            moments = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
            if moments:
                self.optimiser.state[parameter] = {n: t.to(self.device) for n, t in moments.items()}
        for name, buffer in self.buffers.items():
            buffer.copy_(tensors[f"buffer.{name}"])
            self.best_buffers[name].copy_(tensors[f"best_buffer.{name}"])
        for name in _STATE:
            setattr(self, name, state[name])
        if state["status"]:
            self.status = Status[state["status"]]
        return str(state["progress"])
