"""Any conditional density estimator of `sbi` as k stacked members.

`sbi` names its estimators by strings ("zuko_nsf", "maf_rqs", "made", "mdn", ...) and builds them
by functions `builder(batch_theta, batch_x)`. Here k of them are built, each from its own seed, and
their parameters are stacked to shape `(k, ...)`. One estimator does the computing: for each member
in turn, that member's slices stand in for its parameters (`torch.func.functional_call`). So every
estimator works, also the many whose control flow `torch.vmap` refuses; the loop costs k passes,
which the estimators that this package writes for stacks avoid.

sbi: Tejero-Cantero et al. (2020), "sbi: a toolkit for simulation-based inference", JOSS 5(52).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlsbi._checks import as_tensor, check_count, check_option, check_seed
from mlsbi._random import derive_seed, isolated_rng
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.embedding import as_was
from mlsbi.estimators.sbi_centre import sbi_centre, sbi_moments
from mlsbi.estimators.sbi_stack import check_alike, stacked

if TYPE_CHECKING:
    from sbi.neural_nets.estimators import ConditionalDensityEstimator

__all__ = ["SbiDensity", "sbi_density", "sbi_estimator_names"]

KINDS = ("posterior", "likelihood")

_UNSUITED = {
    "mnle": "it is for mixed discrete and continuous data",
    "mnpe": "it is for mixed discrete and continuous data",
    "tabpfn": "it is a pretrained model that is not trained further",
    "zuko_ncsf": "it is periodic, so its density over real values does not integrate to one",
    "zuko_unaf": "its backward pass needs the parameters in place, where members take turns",
}


def sbi_estimator_names() -> tuple[str, ...]:
    """The names that `sbi_density` accepts: sbi's trainable densities of real vectors."""
    from sbi.neural_nets.factory import model_builders

    return tuple(name for name in model_builders if name not in _UNSUITED)


class SbiDensity(ConditionalDensity):
    """k estimators of one architecture from `sbi`, their parameters and buffers stacked.

    Every parameter and buffer has shape `(k, ...)`, also those of an embedding net inside the
    estimator. `train()` and `eval()` reach the estimator's own modules. Dropout inside it draws
    from torch's global generator in training mode; the library leaves that to the caller.
    """

    def __init__(self, estimators: Sequence[ConditionalDensityEstimator]) -> None:
        """Stack estimators that differ in their weights only.

        Args:
            estimators: The k members. They are copied.

        Raises:
            ValueError: If they are not k objects of one architecture with parameters.
        """
        super().__init__()
        check_alike(estimators)
        self.members = len(estimators)
        named = chain(estimators[0].named_parameters(), estimators[0].named_buffers())
        self._complex = {f"estimator.{name}" for name, tensor in named if tensor.is_complex()}
        self.stack = _Dispatch(stacked(estimators))

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density of each row under each member; see `ConditionalDensity.log_prob`."""
        rows = zip(self._member_tensors(), value, context, strict=True)
        return torch.stack([functional_call(self.stack, own, (v, c)) for own, v, c in rows])

    @torch.no_grad()
    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw for each row and member; see `ConditionalDensity.sample`.

        The estimators draw from torch's global generator, which is seeded from `generator` around
        each member's draw and restored after it.
        """
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        draws = []
        for i, (own, rows) in enumerate(zip(self._member_tensors(), context, strict=True)):
            with _seeded(derive_seed(seed, "member", i), device=context.device):
                draws.append(functional_call(self.stack, own, (None, rows)))
        return torch.stack(draws)

    def centre(self, context: Tensor) -> Tensor:
        """The mean or its like, `(k, n, d)`; see `sbi_centre`."""
        return torch.stack(self._of_members(context, "centre"))

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The same with the width about it; see `sbi_moments`."""
        centre, spread = zip(*self._of_members(context, "moments"), strict=True)
        return torch.stack(centre), torch.stack(spread)

    def _of_members(self, context: Tensor, what: str) -> list[Any]:
        rows = zip(self._member_tensors(), context, strict=True)
        return [functional_call(self.stack, own, (None, c), {"what": what}) for own, c in rows]

    def _member_tensors(self) -> Iterator[dict[str, Tensor]]:
        """Each member's parameters and buffers by name, as views into the stack."""
        named = dict(chain(self.stack.named_parameters(), self.stack.named_buffers()))
        # unbind, not indexing: its backward is one stack instead of k sums of padded tensors
        for own in zip(*(tensor.unbind(0) for tensor in named.values()), strict=True):
            both = zip(named, own, strict=True)
            yield {name: as_was(t, complex_=name in self._complex) for name, t in both}


def sbi_density(
    estimator: str | Callable[[Tensor, Tensor], Any],
    *,
    kind: str,
    value_example: Tensor,
    context_example: Tensor,
    members: int,
    seed: int,
) -> SbiDensity:
    """Build k members of an sbi estimator, each with its own initial weights.

    A named estimator has sbi's default sizes and no z-scoring, as values and contexts arrive
    standardised; a context with more than one event dimension is flattened. In one dimension
    "maf" is a Gaussian, and "zuko_sospf" has tails beyond 10 that its samples miss. A builder
    keeps what was asked of it: `sbi.neural_nets.posterior_nn("maf", hidden_features=32,
    z_score_theta="none", z_score_x="none")`. An embedding net given to sbi's builder functions is
    one object: members start from copies of its weights and train apart.

    Args:
        estimator: One of `sbi_estimator_names()`, or a builder `(batch_theta, batch_x) ->
            sbi ConditionalDensityEstimator`, called once a member.
        kind: "posterior" (the value is theta, the context x) or "likelihood" (the value is x).
        value_example: Shape `(n, d)`, standardised.
        context_example: Shape `(n, *event)`, standardised.
        members: The number k of members.
        seed: Seed of the initial weights; member i's do not depend on k.

    Returns:
        The stacked members, on the device of the examples.

    Raises:
        TypeError: If `estimator` is neither a name nor a builder, or a builder returns something
            that is not an sbi `ConditionalDensityEstimator`.
        ValueError: If a name is unknown, a builder returns an estimator of other shapes, one
            without parameters, the same object twice, or another argument has a wrong value.
    """
    check_option(kind, name="kind", allowed=KINDS)
    check_count(members, name="members")
    check_seed(seed)
    value = as_tensor(value_example, name="value_example", ndim=2)
    context = as_tensor(context_example, name="context_example")
    if context.ndim < 2 or context.shape[0] != value.shape[0]:
        raise ValueError(
            f"context_example must have shape (n, *event) with n = {value.shape[0]} (from "
            f"value_example); got {tuple(context.shape)}. Pass one context for each value."
        )
    build = _builder(estimator, kind=kind, flatten=context.ndim > 2)
    theta, x = (value, context) if kind == "posterior" else (context, value)
    estimators = []
    for i in range(members):
        with isolated_rng(derive_seed(seed, "member", i)):
            built = build(theta, x)
        _check_built(built, value=value, context=context, kind=kind)
        estimators.append(built)
    return SbiDensity(estimators).to(value.device)


class _Dispatch(nn.Module):
    """`forward` for `functional_call`: log density of rows, or (value None) a draw or `what`."""

    def __init__(self, estimator: ConditionalDensityEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, value: Tensor | None, context: Tensor, *, what: str = "draw") -> Any:
        if what == "centre":
            return sbi_centre(self.estimator, context)
        if what == "moments":
            return sbi_moments(self.estimator, context)
        if value is None:
            return self.estimator.sample(torch.Size((1,)), condition=context)[0]
        return self.estimator.log_prob(value.unsqueeze(0), condition=context)[0]


class _Flatten(nn.Identity):
    """Events as vectors; an `nn.Identity` because sbi looks for parameters in any other net."""

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(1)


def _builder(
    estimator: str | Callable[[Tensor, Tensor], Any], *, kind: str, flatten: bool
) -> Callable[[Tensor, Tensor], Any]:
    if not isinstance(estimator, str):
        if not callable(estimator):
            raise TypeError(
                f"estimator must be a name or a builder; got {type(estimator).__name__}. Pass one "
                f"of {', '.join(sbi_estimator_names())}, or a function (batch_theta, batch_x) -> "
                f"sbi ConditionalDensityEstimator, such as sbi.neural_nets.{kind}_nn returns."
            )
        return estimator
    from sbi.neural_nets import likelihood_nn, posterior_nn

    names = sbi_estimator_names()
    if estimator not in names:
        reason = f" ({_UNSUITED[estimator]})" if estimator in _UNSUITED else ""
        raise ValueError(
            f"estimator must be one of {', '.join(names)}; got {estimator!r}{reason}. For another "
            f"network pass a builder (batch_theta, batch_x) -> sbi ConditionalDensityEstimator."
        )
    factory = posterior_nn if kind == "posterior" else likelihood_nn

    def build(theta: Tensor, x: Tensor) -> Any:
        with warnings.catch_warnings():
            # True, and stated in the docs: a Gaussian is what some flows are in one dimension.
            warnings.filterwarnings("ignore", message="In one-dimensional output space")
            embedding = _Flatten() if flatten else nn.Identity()
            make = factory(
                estimator, z_score_theta="none", z_score_x="none", embedding_net=embedding
            )
            return make(theta, x)

    return build


def _check_built(built: object, *, value: Tensor, context: Tensor, kind: str) -> None:
    from sbi.neural_nets.estimators import ConditionalDensityEstimator

    if not isinstance(built, ConditionalDensityEstimator):
        raise TypeError(
            f"the builder given as estimator must return an sbi ConditionalDensityEstimator; got "
            f"{type(built).__name__}. Return what sbi.neural_nets.{kind}_nn(...) builds, or wrap "
            f"a zuko flow in sbi.neural_nets.estimators.ZukoFlow; score and flow-matching "
            f"estimators and classifiers have no density to train here."
        )
    expected = (tuple(value.shape[1:]), tuple(context.shape[1:]))
    got = (tuple(built.input_shape), tuple(built.condition_shape))
    if got != expected:
        raise ValueError(
            f"the builder given as estimator must return a density of values of shape "
            f"{expected[0]} given contexts of shape {expected[1]}; got {got[0]} given {got[1]}. "
            f"For kind={kind!r} make it with sbi.neural_nets.{kind}_nn."
        )


@contextmanager
def _seeded(seed: int, *, device: torch.device) -> Iterator[None]:
    """`isolated_rng`, which also restores the device's global generator where it is a GPU."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), isolated_rng(seed):
        yield
