"""Checks, losses and predictions that figures are drawn from, and how to read figures back."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch
from matplotlib.figure import Figure

from mlsbi.checking.bands import Band
from mlsbi.checking.predictive import of_draws
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.verdict import State, Verdict
from mlsbi.metrics import coverage_of_ranks
from mlsbi.multilevel_table import MultilevelLosses

NAMES = ("rate", "size", "drift")


def scores(n=40, d=3, *, seed=0):
    g = torch.Generator().manual_seed(seed)
    u = {"generator": g, "dtype": torch.float64}
    return RunScores(
        log_prob=torch.randn(n, **u),
        posterior_log_prob=torch.randn(n, **u),
        rank=torch.rand(n, d, **u),
        hpd=torch.rand(n, **u),
        marginal_hpd=torch.rand(n, d, **u),
        tarp=torch.rand(n, **u),
        z=torch.randn(n, d, **u),
        contraction=1 - 0.5 * torch.rand(n, d, **u),
    )


def verdict(name="rate", state=State.OVER, scale=(1.6, 1.2, 2.1), shift=(0.1, -0.2, 0.4)):
    more = 40 if state is State.UNDECIDED else None
    return Verdict(name, state, Band(*scale), Band(*shift), 0.01, more, "words")


def check(n=40, d=3, **changes):
    """What the figures read of a `Check`."""
    made = scores(n, d)
    parts = {
        "scores": made,
        "labels": NAMES[:d],
        "coverage": coverage_of_ranks(made.hpd),
        "marginal_coverage": tuple(coverage_of_ranks(r) for r in made.marginal_hpd.T),
        "verdicts": (verdict("joint"), *(verdict(name, State.CALIBRATED) for name in NAMES[:d])),
        "two_level": None,
        "comparison": None,
        "observation": None,
    }
    return SimpleNamespace(**(parts | changes))


def losses(levels=3, **changes):
    n = (1000, 100, 20)[:levels]
    parts = {
        "n": n, "costs": None, "rows": n, "held_out_rows": n,
        "loss_mean": (1.2, 1.5, 1.6)[:levels], "loss_variance": (2.0, 2.2, 2.1)[:levels],
        "coarse_mean": (math.nan, 1.25, 1.45)[:levels],
        "coarse_variance": (math.nan, 2.0, 2.1)[:levels],
        "difference_mean": (1.2, 0.25, 0.1)[:levels],
        "difference_variance": (2.0, 0.2, 0.01)[:levels],
        "kurtosis": (3.0,) * levels, "identical": (False,) * levels,
        "gradient_norm": None, "cosine": None, "projected": None, "unit": "nats",
    }  # fmt: skip
    return MultilevelLosses(**(parts | changes))


def predictive(outputs=4, *, moved=(), draws=200):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(draws, outputs, generator=g) * torch.logspace(-1, 2, outputs)
    x_o = x[0].clone()
    for output, sd in moved:
        x_o[output] = x[:, output].mean() + sd * x[:, output].std()
    return of_draws(x, x_o, source="draws of the fit", alpha=0.01)


def png(figure, folder):
    """Render for real: layout and font problems show only then."""
    figure.savefig(folder / "figure.png")
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def band_of(collection):
    """Lower and upper end of a filled band by its abscissa."""
    vertices = collection.get_paths()[0].vertices
    points = np.unique(vertices[:, 0])
    ends = [vertices[vertices[:, 0] == x, 1] for x in points]
    return points, np.array([e.min() for e in ends]), np.array([e.max() for e in ends])


def four_axes():
    return Figure().subplots(2, 2)
