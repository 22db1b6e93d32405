"""Levels and hierarchies: what simulators get, what they may return, what pairs share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform

from mlsbi.hierarchy import Hierarchy, Level, RowError

PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def identity(theta, u):
    return theta


class Kicks(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def tensor_noise(n, generator):
    return torch.randn(n, 3, generator=generator)


def tuple_noise(n, generator):
    return torch.randn(n, 3, generator=generator), torch.rand(n, generator=generator)


def dict_noise(n, generator):
    return dict(zip(("first", "second"), tuple_noise(n, generator), strict=True))


def named_noise(n, generator):
    return Kicks(*tuple_noise(n, generator))


def leaves(u):
    values = u.values() if isinstance(u, dict) else u if isinstance(u, tuple) else [u]
    return list(values)


NOISES = {
    "seeds": None,
    "tensor": tensor_noise,
    "tuple": tuple_noise,
    "dict": dict_noise,
    "named tuple": named_noise,
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_draw_follows_its_generator(noise):
    hierarchy = Hierarchy(PRIOR, [Level(identity)], noise=noise)
    theta, u = hierarchy.draw(5, generator())
    again = hierarchy.draw(5, generator())
    assert theta.shape == (5, 2)
    assert torch.equal(theta, again[0])
    assert all(torch.equal(a, b) for a, b in zip(leaves(u), leaves(again[1]), strict=True))
    other = hierarchy.draw(5, generator(1))
    assert not torch.equal(leaves(u)[0], leaves(other[1])[0])


def test_default_noise_is_one_seed_a_row():
    _, u = Hierarchy(PRIOR, [Level(identity)]).draw(1000, generator())
    assert u.shape == (1000,)
    assert u.dtype == torch.int64
    assert bool((u >= 0).all())
    assert len(u.unique()) == 1000
    assert float(u.double().mean()) == pytest.approx(2.0**62, rel=0.1)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_pair_shares_theta_and_noise_even_with_in_place_simulators(noise):
    seen = []

    def spoil(theta, u):
        seen.append((theta.clone(), [leaf.clone() for leaf in leaves(u)], type(u)))
        theta.zero_()
        for leaf in leaves(u):
            leaf.zero_()
        return theta + 1

    hierarchy = Hierarchy(PRIOR, [Level(spoil), Level(spoil)], noise=noise)
    theta, u = hierarchy.draw(4, generator())
    coarse, fine = hierarchy.pair(1, theta, u)
    assert coarse.shape == fine.shape == (4, 2)
    for got_theta, got_u, kind in seen:
        assert torch.equal(got_theta, theta)
        assert all(torch.equal(a, b) for a, b in zip(got_u, leaves(u), strict=True))
        assert kind is type(u)
    assert bool((theta > 0).all())


def test_level_zero_has_no_coarse_member():
    hierarchy = Hierarchy(PRIOR, [Level(identity)])
    theta, u = hierarchy.draw(3, generator())
    coarse, fine = hierarchy.pair(0, theta, u)
    assert coarse is None
    assert torch.equal(fine, theta)


def test_row_by_row_simulator_gets_arrays_and_python_numbers():
    rows = []

    def simulator(theta, u):
        rows.append((theta, u))
        return theta.tolist()

    hierarchy = Hierarchy(PRIOR, [Level(simulator, batched=False)])
    theta, u = hierarchy.draw(3, generator())
    assert torch.equal(hierarchy.levels[0].run(theta, u), theta)
    assert all(isinstance(t, np.ndarray) and t.dtype == np.float32 for t, _ in rows)
    assert [s for _, s in rows] == u.tolist()
    assert all(type(s) is int for _, s in rows)


@pytest.mark.parametrize("noise", [tuple_noise, dict_noise, named_noise])
def test_row_by_row_and_batched_agree_on_explicit_noise(noise):
    def whole(theta, u):
        first, second = leaves(u)
        return theta * second[:, None] + first[:, :2]

    def row(theta, u):
        first, second = leaves(u)
        assert isinstance(first, np.ndarray)
        assert isinstance(second, float)
        return theta * np.float32(second) + first[:2]

    hierarchy = Hierarchy(PRIOR, [Level(whole), Level(row, batched=False)], noise=noise)
    coarse, fine = hierarchy.pair(1, *hierarchy.draw(6, generator()))
    assert torch.equal(coarse, fine)


OUTPUTS = {
    "float64 array": (lambda t, u: t.double().numpy(), True, (2,)),
    "list": (lambda t, u: t.tolist(), True, (2,)),
    "matrix event": (lambda t, u: t[:, :, None].expand(-1, -1, 4), True, (2, 4)),
    "scalars": (lambda t, u: t[:, 0], True, (1,)),
    "row of float": (lambda t, u: float(t[0]), False, (1,)),
    "row of numpy float": (lambda t, u: t[0], False, (1,)),
    "row of 0-d tensor": (lambda t, u: torch.tensor(t[0]), False, (1,)),
    "row of integers": (lambda t, u: [1, 2, 3], False, (3,)),
    "row of matrix": (lambda t, u: np.zeros((2, 3)), False, (2, 3)),
    "row of NaN": (lambda t, u: [np.nan], False, (1,)),
    "with gradient": (lambda t, u: t.requires_grad_() * 2, True, (2,)),
}


@pytest.mark.parametrize(("simulator", "batched", "event"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_become_float32_tensors(simulator, batched, event):
    x = Level(simulator, batched=batched).run(torch.rand(5, 2), torch.arange(5))
    assert x.shape == (5, *event)
    assert x.dtype == torch.float32
    assert not x.requires_grad


def test_exception_of_a_row_names_the_row():
    def fail(theta, seed):
        if seed == 2:
            raise ZeroDivisionError("at two")
        return theta

    with pytest.raises(
        RowError, match="'fail' failed at row 2: ZeroDivisionError: at two"
    ) as error:
        Level(fail, batched=False).run(torch.rand(4, 2), torch.arange(4))
    assert error.value.row == 2
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_properties_and_repr():
    levels = [Level(identity, cost=1, name="cheap"), Level(identity)]
    hierarchy = Hierarchy([torch.distributions.Normal(0.0, 1.0)], levels)
    assert hierarchy.num_levels == 2
    assert hierarchy.costs == (1.0, None)
    assert hierarchy.prior.dim == 1
    assert hierarchy.levels == tuple(levels)
    assert "level 0: simulator 'cheap', cost 1" in repr(hierarchy)
    assert "not known" in repr(hierarchy)
    with pytest.raises(AttributeError):
        levels[0].cost = 2.0


def returns(value, **options):
    return lambda: Level(lambda theta, u: value, **options).run(torch.rand(3, 2), torch.arange(3))


def ragged(theta, seed):
    return [0.0] * (1 + seed)


def draws(noise):
    return lambda: Hierarchy(PRIOR, [Level(identity)], noise=noise).draw(3, generator())


TWO = Hierarchy(PRIOR, [Level(identity), Level(identity)])
RUN = Level(identity).run
BAD = {
    "simulator": (lambda: Level(3), TypeError, "simulator", "Pass a function"),
    "cost": (lambda: Level(identity, cost=0), ValueError, "cost", "Pass"),
    "cost: NaN": (lambda: Level(identity, cost=np.nan), ValueError, "cost", "Pass"),
    "cost: text": (lambda: Level(identity, cost="1"), TypeError, "cost", "Pass"),
    "batched": (lambda: Level(identity, batched=1), TypeError, "batched", "Pass True"),
    "name": (lambda: Level(identity, name=1), TypeError, "name", "Pass"),
    "prior": (lambda: Hierarchy(3, [Level(identity)]), TypeError, "prior", "Pass"),
    "levels": (lambda: Hierarchy(PRIOR, Level(identity)), TypeError, "levels", "Pass a list"),
    "levels: empty": (lambda: Hierarchy(PRIOR, []), ValueError, "levels", "Add"),
    "levels: function": (
        lambda: Hierarchy(PRIOR, [identity]),
        TypeError,
        r"levels\[0\]",
        r"Wrap it: mlsbi.Level\(simulator\)",
    ),
    "noise": (
        lambda: Hierarchy(PRIOR, [Level(identity)], noise=3),
        TypeError,
        "noise",
        "Pass a function",
    ),
    "noise: list": (draws(lambda n, g: [torch.zeros(n)]), TypeError, "noise", "Return"),
    "noise: array": (draws(lambda n, g: np.zeros(n)), TypeError, "noise", "Return"),
    "noise: rows": (draws(lambda n, g: torch.zeros(n + 1)), ValueError, "noise", "Return"),
    "noise: one of two": (
        draws(lambda n, g: (torch.zeros(n), torch.zeros(1))),
        ValueError,
        "noise",
        "Return",
    ),
    "noise: none": (draws(lambda n, g: ()), ValueError, "noise", "Return"),
    "noise: number": (draws(lambda n, g: torch.tensor(0.0)), ValueError, "noise", "Return"),
    "n": (lambda: TWO.draw(0, generator()), ValueError, "n", "Pass"),
    "n: float": (lambda: TWO.draw(1.5, generator()), TypeError, "n", "Pass"),
    "generator": (lambda: TWO.draw(1, 0), TypeError, "generator", "Pass"),
    "level": (lambda: TWO.pair(2, torch.rand(1, 2), torch.zeros(1)), ValueError, "level", "run"),
    "level: -1": (lambda: TWO.pair(-1, torch.rand(1, 2), torch.zeros(1)), ValueError, "level", "P"),
    "theta": (lambda: RUN(torch.rand(3), torch.zeros(3)), ValueError, "theta", "Pass one row"),
    "theta: no rows": (
        lambda: RUN(torch.rand(0, 2), torch.zeros(0)),
        ValueError,
        "theta",
        "Pass one row",
    ),
    "theta: type": (lambda: RUN("a", torch.zeros(3)), TypeError, "theta", "Convert"),
    "u": (lambda: RUN(torch.rand(3, 2), torch.zeros(2)), ValueError, "u", "Return"),
    "u: type": (lambda: RUN(torch.rand(3, 2), 3), TypeError, "u", "Return"),
    "output: None": (returns(None), TypeError, "output of simulator", "Convert"),
    "output: rows": (returns(torch.rand(2, 2)), ValueError, "n = 3", "batched=False"),
    "output: number": (returns(1.0), ValueError, "n = 3", "batched=False"),
    "output: empty": (returns(torch.rand(3, 0)), ValueError, "n = 3", "Return"),
    "output: text": (returns(["a"], batched=False), TypeError, "output of simulator", "Convert"),
    "output: ragged": (
        lambda: Level(ragged, batched=False).run(torch.rand(3, 2), torch.arange(3)),
        ValueError,
        "'ragged'.*same shape",
        "Pad",
    ),
}


@pytest.mark.parametrize(("call", "kind", "argument", "remedy"), BAD.values(), ids=BAD)
def test_refusals_name_the_argument_and_the_remedy(call, kind, argument, remedy):
    with pytest.raises(kind, match=f"(?s){argument}.*{remedy}"):
        call()
