"""A folder of the paper's figures, drawn anew, and one page of tables with their captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlsbi.benching.figures import FIGURES
from mlsbi.benching.page import parts
from mlsbi.benching.paper import BUDGETS
from mlsbi.benching.values import Values

if TYPE_CHECKING:
    from mlsbi.benching.results import Figure, Row

__all__ = ["CAPTIONS", "write_figures"]

_DPI = 150

CAPTIONS = {
    2: "Figure 2, g-and-k. Left: the exact density's divergence from the learned one, q(x given "
    "theta), the median over 200 parameters. Middle: mean of -log q(theta given x) over 500 test "
    "pairs; the paper's panel has minus the density, not its log. Right: coverage of regions of "
    "highest density, with 100 runs of level 1. The paper has box plots over the test set of one "
    "training; here are means over seeds, with standard errors.",
    3: "Figure 3, Ornstein-Uhlenbeck. Left: NLPD. Right: NLPD less that of the exact posterior on "
    "the same pairs, which is the mean divergence of the exact from the learned posterior. The "
    "paper measures it against a reference network trained on 10,000 runs, takes the median NLPD "
    "over pairs, and shows transfer learning by how long it waits before it stops.",
    4: "Figure 4, toggle switch. Squared MMD of 500 true and 500 learned draws at 200 parameters, "
    "one length scale for all; the paper has box plots over 5000 parameters, with a length scale "
    "of its own. Left: the paper's three splits of one budget; right: one level alone at the same "
    "cost.",
    5: "Figure 5, CAMELS. NLPD on all spectra that are not used as high level, over 20 and 100 of "
    "them. The paper shows sigma_8 with 20, as box plots of one split; both parameters, and 100, "
    "are ours. Right: coverage for sigma_8 with 20.",
}
_TABLES = {
    "table-1": "Table 1: milliseconds of a full-batch step at n = (1000, 500), one thread. Single: "
    "one loss over 2000 rows; multilevel: ours; 2 L + 1 passes: one a term, as the released code. "
    "The paper's column is in ms an epoch, on another machine.",
    "table-3": "Table 3: the toggle switch at a cost of 603,000, squared MMD.",
    "table-4": "Table 4: algorithm 1, by halves: gradients of negative terms rescaled, conflicts "
    "projected away, both, none (NLPD, KLD, squared MMD).",
}


def write_figures(
    rows: Sequence[Row],
    others: Mapping[str, Sequence[Figure]],
    folder: Path,
    *,
    tables: bool = True,
) -> list[Path]:
    """Draw figures 2 to 5, and write a page of captions and tables.

    Args:
        rows: Results.
        others: The figures of others by task.
        folder: Where; made if it is not there.
        tables: Write tables.md beside the figures.

    Returns:
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values, written = Values(rows), []
    for place, draw in FIGURES.items():
        path = folder / f"figure-{place}.png"
        draw(values, others).savefig(path, dpi=_DPI, metadata={"Software": None})
        written.append(path)
    return [*written, _write_tables(parts(rows, others), folder)] if tables else written


def _write_tables(text: Mapping[str, str], folder: Path) -> Path:
    lines = ["# The paper's experiments", "", text["made"]]
    for place, caption in CAPTIONS.items():
        lines += ["", f"![](figure-{place}.png)", "", caption]
    for name, caption in _TABLES.items():
        lines += ["", caption, "", text[name]]
    for task in BUDGETS:
        lines += ["", f"## {task}", "", text[task]]
    page = folder / "tables.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return page
