"""What commands say at their end: what came of it, where it is, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsbi.commands._options import FAULT

if TYPE_CHECKING:
    from mlsbi.checking.result import Check
    from mlsbi.data import MultilevelData
    from mlsbi.results import LikelihoodFit, PosteriorFit
    from mlsbi.study import Study

__all__ = ["about_check", "about_fit", "about_runs", "check_code", "ending", "here", "runs_line"]


def here(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def ending(written: Sequence[Path], following: Sequence[str]) -> str:
    """Where things are, and what to do next."""
    lines = [f"Written: {here(path)}" for path in written]
    lines += [f"{'Next:' if i == 0 else '':5} {line}" for i, line in enumerate(following)]
    return "\n".join(lines)


def runs_line(data: MultilevelData) -> str:
    """How many runs there are, what they cost, and how many failed."""
    parts = [
        f"{count:,} {'pairs' if level else 'runs'} of level {level}"
        for level, count in enumerate(data.n)
    ]
    cost = "" if data.cost is None else f"; cost {data.cost:,.6g}"
    failed = sum(data.dropped)
    left_out = f"; {failed:,} failed and left out" if failed else ""
    return f"Runs: {', '.join(parts)}{cost}{left_out}"


def about_runs(data: MultilevelData) -> dict[str, Any]:
    """The runs in JSON types."""
    return {"n": list(data.n), "cost": data.cost, "failed": list(data.dropped)}


def about_fit(fit: PosteriorFit | LikelihoodFit, study: Study) -> dict[str, Any]:
    """A fit in JSON types."""
    return {
        "kind": study.kind,
        "strategy": type(fit.strategy).__name__,
        "status": fit.status.name,
        "ok": fit.status.ok,
        "message": fit.status.value,
        "n": list(fit.n),
        "cost": fit.cost,
        "seconds": fit.seconds,
        "path": str(study.output / "fit"),
    }


def about_check(check: Check, study: Study) -> dict[str, Any]:
    """A check in JSON types, without the figures of each run, which are in its file."""
    return {
        "state": check.state.value,
        "ok": check.ok,
        "source": check.source,
        "n": check.n,
        "nlpd": vars(check.nlpd),
        "coverage_error": check.coverage.error,
        "verdicts": [verdict.to_dict() for verdict in check.verdicts],
        "warnings": [finding.to_dict() for finding in check.warnings],
        "seconds": check.seconds,
        "path": str(study.output / "check.json"),
    }


def check_code(check: Check) -> int:
    """The exit code of a check: whether posteriors would be trusted that should not be."""
    from mlsbi.checking.verdict import State

    return FAULT if any(v.state in {State.OVER, State.BIASED} for v in check.verdicts) else 0
