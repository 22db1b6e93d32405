"""Progress of a campaign: what a log says and when, what a terminal gets."""

from __future__ import annotations

import io
import re
import sys

import pytest

from mlsbi.simulate._status_line import campaign_progress


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self):
        return True


class Broken(io.StringIO):
    """The other end of a pipe that is gone."""

    def write(self, text):
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def run(steps, *, counts=(1000, 20), done=(0, 0), costs=(1.0, 39.0), stream=None, **options):
    """Report `(time, level, finished, failed, seconds)` in turn; the lines that were written."""
    clock, stream = Clock(), stream or io.StringIO()
    begin = clock.now
    shown = campaign_progress(
        counts, done, costs, enabled=True, stream=stream, clock=clock, **options
    )
    with shown as report:
        for at, *what in steps:
            clock.now = begin + at
            report.update(*what)
    return stream.getvalue().splitlines()


def test_a_short_run_gives_one_line_at_its_end():
    lines = run([(1, 0, 500, 0, 1.0), (9.9, 0, 500, 0, 1.0)])
    assert len(lines) == 1
    assert lines[0].startswith("mlsbi: finished after 10 s: level 0 1000/1000 (")
    assert lines[0].endswith("level 1 0/20 (cost 0)")


def test_lines_come_after_ten_seconds_and_then_each_minute():
    steps = [(second, 0, 1, 0, 1.0) for second in range(1, 200)]
    lines = run(steps)
    rows = [int(re.search(r"level 0 (\d+)/1000", line).group(1)) for line in lines]
    assert rows == [10, 70, 130, 190, 199]


def test_what_a_line_says():
    steps = [(5, 0, 256, 0, 2.0), (9, 1, 2, 1, 80.0), (12, 0, 256, 0, 2.0)]
    first = run(steps)[0]
    rate, left = 512 / 12, (1000 - 512) / (512 / 12)
    assert first == (
        f"mlsbi: level 0 512/1000 ({rate:.1f} rows/s, {left:.0f} s left, cost 512), "
        f"level 1 3/20 ({3 / 4:.1f} rows/s, {17 / (3 / 4):.0f} s left, cost {3 * 40}, 1 failed)"
    )


def test_rows_that_were_there_before_do_not_make_it_look_fast():
    first = run([(10, 0, 10, 0, 1.0)], done=(900, 0))[0]
    assert "level 0 910/1000 (1.0 rows/s, 90 s left, cost 910)" in first


def test_the_rate_is_that_of_the_last_minute_or_so():
    fast = [(t, 0, 100, 0, 1.0) for t in range(1, 101)]
    slow = [(t, 0, 1, 0, 1.0) for t in range(101, 301)]
    last = run(fast + slow, counts=(100_000, 1))[-1]
    assert "level 0 10200/100000 (1.0 rows/s" in last


def test_the_rate_falls_when_nothing_comes_any_more():
    steps = [(t, 0, 10, 0, 1.0) for t in range(1, 11)] + [(1000, 1, 1, 0, 1.0)]
    before, *_, after = run(steps, counts=(10_000, 1))
    assert "level 0 100/10000 (10.0 rows/s" in before
    assert "level 0 100/10000 (0.1 rows/s" in after


def test_slow_levels_are_told_in_other_units():
    steps = [(hour * 3600, 0, 1, 0, 3600.0) for hour in range(1, 5)]
    assert "level 0 4/100 (1.0 rows/h, 4.0 days left, cost 4)" in run(steps, counts=(100, 1))[-1]
    steps = [(100 * k, 0, 1, 0, 100.0) for k in range(1, 25)]
    line = run(steps, counts=(60, 1))[-1]
    assert "level 0 24/60 (0.6 rows/min, 1.0 h left, cost 24)" in line


def test_without_costs_the_time_of_simulators_is_shown():
    steps = [(20, 0, 10, 0, 4320.0), (40, 1, 10, 0, 30.0)]
    assert "1.2 h of run time" in run(steps, costs=(None, None))[-1]
    only_coarse = run(steps, costs=(2.0, None))[-1]
    assert "cost 20" in only_coarse
    assert "30 s of run time" in only_coarse


def test_a_run_that_is_stopped_says_how_far_it_came():
    stream, clock = io.StringIO(), Clock()

    def campaign():
        shown = campaign_progress([10], [0], [1.0], enabled=True, stream=stream, clock=clock)
        with shown as report:
            clock.now += 3
            report.update(0, 6, 0, 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        campaign()
    expected = "mlsbi: stopped after 3 s: level 0 6/10 (2.0 rows/s, 2 s left, cost 6)\n"
    assert stream.getvalue() == expected


def test_disabled_writes_nothing(capsys):
    stream = Terminal()
    with campaign_progress([10], [0], [None], enabled=False, stream=stream) as report:
        report.update(0, 10, 0, 1.0)
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_log_has_no_control_characters(monkeypatch, variable, capsys):
    monkeypatch.setenv(variable, "1")
    clock = Clock()
    with campaign_progress([4], [0], [1.0], enabled=True, clock=clock) as report:
        for _ in range(4):
            clock.now += 30
            report.update(0, 1, 0, 1.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("mlsbi: ") == len(err.splitlines()) == 3
    assert re.fullmatch(r"[ -~\n]+", err)


def test_a_terminal_gets_a_bar_a_level_that_vanishes():
    stream = Terminal()
    lines = "".join(run([(5, 0, 250, 0, 1.0), (9, 1, 2, 1, 1.0)], stream=stream))
    assert "level 0" in lines
    assert "level 1" in lines
    assert "250/1000" in lines
    assert "1 failed" in lines
    assert "mlsbi:" not in lines
    assert stream.getvalue().endswith("\x1b[2K")  # the last thing done is to clear a line


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert run([(5, 0, 1, 0, 1.0)], stream=Terminal())[0].startswith("mlsbi: finished")


def test_a_stream_that_is_gone_does_not_stop_the_campaign(monkeypatch):
    assert run([(t, 0, 1, 0, 1.0) for t in range(0, 200, 20)], stream=Broken()) == []
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        with campaign_progress([1], [0], [None], enabled=True) as report:
            report.update(0, 1, 0, 1.0)


def test_many_reports_need_little_memory():
    clock = Clock()
    shown = campaign_progress([10**6], [0], [None], enabled=True, stream=io.StringIO(), clock=clock)
    with shown as report:
        for _ in range(20_000):
            clock.now += 0.01
            report.update(0, 1, 0, 0.01)
        assert len(report._tally.levels[0].samples) < 100
