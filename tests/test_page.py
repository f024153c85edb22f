"""The page builder: everything that comes in is text, the page loads nothing, and its tables and plots can be read."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from scaling.figures.inline import inline_plot
from scaling.page import (
    FILES,
    Cell,
    Plot,
    Plotted,
    Section,
    cards,
    code,
    folded,
    heading,
    inline,
    items,
    joined,
    number,
    page,
    paragraph,
    percent,
    problems,
    span,
    table,
)
from scaling.style import DARK, LIGHT, drawing, words

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&$\\frac{"


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "made",
    [
        paragraph(EVIL), heading(EVIL), items([EVIL]), problems([EVIL]), code(EVIL), inline(EVIL), joined(EVIL),
        cards([(EVIL, EVIL, EVIL)]), folded(EVIL), table([EVIL], [[EVIL]], caption=EVIL), table(["a"], [[Cell(EVIL)]]),
    ],
)  # fmt: skip
def test_what_others_wrote_stays_text(made: str) -> None:
    assert not {"script", "img"} & {tag for tag, _ in _Tags(made).tags}
    assert "&lt;script&gt;" in made


def test_titles_alts_and_captions_stay_text_too() -> None:
    plot = Plotted(Plot("<svg viewBox='0 0 1 1'></svg>", 100), EVIL, EVIL)
    text = page(EVIL, [], [Section(EVIL, [plot])], footer=EVIL)
    tags = _Tags(text).tags
    assert [tag for tag, _ in tags].count("script") == 1 and "img" not in [tag for tag, _ in tags]
    assert not any(name.startswith("on") for _, attrs in tags for name in attrs)
    [svg] = [attrs for tag, attrs in tags if tag == "svg"]
    assert svg["aria-label"] == EVIL and svg["role"] == "img"


def test_the_policy_lets_nothing_in_but_the_pages_own_script() -> None:
    text = page("a", [], [])
    policy = dict(_Tags(text).tags[[t for t, _ in _Tags(text).tags].index("meta") + 1][1])["content"] or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == "'unsafe-inline'" and rules["img-src"] == "data:"
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", text)


def test_a_page_wears_the_colours_of_the_plots() -> None:
    style = (FILES / "page.css").read_text()
    light, dark = style.split("prefers-color-scheme: dark")[:2]
    for look, part in ((LIGHT, light), (DARK, dark)):
        for colour in (look.paper, look.ink, look.faint):
            assert colour in part


def test_a_plot_follows_the_page_and_has_names_of_its_own() -> None:
    with drawing():
        figure = Figure(figsize=(3, 2))
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1], color=LIGHT.law)
        ax.set_xlabel(words(EVIL, 200))
    plot = inline_plot(figure)
    text = page("a", [], [Section("s", [Plotted(plot, "one"), Plotted(plot, "two")])])
    assert f"var(--c{LIGHT.law[1:]})" in text and f"--c{LIGHT.law[1:]}:{DARK.law};" in text
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names)) > 10
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)
    assert "<style type" not in text and "<metadata" not in text and "width=" not in text.split("<svg")[1].split(">")[0]
    assert "script" not in {tag for tag, _ in _Tags(plot.svg).tags}


def test_a_table_sets_numbers_right_and_keeps_what_it_sorts_by() -> None:
    made = table(["name", "value"], [["a", 1.5], ["b", None], ["c", percent(0.25)]])
    assert made.count("<td class=number") == 3
    assert re.findall(r'data-value="([^"]*)"', made) == ["1.5", "0.25"]
    assert "aria-sort" not in made and made.count('<th scope="col"') == 2
    with pytest.raises(AssertionError, match="1 cells under 2 headings"):
        table(["a", "b"], [["x"]])


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (number(2.98e10), "2.98e+10"),
        (number(0.00123456), "0.0012346"),
        (number(float("nan")), ""),
        (number(None), ""),
        (number(0), "0"),
        (percent(0.01234), "1.23%"),
        (percent(0.01234, signed=True), "+1.23%"),
        (percent(np.nan), ""),
        (span(1.0, 2.5e9), "1 to 2.5e+09"),
    ],
)
def test_numbers_are_short_and_what_is_missing_is_empty(cell: Cell, text: str) -> None:
    assert cell.text == text


def test_sections_without_content_are_left_out() -> None:
    text = page("a", [], [Section("Here", [paragraph("x")]), Section("Gone", [])])
    assert "Here" in text and "Gone" not in text
