"""Studies of runs on disk: every format, what is chosen where none is said, and the errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
import torch
import zarr
from pyarrow import parquet

import mlsbi
from mlsbi.studies.formats import place_of
from mlsbi.study import Study
from tiny import linear_data

PARAMETERS = """
[[parameters]]
name = "a"
low = -1
high = 1
[[parameters]]
name = "b"
low = -1
high = 1
"""
Arrays = dict[str, np.ndarray]


def runs(seed: int = 0, n: tuple[int, int] = (12, 5)) -> list[Arrays]:
    """The arrays of two levels."""
    data = linear_data(n, seed=seed)
    low = {"theta": data.theta(0).numpy(), "x": data.x(0).numpy()}
    pairs = {"theta": data.theta(1), "x_coarse": data.x_coarse(1), "x": data.x(1)}
    return [low, {name: tensor.numpy() for name, tensor in pairs.items()}]


def study(folder: Path, levels: list[dict[str, Any]], more: str = "") -> Study:
    text = PARAMETERS
    for table in levels:
        text += "[[levels]]\n" + "".join(f"{key} = {value!r}\n" for key, value in table.items())
    path = folder / "study.toml"
    path.write_text(text + more)
    return Study.load(path)


def refused(own: Study) -> str:
    with pytest.raises(ValueError, match="study") as caught:
        own.simulate()
    return str(caught.value)


def write_npz(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    np.savez(folder / f"{level}.npz", **arrays)
    return dict.fromkeys(arrays, f"{level}.npz")


def write_npy(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    for name, array in arrays.items():
        np.save(folder / f"{name}{level}.npy", array)
    return {name: f"{name}{level}.npy" for name in arrays}


def write_hdf5(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    with h5py.File(folder / f"{level}.h5", "w") as file:
        for name, array in arrays.items():
            file[f"runs/{name}"] = array
    return {name: f"{level}.h5:runs/{name}" for name in arrays}


def write_zarr(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    group = zarr.open_group(str(folder / f"{level}.zarr"), mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=array)
    return dict.fromkeys(arrays, f"{level}.zarr")


def columns(arrays: Arrays) -> dict[str, np.ndarray]:
    """A table whose columns of x are out of order, x_10 before x_2."""
    table = {}
    for name, array in arrays.items():
        labels = ["a", "b"] if name == "theta" else [f"{name}_{i}" for i in (1, 2, 10)]
        table |= dict(zip(labels, array.T, strict=True))
    return dict(sorted(table.items()))


def write_csv(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    table = columns(arrays)
    lines = [
        ",".join(table),
        *(",".join(map(repr, map(float, row))) for row in zip(*table.values(), strict=True)),
    ]
    (folder / f"{level}.csv").write_text("\n".join(lines) + "\n")
    return dict.fromkeys(arrays, f"{level}.csv")


def write_text(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    """As simulators write them: a word in front of each line, names behind a #."""
    table = columns(arrays)
    lines = ["#name " + " ".join(table)]
    for i, row in enumerate(zip(*table.values(), strict=True)):
        lines.append(" ".join([f"run_{i}", *(f"{value:.9g}" for value in row)]))
    (folder / f"{level}.txt").write_text("\n".join(lines) + "\n")
    return {name: f"{level}.txt" for name in arrays}


def write_parquet(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    parquet.write_table(pyarrow.table(columns(arrays)), folder / f"{level}.parquet")
    return dict.fromkeys(arrays, f"{level}.parquet")


def write_lists(folder: Path, level: int, arrays: Arrays) -> dict[str, str]:
    """A column of lists by the key's own name."""
    table = {name: list(array.astype(float)) for name, array in arrays.items()}
    parquet.write_table(pyarrow.table(table), folder / f"{level}.parquet")
    return dict.fromkeys(arrays, f"{level}.parquet")


WRITERS = [
    write_npz, write_npy, write_hdf5, write_zarr, write_csv, write_text, write_parquet, write_lists
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_format_gives_the_runs(write: Callable[..., dict[str, str]], tmp_path):
    arrays = runs()
    own = study(
        tmp_path, [write(tmp_path, i, level) | {"cost": 1} for i, level in enumerate(arrays)]
    )
    data = own.simulate()
    assert (data.n, data.costs) == ((12, 5), (1.0, 1.0))
    for level, expected in enumerate(arrays):
        for name, array in expected.items():
            assert torch.equal(getattr(data, name)(level), torch.from_numpy(array)), (level, name)


def test_names_and_patterns(tmp_path):
    low, pairs = runs()
    np.savez(tmp_path / "all.npz", p=low["theta"], spectra=low["x"])
    write_csv(tmp_path, 1, pairs)
    own = study(
        tmp_path,
        [
            {"theta": "all.npz:p", "x": "all.npz:spectra"},
            {"theta": "1.csv:a, b", "x": "1.csv:x_1,x_2,x_10", "x_coarse": "1.csv:x_coarse_*"},
        ],
    )
    data = own.simulate()
    assert torch.equal(data.x_coarse(1), torch.from_numpy(pairs["x_coarse"]))
    assert data.costs is None
    assert own.steps()[0].state == own.steps()[1].state == "not needed"
    assert own.plan() is None


def test_one_file_serves_two_levels_by_rows(tmp_path):
    both = linear_data((20, 20), seed=3)
    np.save(tmp_path / "theta.npy", both.theta(1).numpy())
    np.save(tmp_path / "low.npy", both.x_coarse(1).numpy())
    np.save(tmp_path / "high.npy", both.x(1).numpy())
    own = study(
        tmp_path,
        [
            {"theta": "theta.npy", "x": "low.npy", "rows": "5:"},
            {"theta": "theta.npy", "x_coarse": "low.npy", "x": "high.npy", "rows": " :5"},
        ],
        '[check]\ntheta = "theta.npy"\nx = "high.npy"\nrows = "5:20"\n'
        '[observation]\nx = "high.npy"\nrows = "7:8"\n',
    )
    data = own.simulate()
    assert data.n == (15, 5)
    assert torch.equal(data.theta(0), both.theta(1)[5:])
    assert torch.equal(data.x(1), both.x(1)[:5])
    assert torch.equal(own.observed(), both.x(1)[7:8])


def test_numbers_may_stand_in_a_row(tmp_path):
    """x of one number a run may have shape (n,)."""
    low, pairs = runs()
    flat = {name: array[:, 0] if name != "theta" else array for name, array in pairs.items()}
    first = {"theta": low["theta"], "x": low["x"][:, 0]}
    own = study(
        tmp_path, [write_npy(tmp_path, i, arrays) for i, arrays in enumerate([first, flat])]
    )
    assert own.simulate().event_shape(1) == (1,)


@pytest.mark.parametrize("kind", ["saved", "campaign"])
def test_saved_data_in_place_of_levels(kind, tmp_path):
    if kind == "saved":
        data = linear_data((12, 5))
        data.save(tmp_path / "runs.zarr")
    else:
        levels = [mlsbi.Level(_low, cost=1.0), mlsbi.Level(_high, cost=3.0)]
        hierarchy = mlsbi.Hierarchy(torch.distributions.Independent(_box(), 1), levels)
        data = mlsbi.simulate(hierarchy, [12, 5], seed=1, store=tmp_path / "runs.zarr")
    path = tmp_path / "study.toml"
    path.write_text('[data]\npath = "runs.zarr"\n')
    own = Study.load(path)
    assert torch.equal(own.simulate().x(1), data.x(1))
    assert own.simulate().costs == data.costs
    assert own.parameter_names is None
    path.write_text(PARAMETERS + '[data]\npath = "runs.zarr"\n')
    assert Study.load(path).parameter_names == ("a", "b")
    assert Study.load(path).simulate().n == (12, 5)


def _box() -> torch.distributions.Uniform:
    return torch.distributions.Uniform(-torch.ones(2), torch.ones(2))


def _low(theta, u):
    return theta + (u % 7)[:, None] / 70


def _high(theta, u):
    return theta + (u % 7)[:, None] / 70 + 0.01


BROKEN = [  # what one level says, and what the error must say of it
    ({"theta": "0.npz:thetas"}, ["levels[0].theta must name an array", "holds arrays theta, x"]),
    ({"x": "gone.npz"}, ["levels[0].x must name a file that is there", "'gone.npz'"]),
    ({"x": "0.bin"}, ["levels[0].x must name a file that ends in .npy, .npz", "'0.bin'"]),
    ({"x": "0.npz:"}, ["must have a name after the colon"]),
    (
        {"x": "more.npz"},
        ["levels[0].x must say which array, as in 'FILE:NAME'", "holds arrays p, q"],
    ),
    ({"x": "one.npy:x"}, ["levels[0].x must have no name after the file"]),
    (
        {"x": "t.csv:x_9"},
        ["levels[0].x must name columns", "'x_9'", "holds columns a, b, x_1, x_10, x_2"],
    ),
    (
        {"theta": "names.csv"},
        ["levels[0].theta must say which columns", "none of a, b", "holds columns c, d"],
    ),
    ({"x": "names.csv:c"}, ["levels[0].x must name a file that can be read", "one"]),
    ({"x": "bad.npz"}, ["levels[0].x must name a file that can be read", "bad.npz"]),
    ({"x": "objects.npy"}, ["levels[0].x must name a file that can be read", "allow_pickle"]),
    ({"rows": "3:40"}, ["levels[0].rows must lie within the 12 rows of", "'3:40'"]),
    ({"rows": "8:8"}, ["levels[0].rows", "the first before the last"]),
    (
        {"x": "one.npy"},
        ["levels[0]: x must have shape", "'one.npy' has shape (3, 3)", "'0.npz' has shape (12, 2)"],
    ),
    (
        {"theta": "0.npz:x"},
        ["theta must have shape (n, 2)", "levels[0].theta = '0.npz:x' has shape (12, 3)"],
    ),
    ({"theta": "far.npy"}, ["theta must lie in the prior's support", "far.npy"]),
    ({"x": "nan.npy"}, ["NaN or infinite values", "set on_failure = 'drop' in [run]"]),
    ({"x": "words.npy"}, ["levels[0]: x must hold real numbers"]),
    ({"x": "saved.zarr"}, ["levels[0].x must name arrays", "[data] path"]),
]


@pytest.mark.parametrize(("change", "parts"), BROKEN, ids=range(len(BROKEN)))
def test_errors_name_key_file_and_what_is_in_it(change, parts, tmp_path):
    low, pairs = runs()
    tables = [write_npz(tmp_path, i, arrays) for i, arrays in enumerate([low, pairs])]
    np.savez(tmp_path / "more.npz", p=low["x"], q=low["x"])
    np.save(tmp_path / "one.npy", np.zeros((3, 3)))
    np.save(tmp_path / "far.npy", low["theta"] + 9)
    np.save(tmp_path / "words.npy", np.array([["a"]] * 12))
    np.save(tmp_path / "objects.npy", np.array([{}] * 12), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.where(np.arange(12)[:, None] == 4, np.nan, low["x"]))
    (tmp_path / "bad.npz").write_text("no archive")
    (tmp_path / "names.csv").write_text("c,d\none,2\n")
    write_csv(tmp_path, 0, low)
    (tmp_path / "0.csv").rename(tmp_path / "t.csv")
    linear_data((4, 3)).save(tmp_path / "saved.zarr")
    message = refused(study(tmp_path, [tables[0] | change, tables[1]]))
    assert str(tmp_path / "study.toml") in message
    for part in parts:
        assert part in message


def test_runs_that_are_not_finite_can_be_left_out(tmp_path):
    low, pairs = runs()
    low["x"][4] = np.nan
    tables = [write_csv(tmp_path, i, arrays) for i, arrays in enumerate([low, pairs])]
    text = (tmp_path / "0.csv").read_text().replace("nan", "")  # an empty cell is none
    (tmp_path / "0.csv").write_text(text)
    own = study(tmp_path, tables, '[run]\non_failure = "drop"\n')
    with pytest.warns(UserWarning, match="left out runs"):
        data = own.simulate()
    assert (data.n, data.dropped) == ((11, 5), (1, 0))


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    low, pairs = runs()
    for write, extra, module in (
        (write_parquet, "parquet", "pyarrow"),
        (write_hdf5, "hdf5", "h5py"),
    ):
        own = study(tmp_path, [write(tmp_path, i, arrays) for i, arrays in enumerate([low, pairs])])
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            message = refused(own)
        assert f"pip install 'mlsbi[{extra}]'" in message
        assert f"needs the package {module}" in message


@pytest.mark.parametrize(
    ("text", "file", "name"),
    [
        ("a.npz", "a.npz", None),
        ("a.npz:x", "a.npz", "x"),
        ("C:/runs/a.npz", "C:/runs/a.npz", None),
        ("C:/runs/a.npz:x", "C:/runs/a.npz", "x"),
        ("a:b.npy", "a:b.npy", None),
        ("a.h5:g/x", "a.h5", "g/x"),
        ("A.NPZ:x", "A.NPZ", "x"),
    ],
)
def test_a_colon_parts_only_behind_a_known_suffix(text, file, name, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    place = place_of(text, tmp_path, key="k")
    assert (place.path, place.name) == (path, name)


@pytest.mark.data
def test_the_camels_files_are_a_study(data_folder, tmp_path):
    camels = data_folder / "camels"
    text = f"""
    [[parameters]]
    name = "Omega_m"
    low = 0.1
    high = 0.5
    [[parameters]]
    name = "sigma_8"
    low = 0.6
    high = 1.0
    [[levels]]
    theta = "{camels}/parameters.txt"
    x = "{camels}/x_nbody.npy"
    rows = "20:1000"
    [[levels]]
    theta = "{camels}/parameters.txt:Omega_m,sigma_8"
    x_coarse = "{camels}/x_nbody.npy"
    x = "{camels}/x_hydro.npy"
    rows = "0:20"
    """
    (tmp_path / "study.toml").write_text(text)
    own = Study.load(tmp_path / "study.toml")
    data = own.simulate()
    assert data.n == (980, 20)
    assert data.event_shape(1) == (39,)
    assert data.theta(1)[0].tolist() == pytest.approx([0.309, 0.979])
    found = own.validate()
    assert found.ok, str(found)
    task = mlsbi.tasks.camels(camels, parameters=("Omega_m", "sigma_8"))
    theirs, _, _ = task.data((980, 20), seed=0)
    assert data.prior.low.tolist() == pytest.approx(theirs.prior.low.tolist())
    assert data.prior.high.tolist() == pytest.approx(theirs.prior.high.tolist())
