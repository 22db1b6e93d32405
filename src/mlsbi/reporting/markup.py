"""HTML by small functions: whatever is not `Markup` is escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "Markup",
    "Section",
    "code_block",
    "fixed",
    "join",
    "number",
    "plain",
    "rich",
    "table",
    "tag",
    "to_digit",
    "trimmed",
]

_VOID = {"br", "hr", "img", "meta"}
_GREEK = {
    name: chr(code)
    for code, name in zip(
        [*range(0x3B1, 0x3C2), *range(0x3C3, 0x3CA)],
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega".split(),
        strict=True,
    )
}
_GREEK |= {name.capitalize(): letter.upper() for name, letter in _GREEK.items()}
_SYMBOLS = {"times": "×", "cdot": "·", "pm": "±", "log": "log", "ln": "ln", "exp": "exp"}
_MOST_DECIMALS, _LARGE = 5, 1e7  # beyond them, powers of ten
_MATH = re.compile(r"\$([^$]+)\$")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
_POWER = re.compile(r"10\^([−\d]+)")
_SCRIPT = re.compile(r"([_^])(?:\{([^{}]*)\}|(.))")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its id, by which the contents link to it.
        title: Its heading.
        body: What stands below the heading.
    """

    name: str
    title: str
    body: Markup


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element; children that are None are left out, those that are no `Markup` are escaped.

    Attributes: `class_` is class, `_` in other names is `-`; None leaves one out, True gives it no
    value.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after another; those that are no `Markup` are escaped."""
    made = [p if isinstance(p, Markup) else html.escape(str(p)) for p in parts if p is not None]
    return Markup(between.join(made))


def rich(text: object) -> Markup:
    r"""Text with names as TeX has them between dollars, `$\sigma_8$`, set in HTML."""
    if isinstance(text, Markup):
        return text
    pieces = _MATH.split(str(text))  # every second piece is mathematics
    return Markup("".join(_math(p) if i % 2 else html.escape(p) for i, p in enumerate(pieces)))


def plain(text: object) -> str:
    r"""The same without markup, for alternative texts: `$\sigma_8$` is "σ_8"."""
    return _MATH.sub(lambda found: _unbraced(_named(found[1])), str(text))


def _math(source: str) -> Markup:
    named = html.escape(_named(source))
    elements = {"_": "sub", "^": "sup"}

    def script(found: re.Match[str]) -> str:
        inner = found[2] if found[2] is not None else found[3]
        return f"<{elements[found[1]]}>{inner}</{elements[found[1]]}>"

    return Markup(f'<span class="math">{_unbraced(_SCRIPT.sub(script, named))}</span>')


def _named(source: str) -> str:
    """Greek letters and symbols in place of their commands; other commands lose their backslash."""
    return _COMMAND.sub(lambda c: _GREEK.get(c[1], _SYMBOLS.get(c[1], _kept(c[1]))), source)


def _kept(command: str) -> str:
    return "" if command.startswith(("math", "text", "rm", "bf", "it")) else command


def _unbraced(source: str) -> str:
    return source.replace("{", "").replace("}", "")


def number(value: object, digits: int = 3) -> str:
    """A number for readers: significant digits, a true minus, thousands set apart, "–" for none."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    real = float(value)  # type: ignore[arg-type]
    if not math.isfinite(real):
        return "–" if math.isnan(real) else ("∞" if real > 0 else "−∞")
    return _significant(real, digits).replace("-", "−")


def trimmed(value: object, digits: int = 3) -> str:
    """As `number`, without zeros at the end."""
    text = number(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "^" not in text else text


def fixed(value: float, decimals: int = 2) -> str:
    """A number with so many decimals; no minus before zero."""
    if not math.isfinite(value):
        return number(value)
    text = f"{value:,.{decimals}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def to_digit(value: float, unit: float) -> str:
    """A number as exact as its standard deviation `unit` with two significant digits."""
    if not (math.isfinite(value) and math.isfinite(unit)) or unit <= 0:
        return number(value)
    decimals = 1 - math.floor(math.log10(float(f"{unit:.1e}")))
    if decimals > _MOST_DECIMALS or abs(value) >= _LARGE:
        size = math.log10(max(abs(value), unit) / unit)
        return number(value, 2 + max(0, math.floor(size)))
    return f"{value:,.{max(decimals, 0)}f}".replace("-", "−")


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 <= size < 7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa} × 10^{int(exponent)}"
    return f"{value:,.{max(digits - 1 - size, 0)}f}"


def table(
    heads: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    caption: object,
    words: Sequence[int] = (0,),
    notes: Sequence[object] = (),
) -> Markup:
    """A table in a box of its own, which scrolls where the page is narrow.

    Args:
        heads: Of the columns.
        rows: Cells; the first of each row heads it.
        caption: What the table shows; notes on it follow.
        words: Columns that hold words, set to the left; the others hold numbers.
        notes: Sentences below the table.
    """

    def kind(column: int) -> str | None:
        return None if column in words else "number"

    head = [tag("th", rich(h), scope="col", class_=kind(i)) for i, h in enumerate(heads)]
    body = [
        tag("tr", tag("th", rich(row[0]), scope="row", class_=kind(0)), *[
            tag("td", rich(cell) if isinstance(cell, str) else _cell(cell), class_=kind(i))
            for i, cell in enumerate(row[1:], start=1)
        ])
        for row in rows
    ]  # fmt: skip
    made = tag(
        "table",
        tag("caption", tag("span", rich(caption))),
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
    )
    label = plain(caption)
    box = tag("div", made, class_="scroll", tabindex="0", role="region", aria_label=label)
    below = [tag("p", rich(note), class_="note") for note in notes]
    return join([box, *below])


def _cell(value: object) -> Markup:
    return Markup(_POWER.sub(r"10<sup>\1</sup>", html.escape(number(value))))


def code_block(source: str) -> Markup:
    """A block of code, which scrolls in its own box."""
    return tag("pre", tag("code", source), tabindex="0")
