"""The report of a table of curves: which law of whole curves to believe, and where other schedules would end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling.choosing import beyond, compare_schedules
from scaling.errors import FitError, ScalingError, TableError
from scaling.fitting import fit
from scaling.forecasting import rehearsal_line
from scaling.intervals import Draws, bootstrap
from scaling.page import Html, Plotted, Section, cards, page, paragraph, percent, problems
from scaling.reporting.parts import (
    Asked,
    data_section,
    fit_section,
    frame_table,
    made_section,
    plotted,
    sentence,
    with_intervals,
)
from scaling.scheduling import STANDARD

LAWS = ("ncl", "mpl", "tissue")
FASTER = ("ncl", "tissue")  # for more than MANY curves: each is left out once, and mpl takes a minute for 26
MANY = 8
OF_SIZES = ("ncl_sizes", "tissue_sizes")  # where the curves are of several N
DEFAULT = ("wsd 20% 1-sqrt", "cosine to 0")  # shown at twice the longest run, where no schedule was asked for
MEANINGS = (
    "RMS error: of ln loss over the rows of a curve, predicted by the fit to the others, mean over curves; last row: "
    "its absolute error at the end; coverage: share of rows inside the others' 90% band; scatter: of the fitted rows."
)
NAMED = 12  # curves that the text names


def curves_page(table: pd.DataFrame, asked: Asked) -> str:
    """The page for a table of curves (see `scaling.curves.read_curves`). Raises ScalingError where no law fits."""
    several = "N" in table and pd.to_numeric(table["N"], errors="coerce").nunique() > 1
    many = table["run"].nunique() > MANY
    names = (asked.law,) if asked.law else OF_SIZES if several else FASTER if many else LAWS
    found: dict[str, Draws] = {}
    notes: list[str] = []
    for name in names:
        asked.say(f"fitting {name}")
        try:
            one = fit(name, table, seed=asked.seed, **asked.options)
            found[name] = bootstrap(one, asked.resamples, seed=asked.seed)
        except (FitError, TableError) as error:
            notes.append(f"{name} was left out: {error}")
    if not found:
        raise TableError("; ".join(notes))
    ranking = _ranking(found)
    best = str(ranking.index[0])
    draws = found[best]
    schedules, sizes = _schedules(draws, asked), _sizes(draws, asked)
    ends = compare_schedules(draws, schedules, level=asked.level, **sizes)
    asked.say("drawing")
    sections = [
        _question(asked, best, ends, sizes),
        _data(asked, table, draws),
        _candidates(ranking, draws, notes, asked),
        fit_section(draws, asked.level, _fit_plots(draws)),
        _forecasts(draws, schedules, sizes, ends, asked),
        made_section(asked, _steps(asked, best, schedules, sizes)),
    ]
    first = ends.iloc[0]
    missed = float(ranking["RMS error"].iloc[0])
    known = f"predicts a curve it has not seen to {missed:.2%}" if np.isfinite(missed) else "could not be rehearsed"
    lead = [
        cards(
            [
                ("law", best, known),
                ("curves fitted", f"{draws.table['run'].nunique()}", f"{len(draws.table)} rows"),
                (f"loss after {ends.index[0]}", f"{first['loss']:.4f}",
                 f"{asked.level:.0%}: {first['lo']:.4f} to {first['hi']:.4f}, {int(first['steps'])} steps"),
            ]
        ),
        problems(draws.fit.problems),
    ]  # fmt: skip
    return page(asked.question or f"Curves report: {asked.source}", lead, sections)


def _ranking(found: Mapping[str, Draws]) -> pd.DataFrame:
    rows = {}
    for name, draws in found.items():
        past = draws.rehearsal
        has = len(past) > 0
        rows[name] = {
            "RMS error": float(past["rmse"].mean()) if has else np.nan,
            "worst curve": float(past["rmse"].max()) if has else np.nan,
            "last row": float(past["final_error"].abs().mean()) if has else np.nan,
            "coverage": float(past["covered"].mean()) if has else np.nan,
            "scatter": draws.fit.residual_sd,
            "problems": len(draws.fit.problems),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("law")
    return frame.sort_values("RMS error", na_position="last", kind="stable")


def _schedules(draws: Draws, asked: Asked) -> dict[str, Any]:
    if asked.schedules:
        return dict(asked.schedules)
    lrs = [draws.table.attrs["schedules"].lr[str(run)] for run in draws.table["run"].unique()]
    longest = max(lrs, key=len)
    peak, steps = float(max(lr.max() for lr in lrs)), 2 * len(longest)
    warmup = int(np.argmax(longest >= 0.999 * longest.max()))
    return {f"{name}, {steps} steps": STANDARD[name](steps, peak, min(warmup, steps // 10)) for name in DEFAULT}


def _sizes(draws: Draws, asked: Asked) -> dict[str, float]:
    """For a law over sizes: the size of what is forecast, by default the largest fitted."""
    names = draws.fit.law.inputs[1:]
    given = dict(asked.at[0]) if asked.at else {}
    if set(given) - set(names):
        raise ScalingError(
            f"{draws.fit.law.name} takes --at with {', '.join(names) or 'nothing'}; got {', '.join(given)}"
        )
    return {name: given.get(name, float(draws.table[name].max())) for name in names}


def _question(asked: Asked, best: str, ends: pd.DataFrame, sizes: Mapping[str, float]) -> Section:
    at = "".join(f" at {name} = {value:.3g}" for name, value in sizes.items())
    chosen = "" if asked.schedules else " (chosen here: no schedule was asked for)"
    said = (
        f"From the curves in {asked.source}: which law of whole curves predicts a curve it has not seen, and where "
        f"{' and '.join(map(str, ends.index))} would end{at}{chosen}."
    )
    return Section("Question", [paragraph(asked.question), paragraph(said)] if asked.question else [paragraph(said)])


def _data(asked: Asked, table: pd.DataFrame, draws: Draws) -> Section:
    runs = draws.table.groupby("run", sort=False)
    words = (
        f"{asked.source}: {len(table)} rows of {table['run'].nunique()} curves; {len(draws.table)} rows were fitted."
    )
    section = data_section(asked, table, draws.fit, words)
    last = runs.agg(rows=("step", "size"), first=("step", "min"), last=("step", "max"), loss=("loss", "last"))
    lrs = draws.table.attrs["schedules"].lr
    last["peak lr"] = [float(lrs[str(run)].max()) for run in last.index]
    last["last lr"] = [float(lrs[str(run)][int(step)]) for run, step in last["last"].items()]
    return Section(section.title, [*section.body, frame_table(last.reset_index(), caption="the fitted curves")])


def _candidates(ranking: pd.DataFrame, draws: Draws, notes: list[str], asked: Asked) -> Section:
    shares: dict[str, Any] = {
        name: lambda v: percent(v) for name in ("RMS error", "worst curve", "last row", "scatter")
    }
    shares["coverage"] = lambda v: percent(v, 0)
    body: list[Html | Plotted] = [
        paragraph(sentence(rehearsal_line(draws))),
        frame_table(ranking.reset_index(), caption="laws, best predictor of curves left out first", picked=0,
                    formats=shares),
        paragraph(MEANINGS, muted=True),
        *(paragraph(note, muted=True) for note in notes),
    ]  # fmt: skip
    if len(draws.rehearsal):
        from scaling.plots import figure_of

        alt = f"Error of each curve when the others predict it. {rehearsal_line(draws)}"
        body.append(plotted(lambda: figure_of(draws, "rehearsal"), alt, "Each curve, predicted from the others"))
    return Section("Candidate laws", body)


def _fit_plots(draws: Draws) -> list[Plotted]:
    from scaling.plots import figure_of

    runs = [str(run) for run in draws.table["run"].unique()]
    named = ", ".join(runs[:NAMED]) + (", ..." if len(runs) > NAMED else "")
    alt = f"Loss against step with {draws.fit.law.name} on each of {len(runs)} curves ({named}); learning rates below."
    return [plotted(lambda: figure_of(draws, "curves"), alt, "Curves, the law on each, and their learning rates")]


def _forecasts(
    draws: Draws, schedules: Mapping[str, Any], sizes: Mapping[str, float], ends: pd.DataFrame, asked: Asked
) -> Section:
    from scaling.figures.schedules import schedule_figure

    shown = with_intervals(ends.reset_index(names="schedule"), asked.level)
    body: list[Html | Plotted] = [
        frame_table(
            shown, caption=f"loss after the last step, {asked.level:.0%} intervals; difference: from the first"
        ),
        *(paragraph(sentence(line)) for line in beyond(draws.fit, list(schedules.values()), dict(sizes))),
    ]
    first = ends.iloc[0]
    alt = f"Predicted losses along the schedules; {ends.index[0]} ends at {first['loss']:.4f}."
    few = dict(list(schedules.items())[:7])
    body.append(plotted(lambda: schedule_figure(draws, few, level=asked.level, sizes=sizes), alt,
                        "Schedules above, predicted losses with bands below, final losses aside"))  # fmt: skip
    return Section("Forecasts", body)


def _steps(asked: Asked, best: str, schedules: Mapping[str, Any], sizes: Mapping[str, float]) -> list[str]:
    at = "".join(f" --at {name}={value:.6g}" for name, value in sizes.items())
    steps = [f"scaling fit {best} {shlex.quote(asked.source)}{asked.reading} --seed {asked.seed} -o fit.json"]
    if asked.schedules:
        steps.append(
            "scaling schedule compare fit.json" + "".join(f" --schedule {shlex.quote(spec)}" for spec in schedules) + at
        )
    return steps
