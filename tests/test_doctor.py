"""The doctor names what is wrong with sick hierarchies, and finds nothing wrong with healthy ones.

Rates with 64 columns are in docs/doctor.md.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

import mlsbi
from mlsbi import Hierarchy, Level
from mlsbi.planning._evidence import link_noise, view_level
from mlsbi.planning._finding import names, percent
from mlsbi.planning.columns import Columns, run_columns
from mlsbi.planning.doctor import Diagnosis, Finding, Verdict, diagnose
from mlsbi.planning.explained import PairGain
from sick_hierarchies import HEALTHY, SICK, Case, batched, coarse, fine, own_noise, pure_noise

SEEDS = 5
FALSE_ALARMS = 0.02


@cache
def columns_of(build: Any, seed: int, n: int = 64) -> Columns:
    return run_columns(build(), n, seed=seed)


def pilot(*simulators: Any, n: int = 64, seed: int = 0) -> Columns:
    return run_columns(batched(*simulators), n, seed=seed)


def wrong_with(case: Case, seed: int) -> str:
    """What the doctor got wrong; empty if nothing."""
    hierarchy = case.build()
    found = diagnose(columns_of(case.build, seed), hierarchy.costs)
    seen = {(f.code, f.level) for f in found.findings if f.severity != "note"}
    faults = {f.code for f in found.findings if f.severity == "fault"}
    spurious = faults and not case.codes
    if found.verdict.name != case.verdict or not set(case.codes) <= seen or spurious:
        return f"seed {seed}: {found}"
    return ""


@pytest.mark.parametrize("name", SICK)
def test_sick(name):
    assert [wrong_with(SICK[name], seed) for seed in range(SEEDS)] == [""] * SEEDS


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy(name):
    assert [wrong_with(HEALTHY[name], seed) for seed in range(SEEDS)] == [""] * SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SICK, *HEALTHY])
def test_whole_pilots(name):
    """With what a pilot predicts besides: the factor and the gains of held-out fits."""
    case = (SICK | HEALTHY)[name]
    found = mlsbi.pilot(case.build(), 64, seed=11).diagnosis
    assert found.verdict.name == case.verdict, str(found)
    assert set(case.codes) <= {(f.code, f.level) for f in found.findings}, str(found)


@pytest.mark.slow
def test_false_alarms_are_rare():
    wrong = [wrong_with(case, 100 + seed) for case in HEALTHY.values() for seed in range(25)]
    found = [message for message in wrong if message]
    assert len(found) <= FALSE_ALARMS * len(wrong), "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_test_of_shared_noise_is_exact(seed):
    """P-values of independent noise are uniform: the share below a tenth is a tenth."""
    columns = [pilot(own_noise, fine, seed=1000 * seed + i) for i in range(150)]
    links = [link_noise(view_level(c, 0), view_level(c, 1), c.twins) for c in columns]
    for values in ([x.p for x in links], [x.p_any for x in links]):
        share = sum(p <= 0.1 for p in values) / len(values)
        assert abs(share - 0.1) < 3 * (0.09 / len(values)) ** 0.5


def test_the_correlation_of_noise_is_measured():
    """x_0 shares part of its noise: rho = 0.6 by construction, whatever theta does."""

    def partly(theta, u):
        return coarse(theta, {"e": 0.6 * u["e"] + 0.8 * u["other"]})

    links = []
    for seed in range(20):
        columns = pilot(partly, fine, seed=seed)
        links.append(link_noise(view_level(columns, 0), view_level(columns, 1), columns.twins))
    mean = torch.tensor([x.correlation for x in links]).mean()
    spread = torch.tensor([x.correlation for x in links]).std()
    assert abs(mean - 0.6) < 4 * spread / len(links) ** 0.5 + 0.02
    assert 0.5 < torch.tensor([x.error for x in links]).mean() / spread < 2


def test_a_shared_response_is_no_shared_noise():
    """Negative control: x of both levels correlate, as theta is the same; the noises do not."""
    columns = pilot(own_noise, fine)
    both = torch.stack([x[:, 0] for x in columns.x])
    assert torch.corrcoef(both)[0, 1] > 0.5
    assert diagnose(columns, [1, 30]).verdict is Verdict.NOT_COUPLED


@pytest.mark.parametrize(
    ("factor", "cost_factor", "verdict"),
    [
        (3.0, 2.0, Verdict.HELPS),
        (1.5, 1.0, Verdict.NO_GAIN),
        (1.0, None, Verdict.NO_GAIN),
        (4.0, None, Verdict.HELPS),
    ],
)
def test_predictions_decide_where_nothing_is_wrong(factor, cost_factor, verdict):
    columns = columns_of(HEALTHY["sign turned"].build, 0)
    found = diagnose(columns, [1, 30], factor=factor, cost_factor=cost_factor)
    assert found.verdict is verdict
    shown = f"about {cost_factor or factor:.2g}" in str(found).splitlines()[0]
    assert shown == (verdict is Verdict.HELPS)
    assert ("small-gain" in found.codes()) == (verdict is Verdict.NO_GAIN)


def test_a_prediction_does_not_excuse_pairs_that_are_not_coupled():
    columns = columns_of(SICK["next seed"].build, 0)
    found = diagnose(columns, [1, 30], factor=5.0, cost_factor=4.0)
    assert found.verdict is Verdict.NOT_COUPLED
    assert "expected factor" not in str(found)


def test_a_prediction_stands_for_levels_of_other_shapes():
    columns = columns_of(SICK["another grid"].build, 0)
    assert diagnose(columns, [1, 30], factor=2.0, cost_factor=1.8).verdict is Verdict.HELPS


def gain(nats: float, information: float) -> PairGain:
    return PairGain(1, 0, nats, 0.05, information, 0.5, 0.5)


def test_held_out_gains_speak_for_a_level_that_shows_nothing_else():
    columns = pilot(pure_noise, fine)
    nothing = diagnose(columns, [1, 30], gains=[gain(0.02, 0.0)])
    something = diagnose(columns, [1, 30], gains=[gain(0.5, 0.0)])
    assert "no-information" in nothing.codes()
    assert "no-information" not in something.codes()


@pytest.mark.parametrize(("n", "code"), [(16, "unclear-coupling"), (24, "unclear-coupling")])
def test_few_twins_give_no_fault(n, code):
    found = diagnose(pilot(own_noise, fine, n=n), [1, 30])
    assert code in found.codes("warning")
    assert found.verdict is Verdict.UNCLEAR


def test_few_twins_show_a_strong_link():
    for seed in range(5):
        assert diagnose(pilot(coarse, fine, n=24, seed=seed), [1, 30]).verdict is Verdict.HELPS


def test_a_little_noise_of_its_own_is_a_warning():
    """As of a GPU: a level that is coupled all the same."""
    generator = torch.Generator().manual_seed(0)

    def shaky(theta, u):
        return coarse(theta, u) + 0.01 * torch.randn(len(theta), 4, generator=generator)

    found = diagnose(pilot(shaky, fine), [1, 30])
    assert found.verdict is Verdict.HELPS
    assert found.codes("warning") == ("not-reproducible",)


def test_rounding_is_no_noise():
    generator = torch.Generator().manual_seed(0)

    def rounded(theta, u):
        return coarse(theta, u) + 1e-5 * torch.randn(len(theta), 4, generator=generator)

    assert diagnose(pilot(rounded, fine), [1, 30]).healthy


def test_outputs_far_from_zero_are_seen_through_their_rounding():
    def far(simulator):
        return lambda theta, u: 1e5 + simulator(theta, u)

    assert diagnose(pilot(far(coarse), far(fine)), [1, 30]).healthy


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_do_not_matter(scale):
    def scaled(simulator):
        return lambda theta, u: scale * simulator(theta, u)

    for low, code in ((coarse, "noise-correlation"), (own_noise, "other-order")):
        found = diagnose(pilot(scaled(low), scaled(fine)), [1, 30])
        assert code in found.codes()


@pytest.mark.parametrize("event", [(1,), (39,), (200,), (32, 32)])
def test_events_of_any_shape(event):
    def run(own: str) -> Any:
        def simulator(theta, u):
            size = torch.tensor(event).prod()
            phase = torch.linspace(0, 3, size)
            x = theta[:, :1] * phase.sin() + theta[:, 1:] * phase.cos() + 0.3 * u[own]
            return x.reshape(len(theta), *event)

        return simulator

    def noise(n, generator):
        size = int(torch.tensor(event).prod())
        return {k: torch.randn(n, size, generator=generator) for k in ("e", "other")}

    def verdict(own: str) -> Verdict:
        levels = [Level(run(own), cost=1.0), Level(lambda t, u: run("e")(t, u) * 1.1, cost=9.0)]
        hierarchy = Hierarchy(HEALTHY["decay by row"].build().prior, levels, noise=noise)
        return diagnose(run_columns(hierarchy, 64, seed=3), hierarchy.costs).verdict

    assert verdict("e") is Verdict.HELPS
    assert verdict("other") is Verdict.NOT_COUPLED


@pytest.mark.parametrize(
    ("seconds", "severity"),
    [((1.0, 1.1), "warning"), ((1.1, 1.0), "warning"), ((2.0, 1.0), "fault")],
)
def test_measured_costs_have_a_margin(seconds, severity):
    columns = replace(columns_of(HEALTHY["sign turned"].build, 0), seconds=seconds)
    found = {f.code: f.severity for f in diagnose(columns, seconds).findings}
    assert found["wrong-order-cost"] == severity


def test_given_costs_have_none():
    columns = columns_of(HEALTHY["sign turned"].build, 0)
    assert "wrong-order-cost" not in diagnose(columns, [1.0, 1.1]).codes()
    assert "wrong-order-cost" in diagnose(columns, [1.0, 1.0]).codes("fault")


def test_a_level_that_hardly_ever_works():
    columns = columns_of(HEALTHY["sign turned"].build, 0)
    ok = columns.ok.clone()
    ok[0, 5:] = False
    x = (torch.where(ok[0, :, None], columns.x[0], torch.nan), columns.x[1])
    found = diagnose(replace(columns, ok=ok, x=x), [1, 30])
    assert found.verdict is Verdict.UNCLEAR
    assert found.codes("fault") == ("many-failures",)


def test_one_level_has_nothing_to_gain():
    found = diagnose(pilot_of_one(), [1.0])
    assert found.verdict is Verdict.NO_GAIN
    assert found.codes() == ("one-level",)


def pilot_of_one() -> Columns:
    return columns_of(HEALTHY["sign turned"].build, 0).subset([1])


def test_it_reads_well():
    found = diagnose(columns_of(SICK["next seed"].build, 0), [1, 30], factor=1.3)
    first, *rest = str(found).splitlines()
    assert first.startswith("Verdict: your pairs are not coupled")
    assert any(line.startswith("- fault (other-order): levels 0 and 1 ") for line in rest)
    assert any("Remedy: " in line and "default_rng(seed)" in line for line in rest)


def test_findings_are_ordered_and_become_json():
    found = diagnose(columns_of(SICK["one of two pairs"].build, 0), [1, 8, 30])
    order = [("fault", "warning", "note").index(f.severity) for f in found.findings]
    assert order == sorted(order)
    assert not found.healthy
    record = json.loads(json.dumps(found.to_dict()))
    assert record["verdict"] == "NOT_COUPLED"
    assert [Finding(**f) for f in record["findings"]] == list(found.findings)


def test_the_same_columns_give_the_same_diagnosis():
    columns = columns_of(HEALTHY["Ornstein-Uhlenbeck"].build, 0)
    before = torch.get_rng_state()
    first, again = diagnose(columns, [1, 10]), diagnose(columns, [1, 10])
    assert first == again
    assert isinstance(first, Diagnosis)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("costs", "options", "error", "match"),
    [
        ([1.0], {}, ValueError, "costs must have one entry a level, 2; got 1"),
        ([1.0, 0.0], {}, ValueError, r"costs\[1\] must be finite and positive"),
        ([1.0, None], {}, TypeError, r"costs\[1\] must be a number"),
        (3.0, {}, TypeError, "costs must be list or tuple"),
        ([1.0, 2.0], {"factor": -1.0}, ValueError, "factor must be finite"),
        ([1.0, 2.0], {"cost_factor": "2"}, TypeError, "cost_factor must be a number"),
    ],
)
def test_bad_input(costs, options, error, match):
    with pytest.raises(error, match=match):
        diagnose(columns_of(HEALTHY["sign turned"].build, 0), costs, **options)


def test_words():
    assert [percent(s) for s in (0, 0.123, 0.003, 1)] == ["0 %", "12 %", "0.3 %", "100 %"]
    assert names(range(8), most=3) == "0, 1, 2 and 5 more"
