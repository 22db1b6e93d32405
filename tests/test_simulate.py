"""`simulate`: rows with streams of their own, pairs, failures."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform

from mlsbi._random import make_generator
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate import CHUNK_ROWS, PENDING, Chunk, draw_chunk, reproduce, simulate
from mlsbi.simulate._plan import Plan

PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))


def kick(theta, u):
    """Batched; every row is theta plus what its seed says."""
    return theta + (u % 997)[:, None] / 1000


def kick_row(theta, seed):
    return torch.from_numpy(theta) + torch.tensor(seed % 997) / 1000


def dict_noise(n, generator):
    return {"z": torch.randn(n, 2, generator=generator), "k": torch.rand(n, generator=generator)}


def tuple_noise(n, generator):
    return tuple(dict_noise(n, generator).values())


def hierarchy(levels=3, simulator=kick, **options):
    return Hierarchy(PRIOR, [Level(simulator, cost=float(i + 1)) for i in range(levels)], **options)


def same(a, b):
    return all(
        torch.equal(a.theta(i), b.theta(i))
        and torch.equal(a.x(i), b.x(i))
        and (i == 0 or torch.equal(a.x_coarse(i), b.x_coarse(i)))
        for i in range(a.num_levels)
    )


def test_counts_costs_and_prior():
    own = hierarchy()
    data = simulate(own, [30, 20, 10], seed=0)
    assert data.n == (30, 20, 10)
    assert data.costs == (1.0, 2.0, 3.0)
    assert data.cost == 30 * 1 + 20 * 3 + 10 * 5
    assert data.prior is own.prior
    assert simulate(Hierarchy(PRIOR, [Level(kick)]), [2], seed=0).costs is None
    assert simulate(own, np.array([3, 2, 1]), seed=0).n == (3, 2, 1)


def test_same_seed_same_data_and_no_global_state():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    data = simulate(hierarchy(), [30, 20, 10], seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    torch.manual_seed(99)
    assert same(simulate(hierarchy(), [30, 20, 10], seed=4), data)
    assert not same(simulate(hierarchy(), [30, 20, 10], seed=5), data)


@pytest.mark.parametrize("noise", [None, dict_noise, tuple_noise])
@pytest.mark.parametrize("n", [1, 7, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2100])
def test_rows_are_the_same_whatever_n(n, noise):
    def simulator(theta, u):
        z = u["z"] if isinstance(u, dict) else u[0] if isinstance(u, tuple) else u[:, None] % 997
        return theta + z

    own = hierarchy(2, simulator, noise=noise)
    full = simulate(own, [2200, 2200], seed=0)
    part = simulate(own, [n, n], seed=0)
    assert same(part, full.subset([range_list(n), range_list(n)]))


def range_list(n):
    return list(range(n))


def test_row_by_row_and_batched_agree():
    rows = Hierarchy(PRIOR, [Level(kick_row, batched=False)] * 2)
    whole = Hierarchy(PRIOR, [Level(kick)] * 2)
    assert same(simulate(rows, [50, 20], seed=1), simulate(whole, [50, 20], seed=1))


def test_pairs_share_theta_and_noise():
    data = simulate(hierarchy(3), [5, 1500, 4], seed=0)
    for level in (1, 2):
        assert torch.equal(data.x(level), data.x_coarse(level))


def test_streams_of_levels_and_chunks_are_independent():
    """Negative control: a stream used twice would show as equal rows."""
    n = CHUNK_ROWS
    data = simulate(hierarchy(2), [2 * n, n], seed=0)
    first, second, other = data.theta(0)[:n], data.theta(0)[n:], data.theta(1)
    for a, b in ((first, second), (first, other), (second, other)):
        assert not bool((a == b).all(dim=1).any())
        correlation = torch.corrcoef(torch.stack([a[:, 0], b[:, 0]]))[0, 1]
        assert abs(float(correlation)) < 4 / n**0.5


def test_draws_follow_the_prior():
    theta = simulate(hierarchy(1), [4000], seed=0).theta(0)
    error = (1 / 12 / 4000) ** 0.5
    assert bool(((theta.mean(0) - 0.5).abs() < 4 * error).all())


@pytest.mark.parametrize("slots", [1, 8])
@pytest.mark.parametrize("unit", [1, 7, CHUNK_ROWS])
def test_plan_covers_every_pending_row_once(slots, unit):
    counts = (1, CHUNK_ROWS, 2 * CHUNK_ROWS + 3)
    generator = np.random.default_rng(0)
    status = [generator.integers(0, 3, size=count + 5).astype(np.uint8) for count in counts]
    status[0][0] = PENDING
    plan, seen = Plan(status, counts, [1, unit, unit], slots=slots), {0: [], 1: [], 2: []}
    tasks = []
    while (task := plan.next()) is not None:
        tasks.append(task)
        seen[task.level] += task.rows.tolist()
        assert len({row // CHUNK_ROWS for row in task.rows.tolist()}) == 1  # one block
        plan._levels[task.level].row_seconds = 0.03
    for level, count in enumerate(counts):
        assert seen[level] == np.flatnonzero(status[level][:count] == PENDING).tolist()
    assert [task.level for task in tasks[:4]] == [0, 1, 2, 2]  # one of each, then the finest
    calls = [{(row % CHUNK_ROWS) // unit for row in task.rows.tolist()} for task in tasks[1:]]
    pairs = zip(tasks[1:], tasks[2:], calls, calls[1:], strict=False)
    for task, following, own, next_calls in pairs:  # a call is never split between tasks
        same_block = task.rows[0] // CHUNK_ROWS == following.rows[0] // CHUNK_ROWS
        assert not (task.level == following.level and same_block and own & next_calls)


def broken(theta, u):
    raise ZeroDivisionError("boom")


def broken_row(theta, seed):
    if theta[0] > 0.99:
        raise ZeroDivisionError("boom")
    return theta


def test_exception_names_level_row_and_how_to_reproduce():
    own = Hierarchy(PRIOR, [Level(kick), Level(kick), Level(broken)])
    with pytest.raises(RuntimeError, match="level 2 failed at row 0 of level 2.*boom") as error:
        simulate(own, [3, 3, 5], seed=11)
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    assert "reproduce(hierarchy, level=2, row=0, seed=11)" in str(error.value)
    with pytest.raises(ZeroDivisionError, match="boom"):
        reproduce(own, level=2, row=0, seed=11)


def test_exception_in_the_coarse_member_says_so():
    own = Hierarchy(PRIOR, [Level(broken_pairs), Level(kick)])
    with pytest.raises(RuntimeError, match=r"level 0 \(as the coarse member of level 1's pairs\)"):
        simulate(own, [2, 2], seed=0)


def broken_pairs(theta, u):
    """Fails where level 1's rows are drawn from."""
    first = draw_chunk(hierarchy(2), Chunk(1, 0, 1), 0)[0]
    if torch.equal(theta[:1], first):
        raise ZeroDivisionError("boom")
    return kick(theta, u)


def test_exception_of_a_row_names_the_row():
    own = Hierarchy(PRIOR, [Level(broken_row, batched=False)])
    theta = simulate(Hierarchy(PRIOR, [Level(kick)]), [3000], seed=0).theta(0)
    row = int((theta[:, 0] > 0.99).nonzero()[0])
    with pytest.raises(RuntimeError, match=f"level 0 failed at row {row} of"):
        simulate(own, [3000], seed=0)


def test_wrong_output_names_the_level():
    own = Hierarchy(PRIOR, [Level(kick), Level(lambda theta, u: theta[:-1])])
    with pytest.raises(RuntimeError, match=r"(?s)level 1 failed at row 0.*batched=False"):
        simulate(own, [2, 2], seed=0)


def test_a_batched_simulator_gets_whole_batches_whatever_the_number_of_rows():
    sizes = []

    def noted(theta, u):
        sizes.append(len(theta))
        return kick(theta, u)

    simulate(Hierarchy(PRIOR, [Level(noted, batch_size=100)]), [1100], seed=0)
    assert sorted(sizes) == [24, 76, *[100] * 10]  # batches do not cross blocks of draws


def sometimes(theta, u):
    return torch.where(theta[:, :1] > 0.8, torch.nan, theta)


def test_nan_names_level_and_rows_or_is_dropped():
    own = Hierarchy(PRIOR, [Level(sometimes), Level(kick)])
    theta = simulate(hierarchy(2), [50, 40], seed=0)
    bad = [(theta.theta(i)[:, 0] > 0.8) for i in range(2)]
    row = int(bad[0].nonzero()[0])
    message = f"(?s)level 0 failed at row {row} .*NaN.*in 2 of 2.*on_failure='drop'"
    with pytest.raises(RuntimeError, match=message):
        simulate(own, [50, 40], seed=0)
    with pytest.raises(RuntimeError, match="max_failed=0.05"):
        simulate(own, [50, 40], seed=0, on_failure="drop")
    with pytest.warns(UserWarning, match="left out"):
        data = simulate(own, [50, 40], seed=0, on_failure="drop", max_failed=0.5)
    assert data.dropped == tuple(int(b.sum()) for b in bad)
    assert torch.equal(data.theta(1), theta.theta(1)[~bad[1]])


def test_progress_is_a_line_without_a_terminal_and_silent_unless_asked_for(capsys):
    simulate(hierarchy(1), [10], seed=0)
    assert capsys.readouterr() == ("", "")
    simulate(hierarchy(1), [10], seed=0, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "10/10" in err
    assert err.rstrip("\n").isprintable()


def test_progress_shows_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    data = simulate(hierarchy(1), [10], seed=0, progress=True)
    assert "10/10" in screen.getvalue()
    assert same(data, simulate(hierarchy(1), [10], seed=0))


def careless(n, generator):
    return torch.randn(n)


TWO = hierarchy(2)
BAD = {
    "hierarchy": (lambda: simulate(3, [1], seed=0), TypeError, "hierarchy", "Pass"),
    "n": (lambda: simulate(TWO, 3, seed=0), TypeError, "n ", "Pass"),
    "n: count": (lambda: simulate(TWO, [3], seed=0), ValueError, "n .*2; got 1", "Pass"),
    "n: zero": (lambda: simulate(TWO, [3, 0], seed=0), ValueError, r"n\[1\]", "Pass"),
    "n: float": (lambda: simulate(TWO, [3.0, 1], seed=0), TypeError, r"n\[0\]", "Pass"),
    "seed": (lambda: simulate(TWO, [3, 1], seed=-1), ValueError, "seed", "Pass"),
    "seed: type": (lambda: simulate(TWO, [3, 1], seed=None), TypeError, "seed", "Pass"),
    "progress": (lambda: simulate(TWO, [3, 1], seed=0, progress=1), TypeError, "progress", "Pass"),
    "on_failure": (
        lambda: simulate(TWO, [3, 1], seed=0, on_failure="skip"),
        ValueError,
        "on_failure",
        "Choose",
    ),
    "on_failure: type": (
        lambda: simulate(TWO, [3, 1], seed=0, on_failure=True),
        TypeError,
        "on_failure",
        "Pass",
    ),
    "noise: not from the generator": (
        lambda: simulate(hierarchy(1, noise=careless), [3], seed=0),
        ValueError,
        "noise",
        "generator=generator",
    ),
}


@pytest.mark.parametrize(("call", "kind", "argument", "remedy"), BAD.values(), ids=BAD)
def test_refusals_name_the_argument_and_the_remedy(call, kind, argument, remedy):
    with pytest.raises(kind, match=f"(?s){argument}.*{remedy}"):
        call()


def test_rows_draw_from_the_documented_stream():
    """The stream is part of the file format of stored runs: a change must be deliberate."""
    theta, u = TWO.draw(CHUNK_ROWS, make_generator(5, "simulate", 1, 0))
    data = simulate(TWO, [1, 3], seed=5)
    assert torch.equal(data.theta(1), theta[:3])
    assert torch.equal(data.x(1), kick(theta, u)[:3])


def test_threads_that_draw_at_the_same_time_do_not_meet():
    """torch's distributions draw from one generator for all threads."""
    own = hierarchy(1)
    blocks = [Chunk(0, index, CHUNK_ROWS) for index in range(200)]
    alone = [draw_chunk(own, block, 0)[0] for block in blocks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda block: draw_chunk(own, block, 0)[0], blocks))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
