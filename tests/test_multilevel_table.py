"""The multilevel table of a fit: its numbers against closed forms, on disk, and printed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linear_gaussian import D, Ladder
from mlsbi import (
    MDN,
    Multilevel,
    MultilevelData,
    PosteriorFit,
    SingleLevel,
    Training,
    fit_posterior,
    load_fit,
)
from mlsbi._multilevel_losses import measure
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Standardise, Support
from mlsbi.estimators.union import union
from mlsbi.multilevel_table import MultilevelLosses
from mlsbi.problem import LevelRows
from tiny import linear_data, problem_of_rows, tiny

SCALE = 2.0  # of theta in the network's units
NAN = math.nan


def fitted(strategy: Any, data: MultilevelData, *, ensemble: int = 2) -> PosteriorFit:
    training = tiny(batch_size=16, max_steps=60, learning_rate=1e-2)
    small = MDN(components=2, hidden=(8,))
    options = {"strategy": strategy, "estimator": small, "training": training}
    return fit_posterior(data, seed=5, ensemble=ensemble, **options)


# --- an exact density: every number in closed form --------------------------------------------


class Exact(ConditionalDensity):
    """The ladder's posterior of level L in the network's units; `shift` moves its mean from 0."""

    def __init__(self, ladder: Ladder, members: int = 1) -> None:
        super().__init__()
        self.ladder, self.members = ladder, members
        self.shift = nn.Parameter(torch.zeros(members, D))

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        theta = value * SCALE - self.shift.unsqueeze(1)
        found = self.ladder.posterior(context.flatten(0, 1)).log_prob(theta.flatten(0, 1).double())
        return (found + D * math.log(SCALE)).float().reshape(value.shape[:2])

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        raise NotImplementedError


def exact_table(
    data: MultilevelData, ladder: Ladder, *, parts: int = 1, held_out: bool = True
) -> MultilevelLosses:
    """What `measure` makes of the exact posterior of level L; 2 members that share the rows."""
    levels = []
    for level in range(data.num_levels):
        theta = data.theta(level) / SCALE
        pair = (theta, data.x_coarse(level)) if level else ()
        levels.append(LevelRows(theta, data.x(level), *pair))
    odd = [torch.arange(n) % 2 == 1 for n in data.n]
    train = tuple(torch.stack([o, ~o]) if held_out else torch.ones(2, len(o)) > 0 for o in odd)
    problem = problem_of_rows(tuple(levels), train, Training(), seed=3)
    infinite = torch.full((D,), torch.inf)
    theta_transform = Support(-infinite, infinite, torch.zeros(D), torch.full((D,), SCALE))
    plain = Standardise(torch.zeros(D), torch.ones(D), torch.zeros(D, dtype=torch.bool))
    density = union([Exact(ladder, 2) for _ in range(parts)])
    whole = Estimator(density, theta_transform, plain).eval()
    return measure(whole, problem, data, history=({}, {"projected": 0.5}, {"projected": 0.0}))


def quadratic(ladder: Ladder, level: int) -> tuple[Tensor, Tensor, float]:
    """A, b, c of f^l = w A w / 2 + b w + c, with w = (theta, u) standard normal, float64."""
    w = torch.eye(2 * D)
    start = ladder.run(level, torch.zeros(1, D), torch.zeros(1, D)).double()
    slope = ladder.run(level, w[:, :D], w[:, D:]).double() - start
    posterior = ladder.posterior(torch.cat([slope, start]))
    precision, none = posterior.precision_matrix[0], torch.zeros(1, D).double()
    # residual = theta - mean(x) = R w + r, and the mean is linear in x
    residual = torch.cat([torch.eye(D), torch.zeros(D, D)]).double() - posterior.mean[:-1]
    constant = -float(ladder.posterior(none).log_prob(none))
    r = -posterior.mean[-1]
    return (
        residual @ precision @ residual.T,
        residual @ precision @ r,
        constant + 0.5 * float(r @ precision @ r),
    )


def moments(a: Tensor, b: Tensor, c: float) -> tuple[float, float]:
    return 0.5 * float(a.trace()) + c, 0.5 * float((a @ a).trace()) + float(b @ b)


def agrees(mean: float, variance: float, exact: tuple[float, float], rows: int) -> bool:
    """Within four standard errors; the kurtosis of a quadratic form of normals is at most 15."""
    return (
        abs(mean - exact[0]) < 4 * math.sqrt(exact[1] / rows)
        and abs(variance - exact[1]) < 4 * exact[1] * math.sqrt(14 / rows)
    )  # fmt: skip


LADDER = Ladder(levels=3, gap=0.4)


@pytest.fixture(scope="module")
def data() -> MultilevelData:
    return LADDER.data((4000, 2000, 1500), seed=1)


def test_means_and_variances_are_those_of_the_exact_posterior(data: MultilevelData) -> None:
    found = exact_table(data, LADDER)
    assert found.rows == found.held_out_rows == (2048, 2000, 1500)
    assert found.n == (4000, 2000, 1500)
    for level, rows in enumerate(found.rows):
        a, b, c = quadratic(LADDER, level)
        exact = moments(a, b, c)
        assert agrees(found.loss_mean[level], found.loss_variance[level], exact, rows)
        # negative control: the losses at another level's runs are not those
        other = moments(*quadratic(LADDER, (level + 1) % 3))
        assert not agrees(found.loss_mean[level], found.loss_variance[level], other, rows)
        if level:
            below = quadratic(LADDER, level - 1)
            exact = moments(a - below[0], b - below[1], c - below[2])
        assert agrees(found.difference_mean[level], found.difference_variance[level], exact, rows)
    entropy = D / 2 * math.log(2 * math.pi * math.e)
    entropy += 0.5 * float(LADDER.posterior(torch.zeros(1, D)).covariance_matrix[0].logdet())
    assert moments(*quadratic(LADDER, 2)) == pytest.approx((entropy, D / 2), rel=1e-4)


def test_the_sum_telescopes(data: MultilevelData) -> None:
    found = exact_table(data, LADDER)
    assert math.isnan(found.check[0])
    assert all(0 <= c < 1 for c in found.check[1:])
    (telescoped, error), (plain, own_error) = found.telescoped, found.plain
    assert abs(telescoped - plain) < 4 * (error + own_error)
    assert all(0.5 < c < 1 for c in found.correlation[1:])


def altered(data: MultilevelData, how: str) -> MultilevelData:
    """Coarse halves of level 1 that are not level 0's runs at the same theta."""
    coarse = data.x_coarse(1)
    changed = coarse.roll(1, 0) if how == "shuffled" else coarse + 0.5
    levels: list[Any] = [(data.theta(0), data.x(0)), (data.theta(1), changed, data.x(1))]
    levels += [(data.theta(i), data.x_coarse(i), data.x(i)) for i in range(2, data.num_levels)]
    return MultilevelData.from_arrays(data.prior, levels)


@pytest.mark.parametrize("how", ["shuffled", "shifted"])
def test_the_check_flags_pairs_that_are_none(how: str, data: MultilevelData) -> None:
    found = exact_table(altered(data, how), LADDER)
    assert found.check[1] > 1
    assert found.check[2] < 1
    notes = [n for n in found.table().notes if "check above 1" in n]
    assert len(notes) == 1
    assert notes[0].startswith("level 1")


@pytest.mark.parametrize("how", [None, "shuffled"])
def test_the_check_holds_of_a_trained_density(how: str | None) -> None:
    data = Ladder().data((600, 300), seed=4)
    fit = fitted(SingleLevel(), altered(data, how) if how else data, ensemble=5)
    assert fit.multilevel is not None
    assert (fit.multilevel.check[1] > 1) == (how is not None)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients_are_those_of_the_terms(parts: int) -> None:
    data = LADDER.data((300, 200, 100), seed=2)
    found = exact_table(data, LADDER, parts=parts)
    norms, terms = [], []
    for level in range(3):
        # grad of -log q at shift 0 is minus precision @ residual; a member judges every other row
        runs = [(1.0, data.x(level))] + ([(-1.0, data.x_coarse(level))] if level else [])
        total = torch.zeros(2, D).double()
        for sign, x in runs:
            posterior = LADDER.posterior(x)
            residual = data.theta(level).double() - posterior.mean
            score = -sign * residual @ posterior.precision_matrix[0]
            total += torch.stack([score[::2].mean(0), score[1::2].mean(0)])
        terms.append(total)
        norms.append(float(total.norm(dim=1).mean()))
    assert found.gradient_norm == pytest.approx(norms, rel=1e-3)
    similar = [terms[1] + terms[2], *terms[1:]]
    cosines = [float(nn.functional.cosine_similarity(terms[0], s).mean()) for s in similar]
    assert found.cosine == pytest.approx(cosines, rel=1e-3)
    assert found.projected == 0.25


def test_where_nothing_is_held_out_all_rows_are_read_and_it_is_said() -> None:
    found = exact_table(LADDER.data((40, 30, 20), seed=1), LADDER, held_out=False)
    assert found.rows == (40, 30, 20)
    assert found.held_out_rows == (0, 0, 0)
    assert sum("training rows" in note for note in found.table().notes) == 3


@pytest.mark.slow
def test_a_well_trained_fit_has_the_numbers_of_the_exact_posterior() -> None:
    ladder = Ladder(gap=0.2)
    data = ladder.data((6000, 2000), seed=5)
    strategy = Multilevel(rescale=False, project=False, start="fresh")
    options = {"estimator": MDN(components=1, hidden=(32,)), "ensemble": 5}
    fit = fit_posterior(data, seed=1, strategy=strategy, **options)
    found, fine, coarse = fit.multilevel, quadratic(ladder, 1), quadratic(ladder, 0)
    assert found is not None
    assert agrees(found.loss_mean[1], found.loss_variance[1], moments(*fine), 2000)
    assert agrees(found.loss_mean[0], found.loss_variance[0], moments(*coarse), 2000)
    exact = moments(fine[0] - coarse[0], fine[1] - coarse[1], fine[2] - coarse[2])
    assert agrees(found.difference_mean[1], found.difference_variance[1], exact, 2000)
    assert found.check[1] < 1


# --- on disk, and printed ---------------------------------------------------------------------


def test_saved_loaded_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = linear_data((50, 30), costs=[1.0, 5.0])
    fit = fitted(Multilevel(), data)
    table = fit.table()
    assert capsys.readouterr().out == f"{table}\n"
    fit.save(tmp_path / "fit")
    again = load_fit(tmp_path / "fit")
    assert repr(again.multilevel) == repr(fit.multilevel)  # NaN is not equal to itself
    assert again.table() == table
    config = json.loads((tmp_path / "fit" / "fit.json").read_text())
    del config["multilevel"]["kurtosis"]
    (tmp_path / "fit" / "fit.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"fit.json is damaged.*kurtosis"):
        load_fit(tmp_path / "fit")
    del config["multilevel"]  # as fits were before
    (tmp_path / "fit" / "fit.json").write_text(json.dumps(config))
    old = load_fit(tmp_path / "fit")
    assert old.multilevel is None
    theta, x = data.theta(1), data.x(1)
    assert torch.equal(old.log_prob(theta, x), fit.log_prob(theta, x))
    with pytest.raises(ValueError, match="this fit has no multilevel table.*Fit again"):
        old.table()


def test_figures_follow_from_the_numbers() -> None:
    found = MultilevelLosses(
        n=(100, 10), costs=(1.0, 9.0), rows=(50, 8), held_out_rows=(50, 8),
        loss_mean=(3.0, 2.0), loss_variance=(4.0, 2.0),
        coarse_mean=(NAN, 2.5), coarse_variance=(NAN, 2.0),
        difference_mean=(3.0, -0.5), difference_variance=(4.0, 0.4),
        kurtosis=(3.0, 120.0), identical=(False, False),
        gradient_norm=(1.0, 0.5), cosine=(-0.5, -0.5), projected=0.25, unit="nats",
    )  # fmt: skip
    assert found.row_costs == (1.0, 10.0)
    assert found.correlation[1] == pytest.approx(0.9)
    assert found.equal_runs == pytest.approx(2 / (4 / 100 + 0.4 / 10))
    assert found.cost_factor == pytest.approx(25 * 9 / 200)
    assert found.telescoped == pytest.approx((2.5, math.sqrt(4 / 50 + 0.4 / 8)))
    assert found.plain == pytest.approx((2.0, 0.5))
    errors = math.sqrt(0.4 / 8) + math.sqrt(4 / 50) + math.sqrt(2 / 8)
    assert found.check[1] == pytest.approx(abs(-0.5 + 3 - 2) / (3 * errors))
    table = found.table()
    assert table.column("var_share") == [0.5, 0.5]
    assert table.column("cost_share") == [0.5, 0.5]
    assert table.column("corr")[0] is None
    assert table.column("projected") == [None, 0.25]
    notes = "\n".join(table.notes)
    for words in ("only 8 held-out rows", "kurtosis above 100", "2.5 times those", "1.12 times"):
        assert words in notes
    record = json.loads(json.dumps(found.to_dict()))
    assert repr(MultilevelLosses.from_dict(record)) == repr(found)
