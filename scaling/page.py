"""One self-contained HTML page: text, tables that sort, plots and commands, in a file that opens without a network.

Every text that goes in is escaped here and nowhere else: a function takes plain text, or `Html` that another function
of this module made. A strict content policy is in the page: it loads nothing, and runs only the one script that is its
own. Nothing in this module knows of fits or sweeps.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = Path(__file__).parent / "page_files"


class Html(str):
    """Markup that this module made, or that was made safe: it goes into the page as it is."""


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG, its size in px, and its colours (#rrggbb) with those that stand for them on a dark page."""

    svg: str
    width: float
    dark: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    body: Sequence[Html | Plotted]

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


@dataclass(frozen=True)
class Plotted:
    """A plot with its words: `alt` says what it shows to who cannot see it, `caption` stands below."""

    plot: Plot
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown, and the number that it sorts by."""

    text: str
    value: float | None = None


# ---- pieces


def paragraph(text: str | Html, *, muted: bool = False) -> Html:
    return Html(f"<p{' class=muted' if muted else ''}>{_safe(text)}</p>")


def heading(text: str) -> Html:
    """A heading within a section."""
    return Html(f"<h3>{_safe(text)}</h3>")


def items(lines: Iterable[str | Html]) -> Html:
    """A list; nothing where there are no lines."""
    inner = "".join(f"<li>{_safe(line)}</li>" for line in lines)
    return Html(f"<ul>{inner}</ul>" if inner else "")


def problems(lines: Iterable[str]) -> Html:
    """Problems, each marked as one; nothing where there are none."""
    inner = "".join(f"<p>{_safe(line)}</p>" for line in lines)
    return Html(f'<div class="problems" role="note">{inner}</div>' if inner else "")


def code(text: str) -> Html:
    """Commands, or other text that keeps its lines."""
    return Html(f"<pre><code>{_safe(text)}</code></pre>")


def inline(text: str) -> Html:
    """Code within a line."""
    return Html(f"<code>{_safe(text)}</code>")


def joined(*parts: str | Html) -> Html:
    """Plain text and markup in one line."""
    return Html("".join(_safe(part) for part in parts))


def cards(shown: Iterable[tuple[str, str, str]]) -> Html:
    """Numbers to see first: (what it is, the number, what to know about it)."""
    inner = "".join(
        f'<div class="card"><span>{_safe(what)}</span><b>{_safe(value)}</b><span>{_safe(said)}</span></div>'
        for what, value, said in shown
    )
    return Html(f'<div class="cards">{inner}</div>' if inner else "")


def folded(summary: str, *body: Html) -> Html:
    """What is shown on demand."""
    return Html(f"<details><summary>{_safe(summary)}</summary>{''.join(body)}</details>")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", picked: int | None = None) -> Html:
    """A table whose columns sort on a click; `picked` is the row set in bold.

    Cells are text, numbers, Cells, or None for what is missing. A column is set right where all its cells are numbers.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    wrong = [row for row in cells if len(row) != len(head)]
    assert not wrong, f"a row has {len(wrong[0])} cells under {len(head)} headings"
    right = [
        any(row[i].value is not None for row in cells)
        and all(row[i].value is not None or not row[i].text for row in cells)
        for i in range(len(head))
    ]
    said = [" class=number" if one else "" for one in right]
    top = "".join(
        f'<th scope="col"{c}><button type="button">{_safe(name)}</button></th>'
        for name, c in zip(head, said, strict=True)
    )
    body = "".join(
        f"<tr{' class=picked' if i == picked else ''}>" + "".join(map(_td, row, said)) + "</tr>"
        for i, row in enumerate(cells)
    )
    named = f"<caption><span>{_safe(caption)}</span></caption>" if caption else ""
    return Html(
        f'<div class="wide" tabindex="0"><table>{named}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def number(value: Any, digits: int = 5) -> Cell:
    """A number as a cell; empty where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("")
    value = float(value)
    near = value == 0 or 1e-4 <= abs(value) < 10 ** max(digits, 5)
    return Cell(f"{value:.{digits if near else digits - 1}g}", value)


def span(lo: Any, hi: Any, digits: int = 4) -> Cell:
    """An interval as a cell, which sorts by its lower end."""
    return Cell(f"{number(lo, digits).text} to {number(hi, digits).text}", float(lo))


def percent(value: Any, digits: int = 2, *, signed: bool = False) -> Cell:
    """A share in per cent; empty where it is missing."""
    if value is None or math.isnan(float(value)):
        return Cell("")
    return Cell(f"{100 * float(value):{'+' if signed else ''}.{digits}f}%", float(value))


# ---- the page


def page(title: str, lead: Sequence[Html | Plotted], sections: Sequence[Section], *, footer: str = "") -> str:
    """The page as text, to be written to one file."""
    shown = [section for section in sections if section.body]
    dark: dict[str, str] = {}
    for part in [*lead, *(part for section in shown for part in section.body)]:
        if isinstance(part, Plotted):
            dark |= part.plot.dark
    script = (FILES / "page.js").read_text(encoding="utf-8")
    style = (FILES / "page.css").read_text(encoding="utf-8") + _swapped(dark)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    count = iter(range(10**6))
    links = "".join(f'<li><a href="#{section.anchor}">{_safe(section.title)}</a></li>' for section in shown)
    body = [f"<h1>{_safe(title)}</h1>", *(_part(part, count) for part in lead)]
    body.append(f'<nav aria-label="Sections"><ul>{links}</ul></nav>')
    for section in shown:
        inner = "".join(_part(part, count) for part in section.body)
        body.append(f'<section id="{section.anchor}"><h2>{_safe(section.title)}</h2>{inner}</section>')
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{_safe(title)}</title>",
            f"<style>{style}</style></head><body>",
            *body,
            f"<footer>{_safe(footer)}</footer>" if footer else "",
            f"<script>{script}</script>",
            "</body></html>\n",
        ]
    )


def _part(part: Html | Plotted, count: Iterable[int]) -> str:
    if isinstance(part, Html):
        return part
    assert isinstance(part, Plotted), (
        f"a page holds Html and plots, not {type(part).__name__}: wrap text in paragraph()"
    )
    return _figure(part, next(iter(count)))


def _figure(shown: Plotted, place: int) -> str:
    """The drawing with names of its own, since several stand in one page, and colours that follow the page."""
    name = f"plot{place}-"
    svg = shown.plot.svg
    for before in ('id="', 'href="#', "url(#"):
        svg = svg.replace(before, before + name)
    for colour in shown.plot.dark:
        svg = svg.replace(colour, f"var(--c{colour[1:]})")
    size = f"max-width:{shown.plot.width:.0f}px;min-width:{min(0.75 * shown.plot.width, 540):.0f}px"
    label = html.escape(shown.alt, quote=True)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" style="{size}" ', 1)
    below = f"<figcaption>{_safe(shown.caption)}</figcaption>" if shown.caption else ""
    return f'<figure><div class="wide" tabindex="0">{svg}</div>{below}</figure>'


def _swapped(dark: Mapping[str, str]) -> str:
    if not dark:
        return ""
    light_of = "".join(f"--c{colour[1:]}:{colour};" for colour in dark)
    dark_of = "".join(f"--c{colour[1:]}:{other};" for colour, other in dark.items())
    return f":root{{{light_of}}}@media (prefers-color-scheme: dark){{:root{{{dark_of}}}}}\n"


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell("")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float):
        return number(float(value)) if isinstance(value, float) else Cell(str(value), float(value))
    return Cell(str(value))


def _numeric(column: Sequence[Cell]) -> bool:
    return any(c.value is not None for c in column) and all(c.value is not None or not c.text for c in column)


def _td(cell: Cell, said: str) -> str:
    value = f' data-value="{cell.value!r}"' if cell.value is not None else ""
    return f"<td{said}{value}>{_safe(cell.text)}</td>"


def _safe(text: str | Html) -> str:
    return text if isinstance(text, Html) else html.escape(str(text), quote=True)
