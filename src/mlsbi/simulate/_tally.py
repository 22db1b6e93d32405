"""How far a campaign is: rows, failures, rates and spend of each level, whoever shows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from mlsbi._span import span

__all__ = ["IDLE", "Clock", "LevelCounts", "Tally", "rate_text"]

IDLE = 10.0  # seconds without rows until a rate falls
_WINDOW = 60.0  # seconds that a rate looks back, further where fewer samples than this came:
_SAMPLES = 20

Clock = Callable[[], float]


class LevelCounts:
    """Counts of one level; its rate comes from `(time, rows)` samples of this call."""

    def __init__(self, total: int, done: int, cost: float | None) -> None:
        self.total, self.through, self.cost = total, done, cost
        self.failed, self.seconds = 0, 0.0
        self.samples: deque[tuple[float, int]] = deque()

    def add(self, finished: int, failed: int, seconds: float, *, start: float, now: float) -> None:
        if not self.samples:
            self.samples.append((start, self.through))
        self.through += finished + failed
        self.failed += failed
        self.seconds += seconds
        if len(self.samples) > 1 and now - self.samples[-2][0] < _WINDOW / _SAMPLES:
            self.samples.pop()  # close to the one before: keeps the number of samples small
        self.samples.append((now, self.through))
        while len(self.samples) > _SAMPLES and now - self.samples[1][0] > _WINDOW:
            self.samples.popleft()

    def rate(self, now: float) -> float | None:
        """Rows a second of late; falls when rows stay away for much longer than before."""
        if len(self.samples) < 2:
            return None
        (first, before), (last, after) = self.samples[0], self.samples[-1]
        usual = (last - first) / (len(self.samples) - 1)
        end = last if now - last <= max(IDLE, 3 * usual) else now
        return (after - before) / (end - first) if end > first else None


class Tally:
    """What is known of all levels."""

    def __init__(
        self,
        counts: Sequence[int],
        done: Sequence[int],
        costs: Sequence[float | None],
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.start = self._last = clock()
        self.levels = [
            LevelCounts(total, before, _pair_cost(costs, level))
            for level, (total, before) in enumerate(zip(counts, done, strict=True))
        ]

    def add(self, level: int, finished: int, failed: int, seconds: float) -> float:
        """Take rows in; returns the time. A level's first rows began when others ended, or so."""
        now = self.clock()
        self.levels[level].add(finished, failed, seconds, start=self._last, now=now)
        self._last = now
        return now

    def parts(self, level: int, now: float) -> tuple[str, str, str, str]:
        """Rate, remaining time, spend and failures; empty where there is nothing to say."""
        own = self.levels[level]
        rate, left = own.rate(now), own.total - own.through
        spend = f"{span(own.seconds)} of run time" if own.seconds else ""
        if own.cost is not None:
            spend = f"cost {own.through * own.cost:.6g}"
        return (
            rate_text(rate) if rate else "",
            f"{span(left / rate)} left" if rate and left > 0 else "",
            spend,
            f"{own.failed} failed" if own.failed else "",
        )

    def line(self, first: int = 0) -> str:
        """All levels in one line; the lowest of them has the number `first`."""
        now = self.clock()
        texts = []
        for level, own in enumerate(self.levels):
            details = ", ".join(part for part in self.parts(level, now) if part)
            text = f"level {first + level} {own.through}/{own.total}"
            texts.append(f"{text} ({details})" if details else text)
        return ", ".join(texts)


def _pair_cost(costs: Sequence[float | None], level: int) -> float | None:
    """Cost of a row: its own simulator's, and that of the level below."""
    known = [cost for cost in costs[max(level - 1, 0) : level + 1] if cost is not None]
    return sum(known) if len(known) == min(level, 1) + 1 else None


def rate_text(rate: float) -> str:
    """Rows a second, in the unit of time that suits them."""
    units = {"s": 1, "min": 60, "h": 3600}
    unit = next((name for name, length in units.items() if rate * length >= 0.1), "h")
    number = rate * units[unit]
    return f"{number:.1f} rows/{unit}" if number < 1000 else f"{number:.0f} rows/{unit}"
