"""Each safeguard of the bridge, and what goes wrong without it.

The pairs are linear-Gaussian with noise of the fine run's own, so that a pair is not an identity
and the posterior is known in closed form: x_1 = A theta + s u + t v, of which level 0 shares u.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from linear_gaussian import _A, _NOISE, D, Ladder, normal_prior
from mlsbi import MDN, Bridge, MultilevelData, Training, fit_likelihood, fit_posterior
from mlsbi.bridge import gp, ladder, step
from mlsbi.bridge import width as noise_width
from mlsbi.bridge.discrete import Lattice
from mlsbi.bridge.synthetic import SyntheticRows
from mlsbi.estimators.mdn import MixtureDensity
from quick import rough_processes
from tiny import tiny

KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}
SLOW = pytest.mark.slow
EACH = ["posterior", pytest.param("likelihood", marks=SLOW)]
LADDER = Ladder(gap=0.3)
OWN = 0.8
VARIANCE = _NOISE**2 + OWN**2
TRAINING = Training(max_steps=200, learning_rate=1e-2, batch_size=64, evaluate_every=25)


def pairs(n: tuple[int, int], *, seed: int = 1, noise_columns: int = 0) -> MultilevelData:
    """Runs of both levels, behind them numbers that tell nothing."""
    data = LADDER.data(n, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)

    def wide(x: Tensor) -> Tensor:
        return torch.cat([x, torch.randn(len(x), noise_columns, generator=generator)], 1)

    fine = data.x(1) + OWN * torch.randn(data.x(1).shape, generator=generator)
    levels = [
        (data.theta(0), wide(data.x(0))),
        (data.theta(1), wide(data.x_coarse(1)), wide(fine)),
    ]
    return MultilevelData.from_arrays(data.prior, levels)


def fit(kind: str, data: MultilevelData, strategy: Any, **options: Any) -> Any:
    defaults = {"seed": 0, "ensemble": 2, "estimator": MDN((16,), 1), "training": TRAINING}
    return KINDS[kind](data, strategy=strategy, **(defaults | options))


def fresh_runs(n: int = 4000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(77)
    theta, noise = (torch.randn(n, D, generator=generator) for _ in range(2))
    return theta, theta @ _A.T + VARIANCE**0.5 * noise


def posterior_at(x: Tensor) -> MultivariateNormal:
    a = _A.double()
    precision = torch.eye(D).double() + a.T @ a / VARIANCE
    mean = torch.linalg.solve(precision, a.T @ x.double().T / VARIANCE).T
    return MultivariateNormal(mean, precision_matrix=precision)


def divergence(fitted: Any, kind: str = "posterior", *, noise_columns: int = 0) -> float:
    """Kullback-Leibler divergence from the truth, nats; standard error about 0.01."""
    theta, x = fresh_runs()
    if kind == "posterior":
        truth = posterior_at(x).log_prob(theta.double())
    else:
        covariance = VARIANCE * torch.eye(D).double()
        truth = MultivariateNormal(theta.double() @ _A.double().T, covariance).log_prob(x.double())
    generator = torch.Generator().manual_seed(78)
    x = torch.cat([x, torch.randn(len(x), noise_columns, generator=generator)], 1)
    return float((truth - fitted.log_prob(theta, x).double()).mean())


# --- emulated draws far outside the cheap runs ------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "harm"), [("posterior", 0.05), pytest.param("likelihood", 0.5, marks=SLOW)]
)
def test_wild_emulated_draws_do_no_harm(
    kind: str, harm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = MixtureDensity.sample

    def wild(self: MixtureDensity, *args: Any, **options: Any) -> Tensor:
        x = usual(self, *args, **options).clone()
        x[:, ::50] *= 60  # two in a hundred
        return x

    data = pairs((300, 40))
    options: dict[str, Any] = {"draws": "emulated", "num_draws": 1000}
    tame = divergence(fit(kind, data, Bridge(**options)), kind)
    monkeypatch.setattr(MixtureDensity, "sample", wild)
    kept_near = divergence(fit(kind, data, Bridge(**options)), kind)
    let_go = divergence(fit(kind, data, Bridge(**options, clamp=False)), kind)
    assert kept_near < tame + harm / 2
    assert let_go > tame + harm


# --- a bridge that is too sure of itself ------------------------------------------------------


@pytest.mark.parametrize("kind", EACH)
def test_a_bridge_that_is_too_sure_of_itself_is_widened(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, usual = pairs((300, 40)), step._leave_one_out

    def too_sure(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Variances a sixth of what they are."""
        z, factor, seen = usual(*args)
        return z, factor / 6**0.5, seen

    honest = divergence(fit(kind, data, Bridge(draws="real"), ensemble=5), kind)
    monkeypatch.setattr(step, "_leave_one_out", too_sure)
    mended = fit(kind, data, Bridge(draws="real"), ensemble=5)
    rows = [row for row in mended.history if "held_out_z2" in row]
    assert all(row["held_out_z2"] > 5 and row["inflation"] > 2 for row in rows)
    assert divergence(mended, kind) < honest + 0.03
    # negative control: what is seen is not used
    bold = fit(kind, data, Bridge(draws="real", inflate=False), ensemble=5)
    assert divergence(bold, kind) > honest + 0.15


# --- outputs that are whole numbers -----------------------------------------------------------


def counts() -> MultilevelData:
    """Two counts, and a third output that is a plain number."""
    generator = torch.Generator().manual_seed(3)
    levels = []
    for n in (300, 40):
        theta, u = (torch.randn(n, D, generator=generator) for _ in range(2))
        low, high = (torch.floor(2 * theta + shift + 0.5 * u) for shift in (0.4, 0.0))
        low, high = (torch.cat([x, theta[:, :1] + u[:, :1]], 1) for x in (low, high))
        levels.append((theta, low) if n == 300 else (theta, low, high))
    return MultilevelData.from_arrays(normal_prior(), levels)


def off_the_values(data: MultilevelData, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of each output, how far synthetic draws are from the nearest value in the data, at most."""
    draws: list[Tensor] = []
    usual = SyntheticRows.draw

    def spy(self: SyntheticRows, rows: Tensor, generator: torch.Generator) -> Any:
        theta, x = usual(self, rows, generator)
        draws.append(x.flatten(0, 1))
        return theta, x

    monkeypatch.setattr(SyntheticRows, "draw", spy)
    fitted = fit("posterior", data, Bridge(num_draws=200), training=tiny(max_steps=3))
    seen = torch.cat([data.x(0), data.x_coarse(1), data.x(1)])
    # in the network's units, in which the draws are
    seen = fitted.estimator.context_transform(seen).reshape(len(seen), -1)
    x = torch.cat(draws)
    nearest = [(x[:, [j]] - seen[:, j].unique()).abs().amin(1) for j in range(x.shape[1])]
    return [float(apart.max()) for apart in nearest]


def test_draws_of_counts_are_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rough_processes(monkeypatch)
    first, second, plain = off_the_values(counts(), monkeypatch)
    assert max(first, second) < 1e-5
    assert plain > 1e-3  # what is no count is left as it is
    # negative control: where the values are not noticed, draws fall between them
    monkeypatch.setattr(ladder.Lattice, "fit", lambda *arrays: Lattice.none(arrays[0].shape[1]))
    first, second, _ = off_the_values(counts(), monkeypatch)
    assert min(first, second) > 0.1


# --- outliers among the pairs -----------------------------------------------------------------


@pytest.mark.parametrize("kind", EACH)
def test_two_outliers_in_sixty_pairs_do_not_widen_the_rest(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pairs((300, 60))
    fine = data.x(1).clone()
    fine[3] += 25
    fine[17] -= 25
    spoilt = MultilevelData.from_arrays(
        data.prior, [(data.theta(0), data.x(0)), (data.theta(1), data.x_coarse(1), fine)]
    )
    options: dict[str, Any] = {"ensemble": 5, "estimator": MDN((16,), 3)}
    robust = divergence(fit(kind, spoilt, Bridge(draws="real"), **options), kind)
    # negative control: noise that is Gaussian, come what may
    monkeypatch.setattr(noise_width, "_FREEDOM", ())
    gaussian = divergence(fit(kind, spoilt, Bridge(draws="real"), **options), kind)
    assert robust < 0.6 * gaussian
    assert gaussian > 0.3


# --- very few pairs ---------------------------------------------------------------------------


def prior_divergence() -> float:
    """Of the prior, taken for the posterior: what one has without any run."""
    theta, x = fresh_runs()
    truth = posterior_at(x).log_prob(theta.double())
    return float((truth - normal_prior().log_prob(theta).double()).mean())


def width(fitted: Any) -> Tensor:
    """Standard deviations over the true ones, at two observations."""
    x = torch.tensor([[0.0, 0.0], [1.0, -0.5]])
    draws = fitted.sample_batched(2000, x=x, seed=0)
    return draws.std(0) / posterior_at(x).covariance_matrix[0].diagonal().sqrt().float()


@pytest.mark.slow
def test_five_pairs_are_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [pairs((300, 5), seed=seed) for seed in range(3)]
    found = [fit("posterior", data, None, ensemble=5) for data in few]
    for fitted in found:
        assert fitted.status.ok
        assert (width(fitted) > 0.7).all()
        assert (width(fitted) < 2.0).all()
    known = prior_divergence()
    assert sum(map(divergence, found)) / len(found) < 0.9 * known
    # negative control: hyperparameters of hardly any prior, one set of them, taken at their word
    monkeypatch.setattr(step, "_MOST_VARIANTS", 1)
    priors = {name: (mean, 10 * spread) for name, (mean, spread) in gp._PRIORS.items()}
    monkeypatch.setattr(gp, "_PRIORS", priors)
    bold = [fit("posterior", data, Bridge(inflate=False), ensemble=5) for data in few]
    assert sum(map(divergence, bold)) / len(bold) > known


@pytest.mark.parametrize("kind", KINDS)
def test_five_pairs_are_enough_to_run(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rough_processes(monkeypatch)
    data = pairs((60, 5))
    fitted = fit(kind, data, None, ensemble=5, training=tiny(max_steps=10))
    assert fitted.status.ok
    assert torch.isfinite(fitted.log_prob(*fresh_runs(200))).all()


# --- very many pairs --------------------------------------------------------------------------


def rows_kept(data: MultilevelData, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """How many rows each process of a fit keeps."""
    kept: list[int] = []
    usual = gp.fit

    def spy(*args: Any, **options: Any) -> gp.GaussianProcesses:
        found = usual(*args, **options)
        kept.append(found.cholesky.shape[1])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(gp, "fit", spy)
        fit("posterior", data, Bridge(num_draws=50), training=tiny(max_steps=2))
    return set(kept)


def test_many_pairs_do_not_make_large_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    rough_processes(monkeypatch)
    data = pairs((100, 1000))
    assert rows_kept(data, monkeypatch) == {gp._MAX_ROWS}
    # negative control: with a higher cap they are as large as that
    monkeypatch.setattr(gp, "_MAX_ROWS", gp._MAX_ROWS + 50)
    assert rows_kept(data, monkeypatch) == {gp._MAX_ROWS}


@pytest.mark.slow
def test_a_thousand_pairs_take_less_than_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    data, start = pairs((1000, 1000)), time.process_time()
    fitted = fit_posterior(data, seed=0)
    taken = time.process_time() - start
    with capsys.disabled():
        print(f"\na default fit at n = (1000, 1000): {taken:.1f} s of one core")
    assert taken < 60
    # 9 parameters of a linear-Gaussian conditional: 9 / (2 n) at best, and six times that allowed
    assert divergence(fitted) < 6 * 9 / 2000


# --- many outputs -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hundred_and_twenty_outputs_of_which_two_tell() -> None:
    bridge = Bridge(num_draws=500)
    summarised = fit("posterior", pairs((1000, 40), noise_columns=118), bridge)
    assert summarised.summary is not None
    found = divergence(summarised, noise_columns=118)
    assert found < 0.9 * prior_divergence()
    # negative control, of a third of the outputs: at all of them it takes minutes
    plain = fit(
        "posterior", pairs((1000, 40), noise_columns=38), Bridge(num_draws=500, compress=False)
    )
    assert plain.summary is None
    assert divergence(plain, noise_columns=38) > found + 0.1
