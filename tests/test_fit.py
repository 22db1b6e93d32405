"""Fits: the contract of what `fit_posterior` and `fit_likelihood` return, and fits on disk."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sbi.inference.posteriors.base_posterior import NeuralPosterior
from torch import Tensor, nn
from torch.distributions import (
    Exponential,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
    Uniform,
)

import mlsbi
from mlsbi import (
    MAF,
    MDN,
    NSF,
    Bridge,
    Emulator,
    History,
    LikelihoodFit,
    Multilevel,
    MultilevelData,
    Pooled,
    PosteriorFit,
    SingleLevel,
    Stack,
    Status,
    Training,
    Transfer,
    fit_likelihood,
    fit_posterior,
    load_fit,
)
from mlsbi.estimators.sbi_builder import sbi_estimator_names
from quick import rough_processes
from tiny import D, box, likelihood_builder, linear_data, posterior_builder, tiny

SMALL = MDN((8,), 2)


def fitted(kind: Any, data: MultilevelData | None = None, **options: Any) -> Any:
    defaults = {"seed": 0, "ensemble": 2, "estimator": SMALL, "training": tiny()}
    return kind(data or linear_data(), **(defaults | options))


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        rough_processes(patch)
        yield


@pytest.fixture(scope="module")
def posterior() -> PosteriorFit:
    return fitted(fit_posterior, linear_data(costs=[1.0, 10.0]))


@pytest.fixture(scope="module")
def likelihood() -> LikelihoodFit:
    return fitted(fit_likelihood)


def ones(n: int = 5) -> tuple[Tensor, Tensor]:
    data = linear_data((n,), seed=9)
    return data.theta(0), data.x(0)


# the contract


@pytest.mark.parametrize("function", [fit_posterior, fit_likelihood])
def test_everything_behind_the_data_is_by_name(function: Any) -> None:
    first, *others = inspect.signature(function).parameters.values()
    assert first.name == "data"
    assert all(p.kind is p.KEYWORD_ONLY for p in others)
    names = {"seed", "strategy", "estimator", "embedding_net", "ensemble", "device", "training"}
    assert names <= {p.name for p in others}


def test_a_fit_says_how_it_came_about(posterior: PosteriorFit, likelihood: LikelihoodFit) -> None:
    assert isinstance(posterior, PosteriorFit)
    assert isinstance(likelihood, LikelihoodFit)
    assert isinstance(posterior.status, Status)
    assert isinstance(posterior.history, History)
    assert {"stage", "step", "train_loss", "held_out_loss"} <= set(posterior.history.columns)
    assert posterior.strategy == Stack()
    assert posterior.n == (60, 24)
    assert posterior.cost == 60 * 1.0 + 24 * 11.0
    assert likelihood.cost is None
    assert (posterior.theta_dim, posterior.event_shape, posterior.seed) == (2, (3,), 0)
    assert "status" in repr(posterior)
    assert str(posterior).splitlines()[0] == "p(theta | x) of level 1 by Stack: theta (2,), x (3,)"
    assert "60 + 24 coupled runs, cost 324, seed 0, fitted in" in str(posterior)
    assert str(likelihood).startswith("p(x | theta) of level ")
    assert "held_out_loss" in repr(posterior.history)
    with pytest.raises(FrozenInstanceError):
        posterior.seed = 1  # type: ignore[misc]
    with pytest.raises(KeyError, match="held_out_loss"):
        posterior.history["loss"]
    assert not any(p.requires_grad for p in posterior.estimator.parameters())


def test_posterior_log_prob_of_rows_and_of_one_x(posterior: PosteriorFit) -> None:
    theta, x = ones()
    paired = posterior.log_prob(theta, x)
    assert paired.shape == (5,)
    assert paired.dtype == torch.float32
    at_first = posterior.log_prob(theta, x[0])
    torch.testing.assert_close(at_first, posterior.log_prob(theta, x[:1].expand(5, 3)))
    torch.testing.assert_close(at_first, posterior.log_prob(theta, x[:1]))
    torch.testing.assert_close(at_first[:1], paired[:1])
    as_numpy = posterior.log_prob(theta.numpy().astype(np.float64), x[0].tolist())
    assert torch.equal(as_numpy, at_first)
    assert not torch.allclose(at_first[1:], paired[1:])


def test_no_rows_give_no_densities_and_no_draws(
    posterior: PosteriorFit, likelihood: LikelihoodFit
) -> None:
    none, no_x = torch.zeros(0, D), torch.zeros(0, 3)
    for fit in (posterior, likelihood):
        assert fit.log_prob(none, no_x).shape == fit.log_prob(none, torch.zeros(3)).shape == (0,)
    assert posterior.sample_batched(4, x=no_x, seed=0).shape == (4, 0, D)
    assert likelihood.sample_batched(4, theta=none, seed=0).shape == (4, 0, 3)


def test_outside_the_support_the_posterior_is_zero(posterior: PosteriorFit) -> None:
    theta = torch.tensor([[0.5, 0.5], [1.01, 0.0], [0.0, -3.0]])
    log_prob = posterior.log_prob(theta, torch.zeros(3))
    assert torch.isfinite(log_prob[0])
    assert (log_prob[1:] == -torch.inf).all()


def test_the_posterior_integrates_to_one(posterior: PosteriorFit) -> None:
    side = torch.linspace(-1, 1, 401)[1:] - 0.0025
    grid = torch.cartesian_prod(side, side)
    mass = posterior.log_prob(grid, torch.tensor([0.5, 0.0, 0.1])).double().exp().mean() * 4
    assert float(mass) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_gradients_flow_in_theta_where_asked_for(kind: str, request: pytest.FixtureRequest) -> None:
    fit = request.getfixturevalue(kind)
    theta, x = ones()
    assert not fit.log_prob(theta, x).requires_grad
    theta = theta.requires_grad_()
    fit.log_prob(theta, x).sum().backward()
    assert theta.grad is not None
    step = 1e-2 * torch.tensor([1.0, 0.0])
    with torch.no_grad():
        slope = (fit.log_prob(theta + step, x) - fit.log_prob(theta - step, x)) / 2e-2
    torch.testing.assert_close(theta.grad[:, 0], slope, rtol=0.05, atol=0.02)


def test_posterior_draws(posterior: PosteriorFit) -> None:
    x = ones()[1]
    draws = posterior.sample(500, x=x[0], seed=3)
    assert draws.shape == (500, D)
    assert posterior.prior.contains(draws).all()
    assert torch.isfinite(posterior.log_prob(draws, x[0])).all()
    assert torch.equal(draws, posterior.sample(500, x=x[0].numpy(), seed=3))
    assert not torch.equal(draws, posterior.sample(500, x=x[0], seed=4))
    fresh = [posterior.sample(5, x=x[0]) for _ in range(2)]
    assert not torch.equal(*fresh)
    batched = posterior.sample_batched(400, x=x, seed=1)
    assert batched.shape == (400, 5, D)
    alone = torch.stack([posterior.sample(400, x=row, seed=2).mean(0) for row in x])
    assert (batched.mean(0) - alone).abs().max() < 0.2


def test_draws_follow_the_density(posterior: PosteriorFit) -> None:
    x = torch.tensor([0.5, 0.0, 0.1])
    draws = posterior.sample(20_000, x=x, seed=3)
    side = torch.linspace(-1, 1, 201)[1:] - 0.005
    grid = torch.cartesian_prod(side, side)
    mass = posterior.log_prob(grid, x).double().exp()
    mean = (mass[:, None] * grid).sum(0) / mass.sum()
    assert (draws.mean(0) - mean).abs().max() < 0.02


def test_likelihood_draws_and_densities(likelihood: LikelihoodFit) -> None:
    theta, x = ones()
    assert likelihood.log_prob(theta, x).shape == (5,)
    torch.testing.assert_close(
        likelihood.log_prob(theta, x[0]), likelihood.log_prob(theta, x[:1].expand(5, 3))
    )
    draws = likelihood.sample(50, theta=theta[0], seed=3)
    assert draws.shape == (50, 3)
    assert torch.equal(draws, likelihood.sample(50, theta=theta[0], seed=3))
    assert likelihood.sample_batched(50, theta=theta, seed=3).shape == (50, 5, 3)


def flat_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh())


@pytest.mark.parametrize("net", [None, flat_net()], ids=["no net", "net"])
def test_x_may_have_any_event_shape(net: nn.Module | None) -> None:
    data = linear_data(event=(2, 3))
    fit = fitted(fit_posterior, data, embedding_net=net)
    theta, x = data.theta(0)[:5], data.x(0)[:5]
    assert fit.event_shape == (2, 3)
    assert fit.log_prob(theta, x).shape == (5,)
    torch.testing.assert_close(fit.log_prob(theta, x[0]), fit.log_prob(theta, x[:1]))
    assert fit.sample(7, x=x[0], seed=0).shape == (7, D)
    assert fit.sample_batched(7, x=x, seed=0).shape == (7, 5, D)
    assert fit.posterior(x[0]).log_prob(theta).shape == (5,)


@pytest.mark.parametrize("net", [None, nn.Sequential(nn.Linear(D, 4), nn.Tanh())])
@pytest.mark.parametrize("strategy", [None, Stack(candidates=(Pooled(), SingleLevel()))])
def test_a_likelihood_of_an_event_of_two_axes(
    strategy: Stack | None, net: nn.Module | None
) -> None:
    data = linear_data(event=(2, 3))
    fit = fitted(fit_likelihood, data, embedding_net=net, strategy=strategy)
    event = (D,) if strategy is None else (2, 3)  # by default of a learned summary
    assert (fit.summary is None) == (strategy is not None)
    theta, x = data.theta(0)[:5], data.x(0)[:5]
    assert fit.log_prob(theta, x).shape == (5,)
    assert fit.log_prob(theta, x[0]).shape == (5,)
    assert fit.sample(7, theta=theta[0], seed=0).shape == (7, *event)
    assert fit.sample_batched(7, theta=theta, seed=0).shape == (7, 5, *event)
    assert fit.posterior(x).potential(theta).shape == (5,)


def test_a_posterior_fit_is_an_sbi_posterior(posterior: PosteriorFit) -> None:
    theta, x = ones()
    at = posterior.posterior(x[0])
    assert isinstance(at, NeuralPosterior)
    assert torch.equal(at.log_prob(theta), posterior.log_prob(theta, x[0]))
    draws = at.sample((20,), show_progress_bars=False)
    assert draws.shape == (20, D)
    assert posterior.prior.contains(draws).all()


def test_a_likelihood_fit_is_sampled_by_sbi(likelihood: LikelihoodFit) -> None:
    theta, x = ones()
    at = likelihood.posterior(
        x, method="slice_np_vectorized", num_chains=4, warmup_steps=3, init_strategy="proposal"
    )
    assert isinstance(at, NeuralPosterior)
    draws = at.sample((20,), show_progress_bars=False)
    assert draws.shape == (20, D)
    assert likelihood.prior.contains(draws).all()
    expected = likelihood.prior.log_prob(theta)
    for row in x:
        expected = expected + likelihood.log_prob(theta, row)
    torch.testing.assert_close(at.potential(theta), expected, rtol=1e-4, atol=1e-4)
    assert likelihood.posterior(x[0]).potential(theta).shape == (5,)


POSITIVE = Independent(LogNormal(torch.zeros(D), torch.ones(D)), 1)
PRIORS = {
    "box": box(),
    "positive": POSITIVE,
    "unbounded": MultivariateNormal(torch.zeros(D), torch.eye(D)),
    "mixed": [Uniform(torch.zeros(1), 2 * torch.ones(1)), Exponential(torch.ones(1))],
    "one of each": [Normal(0.0, 1.0), Uniform(0.0, 2.0)],
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_support_is_the_priors(name: str, tmp_path: Path) -> None:
    data = linear_data(prior=None if name == "box" else PRIORS[name])
    theta, x = data.theta(0), data.x(0)
    far = torch.tensor([[-50.0, -50.0]])
    for kind in (fit_posterior, fit_likelihood):
        fit = fitted(kind, data)
        assert torch.isfinite(fit.log_prob(theta, x)).all()
        fit.save(tmp_path / kind.__name__)
        again = load_fit(tmp_path / kind.__name__)
        assert torch.equal(again.log_prob(theta, x), fit.log_prob(theta, x))
        if kind is fit_posterior:
            assert fit.prior.contains(fit.sample(2000, x=x[0], seed=0)).all()
            outside = fit.log_prob(far, x[0])
            assert bool(torch.isfinite(outside)) == (name == "unbounded")


def test_numpy_data_give_the_same_fit() -> None:
    data = linear_data()
    levels = [
        (data.theta(0).numpy(), data.x(0).numpy()),
        (data.theta(1).numpy(), data.x_coarse(1).numpy(), data.x(1).numpy()),
    ]
    other = MultilevelData.from_arrays(box(), levels)
    theta, x = ones()
    expected = fitted(fit_posterior, data).log_prob(theta, x)
    assert torch.equal(fitted(fit_posterior, other).log_prob(theta, x), expected)
    assert torch.equal(fitted(fit_posterior, data, seed=np.int64(0)).log_prob(theta, x), expected)
    assert not torch.equal(fitted(fit_posterior, data, seed=1).log_prob(theta, x), expected)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_very_few_expensive_runs_are_enough_to_train(top: int) -> None:
    for strategy in (None, SingleLevel(), Transfer(), Pooled()):
        for kind in (fit_posterior, fit_likelihood):
            fit = fitted(kind, linear_data((30, top)), strategy=strategy)
            assert fit.status.ok
            assert torch.isfinite(fit.log_prob(*ones())).all()


def test_the_strategys_own_training_goes_before_that_of_the_fit() -> None:
    own = tiny(max_steps=10)
    fit = fitted(fit_posterior, strategy=SingleLevel(training=own), training=tiny(max_steps=15))
    assert fit.training == own
    assert fit.history["step"][-1] == 10


# on disk


ESTIMATORS = {
    "mdn": SMALL,
    "mdn by name": "mdn",
    "maf": MAF((8,), 2),
    "nsf": NSF((8,), 2),
    "sbi name": "made",
}


@pytest.mark.parametrize("kind", [fit_posterior, fit_likelihood])
@pytest.mark.parametrize("name", [*ESTIMATORS, "builder", "net"])
def test_a_saved_fit_is_the_same_bit_for_bit(name: str, kind: Any, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3 if kind is fit_posterior else 2, 4), nn.BatchNorm1d(4))
    own = posterior_builder if kind is fit_posterior else likelihood_builder
    options = {"estimator": ESTIMATORS.get(name, own)}
    if name == "net":
        options = {"embedding_net": net}
    fit = fitted(kind, **options, training=tiny(max_steps=10))
    fit.save(tmp_path / "fit")
    again_options: dict[str, Any] = {}
    if name == "net":
        again_options = {"embedding_net": nn.Sequential(nn.Linear(*_sizes(net)), nn.BatchNorm1d(4))}
    elif name == "builder":
        again_options = {"estimator": own}
    state = torch.get_rng_state()
    again = load_fit(tmp_path / "fit", **again_options)
    assert torch.equal(torch.get_rng_state(), state)
    theta, x = ones()
    assert torch.equal(again.log_prob(theta, x), fit.log_prob(theta, x))
    at = {"x": x[0]} if kind is fit_posterior else {"theta": theta[0]}
    assert torch.equal(again.sample(9, **at, seed=1), fit.sample(9, **at, seed=1))
    assert type(again) is type(fit)
    for name_ in ("strategy", "training", "status", "n", "cost", "seed", "event_shape"):
        assert getattr(again, name_) == getattr(fit, name_)
    assert repr(again.history) == repr(fit.history)
    assert not again.estimator.training
    again.save(tmp_path / "again")  # a loaded fit saves the same file
    for file in ("fit.json", "weights.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "fit" / file).read_bytes()


def _sizes(net: nn.Sequential) -> tuple[int, int]:
    return net[0].in_features, net[0].out_features


@pytest.mark.slow
@pytest.mark.parametrize("name", sbi_estimator_names())
def test_every_named_estimator_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    fit = fitted(fit_posterior, estimator=name, training=tiny(max_steps=2), ensemble=2)
    fit.save(tmp_path / "fit")
    assert torch.equal(load_fit(tmp_path / "fit").log_prob(*ones()), fit.log_prob(*ones()))


class Ring(nn.Module):
    """An embedding with tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    from sbi.neural_nets import posterior_nn

    def tied(theta: Tensor, x: Tensor) -> Any:
        return posterior_nn(
            "made", hidden_features=6, z_score_theta="none", z_score_x="none", embedding_net=Ring()
        )(theta, x)

    fit = fitted(fit_posterior, estimator=tied)
    fit.save(tmp_path / "fit")
    again = load_fit(tmp_path / "fit", estimator=tied)
    assert torch.equal(again.log_prob(*ones()), fit.log_prob(*ones()))


@pytest.mark.parametrize(
    "strategy",
    [
        SingleLevel(level=0),
        Transfer(rate=0.2),
        Pooled(training=tiny(max_steps=5)),
        Multilevel(rescale=False, start="fresh"),
        Bridge(draws="real", num_draws=50, compress=False, inflate=False, clamp=False),
        Emulator(num_draws=50, crossfit=False, training=tiny(max_steps=5)),
        Stack(candidates=(Pooled(), SingleLevel()), prior_count=0.0),
        Stack(
            candidates=(
                Stack(candidates=(Transfer(rate=0.3), Bridge(num_draws=50)), prior_count=1.0),
                Emulator(num_draws=50, training=tiny(max_steps=5)),
            ),
        ),
        SingleLevel(training=tiny(max_steps=5, clip=None, batch_size=None)),
    ],
)
def test_a_strategy_comes_back_with_its_options(strategy: Any, tmp_path: Path) -> None:
    fit = fitted(fit_posterior, strategy=strategy)
    fit.save(tmp_path / "fit")
    again = load_fit(tmp_path / "fit")
    for name in ("strategy", "training", "blueprint", "status"):
        assert getattr(again, name) == getattr(fit, name)
    assert repr(again.history.rows) == repr(fit.history.rows)
    assert torch.equal(again.log_prob(*ones()), fit.log_prob(*ones()))
    x = ones()[1][0]
    assert torch.equal(again.sample(20, x=x, seed=0), fit.sample(20, x=x, seed=0))


def test_numpy_numbers_in_options_are_saved(tmp_path: Path) -> None:
    fit = fitted(
        fit_posterior, ensemble=np.int64(1), training=tiny(max_steps=np.int64(5)),
        estimator=MDN((np.int64(8),), components=np.int64(2)),
    )  # fmt: skip
    fit.save(tmp_path / "fit")
    assert load_fit(tmp_path / "fit").training.max_steps == 5


class Custom(torch.distributions.Distribution):
    """A prior that no file can describe."""

    support = torch.distributions.constraints.independent(
        torch.distributions.constraints.interval(-1.0, 1.0), 1
    )
    arg_constraints: dict[str, Any] = {}

    def __init__(self, dim: int = D) -> None:
        super().__init__(event_shape=torch.Size((dim,)), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.rand(*sample_shape, *self.event_shape) * 2 - 1

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (value.abs() <= 1).all(-1)
        return torch.where(inside, -math.log(2.0) * value.shape[-1], -torch.inf)


def test_a_prior_of_ones_own_is_passed_again(tmp_path: Path) -> None:
    data = linear_data()
    levels = [(data.theta(0), data.x(0))]
    fit = fitted(fit_posterior, MultilevelData.from_arrays(Custom(), levels))
    fit.save(tmp_path / "fit")
    with pytest.raises(ValueError, match="prior="):
        load_fit(tmp_path / "fit")
    with pytest.raises(ValueError, match="prior must be over 2 parameters"):
        load_fit(tmp_path / "fit", prior=box(3))
    again = load_fit(tmp_path / "fit", prior=Custom())
    assert torch.equal(again.log_prob(*ones()), fit.log_prob(*ones()))


def test_whoever_may_read_the_folder_may_read_a_saved_fit(
    posterior: PosteriorFit, tmp_path: Path
) -> None:
    posterior.save(tmp_path / "fit")
    plain = tmp_path / "plain"
    plain.touch()
    modes = {file.stat().st_mode for file in (*(tmp_path / "fit").iterdir(), plain)}
    assert modes == {plain.stat().st_mode}


def test_an_old_fit_is_overwritten_only_when_asked_and_never_lost(
    posterior: PosteriorFit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep" / "fit"
    posterior.save(folder)
    assert {f.name for f in folder.iterdir()} == {"fit.json", "weights.safetensors"}
    with pytest.raises(ValueError, match="overwrite=True"):
        posterior.save(folder)
    other = replace(posterior, seed=7)
    other.save(str(folder), overwrite=True)
    assert load_fit(folder).seed == 7
    # a write that fails half-way
    with monkeypatch.context() as patch:
        patch.setattr(mlsbi.fit_io, "to_json", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            posterior.save(folder, overwrite=True)
    assert load_fit(folder).seed == 7
    assert [f.name for f in folder.parent.iterdir()] == ["fit"]  # nothing left behind
    # somebody's notes beside the fit are not deleted
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"path: .*notes\.txt.*move them"):
        posterior.save(folder, overwrite=True)
    assert (folder / "notes.txt").exists()
    for name in ("file", "empty"):
        place = tmp_path / name
        place.mkdir() if name == "empty" else place.write_text("x")
        with pytest.raises(ValueError, match="holds no fit"):
            posterior.save(place, overwrite=True)


def test_a_fit_can_be_read_by_those_who_can_read_the_folder_it_is_in(
    posterior: PosteriorFit, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    posterior.save(tmp_path / "fit")
    assert (tmp_path / "fit").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_history_keeps_what_is_not_finite_in_standard_json(
    posterior: PosteriorFit, tmp_path: Path
) -> None:
    rows = ({"step": 0.0, "train_loss": math.nan, "held_out_loss": math.inf}, {"step": -math.inf})
    replace(posterior, history=History(rows)).save(tmp_path / "fit")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads((tmp_path / "fit" / "fit.json").read_text(), parse_constant=refuse)
    again = load_fit(tmp_path / "fit").history
    assert repr(again.rows) == repr(rows)
    assert all(isinstance(value, float) for row in again for value in row.values())


@pytest.fixture
def saved(posterior: PosteriorFit, tmp_path: Path) -> Path:
    posterior.save(tmp_path / "fit")
    return tmp_path / "fit"


def edited(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    config = json.loads((folder / "fit.json").read_text())
    place = config
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    (folder / "fit.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 2, r"path: .*format 2, this version reads 1"),
        (("strategy", "name"), "os.system", r"path: .*strategy 'os.system'.*Multilevel"),
        (("blueprint", "estimator", "name"), "Popen", r"path: .*estimator 'Popen'.*MDN"),
        (("blueprint", "estimator"), "eval", r"estimator must be one of .*'eval'"),
        (("transforms", 0), "Pickle", r"path: .*transform 'Pickle'.*Support"),
        (("blueprint", "kind"), "marginal", r"path: .*kind 'marginal'.*posterior"),
        (("status",), "HAPPY", r"path: .*fit.json is damaged.*HAPPY"),
        (("training", "magic"), 1, r"path: .*fit.json is damaged.*magic"),
        (("strategy", "magic"), 1, r"path: .*fit.json is damaged.*magic"),
        (("training", "max_steps"), -1, r"max_steps must be at least 1"),
        (("n",), None, r"path: .*fit.json is damaged.*'n'"),
        (("prior",), None, r"path: .*fit.json is damaged.*'prior'"),
        (("prior", "type"), "subprocess.Popen", r"Popen"),
        (("blueprint", "value_dim"), 3, r"path: the weights .* do not fit"),
    ],
)
def test_what_a_file_names_is_looked_up_and_never_run(
    path: tuple[Any, ...], value: Any, message: str, saved: Path
) -> None:
    edited(saved, path, value)
    with pytest.raises(ValueError, match=message):
        load_fit(saved)


def test_a_damaged_fit_is_named(saved: Path, tmp_path: Path) -> None:
    weights, text = saved / "weights.safetensors", saved / "fit.json"
    whole = weights.read_bytes()
    for damage in (whole[:-50], b"", b"hello"):
        weights.write_bytes(damage)
        with pytest.raises(ValueError, match=r"path: the fit in .* cannot be read"):
            load_fit(saved)
    weights.unlink()
    with pytest.raises(ValueError, match=r"path: the fit in .* cannot be read"):
        load_fit(saved)
    weights.write_bytes(whole)
    tensors = load_file(weights)
    for left_out in ("density", "value_transform"):
        kept = {n: t for n, t in tensors.items() if not n.startswith(left_out)}
        save_file(kept, weights)
        with pytest.raises(ValueError, match=r"path: "):
            load_fit(saved)
    weights.write_bytes(whole)
    for damage in (text.read_bytes()[:-40], b"\xff\xfe", b"[]", b"3"):
        text.write_bytes(damage)
        with pytest.raises(ValueError, match=r"path: "):
            load_fit(saved)
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match=r"path: .*holds no fit\.json"):
            load_fit(place)


def test_an_argument_that_a_fit_needs_is_asked_for(tmp_path: Path) -> None:
    fitted(fit_posterior, estimator=posterior_builder).save(tmp_path / "builder")
    with pytest.raises(ValueError, match=r"estimator: .*pass it again"):
        load_fit(tmp_path / "builder")
    fitted(fit_posterior, embedding_net=nn.Linear(3, 4)).save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"embedding_net: .*same architecture"):
        load_fit(tmp_path / "net")
    with pytest.raises(ValueError, match=r"do not fit the architecture"):
        load_fit(tmp_path / "net", embedding_net=nn.Linear(3, 5))


def test_no_pickle_is_written_or_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    load_fit(saved)


def test_training_and_status_are_public() -> None:
    assert Training().max_steps > 0
    assert mlsbi.Status is Status
