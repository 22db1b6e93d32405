"""The batched Gaussian processes against one written row by row, and what their noise must do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.bridge import gp
from mlsbi.bridge.gp import Design, GaussianProcesses

N = 18
GROUPS = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]])
# Folds of unequal size, one of them with its rows in the middle.
TRAIN = torch.ones(3, N, dtype=torch.bool)
TRAIN[0, ::3], TRAIN[1, 5:9] = False, False


def rows(n: int = N, *, seed: int = 0) -> tuple[Design, Tensor]:
    """Three processes with features, and targets, of their own."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, n, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, n, generator=generator, dtype=torch.float64)
    targets = 3 * (features[..., 0].sin() + 0.5 * features[..., 1] * features[..., 2]) + 7
    return Design(features, features[..., :2]), targets + 0.3 * noise


@pytest.fixture(autouse=True)
def _rough(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for any hyperparameters is tested on those of a few steps, to save time."""
    if "at_the_mode" not in request.fixturenames:
        monkeypatch.setattr(gp, "_STEPS", 15)


@pytest.fixture
def at_the_mode() -> None:
    """For tests of the hyperparameters themselves."""


@cache
def fitted() -> GaussianProcesses:
    return gp.fit(*rows(), TRAIN, GROUPS)


def gram(hyper: gp.Hyper, b: int, left: Tensor, right: Tensor) -> Tensor:
    """The formula at the head of the module, of rows `(n, p)` and `(m, p)`."""
    own = {name: value[b].exp() for name, value in hyper.items()}
    inner = torch.einsum("np,mp,pg->nmg", left, right, GROUPS.double())
    away = torch.einsum("nmp,pg->nmg", (left[:, None] - right).square(), GROUPS.double())
    smooth = own["amplitude"] * (-0.5 * away @ own["inverse_square_length"]).exp()
    return own["constant"] + inner @ own["linear"] + (inner @ own["quadratic"]) ** 2 + smooth


def noise_variance(processes: GaussianProcesses, b: int, features: Tensor) -> Tensor:
    return (processes.hyper["noise"][b, 0] + features @ processes.hyper["slope"][b]).exp()


def by_hand(
    processes: GaussianProcesses, b: int, seen: Tensor, new: Tensor, design: Design, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation at rows `new` given rows `seen` of the same arrays."""
    features, noise = design.features[b], noise_variance(processes, b, design.noise[b])
    location, scale = targets[b, TRAIN[b]].mean(), targets[b, TRAIN[b]].std(correction=0)
    whole = gram(processes.hyper, b, features, features)
    inverse = (whole[seen][:, seen] + noise[seen].diag() + 1e-8 * torch.eye(len(seen))).inverse()
    cross = whole[new][:, seen]
    mean = cross @ inverse @ (targets[b, seen] - location)
    variance = (whole[new][:, new] - cross @ inverse @ cross.T).diagonal() + noise[new]
    return mean + location, variance.sqrt() * scale


def test_predictions_are_those_of_a_process_written_row_by_row() -> None:
    design, targets = rows()
    mean, deviation = fitted().predict(design)
    for b in range(3):
        seen = TRAIN[b].nonzero().squeeze(1)
        wanted = by_hand(fitted(), b, seen, torch.arange(N), design, targets)
        torch.testing.assert_close((mean[b], deviation[b]), wanted, rtol=1e-6, atol=1e-6)


def test_leave_one_out_is_leaving_rows_out_one_by_one() -> None:
    design, targets = rows()
    mean, deviation = fitted().leave_one_out(targets)
    assert torch.equal(mean.isfinite(), TRAIN)
    assert torch.equal(deviation.isfinite(), TRAIN)
    for b in range(3):
        seen = TRAIN[b].nonzero().squeeze(1)
        for i in seen[::3]:
            wanted = by_hand(fitted(), b, seen[seen != i], i.reshape(1), design, targets)
            found = (mean[b, i].reshape(1), deviation[b, i].reshape(1))
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_rows_that_a_process_does_not_see_do_not_matter() -> None:
    design, targets = rows()
    out = ~TRAIN.unsqueeze(2)
    other = Design(torch.where(out, 50.0, design.features), torch.where(out, -3.0, design.noise))
    changed = gp.fit(other, torch.where(TRAIN, targets, 1e4), TRAIN, GROUPS)
    assert torch.equal(changed.evidence, fitted().evidence)
    same = (changed.predict(design), fitted().predict(design))
    torch.testing.assert_close(*same, rtol=0, atol=0)
    # Negative control: a row that it does see.
    touched = gp.fit(design, targets + (torch.arange(N) == 1), TRAIN, GROUPS)
    assert not torch.allclose(touched.predict(design)[0], fitted().predict(design)[0], rtol=1e-3)


def test_the_evidence_and_its_gradient_are_those_of_autograd() -> None:
    root = torch.randn(2, 7, 7, dtype=torch.float64)
    matrix = (root @ root.mT + torch.eye(7)).requires_grad_()
    targets = torch.randn(2, 7, dtype=torch.float64)
    value, slope = gp._evidence(matrix.detach(), targets)
    solved = torch.linalg.solve(matrix, targets.unsqueeze(2)).squeeze(2)
    direct = -0.5 * (targets * solved).sum(1) - 0.5 * torch.linalg.slogdet(matrix)[1]
    (gradient,) = torch.autograd.grad(direct.sum(), matrix)
    torch.testing.assert_close(value, direct.detach())
    torch.testing.assert_close(slope, gradient)


@pytest.mark.usefixtures("at_the_mode")
def test_the_hyperparameters_are_a_mode_and_evidence_is_the_posterior_there() -> None:
    design, targets = rows()
    design = Design(design.features, design.noise[..., :0])  # no slopes: they come in two parts
    found = gp.fit(design, targets, TRAIN, GROUPS)
    standard = (targets - found.location) / found.scale

    def log_posterior(name: str = "noise", shift: float = 0.0, place: int = 0) -> Tensor:
        hyper = {n: v.clone() for n, v in found.hyper.items()}
        hyper[name][:, place] += shift
        values = []
        for b in range(3):
            features, y = design.features[b, TRAIN[b]], standard[b, TRAIN[b]]
            matrix = gram(hyper, b, features, features)
            matrix = matrix + (hyper["noise"][b].exp() + 1e-8) * torch.eye(len(y))
            value = -0.5 * y @ torch.linalg.solve(matrix, y) - 0.5 * torch.logdet(matrix)
            for each, (centre, spread) in gp._PRIORS.items():
                if "slope" not in each:
                    value = value - 0.5 * ((hyper[each][b] - centre) / spread).square().sum()
            values.append(value)
        return torch.stack(values)

    best = log_posterior()
    scale = TRAIN.sum(1) * found.scale.squeeze(1).log()
    torch.testing.assert_close(found.evidence, best - scale, rtol=1e-6, atol=1e-5)
    for name in set(found.hyper) - {"slope"}:
        for shift in (-0.5, 0.5):
            for place in range(found.hyper[name].shape[1]):
                # A hundred steps of Adam leave a few hundredths of a nat.
                assert bool((log_posterior(name, shift, place) < best + 0.1).all()), name


def test_predictions_follow_the_scale_and_the_origin_of_the_targets() -> None:
    design, targets = rows()
    found = gp.fit(design, 1000 * targets - 3e4, TRAIN, GROUPS)
    mean, deviation = fitted().predict(design)
    wanted = (1000 * mean - 3e4, 1000 * deviation)
    torch.testing.assert_close(found.predict(design), wanted, rtol=1e-5, atol=1e-3)
    density = fitted().evidence - TRAIN.sum(1) * torch.tensor(1000.0).double().log()
    torch.testing.assert_close(found.evidence, density, rtol=1e-5, atol=1e-5)


def noisy(n: int, outputs: int, *, slope: float, seed: int = 0) -> tuple[Design, Tensor]:
    """A line whose log noise variance is -2 + slope f; all outputs see the same f."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    u = torch.randn(outputs, n, generator=generator, dtype=torch.float64)
    features = f.expand(outputs, n, 1)
    return Design(features, features), f.T + (-1 + slope / 2 * f.T).exp() * u


@pytest.mark.usefixtures("at_the_mode")
def test_slopes_of_the_noise_are_found() -> None:
    design, targets = noisy(150, 1, slope=1.2)
    seen = torch.ones(1, 150, dtype=torch.bool)
    found = gp.fit(design, targets, seen, torch.ones(1, 1))
    # Var of a log variance's slope is 2 / n; the prior pulls a little too.
    assert abs(float(found.hyper["slope"]) - 1.2) < 4 * (2 / 150) ** 0.5
    design, targets = noisy(150, 1, slope=0.0)
    found = gp.fit(design, targets, seen, torch.ones(1, 1))
    assert abs(float(found.hyper["slope"])) < 4 * (2 / 150) ** 0.5


@pytest.mark.usefixtures("at_the_mode")
def test_outputs_share_what_they_learn_of_the_noise() -> None:
    design, targets = noisy(15, 12, slope=1.5)
    seen = torch.ones(12, 15, dtype=torch.bool)

    def error(outputs: int) -> float:
        found = gp.fit(design, targets, seen, torch.ones(1, 1), outputs=outputs)
        return float((found.hyper["slope"] - 1.5).square().mean().sqrt())

    shared, alone = error(12), error(1)
    assert shared < 0.7 * alone, (shared, alone)


def test_evidence_prefers_the_target_that_is_easier_to_foretell() -> None:
    design, targets = rows(30)
    seen = torch.ones(3, 30, dtype=torch.bool)
    noise = torch.randn(3, 30, dtype=torch.float64)
    clear = torch.tensor([True, False, True])
    mixed = [torch.where(clear.unsqueeze(1) == side, targets, 2 * noise) for side in (True, False)]
    one, other = (gp.fit(design, target, seen, GROUPS) for target in mixed)
    assert torch.equal(one.evidence > other.evidence, clear)
    picked = gp.either(clear, one, other)
    found, left, right = (p.leave_one_out(targets)[1] for p in (picked, one, other))
    assert torch.equal(found, torch.where(clear.unsqueeze(1), left, right))
    found, left, right = (p.predict(design)[0] for p in (picked, one, other))
    assert torch.equal(found, torch.where(clear.unsqueeze(1), left, right))


def doubled(design: Design, targets: Tensor) -> tuple[Design, Tensor, Tensor]:
    place = (torch.arange(N) // 6).expand(3, N)
    return design.rows(place), torch.gather(targets, 1, place), TRAIN


FEW = {count: (torch.arange(N) < count).expand(3, N) for count in (1, 2, 5)}
ONES = torch.ones(3, N, 3, dtype=torch.float64)
HARD: dict[str, Callable[[Design, Tensor], tuple[Design, Tensor, Tensor]]] = {
    "one row": lambda design, targets: (design, targets, FEW[1]),
    "two rows": lambda design, targets: (design, targets, FEW[2]),
    "a constant target": lambda design, targets: (design, torch.full_like(targets, 4.0), TRAIN),
    "the same three rows again and again": doubled,
    "constant features": lambda design, targets: (replace(design, features=ONES), targets, TRAIN),
}


@pytest.mark.usefixtures("at_the_mode")
@pytest.mark.parametrize("name", HARD)
def test_hard_rows_still_give_sane_predictions(name: str) -> None:
    design, targets, train = HARD[name](*rows())
    found = gp.fit(design, targets, train, GROUPS)
    mean, deviation = found.predict(design)
    left, spread = found.leave_one_out(targets)
    assert bool(found.evidence.isfinite().all())
    assert float(deviation.min()) > 0
    assert float(spread[train].min()) > 0
    assert bool(left[train].isfinite().all())
    width = (found.scale * 4).clamp(min=1.0)
    assert bool(((mean - found.location).abs() < width)[train].all())
    if name == "a constant target":
        torch.testing.assert_close(mean, targets.double())
        assert float(deviation[train].max()) < 0.15


def test_a_singular_matrix_gets_a_factor_and_its_neighbours_keep_theirs() -> None:
    good = torch.eye(4, dtype=torch.float64) + 0.5
    factor = gp._cholesky(torch.stack([torch.ones(4, 4).double(), good]))
    assert torch.equal(factor[1], torch.linalg.cholesky(good))
    assert float((factor[0] @ factor[0].T - 1).abs().max()) < 1e-3


def test_more_rows_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    design, targets = rows()
    monkeypatch.setattr(gp, "_MAX_ROWS", 10)
    monkeypatch.setattr(gp, "_MAX_ROWS_FOR_HYPERPARAMETERS", 7)
    found = gp.fit(design, targets, TRAIN, GROUPS)
    kept = TRAIN & (TRAIN.cumsum(1) <= 10)
    assert torch.equal(found.leave_one_out(targets)[0].isfinite(), kept)
    monkeypatch.setattr(gp, "_MAX_ROWS", 400)
    alone = gp.fit(design, targets, kept, GROUPS)
    # The hyperparameters are those of the first seven rows under the standardisation of ten.
    torch.testing.assert_close(found.predict(design), alone.predict(design), rtol=1e-9, atol=1e-9)


def test_many_new_rows_are_predicted_as_a_few_at_a_time() -> None:
    design, _ = rows(300, seed=1)
    whole = fitted().predict(design)
    few_rows = Design(design.features[:, ::7], design.noise[:, ::7])
    torch.testing.assert_close(fitted().predict(few_rows), tuple(t[:, ::7] for t in whole))


def test_float32_is_taken_as_the_same_numbers_in_float64() -> None:
    design, targets = rows()
    single = Design(design.features.float(), design.noise.float())
    found = gp.fit(single, targets.float(), TRAIN, GROUPS).predict(single)
    wanted = gp.fit(single.double(), targets.float().double(), TRAIN, GROUPS)
    torch.testing.assert_close(found, wanted.predict(single.double()), rtol=0, atol=0)


def test_prior_draws_have_a_share_of_the_priors_spread_and_make_fits_differ() -> None:
    design, targets = rows()
    many = Design(design.features[:1].expand(900, N, 3), design.noise[:1].expand(900, N, 2))
    for name, values in gp.prior_draws(
        many, GROUPS, outputs=3, generator=make_generator(0)
    ).items():
        z, n = values / (gp._SPREAD * gp._PRIORS[name][1]), values.numel()
        assert abs(float(z.std()) - 1) < 4 / (2 * n) ** 0.5, name
        assert abs(float(z.mean())) < 4 / n**0.5, name

    def predicted(seed: int) -> Tensor:
        spread = gp.prior_draws(design, GROUPS, outputs=1, generator=make_generator(seed))
        return gp.fit(design, targets, FEW[5], GROUPS, spread=spread).predict(design)[0]

    assert torch.equal(predicted(0), predicted(0))
    assert not torch.allclose(predicted(0), predicted(1), rtol=1e-3)
