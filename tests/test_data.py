"""Data of levels: validation, pairs that stay together, costs, and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform
from torch import distributions as td

from mlsbi.data import MultilevelData
from mlsbi.prior import as_prior

PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))


def runs(counts=(12, 6, 4), *, event=(3,), seed=0):
    """Arrays in which every member of a row carries the row's number."""
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for level, n in enumerate(counts):
        theta = torch.rand(n, 2, generator=generator)
        mark = torch.arange(n).reshape(n, *(1 for _ in event)).expand(n, *event) + 100.0 * level
        theta[:, 0] = torch.arange(n) / n
        levels.append((theta, mark + 0.25, mark + 0.5) if level else (theta, mark + 0.5))
    return levels


def make(counts=(12, 6, 4), **options):
    return MultilevelData.from_arrays(PRIOR, runs(counts), **options)


def row_numbers(data, level):
    numbers = [(data.theta(level)[:, 0] * make().n[level]).round(), data.x(level)[:, 0] - 0.5]
    if level > 0:
        numbers.append(data.x_coarse(level)[:, 0] - 0.25)
    return [n.long() % 100 for n in numbers]


def assert_together(data):
    for level in range(data.num_levels):
        first, *others = row_numbers(data, level)
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("convert", [torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist])
def test_arrays_come_back_as_float32(convert):
    given = runs()
    data = MultilevelData.from_arrays(PRIOR, [[convert(a) for a in level] for level in given])
    assert data.n == (12, 6, 4)
    assert (data.num_levels, data.theta_dim, data.event_shape(2)) == (3, 2, (3,))
    assert data.dropped == (0, 0, 0)
    assert data.costs is None
    assert data.cost is None
    for level, arrays in enumerate(given):
        held = [data.theta(level), data.x(level)]
        if level > 0:
            held.insert(1, data.x_coarse(level))
        for tensor, array in zip(held, arrays, strict=True):
            assert torch.equal(tensor, array)
            assert tensor.dtype == torch.float32


def test_arrays_are_copied():
    levels = [[a.numpy().copy() for a in level] for level in runs()]
    data = MultilevelData.from_arrays(PRIOR, levels)
    levels[0][1][:] = np.nan
    assert bool(torch.isfinite(data.x(0)).all())


def test_event_shapes_may_differ_between_levels():
    (theta0, _), (theta1, _, x1) = runs((5, 4))
    levels = [(theta0, torch.zeros(5, 2, 2)), (theta1, torch.zeros(4, 2, 2), x1)]
    data = MultilevelData.from_arrays(PRIOR, levels)
    assert data.event_shape(0) == (2, 2)
    assert data.event_shape(1) == (3,)
    assert tuple(data.x_coarse(1).shape) == (4, 2, 2)


def test_cost_counts_both_members_of_a_pair():
    data = make(costs=(1, 10.0, 100))
    assert data.costs == (1.0, 10.0, 100.0)
    assert data.cost == 12 * 1 + 6 * (10 + 1) + 4 * (100 + 10)
    assert data.top().cost == 4 * 100
    assert "total cost 518" in repr(data)
    assert "level 1: 6 pairs, x (3,), cost 10 a run" in repr(data)


def test_top_is_the_finest_level_alone():
    data = make()
    top = data.top()
    assert top.n == (4,)
    assert torch.equal(top.theta(0), data.theta(2))
    assert torch.equal(top.x(0), data.x(2))
    with pytest.raises(ValueError, match="level must be at least 1"):
        top.x_coarse(0)


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.99])
def test_split_keeps_pairs_together(fraction):
    data = make(costs=(1, 2, 3))
    first, second = data.split(fraction, seed=3)
    for part in (first, second):
        assert_together(part)
        assert part.costs == data.costs
        assert min(part.n) >= 1
    for level, n in enumerate(data.n):
        rows = torch.cat([row_numbers(first, level)[0], row_numbers(second, level)[0]])
        assert rows.sort().values.tolist() == list(range(n))
        assert first.n[level] == min(max(round(fraction * n), 1), n - 1)


def test_split_follows_its_seed():
    data = make((200,))
    assert torch.equal(data.split(0.5, seed=1)[0].theta(0), data.split(0.5, seed=1)[0].theta(0))
    assert not torch.equal(data.split(0.5, seed=1)[0].x(0), data.split(0.5, seed=2)[0].x(0))


def test_splits_of_levels_are_independent():
    """Negative control: the same rows at every level would leave the others never validated."""
    data = MultilevelData.from_arrays(PRIOR, runs((100, 100)))
    part = data.split(0.5, seed=0)[0]
    assert not torch.equal(part.x(0), part.x(1) - 100)


def test_subset_keeps_pairs_together():
    mask = torch.tensor([True, False, True, False, False, False])
    data = make().subset([[3, 1, 1], mask, None])
    assert_together(data)
    assert [row_numbers(data, level)[0].tolist() for level in range(3)] == [
        [3, 1, 1],
        [0, 2],
        [0, 1, 2, 3],
    ]


def test_dropping_a_member_drops_its_pair_and_warns_with_counts():
    levels = runs()
    levels[0][0][1, 0] = np.nan
    levels[1] = tuple(a.clone() for a in levels[1])
    levels[1][1][2, 0] = np.nan
    levels[1][2][4, 1] = np.inf
    with pytest.warns(
        UserWarning, match=r"level 0: 1 of 12, level 1: 2 of 6, level 2: 0 of 4.*bias"
    ) as caught:
        data = MultilevelData.from_arrays(PRIOR, levels, on_invalid="drop")
    assert caught[0].filename == __file__
    assert data.n == (11, 4, 4)
    assert data.dropped == (1, 2, 0)
    assert_together(data)
    assert row_numbers(data, 1)[0].tolist() == [0, 1, 3, 5]
    assert "2 dropped" in repr(data)


PRIORS = {
    "box": PRIOR,
    "list": [td.Uniform(0.0, 1.0), td.Exponential(1.0)],
    "normal": td.MultivariateNormal(torch.zeros(2), torch.eye(2)),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
@pytest.mark.parametrize("event", [(3,), (2, 4)])
@pytest.mark.parametrize("costs", [None, (1.5, 10, 1e9)])
def test_save_and_load_are_equal_bit_for_bit(tmp_path, prior, event, costs):
    levels = runs(event=event)
    levels[0][0][0] = torch.tensor([1e-40, 1.0])  # a subnormal number
    data = MultilevelData.from_arrays(prior, levels, costs=costs)
    path = tmp_path / "deep" / "runs.zarr"
    data.save(path)
    again = MultilevelData.load(str(path))
    assert (again.n, again.costs, again.dropped) == (data.n, data.costs, data.dropped)
    for level in range(3):
        assert torch.equal(again.theta(level), data.theta(level))
        assert torch.equal(again.x(level), data.x(level))
        if level:
            assert torch.equal(again.x_coarse(level), data.x_coarse(level))
    theta = data.theta(0)
    assert torch.equal(again.prior.log_prob(theta), data.prior.log_prob(theta))
    assert json.loads((path / "zarr.json").read_text())["zarr_format"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["runs.zarr"]


def test_dropped_counts_are_saved(tmp_path):
    levels = runs()
    levels[0][0][1, 0] = np.nan
    with pytest.warns(UserWarning, match="left out"):
        data = MultilevelData.from_arrays(PRIOR, levels, on_invalid="drop")
    data.save(tmp_path / "runs")
    assert MultilevelData.load(tmp_path / "runs").dropped == (1, 0, 0)


class Tilted(td.Independent):
    """A family that mlsbi cannot rebuild."""


def test_custom_prior_is_passed_again(tmp_path):
    prior = Tilted(td.Normal(torch.zeros(2), torch.ones(2)), 1)
    MultilevelData.from_arrays(prior, runs()).save(tmp_path / "runs")
    with pytest.raises(ValueError, match="prior=") as error:
        MultilevelData.load(tmp_path / "runs")
    assert "Tilted" in str(error.value)
    assert MultilevelData.load(tmp_path / "runs", prior=prior).n == (12, 6, 4)


def test_save_refuses_to_overwrite_unless_asked(tmp_path):
    path = tmp_path / "runs"
    make().save(path)
    with pytest.raises(ValueError, match=r"path .*overwrite=True"):
        make((2, 2)).save(path)
    assert MultilevelData.load(path).n == (12, 6, 4)
    make((2, 2)).save(path, overwrite=True)
    assert MultilevelData.load(path).n == (2, 2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("dear")
    with pytest.raises(ValueError, match="Choose another"):
        make().save(tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "dear"


def test_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "runs"
    make().save(path)

    def fail(data, folder):
        folder.mkdir()
        raise OSError("disk full")

    monkeypatch.setattr("mlsbi.data_io._write", fail)
    with pytest.raises(OSError, match="disk full"):
        make((2, 2)).save(path, overwrite=True)
    assert MultilevelData.load(path).n == (12, 6, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_failed_rename_puts_the_old_data_back(tmp_path, monkeypatch):
    path = tmp_path / "runs"
    make().save(path)
    rename = Path.rename

    def fail(self, target):
        if self.name == "new":
            raise OSError("no rename")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no rename"):
        make((2, 2)).save(path, overwrite=True)
    monkeypatch.undo()
    assert MultilevelData.load(path).n == (12, 6, 4)


def damaged(tmp_path, *, attribute=None, value=None, missing=None):
    path = tmp_path / "damaged"
    make().save(path)
    if missing:
        (path / missing).rename(tmp_path / "gone")
    if attribute:
        meta = json.loads((path / "zarr.json").read_text())
        meta["attributes"][attribute] = value
        (path / "zarr.json").write_text(json.dumps(meta))
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"attribute": "format", "value": "x"}, "does not hold saved data"),
        ({"attribute": "format_version", "value": 99}, "format version 99.*Use the version"),
        ({"attribute": "n", "value": [12, 6, 5]}, "damaged.*5 rows"),
        ({"missing": "level_1/x"}, "damaged"),
        ({"missing": "zarr.json"}, "does not hold saved data"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, damage, message):
    path = damaged(tmp_path, **damage)
    with pytest.raises(ValueError, match=message):
        MultilevelData.load(path)


def arrays(levels, prior=PRIOR, **options):
    return lambda: MultilevelData.from_arrays(prior, levels, **options)


def changed(level, member, value):
    levels = [list(entry) for entry in runs()]
    levels[level][member] = value
    return arrays(levels)


NAN_X = runs()[0][1].clone()
NAN_X[3, 0] = float("nan")
OUT = runs()[1][0].clone()
OUT[2, 1] = 7.0
ALL_NAN = [(runs()[0][0], torch.full((12, 3), float("nan")))]
DATA = make()

BAD = {
    "prior": (arrays(runs(), prior=3), TypeError, "prior", "Pass"),
    "prior: dim": (arrays(runs(), prior=[td.Normal(0.0, 1.0)]), ValueError, "theta", "correct the"),
    "levels": (arrays(None), TypeError, "levels", "Give"),
    "levels: empty": (arrays([]), ValueError, "levels", "Give"),
    "levels: array": (arrays([torch.ones(3, 2)]), TypeError, r"levels\[0\]", "Give"),
    "levels: two of three": (arrays([*runs()[:1], runs()[0]]), ValueError, r"levels\[1\]", "Give"),
    "theta: type": (changed(0, 0, None), TypeError, r"levels\[0\]: theta", "Convert"),
    "theta: shape": (changed(0, 0, torch.ones(12)), ValueError, r"levels\[0\]: theta", "Pass"),
    "theta: no rows": (changed(1, 0, torch.ones(0, 2)), ValueError, r"levels\[1\]: theta", "Add"),
    "theta: outside": (changed(1, 0, OUT), ValueError, r"levels\[1\]: theta.*row 2", "Widen"),
    "x: type": (changed(0, 1, "a"), TypeError, r"levels\[0\]: x", "Convert"),
    "x: rows": (changed(2, 2, torch.ones(3, 3)), ValueError, r"levels\[2\]: x .*n = 4", "Pass"),
    "x: scalar": (changed(0, 1, torch.ones(12)), ValueError, r"levels\[0\]: x", r"\(n, 1\)"),
    "x: empty": (changed(0, 1, torch.ones(12, 0)), ValueError, r"levels\[0\]: x", "Pass"),
    "x: NaN": (changed(0, 1, NAN_X), ValueError, r"levels\[0\].*x: 1.*\[3\]", "on_invalid='drop'"),
    "x_coarse: event": (
        changed(1, 1, torch.ones(6, 4)),
        ValueError,
        r"levels\[1\]: x_coarse",
        "Check the order",
    ),
    "x: all NaN": (arrays(ALL_NAN, on_invalid="drop"), ValueError, r"levels\[0\]", "Correct"),
    "costs": (arrays(runs(), costs=3.0), TypeError, "costs", "Pass"),
    "costs: count": (arrays(runs(), costs=[1.0]), ValueError, "costs", "Pass"),
    "costs: zero": (arrays(runs(), costs=[1, 0, 1]), ValueError, r"costs\[1\]", "Pass"),
    "costs: None": (arrays(runs(), costs=[1, None, 1]), TypeError, r"costs\[1\]", "Pass"),
    "on_invalid": (arrays(runs(), on_invalid="skip"), ValueError, "on_invalid", "Choose"),
    "on_invalid: type": (arrays(runs(), on_invalid=True), TypeError, "on_invalid", "Pass"),
    "level": (lambda: DATA.theta(3), ValueError, "level", "Levels run from 0"),
    "level: -1": (lambda: DATA.x(-1), ValueError, "level", "Pass"),
    "level: float": (lambda: DATA.x_coarse(1.0), TypeError, "level", "Pass"),
    "level: coarsest": (lambda: DATA.x_coarse(0), ValueError, "level", "use x"),
    "event_shape": (lambda: DATA.event_shape("a"), TypeError, "level", "Pass"),
    "rows": (lambda: DATA.subset(3), TypeError, "rows", "Pass"),
    "rows: count": (lambda: DATA.subset([None]), ValueError, "rows", "Use None"),
    "rows: range": (lambda: DATA.subset([[12], None, None]), ValueError, r"rows\[0\]", "Pass"),
    "rows: negative": (lambda: DATA.subset([[-1], None, None]), ValueError, r"rows\[0\]", "Pass"),
    "rows: empty": (lambda: DATA.subset([None, [], None]), ValueError, r"rows\[1\]", "Pass"),
    "rows: float": (lambda: DATA.subset([None, [0.5], None]), TypeError, r"rows\[1\]", "Pass"),
    "rows: number": (lambda: DATA.subset([None, 3, None]), TypeError, r"rows\[1\]", "Convert"),
    "rows: mask": (lambda: DATA.subset([None, None, [True]]), ValueError, r"rows\[2\]", "Pass"),
    "rows: no mask": (
        lambda: DATA.subset([None, None, [False] * 4]),
        ValueError,
        r"rows\[2\]",
        "Set",
    ),
    "fraction": (lambda: DATA.split(1.0, seed=0), ValueError, "fraction", "Pass"),
    "fraction: type": (lambda: DATA.split("a", seed=0), TypeError, "fraction", "Pass"),
    "seed": (lambda: DATA.split(0.5, seed=-1), ValueError, "seed", "Pass"),
    "seed: type": (lambda: DATA.split(0.5, seed=None), TypeError, "seed", "Pass"),
    "split: one row": (lambda: make((1,)).split(0.5, seed=0), ValueError, "data .*level 0", "Add"),
    "path": (lambda: DATA.save(3), TypeError, "path", "Pass"),
    "path: empty": (lambda: DATA.save(""), ValueError, "path", "Pass"),
    "overwrite": (lambda: DATA.save("x", overwrite=1), TypeError, "overwrite", "Pass"),
    "load: type": (lambda: MultilevelData.load(None), TypeError, "path", "Pass"),
    "load: none": (lambda: MultilevelData.load("no/such"), ValueError, "path", "Pass"),
}


@pytest.mark.parametrize(("call", "kind", "argument", "remedy"), BAD.values(), ids=BAD)
def test_refusals_name_the_argument_and_the_remedy(call, kind, argument, remedy):
    with pytest.raises(kind, match=f"(?s){argument}.*{remedy}"):
        call()


def test_a_made_prior_is_taken_as_it_is():
    prior = as_prior(PRIOR)
    assert MultilevelData.from_arrays(prior, runs()).prior is prior
