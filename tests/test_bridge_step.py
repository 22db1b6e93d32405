"""One step of the bridge against steps that are known in closed form, and its honesty in folds."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.distributions import StudentT

from mlsbi._random import isolated_rng, make_generator
from mlsbi.bridge import gp
from mlsbi.bridge.inputs import Inputs
from mlsbi.bridge.step import Step, fit_step

NOISE = 0.3


def folds(members: int, n: int, *, count: int = 5) -> Tensor:
    """Member e holds out every row whose place modulo `count` is e."""
    place = torch.arange(n) % count
    return place != torch.arange(members).unsqueeze(1) % count


def inputs(n: int, *, seed: int = 0, outputs: int = 1) -> Inputs:
    """Parameters and coarse runs that depend on them."""
    theta, u = (torch.randn(n, outputs, generator=make_generator(seed, i)) for i in range(2))
    return Inputs(theta[:, :1], theta[:, :1] + u)


def line(given: Inputs) -> Tensor:
    """E[x_1 | x_0, theta]."""
    coarse = torch.zeros(1) if given.coarse is None else given.coarse
    return 0.9 * coarse + 0.5 * given.covariate


def normal(n: int, outputs: int = 1, *, seed: int = 0) -> Tensor:
    return torch.randn(n, outputs, generator=make_generator(seed, "noise"))


def student(n: int, *, seed: int = 1) -> Tensor:
    """Two degrees of freedom: no variance."""
    with isolated_rng(seed):
        return StudentT(2.0).sample((n, 1))


def step(fine: Tensor, given: Inputs, members: int = 1, **options: object) -> Step:
    settings = {"level": 1, "seed": 0, "variants": 1} | options
    return fit_step(fine, given, folds(members, len(fine)), **settings)  # type: ignore[arg-type]


@cache
def linear_step(n: int = 100) -> Step:
    given = inputs(n)
    return step(line(given) + NOISE * normal(n), given, 2)


@cache
def heavy_step(n: int = 100) -> Step:
    given = inputs(n)
    return step(line(given) + NOISE * student(n), given)


def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp, "_STEPS", 10)


def test_a_linear_gaussian_step_is_found() -> None:
    new = inputs(500, seed=1)
    mean, deviation = linear_step().predict(new.expand(2))
    seen, held, (row,) = 80, 40, linear_step().rows  # held: by both members together
    error = (mean - line(new)).square().mean((1, 2)).sqrt()
    # Three coefficients from `seen` rows, and twice that for what else the kernel could be.
    assert float(error.max()) < 2 * NOISE * (3 / seen) ** 0.5
    width = deviation.log().mean((1, 2)) - math.log(NOISE * row["inflation"])
    assert float(width.abs().max()) < 4 * (1 / (2 * seen)) ** 0.5
    assert abs(row["held_out_z2"] - 1) < 4 * (2 / held) ** 0.5
    assert row["held_out_r2"] > 0.9
    assert abs(math.log(row["inflation"])) < 4 * (1 / (2 * held)) ** 0.5


def test_the_shape_of_the_noise_is_told_by_held_out_rows() -> None:
    (row,) = heavy_step().rows
    assert math.isfinite(row["freedom"])
    assert heavy_step().residuals.freedom == row["freedom"]
    assert math.isinf(linear_step().rows[0]["freedom"])  # negative control


def test_heavy_tails_do_not_widen_the_core() -> None:
    new = inputs(2000, seed=1)
    mean, deviation = heavy_step().predict(new.expand(1))
    core = StudentT(2.0).scale * 0.8165 * NOISE  # half of the noise is within
    wanted = 0.5
    found = heavy_step().residuals.draw(2000, make_generator(0)) * deviation
    assert abs(float((found.abs() < core).double().mean()) - wanted) < 0.15
    # Negative control: Gaussian noise of the residuals' standard deviation hides the core.
    wide = NOISE * student(100).std() * normal(2000)
    assert float((wide.abs() < core).double().mean()) < wanted - 0.15
    assert float((mean[0] - line(new)).abs().median()) < core


def test_noise_that_the_pairs_misjudge_is_widened_by_what_held_out_rows_show() -> None:
    n = 60
    given, held = inputs(n), ~folds(1, n)[0].unsqueeze(1)

    def widened(factor: float, *, inflate: bool) -> Step:
        noise = NOISE * normal(n) * torch.where(held, factor, 1.0)
        return step(line(given) + noise, given, inflate=inflate)

    misjudged, kept = widened(4.0, inflate=True), widened(4.0, inflate=False)
    assert misjudged.rows[0]["inflation"] > 1.3
    assert kept.rows[0]["inflation"] == 1.0
    assert kept.rows[0]["held_out_z2"] == pytest.approx(misjudged.rows[0]["held_out_z2"])
    ratio = misjudged.predict(given.expand(1))[1] / kept.predict(given.expand(1))[1]
    wanted = torch.full_like(ratio, misjudged.rows[0]["inflation"])
    torch.testing.assert_close(ratio, wanted)


@pytest.mark.parametrize("members", [1, 2])
def test_members_do_not_learn_from_the_fold_that_they_hold_out(
    members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rough(monkeypatch)
    n = 30
    given = inputs(n, outputs=2)
    fine = line(given) + NOISE * normal(n, 2)
    held = ~folds(members, n)[0].unsqueeze(1)
    changed = torch.where(held, 5 * fine.cos(), fine)
    one, other = (step(x, given, members, inflate=False) for x in (fine, changed))
    new = inputs(20, seed=1, outputs=2).expand(members)
    for left, right in zip(one.predict(new), other.predict(new), strict=True):
        assert torch.equal(left[0], right[0])
        if members == 2:  # negative control: that member does see it
            assert not torch.allclose(left[1], right[1], rtol=1e-2)
    count = int(one.residuals.counts[0])
    assert torch.equal(one.residuals.bank[0, :count], other.residuals.bank[0, :count])
    assert torch.equal(one.residuals.factor[0], other.residuals.factor[0])


def test_an_output_that_is_the_same_at_both_levels_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rough(monkeypatch)
    given = inputs(30, outputs=2)
    assert given.coarse is not None
    fine = torch.cat([given.coarse[:, :1], (line(given) + NOISE * normal(30, 2))[:, 1:]], 1)
    found = step(fine, given, 2)
    assert found.copied.tolist() == [True, False]
    new = inputs(20, seed=1, outputs=2)
    mean, deviation = found.predict(new.expand(2))
    assert torch.equal(mean[..., 0], new.expand(2).coarse[..., 0])  # type: ignore[index]
    assert float(deviation[..., 0].max()) == 0.0
    assert float(deviation[..., 1].min()) > 0.0
    # Negative control: one run in which they differ.
    fine[3, 0] += 0.1
    assert not step(fine, given).copied.any()


def test_a_copied_output_has_no_say_in_the_shape_of_the_others_noise() -> None:
    n, given = 60, inputs(60)
    fine = line(given) + NOISE * student(n)
    (alone,) = step(fine, given).rows
    still = torch.zeros(n, 3)
    assert given.coarse is not None
    beside = replace(given, coarse=torch.cat([given.coarse, still], 1))
    found = step(torch.cat([fine, still], 1), beside).rows[0]
    assert math.isfinite(alone["freedom"])
    assert math.isfinite(found["freedom"])
    assert found["inflation"] == pytest.approx(alone["inflation"], rel=0.2)


def test_a_few_outliers_do_not_ruin_the_rest() -> None:
    given = inputs(60, seed=2)
    fine = line(given) + NOISE * normal(60)
    fine[5] += 50 * NOISE
    fine[31] -= 50 * NOISE
    # Each member learns from one of them and holds out the other.
    found, new = step(fine, given, 2), inputs(500, seed=1)
    mean, deviation = found.predict(new.expand(2))
    truth = line(new)
    assert float((mean - truth).abs().median()) < 0.35 * float(truth.abs().median())
    assert math.isfinite(found.rows[0]["freedom"])
    assert float(deviation.median()) < 0.5 * float((fine - line(given)).std())


def test_a_coarse_run_that_tells_nothing_is_not_listened_to() -> None:
    given = inputs(80)
    fine = given.covariate + normal(80)
    found = step(fine, replace(given, coarse=normal(80, seed=1)))
    assert not found.difference.any()
    new = Inputs(torch.zeros(50, 1), torch.linspace(-2, 2, 50).unsqueeze(1))
    mean, deviation = found.predict(new.expand(1))
    error = 1 / 64**0.5
    assert float(mean.abs().max()) < 4 * error * 2  # two coarse deviations off, a slope is doubled
    assert abs(float(deviation.log().mean())) < 4 * error / 2**0.5 + 0.1


def test_a_fine_run_that_follows_from_the_coarse_one_is_foretold() -> None:
    given, new = inputs(80), inputs(400, seed=1)

    def truth(at: Inputs) -> Tensor:
        assert at.coarse is not None
        return at.coarse.sin() + 0.5 * at.covariate.square()

    found = step(truth(given), given, 2)
    mean, deviation = found.predict(new.expand(2))
    assert float(deviation.median()) < 0.02
    assert found.rows[0]["held_out_z2"] < 2
    assert found.rows[0]["held_out_r2"] > 0.999
    assert float((mean - truth(new)).abs().median()) < 0.02


def test_without_a_lower_level_theta_alone_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    rough(monkeypatch)
    given = Inputs(inputs(40).covariate)
    found = step(line(given) + NOISE * normal(40), given)
    assert not found.difference.any()
    assert not found.copied.any()
    mean, _ = found.predict(given.expand(1))
    assert float((mean - line(given)).square().mean()) < NOISE**2


def test_nothing_held_out_is_nothing_to_check_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rough(monkeypatch)
    given, everything = inputs(20), torch.ones(2, 20, dtype=torch.bool)
    found = fit_step(line(given) + normal(20), given, everything, level=1, seed=0)
    assert found.rows == ()
    assert math.isinf(found.residuals.freedom)


def test_rows_take_turns_among_the_sets_of_hyperparameters(monkeypatch: pytest.MonkeyPatch) -> None:
    rough(monkeypatch)
    given = inputs(12, outputs=2)
    found = step(line(given) + normal(12, 2), given, 2, variants=3)
    found = replace(found, factor=torch.ones(2, 2))
    new = inputs(7, seed=1, outputs=2)  # three does not divide seven
    mean, deviation = found.predict(new.expand(2))
    assert mean.shape == deviation.shape == (2, 7, 2)
    each = [found.predict(new.map(lambda t, s=s: t.roll(s, 0)).expand(2)) for s in range(3)]
    means, deviations = (
        torch.stack([t[i].roll(-s, 1) for s, t in enumerate(each)])[:, :, 2:5] for i in range(2)
    )
    assert not torch.allclose(means[0], means[1])
    middle, spread = found.moments(new.expand(2))
    torch.testing.assert_close(means.mean(0), middle[:, 2:5])
    variance = deviations.square().mean(0) + means.var(0, correction=0)
    torch.testing.assert_close(variance.sqrt(), spread[:, 2:5])
