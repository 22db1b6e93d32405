"""The width of a step's noise: outputs taken together, and what few rows leave unknown."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.bridge.residuals import Residuals
from mlsbi.bridge.width import best_noise


def residuals(widths: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """Normal residuals of one member, `(1, n, D)`."""
    normal = torch.randn(1, n, len(widths), generator=make_generator(seed), dtype=torch.float64)
    return normal * widths


def normal_shape(outputs: int) -> Residuals:
    eye = torch.eye(outputs, dtype=torch.float64).unsqueeze(0)
    return Residuals(torch.zeros(1, 1, outputs, dtype=torch.float64), torch.ones(1).long(), eye)


def widths_of(z: Tensor, shape: Residuals | None = None) -> tuple[Tensor, Residuals]:
    n = z.shape[1]
    weight = torch.full((1, n, 1), 1 / n, dtype=torch.float64)
    return best_noise(z, weight, shape or normal_shape(z.shape[2]), rows=float(n))


def test_with_many_rows_each_output_has_its_own_width() -> None:
    true, n = torch.tensor([0.2, 1.0, 3.0]).double(), 400
    found, shape = widths_of(residuals(true, n))
    assert shape.gaussian
    # A log width has the standard error 1 / sqrt(2 n); the grid's step is half of another.
    assert float((found.double() / true).log().abs().max()) < 4 / (2 * n) ** 0.5 + 0.025


def test_an_output_that_is_foretold_far_better_keeps_its_width_with_ten_rows() -> None:
    true, n = torch.tensor([0.15, 1.0, 1.0, 1.0]).double(), 10
    logs = torch.stack([widths_of(residuals(true, n, seed=s))[0].log() for s in range(20)])
    error = 1 / (2 * n) ** 0.5
    # Student's t of few rows has a smaller scale than its root mean square: by less than a fifth.
    assert abs(float(logs[:, 0].mean()) - math.log(0.15)) < 4 * error / 20**0.5 + 0.3
    # Negative control: with the mean of the outputs it would be some six times as wide.
    assert float(logs[:, 0].max()) < math.log(0.5)


def test_outputs_of_about_one_width_share_what_they_show() -> None:
    """The spread of the widths found is well below that of each output's own root mean square."""
    n, own, shared = 10, [], []
    for seed in range(20):
        z = residuals(torch.ones(5).double(), n, seed=seed)
        own.append(z.square().mean((0, 1)).sqrt().log().std())
        shared.append(widths_of(z)[0].log().std())
    assert float(torch.stack(shared).mean()) < 0.7 * float(torch.stack(own).mean())


@pytest.mark.parametrize(("n", "freedom"), [(4, 2.5), (10, 5.0), (24, 12.0), (60, math.inf)])
def test_few_rows_leave_the_width_unknown(n: int, freedom: float) -> None:
    quiet = residuals(torch.ones(2).double(), n)
    quiet = quiet / quiet.square().mean(1, keepdim=True).sqrt()
    assert widths_of(quiet.clamp(-1.5, 1.5))[1].freedom == freedom


def test_new_residuals_are_likelier_than_under_a_normal_of_the_width_found() -> None:
    """What the tails are for: the score of runs that had no part in finding the width."""
    n, gains = 6, []
    for seed in range(200):
        z = residuals(torch.ones(1).double(), n + 50, seed=seed)
        found, shape = widths_of(z[:, :n])
        ours = shape.marginal_log_density(z[:, n:] / found) - found.log()
        plug = z[:, :n].square().mean().sqrt()
        plain = normal_shape(1).marginal_log_density(z[:, n:] / plug) - plug.log()
        gains.append((ours - plain).mean())
    gain = torch.stack(gains)
    assert float(gain.mean()) > 2 * float(gain.std()) / len(gain) ** 0.5


def test_a_shape_of_its_own_is_left_alone() -> None:
    """A bootstrap that the residuals asked for is not made Student's t by few rows."""
    bank = torch.tensor([-1.0, 1.0] * 10).double().reshape(1, -1, 1)
    eye = torch.eye(1, dtype=torch.float64).unsqueeze(0)
    shape = Residuals(bank, torch.tensor([20]), eye, blur=0.2)
    noise = 0.2 * residuals(torch.ones(1).double(), 20)
    found, kept = widths_of((1 - 0.2**2) ** 0.5 * bank + noise, shape)
    assert kept is shape
    assert abs(float(found.log())) < 0.15


def test_heavy_tails_have_to_earn_their_place() -> None:
    z = residuals(torch.ones(1).double(), 60)
    assert widths_of(z)[1].gaussian
    z[:, ::10] *= 15.0
    assert widths_of(z)[1].freedom <= 3.5
