"""What tests read of an HTML page, by the standard library's parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "hr", "img", "link", "meta"}
SVG_LEAVES = {"path", "use", "rect"}  # written as <path/>


@dataclass
class Page(HTMLParser):
    """Elements, texts and headings of a page; a page that is not well nested is refused."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._rows: list[list[str]] = []
        self._caption = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag in {"h1", "h2", "h3"}:
            self.headings.append((int(tag[1]), ""))
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        opened = self.stack.pop()
        if opened != tag:
            raise ValueError(f"</{tag}> closes <{opened}> at {self.getpos()}")
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] in {"style", "script"}:
            return
        self.words.append(data)
        inside = set(self.stack)
        if inside & {"h1", "h2", "h3"}:
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
        if "caption" in inside:
            self._caption += data
        if inside & {"td", "th"}:
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        """All words of the page."""
        return " ".join(" ".join(self.words).split())

    def ids(self) -> list[str]:
        """Every id, in order."""
        return [a["id"] for _, a in self.elements if a.get("id") is not None]


def read_page(source: str) -> Page:
    """The page, read to its end."""
    page = Page()
    page.feed(source)
    page.close()
    if page.stack:
        raise ValueError(f"never closed: {page.stack}")
    return page
