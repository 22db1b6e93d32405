"""Words and marks that the panel and the log share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from mlsbi.live.state import Work

__all__ = ["part", "sparkline", "steps_done"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-~=*#@"


def part(work: Work) -> str:
    """What is being done, without the numbers that keep its parts apart: "training: Bridge".

    Other steps than the fit train, too: "training: for the report".
    """
    what, *rest = re.sub(r"\b\d+-", "", work.title).replace("/", ", ").split(", ")
    if what == "training" and work.step not in {"", "fit"}:
        rest.append(f"for the {work.step}")
    return f"{what}: {', '.join(rest)}" if rest else what


def steps_done(work: Work) -> str:
    """How far it is: of a training, which may end early, the steps that it took."""
    if work.seconds is not None and work.title.startswith("training"):
        return f"{work.done:,} steps"
    return f"{work.done:,}/{work.total:,}"


def sparkline(values: Sequence[float], width: int, *, blocks: bool = True) -> str:
    """The course of a figure in one line of at most `width` marks; the first, wild ones are cut.

    Args:
        values: In turn; what is not finite is left out.
        width: The most marks.
        blocks: Whether the terminal can show blocks.
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2 or width < 1:
        return ""
    count = min(width, len(known))
    course = [known[((i + 1) * len(known)) // count - 1] for i in range(count)]
    low, high = min(course), sorted(course)[max(int(0.9 * count) - 1, 0)]
    marks = _BLOCKS if blocks else _PLAIN
    if not high > low:
        high = max(course)
    span = high - low
    if not span > 0:
        return marks[0] * count
    places = [min(int((value - low) / span * len(marks)), len(marks) - 1) for value in course]
    return "".join(marks[place] for place in places)
