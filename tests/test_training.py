"""The training loop: what it keeps, when it stops, how it fails, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import mlsbi._fitting as fitting
from mlsbi import (
    MAF,
    MDN,
    Multilevel,
    Pooled,
    SingleLevel,
    Status,
    Transfer,
    checkpoint,
    fit_likelihood,
    fit_posterior,
)
from mlsbi.batches import Batches, HeldOut, RowSampler
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.mdn import MixtureDensity
from mlsbi.optimiser import learning_rate
from mlsbi.problem import LevelRows, Objective, Problem, Term, folds
from mlsbi.training import train
from tiny import linear_data, problem_of_rows, tiny

BUILD = fitting.Blueprint.build
ONE = Objective((Term(0),), (Term(0),))


class Faulty(ConditionalDensity):
    """A density that does `fault` at chosen passes in training (or evaluation) mode."""

    def __init__(self, inner: ConditionalDensity, at: set[int], *, fault: str, mode: str = "train"):
        super().__init__()
        self.inner, self.members = inner, inner.members
        self.at, self.fault, self.mode, self.calls = at, fault, mode, 0

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        out = self.inner.log_prob(value, context)
        if self.training == (self.mode == "train"):
            call, self.calls = self.calls, self.calls + 1
            if call in self.at:
                if self.fault == "interrupt":
                    raise KeyboardInterrupt
                return out * float(self.fault)
        return out

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        return self.inner.sample(context, generator=generator)


def mdn(members: int = 2, *, dropout: float = 0.0) -> MixtureDensity:
    return MDN(hidden=(16,), components=2).build(
        members, 2, 3, generator=torch.Generator().manual_seed(0),
        dropout=dropout, common_dropout=True,
    )  # fmt: skip


def problem(
    n: int = 60, members: int = 2, checkpoint: Path | None = None, **options: Any
) -> Problem:
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(n, 2, generator=generator)
    x = theta @ torch.ones(2, 3) + 0.3 * torch.randn(n, 3, generator=generator)
    training = tiny(**options)
    held = folds(n, members, fraction=training.validation_fraction, generator=generator)
    levels = (LevelRows(theta, x),)
    return problem_of_rows(levels, (held,), training, seed=3, checkpoint=checkpoint)


def weights_of(density: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in density.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def rows_as_text(fit_or_result: Any) -> str:
    """Rows of a history, NaN equal to NaN."""
    rows = getattr(fit_or_result, "rows", None) or fit_or_result.history.rows
    return json.dumps(list(rows))


# what is kept


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_weights_kept_are_those_of_the_lowest_held_out_loss(average: float) -> None:
    # a rate this large wanders: the last weights are not the best
    given = problem(learning_rate=0.3, max_steps=60, average=average, schedule="constant")
    density = mdn()
    result = train(density, ONE, given)
    losses = [row["held_out_loss"] for row in result.rows]
    assert losses[-1] > min(losses)
    with torch.no_grad():
        kept = HeldOut(ONE.held_out, given, torch.device("cpu")).loss(density)
    assert kept == min(losses) == result.held_out_loss
    assert not density.training


def test_the_mean_of_the_held_out_rows_is_the_held_out_loss() -> None:
    given, density = problem(members=3), mdn(3)
    held = ~given.train_rows[0]
    with torch.no_grad():
        k = (3, *given.levels[0].value.shape)
        every = density.log_prob(
            given.levels[0].value.expand(k), given.levels[0].context.expand(3, -1, -1)
        )
        loss = HeldOut(ONE.held_out, given, torch.device("cpu")).loss(density)
    assert loss == pytest.approx(float(-every[held].mean()), abs=1e-5)


def test_running_statistics_are_kept_with_the_weights() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    options = tiny(learning_rate=0.3, max_steps=60, schedule="constant", average=0.0)
    fit = fit_posterior(
        linear_data((60,)), seed=0, ensemble=1, estimator=MDN((8,), 2), embedding_net=net,
        training=options,
    )  # fmt: skip
    data = linear_data((60,))
    train_rows = fitting.train_rows(data, 1, options, 0)
    held = (~train_rows[0])[0]
    value, context = fit.estimator.transformed(data.theta(0)[held], data.x(0)[held])
    loss = -float(fit.estimator.density.log_prob(value[None], context[None]).mean())
    assert loss == pytest.approx(min(fit.history["held_out_loss"]), abs=1e-5)


def test_patience_ends_a_training_that_no_longer_improves() -> None:
    given = problem(learning_rate=0.3, max_steps=500, patience=3, schedule="constant")
    result = train(mdn(), ONE, given)
    losses = [row["held_out_loss"] for row in result.rows]
    assert result.status is Status.CONVERGED
    assert len(losses) - 1 - losses.index(min(losses)) == 3  # evaluations without improvement
    assert result.rows[-1]["step"] < 500


def test_a_loss_still_falling_at_the_last_step_is_said() -> None:
    still = train(mdn(), ONE, problem(1000, schedule="constant"))
    assert still.status is Status.MAX_STEPS
    fixed = train(mdn(), ONE, problem(validation_fraction=None))
    assert fixed.status is Status.FIXED_STEPS
    assert fixed.rows[-1]["step"] == 30


def test_each_status_says_what_it_means_and_a_bad_one_what_to_try() -> None:
    for status, words in {
        Status.MAX_STEPS: "max_steps",
        Status.STEPPED_BACK: "fit.history",
        Status.DIVERGED: "learning_rate",
    }.items():
        assert words in status.value
    assert [s for s in Status if not s.ok] == [Status.DIVERGED]


# rows


@pytest.mark.parametrize(("n", "members", "fraction"), [(23, 5, 0.2), (40, 10, 0.1), (5, 5, 0.2)])
def test_every_row_is_held_out_by_some_member(n: int, members: int, fraction: float) -> None:
    train_rows = folds(n, members, fraction=fraction, generator=torch.Generator().manual_seed(0))
    assert (~train_rows).any(0).all()
    assert (train_rows).any(1).all()
    share = (~train_rows).float().mean(1)
    assert (share - fraction).abs().max() <= 1 / n


@pytest.mark.parametrize("n", [1, 2, 3])
def test_folds_of_few_rows_leave_something_to_train_on(n: int) -> None:
    train_rows = folds(n, 5, fraction=0.2, generator=torch.Generator().manual_seed(0))
    assert train_rows.any(1).all()
    assert bool((~train_rows).any()) == (n > 1)


def test_no_member_sees_its_held_out_rows_and_pairs_stay_together() -> None:
    rows = torch.arange(40.0)[:, None].expand(40, 2)
    levels = (
        LevelRows(rows, rows),
        LevelRows(rows, rows + 1000, coarse_value=rows, coarse_context=rows + 2000),
    )
    generator = torch.Generator().manual_seed(0)
    held = tuple(folds(40, 4, fraction=0.25, generator=generator) for _ in levels)
    terms = (Term(0), Term(1), Term(1, coarse=True, sign=-1.0))
    for batch_size in (8, None):
        given = problem_of_rows(levels, held, tiny(batch_size=batch_size), seed=0)
        batches = Batches(terms, given, 0, torch.device("cpu"))
        for step in range(9):
            value, context, weight, sizes = batches.at(step)
            assert len(sizes) == 3
            parts = list(zip(value.split(sizes, 1), weight.split(sizes, 1), strict=True))
            for term, (part, w) in zip(terms, parts, strict=True):
                for member in range(4):
                    seen = part[member, w[member] != 0, 0].long()
                    assert held[term.level][member, seen].all()
            assert torch.equal(parts[1][0], parts[2][0])  # the same theta in both of a pair
            assert torch.equal(parts[1][1], -parts[2][1])
            assert torch.allclose(weight.abs().sum(1), torch.tensor(3.0))
            fine, coarse = context.split(sizes, 1)[1:]
            assert torch.equal(fine, coarse - 1000)


def test_an_epoch_uses_each_row_once() -> None:
    train_rows = torch.ones(3, 24, dtype=torch.bool)
    sampler = RowSampler(train_rows, batch_size=8, seed=5, path=("rows", 0, 0))
    for epoch in range(2):
        drawn = torch.cat([sampler.draw(3 * epoch + i)[0] for i in range(3)], 1)
        assert torch.equal(drawn.sort(1).values, torch.arange(24).expand(3, 24))
    orders = sampler.draw(0)[0]
    assert not torch.equal(orders[0], orders[1])  # members differ


def test_rows_depend_on_seed_stage_level_and_step_alone() -> None:
    train_rows = torch.ones(2, 50, dtype=torch.bool)

    def sampler(seed: int = 5, stage: int = 0, level: int = 0) -> RowSampler:
        return RowSampler(train_rows, batch_size=8, seed=seed, path=("rows", stage, level))

    in_order = sampler()
    rows = [in_order.draw(step)[0] for step in range(20)]
    for step in (17, 3, 12):  # as a resumed training asks
        assert torch.equal(sampler().draw(step)[0], rows[step])
    for other in (sampler(seed=6), sampler(stage=1), sampler(level=1)):
        assert not torch.equal(other.draw(0)[0], rows[0])


# steps


def test_the_gradient_of_each_member_is_clipped() -> None:
    seen: list[Tensor] = []

    class Spy(Faulty):
        def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
            grads = [p.grad for p in self.parameters() if p.grad is not None]
            if self.training and grads:  # those of the step before
                seen.append(torch.cat([g.flatten(1) for g in grads], 1).norm(dim=1))
            scale = torch.tensor([1.0, 1000.0])[:, None]  # the second member is far steeper
            return super().log_prob(value, context) * scale

    result = train(Spy(mdn(), set(), fault="nan"), ONE, problem(clip=5.0, max_steps=10))
    norms = torch.stack(seen)
    assert norms.max() <= 5.0 + 1e-4
    assert (norms[:, 1] > 4.99).all()
    assert (norms[:, 0] < 4.99).any()  # a steep neighbour does not shorten this one's steps
    assert result.rows[-1]["gradient_norm"] > 5.0  # the history has the norm before clipping


@pytest.mark.parametrize("estimator", [MDN((16, 16), 3), MAF((16,), 2), "made"])
def test_every_member_of_an_ensemble_learns(estimator: Any) -> None:
    data = linear_data((120,))
    short, long = (
        fit_posterior(
            data, seed=1, ensemble=3, estimator=estimator,
            training=tiny(max_steps=steps, validation_fraction=None, average=0.0),
        )
        for steps in (1, 60)
    )  # fmt: skip
    before, after = (
        -f.estimator.member_log_prob(data.theta(0), data.x(0)).mean(1) for f in (short, long)
    )
    assert (after < before - 0.3).all()


def test_the_learning_rate_follows_warm_up_and_schedule() -> None:
    cosine = tiny(warmup=4, max_steps=100, learning_rate=1.0, schedule="cosine")
    assert [learning_rate(replace(cosine, schedule="constant"), s) for s in (0, 1, 3, 4, 99)] == [
        0.25, 0.5, 1.0, 1.0, 1.0,
    ]  # fmt: skip
    assert learning_rate(cosine, 50) == pytest.approx(0.5)
    assert learning_rate(cosine, 99) < 1e-3


# losses that are not finite


@pytest.mark.parametrize("fault", ["nan", "inf"])
@pytest.mark.parametrize("at", [0, 7, 29])
def test_a_loss_that_is_not_finite_steps_back(
    fault: str, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    density = Faulty(mdn(), {at}, fault=fault)
    result = train(density, ONE, problem())
    assert result.status is Status.STEPPED_BACK
    assert f"not finite at step {at}" in caplog.text
    assert all(torch.isfinite(w).all() for w in weights_of(density))
    assert min(row["held_out_loss"] for row in result.rows) == result.held_out_loss
    if at < 29:
        assert result.rows[-1]["step"] == 30


def test_repeated_losses_that_are_not_finite_end_it_with_the_best_weights_kept() -> None:
    given = problem(max_steps=200, patience=100)
    density = Faulty(mdn(), set(range(12, 200)), fault="nan")
    result = train(density, ONE, given)
    assert result.status is Status.DIVERGED
    assert result.rows[-1]["step"] == 10
    with torch.no_grad():
        kept = HeldOut(ONE.held_out, given, torch.device("cpu")).loss(density)
    assert kept == result.held_out_loss < result.rows[0]["held_out_loss"]


def test_without_a_held_out_part_weights_that_have_no_density_are_not_kept() -> None:
    training = tiny(
        learning_rate=1e30, validation_fraction=None, clip=None, average=0.0, max_steps=60
    )
    data = linear_data((60,))
    fit = fit_posterior(data, seed=0, ensemble=1, estimator=MDN((8,), 2), training=training)
    assert fit.status is Status.DIVERGED
    assert torch.isfinite(fit.log_prob(data.theta(0), data.x(0))).all()


def test_held_out_rows_without_a_density_are_no_convergence() -> None:
    density = Faulty(mdn(), set(range(1000)), fault="nan", mode="eval")
    result = train(density, ONE, problem(max_steps=200, patience=3))
    assert result.status is Status.DIVERGED
    assert all(torch.isfinite(w).all() for w in weights_of(density))


def test_a_step_back_takes_back_running_statistics() -> None:
    class Poisoned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear, self.calls = nn.BatchNorm1d(3), nn.Linear(3, 4), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training
            return self.linear(self.norm(x * (torch.nan if self.calls == 8 else 1.0)))

    fit = fit_posterior(
        linear_data((40,)), seed=0, ensemble=1, estimator=MDN((8,), 2), embedding_net=Poisoned(),
        training=tiny(),
    )  # fmt: skip
    assert fit.status is Status.STEPPED_BACK
    assert fit.history.rows[-1]["step"] == 30
    assert np.isfinite(fit.history["held_out_loss"]).all()


# going on after an interruption


def counted(monkeypatch: pytest.MonkeyPatch, at: set[int], *, mode: str = "train") -> None:
    """From now on a fit is interrupted at these passes."""

    def broken(self: Any, *, seed: int) -> ConditionalDensity:
        return Faulty(BUILD(self, seed=seed), at, fault="interrupt", mode=mode)

    monkeypatch.setattr(fitting.Blueprint, "build", broken)


STRATEGIES = {
    "single": SingleLevel(),
    "multilevel": Multilevel(start="fresh"),
    "warm": Multilevel(start="warm"),
    "auto": Multilevel(start="auto"),
    "transfer": Transfer(),
    "pooled": Pooled(),
}


@pytest.mark.parametrize("kind", [fit_posterior, fit_likelihood])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("name", STRATEGIES)
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    name: str, kind: Any, dropout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "training.ckpt"
    arguments = {
        "seed": 4, "strategy": STRATEGIES[name], "ensemble": 2, "estimator": MDN((8,), 2),
        "training": tiny(max_steps=20, dropout=dropout, batch_size=16),
    }  # fmt: skip
    data = linear_data()
    with monkeypatch.context() as patch:
        # the very first pass, mid-way, at an evaluation; later stages, where there are some
        passes = [(0, "train"), (7, "train"), (3, "eval"), (31, "train"), (8, "eval")]
        whole = None
        counted(patch, set())
        whole = kind(data, **arguments)
    interruptions = 0
    for at, mode in passes:
        with monkeypatch.context() as patch:
            counted(patch, {at}, mode=mode)
            try:
                kind(data, **arguments, checkpoint=file)
            except KeyboardInterrupt:
                interruptions += 1
    assert interruptions >= 2
    with monkeypatch.context() as patch:
        counted(patch, set())
        fit = kind(data, **arguments, checkpoint=file)
        assert same(weights_of(fit.estimator), weights_of(whole.estimator))
        assert rows_as_text(fit) == rows_as_text(whole)
        assert fit.status is whole.status
        # finished: the same fit at once, and not a step more
        counted(patch, set(range(1000)))
        again = kind(data, **arguments, checkpoint=file)
    assert same(weights_of(again.estimator), weights_of(whole.estimator))
    assert rows_as_text(again) == rows_as_text(whole)
    assert again.status is whole.status


def test_an_interruption_leaves_the_state_of_the_step_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "training.ckpt"
    counted(monkeypatch, {13})
    with pytest.raises(KeyboardInterrupt):
        fit_posterior(linear_data((40,)), seed=0, ensemble=1, training=tiny(), checkpoint=file)
    assert file.is_file()
    assert json.loads(_metadata(file)["state"])["step"] == 13
    assert not list(tmp_path.glob(".*"))  # no half-written file


def _metadata(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return dict(opened.metadata())


@pytest.mark.parametrize("net", ["dropout", "norm"])
def test_a_network_with_a_state_of_its_own_resumes_too(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = nn.Dropout(0.3) if net == "dropout" else nn.BatchNorm1d(6)
    arguments = {
        "seed": 4, "strategy": SingleLevel(), "ensemble": 2, "estimator": MDN((8,), 2),
        "training": tiny(), "embedding_net": nn.Sequential(nn.Linear(3, 6), layer),
    }  # fmt: skip
    torch.manual_seed(1)
    whole = fit_posterior(linear_data(), **arguments)
    torch.manual_seed(2)  # of no consequence
    again = fit_posterior(linear_data(), **arguments)
    assert same(weights_of(again.estimator), weights_of(whole.estimator))
    with monkeypatch.context() as patch:
        # the second pass of that step has run, and moved the running statistics
        counted(patch, {11})
        with pytest.raises(KeyboardInterrupt):
            fit_posterior(linear_data(), **arguments, checkpoint=tmp_path / "c")
        counted(patch, set())
        fit = fit_posterior(linear_data(), **arguments, checkpoint=tmp_path / "c")
    state, expected = fit.estimator.state_dict(), whole.estimator.state_dict()
    assert same(list(state.values()), list(expected.values()))
    assert rows_as_text(fit) == rows_as_text(whole)


def trained(file: Path, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "data": linear_data((40,)), "seed": 0, "ensemble": 1, "training": tiny(),
        "estimator": MDN((8,), 2), "checkpoint": file,
    }  # fmt: skip
    return fit_posterior(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"data": linear_data((40,), seed=1)},
        {"training": tiny(learning_rate=1e-4)},
        {"strategy": Transfer()},
        {"ensemble": 2},
        {"estimator": MDN((9,), 2)},
        {"estimator": "made"},
        {"embedding_net": nn.Linear(3, 3)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_checkpoint_of_another_training_is_refused(changes: Any, tmp_path: Path) -> None:
    trained(tmp_path / "c")
    with pytest.raises(ValueError, match=r"checkpoint: .*other data, options or seed.*delete it"):
        trained(tmp_path / "c", **changes)


def test_a_builder_is_known_again_in_another_process(tmp_path: Path) -> None:
    from sbi.neural_nets import posterior_nn

    def make(hidden: int) -> Any:  # a new function each time, as a new process has
        return posterior_nn("made", hidden_features=hidden, z_score_theta="none", z_score_x="none")

    fit = trained(tmp_path / "c", estimator=make(7))
    again = trained(tmp_path / "c", estimator=make(7))
    assert same(weights_of(fit.estimator), weights_of(again.estimator))
    with pytest.raises(ValueError, match="checkpoint"):
        trained(tmp_path / "c", estimator=make(8))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other safetensors", "folder"])
def test_a_damaged_checkpoint_is_named(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "c"
    trained(file)
    whole = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "other safetensors":
        save_file({"a": torch.zeros(1)}, file)
    else:
        file.write_bytes({"truncated": whole[:-100], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(ValueError, match=r"checkpoint: .*delete it"):
        trained(file)


def test_a_checkpoint_is_written_in_one_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "c"
    checkpoint.write(file, checkpoint.Snapshot({"a": torch.ones(2)}, {"step": 1}), fingerprint="f")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(file, checkpoint.Snapshot({"a": torch.zeros(2)}), fingerprint="f")
    found = checkpoint.read(file, fingerprint="f")
    assert found is not None
    assert found.state == {"step": 1}
    assert torch.equal(load_file(file)["a"], torch.ones(2))
    assert checkpoint.read(tmp_path / "none", fingerprint="f") is None


KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from tiny import linear_data, tiny
from mlsbi import fit_posterior, Transfer
fit = fit_posterior(
    linear_data((400, 80)), seed=0, ensemble=2, strategy=Transfer(), checkpoint={file!r},
    training=tiny(max_steps=1500, patience=1000, checkpoint_seconds=0.0, batch_size=32),
)
fit.save({out!r}, overwrite=True)
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def script(file: str, out: str) -> list[str]:
        paths = {"tests": str(Path(__file__).parent), "file": str(tmp_path / file)}
        return [sys.executable, "-c", KILLED.format(out=str(tmp_path / out), **paths)]

    subprocess.run(script("whole.ckpt", "whole"), check=True, timeout=300)
    second = tmp_path / "c.stage1"
    process = subprocess.Popen(script("c", "resumed"))
    deadline = time.monotonic() + 300
    while not second.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # mid second stage
    assert not (tmp_path / "resumed").exists()
    subprocess.run(script("c", "resumed"), check=True, timeout=300)
    folders = [tmp_path / out for out in ("whole", "resumed")]
    whole, resumed = ((folder / "weights.safetensors").read_bytes() for folder in folders)
    assert whole == resumed
    records = [json.loads((folder / "fit.json").read_text()) for folder in folders]
    seconds = [record.pop("seconds") for record in records]  # how long it took is no result
    assert min(seconds) > 0
    assert records[0] == records[1]


# manners


def test_the_library_is_silent_and_leaves_global_generators_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    nets = {n: nn.Sequential(nn.Linear(n, 4), nn.Dropout(0.2)) for n in (3, 2)}
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    data = linear_data()
    for kind, at in ((fit_posterior, "x"), (fit_likelihood, "theta")):
        net = nets[3 if at == "x" else 2]
        for options in ({"estimator": MDN((8,), 2), "embedding_net": net}, {"estimator": "made"}):
            fit = kind(data, seed=0, ensemble=2, training=tiny(dropout=0.1), **options)
            fit.log_prob(data.theta(0), data.x(0))
            fit.sample(3, **{at: (data.x(0) if at == "x" else data.theta(0))[0]})
            fit.sample(3, **{at: (data.x(0) if at == "x" else data.theta(0))[0]}, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_standard_error_only(capfd: pytest.CaptureFixture[str]) -> None:
    silent = trained(None)  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")
    shown = trained(None, progress=True)  # type: ignore[arg-type]
    captured = capfd.readouterr()
    assert captured.out == ""
    assert same(weights_of(silent.estimator), weights_of(shown.estimator))
