"""The parts of the benchmark page that results fill, and the renewal of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlsbi.benching.paper import BUDGETS, QUICK_EPOCHS
from mlsbi.benching.shortcomings import shortcomings
from mlsbi.benching.tables import others_table, score_table, table_1, table_3, table_4
from mlsbi.benching.values import Values

if TYPE_CHECKING:
    from mlsbi.benching.results import Figure, Row

__all__ = ["filled", "parts", "renew"]

_MARKED = re.compile(r"(<!-- bench: ([\w-]+) -->\n)(.*?)(<!-- bench end -->)", re.DOTALL)


def parts(rows: Sequence[Row], others: Mapping[str, Sequence[Figure]]) -> dict[str, str]:
    """The parts by name."""
    values = Values(rows)
    short = [f"- {line}" for line in shortcomings(values)]
    return {
        "made": _made(rows),
        "short": "\n".join(short or ["- Nothing that these results show."]),
        **{task: score_table(values, task, others) for task in BUDGETS},
        "others": others_table(values, others),
        "table-1": table_1(values),
        "table-3": table_3(values),
        "table-4": table_4(values),
    }


def _made(rows: Iterable[Row]) -> str:
    """What the results are: how many, of which commits; a quick run says so."""
    own = list(rows)
    cells = {row.cell for row in own}
    commits = sorted({row.commit for row in own if row.commit})
    code = f"code of {', '.join(commits)}" if len(commits) < 4 else "each row has its commit"
    seeds = sorted({cell.seed for cell in cells})
    if not seeds:
        return "None yet."
    span = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    note = " Quick: the paper's trainings are cut short." if _is_quick(cells) else ""
    return f"{len(cells)} fits, {span}; {code}.{note}"


def _is_quick(cells: Iterable[object]) -> bool:
    names = {getattr(cell, "strategy", "") for cell in cells}
    trained = {name for name in names if name.startswith("paper") and "@" in name}
    return bool(trained) and all(f"@{QUICK_EPOCHS}" in name for name in trained)


def filled(text: str, found: Mapping[str, str]) -> str:
    """A page with what is between its marks, `<!-- bench: NAME -->` and `<!-- bench end -->`.

    Raises:
        ValueError: There are no marks, or one has a name that there is not.
    """
    names = [match[2] for match in _MARKED.finditer(text)]
    unknown = [name for name in names if name not in found]
    if not names or unknown:
        got = f"the mark {unknown[0]!r}" if unknown else "none"
        raise ValueError(
            f"page must hold marks <!-- bench: NAME --> ... <!-- bench end --> with names of "
            f"{', '.join(found)}; got {got}."
        )
    return _MARKED.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n\n{match[4]}", text)


def renew(path: Path, rows: Sequence[Row], others: Mapping[str, Sequence[Figure]]) -> None:
    """Fill a page's marks anew.

    Raises:
        ValueError: The file is not there, or as of `filled`.
    """
    if not path.is_file():
        raise ValueError(f"page must be a Markdown file; {path} is none.")
    text = filled(path.read_text(encoding="utf-8"), parts(rows, others))
    path.write_text(text, encoding="utf-8")
