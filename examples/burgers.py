# %% [markdown]
"""# Burgers' equation on three grids: how viscous is what the camera sees?

Waves run along a ring, steepen into shocks, and die away. A camera sees 16 points of the ring at
eight times: x is a picture. How viscous is the medium, and how high were the waves at the start?
Their shape is not known, nor how fast all of it drifts; both are random, and the posterior averages
over them.

`u_t + (u^2 / 2)_x = viscosity u_xx`

A grid of 128 cells stands for the faithful code; grids of 32 and 16 are 16 and 64 times cheaper.
Coarse grids smear shocks, and that looks like viscosity: whoever trusts them finds too little of
the real one. An embedding net reads the pictures.
"""

# %%
from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import torch
from sbi.utils import BoxUniform
from torch import Tensor, nn

import mlsbi

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## Three grids, one start, one camera
#
# What the levels share is the *start*, as coefficients of four waves: each grid takes from them the
# field at its own cells, so that the same `u` is the same start on every grid. A start that were
# drawn cell by cell could not be shared like that. Drift and the camera's noise are shared, too.
#
# The camera has 16 points whatever the grid: finer grids are averaged over what falls into one. So
# pictures of all levels have one shape and can be compared, which a pilot needs. (Levels may differ
# in shape; then you choose how many runs of each.)
#
# The scheme is the plain one for shocks: slopes limited by minmod, Rusanov's flux, two stages a
# step.

# %% tags=["model"]
CELLS, SEEN, SECONDS = 16, 8, 3.0  # of the camera; and how long it looks


def noise(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Coefficients of the waves, (n, 2, 4), drift, (n, 1), and the camera's noise, (n, 8, 16)."""
    return {
        "drift": 0.5 * torch.randn(n, 1, generator=generator),
        "start": torch.randn(n, 2, 4, generator=generator),
        "camera": torch.randn(n, SEEN, CELLS, generator=generator),
    }


def centres(grid: int) -> Tensor:
    """Of the cells of a ring of length 2 pi."""
    return (torch.arange(grid) + 0.5) * (2 * torch.pi / grid)


def slope_of_time(field: Tensor, viscosity: Tensor) -> Tensor:
    """How fast each cell changes, (n, grid)."""
    width = 2 * torch.pi / field.shape[1]
    back, ahead = field - field.roll(1, 1), field.roll(-1, 1) - field
    slope = torch.where(back * ahead > 0, back.sign() * torch.minimum(back.abs(), ahead.abs()), 0.0)
    left, right = field + slope / 2, (field - slope / 2).roll(-1, 1)  # of each cell's right edge
    speed = torch.maximum(left.abs(), right.abs())
    flux = (left**2 + right**2) / 4 - speed * (right - left) / 2 - viscosity * ahead / width
    return (flux.roll(1, 1) - flux) / width


def waves(theta: Tensor, u: dict[str, Tensor], *, grid: int) -> Tensor:
    """The field on a grid at the camera's eight times, (n, 8, grid)."""
    viscosity, height = theta[:, :1], theta[:, 1:]
    phases = torch.arange(1, 5).unsqueeze(1) * centres(grid)  # (4, grid)
    sine, cosine = (u["start"] * height.unsqueeze(2) / torch.arange(1, 5)).unbind(1)
    field = u["drift"] + sine @ phases.sin() + cosine @ phases.cos()
    step, path = SECONDS / (10 * grid), []
    for i in range(10 * grid):
        middle = field + step * slope_of_time(field, viscosity)
        field = (field + middle + step * slope_of_time(middle, viscosity)) / 2
        if (i + 1) % (10 * grid // SEEN) == 0:
            path.append(field)
    return torch.stack(path, 1)


def picture(theta: Tensor, u: dict[str, Tensor], *, grid: int) -> Tensor:
    """What the camera sees, (n, 8, 16)."""
    field = waves(theta, u, grid=grid)
    seen = field.unflatten(2, (CELLS, grid // CELLS)).mean(3)  # what falls into a pixel
    return seen + 0.05 * u["camera"]


# %%
names = ["viscosity", "height"]
prior = BoxUniform(torch.tensor([0.01, 0.4]), torch.tensor([0.4, 1.2]))
hierarchy = mlsbi.Hierarchy(
    prior,
    levels=[
        mlsbi.Level(partial(picture, grid=grid), cost=grid**2 / 256, name=f"{grid} cells")
        for grid in (16, 32, 128)
    ],
    noise=noise,
)
truth = torch.tensor([0.1, 0.8])
hidden = noise(1, torch.Generator().manual_seed(11))
x_o = picture(truth[None], hidden, grid=128)[0]

figure, panels = plt.subplots(1, 3, figsize=(9, 2.6), sharey=True)
for panel, level in zip(panels, hierarchy.levels, strict=True):
    shown = panel.imshow(
        level.run(truth[None], hidden)[0],
        aspect="auto",
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        extent=(0, 2 * torch.pi, SECONDS, 0),
    )
    panel.set(title=level.name, xlabel="place on the ring")
panels[0].set_ylabel("seconds")
bar = figure.colorbar(shown, ax=panels, label="field")

# %% [markdown]
# The rightmost picture is the observation: viscosity 0.1, height 0.8. The others are what the
# coarse grids make of the same start.

# %%
pilot = mlsbi.pilot(hierarchy, 64, seed=0)
print(pilot)

# %%
choices = pilot.choose_levels(5_000)
table = choices.table()

# %%
part = pilot.subset(choices.best.levels)
plan = part.allocate(5_000, existing=part.data)
table = plan.table()
data = mlsbi.simulate(part.hierarchy, plan, seed=1, extend=part.data)
print(data)

# %% [markdown]
# ## An embedding net for pictures
#
# Any module that takes `(n, 8, 16)` to `(n, features)` will do, sbi's `CNNEmbedding` too. This one
# knows that the ring is closed: it pads places in a circle. The default strategy trains it on the
# many cheap pictures, to say theta from them; the pairs then teach how what it says of a cheap
# picture follows what it says of the faithful one.


# %%
class Ring(nn.Module):
    """Two convolutions over time and place; places go round in a circle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, (1, 5), padding=(0, 2), padding_mode="circular")
        self.second = nn.Conv2d(4, 8, (3, 5), padding=(0, 2), padding_mode="circular")
        self.last = nn.Sequential(nn.Flatten(), nn.LayerNorm(8 * 6 * 4), nn.Linear(8 * 6 * 4, 16))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8, 16) -> (n, 16)."""
        x = nn.functional.silu(self.first(x.unsqueeze(1)))
        x = nn.functional.avg_pool2d(x, (1, 2))
        x = nn.functional.silu(self.second(x))
        return self.last(nn.functional.avg_pool2d(x, (1, 2)))


fit = mlsbi.fit_posterior(data, embedding_net=Ring(), seed=2)
print(fit.status)

# %% [markdown]
# ## How viscous is it?

# %%
same_runs = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(), embedding_net=Ring(), seed=2)
cheap = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(level=0), embedding_net=Ring(), seed=2)
mlsbi.plots.levels_plot(
    {"16 cells alone": cheap, "128 cells alone": same_runs, "both": fit},
    x_o,
    labels=names,
    truth=truth,
)

# %% [markdown]
# ## Can it be believed?

# %%
test = mlsbi.simulate(hierarchy.subset([2]), [100], seed=99)
check = mlsbi.check(fit, test.theta(0), test.x(0), labels=names)
print(check)

# %%
draws = fit.sample(200, x=x_o, seed=3)
predicted = picture(draws, noise(200, torch.Generator().manual_seed(4)), grid=128)
print(mlsbi.check_observation(fit, x_o, data=data, predictive=predicted, labels=names))

# %% [markdown]
# ## What did the coarse grid save?
#
# NLPD over fresh runs on 128 cells, in nats; lower is better. Two rivals use no pairs: 128 cells
# alone for the whole budget, and an emulator (a Gaussian process for the summaries given theta) of
# the fine runs that the pairs hold.

# %%
alone = mlsbi.simulate(hierarchy.subset([2]), [int(plan.total_cost // 64)], seed=5)
same_cost = mlsbi.fit_posterior(alone, embedding_net=Ring(), seed=2)
emulator = mlsbi.fit_posterior(data, strategy=mlsbi.Emulator(), embedding_net=Ring(), seed=2)


def score(name: str, fit: mlsbi.PosteriorFit, runs: int) -> None:
    found = mlsbi.metrics.nlpd(fit.log_prob(test.theta(0), test.x(0)))
    print(f"{name:26s} {runs:4d} runs on 128   {found.mean:6.2f} +- {found.standard_error:.2f}")


score("both grids", fit, data.n[1])
score("emulator", emulator, data.n[1])
score("128 cells alone, as many", same_runs, data.n[1])
score("128 cells alone, same cost", same_cost, alone.n[0])
score("16 cells alone", cheap, 0)

# %% [markdown]
# ## What we saw
#
# - Pictures of both grids correlate at 0.999, and yet 16 cells alone put the viscosity at a third
#   of what it is: the grid's own smearing does the rest. A high correlation of x does not say that
#   a posterior is right, for it may rest on just what the levels differ in.
# - 128 cells alone, with the runs that the budget buys, learn next to nothing: a hundred pictures
#   are too few for a net. The coarse pictures teach the net where to look, the pairs what it means.
#   Together they are 1.7 nats better than fine runs for the same cost, and 1.0 better than coarse
#   ones.
# - The emulator comes within 0.15: it works on the net's summaries, too, and these are smooth in
#   theta.
# - The height is known badly, and that is right: four waves with random coefficients say little of
#   their size.
# - One warning was too many. `x_o` was made by the fine grid itself, but a shock passes two of its
#   pixels, and what the other pixels lead to expect is computed as if all were normal and linear.
#   The prediction, which knows of shocks, finds nothing odd: trust it where the two disagree.
