"""Do the members of a fit's ensemble agree at an observation.

    JSD(x) = sum_e w_e KL(q_e(theta | x) || q(theta | x)),    q = sum_e w_e q_e

is the Jensen-Shannon divergence of the members' posteriors: what a draw tells of the member that it
came from, in nats, between zero and the entropy of the weights (Lin 1991,
doi:10.1109/18.61115). Where members that were trained on other folds disagree more than they do at
runs of level L, the fit is a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.checking._normal import upper_tail
from mlsbi.checking.draws import is_likelihood, posterior_draws
from mlsbi.estimators.estimator import Estimator

__all__ = ["Disagreement", "disagreement"]

_MATTERS = 0.1  # nats: less is no disagreement to speak of
_FEWEST = 6  # runs to compare with
_MOST = {False: 50, True: 16}  # of likelihood fits, whose posteriors take time
_DRAWS = 200
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Disagreement:
    """Of the members at an observation.

    Attributes:
        nats: Jensen-Shannon divergence at x_o.
        most: The most that it can be.
        typical: Median at the runs.
        share: Share of the runs at which it is lower.
        runs: Their number.
        p: P-value of as much at an observation that is like the runs; 1 without runs.
    """

    nats: float
    most: float
    typical: float
    share: float
    runs: int
    p: float

    @property
    def matters(self) -> bool:
        """Whether it is large enough to speak of."""
        return self.nats > _MATTERS


def disagreement(fit: Any, x_o: Tensor, runs: Tensor | None, *, seed: int) -> Disagreement | None:
    """How far the members' posteriors at x_o are from each other, and at runs of level L.

    Args:
        fit: A fit.
        x_o: Shape `(*event,)`.
        runs: Of level L, shape `(n, *event)`; None: there are none to compare with.
        seed: Of the posterior draws.

    Returns:
        The divergences; None where the ensemble has one member.
    """
    estimator = getattr(fit, "estimator", None)
    if not isinstance(estimator, Estimator) or int((estimator.log_weights > -torch.inf).sum()) < 2:
        return None
    rows = x_o.unsqueeze(0)
    if runs is not None:
        most = _MOST[is_likelihood(fit)]
        order = torch.randperm(len(runs), generator=make_generator(seed, "members"))
        rows = torch.cat([rows, runs[order[:most].sort().values]])
    nats = _divergence(fit, estimator, rows, seed)
    here, there = float(nats[0]), nats[1:]
    weights = estimator.log_weights[estimator.log_weights > -torch.inf]
    known = len(there) >= _FEWEST
    return Disagreement(
        nats=here,
        most=float(-(weights.exp() * weights).sum()),
        typical=float(there.median()) if len(there) else float("nan"),
        share=float((there < here).double().mean()) if len(there) else float("nan"),
        runs=len(there),
        p=upper_tail(there, here) if known else 1.0,
    )


def _divergence(fit: Any, estimator: Estimator, x: Tensor, seed: int) -> Tensor:
    """At each row of x, `(b,)`."""
    theta = posterior_draws(fit, x, _DRAWS, seed=seed).theta  # (n, b, d)
    n, b, d = theta.shape
    flat = theta.reshape(-1, d).float().to(fit.device)
    many = x.unsqueeze(0).expand(n, *x.shape).reshape(-1, *x.shape[1:]).to(fit.device)
    value, context = (many, flat) if is_likelihood(fit) else (flat, many)
    parts = zip(value.split(_ROWS_AT_ONCE), context.split(_ROWS_AT_ONCE), strict=True)
    with torch.no_grad():
        each = torch.cat([estimator.member_log_prob(v, c) for v, c in parts], 1).cpu()
    used = estimator.log_weights.cpu() > -torch.inf
    log_weights = estimator.log_weights.cpu()[used].double()
    each = each[used].double().reshape(-1, n, b)
    ratio = (each - torch.logsumexp(each + log_weights[:, None, None], 0)).exp()
    # a likelihood's members also disagree about how likely x is, which is no matter of theta
    evidence = ratio.mean(1) if is_likelihood(fit) else torch.ones(len(ratio), b).double()
    ratio = ratio / evidence[:, None].clamp(min=1e-300)
    weights = log_weights.exp()[:, None] * evidence
    weights = weights / weights.sum(0)
    inner = torch.special.xlogy(ratio, ratio).mean(1)  # KL of each member, (k, b)
    return (weights * inner).sum(0).clamp(min=0)
