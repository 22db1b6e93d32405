# %% [markdown]
"""# A swinging pendulum, two integrators: how strong are gravity, damping and drag?

A weight on a string is let go at about 70 degrees. A cheap sensor reads its angle four times a
second for six seconds; some readings got lost, and nobody knows the sensor's zero to better than
0.05 rad. What were g/L, the damping of the pivot and the drag of the air?

Two simulators know the equation of motion. One solves it with an adaptive method of order eight, to
eight digits; it stands for the expensive code that you trust. The other takes one step between two
readings: cheap, and visibly wrong. We learn the posterior *of the expensive one* from many runs of
the cheap one and few of the other.
"""

# %%
from __future__ import annotations

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sbi.utils import BoxUniform
from scipy.integrate import solve_ivp

import mlsbi

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## What was measured
#
# Lost readings are blanks in the file. They were lost at *these* times, so the simulators simply
# report the other ones, and nothing has to be filled in. (The file is made up, and
# `data/make_pendulum.py` says how: so the truth is known, and we can look it up at the end.)

# %%
folders = map(Path, ("data", "examples/data", "../../examples/data"))  # wherever this was started
folder = next(folder for folder in folders if folder.is_dir())
with (folder / "pendulum.csv").open(encoding="utf-8") as file:
    rows = [row for row in csv.DictReader(file) if row["angle"]]
times = np.array([float(row["seconds"]) for row in rows])
x_o = torch.tensor([float(row["angle"]) for row in rows])
print(f"{len(x_o)} readings of 24, the last one after {times[-1]:.2f} seconds")

# %% [markdown]
# ## The levels, and what couples them
#
# The angle follows  angle'' = -(g/L) sin(angle) - damping angle' - drag |angle'| angle'.
#
# Everything that is random comes in through `u`: how far off the angle of release was, the sensor's
# zero, and the noise of each reading. Both simulators use the same `u` in the same way, so two runs
# with the same theta and the same `u` differ by nothing but the integrator. That is a coupled pair.
# The sensor's zero is no parameter: it is drawn anew in every run, and so the posterior averages
# over it.

# %% tags=["model"]
SAMPLING = 0.25  # seconds from one reading to the next
READINGS = 24


def acceleration(
    angle: np.ndarray, speed: np.ndarray, strength: float, damping: float, drag: float
) -> np.ndarray:
    """Of the weight; everything may be arrays."""
    return -strength * np.sin(angle) - damping * speed - drag * np.abs(speed) * speed


def noise(n: int, generator: torch.Generator) -> torch.Tensor:
    """Standard normal: error of the release, the sensor's zero, and each reading's noise."""
    return torch.randn(n, 2 + READINGS, generator=generator)


def one_step(theta: torch.Tensor, u: torch.Tensor, steps: int = 1) -> np.ndarray:
    """Level 0: semi-implicit Euler, `steps` of them a reading. All rows at once: (n, 24)."""
    strength, damping, drag = theta.double().numpy().T
    z, step = u.double().numpy(), SAMPLING / steps
    angle, speed, path = 1.2 + 0.02 * z[:, 0], np.zeros(len(z)), []
    for _ in range(READINGS):
        for _ in range(steps):
            speed = speed + step * acceleration(angle, speed, strength, damping, drag)
            angle = angle + step * speed
        path.append(angle)
    return np.stack(path, axis=1) + 0.05 * z[:, 1:2] + 0.03 * z[:, 2:]


def adaptive(theta: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Level 1: SciPy's DOP853. One row at a time: theta (3,), u (26,) -> (24,)."""
    solution = solve_ivp(
        lambda _, state: (state[1], acceleration(state[0], state[1], *theta.astype(float))),
        (0.0, READINGS * SAMPLING),
        (1.2 + 0.02 * u[0], 0.0),
        method="DOP853",
        t_eval=SAMPLING * np.arange(1, READINGS + 1),
        rtol=1e-8,
        atol=1e-8,
    )
    return solution.y[0] + 0.05 * u[1] + 0.03 * u[2:]


# %% [markdown]
# A string of about a metre: g/L is somewhere near 9.8. One evaluation of the acceleration is the
# unit of cost; DOP853 needs about 600 of them, the single steps 24.

# %%
kept = np.round(times / SAMPLING).astype(int) - 1  # the readings that arrived
names = ["g/L", "damping", "drag"]
prior = BoxUniform(torch.tensor([7.0, 0.0, 0.0]), torch.tensor([12.0, 0.4, 0.4]))
hierarchy = mlsbi.Hierarchy(
    prior,
    levels=[
        mlsbi.Level(lambda theta, u: one_step(theta, u)[:, kept], cost=24, name="one step"),
        mlsbi.Level(
            lambda theta, u: adaptive(theta, u)[kept], cost=600, batched=False, name="DOP853"
        ),
    ],
    noise=noise,
)

theta, u = hierarchy.draw(3, torch.Generator().manual_seed(3))
low, high = hierarchy.pair(1, theta, u)
figure, panels = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True)
for panel, coarse, fine in zip(panels, low, high, strict=True):
    panel.plot(times, coarse, "o-", color="#E69F00", ms=3, lw=1, label="one step a reading")
    panel.plot(times, fine, "s-", color="#0072B2", ms=3, lw=1, label="DOP853")
    panel.set_xlabel("seconds")
panels[0].set_ylabel("angle (rad)")
panels[0].legend(fontsize="small", frameon=False, loc="upper right")
figure.suptitle("Three coupled pairs: same theta, same noise", fontsize="medium")
figure.tight_layout()

# %% [markdown]
# ## Is the cheap one worth having?
#
# A pilot runs both levels on the same 64 draws. What it says before anything is spent:

# %%
pilot = mlsbi.pilot(hierarchy, 64, seed=0)
print(pilot)

# %% [markdown]
# ## Plan, simulate, fit

# %%
plan = pilot.allocate(80_000, existing=pilot.data)
table = plan.table()

# %%
data = mlsbi.simulate(hierarchy, plan, seed=1, extend=pilot.data)
fit = mlsbi.fit_posterior(data, seed=2)
print(data)
print(fit.status)

# %% [markdown]
# ## What do the readings say?
#
# Beside the fit stand two that one could have made instead: the same expensive runs alone, and the
# cheap runs alone.

# %%
same_runs = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(), seed=2)
cheap = mlsbi.fit_posterior(data, strategy=mlsbi.SingleLevel(level=0), seed=2)
truth = torch.tensor([9.34, 0.08, 0.15])
mlsbi.plots.levels_plot(
    {"cheap runs alone": cheap, "expensive runs alone": same_runs, "all levels": fit},
    x_o,
    labels=names,
    truth=truth,
)

# %% [markdown]
# ## Can it be believed?
#
# The expensive code is fast enough here that a hundred fresh runs are to be had for testing. Where
# they are not, `mlsbi.check(fit, data)` asks the same questions of the runs that exist.

# %%
test = mlsbi.simulate(hierarchy, [1, 150], seed=99)
check = mlsbi.check(fit, test.theta(1), test.x(1), labels=names)
print(check)

# %% [markdown]
# ## What did the cheap runs save?
#
# NLPD, the mean of -log q(theta | x) over the fresh runs, in nats: lower is better. Two rivals use
# no coupling. One spends the whole budget on expensive runs. The other (`Emulator`) learns a
# Gaussian process for x given theta from the expensive runs of the pairs, and trains on draws from
# it: it is the strongest that we know for few runs. The cheap runs serve it for one thing only, to
# learn which summaries of the 18 readings matter.

# %%
alone = mlsbi.simulate(hierarchy.subset([1]), [int(plan.total_cost // 600)], seed=5)
same_cost = mlsbi.fit_posterior(alone, strategy=mlsbi.SingleLevel(), seed=2)
emulator = mlsbi.fit_posterior(data, strategy=mlsbi.Emulator(), seed=2)


def score(name: str, fit: mlsbi.PosteriorFit, runs: int) -> None:
    found = mlsbi.metrics.nlpd(fit.log_prob(test.theta(1), test.x(1)))
    print(f"{name:32s} {runs:4d} runs of DOP853   {found.mean:6.2f} +- {found.standard_error:.2f}")


score("all levels", fit, data.n[1])
score("emulator", emulator, data.n[1])
score("expensive runs alone, as many", same_runs, data.n[1])
score("expensive runs alone, same cost", same_cost, alone.n[0])
score("cheap runs alone", cheap, 0)

# %% [markdown]
# ## Is the observation one that the simulators can produce?
#
# A posterior is drawn from whatever is put in. `check_observation` looks first. The best basis is a
# prediction: expensive runs at draws from the posterior.


# %%
def predicted(x: torch.Tensor) -> torch.Tensor:
    """Runs of level 1 at 200 posterior draws."""
    draws = fit.sample(200, x=x, seed=3)
    return hierarchy.levels[1].run(draws, noise(200, torch.Generator().manual_seed(4)))


print(mlsbi.check_observation(fit, x_o, data=data, predictive=predicted(x_o), labels=names))

# %% [markdown]
# Now a fault, as it happens: someone mounted the sensor with another gear, and it reads 25 % too
# much. Each reading by itself is an angle that a pendulum can have. All of them together are not.

# %%
wrong = 1.25 * x_o
found = mlsbi.check_observation(fit, wrong, data=data, predictive=predicted(wrong), labels=names)
print(found)
mlsbi.plots.predictive_plot(found, outputs=[f"{t:.2f} s" for t in times])

# %% [markdown]
# ## What we saw
#
# - The single steps are badly off: left alone they put g/L at 8, far from the truth, and they are
#   sure of it. What they *know* is another matter: given a cheap run, the expensive one is almost
#   certain. So 131 expensive runs are enough, where alone they leave g/L open.
# - In NLPD the levels together are 2.5 nats better than the same expensive runs alone, and 1.6
#   better than what the whole budget buys without cheap runs. Of this the emulator gets most: the
#   coupling is worth 0.3 nats here, because x is a smooth function of theta and the noise is plain.
# - g/L is known to about 1 %. Damping and drag are not told apart: both take the swing away, and
#   six seconds say how much they take together. The posterior shows it as a ridge.
# - A sensor with a wrong scale still gets a posterior that looks fine. `check_observation` caught
#   it, by the first reading: none can be above the release.
