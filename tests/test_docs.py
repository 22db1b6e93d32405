"""The pages are true: their Python runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from quick import rough_processes, short_trainings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if not {"_build", "images"} & set(page.parts)),
]

# The language is a word, or what Sphinx is to do with the block: {toctree}, {code-block} python.
BLOCK = re.compile(
    r"^(?P<slow><!-- slow -->\n)?(?P<fence>```+)(?P<language>\w*|\{[^\n]*)\n"
    r"(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    slow: bool
    line: int  # of the first line of code


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["code"], bool(m["slow"]), text.count("\n", 0, m.start("code")) + 1)
        for m in BLOCK.finditer(text)
    ]


def name_of(page):
    """`docs/howto/coupling.md`, as the tests are called."""
    return page.relative_to(ROOT).as_posix()


def python_pages():
    """Pages with Python blocks."""
    return [
        pytest.param(page, id=name_of(page))
        for page in PAGES
        if any(block.language == "python" for block in blocks_of(page))
    ]


def run_page(page, *, slow):
    """Run a page's blocks in order, in one namespace; errors point at lines of the page."""
    namespace = {"__name__": page.stem}
    for block in blocks_of(page):
        if block.language == "python" and (slow or not block.slow):
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(page), "exec"), namespace)


def commands_of(page, program):
    """The words that follow `program` in a page's code."""
    text = page.read_text(encoding="utf-8")
    code = [block.code for block in blocks_of(page) if block.language in {"bash", "sh", "console"}]
    code += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    words = re.compile(rf"(?:^|[\s;&|]){program} ([a-z][a-z-]*)", re.MULTILINE)
    return {word for piece in code for word in words.findall(piece)}


@pytest.mark.parametrize("page", python_pages())
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rough_processes(monkeypatch)
    short_trainings(monkeypatch)
    run_page(page, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", python_pages())
def test_all_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, slow=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert commands_of(page, "make") <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_mlsbi_commands_exist(page):
    named = commands_of(page, "mlsbi")
    if named:
        from mlsbi.cli import app

        assert named <= set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_within_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    files = [link for link in links if not link.startswith(("http://", "https://"))]
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_readme_is_where_the_commands_are():
    assert {"demo", "test"} <= commands_of(ROOT / "README.md", "make")
    assert {"demo", "bench"} <= commands_of(ROOT / "README.md", "mlsbi")


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a `make x`\n```python\none = 1\n```\n<!-- slow -->\n```python\n1 / 0\n```\n"
        "```{toctree}\n:hidden:\n```\n"
    )
    first, second, contents = blocks_of(page)
    assert contents.language == "{toctree}"
    assert (first.code, first.slow, first.line) == ("one = 1\n", False, 3)
    assert second.slow
    assert commands_of(page, "make") == {"x"}
    run_page(page, slow=False)
    with pytest.raises(ZeroDivisionError) as error:
        run_page(page, slow=True)
    assert error.traceback[-1].lineno + 1 == 7
