"""The summary of level 0's x: the posterior mean of theta under a small posterior estimator.

The posterior mean loses the least in squared error among d-dimensional summaries (Fearnhead and
Prangle 2012, arXiv:1004.1112). It is read off k mixture density networks that are trained on level
0 alone; each holds out one fold, so that every run of level 0 has a summary that was learned
without its own theta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlsbi._random import derive_seed, make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.embedding import EmbeddedDensity
from mlsbi.estimators.mdn import MixtureDensity
from mlsbi.estimators.specs import MDN
from mlsbi.estimators.transforms import Standardise
from mlsbi.options import Training
from mlsbi.parameters import Parameters
from mlsbi.problem import LevelRows, Objective, Problem, Term, folds
from mlsbi.summaries.ridge import regress
from mlsbi.training import StageResult, train

__all__ = ["PosteriorMean", "train_posterior_mean"]

MEMBERS = 5
_CHUNK = 2048  # rows at once: an embedding net keeps several copies of an image a row
_WIDE = 1000  # numbers in x above which the regression takes no more rows than this
_STATISTICS = 2**22  # numbers that the quantiles of x are taken of; more do not sharpen them

# A rough posterior does: the summary has to be informative, not calibrated. Dropout and decay hold
# back the many weights on outputs that say nothing; stopping is decided on the held-out folds.
TRAINING = Training(
    max_steps=1000,
    learning_rate=4e-3,
    weight_decay=0.3,
    dropout=0.1,
    common_dropout=False,
    patience=8,
    validation_fraction=1 / MEMBERS,
)


class PosteriorMean(nn.Module):
    """x `(n, *event)` to the mean over members of E[theta | x] in the network's units, `(n, d)`."""

    def __init__(
        self, standardise: Standardise, blueprint: Blueprint, density: ConditionalDensity
    ) -> None:
        """Hold x's standardisation and a density of theta given x, and how it was built.

        Args:
            standardise: Of x.
            blueprint: From which `density` was built.
            density: A mixture, with or without an embedding in front.
        """
        super().__init__()
        self.standardise, self.blueprint, self.density = standardise, blueprint, density

    def forward(self, x: Tensor) -> Tensor:
        """Summaries `(n, d)` of x `(n, *event)` that no member was trained on."""
        return self._in_chunks(x, lambda rows, _: self._means(rows).mean(0))

    def held_out(self, x: Tensor, trained: Tensor) -> Tensor:
        """Summaries of the training rows, each from the members that were not trained on it.

        Args:
            x: Shape `(n, *event)`.
            trained: Which rows each member was trained on, bool `(k, n)`; a row that all were
                trained on gets the mean over all.

        Returns:
            Shape `(n, d)`.
        """
        use = torch.where(trained.all(0), trained, ~trained).to(x.device)

        def of(rows: Tensor, place: slice) -> Tensor:
            weight = use[:, place, None].float()
            return (self._means(rows) * weight).sum(0) / weight.sum(0)

        return self._in_chunks(x, of)

    @staticmethod
    def _in_chunks(x: Tensor, function: Any) -> Tensor:  # noqa: ANN401
        places = [slice(i, i + _CHUNK) for i in range(0, max(len(x), 1), _CHUNK)]
        return torch.cat([function(x[place], place) for place in places])

    def _means(self, x: Tensor) -> Tensor:
        """E[theta | x] under each member, `(k, n, d)`."""
        z = _network_units(self.standardise, x, self.blueprint)
        context = z.expand(self.density.members, *z.shape)
        density: nn.Module = self.density
        if isinstance(density, EmbeddedDensity):
            context, density = density.embedding(context).flatten(2), density.density
        if not isinstance(density, MixtureDensity):
            raise TypeError(f"density must be a mixture; got {type(density).__name__}")
        return density.mean(context.contiguous())


@dataclass(frozen=True)
class Trained:
    """A compressor, the rows that each member saw `(k, n)`, and how the training ended."""

    compressor: PosteriorMean
    trained: Tensor
    result: StageResult


def train_posterior_mean(
    x: Tensor,
    theta: Tensor,
    *,
    parameters: Parameters,
    embedding_net: nn.Module | None,
    tails: str,
    seed: int,
    device: torch.device,
    progress: bool = False,
) -> Trained:
    """Train a compressor of x.

    Args:
        x: Runs of level 0, `(n, *event)`, in the user's units.
        theta: Their parameters in the network's units, `(n, d)`.
        parameters: The prior of theta, and the transform that gave `theta`.
        embedding_net: Goes in front: `(n, *event) -> (n, features)`.
        tails: Which outputs of x go through asinh; see `Standardise.fit`.
        seed: Of the weights, the folds and the batches.
        device: Where to train.
        progress: Show a progress bar.
    """
    some = x[: max(_STATISTICS // max(x[0].numel(), 1), 50)]
    standardise = Standardise.fit(some, tails=tails, shared=embedding_net is not None)
    blueprint = Blueprint(
        estimator=MDN(components=2),
        kind="posterior",
        members=MEMBERS,
        dropout=TRAINING.dropout,
        common_dropout=TRAINING.common_dropout,
        value_dim=theta.shape[1],
        # without a net of the user's, x is flattened
        context_shape=tuple(x.shape[1:]) if embedding_net is not None else (x[0].numel(),),
        embedding_net=embedding_net,
    )

    def build(*, seed: int, **options: Any) -> ConditionalDensity:
        return blueprint.variant(**options).build(seed=seed).to(device)

    trained = folds(len(x), MEMBERS, fraction=1 / MEMBERS, generator=make_generator(seed, "folds"))
    rows = LevelRows(theta, _network_units(standardise, x, blueprint))
    problem = Problem(
        levels=(rows,),
        train_rows=(trained,),
        training=TRAINING,
        seed=derive_seed(seed, "training"),
        kind="posterior",
        parameters=parameters,
        build=build,
        density_seed=derive_seed(seed, "density"),
        device=device,
        progress=progress,
    )
    density = problem.build(seed=problem.density_seed)
    if isinstance(density, MixtureDensity):
        _start_at_regression(density, rows, trained)
    result = train(density, Objective((Term(0),), (Term(0),)), problem)
    compressor = PosteriorMean(standardise, blueprint, density).to(device)
    return Trained(compressor.eval().requires_grad_(requires_grad=False), trained, result)


def _network_units(standardise: Standardise, x: Tensor, blueprint: Blueprint) -> Tensor:
    """X standardised, in the shape that the networks take."""
    return standardise(x).reshape(len(x), *blueprint.context_shape)


def _start_at_regression(density: MixtureDensity, rows: LevelRows, trained: Tensor) -> None:
    """Start each member at the ridge regression of theta on x over its own training rows.

    Where x has hundreds of numbers that say nothing, a network started at random learns the noise
    before it has found the rest; the regression holds most of what there is to find.
    """
    starts = []
    for use in trained:
        place = use.nonzero().squeeze(1)
        if rows.context.shape[1] > _WIDE:
            place = place[:_WIDE]
        found = regress(rows.context[place], rows.value[place])
        spread = (rows.value[place] - found.leave_one_out).square().mean(0).sqrt()
        starts.append((found.weights.mT, found.offset, spread.clamp(min=0.02)))
    weights, offset, spread = (torch.stack(part).float() for part in zip(*starts, strict=True))
    device = density.skip.weight.device
    density.start_linear(weights.to(device), offset.to(device), spread.to(device))
