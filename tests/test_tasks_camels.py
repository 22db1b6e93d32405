"""The CAMELS task: its splits on a made-up folder, and the real spectra where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from mlsbi.tasks import camels

HEADER = "#Name  Omega_m sigma_8 A_SN1   A_AGN1  A_SN2   A_AGN2  seed"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the real one, in which x holds the row's number and theta."""
    inner = tmp_path / "camels"
    inner.mkdir()
    theta = np.random.default_rng(0).uniform((0.1, 0.6), (0.5, 1.0), (1000, 2)).round(5)
    lines = [f"  LH_{i} {om} {s8} 1.0 1.0 1.0 1.0 {i}" for i, (om, s8) in enumerate(theta)]
    (inner / "parameters.txt").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    rows = np.concatenate([np.arange(1000)[:, None], theta, np.zeros((1000, 36))], axis=1)
    np.save(inner / "x_nbody.npy", rows)
    np.save(inner / "x_hydro.npy", rows + 2000)
    return tmp_path


def cosmologies(x: Tensor) -> set[int]:
    return set((x[:, 0] % 2000).round().int().tolist())


@pytest.mark.parametrize("split", ["paper", "clean"])
def test_every_budget_splits_the_cosmologies(folder: Path, split: str) -> None:
    task = camels(folder, parameters=("Omega_m", "sigma_8"), split=split)
    assert task.hierarchy is task.costs is task.reference is None
    for n in task.budgets:
        data, theta, x = task.data(n, seed=0)
        low, pairs, test = cosmologies(data.x(0)), cosmologies(data.x(1)), cosmologies(x)
        assert tuple(data.n) == (len(low), len(pairs)) == n
        assert not low & pairs
        assert not pairs & test
        assert test == set(range(1000)) - pairs if split == "paper" else not test & low
        assert len(test) == (1000 - n[1] if split == "paper" else 200)
        assert torch.equal(data.x(1), data.x_coarse(1) + 2000)
        assert torch.equal(data.theta(1), data.x_coarse(1)[:, 1:3])
        assert torch.allclose(theta, x[:, 1:3] - 2000, atol=1e-3)
        assert bool(data.prior.contains(theta).all())


def test_clean_test_set_is_the_same_for_every_budget_and_another_for_every_seed(
    folder: Path,
) -> None:
    task = camels(folder, split="clean")
    small, large, other = (
        cosmologies(task.data(n, seed=s)[2])
        for n, s in (((10, 5), 0), ((700, 100), 0), ((9, 5), 1))
    )
    assert small == large != other


def test_parameters_come_in_the_order_asked_for(folder: Path) -> None:
    both = camels(folder, parameters=("sigma_8", "Omega_m")).data((10, 5), seed=0)[1]
    alone = camels(folder / "camels").data((10, 5), seed=0)[1]
    assert torch.equal(both[:, :1], alone)
    assert float(alone.min()) >= 0.6


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "camels" / "x_hydro.npy").unlink()
    with pytest.raises(ValueError, match=r"x_hydro\.npy not found in .*camels.*Pass the folder"):
        camels(folder)
    with pytest.raises(ValueError, match=r"parameters\.txt, x_nbody\.npy, x_hydro\.npy not found"):
        camels(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("n", "message"),
    [
        ((981, 20), "n must sum to at most 1000"),
        ((980, 20, 1), "n must have two numbers"),
        ((0, 20), r"n\[0\] must be at least 1"),
    ],
)
def test_impossible_budgets_are_refused(folder: Path, n: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        camels(folder).data(n, seed=0)
    with pytest.raises(ValueError, match="n must sum to at most 800"):
        camels(folder, split="clean").data((781, 20), seed=0)


def test_bad_arguments_are_refused(folder: Path) -> None:
    with pytest.raises(TypeError, match="folder must be"):
        camels(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parameters must be"):
        camels(folder, parameters="sigma_8")
    with pytest.raises(ValueError, match="parameters must be one of"):
        camels(folder, parameters=("A_SN1",))
    with pytest.raises(ValueError, match="parameters must name each parameter once"):
        camels(folder, parameters=())
    np.save(folder / "camels" / "x_hydro.npy", np.zeros((3, 39)))
    with pytest.raises(ValueError, match="has shape"):
        camels(folder)


# ---------------------------------------------------------------- the real spectra


@pytest.mark.data
def test_real_pairs_are_coupled_and_tell_sigma_8() -> None:
    data, theta, x = camels(os.environ["MLSBI_DATA"]).data((900, 100), seed=0)
    assert data.event_shape(1) == x.shape[1:] == (39,)
    assert bool((data.x(1) > 0).all())
    means = torch.stack([data.x_coarse(1).log().mean(1), data.x(1).log().mean(1)])
    assert float(torch.corrcoef(means)[0, 1]) > 0.9
    shuffled = torch.stack([means[0], means[1].roll(1)])
    assert abs(float(torch.corrcoef(shuffled)[0, 1])) < 0.4  # negative control
    amplitude = torch.stack([theta[:, 0], x.log().mean(1)])
    assert float(torch.corrcoef(amplitude)[0, 1]) > 0.5


class LinearFit:
    """sigma_8 by least squares on log x, with normal residuals truncated to the prior's range."""

    def __init__(self, theta: Tensor, x: Tensor) -> None:
        design = self._design(x)
        self.weights = torch.linalg.lstsq(design, theta.double(), driver="gelsd").solution
        residual = design @ self.weights - theta
        self.sd = float(residual.square().sum() / (len(x) - design.shape[1])) ** 0.5

    @staticmethod
    def _design(x: Tensor) -> Tensor:
        return torch.cat([torch.ones(len(x), 1), x.log()], 1).double()

    def _law(self, x: Tensor) -> tuple[Normal, Tensor, Tensor]:
        law = Normal(self._design(x) @ self.weights, self.sd)
        return law, law.cdf(torch.tensor(0.6)), law.cdf(torch.tensor(1.0))

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        law, left, right = self._law(x)
        return (law.log_prob(theta) - (right - left).log())[:, 0]

    def sample_batched(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        law, left, right = self._law(x)
        w = torch.rand(n, len(x), 1, generator=torch.Generator().manual_seed(seed))
        return law.icdf(left + w * (right - left))


@pytest.mark.data
def test_linear_regression_on_real_spectra_scores_below_the_prior() -> None:
    task = camels(os.environ["MLSBI_DATA"], split="clean")
    data, theta, x = task.data((100, 700), seed=0)
    score = task.score(LinearFit(data.theta(1), data.x(1)), theta, x, seed=0)
    assert -1.4 < score["nlpd_mean"] < -0.95  # the prior's is log 0.4 = -0.92
    assert score["coverage_error"] < 0.15  # one width for all spectra is crude, not absurd
