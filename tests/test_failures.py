"""A failed row: what it says, and that it can be run again on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform

from mlsbi.failures import Failure
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import CHUNK_ROWS
from mlsbi.simulate._chunks import Chunk, draw_chunk

PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))
SEED = 11


class SimulatorError(Exception):
    """What a simulator of the tests raises."""


def note(theta, u):
    """Batched: theta and the seed come out again."""
    return torch.cat([theta, (u % 1000).float()[:, None]], dim=1)


def note_row(theta, u):
    """The same, a row at a time."""
    return np.array([*theta, u % 1000], dtype=np.float32)


def fail(theta, u):
    raise SimulatorError(f"no convergence at {theta}")


def nan_row(theta, u):
    return np.full(3, np.nan)


def hierarchy(*simulators, batched=False, noise=None, prior=PRIOR):
    levels = [Level(simulator, batched=batched) for simulator in simulators]
    return Hierarchy(prior, levels, noise=noise)


def failure(own, *, level=1, row=CHUNK_ROWS + 7, simulator=1, **changes):
    theta, u = draw_chunk(own, Chunk(level, row // CHUNK_ROWS, CHUNK_ROWS), SEED)
    offset = row % CHUNK_ROWS
    made = Failure(
        level=level,
        row=row,
        simulator=simulator,
        kind="exception",
        message="SimulatorError: no convergence.\nTraceback ...",
        attempts=1,
        theta=tuple(theta[offset].tolist()),
        row_seed=int(u[offset]) if own.row_seeds else None,
        seed=SEED,
    )
    return replace(made, **changes)


@pytest.mark.parametrize("simulator", [0, 1])
@pytest.mark.parametrize("row", [0, CHUNK_ROWS - 1, CHUNK_ROWS, 3 * CHUNK_ROWS + 100])
@pytest.mark.parametrize("batched", [True, False])
def test_the_simulator_gets_the_row_of_the_campaign(batched, row, simulator):
    own = hierarchy(*[note if batched else note_row] * 2, batched=batched)
    failed = failure(own, row=row, simulator=simulator)
    x = failed.reproduce(own)
    expected = [*failed.theta, float(failed.row_seed % 1000)]
    assert x.tolist() == [torch.tensor(expected).tolist()]


@pytest.mark.parametrize("batched", [True, False])
def test_what_the_simulator_raises_is_passed_on_as_it_is(batched):
    own = hierarchy(fail, note if batched else note_row, batched=batched)
    failed = failure(own, simulator=0)
    with pytest.raises(SimulatorError, match="no convergence") as caught:
        failed.reproduce(own)
    assert caught.traceback[-1].name == "fail"
    assert failure(own).reproduce(own).shape == (1, 3)


def test_outputs_that_were_refused_come_back():
    own = hierarchy(note_row, nan_row)
    assert bool(torch.isnan(failure(own).reproduce(own)).all())
    wrong = hierarchy(note, lambda theta, u: torch.ones(3), batched=True)
    with pytest.raises(ValueError, match="must return x of shape"):
        failure(wrong).reproduce(wrong)


def test_noise_of_the_users_own():
    def draw(n, generator):
        return {"z": torch.rand(n, 2, generator=generator)}

    own = hierarchy(lambda theta, u: u["z"], lambda theta, u: u["z"], noise=draw)
    failed = failure(own)
    _, u = draw_chunk(own, Chunk(1, 1, CHUNK_ROWS), SEED)
    assert torch.equal(failed.reproduce(own)[0], u["z"][7])


OWN = hierarchy(note_row, note_row)
WIDER = hierarchy(note_row, note_row, prior=BoxUniform(torch.zeros(2), 2 * torch.ones(2)))
THREE = hierarchy(note_row, note_row, prior=BoxUniform(torch.zeros(3), torch.ones(3)))
NOISY = hierarchy(note_row, note_row, noise=lambda n, g: torch.rand(n, 2, generator=g))
OTHERS = {
    "prior": (WIDER, {}, "draws theta"),
    "dimension": (THREE, {}, "draws theta"),
    "levels": (hierarchy(note_row), {}, r"1 level\(s\)"),
    "noise": (NOISY, {}, "noise of its own"),
    "seed": (OWN, {"seed": SEED + 1}, "draws theta"),
    "row": (OWN, {"row": 3}, "draws theta"),
    "row_seed": (OWN, {"row_seed": 1}, "draws the seed"),
}


@pytest.mark.parametrize(("other", "changes", "found"), OTHERS.values(), ids=OTHERS)
def test_another_hierarchy_is_refused(other, changes, found):
    with pytest.raises(ValueError, match=f"hierarchy must be the one .*{found}.*Pass the"):
        replace(failure(OWN), **changes).reproduce(other)


def test_something_else_than_a_hierarchy_is_refused():
    with pytest.raises(TypeError, match=r"hierarchy must be Hierarchy.*Pass an mlsbi.Hierarchy"):
        failure(OWN).reproduce([note_row])


def test_text_is_one_paragraph():
    text = str(failure(OWN, theta=(0.5, 0.25), row_seed=3))
    assert text.startswith(
        "row 1031 of level 1: the simulator of level 1 failed (exception) at theta [0.5, 0.25], "
        "seed 3: SimulatorError: no convergence. failure.reproduce(hierarchy) runs it again"
    )
    assert "\n" not in text
    coarse = str(failure(OWN, simulator=0, attempts=3, row_seed=None))
    assert "level 0 (as the coarse member of level 1's pairs) failed in 3 attempts" in coarse
    assert "seed" not in coarse
    assert "no message" in str(failure(OWN, message=""))


def test_json_and_back():
    own = failure(OWN)
    assert Failure.from_dict(own.to_dict()) == own
    record = own.to_dict()
    del record["seed"]
    assert Failure.from_dict(record, seed=SEED) == own
    with pytest.raises(ValueError, match="cannot be read.*'seed'"):
        Failure.from_dict(record)
