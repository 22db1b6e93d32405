"""The pictures of `docs/planning.md`: a pilot of the toggle switch, and a plan made from it.

python examples/planning_pictures.py docs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlsbi

BUDGET = 603_000.0  # what (10000, 500, 100) costs, the first split of the paper


def main(folder: Path) -> None:
    """Run the pilot, plan a likelihood fit, and draw both into `folder`."""
    pilot = mlsbi.pilot(mlsbi.tasks.toggle_switch().hierarchy, 64, seed=0)
    plan = pilot.allocate(BUDGET, kind="likelihood")
    folder.mkdir(parents=True, exist_ok=True)
    pilot.plot().savefig(folder / "pilot.png", dpi=110)
    plan.plot().savefig(folder / "plan.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
