"""The page: sections in order, contents, style and script, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from mlsbi.reporting.markup import Markup, Section, join, plain, rich, tag
from mlsbi.reporting.pictures import dark_colours

__all__ = ["page"]

_DARK = "@media screen and (prefers-color-scheme:dark){:root{DECLARATIONS}}"


def page(*, title: str, subtitle: Markup, sections: Sequence[Section], foot: str) -> str:
    """A whole HTML document.

    Args:
        title: Of the document, and its first heading.
        subtitle: A line below it.
        sections: In order.
        foot: Last line of the page.
    """
    body = join([
        tag("a", "Skip to the report", href="#main", class_="skip"),
        tag(
            "header",
            tag("p", "mlsbi report", class_="kicker"),
            tag("h1", rich(title)),
            tag("p", subtitle, class_="subtitle"),
        ),
        _contents(sections),
        tag("main", *[_section(section) for section in sections], id="main"),
        tag("footer", tag("p", foot)),
    ])  # fmt: skip
    style = _asset("style.css") + _DARK.replace("DECLARATIONS", dark_colours(body))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", plain(title)),
        Markup('<link rel="icon" href="data:,">'),  # or browsers ask for one
        tag("style", Markup(style)),
    )
    script = tag("script", Markup(_asset("script.js")))
    return "<!doctype html>\n" + tag("html", head, tag("body", body, script), lang="en") + "\n"


def _asset(name: str) -> str:
    return files("mlsbi.reporting").joinpath(name).read_text(encoding="utf-8")


def _contents(sections: Sequence[Section]) -> Markup:
    links = [tag("li", tag("a", s.title, href=f"#{s.name}")) for s in sections]
    return tag("nav", tag("ol", *links), aria_label="Contents")


def _section(section: Section) -> Markup:
    heading = tag("h2", section.title, id=f"{section.name}-title")
    return tag(
        "section", heading, section.body, id=section.name,
        aria_labelledby=f"{section.name}-title",
    )  # fmt: skip
