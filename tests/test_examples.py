"""The examples: notebooks are their scripts, and the simulators in them obey their laws."""

from __future__ import annotations

import csv
import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def module_at(path):
    """A script of the examples, imported; it does nothing but define things."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


notebooks = module_at(EXAMPLES / "notebooks.py")


@cache
def model_of(name):
    """What the cells tagged `model` of a script define: simulators, and nothing is run."""
    import mlsbi

    namespace = {"np": np, "torch": torch, "solve_ivp": solve_ivp, "mlsbi": mlsbi}
    namespace |= {"Tensor": torch.Tensor, "nn": torch.nn}
    for cell in notebooks.from_script(name).cells:
        if "model" in cell.metadata.get("tags", []):
            exec(compile(cell.source, f"{name}.py", "exec"), namespace)
    return namespace


# ---------------------------------------------------------------------------------- notebooks


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_a_notebook_is_its_script_and_has_been_run(name):
    assert not notebooks.is_stale(name)


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_a_notebook_is_small_and_shows_no_fault(name):
    path = notebooks.PAGES / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 700_000
    assert '"output_type": "error"' not in text
    assert '"name": "stderr"' not in text
    assert text.count('"image/png"') >= 2


def test_a_changed_script_makes_its_notebook_stale(tmp_path, monkeypatch):
    script = (EXAMPLES / "sir.py").read_text(encoding="utf-8")
    monkeypatch.setattr(notebooks, "HERE", tmp_path)
    (tmp_path / "sir.py").write_text(script, encoding="utf-8")
    assert not notebooks.is_stale("sir")
    (tmp_path / "sir.py").write_text(script + "\n# %% [markdown]\n# One more.\n", encoding="utf-8")
    assert notebooks.is_stale("sir")
    assert notebooks.with_outputs("sir") is not None  # text alone: outputs are kept
    (tmp_path / "sir.py").write_text(script + "\n# %%\nprint(1)\n", encoding="utf-8")
    assert notebooks.with_outputs("sir") is None


def test_every_example_is_listed():
    for page in (EXAMPLES / "README.md", notebooks.PAGES / "index.md"):
        text = page.read_text(encoding="utf-8")
        assert [name for name in notebooks.NAMES if name not in text] == []


# ---------------------------------------------------------------------------------- pendulum


def test_pendulum_levels_converge_on_each_other_at_first_order():
    model = model_of("pendulum")
    theta = torch.tensor([[9.8, 0.1, 0.1], [7.5, 0.3, 0.0], [11.0, 0.0, 0.3]])
    u = model["noise"](3, torch.Generator().manual_seed(1))
    fine = np.stack([model["adaptive"](*row) for row in zip(theta.numpy(), u.numpy(), strict=True)])
    errors = [np.abs(model["one_step"](theta, u, steps) - fine).max() for steps in (32, 64, 128)]
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert 1.7 < errors[1] / errors[2] < 2.3
    assert (
        np.abs(model["one_step"](theta, u) - fine).max() > 10 * errors[2]
    )  # one step: visibly off


def test_pendulum_swings_like_a_harmonic_oscillator_when_it_hardly_swings():
    model = model_of("pendulum")
    u = np.zeros(26)
    u[0] = (0.01 - 1.2) / 0.02  # let go at 0.01 rad
    times = 0.25 * np.arange(1, 25)
    swing = model["adaptive"](np.array([9.0, 0.0, 0.0]), u)
    np.testing.assert_allclose(swing, 0.01 * np.cos(3 * times), atol=1e-5)
    wide = model["adaptive"](np.array([9.0, 0.0, 0.0]), np.zeros(26))
    assert np.abs(wide - 1.2 * np.cos(3 * times)).max() > 0.3


def test_the_file_of_the_pendulum_is_what_its_script_makes(tmp_path):
    make = module_at(EXAMPLES / "data" / "make_pendulum.py")
    make.main(tmp_path / "pendulum.csv")
    there = (EXAMPLES / "data" / "pendulum.csv").read_text(encoding="utf-8")
    assert (tmp_path / "pendulum.csv").read_text(encoding="utf-8") == there


# ---------------------------------------------------------------------------------- epidemic


def epidemics(level, *, n=64, seed=0, r0=3.0, days=2.0, leaps=None):
    """Infectious boys of n epidemics of one theta, (n, 12), without the noise of counting."""
    model = model_of("sir")
    theta = torch.tensor([[r0, days]]).expand(n, 2)
    waits, errors = model["noise"](n, torch.Generator().manual_seed(seed))
    u = (waits, torch.zeros_like(errors))
    extra = {} if leaps is None else {"leaps": leaps}
    return model[level](theta, u, **extra) ** 2


def test_epidemics_are_whole_numbers_of_boys():
    model = model_of("sir")
    theta, u = torch.tensor([[3.0, 2.0]]).expand(64, 2), model["noise"](64, torch.Generator())
    for level in ("leaping", "exact"):
        ill = epidemics(level)
        np.testing.assert_allclose(ill, ill.round(), atol=1e-9)
        assert ill.min() >= 0
        assert ill.max() <= model["BOYS"]
        assert np.array_equal(model[level](theta, u), model[level](theta, u))


def test_leaping_comes_to_the_exact_epidemic_as_leaps_get_shorter():
    exact = epidemics("exact")
    far = [np.abs(epidemics("leaping", leaps=leaps) - exact).mean() for leaps in (1, 4, 64)]
    assert far[0] > 2 * far[1] > 8 * far[2]
    other = epidemics("leaping", leaps=64, seed=1)  # other clocks: another epidemic
    assert np.abs(other - exact).mean() > 5 * far[2]


def test_the_exact_epidemic_has_the_final_size_of_the_theory(monkeypatch):
    """Of epidemics that take off, the mean share infected is the root of z = 1 - exp(-R0 z)."""
    model, seen = model_of("sir"), {}
    usual = model["rates"]

    def watched(theta, infected, removed):
        seen["infected"] = infected.copy()
        return usual(theta, infected, removed)

    monkeypatch.setitem(model, "rates", watched)
    epidemics("exact", n=200, seed=3, r0=2.5, days=0.25)  # fast: over within twelve days
    share = (seen["infected"] + 3) / 763
    large = share[share > 0.4]
    expected = 0.8926
    assert abs(expected - (1 - np.exp(-2.5 * expected))) < 1e-4
    error = large.std(ddof=1) / len(large) ** 0.5
    assert abs(large.mean() - expected) < 4 * error + 0.003  # 3 of 763 were ill at the start
    assert abs(large.mean() - 0.797) > 10 * error  # what R0 = 2 would give


def test_the_counts_are_those_of_the_school():
    with (EXAMPLES / "data" / "boarding_school.csv").open(encoding="utf-8") as file:
        counts = [int(row["in_bed"]) for row in csv.DictReader(file)]
    assert (len(counts), max(counts), sum(counts)) == (14, 298, 1559)


# ---------------------------------------------------------------------------------- lynx and hare


def weather_and_theta(n=100, seed=0):
    model = model_of("lotka_volterra")
    return (
        model,
        torch.tensor([[0.6, 0.8, 30.0, 20.0, 0.15]]).expand(n, 5),
        model["noise"](n, torch.Generator().manual_seed(seed)),
    )


def test_coarse_years_see_the_weather_of_the_fine_ones():
    model, _, u = weather_and_theta()
    walk = torch.tensor([[0.0, 0.0, 30.0, 20.0, 0.15]]).expand(100, 5)  # weather, and nothing else
    paths = [model["populations"](walk, u, steps=steps) for steps in (1, 4, 64)]
    for path in paths[:2]:
        torch.testing.assert_close(path, paths[2], atol=1e-4, rtol=0)
    moved = (paths[2][:, -1] - paths[2][:, 0]).std()  # 19 years of variance 0.15^2 each
    assert abs(moved / (0.15 * 19**0.5) - 1) < 4 / (2 * 200) ** 0.5


def test_paths_of_coarse_steps_converge_at_first_order():
    model, theta, u = weather_and_theta()
    fine = model["populations"](theta, u, steps=64)
    far = [
        (model["populations"](theta, u, steps=s) - fine).square().mean().sqrt() for s in (4, 8, 16)
    ]
    assert 1.7 < far[0] / far[1] < 2.8  # (1/4 - 1/64) / (1/8 - 1/64) = 2.1
    assert 1.8 < far[1] / far[2] < 3.0  # 2.3
    other = model["populations"](theta, weather_and_theta(seed=1)[2], steps=64)
    assert (other - fine).square().mean().sqrt() > 5 * far[0]


def test_cycles_without_weather_keep_what_lotka_and_volterra_keep():
    model, theta, u = weather_and_theta(n=4)
    calm = torch.cat([theta[:, :4], torch.zeros(4, 1)], 1)

    def kept(path):
        h, p = path.unbind(2)
        return 0.8 * (h.exp() / 30 - h) + 0.6 * (p.exp() / 20 - p)

    fine = kept(model["populations"](calm, u, steps=64))
    assert (fine - fine[:, :1]).abs().max() < 0.05
    coarse = kept(model["populations"](calm, u, steps=1))
    assert (coarse - coarse[:, :1]).abs().max() > 0.2


def test_the_pelts_are_those_of_the_table():
    with (EXAMPLES / "data" / "lynx_hare.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    hare, lynx = ([float(row[key]) for row in rows] for key in ("hare", "lynx"))
    assert [int(row["year"]) for row in rows] == list(range(1900, 1921))
    assert (max(hare), max(lynx), min(hare), min(lynx)) == (77.4, 59.4, 7.6, 4.0)
    assert (round(sum(hare), 1), round(sum(lynx), 1)) == (715.7, 423.5)


# ---------------------------------------------------------------------------------- Burgers


def ring(viscosity=0.2, height=0.8, *, drift=0.3, n=3):
    model = model_of("burgers")
    theta = torch.tensor([[viscosity, height]]).expand(n, 2)
    u = model["noise"](n, torch.Generator().manual_seed(0))
    u |= {"drift": torch.full((n, 1), drift), "camera": torch.zeros_like(u["camera"])}
    return model, theta, u


def test_grids_come_to_the_finest_one():
    model, theta, u = ring()
    fine = model["picture"](theta, u, grid=128)
    far = [(model["picture"](theta, u, grid=g) - fine).abs().mean() for g in (16, 32, 64)]
    assert far[0] > 2 * far[1] > 4 * far[2]
    other = model["picture"](theta, {**u, "start": u["start"].flip(0)}, grid=128)
    assert (other - fine)[[0, 2]].abs().mean() > 5 * far[0]


@pytest.mark.parametrize("grid", [16, 128])
def test_nothing_gets_lost_on_the_ring_but_height(grid):
    model, theta, u = ring()
    field = model["waves"](theta, u, grid=grid)
    torch.testing.assert_close(field.mean(2), torch.full((3, 8), 0.3), atol=1e-4, rtol=0)
    spread = field.std(2)
    assert (spread.diff(dim=1) < 0).all()


def test_small_waves_die_away_as_the_heat_equation_says():
    model, theta, u = ring(height=1e-3, drift=0.0)
    field = model["waves"](theta, u, grid=128)
    wave = model["centres"](128).sin()
    strength = (field @ wave) / (u["start"][:, :1, 0] * 1e-3 * 64)  # 64 is the wave's square
    times = torch.arange(1, 9) * 3 / 8
    expected = (-0.2 * times).exp().expand(3, 8)
    torch.testing.assert_close(strength, expected, atol=5e-3, rtol=0)
    assert (strength - (-0.1 * times).exp()).abs().max() > 0.1
