"""sbi's own NPE and NLE on level L's runs alone, scored like any fit of this library.

The trainers run with their own defaults (sbi 0.27: Adam at 5e-4, batches of 200, a tenth of the
runs held out, stop after 20 epochs without gain) and their default flow, `maf`. Where one number is
modelled they warn that a `maf` is then a Gaussian, and point to `nsf`, which is used there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Literal

import torch
from torch import Tensor

from mlsbi._random import derive_seed, isolated_rng
from mlsbi.data import MultilevelData
from mlsbi.prior import Prior

__all__ = ["SbiFit", "fit_by_sbi", "flow_of"]

Kind = Literal["posterior", "likelihood"]

_DRAWS = 400  # of the flow at each x, to learn how much of it lies outside the prior
_ROUNDS = 200
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, eq=False)
class SbiFit:
    """A density estimator of sbi where the metrics look for a fit.

    As `DirectPosterior.log_prob` does by default, the posterior's density is that of the flow
    inside the prior's support, divided by the flow's mass there.

    Attributes:
        flow: The trained `ConditionalDensityEstimator`.
        kind: What it is a density of.
        prior: Over theta.
        event_shape: Of one x.
        epochs: That the trainer took.
        seed: Of the draws that estimate the flow's mass inside the support, once for each x.
    """

    flow: Any = field(repr=False)
    kind: Kind
    prior: Prior = field(repr=False)
    event_shape: tuple[int, ...]
    epochs: int
    seed: int
    _shares: dict[bytes, float] = field(default_factory=dict, repr=False)

    @torch.no_grad()
    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        """Log density, theta `(n, d)`, x `(n, *event)`; `(n,)`."""
        if self.kind == "likelihood":
            return self._density(x, theta)
        value = self._density(theta, x) - self._inside(x).log()
        return torch.where(self.prior.contains(theta), value, -torch.inf)

    def uncorrected(self, theta: Tensor, x: Tensor) -> Tensor:
        """The flow's own log density, of which a part may lie outside the support; `(n,)`."""
        return self._density(theta, x)

    @torch.no_grad()
    def sample_batched(
        self, n: int, *, x: Tensor | None = None, theta: Tensor | None = None, seed: int
    ) -> Tensor:
        """Draws at b conditions, inside the prior's support; `(n, b, ...)`.

        Raises:
            RuntimeError: The flow has next to no mass inside the support.
        """
        given = theta if self.kind == "likelihood" else x
        if given is None:
            raise TypeError(f"{'theta' if x is None else 'x'} is missing.")
        with isolated_rng(seed):
            if self.kind == "likelihood":
                drawn: Tensor = self.flow.sample((n,), condition=given)
                return drawn
            return torch.cat([self._accepted(n, rows) for rows in given.split(self._room(n))], 1)

    def _accepted(self, n: int, x: Tensor) -> Tensor:
        """Draws inside the support at each of b observations, `(n, b, d)`."""
        kept: list[list[Tensor]] = [[] for _ in x]
        left = list(range(len(x)))
        for _ in range(_ROUNDS):
            drawn = self.flow.sample((n,), condition=x[left])
            inside = self.prior.contains(drawn.flatten(0, 1)).view(drawn.shape[:2])
            for column, row in enumerate(left):
                kept[row].append(drawn[inside[:, column], column])
            left = [row for row in left if sum(map(len, kept[row])) < n]
            if not left:
                return torch.stack([torch.cat(draws)[:n] for draws in kept], 1)
        raise RuntimeError(
            f"sbi's flow has less than {1 / _ROUNDS:.1%} of its mass inside the prior's support at "
            "an observation. It has too few runs to learn from."
        )

    @torch.no_grad()
    def _density(self, value: Tensor, given: Tensor) -> Tensor:
        pairs = zip(value.split(_ROWS_AT_ONCE), given.split(_ROWS_AT_ONCE), strict=True)
        return torch.cat([self.flow.log_prob(v.unsqueeze(0), condition=c)[0] for v, c in pairs])

    @staticmethod
    def _room(draws: int) -> int:
        """Conditions at once."""
        return max(1, _ROWS_AT_ONCE // draws)

    def _inside(self, x: Tensor) -> Tensor:
        """Share of the flow that lies inside the support at each x, `(n,)`; at least one draw."""
        different, row = torch.unique(x, dim=0, return_inverse=True)
        new = [one for one in different if _key(one) not in self._shares]
        if new:
            with isolated_rng(self.seed):
                for rows in torch.stack(new).split(self._room(_DRAWS)):
                    drawn = self.flow.sample((_DRAWS,), condition=rows)
                    inside = self.prior.contains(drawn.flatten(0, 1)).view(drawn.shape[:2])
                    shares = inside.double().mean(0).clamp_min(1 / _DRAWS).tolist()
                    self._shares.update(zip(map(_key, rows), shares, strict=True))
        return torch.tensor([self._shares[_key(one)] for one in different])[row]


def _key(x: Tensor) -> bytes:
    return x.contiguous().numpy().tobytes()


def flow_of(event_shape: Sequence[int], *, theta_dim: int, kind: Kind) -> str:
    """The flow that the trainer is asked for."""
    modelled = theta_dim if kind == "posterior" else torch.Size(event_shape).numel()
    return "nsf" if modelled == 1 else "maf"


def fit_by_sbi(
    data: MultilevelData, kind: Kind, *, seed: int, max_epochs: int | None = None
) -> SbiFit:
    """Train sbi's `NPE` or `NLE` on the runs of level L.

    Args:
        data: Of which level L's runs are used.
        kind: What to learn.
        seed: Of weights, held-out rows and batches.
        max_epochs: Cuts the training short.

    Raises:
        ValueError: There are fewer than 2 runs of level L.
    """
    from sbi.inference import NLE, NPE

    level = len(data.n) - 1
    theta, x = data.theta(level), data.x(level)
    if len(theta) < 2:
        raise ValueError("data must hold at least 2 runs of level L; sbi holds one of them out.")
    shape = tuple(x.shape[1:])
    # A batch of training rows must fit into what is not held out.
    options = {} if max_epochs is None else {"max_num_epochs": max_epochs}
    with isolated_rng(seed), warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        trainer = (NPE if kind == "posterior" else NLE)(
            prior=data.prior.distribution,
            density_estimator=flow_of(shape, theta_dim=theta.shape[1], kind=kind),
            show_progress_bars=False,
            tracker=_Nowhere(),
        )
        flow = trainer.append_simulations(theta, x).train(**options)
    epochs = int(trainer.summary["epochs_trained"][-1])
    return SbiFit(
        flow.eval(), kind, data.prior, shape, epochs, derive_seed(seed, "sbi", "inside support")
    )


class _Nowhere:
    """A tracker of sbi's that keeps nothing; its own would write a folder of logs."""

    log_dir = None

    def log_metric(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    log_metrics = log_params = add_figure = flush = log_metric
