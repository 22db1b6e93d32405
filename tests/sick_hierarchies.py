"""Hierarchies that are broken in one way each, and healthy ones, for tests of the doctor.

Most tell of a decaying signal seen at a few times, as someone might write it in a script: batched
with noise of its own, or a row at a time from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sbi.utils import BoxUniform
from torch import Tensor

from linear_gaussian import Ladder
from mlsbi import Hierarchy, Level, tasks

TIMES = np.array([0.5, 1.0, 2.0, 4.0])
_SD = 0.25


@dataclass(frozen=True)
class Case:
    """A hierarchy and what the doctor should say of it.

    Attributes:
        build: Makes the hierarchy.
        verdict: Name of the verdict, without any prediction of a fit's error.
        codes: Findings of severity "fault" or "warning" that must be there, as (code, level).
    """

    build: Callable[[], Hierarchy]
    verdict: str = "HELPS"
    codes: tuple[tuple[str, int], ...] = field(default=())


def prior() -> BoxUniform:
    return BoxUniform(torch.tensor([0.2, 0.5]), torch.tensor([1.5, 2.0]))


def decay(theta: Any, times: Any, *, steps: int | None = None) -> Any:
    """theta = (rate, amount, ...): `amount exp(-rate t)`, by Euler's method if `steps` is given."""
    rate, amount = theta[..., 0:1], theta[..., 1:2]
    if steps is None:
        return amount * math.e ** (-rate * times)
    return amount * (1 - rate * times / steps) ** steps


def by_row(*simulators: Callable[..., Any], costs: tuple[float, ...] = (1.0, 30.0)) -> Hierarchy:
    """Levels that run a row at a time, from a seed each."""
    pairs = zip(simulators, costs, strict=True)
    return Hierarchy(prior(), [Level(f, cost=cost, batched=False) for f, cost in pairs])


def batched(*simulators: Callable[..., Any], costs: tuple[float, ...] = (1.0, 30.0)) -> Hierarchy:
    """Levels that run in batches on the noise of `noise`."""
    pairs = zip(simulators, costs, strict=True)
    return Hierarchy(prior(), [Level(f, cost=cost) for f, cost in pairs], noise=noise)


def noise(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {key: torch.randn(n, len(TIMES), generator=generator) for key in ("e", "other")}


# --- a row at a time ---------------------------------------------------------------------------


def fine_row(theta: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return decay(theta, TIMES) + _SD * rng.normal(size=len(TIMES))


def coarse_row(theta: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return decay(theta, TIMES, steps=8) + _SD * rng.normal(size=len(TIMES))


def global_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """Draws from NumPy's global generator, which nobody seeds."""
    return decay(theta, TIMES, steps=8) + _SD * np.random.normal(size=len(TIMES))


def constant_seed_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """A generator seeded "for reproducibility"."""
    rng = np.random.default_rng(1234)
    return decay(theta, TIMES, steps=8) + _SD * rng.normal(size=len(TIMES))


def reversed_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """The same draws, given to the times from the last to the first."""
    rng = np.random.default_rng(seed)
    x = decay(theta, TIMES, steps=8)
    for i in reversed(range(len(TIMES))):
        x[i] += _SD * rng.normal()
    return x


def event_first_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """A detector that misses some signals: it asks for the uniform first."""
    rng = np.random.default_rng(seed)
    gain = 0.9 + 0.2 * rng.uniform()
    return gain * decay(theta, TIMES) + _SD * rng.normal(size=len(TIMES))


def event_last_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """The same detector, rewritten by someone who draws the normals first."""
    rng = np.random.default_rng(seed)
    e = rng.normal(size=len(TIMES))
    gain = 0.9 + 0.2 * rng.uniform()
    return gain * decay(theta, TIMES, steps=8) + _SD * e


def next_seed_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """Each level with a seed of its own, so that "they do not interfere"."""
    return coarse_row(theta, (seed + 1) % 2**63)


def failing_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """Gives up on three runs in ten."""
    x = coarse_row(theta, seed)
    return x if np.random.default_rng([seed, 1]).uniform() > 0.3 else np.full_like(x, np.nan)


def dead_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """A sensor that was never switched on."""
    x = coarse_row(theta, seed)
    x[2] = 0.0
    return x


def long_row(theta: np.ndarray, seed: int) -> np.ndarray:
    """Seen at twice as many times."""
    rng = np.random.default_rng(seed)
    times = np.repeat(TIMES, 2)
    return decay(theta, times) + _SD * rng.normal(size=len(times))


def middle_row(theta: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return decay(theta, TIMES, steps=16) + _SD * rng.normal(size=len(TIMES))


# --- in batches --------------------------------------------------------------------------------


def fine(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return decay(theta, torch.from_numpy(TIMES)) + _SD * u["e"]


def coarse(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return decay(theta, torch.from_numpy(TIMES), steps=8) + _SD * u["e"]


def coarser(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return 0.3 + 0.8 * decay(theta, torch.from_numpy(TIMES), steps=4) + _SD * 1.3 * u["e"]


def torch_seeded(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    """One generator for the batch, seeded by a constant: noise goes by the place in the batch."""
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(len(theta), len(TIMES), generator=generator)
    return decay(theta, torch.from_numpy(TIMES), steps=8) + _SD * e


def mean_only(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return decay(theta, torch.from_numpy(TIMES), steps=8)


def euler(steps: int) -> Callable[..., Tensor]:
    def simulator(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
        return decay(theta, torch.from_numpy(TIMES), steps=steps)

    return simulator


def pure_noise(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return 1.0 + u["other"]


def own_noise(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return decay(theta, torch.from_numpy(TIMES), steps=8) + _SD * u["other"]


def other_way(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    """The noise with its sign turned: coupled, if not as one would."""
    return decay(theta, torch.from_numpy(TIMES), steps=8) - _SD * u["e"]


def jumping(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    """Overshoots wildly now and then."""
    return coarse(theta, u) + 0.001 * (4.0 * u["other"][:, :1]).exp()


def quiet(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    """The fine level's response, and noise of its own too small to matter."""
    return decay(theta, torch.from_numpy(TIMES), steps=8) + 0.001 * u["other"]


def quiet_fine(theta: Tensor, u: dict[str, Tensor]) -> Tensor:
    return decay(theta, torch.from_numpy(TIMES)) + 0.001 * u["e"]


LADDER = (1.0, 8.0, 30.0)

SICK = {
    "global generator": Case(
        lambda: by_row(global_row, fine_row), "NOT_COUPLED", (("not-reproducible", 0),)
    ),
    "global generator at the fine level": Case(
        lambda: by_row(coarse_row, global_row), "NOT_COUPLED", (("not-reproducible", 1),)
    ),
    "constant seed, batch": Case(
        lambda: batched(torch_seeded, fine), "NOT_COUPLED", (("not-reproducible", 0),)
    ),
    "constant seed, row": Case(
        lambda: by_row(constant_seed_row, fine_row), "HELPS", (("ignores-noise", 0),)
    ),
    "reversed draws": Case(
        lambda: by_row(reversed_row, fine_row), "NOT_COUPLED", (("other-order", 1),)
    ),
    "uniform before normals": Case(
        lambda: by_row(event_last_row, event_first_row), "NOT_COUPLED", (("other-order", 1),)
    ),
    "next seed": Case(
        lambda: by_row(next_seed_row, fine_row), "NOT_COUPLED", (("other-order", 1),)
    ),
    "noise of its own": Case(
        lambda: batched(own_noise, fine), "NOT_COUPLED", (("other-order", 1),)
    ),
    "decoupled": Case(
        lambda: tasks.stress("decoupled").hierarchy, "NOT_COUPLED", (("other-order", 1),)
    ),
    "one of two pairs": Case(
        lambda: by_row(coarse_row, next_seed_row, fine_row, costs=LADDER),
        "NOT_COUPLED",
        (("other-order", 1), ("other-order", 2)),
    ),
    "costs swapped": Case(
        lambda: batched(coarse, fine, costs=(30.0, 1.0)), "NO_GAIN", (("wrong-order-cost", 1),)
    ),
    "levels swapped": Case(
        lambda: batched(coarse, coarser, fine, costs=LADDER),
        "HELPS",
        (("wrong-order-fidelity", 1),),
    ),
    "identical": Case(lambda: by_row(fine_row, fine_row), "NO_GAIN", (("identical", 1),)),
    "another grid": Case(lambda: by_row(long_row, fine_row), "UNCLEAR", (("shapes-differ", 1),)),
    "pure noise": Case(lambda: batched(pure_noise, fine), "NO_GAIN", (("no-information", 0),)),
    "pure noise, stress": Case(
        lambda: tasks.stress("noise").hierarchy, "NO_GAIN", (("no-information", 0),)
    ),
    "failures": Case(lambda: by_row(failing_row, fine_row), "HELPS", (("many-failures", 0),)),
    "dead sensor": Case(lambda: by_row(dead_row, fine_row), "HELPS", (("constant", 0),)),
    "jumps": Case(lambda: batched(jumping, fine), "HELPS", (("few-rows-dominate", 1),)),
}
"""By what is wrong."""

HEALTHY = {
    "decay by row": Case(lambda: by_row(coarse_row, fine_row)),
    "decay, 3 levels": Case(lambda: batched(coarser, coarse, fine, costs=LADDER)),
    "deterministic": Case(lambda: batched(euler(8), euler(64))),
    "noise that does not matter": Case(lambda: batched(quiet, quiet_fine)),
    "sign turned": Case(lambda: batched(other_way, fine)),
    "linear-Gaussian": Case(lambda: Ladder(levels=3).hierarchy()),
    "Ornstein-Uhlenbeck": Case(lambda: tasks.ornstein_uhlenbeck().hierarchy),
    "g-and-k": Case(lambda: tasks.g_and_k("posterior").hierarchy),
    "toggle switch": Case(lambda: tasks.toggle_switch().hierarchy),
    "blind": Case(lambda: tasks.stress("blind").hierarchy),
    "integers": Case(lambda: tasks.stress("integers").hierarchy),
    "wide": Case(lambda: tasks.stress("wide").hierarchy),
}
"""Nothing is wrong with these."""
