"""`import zuko` without its side effect: validation switched off for all of torch."""

from __future__ import annotations

from torch.distributions import Distribution

_before = Distribution._validate_args

import zuko  # noqa: E402

# sbi imports zuko too, so a user of sbi has the switch off already; mlsbi alone leaves it be.
Distribution.set_default_validate_args(_before)

__all__ = ["zuko"]
