"""Randomness as an argument: seeds derived from seeds, and no use of the global generator."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derive_seed", "isolated_rng", "make_generator"]


def derive_seed(seed: int, *path: int | str) -> int:
    """A seed for one named part of a computation.

    The same `(seed, path)` gives the same number on every machine and Python version (it is a
    hash, not `hash()`), and different paths give streams that share nothing.

    Args:
        seed: The user's seed.
        *path: Names and indices of the part, such as `("simulate", level, chunk)`.

    Returns:
        An integer in `[0, 2**63)`.
    """
    text = "/".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in path)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(
    seed: int, *path: int | str, device: str | torch.device = "cpu"
) -> torch.Generator:
    """A `torch.Generator` seeded by `derive_seed(seed, *path)`."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive_seed(seed, *path))
    return generator


# All threads share torch's global generator: between its seeding and a draw no other may come.
_GLOBAL = threading.RLock()


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator for code that draws from it; restored afterwards.

    One thread at a time.
    """
    with _GLOBAL, torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would seed every CUDA generator too
        torch.default_generator.manual_seed(seed)
        yield
