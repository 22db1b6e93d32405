"""`CommandLevel`: programs as simulators, and what they do wrong."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform

from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import simulate
from mlsbi.simulate._command import CommandLevel
from programs import THETA, executable, run, sh

PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch folder"


def test_it_is_a_row_by_row_level():
    level = CommandLevel(["sh", "-c", "true"], cost=2.0)
    assert isinstance(level, Level)
    assert (level.batched, level.cost, level.name) == (False, 2.0, "sh")
    assert CommandLevel(["sh"], name="own").name == "own"


def test_placeholders(scratch):
    script = 'printf "%s\\n" "$@" "$MLSBI_SEED" "$PWD" >"$4"'
    arguments = ["{theta}", "a{theta[1]}b{theta[0]}", "{seed}", "{out}", "{scratch}", "{cwd}",
                 "{{theta}}", ""]  # fmt: skip
    level = sh(script, *arguments, scratch=scratch, read=lambda p: p.read_text().split("\n"))
    got = run(level).tolist()
    folder = got[4]
    exact = repr(float(np.float32(0.1)))
    assert got[:3] == [f"{exact},2.5", f"a2.5b{exact}", "7"]
    assert (Path(folder).parent, got[3]) == (scratch, f"{folder}/out")
    assert got[5:] == [os.getcwd(), "{theta}", "", "7", folder, ""]
    spaced = sh('printf "%s" "$1"', "{theta}", separator=" ", read=lambda p: p.read_text())
    assert str(run(spaced)) == f"{exact} 2.5"


def test_numbers_read_back_exactly():
    theta = torch.randn(200, generator=torch.Generator().manual_seed(1)).numpy() * 1e-3
    got = run(sh('printf "%s\\n" "$@"', *[f"{{theta[{i}]}}" for i in range(200)]), theta)
    assert np.array_equal(got.astype(np.float32), theta)


@pytest.mark.parametrize("text", ["1 2.5\n", "1,2.5", "# head\n1\n\n2.5 # tail\n", "1, 2.5\n"])
def test_text_is_read_as_a_vector(text):
    assert np.array_equal(run(sh('printf "%b" "$1"', text)), [1.0, 2.5])
    assert np.array_equal(run(sh('printf "%b" "$2" >"$1"', "{out}", text)), [1.0, 2.5])


def test_npy_keeps_its_shape_and_holds_no_objects():
    code = "import sys, numpy; numpy.save(sys.argv[1], {})"
    level = CommandLevel(
        [sys.executable, "-c", code.format("numpy.ones((2, 3))"), "{out}"], suffix=".npy"
    )
    assert run(level).shape == (2, 3)
    bad = CommandLevel(
        [sys.executable, "-c", code.format("numpy.array([None])"), "{out}"], suffix=".npy"
    )
    with pytest.raises(RuntimeError, match="cannot be read: ValueError: Object arrays"):
        run(bad)


def test_in_a_hierarchy_pairs_share_theta_and_seed():
    level = sh('echo "$1 $(($2 % 997))"', "{theta[0]}", "{seed}")
    data = simulate(Hierarchy(PRIOR, [level, level]), [3, 2], seed=0)
    assert torch.equal(data.x(1), data.x_coarse(1))
    assert torch.equal(data.x(1)[:, 0], data.theta(1)[:, 0])
    assert len(set(data.x(0)[:, 1].tolist())) == 3


def test_program_is_found_from_the_current_folder_once(tmp_path, monkeypatch):
    place = tmp_path / "my programs"
    place.mkdir()
    executable(place / "sim", "#!/bin/sh\necho 5\n")
    monkeypatch.chdir(place)
    levels = [CommandLevel(["./sim"]), CommandLevel([Path("sim").absolute()])]
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    levels.append(CommandLevel(["sim"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.undo()
    assert [run(level).tolist() for level in levels] == [[5.0]] * 3


def test_links_are_not_followed(tmp_path):
    (tmp_path / "other").symlink_to("/bin/sh")
    level = CommandLevel([tmp_path / "other", "-c", 'basename "$0"'], read=lambda p: p.read_text())
    assert str(run(level)).strip() == "other"


def test_it_can_be_pickled():
    level = pickle.loads(pickle.dumps(sh('echo "$1"', "{theta}")))
    assert np.array_equal(run(level).astype(np.float32), THETA)


@pytest.mark.parametrize(
    ("argv", "error", "message"),
    [
        ("sh", TypeError, r"argv must be list or tuple; got str"),
        ([], ValueError, r"argv must not be empty"),
        (["sh", 3], TypeError, r"argv\[1\] must be str or PathLike; got int"),
        (["sh", "{thta}"], ValueError, r"argv\[1\] .* got \{thta\} in '\{thta\}'.*\{theta\[0\]\}"),
        (["sh", "{}"], ValueError, r"known placeholders"),
        (["sh", "{theta[x]}"], ValueError, r"got \{theta\[x\]\}"),
        (["sh", "{seed:d}"], ValueError, r"got \{seed:d\}"),
        (["sh", "{seed!r}"], ValueError, r"got \{seed!r\}"),
        (["sh", "{theta"], ValueError, r"balanced braces.*Double"),
        (["sh", "a}"], ValueError, r"balanced braces"),
        (["{out}"], ValueError, r"argv\[0\] must have no placeholder"),
        (["no-such-program"], ValueError, r"'no-such-program', which was not found"),
        (["./no-such-program"], ValueError, r"not found"),
        (["/"], ValueError, r"not found"),
    ],
)
def test_bad_argv_is_refused_at_once(argv, error, message):
    with pytest.raises(error, match=message):
        CommandLevel(argv)


def test_a_file_that_is_not_executable(tmp_path):
    (tmp_path / "sim").write_text("#!/bin/sh\n")
    with pytest.raises(ValueError, match=r"not executable.*chmod \+x"):
        CommandLevel([tmp_path / "sim"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"read": 3}, TypeError, "read must be callable"),
        ({"timeout": 0}, ValueError, "timeout must be finite and positive"),
        ({"scratch": 3}, TypeError, "scratch must be"),
        ({"keep_failed": 1}, TypeError, "keep_failed must be bool"),
        ({"separator": None}, TypeError, "separator must be str"),
        ({"suffix": 3}, TypeError, "suffix must be str"),
        ({"suffix": "/x"}, ValueError, "suffix must hold no path"),
        ({"cost": -1.0}, ValueError, "cost must be"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        CommandLevel(["sh"], **options)


@pytest.mark.parametrize("u", [1.5, True, np.zeros(3), {"z": 1}])
def test_other_noise_is_refused(u):
    with pytest.raises(TypeError, match="one seed a row.*Leave noise out"):
        run(sh("echo 1"), seed=u)


def test_a_parameter_that_is_not_there():
    with pytest.raises(ValueError, match=r"\{theta\[0\]\} to \{theta\[1\]\}; got \{theta\[2\]\}"):
        run(sh("echo 1", "{theta[2]}"))


def test_what_changes_no_result_makes_no_other_program(monkeypatch):
    def simulator(*arguments, **options):
        return sh("echo 1", *arguments, **options).simulator

    plain, here = simulator(), simulator("{cwd}")
    assert simulator(timeout=3.0, scratch="x", keep_failed=True) == plain
    assert simulator(separator=" ") != plain
    assert simulator("{seed}") != plain
    monkeypatch.chdir("/")
    assert simulator() == plain
    assert simulator("{cwd}") != here
