"""Studies: what a file may say, what each error names, and the hierarchy that comes of it."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import mlsbi
from mlsbi.studies.errors import line_of, models_of
from mlsbi.studies.file import StudyFile
from mlsbi.studies.fitting import fit_options
from mlsbi.studies.tables import TrainingTable
from mlsbi.study import Study

MODELS = """
import numpy as np
import torch

def coarse(theta, u):
    return theta[:, :1] + u[:, None] % 2

def fine(theta, u, shift=0.0):
    return theta[:, :1] + u[:, None] % 2 + shift

def row(theta, seed):
    return np.array([theta[0], float(seed % 3)])

def noise(n, generator):
    return torch.randn(n, generator=generator)

def prior():
    return [torch.distributions.Normal(0.0, 1.0), torch.distributions.Exponential(2.0)]

def first(path):
    return [float(path.read_text().split()[0])]

class Holder:
    low = staticmethod(coarse)

number = 3
"""
PARAMETER = """
[[parameters]]
name = "rate"
low = 0.1
high = 2
"""
LEVELS = """
[[levels]]
simulator = "MODELS:coarse"
cost = 1

[[levels]]
simulator = "MODELS:fine"
cost = 40.0
options = { shift = 0.5 }
"""
WHOLE = PARAMETER + LEVELS
ARRAYS = """
[[levels]]
theta = 'a.npy'
x = 'b.npy'
[[levels]]
theta = 'a.npy'
x_coarse = 'c.npy'
x = 'd.npy'
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The name of a module beside the study, another one in each test: imports are remembered."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "models_" + tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODELS)
    yield name
    sys.modules.pop(name, None)


def written(folder, text, models="models"):
    path = folder / "study.toml"
    path.write_text(textwrap.dedent(text).replace("MODELS", models))
    return path


def refused(folder, text, models="models"):
    with pytest.raises(ValueError, match="study") as caught:
        Study.load(written(folder, text, models)).hierarchy()
    return str(caught.value)


def run(hierarchy, level=0, rows=3):
    theta, u = hierarchy.draw(rows, torch.Generator().manual_seed(0))
    return theta, u, hierarchy.levels[level].run(theta, u)


def test_a_study_is_a_hierarchy(tmp_path, models):
    study = Study.load(written(tmp_path, WHOLE, models))
    hierarchy = study.hierarchy()
    assert hierarchy.costs == (1.0, 40.0)
    assert [level.name for level in hierarchy.levels] == ["coarse", "fine"]
    assert hierarchy.row_seeds
    assert hierarchy.prior.low.tolist() == pytest.approx([0.1])
    theta, u, x = run(hierarchy, 1)
    assert torch.equal(x, theta + (u % 2)[:, None] + 0.5)
    assert study.parameter_names == ("rate",)
    assert (study.name, study.seed, study.cores, study.strategy) == ("study", 0, 1, None)
    assert study.output == tmp_path / "study-output"
    assert study.pilot_store == tmp_path / "study-output" / "pilot"


def test_reading_runs_no_code(tmp_path):
    (tmp_path / "explodes.py").write_text("raise SystemError('ran')")
    study = Study.load(written(tmp_path, WHOLE, "explodes"))
    with pytest.raises(ValueError, match=r"levels\[0\].simulator .*SystemError: ran"):
        study.hierarchy()


def test_every_table_is_read(tmp_path):
    study = Study.load(
        written(
            tmp_path,
            """
            hierarchy = "mlsbi.tasks:ornstein_uhlenbeck"
            [study]
            name = "paths"
            seed = 7
            output = "out"
            [pilot]
            n = 32
            [plan]
            budget = 500
            deadline = 3600.0
            strategy = "multilevel"
            kind = "likelihood"
            minimum = [8, 8]
            [run]
            executor = 3
            timeout = 60
            on_failure = "retry"
            retries = 1
            isolate = true
            """,
        )
    )
    assert study.hierarchy().num_levels == 2  # a task stands for its hierarchy
    assert (study.name, study.seed, study.output) == ("paths", 7, tmp_path / "out")
    assert (study.file.pilot.n, study.file.plan.budget, study.file.plan.minimum) == (
        32,
        500,
        [8, 8],
    )
    assert (study.cores, study.strategy) == (3, mlsbi.Multilevel())
    assert study.parameter_names is None
    elsewhere = Study.load(study.path, output=tmp_path / "else")
    assert elsewhere.output == tmp_path / "else"


def test_fit_and_plan_follow_each_other(tmp_path):
    for text, kinds, strategies in (
        ("", ("posterior", "posterior"), ("default", "default")),
        ("[plan]\nkind = 'likelihood'", ("likelihood", "likelihood"), ("default", "default")),
        ("[fit]\nstrategy = 'bridge'", ("posterior", "posterior"), ("bridge", "bridge")),
        (
            "[fit]\nstrategy = 'bridge'\n[plan]\nstrategy = 'single'\nkind = 'likelihood'",
            ("likelihood", "likelihood"),
            ("bridge", "single"),
        ),
    ):
        file = Study.load(written(tmp_path, WHOLE + text)).file
        assert (file.kind, file.planned_kind) == kinds
        assert (file.strategy, file.planned_strategy) == strategies


def test_training_has_the_fields_of_the_library(tmp_path):
    assert list(TrainingTable.model_fields) == [f.name for f in fields(mlsbi.Training)]
    text = "[fit]\nestimator = 'nsf'\ntails = 'asinh'\n[fit.training]\nmax_steps = 7\n"
    more = "clip = false\ncommon_dropout = false\nbatch_size = false\n"
    options = fit_options(Study.load(written(tmp_path, WHOLE + text + more)))
    assert options["training"] == mlsbi.Training(
        max_steps=7, clip=None, common_dropout=False, batch_size=None
    )
    assert options["estimator"] == mlsbi.NSF()
    assert (options["tails"], options["strategy"], options["ensemble"]) == ("asinh", None, 5)


def test_the_page_describes_every_key():
    page = (Path(__file__).parents[1] / "docs" / "studies.md").read_text()
    for name, field in StudyFile.model_fields.items():
        for model in models_of(field.annotation):
            for key, inner in model.model_fields.items():
                shown = [f"`{key}`", f"`{key} =", f"`[{name}.{key}]`"]
                assert any(text in page for text in shown), (name, key)
                for table in models_of(inner.annotation):
                    assert all(f"`{key}`" in page for key in table.model_fields), table
        assert f"`[{name}]`" in page or f"`[[{name}]]`" in page or f"`{name} =" in page, name


def test_priors_by_parameter(tmp_path, models):
    text = """
        [[parameters]]
        name = "a"
        low = 0
        high = 2
        [[parameters]]
        name = "b"
        kind = "log-uniform"
        low = 0.01
        high = 100.0
        [[parameters]]
        name = "c"
        kind = "normal"
        mean = 5.0
        sd = 0.1
        """
    prior = Study.load(written(tmp_path, text + LEVELS, models)).hierarchy().prior
    theta = prior.sample(4000, torch.Generator().manual_seed(0))
    assert prior.low.tolist() == pytest.approx([0.0, 0.01, -np.inf])
    assert prior.high.tolist() == pytest.approx([2.0, 100.0, np.inf])
    logs = theta[:, 1].log10() / 2  # uniform on (-1, 1)
    assert abs(float(logs.mean())) < 5 * 3**-0.5 / 4000**0.5
    assert abs(float(theta[:, 2].mean()) - 5.0) < 5 * 0.1 / 4000**0.5
    assert abs(float(theta[:, 0].mean()) - 1.0) < 5 * 3**-0.5 / 4000**0.5


def test_prior_and_noise_from_python(tmp_path, models):
    text = """
        [study]
        parameters = ["shift", "scale"]
        [prior]
        python = "MODELS:prior"
        [noise]
        python = "MODELS:noise"
        [[levels]]
        simulator = "MODELS:Holder.low"
        batch_size = 2
        """
    study = Study.load(written(tmp_path, text, models))
    hierarchy = study.hierarchy()
    assert study.parameter_names == ("shift", "scale")
    assert hierarchy.prior.dim == 2
    assert not hierarchy.row_seeds
    assert hierarchy.levels[0].batch_size == 2


def test_rows_one_at_a_time(tmp_path, models):
    level = '[[levels]]\nsimulator = "MODELS:row"\nbatched = false\n'
    hierarchy = Study.load(written(tmp_path, PARAMETER + level, models)).hierarchy()
    theta, u, x = run(hierarchy)
    assert torch.equal(x, torch.stack([theta[:, 0], (u % 3).float()], 1))


@pytest.mark.parametrize(
    "command",
    [
        "'./sim.sh {theta[0]} {seed} \"a b\" {{x}}'",
        '["./sim.sh", "{theta[0]}", "{seed}", "a b", "{{x}}"]',
        "'sh {cwd}/sim.sh {theta[0]} {seed} \"a b\" {{x}}'",
    ],
)
def test_programs_start_at_the_files_folder(command, tmp_path, models, monkeypatch):
    program = tmp_path / "sim.sh"
    program.write_text('#!/bin/sh\n[ "$3$4" = "a b{x}" ] && echo "$1 $2"\n')
    program.chmod(0o755)
    level = f'[[levels]]\ncommand = {command}\ncost = 2\nread = "MODELS:first"\ntimeout = 9\n'
    monkeypatch.chdir("/")
    hierarchy = Study.load(written(tmp_path, PARAMETER + level, models)).hierarchy()
    theta, _, x = run(hierarchy)
    assert torch.equal(x, theta)


def test_a_worker_process_finds_the_module(tmp_path, models, monkeypatch):
    monkeypatch.chdir("/")
    hierarchy = Study.load(written(tmp_path, WHOLE, models)).hierarchy()
    data = mlsbi.simulate(hierarchy, [6, 3], seed=1, executor=1)
    assert torch.equal(data.x(0), mlsbi.simulate(hierarchy, [6, 3], seed=1).x(0))


KEYS = [  # what the file says, and what the error must say
    ("x = 1", ["x is no known key; got 1", "Known are hierarchy", "(line 1: x = 1)"]),
    (
        "[[levels]]\nsimulators = 'a:b'",
        ["levels[0].simulators is no known key", "did you mean sim"],
    ),
    ("[study]\nhierarchy = 'a:b'", ["study.hierarchy", "stands at the top of the file"]),
    ("[study]\nseed = -1", ["study.seed must be a whole number in [0, 2**63); got -1", "line 2"]),
    ("[study]\nseed = 1.5", ["study.seed must be a whole number", "got 1.5"]),
    ("[study]\nseed = true", ["study.seed must be a whole number", "got True"]),
    ("[study]\noutput = 3", ["study.output must be a folder", "got 3"]),
    ("[pilot]\nn = 4", ["pilot.n must be a whole number, at least 8", "got 4", "(line 2: n = 4)"]),
    ("[plan]\nbudget = 0", ["plan.budget must be a positive number", "got 0"]),
    ("[plan]\nbudget = nan", ["plan.budget must be a positive number", "got nan"]),
    ("[plan]\nbudget = 1\nerror = 1", ["plan must have budget or error, not both"]),
    ("[plan]\nkind = 'both'", ["plan.kind must be 'posterior' or 'likelihood'; got 'both'"]),
    ("[plan]\nstrategy = 'best'", ["plan.strategy must be 'default', 'single'", "got 'best'"]),
    ("[plan]\nminimum = [8, 'a']", ["plan.minimum must be a whole number", "got"]),
    ("[run]\nexecutor = 0", ["run.executor must be a whole number of processes", "got 0"]),
    ("[run]\non_failure = 'no'", ["run.on_failure must be 'drop', 'retry' or 'raise'; got 'no'"]),
    ("levels = 3", ["levels must be one or more tables, [[levels]], coarsest first; got 3"]),
    (PARAMETER + "[levels]\nsimulator = 'a:b'", ["levels must be one or more tables, [[levels]]"]),
    ("[[levels]]\ncost = 1", ["levels[0] must have simulator or command", "neither", "line 1"]),
    (
        "[[levels]]\nsimulator='a:b'\n[[levels]]\nsimulator='a:c'\ncommand='d'",
        ["levels[1] must have simulator or command", "got both", "(line 3: [[levels]])"],
    ),
    ("[[levels]]\nsimulator = 'a.b'", ["levels[0].simulator must be 'package.module:function'"]),
    ("[[levels]]\nsimulator = 'a:b'\ncost = -3", ["levels[0].cost must be a positive", "got -3"]),
    ("[[levels]]\nsimulator = 'a:b'\nsuffix = '.npy'", ["must have no suffix, as it is a simulat"]),
    ("[[levels]]\ncommand = 'a'\nbatched = true", ["must have no batched, as it is a command"]),
    ("[[levels]]\ncommand = []", ["levels[0].command must be a command line", "got []"]),
    (
        "[[levels]]\nsimulator = 'a:b'\nbatched = false\nbatch_size = 2",
        ["levels[0] must have no batch_size with batched = false"],
    ),
    ("[[parameters]]\nlow = 1", ["parameters[0].name is missing: it must be the parameter's name"]),
    ("[[parameters]]\nname='a'\nlow=1", ["parameters[0] must have low and high", "got low"]),
    ("[[parameters]]\nname='a'\nlow=2\nhigh=1", ["must have low < high; got low = 2, high = 1"]),
    ("[[parameters]]\nname='a'\nkind='normal'\nlow=1\nhigh=2", ["must have mean and sd, as kind"]),
    ("[[parameters]]\nname='a'\nkind='log-uniform'\nlow=0\nhigh=1", ["must have low > 0"]),
    ("[[parameters]]\nname='a'\nkind='flat'", ["parameters[0].kind must be 'uniform', 'log-"]),
    ("", ["[[parameters]] or [prior], one of the two; got neither"]),
    (PARAMETER, ["the file must have [[levels]]"]),
    (WHOLE + "[prior]\npython = 'a:b'", ["[[parameters]] or [prior]", "got both"]),
    ("hierarchy = 'a:b'\n" + LEVELS, ["the file must have hierarchy or levels, not both"]),
    (PARAMETER + WHOLE, ["parameters must have different names; got 'rate' twice"]),
    (WHOLE + "[plan]\nminimum = [1]", ["plan.minimum must have one number a level, 2; got 1"]),
    ("[study\n", ["is no TOML", "line 1"]),
    ("[fit]\nkind = 'both'", ["fit.kind must be 'posterior' or 'likelihood'; got 'both'"]),
    ("[fit]\nensemble = 0", ["fit.ensemble must be a whole number, at least 1", "got 0"]),
    ("[fit]\nembedding_net = 'net'", ["fit.embedding_net must be 'package.module:object'"]),
    (
        "[fit.training]\nmax_step = 3",
        ["fit.training.max_step is no known key", "Known are max_steps, learning_rate", "mean max"],
    ),
    ("[fit.training]\nclip = true", ["fit.training.clip must be a positive number, or false"]),
    ("[fit.training]\nclip = 0.0", ["fit.training.clip must be a positive number, or false"]),
    ("[fit.training]\nbatch_size = 0", ["fit.training.batch_size must be a whole", "(line 2: b"]),
    ("[check]\nfolds = 1", ["check.folds must be a whole number, at least 2", "got 1"]),
    ("[check]\ntheta = 'a.npy'", ["check must have theta and x of the held-out runs; got theta"]),
    ("[check]\nrows = '0:2'", ["check must have no rows without theta and x"]),
    ("[observation]\ntheta = [1.0]", ["observation.x is missing: it must be a list of numbers"]),
    ("[observation]\nx = 3.0", ["observation.x must be a list of numbers", "got 3.0"]),
    ("[observation]\nx = [1.0]\nrows = '0:1'", ["observation must have no rows where x is a list"]),
    ("[report]\noutputs = []", ["report.outputs must be a list with the name of each entry"]),
    ("[run]\nexecutor = 'dask'", ["run.executor must be a whole number of processes", "'dask:ADD"]),
    ("[simulate]\nn = 100", ["simulate.n must be a list with a whole number for each level"]),
    (WHOLE + "[simulate]\nn = [3]", ["simulate.n must have one number a level, 2; got 1"]),
    (WHOLE + "[observation]\nx = [1]\ntheta = [1.0, 2.0]", ["observation.theta must have one num"]),
    (WHOLE + "[study]\nparameters = ['a']", ["[[parameters]] or study.parameters, not both"]),
    (WHOLE + "[data]\npath = 'a'", ["the file must have [data] or levels, not both"]),
    ("[data]\npath = 'a'\n[simulate]\nn = [3]", ["simulate.n must be left out", "on disk"]),
    (
        PARAMETER + ARRAYS.replace("x = 'b.npy'\n", "", 1),
        ["levels[0] must have theta and x"],
    ),
    (PARAMETER + ARRAYS.replace("x_coarse = 'c.npy'\n", ""), ["levels[1] must have x_coarse"]),
    (
        PARAMETER + ARRAYS.replace("[[levels]]", "[[levels]]\nx_coarse = 'c.npy'", 1),
        ["no x_coarse"],
    ),
    (PARAMETER + ARRAYS + "[noise]\npython = 'a:b'", ["must have no [noise], as its runs are on"]),
    (PARAMETER + ARRAYS + "batched = true", ["levels[1] must have no batched", "runs on disk"]),
    (PARAMETER + ARRAYS + "rows = '5'", ["levels[1].rows must be rows to take, 'START:STOP'"]),
    (
        PARAMETER + ARRAYS + "[[levels]]\nsimulator = 'a:b'",
        [
            "runs on disk at all levels or at none",
            "levels[0] with runs on disk and levels[2] with a",
        ],
    ),
    ("[[levels]]\nsimulator = 'a:b'\nrows = '0:2'", ["must have no rows, as it is a simulator"]),
    ("[[levels]]\nsimulator='a:b'\nx='b.npy'", ["levels[0] must have simulator or", "got both"]),
    ("a = 1\n[pilot]\nn = 1\n", ["a is no known key", "\npilot.n must be"]),  # all at once
]


@pytest.mark.parametrize(("text", "parts"), KEYS, ids=range(len(KEYS)))
def test_errors_name_the_key(text, parts, tmp_path):
    message = refused(tmp_path, text)
    assert str(tmp_path / "study.toml") in message
    assert "pydantic" not in message
    for part in parts:
        assert part in message


NAMES = [  # of a study that is whole but for what a reference leads to
    ("MODELS:coarse", "nowhere:coarse", ["levels[0].simulator", "'nowhere'", "nor installed"]),
    ("MODELS:coarse", "MODELS:course", ["no 'course'; did you mean 'coarse'?"]),
    ("MODELS:coarse", "MODELS:number", ["must name a function", "which is int"]),
    ("MODELS:fine", "MODELS.part:fine", ["levels[1].simulator must name a module"]),
    (WHOLE, "hierarchy = 'MODELS:number'", ["hierarchy must name an mlsbi.Hierarchy", "int"]),
    (WHOLE, "hierarchy = 'MODELS:row'", ["called without arguments", "TypeError"]),
    (PARAMETER, "[prior]\npython = 'MODELS:number'", ["prior.python must name a prior", "int"]),
    ('simulator = "MODELS:coarse"', "command = './nothing'", ["levels[0]", "must be a program"]),
    (
        'simulator = "MODELS:coarse"',
        "command = 'sh \"a'",
        ["levels[0].command", "Close the quotes"],
    ),
    ('simulator = "MODELS:coarse"', "command = 'sh {x}'", ["levels[0].command, word 1", "{x}"]),
]


@pytest.mark.parametrize(("old", "new", "parts"), NAMES, ids=range(len(NAMES)))
def test_errors_name_what_is_not_there(old, new, parts, tmp_path, models):
    assert old in WHOLE
    message = refused(tmp_path, WHOLE.replace(old, new), models)
    for part in parts:
        assert part in message


def test_another_module_of_that_name_is_not_taken_for_it(tmp_path, models):
    Study.load(written(tmp_path, WHOLE, models)).hierarchy()
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{models}.py").write_text(MODELS)
    assert "this process has another module" in refused(other, WHOLE, models)


@pytest.mark.parametrize("path", [3, None])
def test_path_must_be_one(path):
    with pytest.raises(TypeError, match="path must be str or PathLike"):
        Study.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="path must name a study's file"):
        Study.load(tmp_path / "nothing.toml")


def test_lines_are_found():
    text = "a = 1\n[t]\nb.c = 2 # x\n[[u]]\n[[u]]\nd = '[t]'\n"
    assert line_of(text, ["a"]) == (1, "a = 1")
    assert line_of(text, ["t", "b", "c"]) == (3, "b.c = 2 # x")
    assert line_of(text, ["t", "e"]) == (2, "[t]")
    assert line_of(text, ["u", 1, "d"]) == (6, "d = '[t]'")
    assert line_of(text, ["u", 0, "d"]) == (4, "[[u]]")
    assert line_of("a = '''\nb = 1\n'''\nb = 2", ["b"]) == (4, "b = 2")
    assert line_of('a = """one"""\n# """\nb = 2', ["b"]) == (3, "b = 2")
    assert line_of('[t]\na = """\n[u]\nb = 1"""\nc = 2', ["t", "c"]) == (5, "c = 2")
