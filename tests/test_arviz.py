"""Fits as ArviZ data: groups, shapes, chains, and that what is in them is what the fit says."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mlsbi
from mlsbi import _inference_data
from tiny import linear_data, tiny

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its announcement of version 1.0
    import arviz as az


@pytest.fixture(scope="module")
def data():
    return linear_data((60, 24))


@pytest.fixture(scope="module")
def posterior_fit(data):
    return mlsbi.fit_posterior(
        data, strategy=mlsbi.SingleLevel(), estimator="mdn", training=tiny(), seed=0
    )


@pytest.fixture(scope="module")
def likelihood_fit(data):
    return mlsbi.fit_likelihood(
        data, strategy=mlsbi.SingleLevel(), estimator="mdn", training=tiny(), seed=0
    )


@pytest.fixture(scope="module")
def iid(data, likelihood_fit):
    """Five observations under the likelihood fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlsbi.to_arviz._WARMUP", 5)
        return likelihood_fit.to_arviz(data.x(1)[:5], num_samples=40, seed=3)


def draws_of(inference, names=("theta_1", "theta_2")):
    """Chains end to end, `(n, d)`."""
    return np.stack([inference["posterior"][name].values.reshape(-1) for name in names], axis=1)


# --- posterior fits -------------------------------------------------------------------------


def test_posterior_draws_are_those_of_sample(data, posterior_fit):
    x_o = data.x(1)[0]
    found = posterior_fit.to_arviz(x_o, num_samples=80, num_chains=4, seed=7)
    own = posterior_fit.sample(80, x=x_o, seed=7)
    assert np.array_equal(draws_of(found), own.double().numpy())
    assert dict(found.posterior.sizes) == {"chain": 4, "draw": 20}
    lp = posterior_fit.log_prob(own, x_o).double().numpy()
    assert np.allclose(found.sample_stats["lp"].values.reshape(-1), lp)
    assert np.array_equal(found.observed_data["x"].values, x_o.double().numpy())
    assert set(found.groups()) == {"posterior", "sample_stats", "observed_data", "prior"}


def test_prior_draws_are_of_the_prior(data, posterior_fit):
    found = posterior_fit.to_arviz(data.x(1)[0], num_samples=4000)
    for name in ("theta_1", "theta_2"):
        prior = found.prior[name].values.reshape(-1)
        assert np.abs(prior).max() <= 1  # the support
        # uniform on (-1, 1): variance 1 / 3, of n draws
        assert abs(prior.mean()) < 4 * np.sqrt(1 / 3 / len(prior))


def test_independent_draws_have_good_diagnostics(data, posterior_fit):
    table = az.summary(posterior_fit.to_arviz(data.x(1)[0], num_samples=2000))
    assert (table["r_hat"] < 1.02).all()
    assert (table["ess_bulk"] > 1000).all()


def test_names_of_parameters_and_outputs(data, posterior_fit):
    found = posterior_fit.to_arviz(
        data.x(1)[0], num_samples=16, labels=["rate", "size"], outputs=["p", "q", "r"]
    )
    assert list(found.posterior.data_vars) == ["rate", "size"]
    assert list(found.observed_data["x"]["output"].values) == ["p", "q", "r"]


@pytest.mark.parametrize(("rows", "lead"), [(16, (4, 4)), (5, (1, 5))])
def test_own_simulations_become_the_predictive(data, posterior_fit, rows, lead):
    x = torch.randn(rows, 3)
    found = posterior_fit.to_arviz(data.x(1)[0], num_samples=16, predictive=x)
    values = found.posterior_predictive["x"].values
    assert values.shape == (*lead, 3)
    assert np.array_equal(values.reshape(rows, 3), x.double().numpy())


def test_attributes_say_how_it_came_about(data, posterior_fit):
    found = posterior_fit.to_arviz(data.x(1)[0], num_samples=16, data=data, seed=5)
    for attrs in (found.attrs, found.posterior.attrs, found.prior.attrs):
        assert attrs["inference_library_version"] == mlsbi.__version__
        assert attrs["kind"] == "posterior"
        assert attrs["strategy"] == repr(posterior_fit.strategy)
        assert (attrs["fit_seed"], attrs["seed"]) == (0, 5)
        assert list(attrs["runs_per_level"]) == [60, 24]
    again = posterior_fit.to_arviz(data.x(1)[0], num_samples=16, data=linear_data((60, 24), seed=1))
    assert again.attrs["data_fingerprint"] != found.attrs["data_fingerprint"]


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_files_give_back_the_same(kind, data, posterior_fit, iid, tmp_path):
    own = iid if kind == "likelihood" else posterior_fit.to_arviz(data.x(1)[0], num_samples=16)
    own.to_netcdf(str(tmp_path / "fit.nc"))
    read = az.from_netcdf(str(tmp_path / "fit.nc"))
    assert set(read.groups()) == set(own.groups())
    for group in own.groups():
        assert read[group].equals(own[group])
        assert read[group].attrs["strategy"] == own[group].attrs["strategy"]


# --- likelihood fits ------------------------------------------------------------------------


def test_likelihood_groups_and_shapes(iid):
    assert set(iid.groups()) == {
        "posterior", "prior", "sample_stats", "observed_data", "log_likelihood",
        "posterior_predictive",
    }  # fmt: skip
    assert iid.posterior["theta_1"].shape == (4, 10)
    assert dict(iid.observed_data["x"].sizes) == {"observation": 5, "output": 3}
    assert iid.log_likelihood["x"].dims == ("chain", "draw", "observation")
    assert iid.posterior_predictive["x"].dims == ("chain", "draw", "observation", "output")


def test_log_likelihood_is_the_fits(data, likelihood_fit, iid):
    theta = torch.as_tensor(draws_of(iid)).float()
    own = np.stack([likelihood_fit.log_prob(theta, x).numpy() for x in data.x(1)[:5]], axis=1)
    stored = iid.log_likelihood["x"].values.reshape(40, 5)
    assert np.allclose(stored, own, atol=1e-5)
    lp = likelihood_fit.prior.log_prob(theta).numpy() + own.sum(1)
    assert np.allclose(iid.sample_stats["lp"].values.reshape(-1), lp, atol=1e-4)


def test_chains_are_sbis_own_and_no_global_state_is_touched(data, likelihood_fit, iid):
    from mlsbi._random import derive_seed, isolated_rng
    from mlsbi.to_arviz import _isolated_numpy

    posterior = likelihood_fit.posterior(data.x(1)[:5], num_chains=4, warmup_steps=5, thin=1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = np.random.rand(), torch.rand(())
    np.random.seed(1)
    torch.manual_seed(1)
    seed = derive_seed(3, "arviz", "mcmc")
    with isolated_rng(seed), _isolated_numpy(seed):
        posterior.sample((40,), show_progress_bars=False)
    assert expected == (np.random.rand(), torch.rand(()))
    kept = torch.as_tensor(posterior.posterior_sampler.get_samples()[:, 5:]).float()
    theta = posterior.theta_transform.inv(kept)
    assert theta.shape == (4, 10, 2)
    assert np.allclose(draws_of(iid).reshape(4, 10, 2), theta.numpy())


@pytest.fixture
def drawn_from_the_prior(monkeypatch):
    """In place of MCMC, where chains do not matter."""

    def chains(fit, x, shape, *, seed, progress):
        return fit.prior.sample(shape[0] * shape[1], torch.Generator().manual_seed(seed))

    monkeypatch.setattr("mlsbi.to_arviz._chains", chains)


def test_predictive_belongs_to_its_draw(data, likelihood_fit, iid):
    """Where theta differs, so does the mean of its replicates: x is about A theta."""
    theta, x = draws_of(iid), iid.posterior_predictive["x"].values.reshape(40, 5, 3)
    many = likelihood_fit.sample_batched(400, theta=torch.as_tensor(theta).float(), seed=1)
    mean, sd = many.mean(0).numpy(), many.std(0).numpy()
    z = (x.mean(1) - mean) / (sd / np.sqrt(5))
    assert np.abs(z).mean() < 1.2  # 0.8 of normal scores
    wrong = (x.mean(1) - np.roll(mean, 1, axis=0)) / (sd / np.sqrt(5))
    assert np.abs(wrong).mean() > np.abs(z).mean()


def test_loo_runs_and_a_single_x_is_one_observation(data, likelihood_fit, drawn_from_the_prior):
    found = likelihood_fit.to_arviz(data.x(1)[0], num_samples=40)
    assert found.log_likelihood["x"].shape == (4, 10, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        loo = az.loo(found, pointwise=True)
    assert loo.n_data_points == 1
    assert np.isfinite(loo.elpd_loo)


def test_own_simulations_of_many_observations(data, likelihood_fit, drawn_from_the_prior):
    x = torch.randn(6, 2, 3)
    found = likelihood_fit.to_arviz(data.x(1)[:2], num_samples=16, predictive=x)
    assert np.array_equal(found.posterior_predictive["x"].values[0], x.double().numpy())


# --- ArviZ itself ---------------------------------------------------------------------------


def test_without_arviz_the_error_says_what_to_install(data, posterior_fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"pip install 'mlsbi\[arviz\]'"):
        posterior_fit.to_arviz(data.x(1)[0], num_samples=16)


def test_arviz_from_version_1_takes_all_groups_as_one_mapping(monkeypatch):
    """There, `from_dict` returns a tree of data sets."""
    calls = []

    class Tree(dict):
        attrs = {}

    def from_dict(groups, *, coords, dims):
        calls.append((groups, coords, dims))
        return Tree({name: SimpleNamespace(attrs={}) for name in groups})

    monkeypatch.setattr(_inference_data, "_arviz", lambda: SimpleNamespace(from_dict=from_dict))
    groups = {"posterior": {"a": np.zeros((1, 3))}, "observed_data": {"x": np.zeros(2)}}
    made = _inference_data.inference_data(groups, coords={}, dims={"x": ("o",)}, attrs={"k": 1})
    assert calls == [(groups, {}, {"x": ["o"]})]
    assert made["posterior"].attrs == made.attrs == {"k": 1}


def test_import_of_mlsbi_leaves_arviz_alone():
    code = "import sys, mlsbi; sys.exit('arviz' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_samples": 10}, ValueError, "num_samples must be a multiple .* num_samples=12"),
        ({"num_samples": 12}, ValueError, r"num_samples must be at least num_chains\*\*2"),
        ({"num_samples": 0}, ValueError, "num_samples"),
        ({"num_chains": 2.0}, TypeError, "num_chains"),
        ({"labels": ["a"]}, ValueError, "labels must hold 2"),
        ({"labels": ["a", "a"]}, ValueError, "labels must hold 2 different"),
        ({"labels": ["a/b", "draw"]}, ValueError, r"labels must not be \['a/b', 'draw'\]"),
        ({"labels": 3}, TypeError, "labels"),
        ({"outputs": ["a"]}, ValueError, "outputs must hold 3"),
        ({"outputs": 3}, TypeError, "outputs"),
        ({"predictive": torch.zeros(16, 2)}, ValueError, "predictive must have shape"),
        ({"predictive": "x"}, TypeError, "predictive"),
        ({"data": 3}, TypeError, "data"),
        ({"seed": -1}, ValueError, "seed"),
        ({"x_o": torch.zeros(2, 3)}, ValueError, "x_o must have shape .* one at a time"),
        ({"x_o": torch.full((3,), torch.nan)}, ValueError, "x_o"),
    ],
)
def test_errors_name_the_argument(data, posterior_fit, options, error, message):
    arguments = {"x_o": data.x(1)[0], "num_samples": 16} | options
    with pytest.raises(error, match=message):
        posterior_fit.to_arviz(arguments.pop("x_o"), **arguments)


def test_likelihood_fits_take_observations_of_their_shape(likelihood_fit):
    with pytest.raises(ValueError, match="x_o must have shape .*i.i.d."):
        likelihood_fit.to_arviz(torch.zeros(2, 2))


def test_outputs_name_the_entries_of_vectors_alone():
    data = linear_data((40, 20), event=(2, 2))
    fit = mlsbi.fit_posterior(
        data, strategy=mlsbi.SingleLevel(), estimator="mdn", training=tiny(), seed=0
    )
    with pytest.raises(ValueError, match="outputs name the entries of a vector"):
        fit.to_arviz(data.x(1)[0], outputs=["a", "b"], num_samples=16)
    assert fit.to_arviz(data.x(1)[0], num_samples=16).observed_data["x"].shape == (2, 2)


@dataclass(frozen=True)
class Compressed(mlsbi.SingleLevel):
    """Single-level training on summaries."""

    compress: str | bool = True


def test_fits_of_summaries_predict_and_score_summaries(drawn_from_the_prior, monkeypatch):
    monkeypatch.setattr("mlsbi.summaries.posterior_mean.TRAINING", tiny(validation_fraction=0.2))
    data = linear_data((80, 24), event=(4, 4))
    fit = mlsbi.fit_likelihood(
        data, strategy=Compressed(), estimator="mdn", training=tiny(), seed=0
    )
    x = data.x(1)[:3]
    found = fit.to_arviz(x, num_samples=16)
    assert found.observed_data["x"].shape == (3, 4, 4)
    assert np.allclose(found.observed_data["summary"].values, fit.summarise(x).numpy())
    assert found.posterior_predictive["summary"].dims[:3] == ("chain", "draw", "observation")
    assert found.posterior_predictive["summary"].shape == (4, 4, 3, 2)
    assert list(found.log_likelihood.data_vars) == ["summary"]
    mine = fit.to_arviz(x, num_samples=16, predictive=torch.zeros(16, 3, 4, 4))
    assert mine.posterior_predictive["x"].shape == (4, 4, 3, 4, 4)
