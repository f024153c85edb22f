"""The style of plots: colours that can be told apart on both papers, ticks that can be read, files that repeat."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from scaling import style
from scaling.errors import ScalingError

#: Viénot, Brettel & Mollon 1999 (Color Research & Application 24, 243-252): linear RGB as dichromats see it.
SEEN_BY = {
    "all": np.eye(3),
    "protanopes": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deuteranopes": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


def _linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1's ratio of luminances: 4.5 is asked of text, 3 of graphics."""
    light = sorted(float(_linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def _lab(colour: str, seen_by: str) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(SEEN_BY[seen_by] @ _linear(colour), 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("name", style.THEMES)
def test_words_and_marks_stand_out_from_the_paper(name: str) -> None:
    look = style.THEMES[name]
    assert _contrast(look.ink, look.paper) > 7
    assert _contrast(look.muted, look.paper) > 4
    assert min(_contrast(c, look.paper) for c in (look.law, look.held, look.good)) > 3


@pytest.mark.parametrize("name", style.THEMES)
@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_the_first_series_are_told_apart_by_everyone(name: str, seen_by: str) -> None:
    look = style.THEMES[name]
    apart = [np.linalg.norm(_lab(a, seen_by) - _lab(b, seen_by)) for a, b in combinations(look.cycle[:4], 2)]
    assert min(apart) > 12  # in CIELAB a difference of 2.3 is just seen


@pytest.mark.parametrize("name", style.THEMES)
def test_larger_sizes_are_lighter_without_a_turn(name: str) -> None:
    shades = style.THEMES[name].sizes(range(style.TINTS))
    lightness = [_lab(mpl.colors.to_hex(c), "all")[0] for c in shades]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize(
    ("lo", "hi", "said"),
    [
        (1e7, 1e9, ["10M", "30M", "100M", "300M", "1B"]),
        (3e7, 9e7, ["30M", "40M", "50M", "70M"]),
        (1.2e9, 1.9e9, ["1.2B", "1.4B", "1.6B", "1.8B"]),
    ],
)
def test_ticks_of_counts_are_numbers_people_say(lo: float, hi: float, said: list[str]) -> None:
    assert [style.count(value) for value in style.LogTicks().tick_values(lo, hi)] == said


def test_ticks_are_few_enough_to_read_and_enough_to_place_a_point() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        lo = 10 ** rng.uniform(-6, 24)
        ticks = style.LogTicks().tick_values(lo, lo * 10 ** rng.uniform(0.02, 20))
        assert 3 <= len(ticks) <= 7 and (np.diff(ticks) > 0).all()


def test_a_power_is_written_as_one() -> None:
    assert style.power(1e21) == "$10^{21}$"
    assert style.power(3e19) == r"$3{\times}10^{19}$"
    assert style.count(999_999_999) == "1B"


def test_an_axis_says_its_unit() -> None:
    assert style.label("C").endswith("(FLOP)")
    assert style.label("loss", "nats/token") == "validation loss (nats/token)"
    assert style.label("grad_norm", "1") == "grad_norm (1)"


def test_a_theme_ends_with_its_block_and_an_unknown_one_is_refused() -> None:
    with style.drawing("dark") as look:
        assert style.theme() is look is style.DARK
        assert mpl.rcParams["axes.facecolor"] == style.DARK.paper
    assert style.theme() is style.LIGHT
    assert mpl.rcParams["axes.facecolor"] != style.DARK.paper
    with pytest.raises(ScalingError, match="dark"), style.drawing("drak"):
        pass


def _drawn(path: Path, name: str) -> str:
    with style.drawing(name) as look:
        figure = Figure(figsize=(4, 3))
        ax = figure.subplots()
        ax.plot([1, 2], [3, 4], color=look.law)
        ax.scatter([1, 2], [3, 4], c=look.sizes([10, 50]))
        style.column_axis(ax.xaxis, "N")
        style.size_bar(ax, style.size_scale([1e6, 1e9]))
        style.save(figure, str(path))
    return path.read_text()


def test_the_same_plot_is_the_same_file(tmp_path: Path) -> None:
    assert _drawn(tmp_path / "a.svg", "light") == _drawn(tmp_path / "b.svg", "light")


def test_every_colour_of_a_light_plot_has_its_dark_one(tmp_path: Path) -> None:
    svg = _drawn(tmp_path / "a.svg", "light")
    used = set(re.findall(r"#[0-9a-f]{6}\b", svg))
    swaps = style.swaps(svg)
    assert used == set(swaps)
    swapped = {swaps[colour] for colour in used}
    assert swapped == set(re.findall(r"#[0-9a-f]{6}\b", _drawn(tmp_path / "b.svg", "dark")))


def test_a_plot_without_a_known_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match="png"):
        style.save(Figure(), str(tmp_path / "plot.jpeg"))
