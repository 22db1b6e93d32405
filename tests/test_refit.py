"""A fit knows what was asked for, keeps it when it is saved, and can be made again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from mlsbi import (
    MDN,
    Bridge,
    MultilevelData,
    SingleLevel,
    Stack,
    Transfer,
    fit_likelihood,
    fit_posterior,
    load_fit,
)
from mlsbi.checking.refit import refit
from quick import rough_processes, short_trainings
from tiny import BUILDERS, linear_data, tiny

MAKE = {"posterior": fit_posterior, "likelihood": fit_likelihood}


def fitted(kind="posterior", data=None, **options):
    defaults = {"seed": 3, "strategy": Transfer(), "ensemble": 2, "training": tiny()}
    return MAKE[kind](linear_data() if data is None else data, **(defaults | options))


def same(first, second):
    data = linear_data(seed=9)
    theta, x = data.theta(1), data.x(1)
    return torch.equal(first.log_prob(theta, x), second.log_prob(theta, x))


class Net(nn.Module):
    """A net of one's own."""

    def __init__(self, inputs=3):
        super().__init__()
        self.layer = nn.Linear(inputs, 4)

    def forward(self, x):
        return torch.tanh(self.layer(x))


CASES = {
    "posterior": {},
    "likelihood": {"kind": "likelihood"},
    "options of the strategy": {"strategy": SingleLevel(training=tiny(max_steps=9))},
    "estimator of one's own": {"estimator": MDN((8,), components=2), "tails": "linear"},
    "default training": {"training": None, "strategy": SingleLevel(training=tiny())},
    "builder": {"estimator": BUILDERS["posterior"], "ensemble": 1},
    "net": {"embedding_net": Net()},
    "net of theta": {"kind": "likelihood", "embedding_net": Net(2)},
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_data_and_seed_give_the_same_fit(case, tmp_path):
    options = CASES[case]
    fit = fitted(**options)
    again = refit(fit, linear_data(), seed=fit.seed)
    assert same(again, fit)
    assert again.recipe == fit.recipe
    assert not same(refit(fit, linear_data(), seed=4), fit)
    fit.save(tmp_path / "fit")
    own = {"builder": {"estimator": BUILDERS["posterior"]}, "net": {"embedding_net": Net()}}
    own["net of theta"] = {"embedding_net": Net(2)}
    loaded = load_fit(tmp_path / "fit", **own.get(case, {}))
    assert loaded.seconds == fit.seconds > 0
    assert same(refit(loaded, linear_data(), seed=fit.seed), fit)
    if not own.get(case):
        assert loaded.recipe == fit.recipe


def test_the_default_strategy_is_made_again(monkeypatch):
    rough_processes(monkeypatch)
    short_trainings(monkeypatch)
    fit = fitted(strategy=None, training=None)
    assert isinstance(fit.recipe.strategy, Stack)
    assert same(refit(fit, linear_data(), seed=fit.seed), fit)


def test_another_strategy_on_the_finest_level_alone():
    fit, data = fitted(), linear_data()
    alone = refit(fit, data.top(), seed=3, strategy=SingleLevel())
    assert same(alone, fitted(data=data.top(), strategy=SingleLevel()))
    assert alone.n == (24,)


def test_a_net_that_taught_the_summary_is_kept(tmp_path, monkeypatch):
    rough_processes(monkeypatch)
    short_trainings(monkeypatch)
    data = linear_data()
    fit = fitted(strategy=Bridge(num_draws=50), embedding_net=Net())
    assert fit.summary is not None  # behind it, the density sees no net
    assert fit.blueprint.embedding_net is None
    fit.save(tmp_path / "fit")
    loaded = load_fit(tmp_path / "fit", embedding_net=Net())
    assert same(refit(loaded, data, seed=3), fit)


def test_what_was_left_out_in_loading_is_named(tmp_path):
    fit = fitted()
    incomplete = replace(fit, recipe=replace(fit.recipe, estimator=None, missing=("estimator",)))
    incomplete.save(tmp_path / "fit")
    loaded = load_fit(tmp_path / "fit")
    assert loaded.recipe == incomplete.recipe
    with pytest.raises(ValueError, match=r"without the estimator .* load_fit\(path, estimator="):
        refit(loaded, linear_data(), seed=0)
    given = load_fit(tmp_path / "fit", estimator=BUILDERS["posterior"])
    assert given.recipe.estimator is BUILDERS["posterior"]
    assert given.recipe.missing == ()


def test_fits_of_older_versions_load_and_say_that_they_cannot_be_made_again(tmp_path):
    fit = fitted()
    fit.save(tmp_path / "fit")
    path = tmp_path / "fit" / "fit.json"
    config = json.loads(path.read_text())
    del config["recipe"], config["seconds"]
    path.write_text(json.dumps(config))
    old = load_fit(tmp_path / "fit")
    assert same(old, fit)
    assert old.recipe is None
    assert old.seconds is None
    with pytest.raises(ValueError, match="older version .* Fit again"):
        refit(old, linear_data(), seed=0)


OTHER_PRIOR = MultilevelData.from_arrays(
    torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1),
    [(torch.zeros(9, 2), torch.zeros(9, 3)), (torch.zeros(9, 2),) + (torch.ones(9, 3),) * 2],
)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"fit": 3}, TypeError, "fit must be PosteriorFit or LikelihoodFit; got int"),
        ({"data": [1]}, TypeError, "data must be MultilevelData; got list"),
        ({"data": linear_data((9, 9, 9))}, ValueError, "data must have 2 level"),
        ({"data": linear_data(event=(4,))}, ValueError, r"data must have x of event shape \(3,\)"),
        ({"data": OTHER_PRIOR}, ValueError, "data must have a prior with low"),
        ({"strategy": "single"}, TypeError, "strategy must be Strategy; got str"),
        ({"seed": -1}, ValueError, "seed must lie in"),
    ],
)
def test_bad_input(change, error, words):
    arguments = {"fit": fitted(), "data": linear_data(), "seed": 0} | change
    with pytest.raises(error, match=words):
        refit(arguments.pop("fit"), arguments.pop("data"), **arguments)
