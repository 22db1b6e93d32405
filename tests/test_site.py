"""The documentation site: pages can be reached, links lead to headings, every name is there."""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

import mlsbi

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^(```+|~~~+)[^\n]*\n.*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
AUTODOC = re.compile(r"^\.\. auto(\w+):: ([\w.]+)$", re.MULTILINE)


def pages():
    """The site's pages, by name: `howto/coupling`."""
    found = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    return {
        page.relative_to(DOCS).with_suffix("").as_posix(): page
        for page in sorted(found)
        if not {"_build", "images", ".ipynb_checkpoints"} & set(page.parts)
    }


PAGES = pages()


def markdown(page):
    """The Markdown of a page; of a notebook, that of its cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def prose(page):
    """The same without code and comments."""
    return COMMENT.sub("", FENCE.sub("", markdown(page)))


def headings(page):
    """Level and text of each heading; a page that includes another file has its headings."""
    included = re.search(r"^```\{include\} (\S+)$", markdown(page), re.MULTILINE)
    text = prose(page.parent / included[1]) if included else prose(page)
    return [(len(m[1]), m[2]) for m in re.finditer(r"^(#+) (.+)$", text, re.MULTILINE)]


def anchors(page):
    """The anchors of the headings, as GitHub and MyST make them."""
    seen, found = Counter(), set()
    for _, text in headings(page):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # a link's words
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(page):
    """Links of a page to files or headings that are not there."""
    broken = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):  # to another site
            continue
        target = (page.parent / path) if path else page
        if not target.exists():
            broken.append(link)
        elif anchor and target.suffix in {".md", ".ipynb"} and anchor not in anchors(target):
            broken.append(link)
    return broken


def contents(name):
    """The pages that a page's contents name."""
    entries = [
        line.strip()
        for block in TOCTREE.findall(markdown(PAGES[name]))
        for line in block.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    folder = name.rpartition("/")[0]
    patterns = [f"{folder}/{entry}" if folder else entry for entry in entries]
    return {other for other in PAGES for pattern in patterns if fnmatch(other, pattern)}


def documented():
    """Names of the API's pages, with how often each has an entry."""
    found = Counter()
    for page in sorted((DOCS / "api").glob("*.md")):
        module = "mlsbi"
        for line in markdown(page).splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split()[-1]
            elif entry := AUTODOC.match(line):
                name = entry[2]
                found[name if name.startswith("mlsbi.") else f"{module}.{name}"] += 1
    return found


def test_every_page_is_in_the_contents():
    reached, waiting = set(), {"index"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= contents(name) - reached
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("name", PAGES)
def test_headings_go_down_one_level_at_a_time(name):
    levels = [level for level, _ in headings(PAGES[name])]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name):
    assert broken_links(PAGES[name]) == []


def test_every_public_name_has_one_entry():
    entries = documented()
    assert [name for name, count in entries.items() if count > 1] == []
    for module in ("mlsbi", "mlsbi.plots", "mlsbi.metrics", "mlsbi.tasks"):
        names = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
        modules = {f"mlsbi.{name}" for name in ("metrics", "plots", "tasks")}
        assert names - modules - set(entries) == set()


def test_every_entry_is_a_name():
    for name in documented():
        home, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(home), last), name


def test_the_front_page_is_that_of_this_version():
    text = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert "release = mlsbi.__version__" in text
    assert mlsbi.__version__ in (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")


def test_faults_of_a_page_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `x`: a & b\n\n[here](#one-x-a--b) [not](#two) [gone](other.md) [out](https://a.b)\n"
        "```python\n# [no](link.md)\n```\n<!-- [no](link.md) -->\n### Three\n"
    )
    assert anchors(page) == {"one-x-a--b", "three"}
    assert broken_links(page) == ["#two", "other.md"]
    assert [level for level, _ in headings(page)] == [1, 3]
