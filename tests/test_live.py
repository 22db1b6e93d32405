"""The live view: what the panel shows, what the log says, and whose terminal it is meanwhile."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from mlsbi._progress import note, progress_bar, watched, watching
from mlsbi.live.log import Log
from mlsbi.live.output import captured, own_terminal
from mlsbi.live.panel import LivePanel
from mlsbi.live.state import Activity
from mlsbi.live.view import draw, watch
from mlsbi.live.words import sparkline
from mlsbi.simulate._status_line import campaign_progress

STEPS = ["plan", "simulate", "fit", "check", "report"]


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def simulate(clock, *, rows=10, seconds=20.0, costs=(1.0, 40.0)):
    """A campaign of 2,000 and 40 rows, half of the coarse ones done, one fine one failed."""
    with campaign_progress([2000, 40], [0, 0], list(costs), enabled=True) as report:
        for _ in range(rows):
            clock.now += seconds / rows
            report.update(0, 1000 // rows, 0, 1.0)
        report.update(1, 3, 1, 60.0)
        yield


def train(clock, *, title="training, 0-Bridge/cheap", steps=400):
    with progress_bar(title, 5000, enabled=True) as update:
        for step in range(0, steps + 1, 20):
            clock.now += 0.25
            update(step, f"held out {300 / (step + 100):.3f}", 300 / (step + 100))
        yield


def scenes(activity, clock):
    """Names of moments of a command, while they last."""
    activity.budget = 5000
    with watched(activity):
        with activity.step("plan", kept=True):
            pass
        with activity.step("simulate"):
            for _ in simulate(clock):
                yield "simulate"
        with activity.step("fit"):
            for _ in train(clock):
                yield "fit"
        with activity.step("check"):
            note("check: 5 fits of at most about 12 s", enabled=True)
            with progress_bar("cross-fitting", 5, enabled=True) as update:
                clock.now += 24
                update(2, "")
                yield "check"
        yield "end"


def picture(activity, *, width=100, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(LivePanel(activity))
    return console.file.getvalue()


@pytest.fixture
def pictures():
    """A function: the panel at each of the moments."""

    def make(**options):
        clock = Clock()
        activity = Activity("mlsbi run: a study", STEPS, clock=clock)
        moments = scenes(activity, clock)
        return {moment: picture(activity, **options) for moment in moments}

    return make


def test_what_the_panel_says_of_a_campaign(pictures):
    text = pictures()["simulate"]
    assert "mlsbi run: a study" in text
    assert "✔ plan kept" in text
    assert "simulate 20 s" in text
    assert "· report" in text
    assert re.search(r"0 +1,000/2,000 .* 50\.0 rows/s +1,000 +20 s", text)
    assert re.search(r"1 +4/40 +\S+ +1 +164", text)
    assert "spent 1,164 of 3,640 (23% of the budget of 5,000)" in text


def test_what_it_says_of_trainings_and_checks(pictures):
    made = pictures()
    assert re.search(r"training: Bridge, cheap +400/5,000 +held out 0\.600 +█\S+▁ 5 s", made["fit"])
    assert re.search(r"training: Bridge, cheap +400 steps +held out 0\.600", made["check"])
    assert re.search(r"cross-fitting +2/5 +\S+ +36 s left", made["check"])
    assert "check: 5 fits of at most about 12 s" in made["check"]
    assert "✔ check 24 s" in made["end"]
    assert "rows/s" not in made["check"]  # that campaign is over


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_it_fits_the_terminal(pictures, width):
    for text in pictures(width=width).values():
        assert max(cell_len(line) for line in text.splitlines()) <= min(width, 100)
        assert len(text.splitlines()) <= 20


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_one_still_says_what_matters(pictures, width):
    made = pictures(width=width)
    assert re.search(r"1 +4/40 .*1 +164", made["simulate"])
    assert re.search(r"Bridge, cheap +400/5,000 +held out 0\.600", made["fit"])
    assert "cross-fitting" in made["check"]


def test_trainings_of_other_steps_say_whose_they_are():
    clock = Clock()
    activity = Activity("x", STEPS, clock=clock)
    with watched(activity), activity.step("report"):
        for _ in train(clock, title="training, stage 1"):
            assert "training: stage 1, for the report" in picture(activity)


def test_without_costs_there_is_run_time(pictures):
    clock = Clock()
    activity = Activity("x", STEPS, clock=clock)
    with watched(activity), activity.step("simulate"):
        for _ in simulate(clock, costs=(None, None)):
            text = picture(activity)
    assert "run time" in text
    assert "spent" not in text


def test_a_pilot_has_a_campaign_a_level():
    activity = Activity("x", STEPS, clock=Clock())
    with watched(activity):
        with activity.step("plan"):
            for _ in range(3):
                with campaign_progress([18], [0], [1.0], enabled=True) as report:
                    report.update(0, 18, 0, 1.0)
            assert re.findall(r"(\d) +18/18", picture(activity)) == ["0", "1", "2"]
        with (
            activity.step("simulate"),
            campaign_progress([30], [0], [1.0], enabled=True),
        ):
            assert re.findall(r"(\d) +\d+/(\d+)", picture(activity)) == [("0", "30")]


def test_a_pilot_that_is_read_again_is_not_part_of_the_campaign():
    activity = Activity("x", STEPS, clock=Clock())
    with watched(activity), activity.step("simulate"):
        for counts in ([18], [18], [30, 4]):  # as a study that reads its pilot first
            with campaign_progress(counts, counts, [1.0] * len(counts), enabled=True):
                pass
        assert re.findall(r"(\d) +\d+/(\d+)", picture(activity)) == [("0", "30"), ("1", "4")]


def test_times_are_whole_beside_long_names():
    clock = Clock()
    activity = Activity("x", STEPS, clock=clock)
    with watched(activity), activity.step("fit"):
        for _ in train(clock, title="training, 1-SingleLevel/cheap, stage 12", steps=4000):
            for width in (60, 70, 80, 92):  # names give way, and figures do not
                line = next(x for x in picture(activity, width=width).splitlines() if "held" in x)
                assert re.search(r"SingleL.*4,000/5,000  held out 0\.073  \S* ?50 s", line)


def test_a_terminal_without_unicode_gets_plain_marks(pictures):
    clock, stream = Clock(), io.BytesIO()
    activity = Activity("x", STEPS, clock=clock)
    for _ in scenes(activity, clock):
        file = io.TextIOWrapper(stream, encoding="ascii", errors="strict")
        Console(file=file, width=80).print(LivePanel(activity))  # would raise
        file.flush()
        file.detach()
    assert b"+ plan" in stream.getvalue()


def test_no_color_is_respected(pictures, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = re.compile(r"\x1b\[[\d;]*3\d")
    assert coloured.search(pictures(force_terminal=True)["fit"])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.search(pictures(force_terminal=True)["fit"])


def test_a_step_that_fails_or_is_stopped_says_so():
    activity = Activity("x", STEPS)
    with pytest.raises(KeyError), activity.step("fit"):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), activity.step("check"):
        raise KeyboardInterrupt
    states = {step.name: step.state for step in activity.steps}
    assert states == dict.fromkeys(STEPS, "to do") | {"fit": "failed", "check": "stopped"}
    assert "✘ fit" in picture(activity)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_the_last_picture_stays_and_the_cursor_comes_back(error):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    activity = Activity("x", STEPS)
    try:
        with draw(activity, console), activity.step("fit"):
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    last = stream.getvalue().rpartition("╭")[2]
    assert ("✘" if error else "✔") in last
    assert last.rstrip().endswith("\x1b[?25h")


def test_sparklines():
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8) == "██▇▆▅▃▂▁"
    assert sparkline(range(100), 4) == "▁▅██"
    assert sparkline([1e9, *range(20, 0, -1)], 21)[1:] != "▁" * 20  # a wild start is cut
    assert sparkline([float("nan"), 1.0, float("inf"), 2.0], 9) == "▁█"
    assert sparkline([1.0, 1.0, 1.0], 9) == "▁▁▁"
    assert sparkline([1.0], 9) == sparkline([2.0, 1.0], 0) == ""
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8, blocks=False).isascii()


def logged(steps=scenes):
    clock, stream = Clock(), io.StringIO()
    log = Log("x", STEPS, stream=stream, clock=clock, day=lambda: f"{clock.now - 1000:03.0f}")
    for _ in steps(log, clock):
        pass
    return stream.getvalue().splitlines()


def test_what_the_log_says():
    lines = logged()
    assert lines[0] == "000 plan: begins"
    assert lines[1] == "000 plan: kept, as it was done before"
    assert lines.pop(2) == "000 simulate: begins"
    assert lines[2].startswith("010 simulate: level 0 500/2000 (50.0 rows/s, 30 s left, cost 500)")
    assert lines[3].startswith("020 simulate: level 0 1000/2000 (")
    assert "level 1 4/40" in lines[3]
    assert lines[4] == "020 simulate: done after 20 s"
    assert lines[5] == "020 fit: begins"
    assert lines[6] == "025 fit: training: Bridge, cheap: 400 steps, held out 0.600, 5 s"
    assert lines[7:9] == ["025 fit: done after 5 s", "025 check: begins"]
    assert lines[9] == "025 check: 5 fits of at most about 12 s"
    assert lines[10] == "049 check: cross-fitting: 2/5, 24 s"
    assert lines[11:] == ["049 check: done after 24 s"]


def test_a_long_training_says_a_line_a_minute():
    def long(log, clock):
        with watched(log), log.step("fit"), progress_bar("training", 900, enabled=True) as update:
            for step in range(300):
                clock.now += 1
                update(step, "")
                yield

    minutes = [line[:3] for line in logged(long) if "training" in line]
    assert minutes == ["010", "070", "130", "190", "250", "300"]


def test_levels_of_a_pilot_have_their_numbers_in_the_log():
    def pilot(log, clock):
        with watched(log), log.step("plan"):
            for _ in range(2):
                with campaign_progress([4], [0], [1.0], enabled=True) as report:
                    clock.now += 15
                    report.update(0, 4, 0, 1.0)
                    yield

    lines = [line for line in logged(pilot) if "level" in line]
    assert "level 0 4/4" in lines[0]
    assert "level 1 4/4" in lines[-1]


def test_a_log_that_nobody_reads_any_more_stops_nothing():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    log = Log("x", STEPS, stream=Broken())
    with watched(log), log.step("fit"):
        note("a word", enabled=True)
    assert log.steps[2].state == "done"


def test_without_a_terminal_it_is_a_log_and_quiet_is_silent(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with watch("x", ["fit", "check"]) as activity, activity.step("fit"):
        assert watching() is activity
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d fit: begins\n\d\d:\d\d:\d\d fit: done after 0\.?\d* s\n", err
    )
    with watch("x", ["fit"]) as activity, activity.step("fit"):
        pass
    assert capfd.readouterr() == ("", "")  # the command says itself that it is done
    with watch("x", ["fit"], quiet=True) as activity, activity.step("fit"):
        note("a word", enabled=True)
    assert capfd.readouterr() == ("", "")


class Terminal:
    """A pseudo-terminal in the place of descriptors 1 and 2 within the block; `text`: what it got.

    Within the test itself: pytest puts its own files there between its phases.
    """

    def __enter__(self):
        self._ours, theirs = os.openpty()
        self._kept = {number: os.dup(number) for number in (1, 2)}
        for number in self._kept:
            os.dup2(theirs, number)
        os.close(theirs)
        return self

    def __exit__(self, *error):
        for number, copy in self._kept.items():
            os.dup2(copy, number)
            os.close(copy)
        self.text = ""
        try:
            while piece := os.read(self._ours, 65536):
                self.text += piece.decode()
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(self._ours)


def test_what_others_write_to_the_terminal_is_handed_over():
    lines = []
    with Terminal() as terminal:
        with own_terminal() as own, captured(lines.append):
            os.write(1, b"from python, ")
            os.write(1, b"past sys.stdout\n")
            subprocess.run(["sh", "-c", "echo from a program; echo its errors >&2"], check=True)
            os.write(2, b"10 %\r50 %\r100 %\n")
            os.write(2, b"no end")
            own.write("ours\n")
        os.write(2, b"afterwards\n")
    assert lines == [
        "from python, past sys.stdout",
        "from a program",
        "its errors",
        "100 %",
        "no end",
    ]
    assert terminal.text.split() == ["ours", "afterwards"]


def test_the_panel_stays_whole_when_simulators_print(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", _On2())
    with Terminal() as terminal, watch("x", ["fit"]) as activity, activity.step("fit"):
        os.write(1, b"a simulator's own words\n")
    words, _, last = terminal.text.rpartition("╭")
    assert "a simulator's own words\r\n" in words
    assert re.search(r"✔ \S*fit", last)
    assert "words" not in last


class _On2(io.TextIOBase):
    """A text stream that stands for descriptor 2, as `sys.stderr` does outside of tests."""

    encoding = "utf-8"

    def fileno(self):
        return 2

    def isatty(self):
        return True

    def write(self, text):
        return os.write(2, text.encode())
