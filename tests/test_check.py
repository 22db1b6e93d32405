"""mlsbi.check: on held-out runs and by cross-fitting, of both kinds of fit."""

from __future__ import annotations

import json
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from exact_fits import ExactPosterior, runs
from linear_gaussian import normal_prior
from mlsbi import (
    MultilevelData,
    PosteriorFit,
    SingleLevel,
    Status,
    Transfer,
    fit_likelihood,
    fit_posterior,
    load_fit,
)
from mlsbi._folds import deal
from mlsbi._random import derive_seed
from mlsbi._table import Table
from mlsbi.calibration import Calibration
from mlsbi.checking import crossfitting
from mlsbi.checking.check import check
from mlsbi.checking.finding import Finding
from mlsbi.checking.local import about_local
from mlsbi.checking.notices import about_scores
from mlsbi.checking.observation import ObservationCheck
from mlsbi.checking.refit import calibrated_like, refit
from mlsbi.checking.result import Check
from mlsbi.checking.scores import score_runs
from mlsbi.checking.verdict import State
from mlsbi.metrics.lc2st import lc2st
from mlsbi.prior import as_prior
from tiny import box, linear_data, tiny

MAKE = {"posterior": fit_posterior, "likelihood": fit_likelihood}
DRAWS = 40


def fitted(kind="posterior", data=None, **options):
    defaults = {"seed": 3, "strategy": Transfer(), "ensemble": 2, "training": tiny()}
    return MAKE[kind](linear_data((80, 12)) if data is None else data, **(defaults | options))


@pytest.fixture(scope="module")
def data():
    return linear_data((80, 12))


@pytest.fixture(scope="module")
def fits(data):
    return {kind: fitted(kind, data) for kind in MAKE}


@pytest.fixture(scope="module")
def unseen():
    fresh = linear_data((2, 30), seed=11)
    return fresh.theta(1), fresh.x(1)


@pytest.fixture(scope="module")
def crossed(fits, data):
    """A cross-fitted check of each kind."""
    return {k: check(f, data, folds=3, num_draws=DRAWS, seed=1) for k, f in fits.items()}


def same_scores(first, second):
    return all(
        (a is None and b is None) or torch.equal(a, b)
        for (_, a), (_, b) in zip(first._items(), second._items(), strict=True)
    )


# Held-out runs


@pytest.mark.parametrize("kind", MAKE)
def test_held_out_runs_are_scored_by_the_fit_itself(kind, fits, unseen):
    fit, (theta, x) = fits[kind], unseen
    found = check(fit, theta.numpy(), x.numpy(), num_draws=DRAWS, seed=5)
    scores = score_runs(fit, theta, x, num_draws=DRAWS, seed=derive_seed(5, "check", "scores"))
    assert same_scores(found.scores, scores)
    assert (found.kind, found.source, found.n) == (kind, "held-out runs", 30)
    assert found.fold is None
    assert found.folds is None
    assert found.comparison is None
    assert found.two_level is None
    own = fit.log_prob(theta, x).double()
    if kind == "posterior":
        assert found.nlpd.mean == pytest.approx(-float(own.mean()))
        assert found.log_likelihood is None
        assert found.predictive_coverage is None
    else:
        assert found.log_likelihood.mean == pytest.approx(-float(own.mean()))
        assert len(found.predictive_coverage.ranks) == 30
    assert found.nlpd_band.low <= found.nlpd.mean <= found.nlpd_band.high
    assert found.nlpd_band.value == found.nlpd.mean
    assert torch.equal(found.coverage.ranks, scores.hpd)
    assert (found.coverage_low <= found.coverage.empirical).all()
    assert (found.coverage_high >= found.coverage.empirical).all()
    assert [len(c.ranks) for c in found.marginal_coverage] == [30, 30]
    assert [v.name for v in found.verdicts] == ["joint", "theta_1", "theta_2"]


def test_a_seed_gives_the_check_and_another_gives_another(fits, unseen):
    first, again, other = (
        check(fits["posterior"], *unseen, num_draws=DRAWS, seed=seed) for seed in (0, 0, 1)
    )
    assert same_scores(first.scores, again.scores)
    assert not same_scores(first.scores, other.scores)


def test_another_fit_is_compared_on_the_same_runs(fits, unseen):
    fit, (theta, x) = fits["posterior"], unseen
    other = fitted(strategy=SingleLevel())
    found = check(fit, theta, x, against=other, num_draws=DRAWS).comparison
    difference = (fit.log_prob(theta, x) - other.log_prob(theta, x)).double()
    assert found.gain.value == pytest.approx(float(difference.mean()), abs=1e-6)
    torch.testing.assert_close(found.log_prob, other.log_prob(theta, x).double())
    opposite = check(other, theta, x, against=fit, num_draws=DRAWS).comparison
    assert opposite.gain.value == pytest.approx(-found.gain.value)
    itself = check(fit, theta, x, against=fit, num_draws=DRAWS).comparison
    assert (itself.gain.low, itself.gain.value, itself.gain.high) == (0.0, 0.0, 0.0)
    assert "as good as" in itself.text


def test_two_runs_are_enough_and_undecided(fits, unseen):
    theta, x = unseen
    found = check(fits["posterior"], theta[:2], x[:2], num_draws=DRAWS)
    assert found.n == 2
    assert not any(v.state.alarm for v in found.verdicts)


class Known(ExactPosterior, PosteriorFit):
    """A fit that is exact, or wrong on purpose."""

    n, status, calibration, estimator = (100, 50), Status.CONVERGED, None, None
    strategy = SingleLevel()

    def __init__(self, *, scale=1.0, shift=0.0):
        own = {"prior": as_prior(normal_prior()), "event_shape": (2,)}
        for name, value in (own | {"scale": scale, "shift": shift}).items():
            object.__setattr__(self, name, value)


@pytest.mark.parametrize(
    ("wrong", "state"),
    [
        ({}, None),
        ({"scale": 0.5}, State.OVER),
        ({"scale": 2.0}, State.UNDER),
        ({"shift": 1.0}, State.BIASED),
        ({"shift": -1.0}, State.BIASED),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(wrong, state):
    found = check(Known(**wrong), *runs(60, seed=4), num_draws=200)
    if state is None:
        assert found.ok
        assert found.state in {State.CALIBRATED, State.UNDECIDED}
        return
    assert not found.ok
    assert found.state is state
    assert f": {state.value}" in str(found).splitlines()[0]
    assert found.verdict.state is state
    if "shift" in wrong:
        lows = [v for v in found.verdicts[1:] if v.shift.value * wrong["shift"] < -0.5]
        assert len(lows) == 2  # a mean that is too high has to go down
    else:
        assert found.verdict.scale.value == pytest.approx(1 / wrong["scale"], rel=0.35)


# Cross-fitting


@pytest.mark.parametrize("kind", MAKE)
def test_every_run_is_scored_by_a_fit_that_has_not_seen_it(kind, fits, data, crossed):
    found, fit = crossed[kind], fits[kind]
    assert (found.source, found.n, found.folds) == ("cross-fitting", 12, 3)
    assert torch.equal(found.rows, torch.arange(12))
    dealt = deal(data, 3, seed=1, spare=8)
    assert torch.equal(found.fold, dealt.of_level[1])
    for k in range(3):  # by hand
        rows, spare = dealt.rows(k), dealt.spare_rows(k)
        assert len(spare) == 8
        part = data.subset([dealt.of_level[0] != k, dealt.of_level[1] != k])
        assert part.n == (80 - 8, 8)
        assert not torch.isin(part.x(1), data.x(1)[rows]).any()
        again = refit(fit, part, seed=derive_seed(1, "check", "fit", k))
        own = score_runs(
            again,
            data.theta(1)[rows],
            data.x(1)[rows],
            num_draws=DRAWS,
            seed=derive_seed(1, "check", "runs", k),
        )
        assert same_scores(found.scores.subset(rows), own)
    assert found.two_level is not None


def test_the_single_level_is_compared_on_the_same_folds(fits, data, crossed):
    found, top = crossed["posterior"], data.top()
    k, single = 1, crossed["posterior"].comparison
    rows = (found.fold == k).nonzero().flatten()
    alone = refit(
        fits["posterior"],
        top.subset([found.fold != k]),
        seed=derive_seed(1, "check", "fit", k),
        strategy=SingleLevel(),
    )
    expected = alone.log_prob(top.theta(0)[rows], top.x(0)[rows]).double()
    torch.testing.assert_close(single.log_prob[rows], expected)
    own = found.scores.posterior_log_prob
    assert single.gain.value == pytest.approx(float((own - single.log_prob).mean()))
    assert "SingleLevel on the same folds" in single.text


@pytest.mark.parametrize(
    ("strategy", "against", "name"),
    [
        (Transfer(), None, None),
        (Transfer(), False, None),
        (SingleLevel(), "auto", None),
        (SingleLevel(level=0), "auto", "SingleLevel"),
        (SingleLevel(), Transfer(), "Transfer"),
    ],
)
def test_whom_to_compare_with(strategy, against, name, data):
    training = tiny(max_steps=2)
    fit = fitted(strategy=strategy, ensemble=1, training=training)
    found = check(fit, data, folds=2, against=against, num_draws=20).comparison
    assert (found is None) == (name is None)
    if name is not None:
        assert found.name.startswith(name)


def test_one_level_has_nothing_to_compare_with_and_no_cheaper_one():
    data = linear_data((14,))
    fit = fitted(data=data, training=tiny(max_steps=2))
    found = check(fit, data, folds=2, num_draws=20)
    assert found.comparison is None
    assert found.two_level is None
    assert found.level == 0


def test_few_cheap_runs_and_x_of_another_shape_are_not_spared():
    data = linear_data((30, 10))
    fit = fitted(data=data, training=tiny(max_steps=2))
    assert check(fit, data, folds=2, num_draws=20).two_level is None
    wide = linear_data((80, 12), event=(4,))
    levels = [(wide.theta(0), wide.x(0)[:, :3]), (wide.theta(1), wide.x(1)[:, :3], wide.x(1))]
    mixed = MultilevelData.from_arrays(box(), levels)
    alone = fitted(data=mixed.top(), strategy=SingleLevel(), training=tiny(max_steps=2))
    assert not crossfitting._has_pairs(mixed)
    assert check(alone, mixed.top(), folds=2, num_draws=20).two_level is None


@pytest.mark.parametrize("n", [2, 3, 10])
def test_as_few_runs_as_there_are(n):
    data = linear_data((40, n))
    fit = fitted(data=data, training=tiny(max_steps=3))
    found = check(fit, data, num_draws=20)
    assert found.folds == min(n, 5)
    assert found.n == n
    assert str(found)


def test_a_saved_fit_is_checked_the_same(fits, data, crossed, tmp_path):
    fits["posterior"].save(tmp_path / "fit")
    again = check(load_fit(tmp_path / "fit"), data, folds=3, num_draws=DRAWS, seed=1)
    assert same_scores(again.scores, crossed["posterior"].scores)


@pytest.mark.parametrize("executor", ["threads", pytest.param(2, marks=pytest.mark.slow)])
def test_workers_give_the_same_bits(executor, fits, data, crossed):
    options = {"folds": 3, "num_draws": DRAWS, "seed": 1}
    if executor == "threads":
        with ThreadPoolExecutor(3) as pool:
            found = check(fits["posterior"], data, executor=pool, **options)
    else:
        found = check(fits["posterior"], data, executor=executor, **options)
    expected = crossed["posterior"]
    assert same_scores(found.scores, expected.scores)
    assert torch.equal(found.comparison.log_prob, expected.comparison.log_prob)
    records = [c.to_dict() | {"seconds": 0} for c in (found, expected)]
    assert repr(records[0]) == repr(records[1])


# What goes wrong


def broken(monkeypatch, folds, *, strategy=Transfer):
    """Fits of these folds fail."""
    usual, seeds = crossfitting.make, [derive_seed(0, "check", "fit", k) for k in folds]

    def make(recipe, data, *, seed, **options):
        if seed in seeds and isinstance(recipe.strategy, strategy):
            raise ValueError("no luck")
        return usual(recipe, data, seed=seed, **options)

    monkeypatch.setattr(crossfitting, "make", make)


def test_a_fold_that_fails_is_named_and_the_others_are_kept(fits, data, monkeypatch):
    whole = check(fits["posterior"], data, folds=3, num_draws=DRAWS)
    broken(monkeypatch, [1])
    found = check(fits["posterior"], data, folds=3, num_draws=DRAWS)
    (finding,) = (f for f in found.findings if f.code == "fold-failed")
    assert "fold 1 " in finding.text
    assert "no luck" in finding.text
    assert not found.ok
    kept = (whole.fold != 1).nonzero().flatten()
    assert torch.equal(found.rows, kept)
    assert same_scores(found.scores, whole.scores.subset(kept))
    torch.testing.assert_close(found.comparison.log_prob, whole.comparison.log_prob[kept])


def test_when_every_fold_fails_the_error_says_why(fits, data, monkeypatch):
    broken(monkeypatch, [0, 1, 2])
    with pytest.raises(RuntimeError, match="each of the 3 folds failed; .* ValueError: no luck"):
        check(fits["posterior"], data, folds=3, num_draws=DRAWS)


def test_a_rival_that_fails_costs_the_comparison_alone(fits, data, monkeypatch):
    broken(monkeypatch, [0, 1], strategy=SingleLevel)
    found = check(fits["posterior"], data, folds=2, num_draws=20)
    assert found.comparison is None
    assert "comparison-failed" in {f.code for f in found.findings}


def codes(found):
    return {f.code: f.severity for f in found.findings}


def test_a_training_that_failed_comes_first(fits, data, unseen):
    fit = replace(fits["posterior"], status=Status.DIVERGED)
    found = check(fit, *unseen, num_draws=20)
    assert codes(found)["training-failed"] == "warning"
    assert not found.ok
    assert str(found).index("training-failed") < str(found).index("theta_1")


def test_test_runs_that_the_fit_has_seen_are_noticed(fits, data, unseen):
    theta = torch.cat([unseen[0], data.theta(1)[:4]])
    x = torch.cat([unseen[1], data.x(1)[:4]])
    found = check(fits["posterior"], theta, x, data=data, num_draws=20)
    (finding,) = (f for f in found.findings if f.code == "test-runs-seen")
    assert finding.evidence["runs"] == 4
    clean = check(fits["posterior"], *unseen, data=data, num_draws=20)
    assert "test-runs-seen" not in codes(clean)


def test_other_runs_than_the_fits_are_noticed(fits, data):
    fewer = data.subset([None, torch.arange(10)])
    found = check(fits["posterior"], fewer, folds=2, num_draws=20, against=None)
    assert codes(found)["other-runs"] == "note"


def test_a_likelihood_that_is_too_narrow_is_noticed(fits, unseen):
    ranks = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = check(fits["posterior"], *unseen, num_draws=20).scores
    assert about_scores(replace(scores, predictive_hpd=ranks), num_draws=20) == []
    for squeezed, word in ((ranks.sqrt(), "narrow"), (ranks.square(), "wide")):
        (finding,) = about_scores(replace(scores, predictive_hpd=squeezed), num_draws=20)
        assert finding.code == "likelihood-width"
        assert word in finding.text
    few = replace(scores, predictive_hpd=ranks[:10].sqrt())
    assert about_scores(few, num_draws=20) == []


def test_runs_without_density_are_counted(fits, unseen):
    scores = check(fits["posterior"], *unseen, num_draws=20).scores
    assert about_scores(scores, num_draws=20) == []
    log_prob = scores.posterior_log_prob.clone()
    log_prob[[2, 5]] = -math.inf
    (finding,) = about_scores(replace(scores, posterior_log_prob=log_prob), num_draws=20)
    assert finding.evidence["runs"] == 2


def test_draws_that_are_worth_little_are_counted(fits, unseen):
    scores = check(fits["posterior"], *unseen, num_draws=20).scores
    effective = torch.full((30,), 500.0, dtype=torch.float64)
    assert about_scores(replace(scores, effective=effective), num_draws=500) == []
    effective[:3] = 12.0
    (finding,) = about_scores(replace(scores, effective=effective), num_draws=500)
    assert (finding.code, finding.severity) == ("few-draws", "note")
    assert finding.evidence["runs"] == 3


# An observation


@pytest.mark.parametrize("kind", MAKE)
def test_an_observation_is_looked_at_too(kind, fits, unseen):
    theta, x = unseen
    found = check(fits[kind], theta, x, x_o=x[0].numpy(), num_draws=DRAWS)
    assert found.observation is not None
    assert found.local.num_runs == 30
    assert 0 < found.local.p_value <= 1
    assert ("wrong-at-x_o" in codes(found)) == (found.local.p_value < 0.01)
    again = check(fits[kind], theta, x, x_o=x[:1], num_draws=DRAWS)
    assert again.local == found.local
    assert "two-sample test" in str(found)
    few = check(fits[kind], theta[:19], x[:19], x_o=x[0], num_draws=DRAWS)
    assert few.local is None


def test_an_observation_in_cross_fitting(tmp_path):
    data = linear_data((30, 24))
    fit = fitted(data=data, training=tiny(max_steps=5))
    options = {"folds": 2, "num_draws": 20, "against": None, "x_o": data.x(1)[3]}
    found = check(fit, data, **options)
    assert found.local.num_runs == 24
    with ThreadPoolExecutor(2) as pool:
        assert check(fit, data, executor=pool, **options).local == found.local
    found.save(tmp_path / "check.json")
    again = Check.load(tmp_path / "check.json")
    assert again.local == found.local
    assert str(again) == str(found)


def test_a_posterior_that_is_wrong_at_the_observation_is_said_to_be():
    generator = torch.Generator().manual_seed(0)
    theta, noise = (torch.randn(200, 2, generator=generator) for _ in range(2))
    draws = torch.randn(200, 200, 2, generator=generator)
    centre = theta + 0.3 * noise
    right = lc2st(theta, centre + 0.3 * draws, draws[:, 0] * 0.3, seed=0)
    wrong = lc2st(theta, centre + 0.1 * draws, draws[:, 0] * 0.1, seed=0)
    assert about_local(right) == about_local(None) == []
    (finding,) = about_local(wrong)
    assert finding.severity == "warning"


# A fit that was widened


def test_the_fits_of_the_folds_are_widened_alike(fits, data, crossed):
    scale = Calibration((1.5, 1.5), "scale", 12, "cross-fitting")
    wider = calibrated_like(scale, fits["posterior"])
    rows = data.theta(1), data.x(1)
    assert not torch.equal(wider.log_prob(*rows), fits["posterior"].log_prob(*rows))
    found = check(wider, data, folds=3, num_draws=DRAWS, seed=1)
    assert codes(found)["calibrated"] == "note"
    assert found.coverage.bias > crossed["posterior"].coverage.bias
    rival = found.comparison.log_prob  # is not
    assert torch.equal(rival, crossed["posterior"].comparison.log_prob)


# Reading and writing


@pytest.mark.parametrize("kind", MAKE)
def test_a_check_is_saved_and_loaded(kind, crossed, tmp_path):
    found = crossed[kind]
    path = tmp_path / "deep" / "check.json"
    found.save(path)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    again = Check.load(path)
    assert repr(again.to_dict()) == repr(found.to_dict())
    assert str(again) == str(found)
    assert same_scores(again.scores, found.scores)
    assert (again.nlpd, again.verdicts) == (found.nlpd, found.verdicts)
    with pytest.raises(ValueError, match="overwrite=True"):
        found.save(path)
    found.save(str(path), overwrite=True)


def test_numbers_that_are_not_finite_come_back(crossed, tmp_path):
    found = crossed["posterior"]
    nlpd = replace(found.nlpd, mean=math.inf, standard_error=math.nan)
    replace(found, nlpd=nlpd).save(tmp_path / "check.json")
    again = Check.load(tmp_path / "check.json").nlpd
    assert again.mean == math.inf
    assert math.isnan(again.standard_error)


def test_files_that_are_no_checks_are_refused(crossed, tmp_path):
    path = tmp_path / "check.json"
    with pytest.raises(ValueError, match="no check can be read"):
        Check.load(path)
    for text in ("", "[]", "{}", '{"format": 9}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"no check can be read|must be a check of format"):
            Check.load(path)
    record = crossed["posterior"].to_dict()
    del record["verdicts"]
    with pytest.raises(ValueError, match=r"record is damaged.*verdicts"):
        Check.from_dict(record)
    with pytest.raises(TypeError, match="path must be"):
        Check.load(3)


@pytest.mark.parametrize("kind", MAKE)
def test_the_page(kind, crossed):
    found = crossed[kind]
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100
    assert f"{kind} fit by Transfer" in text
    assert "12 runs of level 1, each judged by a fit without it (3 folds)" in text
    for verdict in found.verdicts:
        assert verdict.name in text
        assert verdict.state.value in text
    assert f"{found.nlpd.mean:.2f}" in text
    assert "SingleLevel" in text
    assert kind in repr(found)


def test_warnings_come_first_those_of_the_observation_too(crossed):
    odd = Finding("outputs-outside", "warning", "output 3 is 6 sd off " * 9, "Look at it.")
    note = Finding("other-runs", "note", "n differs")
    looked = ObservationCheck((odd,), ("of 12 runs",), Table("", ()), {}, None, (), 0.0)
    found = replace(crossed["posterior"], findings=(note,), observation=looked)
    text = str(found)
    places = [text.index(w) for w in ("WARNING (outputs-outside)", "-> Look", "Note (", "theta_1")]
    assert places == sorted(places)
    assert "see above. of 12 runs" in text
    assert max(map(len, text.splitlines())) <= 100
    assert found.warnings == (odd,)
    assert not found.ok


def test_it_says_what_it_will_take_only_when_asked(fits, data, capfd, caplog):
    fit = replace(fits["posterior"], seconds=100.0)
    with caplog.at_level(logging.INFO, logger="mlsbi"):
        check(fit, data, folds=2, num_draws=20)
    assert capfd.readouterr() == ("", "")
    words = "2 + 2 fits of at most about 100 s, one after another: at most about 7 min"
    assert words in caplog.text
    check(fit, data, folds=2, num_draws=20, progress=True, against=None)
    out, err = capfd.readouterr()
    assert out == ""
    assert "2 fits of at most about 100 s" in err


# Arguments

OTHER = linear_data((20, 10), event=(4,))
NAN = torch.full((30, 3), torch.nan)
CROSS = {"data_or_theta": linear_data((80, 12)), "x_test": None}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"fit": "fit"}, TypeError, "fit must be PosteriorFit or LikelihoodFit; got str"),
        ({"x_test": None}, TypeError, "data_or_theta must be MultilevelData where x_test"),
        ({"data_or_theta": OTHER}, TypeError, "data_or_theta must be parameters"),
        ({"data_or_theta": OTHER, "x_test": None}, ValueError, r"data must have x of event shape"),
        ({"data_or_theta": torch.zeros(30, 3)}, ValueError, r"theta_test must have shape \(n, 2\)"),
        ({"data_or_theta": torch.full((30, 2), 9.0)}, ValueError, "theta_test must lie in the"),
        ({"x_test": torch.zeros(29, 3)}, ValueError, r"x_test must have shape \(30, 3\)"),
        ({"x_test": NAN}, ValueError, "x_test must be finite; got NaN"),
        (
            {"data_or_theta": torch.zeros(1, 2), "x_test": torch.zeros(1, 3)},
            ValueError,
            "theta_test must hold at least 2 runs; got 1",
        ),
        ({"data": OTHER}, ValueError, "data must have x of event shape"),
        ({"against": Transfer()}, TypeError, "against must be a fit where x_test is given"),
        ({"against": 3}, TypeError, "against must be PosteriorFit or LikelihoodFit"),
        ({"labels": ["a"]}, ValueError, "labels must hold 2 different names"),
        ({"labels": ["a", "a"]}, ValueError, "labels must hold 2 different names"),
        ({"labels": ["a", "joint"]}, ValueError, "none of them 'joint'"),
        ({"labels": "ab"}, TypeError, "labels must be a sequence of names; got str"),
        ({"x_o": torch.zeros(2, 3)}, ValueError, r"x_o must have shape \(3,\), one observation"),
        ({"x_o": NAN[0]}, ValueError, "x_o must be finite"),
        ({"num_draws": 19}, ValueError, "num_draws must be at least 20"),
        ({"seed": -1}, ValueError, "seed must lie in"),
        (CROSS | {"folds": 1}, ValueError, "folds must be at least 2"),
        ({"executor": 0}, ValueError, "executor must be at least 1"),
        (CROSS | {"executor": "two"}, TypeError, "executor must be None"),
        (CROSS | {"progress": 1}, TypeError, "progress must be bool"),
        (CROSS | {"against": "single"}, TypeError, "against must be Strategy; got str"),
        (CROSS | {"against": SingleLevel(level=5)}, ValueError, "level must be one of the data's"),
        (CROSS | {"data": OTHER}, ValueError, "data must be left out in cross-fitting"),
        (
            CROSS | {"data_or_theta": linear_data((20, 1))},
            ValueError,
            "at least 2 rows of different theta",
        ),
    ],
)
def test_bad_input(change, error, words, fits, unseen):
    arguments = {"fit": fits["posterior"], "data_or_theta": unseen[0], "x_test": unseen[1]}
    arguments |= change
    fit, first, second = (arguments.pop(n) for n in ("fit", "data_or_theta", "x_test"))
    with pytest.raises(error, match=words):
        check(fit, first, second, **arguments)
