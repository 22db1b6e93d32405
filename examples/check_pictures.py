"""The pictures of `docs/plots.md`: a fit from 1000 cheap runs and 30 expensive ones, and its check.

python examples/check_pictures.py docs/images

Takes a few minutes: the check makes the fit again five times, each time without six of the 30.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from sbi.utils import BoxUniform
from torch import Tensor

import mlsbi
from mlsbi import plots

NAMES = ["rate", "capacity"]
OUTPUTS = ["t = 2", "t = 4", "t = 6", "t = 8"]


def growth(steps: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A population that grows, disturbed at random, and is seen four times."""

    def simulator(theta: Tensor, u: Tensor) -> Tensor:
        rate, capacity = theta.T
        size, seen = torch.full_like(rate, 0.1), []
        shocks = 0.25 * u.reshape(len(u), steps, -1).sum(2)  # a coarse step adds the fine ones' up
        for i in range(steps):
            size = size + size * (rate * (1 - size / capacity) * 8 / steps + 0.2 * shocks[:, i])
            if (i + 1) % (steps // 4) == 0:
                seen.append(size)
        return torch.stack(seen, dim=1)

    return simulator


def noise(n: int, generator: torch.Generator) -> Tensor:
    """What the levels share."""
    return torch.randn(n, 128, generator=generator)


def main(folder: Path) -> None:
    """Simulate, fit, check, and draw every figure into `folder`."""
    prior = BoxUniform(torch.tensor([0.5, 0.5]), torch.tensor([1.5, 2.0]))
    levels = [mlsbi.Level(growth(8), cost=8.0), mlsbi.Level(growth(128), cost=128.0)]
    hierarchy = mlsbi.Hierarchy(prior, levels, noise=noise)
    data = mlsbi.simulate(hierarchy, [1000, 30], seed=0)
    theta_o = torch.tensor([[1.0, 1.2]])
    x_o = growth(128)(theta_o, noise(1, torch.Generator().manual_seed(2)))[0]

    low = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(level=0), seed=1)
    fit = mlsbi.fit_posterior(data, seed=1)
    check = mlsbi.check(fit, data, x_o=x_o, labels=NAMES, seed=2, progress=True)
    print(check)

    figures = {
        "history": plots.history_plot(fit),
        "losses": plots.multilevel_plot(fit),
        "levels": plots.levels_plot(
            {"level 0 alone": low, "all levels": fit}, x_o, labels=NAMES, truth=theta_o[0]
        ),
        "predictive": plots.predictive_plot(check, outputs=OUTPUTS),
        "verdicts": plots.verdict_plot(check),
        "coverage": plots.coverage_plot(check),
        "ranks": plots.rank_plot(check),
        "tarp": plots.tarp_plot(check),
        "moments": plots.moments_plot(check),
        "scores": plots.score_plot(check),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"plot-{name}.png", dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
