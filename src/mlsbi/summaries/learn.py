"""Every level's x replaced by a summary that the cheap levels taught.

Strategies that model p(x_l | x_(l-1), theta) cannot do so for x of hundreds of numbers, images, or
levels whose x differ in shape. Level 0 has the many runs: a posterior mean is learned on it
(`posterior_mean.py`) and serves every level whose x has level 0's shape. The first level of any
other shape learns, from its pairs, the linear predictor of the level below's summary (`ridge.py`).
Every row that a compressor was trained on gets its summary from one that did not see it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlsbi._random import derive_seed
from mlsbi.data import MultilevelData
from mlsbi.estimators.transforms import Support
from mlsbi.parameters import Parameters
from mlsbi.summaries.posterior_mean import PosteriorMean, train_posterior_mean
from mlsbi.summaries.ridge import Ridge, fit_ridge

__all__ = ["Learned", "Learner", "is_wanted"]

_LOGGER = logging.getLogger("mlsbi")
_LARGE = 12  # numbers in x above which "auto" compresses


def is_wanted(data: MultilevelData, *, compress: str | bool, x_net: nn.Module | None) -> bool:
    """Whether a strategy that asks for `compress` sees summaries of these data.

    Args:
        data: Runs of every level.
        compress: True, False, or "auto": where x has more than 12 numbers or more than one axis,
            the levels' x differ in shape, or a net for x is given. One level is never compressed:
            every strategy is exactly single-level training then.
        x_net: The user's embedding net, where it embeds x.
    """
    if compress is False or data.num_levels == 1:
        return False
    if compress is True:
        return True
    shapes = {data.event_shape(level) for level in range(data.num_levels)}
    large = any(math.prod(shape) > _LARGE or len(shape) != 1 for shape in shapes)
    return large or len(shapes) > 1 or x_net is not None


@dataclass(frozen=True)
class Learned:
    """Data whose x are summaries, `(n_l, s)`, not yet standardised.

    Attributes:
        data: The same runs, x replaced.
        compressor: From level L's x to its summary.
        rows: The history of the training on level 0, as stage -1.
    """

    data: MultilevelData
    compressor: PosteriorMean | Ridge
    rows: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Learner:
    """How to learn summaries.

    Attributes:
        seed: Of the fit.
        embedding_net: Goes in front of level 0's compressor; None: x is flattened.
        tails: Which outputs of x go through asinh; see `Standardise.fit`.
        device: Where to train.
        progress: Show a progress bar.
    """

    seed: int
    embedding_net: nn.Module | None = None
    tails: str = "auto"
    device: torch.device = torch.device("cpu")
    progress: bool = False

    @torch.no_grad()
    def learn(self, data: MultilevelData) -> Learned:
        """Compressors trained on `data`, and what they make of it."""
        parameters = Parameters(data.prior, _onto_the_line(data))
        with torch.enable_grad():
            first = train_posterior_mean(
                data.x(0),
                parameters.transform(data.theta(0)),
                parameters=parameters,
                embedding_net=self.embedding_net,
                tails=self.tails,
                seed=derive_seed(self.seed, "summaries"),
                device=self.device,
                progress=self.progress,
            )
        if not first.result.status.ok:
            _LOGGER.warning("learning summaries on level 0: %s", first.result.status.value)
        compressors: dict[tuple[int, ...], PosteriorMean | Ridge] = {
            data.event_shape(0): first.compressor
        }
        own = first.compressor.held_out(self._placed(data.x(0)), first.trained).cpu()
        levels: list[tuple[Tensor, Tensor | None, Tensor]] = [(data.theta(0), None, own)]
        for level in range(1, data.num_levels):
            shape = data.event_shape(level)
            below = self._placed(data.x_coarse(level))
            coarse = compressors[data.event_shape(level - 1)](below).cpu()
            if shape in compressors:
                own = compressors[shape](self._placed(data.x(level))).cpu()
            else:
                ridge, own = fit_ridge(data.x(level), coarse, tails=self.tails)
                compressors[shape] = ridge.to(self.device)
            levels.append((data.theta(level), coarse, own))
        summaries = MultilevelData(data.prior, levels, costs=data.costs, dropped=data.dropped)
        top = compressors[data.event_shape(data.num_levels - 1)]
        rows = tuple(row | {"stage": -1.0} for row in first.result.rows)
        return Learned(summaries, top.cpu(), rows)

    def _placed(self, x: Tensor) -> Tensor:
        return x.to(self.device)


def _onto_the_line(data: MultilevelData) -> Support:
    """Theta of every level onto R^d: the regression's target, whatever the kind of fit."""
    theta = torch.cat([data.theta(level) for level in range(data.num_levels)])
    return Support.fit(data.prior.low, data.prior.high, theta)
