"""A figure as a drawing for a page: SVG without its envelope, its colours named with their dark ones."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from matplotlib.figure import Figure

from scaling.page import Plot
from scaling.style import LIGHT, drawing, settings, swaps

PX = 96.0  # of an inch in a page


def inline_plot(figure: Figure) -> Plot:
    """The figure as SVG that can stand in HTML. It is drawn in the light theme; the page changes its colours."""
    text = io.StringIO()
    with drawing(LIGHT.name), mpl.rc_context(settings(LIGHT)):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.S)  # it would rule the page; page.css has it
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*" height="[^"]*"|(<svg [^>]*?) height="[^"]*"', r"\1\2", svg, count=1)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.S)
    svg = re.sub(r"\n\s*", "\n", svg)
    return Plot(svg, figure.get_size_inches()[0] * PX, swaps(svg))
