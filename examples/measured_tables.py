"""Tables of measured figures in README, on the front page and the strategies', from results.

Run: python examples/measured_tables.py benchmarks/results/paper.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlsbi.benching.names import Budget, metric_of
from mlsbi.benching.page import filled
from mlsbi.benching.results import read
from mlsbi.benching.tables import markdown
from mlsbi.benching.values import Group, Values

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/index.md", "docs/strategies.md")
TITLES = {
    "ou": "Ornstein-Uhlenbeck",
    "g-and-k-npe": "g-and-k",
    "camels-sigma8": "CAMELS, sigma_8",
    "camels-2": "CAMELS, two parameters",
    "g-and-k-nle": "g-and-k, likelihood (KLD)",
    "toggle": "toggle switch, likelihood (MMD²)",
}
FRONT: tuple[tuple[str, Budget], ...] = (
    ("ou", (1000, 10)),
    ("ou", (1000, 100)),
    ("g-and-k-npe", (1000, 10)),
    ("camels-sigma8", (980, 20)),
    ("camels-2", (980, 20)),
    ("g-and-k-nle", (10_000, 50)),
)
FULL: tuple[tuple[str, Budget], ...] = (
    ("ou", (1000, 10)),
    ("ou", (1000, 100)),
    ("g-and-k-npe", (1000, 10)),
    ("g-and-k-npe", (1000, 100)),
    ("camels-sigma8", (980, 20)),
    ("camels-sigma8", (900, 100)),
    ("camels-2", (980, 20)),
    ("camels-2", (900, 100)),
    ("g-and-k-nle", (10_000, 50)),
    ("g-and-k-nle", (10_000, 300)),
    ("toggle", (10_000, 500, 100)),
)
HEADS = {
    "default": "default",
    "emulator": "emulator",
    "multilevel": "multilevel",
    "transfer": "transfer",
    "single": "high alone",
}


def figure(task: str, group: Group | None, *, error: bool) -> str:
    """Mean, and its standard error where several seeds have one."""
    metric = metric_of(task)
    if group is None or not group.values(metric):
        return ""
    digits = 2 if metric == "nlpd_mean" else 3
    mean, spread = group.mean(metric)
    several = len(group.values(metric)) > 1
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if error and several else "")


def would_need(values: Values, task: str, group: Group | None) -> str:
    """Runs of level L alone that are as good: two digits, for it is interpolated."""
    match = values.worth(task, group) if group else None
    if match is None:
        return ""
    sign = {"about": "", "more than": "more than ", "at most": "at most "}[match.relation]
    return f"{sign}{float(f'{match.runs:.2g}'):.0f}"


def table(values: Values, cells: tuple[tuple[str, Budget], ...], *, front: bool) -> str:
    """A row a task and budget."""
    shown = ("default", "emulator", "single") if front else tuple(HEADS)
    names = HEADS | ({"default": "mlsbi", "emulator": "emulator, no cheap runs"} if front else {})
    rows = []
    for task, budget in cells:
        groups = {strategy: values.group(task, budget, strategy) for strategy in shown}
        texts = [figure(task, groups[s], error=s == "default") for s in shown]
        means = [g.mean(metric_of(task))[0] if g else float("inf") for g in groups.values()]
        best = means.index(min(means))
        texts[best] = f"**{texts[best]}**" if texts[best] else ""
        need = [would_need(values, task, groups["default"])] if front else []
        rows.append((TITLES[task], ", ".join(map(str, budget[1:])), *texts, *need))
    heads = ("task", "expensive runs", *(names[s] for s in shown))
    return markdown((*heads, *(["would need"] if front else [])), rows)


def parts(path: Path) -> dict[str, str]:
    """What goes between the marks of the pages."""
    values = Values(read(path))
    return {
        "front": table(values, FRONT, front=True),
        "strategies": table(values, FULL, front=False),
    }


def main(results: Path) -> None:
    """Fill the pages."""
    found = parts(results)
    for name in PAGES:
        page = ROOT / name
        page.write_text(filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
