"""What a coarse run tells of a finer one: against closed forms of a linear-Gaussian pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlsbi.planning.explained import PairGain, explain_pair
from mlsbi.prior import as_prior
from tiny import box

PRIOR = as_prior(box())
SCATTER = 0.5  # sd of x_1 given theta
TWINS = 30


def pair(
    n: int = 90, *, seed: int = 0, own: float = 0.1, copy: float = 1.0, events: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """x_1 = A theta + .5 u, x_0 = copy x_1 + own v: theta, x_0, x_1; the last rows are twins."""
    generator = torch.Generator().manual_seed(seed)
    theta = 2 * torch.rand(n, 2, generator=generator) - 1
    theta[-TWINS:] = theta[-2 * TWINS : -TWINS]
    mixing = torch.linspace(0.5, 1.5, 2 * events).reshape(2, events)
    fine = theta @ mixing + SCATTER * torch.randn(n, events, generator=generator)
    return theta, copy * fine + own * torch.randn(n, events, generator=generator), fine


def explained(*rows: Tensor) -> PairGain:
    found = explain_pair(*rows, prior=PRIOR, level=1, coarse=0)
    assert found is not None
    return found


@pytest.mark.parametrize("own", [0.1, 1.0])
def test_gain_and_reach_in_closed_form(own):
    """Given x_0 and theta, x_1 has the variance s^2 v^2 / (s^2 + v^2), s = .5 and v = own."""
    found = explained(*pair(own=own))
    left = own**2 / (SCATTER**2 + own**2)
    exact = -0.5 * math.log(left) * 2  # two outputs
    assert found.nats == pytest.approx(exact, abs=4 * found.error + 0.15)
    assert found.reach == pytest.approx(1 - left, abs=0.2)


def test_shares_of_the_variance_in_closed_form():
    theta, low, fine = pair()
    found = explained(theta, low, fine)
    for share, x in ((found.theta_alone, fine), (found.information, low)):
        spread = x.var(0)
        noise = SCATTER**2 + (0.1**2 if x is low else 0.0)
        assert share == pytest.approx(float((1 - noise / spread).mean()), abs=0.1)
    assert found.agreement > 0.95


def test_a_coarse_run_that_knows_nothing_gains_nothing():
    theta, _, fine = pair()
    other = torch.randn(fine.shape, generator=torch.Generator().manual_seed(9))
    found = explained(theta, other, fine)
    assert found.nats < 2 * found.error
    assert found.reach < 0.3
    assert found.information < 0.1
    assert found.step_need > found.alone_need - 2  # it is more to learn, and no help


def test_a_step_is_learned_with_less_where_more_is_told():
    close, far = explained(*pair(own=0.05)), explained(*pair(own=1.0))
    assert close.step_need < far.step_need
    assert close.step_need < close.alone_need


def test_needs_do_not_depend_on_the_number_of_columns():
    """n/2 log(1 + e/s), as e falls as 1/n: within a factor of two."""
    few, many = (explained(*pair(n, own=0.3)) for n in (65, 130))
    for name in ("alone_need", "coarse_need"):
        ratio = getattr(few, name) / getattr(many, name)
        assert 0.5 < ratio < 2, name


def test_twins_are_found_and_held_out_together():
    theta, low, fine = pair(64)
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    found = explained(theta[shuffled], low[shuffled], fine[shuffled])
    assert found.nats == pytest.approx(explained(theta, low, fine).nats, abs=0.5)
    alone = explained(*(t[: 64 - TWINS] for t in (theta, low, fine)))  # scatter from the emulator
    assert alone.reach == pytest.approx(found.reach, abs=0.2)


def test_units_do_not_matter():
    theta, low, fine = pair(64)
    plain, scaled = explained(theta, low, fine), explained(theta, 1e3 * low + 7, 1e3 * fine + 7)
    assert scaled.nats == pytest.approx(plain.nats, abs=0.02)
    assert scaled.step_need == pytest.approx(plain.step_need, rel=0.02)


def test_large_x_is_reduced():
    theta, low, fine = pair(64, events=20)
    found = explained(theta, low, fine)
    assert math.isfinite(found.nats)
    assert found.nats > 2 * found.error
    images = [x.reshape(64, 4, 5) for x in (low, fine)]
    assert explained(theta, *images) == found


def test_deterministic_levels_have_finite_needs():
    theta, _, _ = pair(64)
    fine = theta @ torch.tensor([[1.0, 0.5], [0.2, 1.0]])
    found = explained(theta, 2 * fine, fine)
    assert all(math.isfinite(v) for v in (found.nats, found.step_need, found.alone_need))


def test_nothing_is_said_of_other_shapes_or_of_few_rows():
    theta, low, fine = pair(64)
    assert explain_pair(theta, low[:, :1], fine, prior=PRIOR, level=1, coarse=0) is None
    few = (t[:9] for t in (theta, low, fine))
    assert explain_pair(*few, prior=PRIOR, level=1, coarse=0) is None


def test_the_same_rows_give_the_same_figures_in_words():
    first, second = (explained(*pair(64)) for _ in range(2))
    assert first == second
    assert str(first).startswith("level 1: theta explains ")
    assert "with the run of level 0 besides" in str(first)
