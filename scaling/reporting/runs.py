"""The report of a table of runs: which law to believe, what it forecasts, what a budget should buy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling.allocation import optimum
from scaling.comparison import STACK, Comparison, compare
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.forecasting import forecast, range_warnings, rehearsal_line
from scaling.intervals import Draws, bootstrap
from scaling.page import Html, Plotted, Section, cards, number, page, paragraph, percent, problems
from scaling.rehearsal import budget
from scaling.reporting.parts import (
    Asked,
    data_section,
    fit_section,
    frame_table,
    made_section,
    plotted,
    rows_folded,
    sentence,
    tidy,
    with_intervals,
)

BEYOND = (10.0, 100.0)  # times the largest budget, where nothing else was asked
Point = Mapping[str, float]
PANELS = 6  # of residuals
MEANINGS = (
    "error: median miss of the largest budgets, having seen only smaller ones, mean over cuts; far: the same four "
    "times beyond or more; bias: signed; cuts: how many; coverage: share inside the interval; free: parameters; aicc, "
    "bic: how well it fits all rows, smaller is better."
)


def runs_page(table: pd.DataFrame, asked: Asked) -> str:
    """The page for a table of runs (see `scaling.table.read_table`). Raises ScalingError when no law can be fitted."""
    title = asked.question or f"Scaling report: {asked.source}"
    footer = "Forecasts say how far beyond the data they reach; none is a promise."
    return page(title, *runs_parts(table, asked), footer=footer)


def runs_parts(table: pd.DataFrame, asked: Asked) -> tuple[list[Html | Plotted], list[Section]]:
    """What the page opens with, and its sections."""
    x = asked.x or (None if {"N", "D"} <= set(table) else next((c for c in ("C", "N", "D") if c in table), None))
    asked.say("ranking laws by rehearsed forecasts")
    compared = compare(asked.law, table, x=x, level=asked.level, seed=asked.seed, quick=True, **asked.options)
    best = next(name for name in compared.ranking.index if name in compared.fits)
    fit = compared.fits[best]
    asked.say(f"resampling {best}")
    draws = bootstrap(fit, asked.resamples, seed=asked.seed)
    budgets = list(asked.flops) or _rounded(budget(fit, fit.table).max() * np.array(BEYOND))
    best_sizes = _optimum(draws, budgets, asked.level)
    points = list(asked.at) or _points(fit, best_sizes)
    by_law, by_stack, said = _forecasts(compared, draws, points, asked)
    asked.say("drawing")
    sections = [
        _question(asked, points, budgets),
        _data(asked, table, fit),
        _candidates(compared, best, draws, asked),
        fit_section(draws, asked.level, _fit_plots(draws, asked)),
        _forecast_section(draws, by_law, by_stack, said, asked),
        _optimum_section(draws, best_sizes, budgets, asked),
        made_section(asked, _steps(asked, best, x, points, budgets, by_stack is not None)),
    ]
    shown = by_law if by_stack is None else by_stack
    lead: list[Html | Plotted] = [cards(_cards(compared, best, shown, best_sizes, fit, asked)), problems(fit.problems)]
    return lead, sections


def _cards(
    compared: Comparison, best: str, shown: pd.DataFrame | None, sizes: Any, fit: Fit, asked: Asked
) -> list[tuple[str, str, str]]:
    error = float(compared.ranking.loc[best, "error"])  # type: ignore[arg-type]
    known = f"would have missed later runs by {error:.2%} (median)" if np.isfinite(error) else "could not be rehearsed"
    found = [("law", best, known), ("runs fitted", f"{len(fit.table)}", f"{len(fit.dropped)} left out")]
    if shown is not None and len(shown):
        row = shown.iloc[0]
        at = ", ".join(f"{name} = {tidy(float(row[name]))}" for name in _inputs(fit))
        said = f"{asked.level:.0%}: {row['lo']:.4g} to {row['hi']:.4g}; {row['beyond']:.3g} times the largest run"
        by = f" by the {STACK}" if "sd_laws" in shown else ""
        found.append((f"{fit.law.predicts} at {at}{by}", f"{row['loss']:.4f}", said))
    if isinstance(sizes, pd.DataFrame):
        row = sizes.iloc[0]
        said = (
            f"{tidy(row['D'])} tokens, {row['tokens_per_param']:.3g} each; N {tidy(row['N_lo'])} to {tidy(row['N_hi'])}"
        )
        found.append((f"best size for {row['C']:.3g} FLOP", tidy(row["N"]), said))
    return found


def _question(asked: Asked, points: list[Point], budgets: list[float]) -> Section:
    body: list[Html | Plotted] = []
    if asked.question:
        body.append(paragraph(asked.question))
    chosen = "asked for" if asked.at or asked.flops else "chosen here: nothing else was asked for"
    at = "; ".join(", ".join(f"{k} = {tidy(v)}" for k, v in point.items()) for point in points)
    body.append(
        paragraph(
            f"From the runs in {asked.source}: which law forecasts best, which loss to expect at {at or 'no point'}, "
            f"and which size and tokens suit {', '.join(f'{c:.3g}' for c in budgets)} FLOP ({chosen})."
        )
    )
    return Section("Question", body)


def _data(asked: Asked, table: pd.DataFrame, fit: Fit) -> Section:
    size, unit = budget(fit, fit.table), " FLOP" * fit.law.weighs_sizes
    words = (
        f"{asked.source}: {len(table)} rows; {len(fit.table)} were fitted, {len(fit.dropped)} left out. Their "
        f"budgets span {size.min():.3g} to {size.max():.3g}{unit}."
    )
    section = data_section(asked, table, fit, words)
    return Section(section.title, [*section.body, rows_folded(table, "rows as they were read")])


def _candidates(compared: Comparison, best: str, draws: Draws, asked: Asked) -> Section:
    ranking = compared.ranking.dropna(axis=1, how="all").reset_index()
    share: Any = lambda v: percent(v)  # noqa: E731
    formats = {"error": share, "far": share, "bias": lambda v: percent(v, signed=True)}
    formats |= {name: lambda v: percent(v, 0) for name in ("coverage", "nominal")}
    formats |= {name: lambda v: number(v) for name in ("aicc", "bic")}
    picked = list(ranking["law"]).index(best)
    body: list[Html | Plotted] = [
        paragraph(sentence(rehearsal_line(draws))),
        frame_table(ranking, caption="laws, best rehearsed forecaster first", picked=picked, formats=formats),
        paragraph(MEANINGS, muted=True),
    ]
    if STACK in compared.ranking.index:
        body.append(paragraph(f"{STACK}: four regularised laws weighted by rehearsal; its forecasts stand below."))
    body += [paragraph(sentence(note), muted=True) for note in compared.notes if not note.startswith(STACK)]
    body.append(paragraph("The rehearsal here is the quick one; scaling compare refits every law from many starts."))
    if len(draws.rehearsal):
        from scaling.plots import figure_of

        alt = f"Rehearsed errors of {best} against distance beyond the rows then fitted. {rehearsal_line(draws)}"
        body.append(
            plotted(lambda: figure_of(draws, "rehearsal", level=asked.level), alt, f"Rehearsed errors of {best}")
        )
    return Section("Candidate laws", body)


def _fit_plots(draws: Draws, asked: Asked) -> list[Plotted]:
    from matplotlib.figure import Figure

    from scaling.figures.certainty import free_names, plot_marginal
    from scaling.figures.checks import plot_residuals, residual_columns
    from scaling.plots import figure_of

    fit = draws.fit
    columns, names = residual_columns(fit, PANELS), free_names(draws)

    def residuals() -> Figure:
        tall = -(-len(columns) // 3)
        figure = Figure(figsize=(10, 2.4 * tall), layout="constrained")
        grid = figure.subplots(tall, 3, sharey=True, squeeze=False)
        for ax, column in zip(grid.flat, columns, strict=False):
            plot_residuals(ax, fit, column)
        for ax in grid.flat[len(columns) :]:
            ax.set_visible(False)
        for ax in grid[:, 1:].flat:
            ax.set_ylabel("")
        return figure

    def marginals() -> Figure:
        figure = Figure(figsize=(2 * len(names), 1.9), layout="constrained")
        for ax, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
            plot_marginal(ax, draws, name, level=asked.level)
        return figure

    worst = float(np.abs(fit.residuals).max())
    found = [
        plotted(lambda: figure_of(draws, "observed"), f"Predicted against observed {fit.law.predicts} of the "
                f"{len(fit.table)} fitted rows, along the diagonal; the largest residual is {worst:.2%}.",
                "Predicted against observed"),
        plotted(residuals, f"Residuals against {', '.join(columns)}; robust standard deviation {fit.residual_sd:.2%}.",
                "Residuals against columns that vary, with the running median and the robust standard deviation"),
    ]  # fmt: skip
    if names:
        shown = ", ".join(f"{n} {lo:.3g} to {hi:.3g}" for n, (lo, hi) in
                          draws.summary(asked.level).loc[names, ["lo", "hi"]].iterrows())  # fmt: skip
        found.append(plotted(marginals, f"Parameters under the bootstrap: {shown}.", "Parameters under the bootstrap"))
    return found


def _forecasts(
    compared: Comparison, draws: Draws, points: list[Point], asked: Asked
) -> tuple[pd.DataFrame | None, pd.DataFrame | None, list[str]]:
    """By the chosen law and by the stack, a row a point; and what to know about them."""
    if not points:
        return None, None, []
    names = _inputs(draws.fit)
    for point in points:
        if set(point) != set(names):
            raise ScalingError(
                f"{draws.fit.law.name} forecasts at {', '.join(f'{n}=..' for n in names)}; got {', '.join(point)}"
            )
    at: dict[str, Any] = {name: [point[name] for point in points] for name in names}
    by_law = forecast(draws, level=asked.level, **at)
    said = range_warnings(draws.fit, by_law)
    if compared.stacked is None:
        return by_law, None, said
    try:
        by_stack = forecast(compared.stacked, level=asked.level, **at)
    except ScalingError as error:
        return by_law, None, [*said, f"No forecast by the stack: {error}"]
    return by_law, by_stack, list(by_stack.attrs["said"])


def _forecast_section(
    draws: Draws, by_law: pd.DataFrame | None, by_stack: pd.DataFrame | None, said: list[str], asked: Asked
) -> Section:
    if by_law is None:
        return Section("Forecasts", [])
    body: list[Html | Plotted] = []
    for frame, words in ((by_stack, f"by the {STACK} of laws"), (by_law, f"by {draws.fit.law.name} alone")):
        if frame is None:
            continue
        shown = with_intervals(frame, asked.level)
        parts: dict[str, Any] = {c: lambda v: percent(v) for c in map(str, shown) if c.startswith("sd_")}
        caption = f"{words}, {asked.level:.0%} intervals; sd_: parts of the interval, standard deviations of ln loss"
        body.append(frame_table(shown, caption=caption, formats=parts))
    body += [paragraph(sentence(line)) for line in said]
    from scaling.plots import figure_of, kinds_of

    if "frontier" in kinds_of(draws.fit):
        row = by_law.iloc[0]
        alt = (
            f"Loss against compute: the {len(draws.fit.table)} runs, the law, and the band of its forecast, which at "
            f"the first point asked for is {row['lo']:.4g} to {row['hi']:.4g}."
        )
        below = "Runs, the law at each size (dashed), the frontier and its band"
        body.append(plotted(lambda: figure_of(draws, "frontier", curves=asked.curves, level=asked.level), alt, below))
    return Section("Forecasts", body)


def _optimum(draws: Draws, budgets: list[float], level: float) -> pd.DataFrame | str:
    if not draws.fit.law.weighs_sizes:
        return ""
    try:
        return optimum(draws, C=budgets, level=level)
    except ScalingError as error:
        return str(error)


def _optimum_section(draws: Draws, sizes: pd.DataFrame | str, budgets: list[float], asked: Asked) -> Section:
    if isinstance(sizes, str):
        return Section("Optimum", [paragraph(sizes)] if sizes else [])
    from scaling.plots import figure_of

    row = sizes.iloc[-1]
    alt = (
        f"Optimal size, tokens and tokens per parameter against compute; at {row['C']:.3g} FLOP N = {row['N']:.3g} "
        f"({row['N_lo']:.3g} to {row['N_hi']:.3g}), D = {row['D']:.3g}."
    )
    alt2 = f"Contours of {draws.fit.law.name} over N and D with the runs, budgets and the line of optimal sizes."

    def drawn(kind: str, alt: str, below: str) -> Plotted:
        return plotted(lambda: figure_of(draws, kind, budgets=budgets, level=asked.level), alt, below)

    caption = f"least {draws.fit.law.predicts} at 6 N D = C, {asked.level:.0%} intervals"
    body: list[Html | Plotted] = [
        frame_table(with_intervals(sizes, asked.level), caption=caption),
        drawn("allocation", alt, "What a budget should buy"),
        drawn("contour", alt2, "Contours of the loss, runs, budgets and the efficient frontier"),
    ]
    return Section("Optimum", body)


def _steps(
    asked: Asked, best: str, x: str | None, points: list[Point], budgets: list[float], stacked: bool
) -> list[str]:
    along = f" --x {x}" if x else ""
    law = f"{best}{along}"
    table = f"{shlex.quote(asked.source)}{asked.reading}"
    steps = [f"scaling compare {table}{along}", f"scaling fit {law} {table} --seed {asked.seed} -o fit.json"]
    for source in [table] * stacked + ["fit.json"]:
        for point in points:
            steps.append(f"scaling forecast {source} --at " + ",".join(f"{k}={v:.6g}" for k, v in point.items()))
    if not x:
        steps.append(f"scaling optimum fit.json --flops {','.join(f'{c:.6g}' for c in budgets)}")
    return steps


def _points(fit: Fit, sizes: pd.DataFrame | str) -> list[Point]:
    """Where to forecast when nobody said: the optima of the budgets, or ten and a hundred times the one variable."""
    if isinstance(sizes, pd.DataFrame):
        return [{"N": float(f"{n:.3g}"), "D": float(f"{d:.3g}")} for n, d in zip(sizes["N"], sizes["D"], strict=True)]
    names = _inputs(fit)
    if len(names) == 1 and not fit.law.zero:
        return [{names[0]: value} for value in _rounded(fit.table[names[0]].max() * np.array(BEYOND))]
    return []


def _inputs(fit: Fit) -> list[str]:
    return [fit.columns[name] for name in fit.law.inputs]


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.1g}") for value in values]
