"""`Study.validate`: what is wrong is found before anything is spent, and nothing is written."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from studies import COUNTS, FIT, LEVELS, PRIOR, SEEN, WHOLE, Place
from tiny import linear_data

MORE = """

def odd(theta, u):
    return theta.numpy() + np.random.normal(size=theta.shape)


def holes(theta, u):
    x = theta.clone()
    x[1:2] = float("nan")
    return x


def row(theta, seed):
    if theta[0] > -2:
        raise ZeroDivisionError("by the rate")
    return theta


def neighbours(theta, u):
    return theta.cumsum(0)


def wide(theta, u):
    return torch.cat([theta, theta], 1)


def careless(n, generator):
    return torch.randn(n)


def broken_noise(n, generator):
    raise OSError("no such table")


def threads():
    raise OSError("no queue")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    made = Place(tmp_path)
    with (tmp_path / f"{made.models}.py").open("a") as file:
        file.write(MORE)
    yield made
    sys.modules.pop(made.models, None)


def test_a_sound_study(place, capsys):
    study = place.study()
    found = study.validate()
    assert found.ok, str(found)
    assert found.problems == ()
    assert [row["x"] for row in found.levels] == ["(2,)", "(2,)"]
    assert [row["same seed, same x"] for row in found.levels] == ["yes", "yes"]
    assert all(0 < row["seconds a run"] < 1 for row in found.levels)
    assert place.calls == (5, 5)
    assert not study.output.exists()
    assert "No problem was found." in str(found)
    assert capsys.readouterr().out == ""
    assert found.table() is found.levels
    assert "same seed" in capsys.readouterr().out
    assert json.loads(json.dumps(found.to_dict()))["ok"] is True


PROBLEMS = [  # what is changed in the file, and what is said
    ("MODELS:low", "MODELS:odd", ["levels[0] (odd) gave another x for the same theta and noise"]),
    (
        "MODELS:low",
        "MODELS:neighbours",
        ["levels[0] (neighbours) gave another x", "a row may depend on"],
    ),
    ("MODELS:low", "MODELS:holes", ["gave NaN or infinite values", "in 1 of 4 runs", "theta = ["]),
    (
        'simulator = "MODELS:low"',
        'simulator = "MODELS:row"\nbatched = false',
        [
            "levels[0] (row) failed at theta = [",
            "(this row): ZeroDivisionError: by the rate",
            ".py, line",
        ],
    ),
    (
        LEVELS,
        LEVELS + '[noise]\npython = "MODELS:careless"\n',
        ["noise must depend on its generator"],
    ),
    (
        LEVELS,
        LEVELS + '[noise]\npython = "MODELS:broken_noise"\n',
        ["OSError: no such table", "line"],
    ),
    ("MODELS:low", "MODELS:lower", ["levels[0].simulator must name an attribute"]),
    ("[0.3, -0.2]", "[0.3]", ["observation.x must have shape (2,), as x of level 1 has; got (1,)"]),
    ("[0.3, -0.2]", '"gone.npy"', ["observation.x must name a file that is there"]),
    (SEEN, SEEN + "theta = [0.0, 9.0]\n", ["observation.theta must lie in the prior's support"]),
    ("[fit]", '[fit]\nembedding_net = "MODELS:bad_net"', ["fit.embedding_net must map", "(2,)"]),
    ("[fit]", '[fit]\nestimator = "nfs"', ["fit.estimator must be one of"]),
    (COUNTS, COUNTS + '[report]\noutputs = ["a"]\n', ["report.outputs must have one name"]),
    (
        COUNTS,
        COUNTS + '[run]\nexecutor = "MODELS:threads"\n',
        ["run.executor", "OSError: no queue"],
    ),
    (
        COUNTS,
        COUNTS + '[run]\nexecutor = "MODELS:net"\n',
        ["run.executor", "must be None, a number"],
    ),
    ("folds = 2", 'theta = "t.npy"\nx = "t.npy"', ["check.theta must lie in the prior's support"]),
    ("folds = 2", 'theta = "u.npy"\nx = "t3.npy"', ["check.x must have shape (3, 2)"]),
    ("folds = 2", 'theta = "t3.npy"\nx = "u.npy"', ["check.theta must have 2 number(s) a run"]),
]


@pytest.mark.parametrize(("old", "new", "parts"), PROBLEMS, ids=range(len(PROBLEMS)))
def test_what_is_wrong_is_said(old, new, parts, place):
    np.save(place.folder / "t.npy", np.full((3, 2), 3.0))
    np.save(place.folder / "u.npy", np.full((3, 2), 0.5))
    np.save(place.folder / "t3.npy", np.full((3, 3), 0.5))
    study = place.study(WHOLE.replace(old, new, 1))
    found = study.validate()
    assert found.ok == (not parts)
    text = str(found)
    for part in parts:
        assert part in text
    assert not study.output.exists()


def test_all_levels_are_tried_though_one_fails(place):
    text = WHOLE.replace('"MODELS:low"', '"MODELS:row"\nbatched = false')
    found = place.study(text.replace("[0.3, -0.2]", "[0.3]")).validate()
    assert len(found.problems) == 2  # the level, and the observation against the other one
    assert [row["x"] for row in found.levels] == [None, "(2,)"]


def test_notes(place):
    text = PRIOR + LEVELS.replace("cost = 1\n", "").replace("MODELS:low", "MODELS:wide") + FIT
    found = place.study(text).validate()
    assert found.ok
    notes = "\n".join(found.notes)
    assert "x has another shape" in notes
    assert "(4,), (2,)" in notes
    assert "cost is left out at level 0" in notes
    assert "there is no [observation]" in notes
    assert "nothing says yet what may be spent" in notes


def test_counts_that_do_not_go_with_a_hierarchy(place):
    text = 'hierarchy = "mlsbi.tasks:ornstein_uhlenbeck"\n[simulate]\nn = [3, 3, 3]\n'
    found = place.study(text).validate()
    assert found.problems == ("simulate.n must have one number a level, 2; got 3",)
    text = 'hierarchy = "mlsbi.tasks:ornstein_uhlenbeck"\n[study]\nparameters = ["a"]\n'
    problem = place.study(text).validate().problems[0]
    assert problem.startswith("study.parameters must have one name a parameter of the prior")


def arrays(place, **changes):
    data = linear_data((12, 5), event=(2,))
    own = {"x": data.x(0).numpy(), "theta": data.theta(0).numpy()} | changes
    np.savez(place.folder / "0.npz", **own)
    np.savez(place.folder / "1.npz", theta=data.theta(1), x=data.x(1), x_coarse=data.x_coarse(1))
    levels = '[[levels]]\ntheta = "0.npz"\nx = "0.npz"\n'
    levels += '[[levels]]\ntheta = "1.npz"\nx = "1.npz"\nx_coarse = "1.npz"\n'
    return place.study(PRIOR + levels + FIT + SEEN)


def test_runs_on_disk(place):
    found = arrays(place).validate()
    assert found.ok, str(found)
    assert [(row["rows"], row["x"], row["not finite"]) for row in found.levels] == [
        (12, "(2,)", 0),
        (5, "(2,)", 0),
    ]
    holes = linear_data((12, 5), event=(2,)).x(0).numpy().copy()
    holes[3] = np.inf
    bad = arrays(place, x=holes)
    assert bad.validate().levels[0]["not finite"] == 1
    assert "NaN or infinite values" in bad.validate().problems[0]
    dropping = place.study(bad.path.read_text() + '[run]\non_failure = "drop"\n').validate()
    assert dropping.ok
    assert "left out runs" in dropping.notes[0]
    far = linear_data((12, 5), event=(2,)).theta(0).numpy() + np.array([[1.5, 0]])
    found = arrays(place, theta=far.astype("float32")).validate()
    assert found.levels[0]["outside the prior"] > 0
    assert "prior's support" in found.problems[0]


def test_saved_data(place):
    linear_data((12, 5), event=(2,)).save(place.folder / "runs.zarr")
    found = place.study('[data]\npath = "runs.zarr"\n' + SEEN).validate()
    assert found.ok
    assert [row["rows"] for row in found.levels] == [12, 5]
    assert "does not hold saved data" in str(place.study('[data]\npath = "."\n').validate())
