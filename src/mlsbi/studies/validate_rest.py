"""What later steps need of a study, looked at without doing them: fit, observation, report."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mlsbi.studies.arrays import read_held_out
from mlsbi.studies.fitting import fit_options, opened_executor

if TYPE_CHECKING:
    from mlsbi.studies.validation import Seen
    from mlsbi.study import Study

__all__ = ["look_at_rest"]


def look_at_rest(study: Study, seen: Seen) -> None:
    """Look at all that is not a level."""
    for look in (_fit, _observation, _held_out, _report, _counts, _executor):
        try:
            look(study, seen)
        except (TypeError, ValueError) as error:
            seen.problems.append(str(error).removeprefix(f"{study.path}: "))


def _fit(study: Study, seen: Seen) -> None:
    options = fit_options(study)
    strategy, net = options["strategy"], options["embedding_net"]
    if strategy is not None and seen.events:
        strategy.check(len(seen.events))
    if net is not None:
        context = seen.x if study.kind == "posterior" else seen.theta
        if context is not None:
            _try_net(net, context)


def _try_net(net: nn.Module, context: Tensor) -> None:
    """What a net makes of a few contexts `(n, *event)`."""
    own = copy.deepcopy(net).eval()  # trying it must not touch what is trained
    shape = tuple(context.shape[1:])
    try:
        with torch.no_grad():
            out: Any = own(context.clone())
    except Exception as error:  # of the user's net
        raise ValueError(
            f"fit.embedding_net must map (n, *event) to (n, features); on rows of shape {shape} it "
            f"ended in {type(error).__name__}: {error}"
        ) from error
    if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != len(context):
        raise ValueError(
            "fit.embedding_net must map (n, *event) to (n, features); it made "
            f"{tuple(getattr(out, 'shape', ()))} of {tuple(context.shape)}"
        )


def _observation(study: Study, seen: Seen) -> None:
    x_o = study.observed()
    if x_o is None:
        seen.notes.append("there is no [observation]: the report then shows no posterior.")
        return
    event, shape = seen.event, tuple(x_o.shape)
    several = study.kind == "likelihood" and shape[1:] == event
    if event is not None and shape not in {event, (1, *event)} and not several:
        raise ValueError(
            f"observation.x must have shape {event}, as x of level {len(seen.events) - 1} has; got "
            f"{shape}. Apply the same summaries to what was seen as the simulators do"
        )
    true = None if study.file.observation is None else study.file.observation.theta
    if true is not None and seen.prior is not None:
        _check_theta(torch.tensor([true]), seen, key="observation.theta")


def _check_theta(theta: Tensor, seen: Seen, *, key: str) -> None:
    prior = seen.prior
    if prior is None:
        return
    if theta.ndim != 2 or theta.shape[1] != prior.dim:
        raise ValueError(
            f"{key} must have {prior.dim} number(s) a run, one a parameter; got shape "
            f"{tuple(theta.shape[1:])}"
        )
    outside = ~prior.contains(theta)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"{key} must lie in the prior's support; {int(outside.sum())} of {len(theta)} row(s) "
            f"do not, the first is {theta[row].tolist()}"
        )


def _held_out(study: Study, seen: Seen) -> None:
    found = read_held_out(study)
    if found is None:
        return
    theta, x = found
    _check_theta(theta, seen, key="check.theta")
    shape = (len(theta), *(seen.event or x.shape[1:]))
    if tuple(x.shape) != shape:
        raise ValueError(
            f"check.x must have shape {shape}, an x of level L for each row of check.theta; got "
            f"{tuple(x.shape)}"
        )


def _report(study: Study, seen: Seen) -> None:
    names, event = study.file.report.outputs, seen.event
    if names is not None and event is not None and event != (len(names),):
        raise ValueError(
            f"report.outputs must have one name for each entry of a vector x; got {len(names)} for "
            f"x of shape {event}"
        )


def _counts(study: Study, seen: Seen) -> None:
    file, levels = study.file, len(seen.events)
    names = file.study.parameters
    if names is not None and seen.prior is not None and len(names) != seen.prior.dim:
        raise ValueError(
            f"study.parameters must have one name a parameter of the prior, {seen.prior.dim}; got "
            f"{len(names)}"
        )
    for key, own in (("plan.minimum", file.plan.minimum), ("simulate.n", file.simulate.n)):
        if levels and isinstance(own, list) and len(own) != levels:
            raise ValueError(f"{key} must have one number a level, {levels}; got {len(own)}")
    limits = (file.plan.budget, file.plan.error, file.plan.deadline, file.simulate.n)
    if file.source == "simulators" and all(limit is None for limit in limits):
        seen.notes.append(
            "nothing says yet what may be spent: set budget in [plan], or n in [simulate]. "
            f"mlsbi plan {study.path.name} shows what budgets would buy."
        )


def _executor(study: Study, seen: Seen) -> None:
    if isinstance(study.file.run.executor, str):
        with opened_executor(study):
            pass
