"""The site as it is built: without a warning, whole, and with nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from sphinx.util.inventory import InventoryFile

import mlsbi
import mlsbi.metrics
import mlsbi.plots
import mlsbi.tasks

DOCS = Path(__file__).parents[1] / "docs"
FETCHED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """Anchors, links, what the browser would fetch, and comments of a page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.fetched, self.comments = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(FETCHED.get(tag)):
            self.fetched.append(given[FETCHED[tag]])

    def handle_comment(self, data):
        self.comments.append(data)


def elsewhere(address):
    return re.match(r"(?:[a-z]+:)?//", address) is not None


def broken(pages):
    """Links between pages, and within them, that lead nowhere."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or elsewhere(link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name)).resolve() if name else path
            if not target.exists() or (
                anchor and target in pages and unquote(anchor) not in pages[target].ids
            ):
                found.append(f"{path.name}: {link}")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", folder / "trees"]
    done = subprocess.run(
        [*command, DOCS, folder / "html"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def built(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


@pytest.mark.slow
def test_pages_fetch_nothing_from_elsewhere(site, built):
    fetched = [address for page in built.values() for address in page.fetched]
    assert fetched
    assert [address for address in fetched if elsewhere(address)] == []
    for sheet in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        used = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")]+)", sheet.read_text("utf-8"))
        assert [address for address in used if elsewhere(address)] == [], sheet


@pytest.mark.slow
def test_links_between_pages_hold(built):
    assert len(built) > 30
    assert broken(built) == []


@pytest.mark.slow
def test_comments_of_the_pages_do_not_show(built):
    comments = [comment for page in built.values() for comment in page.comments]
    assert [c for c in comments if "slow" in c or "import" in c] == []


@pytest.mark.slow
def test_formulas_are_drawn(site):
    page = (site / "concepts" / "objective.html").read_text(encoding="utf-8")
    assert page.count('<svg class="formula"') > 20
    assert "MathJax" not in page
    assert "$$" not in page


@pytest.mark.slow
def test_every_public_name_is_in_the_inventory_for_other_sites(site):
    entries = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    names = {name for kind in entries if kind.startswith("py:") for name in entries[kind]}
    for module in (mlsbi, mlsbi.plots, mlsbi.metrics, mlsbi.tasks):
        modules = {f"mlsbi.{name}" for name in ("metrics", "plots", "tasks")}
        wanted = {f"{module.__name__}.{name}" for name in module.__all__}
        assert wanted - modules - names == set()
    assert "mlsbi.Study.run" in names
    assert "mlsbi.PosteriorFit.log_prob" in names


def test_faults_of_a_built_page_are_found(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        '<a href="#here" id="here"></a><a href="#gone"></a><a href="gone.html"></a>'
        '<script src="https://a.b/c.js"></script><!-- slow -->'
    )
    page = Page(path)
    assert broken({path: page}) == ["page.html: #gone", "page.html: gone.html"]
    assert [elsewhere(address) for address in page.fetched] == [True]
    assert page.comments == [" slow "]
