"""The pictures of `docs/cli.md`: a new study in a terminal, from `mlsbi init` to its end.

python examples/terminal_pictures.py docs/images

Takes a few minutes: it is a real run, if with smaller networks than those of the new study. The
pictures are SVG and load nothing from elsewhere.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from mlsbi._progress import watched
from mlsbi.commands._session import few_threads
from mlsbi.commands._steps import STEPS
from mlsbi.live.panel import LivePanel
from mlsbi.live.state import Activity, Work
from mlsbi.studies.steps import at_desk
from mlsbi.study import Study, StudyResult

MLSBI = str(Path(sys.executable).with_name("mlsbi"))
THEME = TerminalTheme(
    (24, 26, 31),
    (214, 217, 222),
    [
        (90, 96, 108), (232, 110, 110), (126, 200, 132), (226, 192, 110),
        (110, 168, 240), (196, 150, 230), (104, 200, 210), (214, 217, 222),
    ],
)  # fmt: skip


class Pictured(Activity):
    """Takes a picture in the midst of the fit."""

    taken: str | None = None

    def on_work(self, work: Work) -> None:
        """In the midst of the third training."""
        trained = [other for other in self.works if other.step == "fit"]
        if self.taken is None and len(trained) >= 3 and work.done >= 0.4 * work.total:
            self.taken = svg([prompt("mlsbi run"), LivePanel(self)], width=92)


def main(folder: Path) -> None:
    """Make a study in a temporary folder, run it, and write the pictures into `folder`."""
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        first = shown("init", "new")
        os.chdir("new")
        make_smaller(Path("study.toml"))
        parts = [*first, prompt("cd new"), *shown("validate"), *shown("plan", "--quiet")]
        (folder / "terminal-plan.svg").write_text(svg(parts, width=116), encoding="utf-8")
        view, result = run(Study.load("study.toml"))
        last = Text(str(result).replace(f"{place}/new/", ""))
        ending = [prompt("mlsbi run"), LivePanel(view), last, Text(), *shown("status"), *draws()]
        (folder / "terminal-run.svg").write_text(view.taken or "", encoding="utf-8")
        (folder / "terminal-end.svg").write_text(svg(ending, width=92), encoding="utf-8")


def make_smaller(file: Path) -> None:
    """Let the study fit one strategy, by two networks, and check it in two folds."""
    text = file.read_text(encoding="utf-8")
    for old, new in (
        ('#strategy = "default"            # single', 'strategy = "bridge" # single'),
        ("#ensemble = 5", "ensemble = 2"),
        ("folds = 3", "folds = 2"),
    ):
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def run(study: Study) -> tuple[Pictured, StudyResult]:
    """What `mlsbi run` does, under the eye of the camera."""
    view = Pictured(f"mlsbi run: {study.name}", STEPS)
    view.budget = study.file.plan.budget
    with few_threads(), watched(view), at_desk(study, progress=True) as desk:
        for name in STEPS:
            with view.step(name, kept=name == "plan"):
                getattr(desk, "data" if name == "simulate" else name)
        return view, desk.result


def draws() -> list[RenderableType]:
    """The last command."""
    return shown("sample", "-n", "10000", "--out", "samples.csv")


def shown(*words: str) -> list[RenderableType]:
    """A command and what it prints."""
    done = subprocess.run(
        [MLSBI, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout)
    text = done.stdout.rstrip().replace(f"{Path.cwd()}/", "")
    return [prompt(" ".join(["mlsbi", *words])), Text(text), Text()]


def prompt(command: str) -> Text:
    """A command as it was typed."""
    return Text.assemble(("$ ", "green"), (command, "bold"))


def svg(parts: Sequence[RenderableType], *, width: int) -> str:
    """A terminal with these parts, one below the other; its fonts are those of the reader."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for part in parts:
        console.print(part)
    text = console.export_svg(title="mlsbi", theme=THEME, unique_id="terminal")
    text = re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)
    return re.sub(r"font-family: Fira Code, monospace", "font-family: monospace", text)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
