"""The picture of coupled pairs in the docs: the same parameters, with the same noise and without.

Run: python examples/coupling_picture.py docs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

FINE, COARSE = 256, 16  # steps of Euler-Maruyama's method in the same time
ONE, TWO, GREY = "#0072B2", "#D55E00", "#7A7A7A"


def walk(theta: Tensor, increments: Tensor, *, steps: int) -> Tensor:
    """A mean-reverting path: shape `(n, steps + 1)`, of increments on the finest grid."""
    level, pull = theta.T
    shocks = increments.reshape(len(increments), steps, -1).sum(2)  # a coarse step adds up
    path = [torch.zeros(len(theta))]
    for i in range(steps):
        path.append(path[-1] + pull * (level - path[-1]) / steps + 0.7 * shocks[:, i])
    return torch.stack(path, dim=1)


def draw_paths(ax: Axes, coarse: Tensor, fine: Tensor, title: str) -> None:
    """Both levels' path over time."""
    ax.plot(torch.linspace(0, 1, FINE + 1), fine, color=GREY, linewidth=1, label="level 1")
    ax.plot(torch.linspace(0, 1, COARSE + 1), coarse, color=ONE, linewidth=1.8, label="level 0")
    ax.set_title(title, fontsize=10)
    ax.set_xlabel("time")
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def draw_pairs(ax: Axes, coarse: dict[str, Tensor], fine: Tensor) -> None:
    """End of the fine path against that of the coarse one."""
    ax.axline((0, 0), slope=1, color="0.8", linewidth=1)
    for (name, values), colour in zip(coarse.items(), (TWO, ONE), strict=True):
        share = (fine - values).var() / fine.var()
        label = f"{name}: Var d / Var x = {share:.3f}"
        ax.plot(values, fine, ".", color=colour, markersize=4, label=label)
    ax.set_title("200 pairs at as many theta; d = x_1 - x_0", fontsize=10)
    ax.set_xlabel("end of the path at level 0")
    ax.set_ylabel("at level 1")
    ax.set_ylim(top=float(fine.max()) * 1.5)
    ax.legend(frameon=False, fontsize=8, loc="upper left", handletextpad=0.2)


def main(folder: Path) -> None:
    """Draw the three panels."""
    generator = torch.Generator().manual_seed(2)
    theta = torch.rand(200, 2, generator=generator) * torch.tensor([1.0, 2.0]) + 0.5
    noise, other = torch.randn(2, 200, FINE, generator=generator) / FINE**0.5
    fine = walk(theta, noise, steps=FINE)
    shared = walk(theta, noise, steps=COARSE)
    apart = walk(theta, other, steps=COARSE)
    figure = Figure(figsize=(10, 3.1), layout="constrained")
    paths, broken, pairs = figure.subplots(1, 3)
    broken.sharey(paths)
    draw_paths(paths, shared[0], fine[0], "same theta, same noise")
    draw_paths(broken, apart[0], fine[0], "same theta, noise of its own")
    ends = {"own noise": apart[:, -1], "same noise": shared[:, -1]}
    draw_pairs(pairs, ends, fine[:, -1])
    figure.savefig(folder / "coupling.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
