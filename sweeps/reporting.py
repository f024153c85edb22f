"""The page of `sweeps report`: how far a sweep is, its curves so far, what failed, and a fit once enough runs ended."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import ScalingError
from scaling.page import Cell, Html, Plotted, Section, cards, code, number, page, paragraph, problems, table
from sweeps.collecting import collect, status
from sweeps.describing import duration

FEWEST = 8  # finished runs before a fit is tried
QUIET = 600.0  # seconds without a row after which nobody trains, and no end is foreseen
LINES = 60  # curves drawn
DONE = ("finished", "diverged")
HEAD = (
    "run", "group", "status", "updates", "of", "done", "N", "D", "lr", "validation loss", "last row", "trained by",
)  # fmt: skip


def report(out: str | os.PathLike[str], *, corpus: str | None = None, fit: bool = True, command: str = "") -> str:
    """The page of the runs in a folder, at any moment of the sweep. Raises ScalingError for a folder without runs.

    fit  whether to rank and fit laws once enough runs are finished (some seconds)
    """
    states = status(out)
    runs, curves = collect(out, corpus=corpus)
    states = states[states["run"].isin(runs["run"])].reset_index(drop=True)
    counts = states["status"].value_counts()
    failed = states[states["reason"] != ""]
    lead: list[Html | Plotted] = [
        cards(_cards(out, states, runs, counts)),
        problems(f"{run}: {reason}" for run, reason in zip(failed["run"], failed["reason"], strict=True)),
    ]
    found, sections = _fitted(runs, fit)
    sections = [
        Section("Runs", [_table(states, runs)]),
        Section("Curves so far", _curves(curves, runs)),
        Section("Fit", found),
        *sections,
        _made(command, out, curves),
    ]
    return page(f"Sweep: {Path(out).resolve().name}", lead, sections)


def seconds_left(out: str | os.PathLike[str], states: pd.DataFrame, runs: pd.DataFrame) -> float | None:
    """Seconds to the end at the pace so far, from the first run's opening to the last row, pauses counted; None where
    nothing is trained, or was in the last minutes."""
    share = np.where(states["status"].isin(DONE), 1.0, states["step"] / states["steps"])
    cost = runs.set_index("run")["flops_marginal"].reindex(states["run"]).to_numpy(float)
    waiting = states["status"].isin(["running", "waiting"]).to_numpy()
    left, done = float((cost * (1 - share))[waiting].sum()), float((cost * share).sum())
    begun = [Path(out) / run for run, step in zip(states["run"], states["step"], strict=True) if step > 0]
    if not left or not done or states["idle"][states["step"] > 0].min() > QUIET:
        return None
    opened = min((folder / "run.json").stat().st_mtime for folder in begun)
    latest = max((folder / "curve.csv").stat().st_mtime for folder in begun)
    return left / done * (latest - opened) if latest > opened else None


def _cards(out: Any, states: pd.DataFrame, runs: pd.DataFrame, counts: pd.Series) -> list[tuple[str, str, str]]:
    ended = int(counts.reindex(DONE).fillna(0).sum())
    others = ", ".join(f"{n} {state}" for state, n in counts.items())
    left = seconds_left(out, states, runs)
    eta = duration(left) if left is not None else "done" if ended == len(states) else "unknown"
    said = time.strftime("until about %H:%M UTC", time.gmtime(time.time() + left)) if left is not None else ""
    found = [("runs ended", f"{ended} of {len(states)}", others), ("time left", eta, said)]
    best = states.dropna(subset=["loss"]).nsmallest(1, "loss")
    if len(best):
        found.append(("lowest loss so far", f"{best['loss'].iloc[0]:.4f}", str(best["run"].iloc[0])))
    spent = float(runs["flops_marginal"].where(runs["run"].isin(states["run"][states["status"].isin(DONE)])).sum())
    found.append(("compute of ended runs", f"{spent:.3g} FLOP", "as trained, shared steps counted once"))
    return found


def _table(states: pd.DataFrame, runs: pd.DataFrame) -> Html:
    known = runs.set_index("run")
    rows = []
    for row in states.to_dict("records"):
        own = known.loc[row["run"]]
        done = row["step"] / row["steps"] if row["steps"] else 0.0
        resting = row["status"] in (*DONE, "waiting")
        rows.append(
            [
                row["run"], row["group"], row["status"], int(row["step"]), int(row["steps"]),
                Cell(f"{100 * done:.0f}%", done), number(own["N"]), number(own["D"]), number(own["lr"]),
                number(row["loss"]), Cell("" if resting else f"{duration(row['idle'])} ago", row["idle"]),
                row["holder"],
            ]
        )  # fmt: skip
    return table(HEAD, rows, caption="one row a run; a click on a heading sorts")


def _curves(curves: pd.DataFrame, runs: pd.DataFrame) -> list[Html | Plotted]:
    shown = curves[curves["val_loss"].notna()]
    if not len(shown):
        return [paragraph("No validation loss is logged yet.")]
    names = list(dict.fromkeys(shown["run"]))
    drawn = names if len(names) <= LINES else names[:: -(-len(names) // LINES)]
    last = shown.groupby("run")["val_loss"].last()
    alt = (
        f"Validation loss against training tokens of {len(drawn)} runs, shaded by size; the lowest so far is "
        f"{last.min():.4f} ({last.idxmin()})."
    )
    caption = "Validation loss so far; a dot is where a run stands" + (
        f"; {len(drawn)} of {len(names)} runs are drawn" if len(drawn) < len(names) else ""
    )
    return [Plotted(_drawn(shown[shown["run"].isin(drawn)], runs), alt, caption)]


def _drawn(curves: pd.DataFrame, runs: pd.DataFrame) -> Any:
    from matplotlib.figure import Figure

    from scaling.figures.inline import inline_plot
    from scaling.style import column_axis, drawing, size_bar, size_scale, theme

    sizes = runs.set_index("run")["N"].astype(float)
    with drawing("light"):
        figure = Figure(figsize=(8, 4.4), layout="constrained")
        ax, scale = figure.subplots(), size_scale(sizes)
        for run, rows in curves.groupby("run", sort=False):
            tint = theme().sizes(scale(float(sizes[str(run)])))
            ax.plot(rows["tokens"], rows["val_loss"], color=tint, lw=1, alpha=0.8)
            ax.plot(rows["tokens"].iloc[-1:], rows["val_loss"].iloc[-1:], "o", color=tint, ms=4)
        column_axis(ax.xaxis, "tokens")
        column_axis(ax.yaxis, "loss")
        ends = curves.groupby("run")["val_loss"].last()
        ax.set_ylim(ends.min() * 0.96, max(ends.max() * 1.15, curves["val_loss"].quantile(0.9)))
        size_bar(ax, scale)
        return inline_plot(figure)


def _fitted(runs: pd.DataFrame, fit: bool) -> tuple[list[Html | Plotted], list[Section]]:
    """What stands in place of a fit, or the sections of one."""
    done = runs[(runs["status"] == "finished") & runs["loss"].notna()]
    if not fit:
        return [], []
    if len(done) < FEWEST:
        return [paragraph(f"{len(done)} runs are finished; laws are fitted from {FEWEST} on.")], []
    from scaling.reporting.parts import Asked
    from scaling.reporting.runs import runs_parts

    try:
        lead, sections = runs_parts(done, Asked("the finished runs"))
    except ScalingError as error:
        return [paragraph(f"No law could be fitted to the {len(done)} finished runs: {error}")], []
    kept = [section for section in sections if section.title not in ("Question", "How it was made")]
    return [], [Section("Forecast so far", lead), *kept]


def _made(command: str, out: Any, curves: pd.DataFrame) -> Section:
    said = f"Made {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} from {len(curves)} logged rows in {out}."
    return Section("How it was made", [*([code(command)] if command else []), paragraph(said, muted=True)])
