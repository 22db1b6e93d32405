# %% [markdown]
"""# Lynx and hare, 1900 to 1920: which time steps does a posterior need?

For two centuries the Hudson's Bay Company wrote down how many pelts it bought. Those of lynx and of
snowshoe hare rise and fall in cycles of about ten years, and have stood in every book on ecology
since. The model is that of Lotka and Volterra, with weather: hares grow and are eaten, lynx starve
or eat, and both are pushed about at random.

A stochastic differential equation has no exact simulator. It has time steps, and the finer they are
the dearer and the better. Here are three, on the same Brownian path, and three questions: what do
the coarse ones know of the fine one, which of them to use, and how many runs of each.

The table is from P. Howard's *Modeling basics*, as used in the Stan case study of B. Carpenter
(2018); it goes back to Elton and Nicholson (1942) and MacLulich (1937).
"""

# %%
from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal

import mlsbi

plt.rcParams["figure.dpi"] = 80

# %%
folders = map(Path, ("data", "examples/data", "../../examples/data"))  # wherever this was started
folder = next(folder for folder in folders if folder.is_dir())
with (folder / "lynx_hare.csv").open(encoding="utf-8") as file:
    table = [[float(row[key]) for key in ("year", "hare", "lynx")] for row in csv.DictReader(file)]
years, hare, lynx = np.array(table).T
figure, panel = plt.subplots(figsize=(6, 2.6))
panel.plot(years, hare, "o-", color="#0072B2", ms=4, label="hare")
panel.plot(years, lynx, "s-", color="#D55E00", ms=4, label="lynx")
panel.set(xlabel="year", ylabel="pelts (thousands)", xticks=range(1900, 1921, 5))
panel.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# ## Three levels on one Brownian path
#
# In logarithms, with h = log hares and p = log lynx (in thousands of pelts),
#
# - dh = (growth - lynx growth / lynx level) dt + weather dW1
# - dp = (hare death / hare level - death) dt + weather dW2
#
# The *levels* are where the populations would stand still. Theta is the two rates, the two levels,
# and how strong the weather is. Euler's method takes 1, 4 or 64 steps a year. A coarse step takes
# the *sum* of the fine increments that it spans: all levels see the same weather. That is the
# coupling.
#
# Pelts are not animals. Every number has an error of 15 %, and so has the start, in 1900.

# %% tags=["model"]
YEARS, FINEST = 20, 64


def noise(n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """What all levels share: increments of the weather, the start, errors of the counts."""
    return {
        "weather": torch.randn(n, YEARS * FINEST, 2, generator=generator),
        "start": torch.randn(n, 2, generator=generator),
        "errors": torch.randn(n, YEARS, 2, generator=generator),
    }


def populations(theta: torch.Tensor, u: dict[str, torch.Tensor], *, steps: int) -> torch.Tensor:
    """Logarithms of both populations at the end of each year, before errors: (n, 20, 2).

    A step moves the hares first and lets the lynx eat what is there then, which keeps the cycles
    from growing without end where steps are long.
    """
    growth, death, hares, lynxes, strength = theta.unbind(1)
    together = FINEST // steps
    weather = u["weather"].unflatten(1, (YEARS * steps, together)).sum(2) / FINEST**0.5
    state = torch.tensor([30.0, 4.0]).log() + 0.15 * u["start"]
    h, p, path = state[:, 0], state[:, 1], []
    for i in range(YEARS * steps):
        h = h + growth * (1 - p.exp() / lynxes) / steps + strength * weather[:, i, 0]
        p = p + death * (h.exp() / hares - 1) / steps + strength * weather[:, i, 1]
        h, p = h.clamp(-5, 8), p.clamp(-5, 8)
        if (i + 1) % steps == 0:
            path.append(torch.stack([h, p], 1))
    return torch.stack(path, 1)


def pelts(theta: torch.Tensor, u: dict[str, torch.Tensor], *, steps: int) -> torch.Tensor:
    """What is written down: logarithms with their errors, hares before lynx, (n, 40)."""
    return (populations(theta, u, steps=steps) + 0.15 * u["errors"]).transpose(1, 2).flatten(1)


# %%
names = ["growth", "death", "hare level", "lynx level", "weather"]
medians = torch.tensor([0.6, 0.8, 30.0, 20.0, 0.15])
prior = Independent(LogNormal(medians.log(), torch.tensor([0.3, 0.3, 0.3, 0.3, 0.5])), 1)
hierarchy = mlsbi.Hierarchy(
    prior,
    levels=[
        mlsbi.Level(partial(pelts, steps=steps), cost=steps, name=f"{steps} a year")
        for steps in (1, 4, 64)
    ],
    noise=noise,
)
x_o = torch.tensor(np.log(np.concatenate([hare[1:], lynx[1:]])), dtype=torch.float32)

# %% [markdown]
# How much of the finest level do the others know? At 300 draws of theta and noise:

# %%
theta, u = hierarchy.draw(300, torch.Generator().manual_seed(1))
finest = pelts(theta, u, steps=FINEST)
print("steps a year   correlation with 64   mean square difference / variance")
for steps in (1, 2, 4, 8, 16, 32):
    x = pelts(theta, u, steps=steps)
    correlation = torch.corrcoef(torch.stack([x.flatten(), finest.flatten()]))[0, 1]
    ratio = (x - finest).square().mean() / finest.var()
    print(f"{steps:12d}   {correlation:19.3f}   {ratio:32.4f}")

figure, panels = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True)
shades = zip(hierarchy.levels, ("#E69F00", "#009E73", "#0072B2"), (2, 1.5, 1), strict=True)
for level, colour, width in shades:
    for panel, x in zip(panels, level.run(theta, u), strict=False):
        panel.plot(years[1:], x[:YEARS], color=colour, lw=width, label=level.name)
panels[0].set_ylabel("log of hare pelts")
panels[0].legend(fontsize="small", frameon=False)
figure.suptitle("Hares of three draws, at each level", fontsize="medium")
figure.tight_layout()

# %% [markdown]
# ## What the pilot says

# %%
pilot = mlsbi.pilot(hierarchy, 128, seed=0)
print(pilot)

# %% [markdown]
# ## Which levels, and how many runs of each
#
# A level in the middle makes the pairs above it better, and costs runs of its own. Is it worth
# that?

# %%
choices = pilot.choose_levels(15_000)
table = choices.table()

# %%
part = pilot.subset(choices.best.levels)
plan = part.allocate(15_000, existing=part.data)
table = plan.table()

# %%
data = mlsbi.simulate(part.hierarchy, plan, seed=1, extend=part.data)
fit = mlsbi.fit_posterior(data, seed=2)
print(data)
print(fit.status)

# %% [markdown]
# ## What do twenty years of pelts say?

# %%
same_runs = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(), seed=2)
cheap = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(level=0), seed=2)
mlsbi.plots.levels_plot(
    {"4 steps a year alone": cheap, "64 alone": same_runs, "both": fit},
    x_o,
    labels=names,
)

# %%
samples = fit.sample(4000, x=x_o, seed=3)
for name, values in zip(names, samples.T, strict=True):
    low_end, middle, high_end = values.quantile(torch.tensor([0.05, 0.5, 0.95]))
    print(f"{name:10s} {middle:6.2f}   (90 %: {low_end:.2f} to {high_end:.2f})")

# %% [markdown]
# ## Does the model say what happened?
#
# Runs of the finest level at draws from the posterior. The years are not fitted one by one: each
# run has weather of its own, so a cycle may come early or late.

# %%
draws = fit.sample(300, x=x_o, seed=4)
predicted = pelts(draws, noise(300, torch.Generator().manual_seed(5)), steps=FINEST)
figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
for panel, numbers, seen, name in zip(
    panels,
    predicted.unflatten(1, (2, YEARS)).unbind(1),
    (hare, lynx),
    ("hare", "lynx"),
    strict=True,
):
    for inner, shade in ((0.9, 0.2), (0.5, 0.35)):
        ends = np.quantile(numbers.exp().numpy(), [0.5 - inner / 2, 0.5 + inner / 2], axis=0)
        panel.fill_between(years[1:], *ends, color="#0072B2", alpha=shade, lw=0)
    panel.plot(years, seen, "ko", ms=3)
    panel.set(xlabel="year", title=name, yscale="log", xticks=range(1900, 1921, 5))
panels[0].set_ylabel("pelts (thousands)")
figure.tight_layout()

# %%
outputs = [f"{kind} {year:.0f}" for kind in ("hare", "lynx") for year in years[1:]]
print(
    mlsbi.check_observation(
        fit, x_o, data=data, predictive=predicted, labels=names, outputs=outputs
    )
)

# %% [markdown]
# ## Can the fit be believed?

# %%
test = mlsbi.simulate(hierarchy.subset([2]), [200], seed=99)
check = mlsbi.check(fit, test.theta(0), test.x(0), labels=names)
print(check)

# %% [markdown]
# ## What did the coarse steps save?
#
# NLPD over fresh runs of the finest level, in nats; lower is better. Two rivals use no pairs: the
# finest level alone for the whole budget, and an emulator (a Gaussian process for x given theta) of
# the fine runs that the pairs hold.

# %%
spent = plan.total_cost
alone = mlsbi.simulate(hierarchy.subset([2]), [int(spent // 64)], seed=5)
same_cost = mlsbi.fit_posterior(alone, strategy=mlsbi.SingleLevel(), seed=2)
emulator = mlsbi.fit_posterior(data, strategy=mlsbi.Emulator(), seed=2)


def score(name: str, fit: mlsbi.PosteriorFit, runs: int) -> None:
    found = mlsbi.metrics.nlpd(fit.log_prob(test.theta(0), test.x(0)))
    print(f"{name:26s} {runs:4d} fine runs   {found.mean:6.2f} +- {found.standard_error:.2f}")


score("both levels", fit, data.n[1])
score("emulator", emulator, data.n[1])
score("fine runs alone, as many", same_runs, data.n[1])
score("fine runs alone, same cost", same_cost, alone.n[0])
score("coarse runs alone", cheap, 0)

# %% [markdown]
# ## What we saw
#
# - Steps of a year are too long: now and then a path crashes that should not, and given such a run
#   half of the fine one is still open. Steps of a quarter tell 99 % of it. So the planner leaves
#   the coarsest level out: it is nearly free, but each of its pairs costs runs of the level above.
# - The growth rate of hares is about 0.5 a year, the death rate of lynx about 0.9, and they would
#   stand still at 33 and 20 thousand pelts: close to what full Bayesian fits of the deterministic
#   model to this table give.
# - 232 fine runs beside 2110 coarse ones are 3.5 nats better than fine runs alone for the same
#   cost. Against the coarse runs alone, which are nearly right here, the gain is 0.4 nats. The
#   emulator comes within 0.2, but on summaries that the coarse runs taught it.
# - The prediction fits the first cycle closely and the second loosely. That is the model and not
#   the fit: weather adds up, and twenty years later it has moved the cycle.
