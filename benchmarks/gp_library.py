"""Our batched Gaussian processes against GPyTorch's: seconds, and how good the predictions are.

25 processes at once (5 folds x 5 outputs; a fold is trained on four fifths of the n rows), 8
features, a target whose noise depends on the features. Both take the mode of the same posterior
of the hyperparameters (same kernel, same priors, same start) by the same number of Adam steps at
the same rate, in float64:

- ours: `mlsbi.bridge.gp`, which decides the hyperparameters on no more than 160 rows;
- gpytorch: batched ExactGP, its own kernels and marginal likelihood, a noise module of ours that
  is log-linear in the features (GPyTorch has none), all rows;
- gpytorch-160: as gpytorch, the hyperparameters on as many rows as ours, where that is fewer.

`exact` is the distribution that made the targets. The libraries take turns within each seed.

Run: python benchmarks/gp_library.py [--rows 10 30 100 300] [--seeds 3] [--threads 2] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gpytorch
import torch
from gpytorch.constraints import Positive
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import ConstantKernel, LinearKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods.gaussian_likelihood import _GaussianLikelihoodBase
from gpytorch.likelihoods.noise_models import Noise
from gpytorch.priors import NormalPrior
from linear_operator.operators import DiagLinearOperator
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mlsbi.bridge import gp, kernel

FOLDS, OUTPUTS, FEATURES, NEW_ROWS = 5, 5, 8, 10_000
BATCH = torch.Size([FOLDS * OUTPUTS])
CHUNK = 64  # new rows at once: where GPyTorch, which fills their covariance, is quickest
OUT = Path(__file__).parent / "results" / "gp_library.csv"
METRICS = ("fit_seconds", "predict_seconds", "log_density", "z2")

Predict = Callable[[Tensor], tuple[Tensor, Tensor]]  # features (B, m, p) -> mean, deviation
Run = dict[str, float]


@dataclass(frozen=True)
class Data:
    """Features (B, n, p) and targets (B, n), which rows are trained on (B, n), and new rows."""

    features: Tensor
    targets: Tensor
    train: Tensor
    new: Tensor
    new_targets: Tensor
    new_mean: Tensor
    new_deviation: Tensor


def make_data(n: int, seed: int) -> Data:
    """Five smooth outputs of standard normal features; what noise does is alike in all outputs."""
    generator = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    linear, wave, bend = normal(3, FEATURES, OUTPUTS) / math.sqrt(FEATURES)
    slope = 0.5 * normal(FEATURES, 1) / math.sqrt(FEATURES) + 0.1 * normal(FEATURES, OUTPUTS)
    x = normal(n + NEW_ROWS, FEATURES)
    mean = x @ linear + 0.5 * (1.5 * x @ wave).sin() + 0.2 * (x @ bend).square()
    deviation = (math.log(0.4) + x @ slope).exp()
    y = mean + deviation * normal(n + NEW_ROWS, OUTPUTS)
    train = torch.arange(n).remainder(FOLDS) != torch.arange(FOLDS).unsqueeze(1)
    train = train.repeat_interleave(OUTPUTS, 0)
    x, *columns = x.expand(*BATCH, -1, -1), *(t.mT.repeat(FOLDS, 1) for t in (y, mean, deviation))
    return Data(x[:, :n], columns[0][:, :n], train, x[:, n:], *(t[:, n:] for t in columns))


def fit_ours(data: Data) -> Predict:
    """The only place that knows the signature of our own code."""
    design = gp.Design(features=data.features, noise=data.features)
    groups = torch.eye(FEATURES, dtype=torch.float64)  # each feature is one, as in ARD
    processes = gp.fit(design, data.targets, data.train, groups, outputs=OUTPUTS)
    return lambda new: processes.predict(gp.Design(features=new, noise=new))


class LogLinearNoise(Noise):
    """exp(constant + slope f): GPyTorch's own models of noise that varies are not of this form."""

    def __init__(self) -> None:
        super().__init__()
        noise, own, common = (gp._PRIORS[k] for k in ("noise", "own_slope", "common_slope"))
        self.constant = torch.nn.Parameter(torch.full((*BATCH, 1), noise[0]).double())
        self.own = torch.nn.Parameter(torch.zeros(*BATCH, FEATURES).double())
        self.common = torch.nn.Parameter(torch.zeros(FOLDS, FEATURES).double())
        self.register_prior("noise_prior", NormalPrior(*noise), lambda m: m.constant)
        self.register_prior("own_prior", NormalPrior(*own), lambda m: m.own)
        # A prior must be as long as the batch; so much wider, the copies of a shared one add up.
        wide = NormalPrior(common[0], common[1] * math.sqrt(OUTPUTS))
        self.register_prior("common_prior", wide, lambda m: m._shared())

    def _shared(self) -> Tensor:
        return self.common.repeat_interleave(OUTPUTS, 0)

    def forward(self, *params: Any, **_: Any) -> DiagLinearOperator:
        """Noise variances (B, n) at the features that the likelihood is called with."""
        features = params[0] if torch.is_tensor(params[0]) else params[0][0]
        slope = (features @ (self.own + self._shared()).unsqueeze(-1)).squeeze(-1)
        return DiagLinearOperator((self.constant + slope).clamp(*kernel._LOG_NOISE).exp())


class GPyTorchModel(gpytorch.models.ExactGP):
    """The kernel of ours from GPyTorch's parts; every hyperparameter through its logarithm."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__(x, y, _GaussianLikelihoodBase(LogLinearNoise()))
        ard = {"batch_shape": BATCH, "ard_num_dims": FEATURES}
        exp = partial(Positive, transform=torch.exp, inv_transform=torch.log)
        constant = ConstantKernel(BATCH, constant_constraint=exp())
        linear = LinearKernel(**ard, variance_constraint=exp())
        quadratic = LinearKernel(**ard, variance_constraint=exp())
        smooth = RBFKernel(**ard, lengthscale_constraint=exp())
        scaled = ScaleKernel(smooth, batch_shape=BATCH, outputscale_constraint=exp())
        squared = quadratic * quadratic  # PolynomialKernel(2) has no weights of the features
        self.covar_module = (constant + linear + squared + scaled).double()
        log_prior(constant, "constant", "constant")
        log_prior(linear, "variance", "linear")
        log_prior(quadratic, "variance", "quadratic")
        log_prior(smooth, "lengthscale", "inverse_square_length", power=-2.0)
        log_prior(scaled, "outputscale", "amplitude")

    def forward(self, x: Tensor) -> MultivariateNormal:
        """Prior of the processes at features (B, n, p)."""
        return MultivariateNormal(x.new_zeros(x.shape[:-1]), self.covar_module(x))


def log_prior(kernel: Any, parameter: str, name: str, power: float = 1.0) -> None:
    """Normal prior of log parameter^power as ours, and the start at its mean."""
    # Not LogNormalPrior: its mode is that of the value, and ours is that of the logarithm.
    prior, mean = NormalPrior(*gp._PRIORS[name]), gp._PRIORS[name][0]
    kernel.register_prior(f"{name}_prior", prior, lambda m: power * getattr(m, parameter).log())
    start = torch.full_like(getattr(kernel, parameter), math.exp(mean / power))
    kernel.initialize(**{parameter: start})


def fit_gpytorch(data: Data, most: int | None = None) -> Predict:
    """Batched ExactGP; `most` rows decide the hyperparameters, None: all."""
    # GPyTorch has no mask for each process: rows are gathered, as folds are of equal size.
    rows = data.train.nonzero()[:, 1].reshape(*BATCH, -1)
    x = torch.gather(data.features, 1, rows.unsqueeze(-1).expand(-1, -1, FEATURES))
    y = torch.gather(data.targets, 1, rows)
    location, scale = y.mean(1, keepdim=True), y.std(1, keepdim=True, correction=0)
    y = (y - location) / scale
    model = GPyTorchModel(x[:, :most], y[:, :most])
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=gp._RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, gp._STEPS + 1)
    for _ in range(gp._STEPS):
        optimiser.zero_grad()
        marginal(model(x[:, :most]), y[:, :most], x[:, :most]).sum().neg().backward()
        optimiser.step()
        schedule.step()
    model.eval()
    model.set_train_data(x, y, strict=False)

    @torch.no_grad()
    def predict(new: Tensor) -> tuple[Tensor, Tensor]:
        with gpytorch.settings.fast_pred_var():  # exact for so few rows, and quicker
            found = [model.likelihood(model(chunk), chunk) for chunk in new.split(CHUNK, 1)]
            moments = zip(*((f.mean, f.variance) for f in found), strict=True)
        mean, variance = (torch.cat(each, 1) for each in moments)
        return mean * scale + location, variance.sqrt() * scale

    return predict


def score(data: Data, mean: Tensor, deviation: Tensor) -> Run:
    z2 = ((data.new_targets - mean) / deviation).square()
    density = -0.5 * (z2 + math.log(2 * math.pi)) - deviation.log()
    return {"log_density": density.mean().item(), "z2": z2.mean().item()}


def measure(fit: Callable[[Data], Predict], data: Data) -> Run:
    start = time.perf_counter()
    predict = fit(data)
    fitted = time.perf_counter()
    scores = score(data, *predict(data.new))
    return {"fit_seconds": fitted - start, "predict_seconds": time.perf_counter() - fitted} | scores


def libraries(n: int) -> dict[str, Callable[[Data], Predict]]:
    both, most = {"ours": fit_ours, "gpytorch": fit_gpytorch}, gp._MAX_ROWS_FOR_HYPERPARAMETERS
    few = {f"gpytorch-{most}": partial(fit_gpytorch, most=most)}
    return both | few if n * (FOLDS - 1) // FOLDS > most else both


def summary(runs: list[Run], ours: list[Run]) -> list[str]:
    """Over seeds: median (range) of seconds and median ratio, mean and deviation of the rest."""
    cells = []
    for metric in METRICS:
        values, own = (torch.tensor([r.get(metric, math.nan) for r in rs]) for rs in (runs, ours))
        if metric.endswith("seconds"):
            cells.append(f"{values.median():.2f} ({values.min():.2f}-{values.max():.2f})")
            cells.append(f"{(values / own).median():.2f}")
        else:
            cells.append(f"{values.mean():.3f} ± {values.std(correction=len(runs) > 1):.3f}")
    return ["" if "nan" in cell else cell for cell in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if any(n % FOLDS or n < 2 * FOLDS for n in options.rows):
        parser.error(f"--rows: got {options.rows}; expected multiples of {FOLDS}, from 10 on")
    torch.set_num_threads(options.threads)
    title = f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    columns = "n,library,s to fit,/ ours,s to predict,/ ours,log density,z^2"
    table = Table(*columns.split(","), title=title)
    for fit in libraries(10).values():
        measure(fit, make_data(10, 0))  # what is slow once only
    rows: list[tuple[Any, ...]] = [("rows", "library", "seed", "metric", "value")]
    for n in options.rows:
        runs: dict[str, list[Run]] = {}
        for seed in range(options.seeds):
            data = make_data(n, seed)
            found = {name: measure(fit, data) for name, fit in libraries(n).items()}
            found["exact"] = score(data, data.new_mean, data.new_deviation)
            for name, run in found.items():
                runs.setdefault(name, []).append(run)
                rows += [(n, name, seed, metric, value) for metric, value in run.items()]
        for name, each in runs.items():
            table.add_row(str(n), name, *summary(each, runs["ours"]))
    with options.out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
