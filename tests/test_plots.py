"""Plots show what they claim, with words that can be read, for every kind and in both themes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import scaling
from scaling import schedule
from scaling.cli import main
from scaling.curves import read_curves
from scaling.figures.allocation import plot_allocation
from scaling.figures.budgets import plot_compute, plot_frontier
from scaling.figures.certainty import free_names, plot_profile
from scaling.figures.checks import plot_observed, plot_rehearsal, plot_residuals, residual_columns
from scaling.figures.marks import DENSE
from scaling.figures.schedules import schedule_figure
from scaling.figures.surface import plot_contour
from scaling.laws import LAWS
from scaling.plots import KINDS, figure_of, kinds_of, sized
from scaling.style import THEMES, drawing, save
from scaling.trajectory import whole

STEPS = 3000


def _runs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = LAWS["chinchilla"](n, d, **LAWS["chinchilla"].published["besiroglu2024"])
    return pd.DataFrame(
        {
            "run": [f"run{i:02}" for i in range(n.size)], "N": n, "D": d, "C": 6 * n * d, "twice": 2 * n * d,
            "loss": loss * np.exp(0.003 * rng.standard_normal(n.size)), "constant": 1.0,
            "group": np.where(n < 1e8, "small", "large"),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def sizes() -> scaling.Draws:
    return scaling.bootstrap(scaling.fit("chinchilla", scaling.read_table(_runs())), 60)


@pytest.fixture(scope="module")
def held() -> Any:
    return scaling.hold_out("chinchilla", scaling.read_table(_runs()), "C > 1e20", resamples=60)


@pytest.fixture(scope="module")
def curves() -> scaling.Draws:
    rng, frames = np.random.default_rng(0), []
    lrs = {
        "cosine": schedule.cosine(STEPS, 3e-4, 100), "wsd": schedule.wsd(STEPS, 3e-4, 100, 600),
        "constant": schedule.constant(STEPS, 3e-4, 100),
    }  # fmt: skip
    for run, lr in lrs.items():
        at = np.arange(50, STEPS, 50)
        loss = LAWS["tissue"](whole(lr), **LAWS["tissue"].coefficients())[at] * np.exp(2e-3 * rng.normal(size=len(at)))
        frames.append(pd.DataFrame({"run": run, "step": at, "lr": lr[at], "loss": loss}))
    return scaling.bootstrap(scaling.fit("tissue", read_curves(pd.concat(frames, ignore_index=True), schedules=lrs)))


@pytest.fixture(scope="module")
def power() -> scaling.Draws:
    return scaling.bootstrap(scaling.fit("power", scaling.read_table(_runs()), x="C"), 60)


def _overlaps(figure: Figure) -> list[str]:
    """Tick labels along one axis that lie on each other, and legends that leave their figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    said = []
    for ax in figure.axes:
        if not ax.get_visible() or not ax.axison:
            continue
        for axis, side in ((ax.xaxis, "x"), (ax.yaxis, "y")):
            boxes = [
                (text.get_text(), text.get_window_extent(renderer))
                for text in axis.get_ticklabels()
                if text.get_visible() and text.get_text()
            ]
            near = ax.get_window_extent(renderer).expanded(1.4, 1.4)
            inside = [(text, box) for text, box in boxes if box.overlaps(near) and not _is_turned(axis)]
            said += [f"{side}: {a} on {b}" for (a, box), (b, other) in pairwise(inside) if box.overlaps(other)]
        legend = ax.get_legend()
        if legend is not None and not figure.bbox.padded(1).containsx(legend.get_window_extent(renderer).x1):
            said.append(f"the legend of {ax.get_xlabel()} leaves the figure")
    return said


def _is_turned(axis: Any) -> bool:
    return any(text.get_rotation() for text in axis.get_ticklabels())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("law", ["sizes", "power", "curves"])
def test_every_kind_is_drawn_with_words_that_can_be_read(kind: str, law: str, request: pytest.FixtureRequest) -> None:
    draws = request.getfixturevalue(law)
    if kind not in kinds_of(draws.fit):
        with pytest.raises(scaling.ScalingError, match=f"has no plot {kind} .* it has overview"):
            figure_of(draws, kind)
        return
    if law != "sizes" and kind in ("overview", "observed", "profile"):
        return  # as drawn for the law of sizes
    figure = figure_of(draws, kind, theme="dark")
    assert _overlaps(figure) == []
    assert figure.get_facecolor()[:3] == pytest.approx([int("15171c"[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    labelled = [ax for ax in figure.axes if ax.get_xlabel() or ax.get_ylabel()]
    assert labelled or figure.get_supylabel()


def test_an_overlap_is_found() -> None:
    figure = Figure(figsize=(2, 2))
    ax = figure.subplots()
    ax.set_xticks([0, 0.01], ["a long label", "another one"])
    assert _overlaps(figure) == ["x: a long label on another one"]


def test_functions_take_and_return_their_axes(sizes, held) -> None:
    for draw in (
        lambda ax: plot_compute(ax, sizes, held=held),
        lambda ax: plot_contour(ax, sizes, held=held),
        lambda ax: plot_allocation(ax, sizes),
        lambda ax: plot_observed(ax, sizes.fit, held=held),
        lambda ax: plot_residuals(ax, sizes.fit, "N", held=held),
        lambda ax: plot_rehearsal(ax, sizes),
        lambda ax: plot_profile(ax, scaling.profile(sizes.fit, "E")),
    ):
        ax = Figure().subplots()
        assert draw(ax) is ax and ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize("along", ["C", "N", "D"])
def test_the_frontier_is_the_optimum_of_the_fit(sizes, along: str) -> None:
    ax = plot_frontier(Figure().subplots(), sizes, along)
    [line] = [line for line in ax.lines if line.get_label() == "law at the optimum"]
    x, loss = line.get_data()
    middle = len(x) // 2
    front = scaling.optimum(sizes, C=np.geomspace(_runs()["C"].min() / 1.5, _runs()["C"].max() * 2, 60)[middle])
    assert x[middle] == pytest.approx(front[along][0], rel=1e-6)
    assert loss[middle] == pytest.approx(front["loss"][0], rel=1e-6)


def test_every_curve_stands_behind_its_run(sizes) -> None:
    table = _runs()
    curves = pd.concat(
        [pd.DataFrame({"run": r, "tokens": [d / 2, d], "loss": [9.0, loss]}) for r, d, loss in
         zip(table["run"], table["D"], table["loss"], strict=True)]
    )  # fmt: skip
    ax = plot_compute(Figure().subplots(), sizes, curves=sized(curves, table))
    ends = {round(float(line.get_xdata()[-1]) / 1e12) for line in ax.lines if len(line.get_xdata()) == 2}
    assert ends == {round(c / 1e12) for c in table["C"]}
    with pytest.raises(scaling.ScalingError, match="missing: tokens"):
        sized(curves.drop(columns="tokens"), table)


def test_residuals_are_shown_against_what_varies_once(sizes) -> None:
    columns = residual_columns(sizes.fit)
    assert columns[:5] == ["N", "D", "loss", "C", "tokens_per_param"]
    assert "group" in columns and not {"twice", "constant", "run"} & set(columns)
    ax = plot_residuals(Figure().subplots(), sizes.fit, "D")
    shown = np.asarray(ax.collections[0].get_offsets())[:, 1]
    assert sorted(shown) == pytest.approx(sorted(sizes.fit.residuals))
    with pytest.raises(scaling.ScalingError, match="no column lr"):
        plot_residuals(ax, sizes.fit, "lr")


def test_held_out_rows_are_marked_apart(held) -> None:
    figure = figure_of(held.draws, "observed", held=held)
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert said[1].startswith(f"held out, {int(held.outcome['inside'].sum())} of {len(held.outcome)}")


def test_a_budget_is_marked_at_its_optimum(sizes) -> None:
    ax = plot_allocation(Figure().subplots(), sizes, "N", budgets=[1e21])
    best = scaling.optimum(sizes, C=1e21)
    assert [line.get_xydata().tolist()[0] for line in ax.lines if line.get_marker() == "o"] == [
        pytest.approx([1e21, best["N"][0]])
    ]


def test_only_parameters_that_move_are_paired() -> None:
    fit = scaling.fit("chinchilla", scaling.read_table(_runs()), fix={"E": 1.8}, tie={"beta": "alpha"})
    assert free_names(scaling.bootstrap(fit, 20)) == ["A", "B", "alpha"]


def test_a_table_without_a_rehearsal_says_so() -> None:
    few = scaling.bootstrap(scaling.fit("power", scaling.read_table(_runs()[:5]), x="C", fix={"L_inf": 0}), 20)
    with pytest.raises(scaling.ScalingError, match="no rehearsal to draw"):
        figure_of(few, "rehearsal")


def test_schedules_are_drawn_in_the_theme_at_hand(curves) -> None:
    lr = schedule.cosine(STEPS, 3e-4, 100)
    with drawing("dark") as look:
        figure = schedule_figure(curves, {"cosine": lr, "half": lr / 2})
    assert figure.axes[0].lines[0].get_color() == look.cycle[0]
    assert figure.axes[0].xaxis.label.get_color() == look.ink
    assert _overlaps(figure) == []


@pytest.mark.parametrize("theme", THEMES)
def test_scaling_plot_writes_each_format(sizes, tmp_path: Path, theme: str, capsys) -> None:
    (tmp_path / "fit.json").write_text(scaling.to_json(sizes.fit))
    for ending, magic in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        path = tmp_path / f"fit.{ending}"
        argv = ["plot", str(tmp_path / "fit.json"), "--kind", "observed", "--resamples", "20", "--theme", theme]
        assert main([*argv, "-o", str(path)]) == 0
        assert path.read_bytes().startswith(magic)
    assert THEMES[theme].paper in (tmp_path / "fit.svg").read_text()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--kind", "countour"], "did you mean contour"),
        (["--kind", "curves"], "it has overview, frontier"),
        (["--theme", "drak"], "did you mean dark"),
    ],
)
def test_a_plot_that_cannot_be_is_refused_in_one_line(
    sizes, tmp_path: Path, capsys, argv: list[str], says: str
) -> None:
    (tmp_path / "fit.json").write_text(scaling.to_json(sizes.fit))
    argv = ["plot", str(tmp_path / "fit.json"), "--resamples", "5", "-o", str(tmp_path / "a.png"), *argv]
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_many_rows_do_not_make_a_file_without_end(tmp_path: Path) -> None:
    table = pd.concat([_runs()] * 130, ignore_index=True).assign(run=lambda t: t.index.astype(str))
    table["loss"] *= np.exp(1e-3 * np.random.default_rng(1).standard_normal(len(table)))
    fit = scaling.fit("chinchilla", scaling.read_table(table), starts=1)
    save(figure_of(scaling.bootstrap(fit, 2), "observed"), str(tmp_path / "a.svg"))
    assert len(table) > DENSE and (tmp_path / "a.svg").stat().st_size < 300_000
