"""Is the posterior right at x_o itself? The local two-sample test, on a check's own runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._random import derive_seed
from mlsbi.checking.draws import posterior_draws
from mlsbi.checking.finding import Finding
from mlsbi.metrics.lc2st import LocalTest, lc2st
from mlsbi.results import Fit

__all__ = ["DRAWS", "FEWEST", "MOST", "about_local", "draws_at", "local_test"]

DRAWS = 200  # posterior draws a run
FEWEST, MOST = 20, 500  # runs: with fewer there is no test, and more tell little more
_RARE = 0.01


def draws_at(fit: Any, x: Tensor, *, seed: int) -> Tensor:
    """Posterior draws at each x `(n, *event)`, for `local_test`, float32 `(200, n, d)`."""
    parts = [
        posterior_draws(fit, part, DRAWS, seed=derive_seed(seed, "local", i)).theta.float()
        for i, part in enumerate(x.split(100))
    ]
    return torch.cat(parts, 1)


def local_test(fit: Fit, x_o: Any, theta: Tensor, draws: Tensor, *, seed: int) -> LocalTest | None:
    """Test the posterior at x_o with runs that the fit, or that of their fold, has not seen.

    Args:
        fit: The fit whose posterior at x_o is meant.
        x_o: The observation, shape `(*event,)` or `(1, *event)`.
        theta: True parameters of the runs, `(n, d)`.
        draws: Posterior draws at the x of each, `(200, n, d)`.
        seed: Same seed, same test.

    Returns:
        The test; None where there are fewer than 20 runs.
    """
    if len(theta) < FEWEST:
        return None
    one = torch.as_tensor(x_o).float().cpu().reshape(1, *fit.event_shape)
    here = posterior_draws(fit, one, DRAWS, seed=derive_seed(seed, "local", "x_o"))
    return lc2st(theta, draws, here.theta[:, 0], seed=derive_seed(seed, "local"))


def about_local(found: LocalTest | None) -> list[Finding]:
    """What it means."""
    if found is None or found.p_value >= _RARE:
        return []
    return [
        Finding(
            "wrong-at-x_o",
            "warning",
            f"at x_o itself the posterior differs from what runs like it say (local two-sample "
            f"test, p = {found.p_value:.2g}, {found.num_runs} runs), whatever it does on average",
            "Run more of level L with parameters from this posterior, and fit again.",
            {"p": found.p_value, "statistic": found.statistic},
        )
    ]
