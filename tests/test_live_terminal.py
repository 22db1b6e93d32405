"""`mlsbi run` in a real pseudo-terminal: the panel, Ctrl-C, and going on."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

import pytest

from studies import WHOLE, Place

COMMAND = Path(sys.executable).with_name("mlsbi")
CONTROL = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")


def in_a_terminal(*words, folder, interrupt=None, width=80, **variables):
    """Exit code and all that a terminal got; `interrupt`: press Ctrl-C when it shows this."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS"}}
        environment |= {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **variables}
        os.execve(COMMAND, ["mlsbi", *map(str, words)], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    text = b""
    try:
        while piece := os.read(terminal, 65536):
            text += piece
            if interrupt is not None and interrupt in text:
                os.write(terminal, b"\x03")
                interrupt = None
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text.decode()


def last_panel(text):
    """The last picture, without colours."""
    return CONTROL.sub("", text).rpartition("╭")[2]


@pytest.fixture
def place(tmp_path):
    """A study whose simulators print, also past Python, and whose fit takes some seconds."""
    made = Place(tmp_path)
    models = tmp_path / f"{made.models}.py"
    noisy = "    print('a word of a simulator')\n    import os\n    os.system('echo a program')\n"
    text = models.read_text()
    models.write_text(text.replace("    count(0, len(theta))\n", f"    count(0, 1)\n{noisy}"))
    made.study(WHOLE.replace("max_steps = 20", "max_steps = 400"))
    return made


@pytest.mark.slow
def test_a_run_is_stopped_and_goes_on(place):
    code, text = in_a_terminal("run", folder=place.folder, interrupt=b"training")
    assert code == 130
    assert "✘ fit stopped" in last_panel(text)
    assert "the same command goes on" in text
    assert "\x1b[?25h" in text.rpartition("╭")[2]  # the cursor is back
    code, text = in_a_terminal("run", "--jobs", 2, folder=place.folder, width=60)
    assert code in {0, 3}
    panel = last_panel(text)
    assert "✔ simulate kept" in panel
    assert "✔ report" in panel
    assert "Report: " in panel  # what comes after the last panel is the result
    assert max(len(line.rstrip("\r")) for line in panel.split("╯")[0].splitlines()) <= 60


@pytest.mark.slow
def test_what_simulators_print_leaves_the_panel_whole(place):
    _, text = in_a_terminal("simulate", folder=place.folder)
    plain = CONTROL.sub("", text)
    assert plain.count("a word of a simulator\r\n") == plain.count("a program\r\n") > 0
    assert "a word" not in last_panel(text)
    for line in last_panel(text).split("╯")[0].splitlines()[1:-1]:
        assert re.fullmatch(r"│.{75}│\s*", line), line


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminals_that_can_do_less(place, variables):
    code, text = in_a_terminal("simulate", folder=place.folder, **variables)
    assert code == 0
    if "NO_COLOR" in variables:
        assert "✔ simulate" in last_panel(text)
        assert not re.search(r"\x1b\[[\d;]*3\d", text)
    else:
        assert "\x1b" not in text
        assert "Runs: 40 runs of level 0" in text
