"""Weights of candidates: against brute force, at the edges, and how sure they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.history import Status
from mlsbi.problem import LevelRows
from mlsbi.stacking import Weights, admitted, held_out_log_density, stack
from mlsbi.strategies import Solution
from tiny import problem_of_rows, tiny


def scores(m: int, *offsets: float, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Log densities of m runs; candidate c is offsets[c] better on average."""
    noise = torch.randn(m, len(offsets), generator=make_generator(seed), dtype=torch.float64)
    return spread * noise + torch.tensor(offsets, dtype=torch.float64)


def weigh(log_density: Tensor, *, prior_count: float = 3.0, which: Tensor | None = None) -> Weights:
    everyone = torch.ones(log_density.shape[1], dtype=torch.bool)
    chosen = everyone if which is None else which
    return stack(log_density, admitted=chosen, prior_count=prior_count, seed=0)


def objective(weights: Tensor, log_density: Tensor, *, prior_count: float) -> Tensor:
    """What the weights `(g, C)` maximise, by its formula."""
    prior = 0.5 ** torch.arange(log_density.shape[1], dtype=torch.float64)
    mixture = torch.logsumexp(log_density + weights.log().unsqueeze(1), 2).sum(1)
    return mixture + prior_count * (weights.log() @ (prior / prior.sum()))


@pytest.mark.parametrize("prior_count", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("m", [1, 5, 60])
def test_two_weights_are_the_best_of_a_grid(m: int, prior_count: float) -> None:
    log_density = scores(m, 0.0, 0.3)
    first = torch.linspace(0, 1, 4001, dtype=torch.float64)[1:-1]
    grid = torch.stack([first, 1 - first], 1)
    best = grid[objective(grid, log_density, prior_count=prior_count).argmax()]
    found = weigh(log_density, prior_count=prior_count).mean
    torch.testing.assert_close(found, best, atol=2e-3, rtol=0)


def test_three_weights_are_better_than_any_near_them() -> None:
    log_density = scores(40, 0.0, 0.3, 0.1)
    found = weigh(log_density).mean
    near = found + 0.02 * torch.randn(500, 3, generator=make_generator(1), dtype=torch.float64)
    near = near.clamp(min=1e-6) / near.clamp(min=1e-6).sum(1, keepdim=True)
    value = objective(torch.cat([found[None], near]), log_density, prior_count=3.0)
    assert float(value[1:].max()) < float(value[0]) + 1e-4


def test_weights_sum_to_one_and_follow_the_scores_alone() -> None:
    log_density = scores(30, 0.0, 0.5, -0.5)
    found = weigh(log_density)
    torch.testing.assert_close(found.mean.sum(), torch.tensor(1.0).double())
    shifted = weigh(log_density + 50 * torch.randn(30, 1))
    torch.testing.assert_close(shifted.mean, found.mean)
    torch.testing.assert_close(found.log_density, log_density.mean(0))


def test_a_clearly_better_candidate_gets_nearly_all() -> None:
    for place in range(3):
        offsets = [0.0, 0.0, 0.0]
        offsets[place] = 5.0
        assert float(weigh(scores(100, *offsets)).mean[place]) > 0.95
    equal = weigh(scores(100, 0.0, 0.0, 0.0, spread=0.0)).mean  # negative control
    torch.testing.assert_close(equal, torch.tensor([4.0, 2.0, 1.0]).double() / 7)


def test_few_runs_cannot_take_the_weights_far_from_the_prior() -> None:
    for m, count in ((1, 3.0), (2, 3.0), (5, 10.0)):
        prior = torch.tensor([2 / 3, 1 / 3]).double()
        found = weigh(scores(m, 0.0, 1000.0), prior_count=count).mean
        # Every run says the second: it has all of m and its share of the count.
        torch.testing.assert_close(found, (prior * count + torch.tensor([0.0, m])) / (m + count))
    without = weigh(scores(1, 0.0, 1000.0), prior_count=0.0).mean
    torch.testing.assert_close(without, torch.tensor([0.0, 1.0]).double())


def test_errors_shrink_with_the_root_of_the_runs() -> None:
    """Each run is told apart for certain: the weights are shares, of binomial errors."""
    sizes, errors = (25, 100, 400), []
    for m in sizes:
        side = torch.arange(m) % 2 == 0
        log_density = torch.stack([200.0 * side, 200.0 * ~side], 1).double()
        errors.append(float(weigh(log_density, prior_count=0.0).error[0]))
    for m, error in zip(sizes, errors, strict=True):
        # Relative error of a standard deviation over a hundred replicates: 1 / sqrt(200).
        assert error == pytest.approx(0.5 / (m + 1) ** 0.5, rel=4 / 200**0.5)


def test_no_held_out_run_leaves_the_prior() -> None:
    found = weigh(torch.zeros(0, 3, dtype=torch.float64))
    torch.testing.assert_close(found.mean, torch.tensor([4.0, 2.0, 1.0]).double() / 7)
    assert found.error.tolist() == [0.0, 0.0, 0.0]
    assert bool(found.log_density.isnan().all())


def test_one_candidate_has_all_the_weight() -> None:
    found = weigh(scores(8, 0.0))
    assert found.mean.tolist() == [1.0]
    assert found.error.tolist() == [0.0]


def test_who_is_not_admitted_has_no_weight() -> None:
    which = torch.tensor([True, False, True])
    log_density = scores(20, 0.0, 3.0, 0.4)
    found = weigh(log_density, which=which)
    assert found.mean[1] == found.error[1] == 0.0
    torch.testing.assert_close(found.mean.sum(), torch.tensor(1.0).double())
    prior = torch.tensor([4.0, 0.0, 1.0]).double() / 5
    none = weigh(log_density[:0], which=which)
    torch.testing.assert_close(none.mean, prior)


def test_the_score_of_who_is_not_admitted_does_not_matter() -> None:
    which = torch.tensor([True, True, False])
    log_density = scores(20, 0.0, 0.4, 0.0)
    high = log_density + torch.tensor([0.0, 0.0, 2000.0])
    found, wanted = (weigh(s, which=which).mean for s in (high, log_density))
    torch.testing.assert_close(found, wanted)


def test_a_candidate_that_gives_runs_no_density_at_all() -> None:
    log_density = scores(30, 0.0, 0.0)
    log_density[:, 0] = -1e4
    found = weigh(log_density)
    torch.testing.assert_close(found.mean[0], torch.tensor(2 / 33).double())
    assert bool(found.error.isfinite().all())


# --------------------------------------------------------------------------------- who takes part


def test_who_was_stopped_by_the_runs_has_to_win_by_a_standard_error() -> None:
    m = 50
    fair = scores(m, 0.0, -0.5)
    noise = scores(m, 0.0, seed=1)
    standard = (noise - noise.mean()) / noise.std()
    for gain, wanted in ((0.9, False), (1.1, True), (-3.0, False)):
        flattered = fair[:, :1] + standard + gain / m**0.5
        log_density = torch.cat([fair, flattered], 1)
        assert admitted(log_density, [True, True, False]).tolist() == [True, True, wanted]
    # Without a fair candidate nobody can be told to be flattered.
    assert admitted(fair, [False, False]).tolist() == [True, True]
    assert admitted(fair, [True, True]).tolist() == [True, True]


@pytest.mark.parametrize("m", [0, 1])
def test_with_hardly_any_runs_all_take_part(m: int) -> None:
    assert admitted(scores(m, 0.0, -9.0), [True, False]).tolist() == [True, True]


# --------------------------------------------------------------------------------- held-out scores


class Table(torch.nn.Module):
    """A density whose member e gives run i the log density `table[e, i]`."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table, self.members = table, len(table)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        assert value.shape[:2] == context.shape[:2] == self.table.shape
        return self.table


def scored(table: Tensor, train: Tensor, weights: Tensor | None = None) -> Tensor:
    rows = LevelRows(torch.zeros(train.shape[1], 2), torch.zeros(train.shape[1], 3))
    problem = problem_of_rows((rows,), (train,), tiny(), seed=0)
    solution = Solution(Table(table), (), Status.CONVERGED, (), weights)  # type: ignore[arg-type]
    return held_out_log_density(solution, problem)


def test_runs_are_scored_by_the_members_that_did_not_see_them() -> None:
    table = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    train = torch.tensor([[False, True, False, True], [True, False, False, True]])
    found = scored(table, train)
    both = math.log((math.exp(3.0) + math.exp(7.0)) / 2)
    # The last run was seen by all members: it has no score.
    torch.testing.assert_close(found, torch.tensor([1.0, 6.0, both]).double())
    weights = torch.tensor([0.9, 0.1], dtype=torch.float64)
    both = math.log(0.9 * math.exp(3.0) + 0.1 * math.exp(7.0))
    found = scored(table, train, weights)
    torch.testing.assert_close(found, torch.tensor([1.0, 6.0, both]).double())


def test_several_densities_are_scored_as_their_mixture() -> None:
    table = torch.tensor([[1.0, 2.0], [5.0, 6.0], [3.0, 9.0], [5.0, 0.0]])
    train = torch.tensor([[False, True], [True, False]])
    found = scored(table, train, torch.tensor([0.4, 0.4, 0.1, 0.1]).double())
    wanted = [
        math.log(0.8 * math.exp(1.0) + 0.2 * math.exp(3.0)),
        math.log(0.8 * math.exp(6.0) + 0.2),
    ]
    torch.testing.assert_close(found, torch.tensor(wanted).double())


def test_runs_without_a_density_have_a_low_score_and_nothing_held_out_has_none() -> None:
    table = torch.tensor([[math.nan, -math.inf, -1e9]])
    found = scored(table, torch.zeros(1, 3, dtype=torch.bool))
    assert bool(found.isfinite().all())
    assert float(found.max()) < -1e3
    assert scored(table, torch.ones(1, 3, dtype=torch.bool)).shape == (0,)
