"""The fingerprint of a hierarchy: what counts as a change, and what does not."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import textwrap
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform
from torch import nn

from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate._fingerprint import Fingerprint
from mlsbi.simulate._manifest import manifest
from mlsbi.simulate._store_manifest import check_manifest

BASE = """
import functools
import numpy as np
from dataclasses import dataclass

SCALE = 2.0
NAMES = frozenset({"one", "two", "three"})
CACHE = {}
calls = 0

def square(x):
    return x * x

def cube(x):
    return x * square(x)

class Solver:
    steps = 3
    def step(self, x):
        return x + 1
    @staticmethod
    def halve(x):
        return x / 2

@functools.lru_cache
def table(k):
    return k + 5

def sim(theta, u, *, shift=1.0):
    global calls
    calls += 1
    CACHE[len(CACHE)] = 1
    inner = [cube(t) for t in theta]
    try:
        return SCALE * np.sum(inner) + shift + Solver().step(u) + table(1) + (u in NAMES)
    except ValueError:
        return 7
"""


def module(source, name="user_models"):
    made = types.ModuleType(name)
    made.__file__ = f"/home/user/{name}.py"
    exec(compile(textwrap.dedent(source), made.__file__, "exec"), made.__dict__)  # noqa: S102
    return made


def sim_of(source, name="user_models"):
    """`sim` of a module; a class in it finds its module, as after an import."""
    sys.modules[name] = module(source, name)
    return sys.modules[name].sim


@pytest.fixture(autouse=True)
def _modules_as_before():
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if name.startswith("user_"):
            del sys.modules[name]


def prints(simulator):
    fingerprint = Fingerprint(simulator)
    return fingerprint.code["digest"], fingerprint.settings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2.0", "SCALE = 2.5"),
        ("SCALE = 2.0", "SCALE = 2"),
        ("return x * x", "return x * x * x"),
        ("x * square(x)", "x + square(x)"),
        ("steps = 3", "steps = 4"),
        ("return x + 1", "return x + 2"),
        ("return x / 2", "return x / 3"),
        ("k + 5", "k + 6"),
        ("shift=1.0", "shift=2.0"),
        ('"three"', '"four"'),
        ("np.sum", "np.max"),
        ("return 7", "return 8"),
        ("except ValueError", "except TypeError"),
        ("cube(t) for", "square(t) for"),
        ("def cube(x):", "def cube(x, y=0):"),
    ],
)
def test_a_change_of_behaviour_is_noticed(old, new):
    assert BASE.count(old) == 1
    assert prints(sim_of(BASE.replace(old, new)))[0] != prints(sim_of(BASE))[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nSCALE", "\n\n\n# a comment\nSCALE"),
        ("def square(x):", "def square(x):\n    '''What it does.'''\n    # how"),
        (
            "def sim(theta, u, *, shift=1.0):",
            "def sim(\n    theta, u, *, shift=1.0,\n):\n    'Doc.'",
        ),
        ("class Solver:", "class Solver:\n    '''A class.'''\n"),
        (
            "inner = [cube(t) for t in theta]",
            "inner = [\n        cube(t)\n        for t in theta\n    ]",
        ),
        ("calls = 0", "calls = 8"),
        ("CACHE = {}", "CACHE = {1: 2}"),
        ("\ndef cube", "\ndef unused(x):\n    return SCALE\n\ndef cube"),
        ("    try:", "    # before\n    try:\n\n        # inside"),
    ],
)
def test_what_does_not_change_behaviour_is_no_change(old, new):
    assert BASE.count(old) == 1
    assert prints(sim_of(BASE.replace(old, new))) == prints(sim_of(BASE))


def test_helpers_of_the_same_package_count_and_libraries_do_not(tmp_path, monkeypatch):
    package = tmp_path / "site-packages"
    for name, helper in [("user_pack", "user_pack/tools.py"), ("user_lib", "user_lib.py")]:
        (package / name).mkdir(parents=True)
        (package / helper).write_text("def grow(x):\n    return x + 1\n")
    (package / "user_lib").rmdir()
    (package / "user_pack" / "__init__.py").write_text("")
    own = package / "user_pack" / "model.py"
    own.write_text(
        "from user_pack import tools\nimport user_lib\n"
        "def sim(theta, u):\n    return tools.grow(theta) + user_lib.grow(u)\n"
    )
    monkeypatch.syspath_prepend(str(package))
    import user_pack.model as model

    before = prints(model.sim)
    exec("def grow(x):\n    return x + 2\n", model.user_lib.__dict__)  # noqa: S102
    assert prints(model.sim) == before
    exec("def grow(x):\n    return x + 2\n", model.tools.__dict__)  # noqa: S102
    assert prints(model.sim)[0] != before[0]


def growth(rate, shift=None):
    def sim(theta, u):
        return theta * rate + (0 if shift is None else shift)

    return sim


def scaled(theta, u, factor, table=None):
    return theta * factor


@dataclass
class Ode:
    dt: float
    grid: np.ndarray
    options: dict = field(default_factory=dict)
    verbose: bool = field(default=False, compare=False)

    def __call__(self, theta, u):
        return theta * self.dt


class Counting:
    def __init__(self, step=1):
        self.step, self.calls, self.seen, self.log = step, 0, [], {}

    def __call__(self, theta, u):
        self.calls += self.step
        self.seen.append(len(theta))
        self._remember(u)
        return theta

    def _remember(self, u):
        self.log[self.calls] = u

    def method(self, theta, u):
        self.calls += 1
        return theta * self.step


class Net(nn.Module):
    def __init__(self, weight=1.0, power=1):
        super().__init__()
        self.power = power
        self.layer = nn.Linear(2, 2)
        with torch.no_grad():
            self.layer.weight.fill_(weight)
            self.layer.bias.zero_()

    def forward(self, theta, u):
        return self.layer(theta) ** self.power


def _array(value=0.0, dtype=np.float64, shape=(3,)):
    return np.full(shape, value, dtype=dtype)


PAIRS = {
    "closure": (lambda: growth(1), lambda: growth(100)),
    "closure's type": (lambda: growth(1), lambda: growth(1.0)),
    "array": (lambda: growth(_array()), lambda: growth(_array(1.0))),
    "dtype": (lambda: growth(_array()), lambda: growth(_array(dtype=np.int64))),
    "shape": (lambda: growth(_array()), lambda: growth(_array(shape=(3, 1)))),
    "tensor": (lambda: growth(torch.zeros(2)), lambda: growth(torch.ones(2))),
    "bfloat16": (
        lambda: growth(torch.zeros(2, dtype=torch.bfloat16)),
        lambda: growth(torch.ones(2, dtype=torch.bfloat16)),
    ),
    "which variable": (lambda: growth(1, 2), lambda: growth(2, 1)),
    "nested": (lambda: growth([1, {"a": (2,)}]), lambda: growth([1, {"a": (3,)}])),
    "partial": (
        lambda: functools.partial(scaled, factor=1),
        lambda: functools.partial(scaled, factor=2),
    ),
    "partial's name": (
        lambda: functools.partial(scaled, factor=1, table=2),
        lambda: functools.partial(scaled, factor=2, table=1),
    ),
    "dataclass": (lambda: Ode(0.1, _array()), lambda: Ode(0.2, _array())),
    "dataclass's array": (lambda: Ode(0.1, _array()), lambda: Ode(0.1, _array(2.0))),
    "object": (lambda: Counting(1), lambda: Counting(2)),
    "object in partial": (
        lambda: functools.partial(scaled, factor=Ode(0.1, _array())),
        lambda: functools.partial(scaled, factor=Ode(0.3, _array())),
    ),
    "method": (lambda: Counting(1).method, lambda: Counting(2).method),
    "weights": (lambda: Net(1.0), lambda: Net(2.0)),
    "a network's number": (lambda: Net(1.0, 1), lambda: Net(1.0, 2)),
    "path": (lambda: growth(Path("a")), lambda: growth(Path("b"))),
    "inner closure": (lambda: growth(growth(1)), lambda: growth(growth(2))),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_settings_are_part_of_it(case):
    first, second = PAIRS[case]
    assert prints(first()) == prints(first())
    assert prints(first())[1] != prints(second())[1]
    assert prints(first())[0] == prints(second())[0]


def test_functions_among_the_settings_are_read():
    assert prints(growth(lambda x: x + 1))[0] != prints(growth(lambda x: x + 2))[0]
    add, times = (lambda x: x + 1), (lambda x: x * 2)
    assert prints(growth(add, times)) != prints(growth(times, add))


def test_two_global_lambdas_may_not_be_swapped():
    source = (
        "f = lambda x: x + 1\ng = lambda x: x * 2\ndef sim(theta, u):\n    return f(theta) - g(u)\n"
    )
    swapped = source.replace("f =", "h =").replace("g =", "f =").replace("h =", "g =")
    assert prints(sim_of(source)) != prints(sim_of(swapped))


def test_the_order_of_a_dict_does_not_matter():
    assert prints(growth({"a": 1, "b": 2})) == prints(growth({"b": 2, "a": 1}))


def test_fields_that_comparison_leaves_out_are_no_settings():
    assert prints(Ode(0.1, _array())) == prints(Ode(0.1, _array(), verbose=True))


def test_what_a_simulator_changes_itself_is_state_and_no_setting():
    counting = Counting()
    before = prints(counting)
    counting(torch.zeros(2, 1), 3)
    assert prints(counting) == before

    calls, memory, count = [], {"n": 0}, 0

    def sim(theta, u):
        nonlocal count
        count += 1
        calls.append(u)
        memory[str(u)] = theta
        memory["n"] += 1
        return theta

    before = prints(sim)
    sim(1, 2)
    assert (calls, memory, count) == ([2], {"n": 1, "2": 1}, 1)
    assert prints(sim) == before


def test_decorators_of_libraries_are_looked_through():
    def make(k):
        @torch.no_grad()
        def sim(theta, u):
            return theta * k

        return sim

    assert prints(make(1))[1] != prints(make(2))[1]
    assert prints(functools.lru_cache(growth(1)))[1] != prints(functools.lru_cache(growth(2)))[1]


class Odd:
    """Everything that can go wrong when one looks at an object."""

    def __getattr__(self, name):
        raise RuntimeError("not for you")

    def __call__(self, theta, u):
        return theta

    def __repr__(self):
        raise RuntimeError("no text")


def _recursive():
    def sim(theta, u):
        return theta if u else sim(theta, others)

    others = [sim]
    others.append(others)
    return sim


ODD = {
    "builtin": lambda: len,
    "C function": lambda: np.add,
    "method of C": lambda: {}.get,
    "class": lambda: Ode,
    "class method": lambda: dict.fromkeys,
    "partial of a builtin": lambda: functools.partial(max, 1),
    "odd object": Odd,
    "compiled": lambda: torch.jit.trace(torch.sin, torch.zeros(2)),
    "vmap": lambda: torch.vmap(lambda t: t * 2),
    "sparse": lambda: growth(torch.zeros(2).to_sparse()),
    "on no device": lambda: growth(torch.zeros(2, device="meta")),
    "generator": lambda: growth(torch.Generator()),
    "recursive": _recursive,
    "lock": lambda: growth(__import__("threading").Lock()),
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # from torch 2.15 on
@pytest.mark.parametrize("case", ODD)
def test_odd_callables_count_by_their_names(case):
    code, settings = prints(ODD[case]())
    assert (code, settings) == prints(ODD[case]())


def hierarchy(*simulators, noise=None, high=1.0, **options):
    prior = BoxUniform(torch.zeros(2), high * torch.ones(2))
    return Hierarchy(prior, [Level(s, **options) for s in simulators], noise=noise)


def test_the_manifest_is_plain_json_and_says_what_it_is_of():
    made = manifest(hierarchy(functools.partial(scaled, factor=2), Net(), cost=2.5, name="a"), 7)
    assert json.loads(json.dumps(made)) == made
    assert made["seed"] == 7
    assert made["block_rows"] == 1024
    assert made["prior"]["description"] == hierarchy(Net()).prior.to_dict()
    assert made["noise"]["name"] == "one seed a row"
    first, second = made["levels"]
    assert first["simulator"] == f"{__name__}.scaled"
    assert second["simulator"] == f"{__name__}.Net"
    assert (first["name"], first["cost"], first["batched"], first["batch_size"]) == (
        "a",
        2.5,
        True,
        None,
    )
    assert set(first["code"]) == {"python", "digest"}
    assert first["code"]["python"] == ".".join(map(str, sys.version_info[:2]))


def normal(n, generator):
    return {"z": torch.randn(n, 2, generator=generator)}


def other_name(n, generator):
    return {"w": torch.randn(n, 2, generator=generator)}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (hierarchy(Net(), high=2.0), "prior"),
        (hierarchy(Net(), noise=other_name), "noise"),
        (hierarchy(Net()), "noise"),
        (hierarchy(Net(), noise=normal, batched=False), "levels"),
        (hierarchy(Net(), noise=normal, batch_size=8), "levels"),
        (hierarchy(Net(), Net(), noise=normal), "levels"),
    ],
)
def test_manifests_differ_where_hierarchies_do(change, part):
    base = manifest(hierarchy(Net(), noise=normal), 0)
    assert manifest(hierarchy(Net(), noise=normal), 0) == base
    assert manifest(change, 0)[part] != base[part]


def test_swapped_levels_are_noticed():
    one, two = growth(1), growth(2)
    assert manifest(hierarchy(one, two), 0) != manifest(hierarchy(two, one), 0)


def check(stored, now, *, allow_changes=False):
    return check_manifest(stored, now, store="run.zarr", allow_changes=allow_changes)


def test_another_version_of_python_is_no_false_alarm():
    """Bytecode differs, so it says nothing; settings can still be compared."""
    now = manifest(hierarchy(growth(1)), 0)
    stored = json.loads(json.dumps(now))
    stored["levels"][0]["code"] = {"python": "3.99", "digest": "0" * 32}
    kept, changes = check(stored, now)
    assert changes == []
    assert kept["levels"][0]["code"] == stored["levels"][0]["code"]
    with pytest.raises(ValueError, match="settings"):
        check(stored, manifest(hierarchy(growth(2)), 0))


def test_a_store_tells_code_from_what_makes_another_campaign():
    stored = manifest(hierarchy(growth(1)), 0)
    with pytest.raises(ValueError, match="allow_changes=True"):
        check(stored, manifest(hierarchy(growth(2)), 0))
    check(stored, manifest(hierarchy(growth(2)), 0), allow_changes=True)
    with pytest.raises(ValueError, match="seed: 0 in the store, 1 now"):
        check(stored, manifest(hierarchy(growth(1)), 1), allow_changes=True)
    with pytest.raises(ValueError, match=r"levels\[0\].simulator"):
        check(stored, manifest(hierarchy(Net()), 0))
    check(stored, manifest(hierarchy(Net()), 0), allow_changes=True)  # renamed, says the user


SCRIPT = """
import functools, json, numpy as np, torch
from sbi.utils import BoxUniform
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate._manifest import manifest

KINDS = frozenset({"a", "b", "c", "d"})

class Model:
    def __init__(self):
        self.names = {"x", "y", "z", "w"}
        self.table = {"p": np.arange(3), "q": {1.5, 2.5, "r"}}
    def __call__(self, theta, u):
        return theta if u in {"k", "l", "m", "n"} else helper(theta)

def helper(x):
    return [x for x in KINDS]

def sim(theta, u, options=frozenset({"s", "t", "v"})):
    return helper(theta)

levels = [Level(Model()), Level(functools.partial(sim, options={"e", "f", "g"}))]
prior = BoxUniform(torch.zeros(2), torch.ones(2))
print(json.dumps(manifest(Hierarchy(prior, levels), 3)))
"""


def test_other_processes_get_the_same(tmp_path):
    """Whatever the order in which their sets come, and wherever things are in memory."""
    script = tmp_path / "user_script.py"
    script.write_text(SCRIPT)
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert found[0]["levels"][0]["simulator"] == "__main__.Model"
