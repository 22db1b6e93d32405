"""What a campaign is, in plain JSON: two with the same manifest give the same rows."""

from __future__ import annotations

import json
from typing import Any

from mlsbi._random import make_generator
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate._chunks import CHUNK_ROWS
from mlsbi.simulate._fingerprint import Fingerprint, qualified_name, value_digest

__all__ = ["manifest"]

_DRAWS = 16
_ROW_SEEDS = "one seed a row"


def manifest(hierarchy: Hierarchy, seed: int) -> dict[str, Any]:
    """Describe a campaign: its seed, prior, noise and levels.

    Digests are the same in every process. Those under `code` hold for one minor version of Python
    only, which is in there, too. `code` and `settings` may differ although results do not: a
    message of a simulator that was reworded is a change of its code.

    Args:
        hierarchy: The simulators with their prior and noise.
        seed: The campaign's seed.

    Returns:
        Plain JSON types, equal to what is read back from a file.
    """
    theta, u = hierarchy.draw(_DRAWS, make_generator(0, "fingerprint"))
    noise = _ROW_SEEDS if hierarchy.row_seeds else qualified_name(hierarchy._noise)
    described = {
        "seed": seed,
        "block_rows": CHUNK_ROWS,
        "prior": {"description": hierarchy.prior.to_dict(), "draws": value_digest(theta)},
        "noise": {"name": noise, "draws": value_digest(u)},
        "levels": [_describe(level) for level in hierarchy.levels],
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def _describe(level: Level) -> dict[str, Any]:
    fingerprint = Fingerprint(level.simulator)
    return {
        "name": level.name,
        "simulator": qualified_name(level.simulator),
        "batched": level.batched,
        "batch_size": level.batch_size,
        "cost": level.cost,
        "code": fingerprint.code,
        "settings": fingerprint.settings,
    }
