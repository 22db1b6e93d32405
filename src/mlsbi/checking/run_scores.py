"""The scores of runs: what `score_runs` makes and every check reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_type

__all__ = ["RunScores"]


@dataclass(frozen=True, eq=False)
class RunScores:
    """What a fit says of n runs of level L that it has not seen; row i is run i.

    All float64, on the CPU. Ranks are in (0, 1), and uniform if the posterior is calibrated.

    Attributes:
        log_prob: log q(theta | x) of a posterior fit, log q(x | theta) of a likelihood fit, in
            nats and the user's units (that of the summary where the fit has one), `(n,)`.
        posterior_log_prob: log q(theta | x) for both kinds, `(n,)`; that of a likelihood fit is
            normalised over the prior by importance sampling.
        rank: SBC rank of each parameter among posterior draws, `(n, d)`; near 1 where the truth
            is above the draws. `metrics.sbc_ranks`.
        hpd: Credibility of the smallest joint highest-density region that holds theta, `(n,)`.
            `metrics.hpd_ranks`.
        marginal_hpd: The same of each parameter's marginal, `(n, d)`.
            `metrics.marginal_hpd_ranks`.
        tarp: TARP credibility, with a prior draw as the reference, `(n,)`. `metrics.tarp_ranks`.
        z: (posterior mean - theta) / posterior sd, `(n, d)`.
        contraction: 1 - posterior variance / prior variance, `(n, d)`.
        predictive_hpd: Of likelihood fits: credibility of the smallest highest-density region of
            q(x | theta) that holds x, `(n,)`; None of posterior fits.
        effective: Effective number of the posterior draws, `(n,)`; below 50, the scores of that
            run of a likelihood fit are not to be relied on.
        scaled_log_prob: `log_prob` if the density were widened by each of the factors
            `mlsbi.checking.scaled.FACTORS`, `(n, 33)`; None where that cannot be done.
        scaled_hpd: The same of `hpd` in the network's units (of `predictive_hpd` of likelihood
            fits), `(n, 33)`.
    """

    log_prob: Tensor
    posterior_log_prob: Tensor
    rank: Tensor
    hpd: Tensor
    marginal_hpd: Tensor
    tarp: Tensor
    z: Tensor
    contraction: Tensor
    predictive_hpd: Tensor | None = None
    effective: Tensor | None = None
    scaled_log_prob: Tensor | None = None
    scaled_hpd: Tensor | None = None

    def __len__(self) -> int:
        return len(self.log_prob)

    @property
    def theta_dim(self) -> int:
        """Number of parameters, d."""
        return int(self.rank.shape[1])

    def subset(self, rows: Any) -> RunScores:
        """Some of the runs.

        Args:
            rows: Numbers of runs `(k,)`, or a mask `(n,)`.

        Returns:
            Their scores, in the order of `rows`.

        Raises:
            TypeError: `rows` is not array-like.
            ValueError: A number is out of range, or the mask is of another length.
        """
        chosen = as_tensor(rows, name="rows", ndim=1, dtype=None)
        if chosen.dtype == torch.bool:
            if len(chosen) != len(self):
                raise ValueError(
                    f"rows must have an entry for each of {len(self)} runs; got {len(chosen)}. "
                    "Pass a mask over all runs, or the numbers of runs."
                )
            chosen = chosen.nonzero().flatten()
        elif chosen.is_floating_point() and len(chosen):
            raise TypeError(f"rows must be integers; got {chosen.dtype}. Pass numbers of runs.")
        chosen = chosen.long().cpu()
        if bool(((chosen < 0) | (chosen >= len(self))).any()):
            raise ValueError(f"rows must lie in 0 .. {len(self) - 1}; got {chosen.tolist()}.")
        kept: dict[str, Any] = {k: None if v is None else v[chosen] for k, v in self._items()}
        return RunScores(**kept)

    @staticmethod
    def concatenate(parts: Sequence[RunScores], order: Any = None) -> RunScores:
        """Scores of several sets of runs as one.

        Args:
            parts: The scores.
            order: Which run each row of the parts, one after another, is: a permutation of
                0 .. n - 1, shape `(n,)`. None: they stay as they come.

        Returns:
            Row `order[i]` is the i-th row of the parts. A score that one part lacks is None.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: There is no part, the parts differ in their number of parameters, or
                `order` is no permutation.
        """
        if not parts:
            raise ValueError("parts must hold at least one RunScores; got none.")
        for i, part in enumerate(parts):
            check_type(part, RunScores, name=f"parts[{i}]", remedy="Pass results of score_runs.")
        if len({part.theta_dim for part in parts}) > 1:
            raise ValueError(
                f"parts must have the same number of parameters; got "
                f"{[part.theta_dim for part in parts]}. Pass scores of fits of one problem."
            )
        columns: dict[str, list[Any]] = {
            f.name: [getattr(part, f.name) for part in parts] for f in fields(RunScores)
        }
        joined: dict[str, Any] = {
            name: None if any(v is None for v in values) else torch.cat(values)
            for name, values in columns.items()
        }
        scores = RunScores(**joined)
        if order is None:
            return scores
        place = as_tensor(order, name="order", shape=(len(scores),), dtype=torch.int64).cpu()
        if not torch.equal(place.sort().values, torch.arange(len(scores))):
            raise ValueError(
                f"order must hold each of 0 .. {len(scores) - 1} once; got {place.tolist()}."
            )
        return scores.subset(place.argsort())

    def to_dict(self) -> dict[str, Any]:
        """The scores in JSON types: lists of floats, or None; infinities are floats too."""
        return {name: None if v is None else v.tolist() for name, v in self._items()}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> RunScores:
        """The scores that `to_dict` described; keys that are missing are None."""
        read: dict[str, Any] = {
            f.name: _read(record.get(f.name), f.name) for f in fields(RunScores)
        }
        return RunScores(**read)

    def _items(self) -> list[tuple[str, Tensor | None]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


def _read(value: Any, name: str) -> Tensor | None:
    """A tensor from nested lists of floats, in which NaN and infinities may be strings."""
    if value is None:
        return None
    rows = [[float(v) for v in row] if isinstance(row, list) else float(row) for row in value]
    return as_tensor(rows, name=name, dtype=torch.float64, finite=False)
