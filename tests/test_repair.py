"""mlsbi.calibrate: factors found from unseen runs, and what is done with them."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Chi2, Independent, Normal

from mlsbi import (
    History,
    LikelihoodFit,
    MultilevelData,
    PosteriorFit,
    SingleLevel,
    Status,
    Training,
    fit_posterior,
    load_fit,
)
from mlsbi.calibration import Calibration
from mlsbi.checking.check import check
from mlsbi.checking.factors import at_factor, factor_of, relative_factors
from mlsbi.checking.repair import calibrate
from mlsbi.checking.scaled import FACTORS
from mlsbi.checking.scores import score_runs
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Standardise
from mlsbi.prior import as_prior
from tiny import linear_data, tiny

D = 2
LOG_FACTORS = torch.tensor(FACTORS, dtype=torch.float64).log()


class Gaussian(ConditionalDensity):
    """N(slope c, (width sd)^2): exact where the width is 1."""

    def __init__(self, slope: float, sd: float, width: Tensor, *, centred: bool = True) -> None:
        super().__init__()
        self.members, self.slope, self.centred = 1, slope, centred
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.normal = Normal(0.0, sd * width)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        return self.normal.log_prob(value - self.slope * context).sum(-1)

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        noise = torch.randn(context.shape, generator=generator)
        return self.slope * context + self.normal.scale * noise

    def centre(self, context: Tensor) -> Tensor:
        return self.slope * context

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        if not self.centred:
            return super().moments(context)
        return self.centre(context), self.normal.scale.expand_as(context)


def gaussian_fit(width=1.0, *, kind: str = "posterior", centred: bool = True, d: int = D):
    """Of theta ~ N(0, 1), x ~ N(theta, 0.1^2), so theta | x ~ N(0.99 x, 0.099^2), at some width."""
    widths = torch.as_tensor(width).float().expand(d)
    posterior = kind == "posterior"
    slope, sd = (1 / 1.01, 0.1 / 1.01**0.5) if posterior else (1.0, 0.1)
    plain = [Standardise(torch.zeros(d), torch.ones(d), torch.zeros(d).bool()) for _ in range(2)]
    density = Gaussian(slope, sd, widths, centred=centred)
    return (PosteriorFit if posterior else LikelihoodFit)(
        estimator=Estimator(density, *plain).eval(),
        blueprint=Blueprint("mdn", kind, 1, d, (d,)),
        prior=as_prior(Independent(Normal(torch.zeros(d), torch.ones(d)), 1)),
        event_shape=(d,),
        strategy=SingleLevel(),
        training=Training(),
        status=Status.CONVERGED,
        history=History(()),
        n=(100,),
        cost=None,
        seed=0,
    )


def runs(n: int, *, seed: int = 1, d: int = D) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(n, d, generator=generator)
    return theta, theta + 0.1 * torch.randn(n, d, generator=generator)


def gaussian_scores(n: int, factor: float, *, seed: int, d: int = D) -> tuple[Tensor, Tensor]:
    """Log densities and credibilities of n runs of a Gaussian that should be `factor` wider."""
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    squares = (factor * z).square().sum(1, keepdim=True) / (2 * LOG_FACTORS).exp()
    return -0.5 * squares - d * LOG_FACTORS, Chi2(torch.tensor(float(d))).cdf(squares)


# --- the factor -------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("n", [20, 400])
@pytest.mark.parametrize("method", ["score", "coverage"])
def test_the_factor_of_gaussians_is_found(method, n, factor):
    replications = 60
    found = torch.tensor(
        [
            factor_of(*gaussian_scores(n, factor, seed=s), D, method=method)
            for s in range(replications)
        ]
    ).log()
    information = 2 * n * D
    drawn = 1 / (1 + (1 if method == "score" else 4) / information)  # towards one, by the prior
    off = float(found.mean()) - drawn * math.log(factor)
    # half a percent for the curve between two factors; and few runs have a bias of their own
    assert abs(off) <= 4.5 * float(found.std()) / replications**0.5 + 0.005 + 0.5 / n
    # as sharp as the theory says: the log score has the information, the mean rank 3/4 of it
    assert 0.7 < float(found.std()) / drawn * information**0.5 < 1.5


def test_few_runs_draw_the_factor_towards_one():
    log_prob, hpd = gaussian_scores(10, 3.0, seed=4)
    found = [
        factor_of(log_prob.repeat(k, 1), hpd.repeat(k, 1), D, method="score") for k in (1, 5, 50)
    ]
    assert 1 < found[0] < found[1] < found[2]
    assert found[0] > 0.9 * found[2]


def test_a_run_far_off_counts_as_any_other_for_coverage():
    log_prob, hpd = gaussian_scores(20, 1.0, seed=5)
    far = 40 / (2 * LOG_FACTORS).exp()[None]  # 9 widths off
    with_it = torch.cat([log_prob, -far - D * LOG_FACTORS])
    ranks = torch.cat([hpd, 1 - (-far).exp()])
    score, coverage = (factor_of(with_it, ranks, D, method=m) for m in ("score", "coverage"))
    calm = factor_of(log_prob, hpd, D, method="coverage")
    assert calm < coverage < 1.15 * calm < 1.3 * calm < score


@pytest.mark.parametrize("n", [15, 60])
@pytest.mark.parametrize("factor", [0.6, 1.0, 2.0])
def test_the_conformal_factor_holds_new_runs_as_often_as_promised(factor, n):
    credibility, replications = 0.9, 200
    held = []
    for seed in range(replications):
        scores = gaussian_scores(n, factor, seed=seed)
        found = factor_of(*scores, D, method="conformal", credibility=credibility)
        # the region's radius in the density's own widths: chi-square_2 at 0.9, times the factor
        square = -2 * math.log(1 - credibility) * (found / factor) ** 2
        held.append(1 - math.exp(-square / 2))
    held = torch.tensor(held)
    promised = math.ceil((n + 1) * credibility) / (n + 1)
    error = float(held.std()) / replications**0.5
    assert promised >= credibility
    assert float(held.mean()) == pytest.approx(promised, abs=4.5 * error + 0.005)
    unwidened = 1 - (1 - credibility) ** (1 / factor**2)
    assert (abs(unwidened - promised) > 4.5 * error + 0.005) == (factor != 1.0 or n == 15)


def test_a_conformal_factor_takes_enough_runs_and_runs_within_reach():
    with pytest.raises(ValueError, match=r"at least 9 runs by method='conformal'; got 8"):
        factor_of(*gaussian_scores(8, 1.0, seed=0), D, method="conformal", credibility=0.9)
    factor_of(*gaussian_scores(9, 1.0, seed=0), D, method="conformal", credibility=0.9)
    with pytest.raises(
        ValueError, match=r"more than 8 times as wide.*wrong rather than too narrow"
    ):
        factor_of(*gaussian_scores(50, 40.0, seed=0), D, method="conformal", credibility=0.9)


def test_scores_between_factors_are_between():
    scores = LOG_FACTORS.expand(3, -1)
    for factor in (FACTORS[0], 0.77, 1.0, 3.3, FACTORS[-1]):
        torch.testing.assert_close(
            at_factor(scores, factor), torch.full((3,), math.log(factor), dtype=torch.float64)
        )


def test_relative_factors_of_parameters():
    n = 400
    z = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rank = torch.special.ndtr(z * torch.tensor([2.0, 1.0, 1.0]))
    found = relative_factors(rank)
    assert float(found.square().mean()) == pytest.approx(1.0)
    expected = torch.tensor([2.0, 1.0, 1.0]) / 2**0.5
    assert (found / expected).log().abs().max() < 4.5 * (2 * n) ** -0.5
    same = relative_factors(torch.special.ndtr(z))
    assert same.log().abs().max() < 4.5 * (2 * n) ** -0.5
    assert (found.log() - same.log()).abs().max() > 4.5 * (2 * n) ** -0.5


# --- scores under wider densities --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_scores_under_wider_densities_are_those_of_wider_fits(kind):
    fit = gaussian_fit(0.6, kind=kind)
    theta, x = runs(40)
    scores = score_runs(fit, theta, x, num_draws=50, seed=3)
    for column in (0, 8, 19):
        scale = FACTORS[column]
        wider = replace(fit, estimator=fit.estimator.with_widening(scale))
        own = score_runs(wider, theta, x, num_draws=50, seed=3)
        torch.testing.assert_close(
            scores.scaled_log_prob[:, column], own.log_prob, rtol=1e-4, atol=1e-4
        )
        rank = own.hpd if kind == "posterior" else own.predictive_hpd
        # the same draws, scaled: only where a run falls in its step is drawn anew
        assert (scores.scaled_hpd[:, column] - rank).abs().max() < 1.5 / 51


def test_scores_of_a_trained_fit_are_those_of_wider_fits():
    data = linear_data((30,))
    fit = fit_posterior(data, strategy=SingleLevel(), seed=1, training=tiny(), ensemble=2)
    theta, x = data.theta(0), data.x(0)
    found = score_runs(fit, theta, x, num_draws=20, seed=3).scaled_log_prob
    for column in (0, 8, 32):
        wider = replace(fit, estimator=fit.estimator.with_widening(FACTORS[column]))
        expected = wider.log_prob(theta, x).double()
        torch.testing.assert_close(found[:, column], expected, rtol=1e-4, atol=1e-4)


# --- fits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_an_over_confident_fit_is_widened_to_the_right_width(kind):
    n = 200
    fit = gaussian_fit(0.5, kind=kind)
    before = fit.sample(1000, seed=1, **_given(kind))
    made = calibrate(fit, check(fit, *runs(n), num_draws=100))
    error = (2 * n * D) ** -0.5
    assert math.log(made.calibration.factor / 2) == pytest.approx(0.0, abs=4.5 * error)
    expected = torch.tensor(made.calibration.scale, dtype=torch.float64)
    assert torch.equal(made.estimator.widening, expected)
    sd = 0.1 / (1.01**0.5 if kind == "posterior" else 1.0)
    draws = made.sample(4000, seed=1, **_given(kind))
    torch.testing.assert_close(draws.std(0), torch.full((D,), sd), rtol=0.15, atol=0)
    # new runs: what was claimed comes true
    theta, x = runs(2000, seed=7)
    gain = made.log_prob(theta, x) - fit.log_prob(theta, x)
    assert float(gain.mean()) > 4.5 * float(gain.std()) / 2000**0.5
    evidence = made.calibration.evidence
    assert float(gain.mean()) == pytest.approx(evidence["gain"], abs=4.5 * evidence["gain_error"])
    assert evidence["coverage_error_after"] < 0.05 < 0.15 < evidence["coverage_error_before"]
    assert evidence["nlpd_before"] - evidence["nlpd_after"] == pytest.approx(evidence["gain"])
    # the fit that came in is as it was, and shares its network
    assert fit.calibration is None
    assert torch.equal(fit.sample(1000, seed=1, **_given(kind)), before)
    assert made.estimator.density is fit.estimator.density
    assert (made.status, made.history, made.seed) == (fit.status, fit.history, fit.seed)


def test_a_fit_with_scales_of_its_own_keeps_them():
    fit = gaussian_fit()
    scale = torch.tensor([0.4, 0.6])
    narrow = replace(fit, estimator=fit.estimator.with_scale(scale))
    made = calibrate(narrow, check(narrow, *runs(200), num_draws=100))
    assert 1.6 < made.calibration.factor < 2.6
    assert torch.equal(made.estimator.scale, scale.double())
    draws = made.sample(4000, x=torch.zeros(D), seed=1)
    expected = made.calibration.factor * scale * 0.1 / 1.01**0.5
    torch.testing.assert_close(draws.std(0), expected, rtol=0.06, atol=0)


def _given(kind: str) -> dict[str, Tensor]:
    return {"x": torch.zeros(D)} if kind == "posterior" else {"theta": torch.zeros(D)}


def test_a_fit_that_is_too_wide_is_narrowed_only_when_asked():
    fit = gaussian_fit(2.0)
    judged = check(fit, *runs(200), num_draws=100)
    left = calibrate(fit, judged)
    assert left.calibration.scale == (1.0, 1.0)
    assert "left as it was" in str(left.calibration)
    assert "ask for a factor of 0.5" in str(left.calibration)
    x = torch.zeros(1, D)
    assert torch.equal(left.log_prob(x, x), fit.log_prob(x, x))
    made = calibrate(fit, judged, narrow=True)
    assert math.log(2 * made.calibration.factor) == pytest.approx(0.0, abs=4.5 * 800**-0.5)
    assert "narrowed" in str(made.calibration)
    assert made.calibration.evidence["gain"] > 0 == left.calibration.evidence["gain"]


def test_a_healthy_fit_is_changed_by_no_more_than_noise():
    fit = gaussian_fit()
    for seed in range(5):
        made = calibrate(fit, check(fit, *runs(60, seed=seed), num_draws=100), narrow=True)
        assert abs(math.log(made.calibration.factor)) < 4.5 * (2 * 60 * D) ** -0.5


@pytest.mark.parametrize("method", ["coverage", "conformal"])
def test_other_ways_to_find_the_factor(method):
    fit = gaussian_fit(0.5)
    made = calibrate(fit, check(fit, *runs(200), num_draws=100), method=method, credibility=0.8)
    assert made.calibration.method == method
    assert 1.6 < made.calibration.factor < 2.5
    assert f"method {method!r}" in str(made.calibration)


def test_one_parameter_s_width_can_be_repaired_alone():
    fit = gaussian_fit(torch.tensor([0.4, 1.0]))
    judged = check(fit, *runs(300), num_draws=200)
    both = calibrate(fit, judged).calibration
    made = calibrate(fit, judged, per_parameter=True)
    assert both.scale[0] == both.scale[1] > 1.2
    first, second = made.calibration.scale
    assert first == pytest.approx(2.5, rel=0.15)
    assert 1.0 <= second < 1.15
    theta, x = runs(2000, seed=8)
    gain = made.log_prob(theta, x) - calibrate(fit, judged).log_prob(theta, x)
    assert float(gain.mean()) > 4.5 * float(gain.std()) / 2000**0.5


def test_the_record_is_printed_saved_loaded_and_pickled(tmp_path):
    data = linear_data((24,))
    fit = fit_posterior(data, strategy=SingleLevel(), seed=1, training=tiny(), ensemble=2)
    judged = check(fit, *_unseen(), num_draws=40)
    made = calibrate(fit, judged, narrow=True, per_parameter=True, seed=5)
    assert "Calibration(scale=(" in repr(made)
    made.save(tmp_path / "fit")
    loaded = load_fit(tmp_path / "fit")
    assert loaded.calibration == made.calibration
    assert loaded.calibration.seed == 5
    assert dict(loaded.calibration.evidence) == dict(made.calibration.evidence)
    theta, x = _unseen()
    assert torch.equal(loaded.log_prob(theta, x), made.log_prob(theta, x))
    assert torch.equal(loaded.sample(9, x=x[0], seed=1), made.sample(9, x=x[0], seed=1))
    assert pickle.loads(pickle.dumps(made.calibration)) == made.calibration
    fit.save(tmp_path / "plain")
    assert load_fit(tmp_path / "plain").calibration is None


def _unseen(n: int = 30) -> tuple[Tensor, Tensor]:
    fresh = linear_data((n,), seed=9)
    return fresh.theta(0), fresh.x(0)


@pytest.mark.slow
def test_a_fit_trained_too_long_is_repaired_by_cross_fitting():
    data = linear_data((40,), seed=5)
    training = Training(max_steps=100, validation_fraction=None, learning_rate=3e-3)
    fit = fit_posterior(data, strategy=SingleLevel(), seed=1, training=training, ensemble=2)
    made = calibrate(fit, data, seed=2)
    assert made.calibration.source == "cross-fitting"
    assert made.calibration.runs == 40
    assert made.calibration.factor > 1.2
    theta, x = _unseen(2000)
    gain = made.log_prob(theta, x) - fit.log_prob(theta, x)
    assert float(gain.mean()) > 4.5 * float(gain.std()) / 2000**0.5
    before, after = (check(f, theta[:400], x[:400], num_draws=100).coverage for f in (fit, made))
    assert after.error < 0.7 * before.error


# --- what is refused --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    return check(gaussian_fit(0.5), *runs(20), num_draws=40)


def test_a_fit_is_calibrated_once(judged):
    made = calibrate(gaussian_fit(0.5), judged)
    with pytest.raises(ValueError, match=r"fit must be as it was trained.*Calibration\(scale="):
        calibrate(made, judged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "Transfer"}, "check must be of this fit, a posterior fit by SingleLevel"),
        ({"kind": "likelihood"}, "got one of a likelihood fit"),
        ({"level": 1}, "levels 0 to 1"),
    ],
)
def test_a_check_of_another_fit_is_refused(judged, change, message):
    with pytest.raises(ValueError, match=message):
        calibrate(gaussian_fit(0.5), replace(judged, **change))


def test_too_few_runs_are_refused():
    fit = gaussian_fit(0.5)
    few = check(fit, *runs(4), num_draws=40)
    with pytest.raises(ValueError, match="at least 5 runs to calibrate by; got 4"):
        calibrate(fit, few)


def test_a_density_of_unknown_width_is_refused():
    fit = gaussian_fit(0.5, centred=False)
    bare = check(fit, *runs(20), num_draws=40)
    assert bare.scores.scaled_hpd is None
    with pytest.raises(ValueError, match="no scores under wider densities.*'mdn'"):
        calibrate(fit, bare)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "temperature"}, ValueError, "method must be one of"),
        ({"credibility": 1.0}, ValueError, "credibility must lie strictly between 0 and 1"),
        ({"narrow": 1}, TypeError, "narrow"),
        ({"per_parameter": "yes"}, TypeError, "per_parameter"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_wrong_options_are_named(judged, options, error, message):
    with pytest.raises(error, match=message):
        calibrate(gaussian_fit(0.5), judged, **options)


def test_wrong_arguments_are_named(judged):
    with pytest.raises(TypeError, match="fit must be"):
        calibrate("fit", judged)
    with pytest.raises(TypeError, match="check must be"):
        calibrate(gaussian_fit(), [0.1, 0.2])
    with pytest.raises(ValueError, match="per_parameter must be False for a likelihood fit"):
        calibrate(gaussian_fit(kind="likelihood"), judged, per_parameter=True)
    assert isinstance(judged.scores.scaled_hpd, Tensor)
    assert not isinstance(judged, MultilevelData | Calibration)
