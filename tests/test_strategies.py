"""Laws of the strategies, over a registry: what they agree on, what they minimise, how noisily."""

from __future__ import annotations

import math
import random
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linear_gaussian import D, Ladder, box_prior
from mlsbi import (
    MDN,
    Bridge,
    Emulator,
    Multilevel,
    MultilevelData,
    Pooled,
    SingleLevel,
    Stack,
    Training,
    Transfer,
    fit_likelihood,
    fit_posterior,
)
from mlsbi.batches import Batches, HeldOut
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.gradients import summed_gradient, term_gradients
from mlsbi.prepare import prepare, train_rows
from mlsbi.problem import Problem, Term
from mlsbi.strategies.multilevel import algorithm_1
from mlsbi.training import train
from quick import rough_processes
from tiny import problem_of_rows

KINDS = {"posterior": fit_posterior, "likelihood": fit_likelihood}
TRAINING = Training(max_steps=60, batch_size=16, evaluate_every=10, learning_rate=5e-3)
SMALL = MDN(components=2, hidden=(8,))

# Every switch of Multilevel and what it can be set to; standardise="array" is left out where one
# level must equal single-level training: it takes mean and deviation in place of the robust pair.
SWITCHES = {
    "rescale": (True, False),
    "project": (True, False),
    "start": ("auto", "fresh", "warm"),
    "held_out": ("high", "telescoped"),
    "standardise": ("auto", "pooled", "level"),
}
BRIDGE_SWITCHES = {
    "draws": ("both", "real", "emulated"),
    "compress": ("auto", True, False),
    "inflate": (True, False),
    "crossfit": (True, False),
    "clamp": (True, False),
    "correct": (False, True),
}
EMULATOR_SWITCHES = {name: BRIDGE_SWITCHES[name] for name in ("compress", "inflate", "crossfit")}
# as by default, of fewer draws: what it is made of, in less time
STACK = Stack(candidates=(Bridge(num_draws=100), Emulator(num_draws=100), SingleLevel()))
STRATEGIES = {
    "Multilevel()": Multilevel(),
    "Multilevel(plain sum)": Multilevel(rescale=False, project=False),
    "Transfer()": Transfer(),
    "Pooled()": Pooled(),
    "Bridge()": Bridge(),
    "Emulator()": Emulator(),
    "Stack()": Stack(),
    "Stack(of others)": Stack(candidates=(Multilevel(), Stack(candidates=(Transfer(), Bridge())))),
} | {
    f"{kind.__name__}({name}={value!r})": kind(**{name: value})
    for kind, switches in (
        (Multilevel, SWITCHES),
        (Bridge, BRIDGE_SWITCHES),
        (Emulator, EMULATOR_SWITCHES),
    )
    for name, values in switches.items()
    for value in values
}
# in the telescoping objective alone, whatever else the strategy may add around it
PLAIN = {"start": "fresh", "standardise": "pooled", "held_out": "telescoped"}


def fit(kind: str, data: MultilevelData, strategy, *, seed: int = 5, **options):
    options = {"estimator": SMALL, "ensemble": 2, "training": TRAINING} | options
    return KINDS[kind](data, seed=seed, strategy=strategy, **options)


def densities(fitted, data: MultilevelData) -> Tensor:
    top = data.num_levels - 1
    return fitted.log_prob(data.theta(top), data.x(top))


def one_level(n: int = 50) -> MultilevelData:
    return Ladder(levels=1).data((n,), seed=1, prior=box_prior())


def identical_levels() -> MultilevelData:
    """Three levels that are the same simulator."""
    return Ladder(gap=0.0, levels=3).data((60, 30, 20), seed=2)


@pytest.fixture
def quick(monkeypatch):
    rough_processes(monkeypatch)


@pytest.mark.parametrize(
    ("kind", "switches"),
    [(Multilevel, SWITCHES), (Bridge, BRIDGE_SWITCHES), (Emulator, EMULATOR_SWITCHES)],
)
def test_the_registry_has_every_switch(kind, switches):
    named = {f.name for f in fields(kind)} - {"training"}
    numbers = {n for n in named if type(getattr(kind(), n)) in (int, float)}
    assert named - numbers == set(switches)


# --- one level, and identical levels ----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_one_level_every_strategy_is_single_level_training(strategy, kind):
    data = one_level()
    expected = densities(fit(kind, data, SingleLevel()), data)
    assert torch.equal(densities(fit(kind, data, STRATEGIES[strategy]), data), expected)


@pytest.mark.parametrize("strategy", [Bridge(), Emulator(), Stack(), Multilevel(), Pooled()])
def test_with_one_level_it_is_so_with_the_default_options_of_each_too(strategy):
    data = one_level(20)
    options = {"training": None, "ensemble": 1}
    expected = densities(fit("posterior", data, SingleLevel(), **options), data)
    assert torch.equal(densities(fit("posterior", data, strategy, **options), data), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_with_one_level_the_papers_loop_is_single_level_training_in_it(kind):
    data = one_level()
    paper = replace(Multilevel.paper(epochs=30), standardise="pooled")
    single = SingleLevel(training=Training.paper(epochs=30))
    found = densities(fit(kind, data, paper), data)
    assert torch.equal(found, densities(fit(kind, data, single), data))


@pytest.mark.parametrize("embedding", [None, nn.Linear(D, 3)])
def test_with_one_level_other_densities_agree_too(embedding):
    data = one_level()
    options = {"estimator": "maf", "embedding_net": embedding}
    options["training"] = replace(TRAINING, max_steps=10, dropout=0.2)
    single = densities(fit("posterior", data, SingleLevel(), **options), data)
    for strategy in (Multilevel(), Transfer(), Pooled(), Bridge(), Emulator(), Stack()):
        found = densities(fit("posterior", data, strategy, **options), data)
        assert torch.equal(found, single)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statistics", ["pooled", "level", "array"])
def test_identical_levels_make_identical_pairs(statistics, kind):
    data = identical_levels()
    prepared = prepare(data, kind=kind, statistics=statistics, tails="auto", shared=False)
    assert not prepared.levels[0].identical_pair
    assert all(rows.identical_pair for rows in prepared.levels[1:])
    different = prepare(
        Ladder(gap=0.1, levels=3).data((60, 30, 20), seed=2),
        kind=kind, statistics=statistics, tails="auto", shared=False,
    )  # fmt: skip
    assert not any(rows.identical_pair for rows in different.levels)


# Units of level 0's own runs ("level") are other numbers than those of all runs pooled.
# Behind a summary it is the density of the summary that is trained.
CORRECTED = [
    n
    for n, s in STRATEGIES.items()
    if (isinstance(s, Multilevel) and s.standardise != "level")
    or (isinstance(s, Bridge) and s.compress is not True)
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", CORRECTED)
def test_identical_levels_correct_nothing(strategy, kind):
    data = identical_levels()
    # Nothing is held out, so that what decides when to stop makes no difference: the two are the
    # same objective, trained on the same rows, for the same number of steps.
    options = {"training": replace(TRAINING, validation_fraction=None)}
    chosen = STRATEGIES[strategy]
    expected = fit(kind, data, SingleLevel(level=0), **options)
    found = fit(kind, data, chosen, **options)
    assert torch.equal(densities(found, data), densities(expected, data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bridge_skips_the_steps_that_change_nothing(kind, quick):
    data = Ladder(levels=2).data((40, 20), seed=3)
    middle = (data.theta(0)[:15], data.x(0)[:15], data.x(0)[:15])
    top = (data.theta(1), data.x_coarse(1), data.x(1))
    three = MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0)), middle, top])
    options = {"training": replace(TRAINING, max_steps=5)}
    found = fit(kind, three, Bridge(num_draws=100), **options)
    explained = {row["level"] for row in found.history if "held_out_r2" in row}
    assert explained == {2.0}
    # negative control: pairs that differ are a step of their own
    pairs = (middle[0], middle[1] + 0.1 * torch.randn(15, D), middle[2])
    other = MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0)), pairs, top])
    found = fit(kind, other, Bridge(num_draws=100), **options)
    assert {row["level"] for row in found.history if "held_out_r2" in row} == {1.0, 2.0}


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_on_the_telescoped_loss_is_stopping_on_level_0_then(kind):
    data = identical_levels()
    found = fit(kind, data, Multilevel(**PLAIN))
    assert torch.equal(
        densities(found, data), densities(fit(kind, data, SingleLevel(level=0)), data)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_difference_of_losses_on_identical_pairs_is_zero(kind):
    problem = problem_of(identical_levels(), kind=kind)
    density = blank(1)
    for rows in problem.levels[1:]:
        fine, coarse = (rows.member(coarse=c) for c in (False, True))
        losses, gradients = zip(
            *(
                summed_gradient(density, v[None], c[None], torch.ones(1, len(v)), [len(v)])
                for v, c in (fine, coarse)
            ),
            strict=True,
        )
        assert torch.equal(losses[0] - losses[1], torch.zeros(1, 1))
        assert torch.equal(gradients[0] - gradients[1], torch.zeros_like(gradients[0]))


# --- what is minimised ------------------------------------------------------------------------


def problem_of(
    data: MultilevelData, *, kind: str = "posterior", members: int = 1, training=TRAINING
) -> Problem:
    prepared = prepare(data, kind=kind, statistics="pooled", tails="auto", shared=False)
    rows = train_rows(data, members, training, 0)
    return problem_of_rows(prepared.levels, rows, training, seed=3)


def blank(members: int, *, estimator=SMALL, seed: int = 0) -> ConditionalDensity:
    """A fixed network, the same for all members, away from its start near a standard normal."""
    density = Blueprint(estimator, "posterior", members, D, (D,)).build(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in density.parameters():
            noise = torch.randn(parameter[:1].shape, generator=generator)
            parameter.copy_((parameter[:1] + 0.15 * noise).expand_as(parameter))
    return density


def terms_of(levels: int) -> list[Term]:
    terms = [Term(0)]
    for level in range(1, levels):
        terms += [Term(level), Term(level, coarse=True, sign=-1.0)]
    return terms


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_the_objective_telescopes(levels, monkeypatch):
    seen = []

    def spy(density, objective, problem, **options):
        seen.append(objective)
        return train(density, objective, problem, **options)

    monkeypatch.setattr("mlsbi.strategies.multilevel.train", spy)
    data = Ladder(levels=levels).data((20,) * levels, seed=1)
    options = {"training": replace(TRAINING, max_steps=1)}
    fit("posterior", data, Multilevel(**PLAIN), **options)
    (objective,) = seen
    assert list(objective.terms) == terms_of(levels)
    assert objective.held_out == objective.terms
    fit("posterior", data, Multilevel(**PLAIN | {"held_out": "high"}), **options)
    assert seen[1].held_out == (Term(levels - 1),)
    weight_of = {level: 0.0 for level in range(levels)}  # of each simulator's loss, in expectation
    for term in objective.terms:
        weight_of[term.level - term.coarse] += term.sign
    assert weight_of == {level: float(level == levels - 1) for level in range(levels)}


def stacked(parts: list[tuple[Tensor, Tensor, float]]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Terms' (value, context, sign), each `(k, n, 2)`, as `summed_gradient` takes them."""
    weights = [torch.full(v.shape[:2], sign / v.shape[1]) for v, _, sign in parts]
    value, context = (torch.cat([p[i] for p in parts], 1) for i in (0, 1))
    return value, context, torch.cat(weights, 1), [w.shape[1] for w in weights]


def replications(
    ladder: Ladder, n: tuple[int, ...], *, kind: str, members: int, seed: int, coupled: bool = True
) -> list[tuple[Tensor, Tensor, float]]:
    """The terms of `members` independent data sets of n_l runs a level."""
    parts = []
    for level, count in enumerate(n):
        theta, coarse, x = ladder.rows(level, (members, count), seed=seed + level, coupled=coupled)
        for run, sign in ((x, 1.0), (coarse, -1.0)):
            if run is not None:
                pair = (theta, run) if kind == "posterior" else (run, theta)
                parts.append((*pair, sign))
    return parts


def mean_and_error(draws: Tensor) -> tuple[Tensor, Tensor]:
    draws = draws.double()
    return draws.mean(0), draws.std(0) / len(draws) ** 0.5


def standard_errors_apart(one: Tensor, other: Tensor) -> Tensor:
    (a, a_error), (b, b_error) = mean_and_error(one), mean_and_error(other)
    return (a - b).abs() / (a_error.square() + b_error.square()).sqrt()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [(6, 3), (6, 3, 2)])
def test_telescoped_loss_and_gradient_are_unbiased(n, kind):
    ladder, members = Ladder(gap=0.8, levels=len(n)), 3000
    density = blank(members)
    parts = replications(ladder, n, kind=kind, members=members, seed=10)
    losses, gradient = summed_gradient(density, *stacked(parts))
    high, high_gradient = high_level(ladder, density, kind=kind)
    # among 170 parameters the farthest is 3.7 standard errors off once in 25 times; 4.5: in 900
    assert float(standard_errors_apart(losses.sum(0), high)) < 4
    assert float(standard_errors_apart(gradient, high_gradient).max()) < 4.5

    # negative control: leaving out any correction, on the same rows, aims elsewhere
    for kept in range(1, len(losses), 2):
        part = summed_gradient(density, *stacked(parts[:kept]))[1]
        assert float(standard_errors_apart(part, high_gradient).max()) > 8


def high_level(ladder: Ladder, density: ConditionalDensity, *, kind: str) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the top level over many runs, a part of them in each member."""
    theta, _, x = ladder.rows(ladder.levels - 1, (density.members, 50), seed=99)
    pair = (theta, x) if kind == "posterior" else (x, theta)
    losses, gradient = summed_gradient(density, *stacked([(*pair, 1.0)]))
    return losses[0], gradient


@pytest.mark.parametrize("standardise", ["fixed", "array"])
def test_statistics_of_each_array_bias_the_gradient(standardise):
    """Per-array standardisation of small arrays does not telescope; a fixed one does."""
    ladder, members, n = Ladder(gap=0.8), 500, (6, 3)
    prior = ladder.hierarchy().prior
    many = ladder.rows(1, (100_000,), seed=98)[2]
    location, scale = many.mean(0), many.std(0)
    density = blank(members)
    sets = replications(ladder, n, kind="posterior", members=members, seed=20)
    (theta_0, x_0, _), (theta_1, x_1, _), (_, coarse, _) = sets
    terms = []
    for i in range(members):
        data = MultilevelData.from_arrays(
            prior, [(theta_0[i], x_0[i]), (theta_1[i], coarse[i], x_1[i])]
        )
        if standardise == "array":
            low, high = prepare(
                data, kind="posterior", statistics="array", tails="linear", shared=False
            ).levels
            terms.append((low.context, high.context, high.coarse_context))
        else:
            terms.append(tuple((v - location) / scale for v in (x_0[i], x_1[i], coarse[i])))
    contexts = [torch.stack(t) for t in zip(*terms, strict=True)]
    thetas = (theta_0, theta_1, theta_1)
    parts = list(zip(thetas, contexts, (1.0, 1.0, -1.0), strict=True))
    found = summed_gradient(density, *stacked(parts))[1]
    theta, _, x = ladder.rows(1, (members, 200), seed=97)
    expected = summed_gradient(density, *stacked([(theta, (x - location) / scale, 1.0)]))[1]
    apart = float(standard_errors_apart(found, expected).max())
    assert apart < 4.5 if standardise == "fixed" else apart > 7


# --- how noisily ------------------------------------------------------------------------------


def corrections(
    ladder: Ladder, n: int, *, kind: str, members: int = 4000, seed: int, coupled: bool = True
) -> Tensor:
    """h_1 of many data sets of n pairs: mean over pairs of f^1 - f^0, `(members,)`."""
    parts = replications(ladder, (1, n), kind=kind, members=members, seed=seed, coupled=coupled)[1:]
    value, context, weights, _ = stacked(parts)
    with torch.no_grad():
        log_prob = blank(members).log_prob(value, context)
    return -(log_prob * weights).double().sum(1)


def log_variance(draws: Tensor) -> tuple[float, float]:
    """Log of the variance, and its standard error from the draws' own kurtosis."""
    centred = draws - draws.mean()
    variance = centred.square().mean()
    kurtosis = centred.pow(4).mean() / variance.square()
    return float(variance.log()), float(((kurtosis - 1) / len(draws)).sqrt())


def log_ratio(one: Tensor, other: Tensor) -> tuple[float, float]:
    (a, a_error), (b, b_error) = log_variance(one), log_variance(other)
    return a - b, math.hypot(a_error, b_error)


@pytest.mark.parametrize("kind", KINDS)
def test_variance_of_a_correction_falls_as_one_over_its_runs(kind):
    few = corrections(Ladder(gap=0.4), 4, kind=kind, seed=30)
    many = corrections(Ladder(gap=0.4), 32, kind=kind, seed=31)
    ratio, error = log_ratio(few, many)
    assert abs(ratio - math.log(32 / 4)) < 4 * error
    assert error < 0.2  # else the line above says little


def mean_square_gap(ladder: Ladder) -> float:
    """E |G_1 - G_0|^2."""
    _, coarse, x = ladder.rows(1, (50_000,), seed=40)
    return float((x - coarse).square().sum(1).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_variance_of_a_correction_falls_with_the_gap_between_levels(kind):
    wide, narrow = Ladder(gap=0.1), Ladder(gap=0.01)
    expected = math.log(mean_square_gap(wide) / mean_square_gap(narrow))
    assert expected == pytest.approx(math.log(100), abs=0.01)
    found = [corrections(ladder, 8, kind=kind, seed=41) for ladder in (wide, narrow)]
    ratio, error = log_ratio(*found)
    # of first order in the gap: at 0.1 the square is up to a tenth off
    assert abs(ratio - expected) < 0.3 + 4 * error
    # negative control: with u drawn apart for the two members, the narrow gap wins nothing
    apart = [corrections(ladder, 8, kind=kind, seed=41, coupled=False) for ladder in (wide, narrow)]
    ratio, error = log_ratio(*apart)
    assert abs(ratio) < 0.3 + 4 * error
    assert log_variance(apart[1])[0] > log_variance(found[1])[0] + 3


# --- seeds ------------------------------------------------------------------------------------


SEEDED = {n: STRATEGIES[n] for n in ("Multilevel()", "Transfer()", "Pooled()")} | {
    "SingleLevel()": SingleLevel(),
    "Bridge()": Bridge(num_draws=100),
    "Bridge(correct=True)": Bridge(num_draws=100, correct=True),
    "Emulator()": Emulator(num_draws=100),
    "Stack()": STACK,
}


def global_generators() -> tuple[object, ...]:
    """States of the generators that belong to the user."""
    return (
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),  # noqa: NPY002  it is this one that must be left alone
        random.getstate(),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", SEEDED)
def test_same_seed_same_result_and_the_global_generators_are_left_alone(strategy, kind, quick):
    chosen = SEEDED[strategy]
    data = Ladder(levels=2).data((40, 20), seed=1, prior=box_prior())
    options = {"training": replace(TRAINING, max_steps=20, dropout=0.1)}
    before = global_generators()
    one = fit(kind, data, chosen, **options)
    assert global_generators() == before
    torch.rand(1)
    assert global_generators() != before
    two = fit(kind, data, chosen, **options)
    other = fit(kind, data, chosen, seed=6, **options)
    assert torch.equal(densities(one, data), densities(two, data))
    assert not torch.allclose(densities(one, data), densities(other, data))
    where = {"x": data.x(1)[0]} if kind == "posterior" else {"theta": data.theta(1)[0]}
    assert torch.equal(one.sample(5, seed=1, **where), two.sample(5, seed=1, **where))
    assert not torch.equal(one.sample(5, seed=1, **where), one.sample(5, seed=2, **where))
    assert not torch.equal(one.sample(5, **where), one.sample(5, **where))


NETS = {
    "none": None,
    "plain": nn.Linear(D, 3),
    "batch norm": nn.Sequential(nn.Linear(D, 3), nn.BatchNorm1d(3)),
}


@pytest.mark.parametrize("net", NETS)
def test_the_kept_weights_are_the_best_of_the_history(net):
    data = Ladder(levels=2).data((60, 40), seed=1)
    problem = problem_of(data, members=2, training=replace(TRAINING, learning_rate=0.05))
    blueprint = Blueprint(SMALL, "posterior", 2, D, (D,), embedding_net=NETS[net])
    density = blueprint.build(seed=0)
    rows = Multilevel(**PLAIN).train(density, problem).rows
    losses = [row["held_out_loss"] for row in rows]
    assert min(losses) < losses[-1]  # training went past its best
    with torch.no_grad():
        found = HeldOut(tuple(terms_of(2)), problem, torch.device("cpu")).loss(density)
    assert found == pytest.approx(min(losses), rel=1e-5)
    assert not density.training


# --- algorithm 1 ------------------------------------------------------------------------------


def gradients(levels: int, *, members: int = 5, size: int = 40, seed: int = 0) -> Tensor:
    """`(2 L + 1, k, P)`: negative terms near minus their partners, as coupled pairs give them."""
    generator = torch.Generator().manual_seed(seed)
    terms = torch.randn(2 * levels - 1, members, size, generator=generator)
    terms[2::2] = -1.7 * terms[1::2] + 0.5 * terms[2::2]
    return terms


def conflicting(*, members: int = 6) -> Tensor:
    """Half the members' corrections point against their level-0 gradients."""
    terms = gradients(2, members=members)
    against = terms[0] * torch.tensor([-1.0, 1.0]).repeat(members // 2)[:, None]
    terms[1] = 3 * against + 0.5 * terms[1]
    terms[2] = -0.1 * terms[1] + 0.01 * terms[2]
    return terms


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_with_both_switches_off_algorithm_1_is_the_plain_sum(levels):
    terms = gradients(levels)
    found = algorithm_1(terms, rescale=False, project=False)[0]
    torch.testing.assert_close(found, terms.sum(0))


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_with_one_level_algorithm_1_changes_nothing(rescale, project):
    terms = gradients(1)
    found = algorithm_1(terms, rescale=rescale, project=project)[0]
    assert torch.equal(found, terms[0])


@pytest.mark.parametrize("levels", [2, 3])
def test_rescaled_negative_terms_have_their_partners_norms(levels):
    # Each term has coordinates of its own, so that the sum shows every one of them.
    size = 7
    terms = torch.zeros(2 * levels - 1, 4, size * (2 * levels - 1))
    for i, term in enumerate(terms):
        term[:, i * size : (i + 1) * size] = (i + 1) ** 2 * torch.randn(4, size)
    shown = algorithm_1(terms, rescale=True, project=False)[0].unflatten(1, (-1, size))
    norms = torch.linalg.vector_norm(shown, dim=2)
    torch.testing.assert_close(norms[:, 2::2], norms[:, 1::2])
    for i in range(2 * levels - 1):
        cosine = nn.functional.cosine_similarity(
            shown[:, i], terms[i].unflatten(1, (-1, size))[:, i]
        )
        torch.testing.assert_close(cosine, torch.ones(4))  # lengths change, directions do not
    unchanged = [0, *range(1, 2 * levels - 1, 2)]
    own = torch.stack([terms[i].unflatten(1, (-1, size))[:, i] for i in unchanged], 1)
    assert torch.equal(shown[:, unchanged], own)


@pytest.mark.parametrize("rescale", [True, False])
def test_a_projected_direction_conflicts_with_neither_part(rescale):
    terms = conflicting()
    direction, figures = algorithm_1(terms, rescale=rescale, project=True)
    plain, _ = algorithm_1(terms, rescale=rescale, project=False)
    base = terms[0]
    correction = plain - base
    conflict = (base * correction).sum(1) < 0
    assert conflict.tolist() == [True, False] * 3
    assert figures["projected"] == pytest.approx(0.5)
    for part in (base, correction):
        lengths = (part.norm(dim=1) * direction.norm(dim=1)).clamp(min=1e-12)
        assert ((direction * part).sum(1) / lengths >= -1e-6).all()
    # negative control: the sum itself does conflict with one of the two
    worse = torch.minimum((plain * base).sum(1), (plain * correction).sum(1))
    assert (worse[conflict] < 0).all()
    assert torch.equal(direction[~conflict], plain[~conflict])

    def without(a: Tensor, b: Tensor) -> Tensor:
        return a - (a * b).sum(1, keepdim=True) / b.square().sum(1, keepdim=True) * b

    expected = without(base, correction) + without(correction, base)
    torch.testing.assert_close(direction[conflict], expected[conflict], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("project", [True, False])
def test_algorithm_1_takes_each_member_on_its_own(rescale, project):
    terms = conflicting()
    together = algorithm_1(terms, rescale=rescale, project=project)[0]
    for i in range(terms.shape[1]):
        alone = algorithm_1(terms[:, i : i + 1], rescale=rescale, project=project)[0]
        torch.testing.assert_close(alone[0], together[i])


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
def test_algorithm_1_does_not_depend_on_the_losss_unit(factor):
    terms = conflicting()
    expected = factor * algorithm_1(terms)[0]
    torch.testing.assert_close(algorithm_1(factor * terms)[0], expected, rtol=1e-6, atol=0)


def test_algorithm_1_stays_finite_where_a_gradient_vanishes():
    terms = gradients(3)
    for i in range(len(terms)):
        some = terms.clone()
        some[i] = 0
        assert algorithm_1(some)[0].isfinite().all()
    assert torch.equal(algorithm_1(0 * terms)[0], torch.zeros_like(terms[0]))


# --- one pass ---------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["mdn", "maf", "nsf", SMALL])
@pytest.mark.parametrize("batch_size", [8, None])
def test_gradients_of_one_pass_are_those_of_a_pass_a_term(batch_size, estimator):
    training = replace(TRAINING, batch_size=batch_size)
    data = Ladder(levels=3).data((30, 20, 12), seed=4)
    problem = problem_of(data, members=2, training=training)
    density, terms = blank(2, estimator=estimator), terms_of(3)
    batches = Batches(tuple(terms), problem, 0, torch.device("cpu"))
    losses, found = term_gradients(density, *batches.at(3))
    for term, loss, gradient in zip(terms, losses, found, strict=True):
        rows, weights = batches.samplers[term.drawn, term.level].draw(3)
        value, context = problem.levels[term.level].member(coarse=term.coarse)
        for member in range(2):
            row = slice(None) if rows is None else rows[member]
            v, c = (t[row].expand(2, *t[row].shape) for t in (value, context))
            log_prob = density.log_prob(v, c)[member]
            alone = -term.sign * (log_prob * weights[member]).sum()
            grads = torch.autograd.grad(alone, list(density.parameters()))
            expected = torch.cat([g[member].flatten() for g in grads])
            torch.testing.assert_close(loss[member], alone.detach(), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(gradient[member], expected, rtol=1e-3, atol=3e-5)
