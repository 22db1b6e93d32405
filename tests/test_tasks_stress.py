"""The hierarchies made to break a bridge: each does what its name says; references are exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlsbi.benching.names import TASKS, make_task
from mlsbi.tasks import STRESS, Task, stress
from mlsbi.tasks._stress_models import MODELS
from mlsbi.tasks.stress import _NODES, log_evidence

RUNS = 4000
FOUR_ERRORS = 4 / RUNS**0.5  # of a correlation that is zero


@pytest.fixture(params=STRESS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def drawn(name: str, n: int = RUNS, *, theta: Tensor | None = None) -> tuple[Tensor, ...]:
    """Parameters and both levels' runs; all at one theta where it is given."""
    hierarchy = stress(name).hierarchy
    params, u = hierarchy.draw(n, torch.Generator().manual_seed(7))
    params = params if theta is None else theta.expand(n, -1)
    return (params, *(x.double() for x in hierarchy.pair(1, params, u)))


def inner(name: str) -> Tensor:
    """A theta off the centre, where no parameter is at a symmetry."""
    return torch.tensor([[0.4, -0.3, 0.5]])[:, : MODELS[name].dim]


def correlations(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each column of a with the same column of b."""
    a, b = ((t.double() - t.double().mean(0)) / t.double().std(0) for t in (a, b))
    return (a * b).mean(0)


# Laws of every task


def test_data_have_the_shapes_of_the_budget(name: str) -> None:
    task = stress(name)
    data, theta, x = task.data((60, 20), seed=0)
    assert task.name == f"stress-{name}"
    assert task.kind == "posterior"
    assert task.costs == (1.0, 50.0)
    assert task.budgets == ((1000, 20), (1000, 100))
    assert tuple(data.n) == (60, 20)
    assert theta.shape == (500, len(task.parameter_names))
    assert x.shape[1:] == data.event_shape(0) == data.event_shape(1)
    assert theta.dtype == x.dtype == torch.float32
    assert bool(x.isfinite().all())
    assert bool(data.prior.contains(theta).all())


def test_data_are_a_function_of_the_seed(name: str) -> None:
    first, again, other = (stress(name).data((60, 20), seed=s) for s in (3, 3, 4))
    for level in (0, 1):
        assert torch.equal(first[0].x(level), again[0].x(level))
        assert not torch.equal(first[0].x(level), other[0].x(level))
    assert torch.equal(first[2], again[2])
    assert not torch.equal(first[2], other[2])
    _, theta, x = stress(name).data((2, 2), seed=3)  # test pairs: apart from n
    assert torch.equal(theta, first[1])
    assert torch.equal(x, first[2])


def test_the_bench_knows_it(name: str) -> None:
    assert TASKS[f"stress-{name}"].metric == "nlpd_mean"
    assert make_task(f"stress-{name}").name == f"stress-{name}"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of"):
        stress("hopeless")
    with pytest.raises(TypeError, match="name must be"):
        stress(3)  # type: ignore[arg-type]


# The exact references


def likelihood_ratio(task: Task, theta: Tensor, x: Tensor, *, shift: float) -> tuple[float, float]:
    """Mean of p(x | theta + shift) / p(x | theta), one for runs at theta, and its error."""
    right, moved = (task.reference_likelihood(t, x) for t in (theta, theta + shift))
    ratio = (moved - right).exp()
    return float(ratio.mean()), float(ratio.std()) / len(x) ** 0.5


def test_likelihood_is_that_of_the_high_level_and_not_of_the_low_one(name: str) -> None:
    theta = inner(name)
    _, low, high = drawn(name, 20_000, theta=theta)
    off = {"low": 0.0, "high": 0.0}
    for shift in (-0.1, -0.05, 0.05, 0.1):
        for level, x in (("low", low), ("high", high)):
            mean, error = likelihood_ratio(stress(name), theta, x, shift=shift)
            off[level] = max(off[level], abs(mean - 1) / error)
    assert off["high"] < 4
    # The negative control; only `decoupled` has the right law at its low level.
    assert (off["low"] < 4) == (name == "decoupled")


def test_posterior_integrates_to_one(name: str) -> None:
    """By Monte Carlo over the box, which knows nothing of the quadrature; -inf outside."""
    task, prior = stress(name), stress(name).hierarchy.prior
    _, _, x = drawn(name, 2)
    theta = prior.sample(100_000, torch.Generator().manual_seed(2))
    volume = float((prior.high - prior.low).prod())
    for row in x.split(1):
        values = volume * task.reference_posterior(theta, row).exp()
        error = float(values.std()) / math.sqrt(len(values))
        assert error < 0.1
        assert abs(float(values.mean()) - 1) < 4 * error
    outside = theta[:1] * 0 + 1.1
    assert float(task.reference_posterior(outside, x[:1])) == -math.inf


def test_quadrature_has_converged(name: str) -> None:
    model = MODELS[name]
    _, _, x = drawn(name, 20)
    told = x[:, list(model.informative)] if model.informative else x
    usual, fine = (
        log_evidence(told, model=model, num_nodes=nodes)
        for nodes in (None, _NODES[model.dim] * 3 // 2)
    )
    assert float((usual - fine).abs().max()) < 1e-6


def test_posterior_prefers_the_right_pairing_and_beats_the_prior(name: str) -> None:
    task = stress(name)
    theta, _, x = drawn(name, 100)
    right, wrong = task.reference(theta, x), task.reference(theta, x.roll(1, 0))
    assert right.dtype == torch.float64
    assert bool(right.isfinite().all())
    gain = right + len(task.parameter_names) * math.log(2)  # above the prior's density
    assert float(gain.mean()) > 4 * float(gain.std()) / len(x) ** 0.5
    assert float(right.mean()) > float(wrong.mean())


def test_reference_refuses_what_does_not_match(name: str) -> None:
    task = stress(name)
    theta, _, x = drawn(name, 3)
    for reference in (task.reference_likelihood, task.reference_posterior):
        with pytest.raises(ValueError, match="x must have shape"):
            reference(theta, x[:2])
        with pytest.raises(ValueError, match="theta must have shape"):
            reference(theta[:, :1], x)


# What each name says


def test_noise_knows_neither_theta_nor_the_high_level() -> None:
    theta, low, high = drawn("noise")
    assert float(correlations(low, high).abs().max()) < FOUR_ERRORS
    for parameter in theta.T:
        assert float(correlations(low, parameter[:, None]).abs().max()) < FOUR_ERRORS
        assert float(correlations(high, parameter[:, None]).abs().max()) > 10 * FOUR_ERRORS


def test_anti_turns_the_sign() -> None:
    _, low, high = drawn("anti")
    assert float(correlations(low, high).max()) < -0.95
    assert float((low + high).std(0).max()) == pytest.approx(0.1, rel=4 / (2 * RUNS) ** 0.5)
    _, low, high = drawn("anti", theta=inner("anti"))
    assert float(correlations(low, high).max()) < -0.8  # given theta too


def test_decoupled_has_the_right_law_and_another_coupling() -> None:
    theta, low, high = drawn("decoupled", theta=inner("decoupled"))
    assert float(correlations(low, high).abs().max()) < FOUR_ERRORS
    error = high.std(0) * (2 / RUNS) ** 0.5
    assert bool(((low.mean(0) - high.mean(0)).abs() < 4 * error).all())
    assert bool(((low.std(0) / high.std(0)).log().abs() < 4 / RUNS**0.5).all())
    _, low, high = drawn("decoupled")
    assert float(correlations(low, high).min()) > 0.5  # both follow theta


def test_blind_cannot_see_the_last_parameter() -> None:
    hierarchy = stress("blind").hierarchy
    theta, u = hierarchy.draw(200, torch.Generator().manual_seed(7))
    for column, seen in enumerate((True, True, False)):
        moved = theta.clone()
        moved[:, column] *= -1
        low, other_low = (hierarchy.pair(1, t, u)[0] for t in (theta, moved))
        high, other_high = (hierarchy.pair(1, t, u)[1] for t in (theta, moved))
        assert torch.equal(low, other_low) != seen
        assert not torch.equal(high, other_high)
    _, low, high = drawn("blind", theta=inner("blind"))
    assert float(correlations(low, high).min()) > 0.99  # coupled as well as can be


def test_noisy_has_ten_times_the_noise_and_hardly_a_coupling() -> None:
    _, low, high = drawn("noisy", theta=inner("noisy"))
    ratio = low.std(0) / high.std(0)
    assert bool(((ratio / 10).log().abs() < 4 / RUNS**0.5).all())
    assert bool(((correlations(low, high) - 0.1).abs() < FOUR_ERRORS).all())


def test_integers_are_poisson_counts_of_small_means() -> None:
    _, low, high = drawn("integers")
    for x in (low, high):
        assert torch.equal(x, x.round())
        assert float(x.min()) >= 0
    theta = inner("integers")
    _, low, high = drawn("integers", theta=theta)
    for x in (low, high):
        mean, variance = x.mean(0), x.var(0)
        assert bool((mean < 8).all())
        # The variance of a sample variance of a Poisson law: (m + 2 m^2) / n.
        assert bool(((variance - mean).abs() < 4 * ((mean + 2 * mean**2) / RUNS).sqrt()).all())
    assert float(correlations(low, high).min()) > 0.7  # coupled


def test_bimodal_flips_at_the_high_level_alone() -> None:
    hierarchy, theta = stress("bimodal").hierarchy, inner("bimodal")
    _, u = hierarchy.draw(RUNS, torch.Generator().manual_seed(7))
    u["shared"] = u["shared"][:1].expand(RUNS, -1)  # given theta and x_0
    low, high = hierarchy.pair(1, theta.expand(RUNS, -1), u)
    assert len(low.unique(dim=0)) == 1
    values, counts = high.unique(dim=0, return_counts=True)
    assert len(values) == 2
    assert abs(int(counts.min()) / RUNS - 0.4) < 4 * (0.24 / RUNS) ** 0.5
    gap = (values[0] - values[1]).norm()
    assert float(gap) > 4 * 0.25  # the humps do not touch
    # And the posterior, along a through the truth, has a mode at either sign of a.
    a = torch.linspace(-1, 1, 41)
    line = torch.stack([a, *(t.expand(41) for t in theta[0, 1:])], dim=1)
    profile = stress("bimodal").reference_posterior(line, high[:1])
    modes = (profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])
    assert sorted(a[1:-1][modes].sign().tolist()) == [-1.0, 1.0]


def test_wide_tells_by_three_numbers_and_couples_the_rest() -> None:
    theta, low, high = drawn("wide")
    told = torch.zeros(200, dtype=torch.bool)
    told[[10, 90, 170]] = True
    for x in (low, high):
        strength = torch.stack([correlations(x, p[:, None]).abs() for p in theta.T]).amax(0)
        # 394 correlations: 5 errors keep a false alarm below 1 in 4000.
        assert float(strength[~told].max()) < 5 / RUNS**0.5
        assert float(strength[told].min()) > 0.3
    carried = correlations(low[:, ~told], high[:, ~told])
    assert float((carried - 0.8).abs().max()) < 5 * (1 - 0.8**2) / RUNS**0.5
