"""Parts that reports of runs and of curves share: the data, a fit with its certificate, plots, how it was made."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting import Fit
from scaling.intervals import Draws
from scaling.page import (
    Cell,
    Html,
    Plotted,
    Section,
    code,
    folded,
    heading,
    inline,
    items,
    joined,
    number,
    paragraph,
    problems,
    span,
    table as html_table,
)

PACKAGES = ("scaling-sweeps", "numpy", "scipy", "pandas", "lmfit", "matplotlib")
Formats = Mapping[str, Callable[[Any], Cell]]
MOST = 2000  # rows of a user's table that a page shows


@dataclass(frozen=True)
class Asked:
    """What a report is asked for.

    source    name of the table and `digest` of its bytes; command: what made the report, as it was typed
    at        points to forecast, {column: value}; flops: budgets; schedules: {name: learning rates} for laws of curves
    """

    source: str
    question: str = ""
    law: str | None = None
    x: str | None = None
    at: Sequence[Mapping[str, float]] = ()
    flops: Sequence[float] = ()
    schedules: Mapping[str, Any] = field(default_factory=dict)
    curves: pd.DataFrame | None = None
    level: float = 0.9
    resamples: int = 200
    seed: int = 0
    digest: str = ""
    command: str = ""
    reading: str = ""  # the flags that read the table, for the commands that are shown
    options: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = lambda text: None


def frame_table(
    frame: pd.DataFrame,
    *,
    caption: str = "",
    picked: int | None = None,
    formats: Mapping[str, Callable[[Any], Cell]] = {},
) -> Html:
    """A DataFrame as a table that sorts, its index left out."""
    rows = [
        [formats[str(name)](value) if str(name) in formats else _cell(value) for name, value in row.items()]
        for row in frame.to_dict("records")
    ]
    return html_table([str(name) for name in frame], rows, caption=caption, picked=picked)


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return Cell("")
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float | np.integer | np.floating):
        return number(float(value))
    return Cell(str(value)[:200])


def plotted(draw: Callable[[], Any], alt: str, caption: str = "") -> Plotted:
    """A figure that `draw` makes, as part of a page."""
    from scaling.figures.inline import inline_plot
    from scaling.style import drawing

    with drawing("light"):
        return Plotted(inline_plot(draw()), alt, caption)


def data_section(asked: Asked, table: pd.DataFrame, fit: Fit, words: str) -> Section:
    """How many rows, over which ranges, what was renamed or derived, and every row that was left out."""
    body: list[Html | Plotted] = [paragraph(words)]
    names = [str(c) for c in dict.fromkeys([*fit.columns.values(), "N", "D", "C", "loss"]) if c in fit.table]
    spans = [(n, fit.table[n].min(), fit.table[n].max(), fit.table[n].nunique()) for n in names
             if pd.api.types.is_numeric_dtype(fit.table[n])]  # fmt: skip
    rows = [[n, number(lo), number(hi), int(k)] for n, lo, hi, k in spans]
    body.append(html_table(["column", "least", "largest", "different values"], rows, caption="what was fitted"))
    notes = dict.fromkeys([*table.attrs.get("notes", ()), *fit.notes])
    body.append(items(list(notes)))
    if len(fit.dropped):
        body.append(heading("Rows left out"))
        gone = fit.dropped.copy()
        if "run" in table:
            named = [str(table["run"].get(row, ""))[:80] for row in gone["row"]]
            gone.insert(1, "run", pd.Series(named, index=gone.index, dtype=object))
        body.append(frame_table(gone.head(MOST), caption=f"{len(gone)} of {len(table)} rows were not fitted"))
    else:
        body.append(paragraph(f"No row was left out: all {len(table)} were fitted."))
    return Section("Data", body)


def rows_folded(table: pd.DataFrame, what: str) -> Html:
    """The rows themselves, on demand."""
    shown = table.drop(columns=[c for c in table if str(c).startswith("_")]).head(MOST)
    more = f", the first {MOST} shown" if len(table) > MOST else ""
    return folded(f"All {len(table)} {what}{more}", frame_table(shown))


def fit_section(draws: Draws, level: float, plots: Sequence[Plotted]) -> Section:
    """The fit: equation, problems first, parameters with intervals, the certificate, and plots."""
    fit = draws.fit
    found = fit.summary().join(draws.summary(level)[["lo", "hi"]]).reset_index()
    found = found.rename(columns={"lo": f"{level:.0%} from", "hi": "to", "how": "found"})
    body: list[Html | Plotted] = [
        paragraph(joined(inline(fit.law.equation), f" ({fit.law.name}). {fit.law.cite}.")),
        problems(fit.problems),
    ]
    if not fit.problems:
        body.append(paragraph("The checks of the fit found no problem."))
    body.append(frame_table(found, caption=f"parameters; intervals by bootstrap ({draws.method}, {len(draws.params)})"))
    residual = f"{fit.residual_sd:.4g} {fit.law.unit}" if fit.law.signed else f"{fit.residual_sd:.3%} of the loss"
    certificate = [
        ["objective", f"{fit.value:.7g}", f"sum of {fit.objective_name} over {len(fit.table)} rows"],
        ["scatter", residual, "robust standard deviation of predicted against observed"],
        ["search", f"{fit.agreed} of {fit.started}", "starts that reached this optimum"],
        ["gradient", f"{fit.gradient_norm:.1g}", "0 at an optimum, rounding aside"],
        ["condition", f"{fit.condition:.2g}", "ratio of largest to least curvature"],
    ]
    body.append(html_table(["certificate", "value", "meaning"], certificate))
    body.append(items(draws.notes))
    body += plots
    return Section("Fit", body)


def made_section(asked: Asked, steps: Sequence[str]) -> Section:
    """The command, the same steps one by one, versions, and the digest of what was read."""
    rows = [[name, _version(name)] for name in PACKAGES]
    rows.append(["Python", platform.python_version()])
    body: list[Html | Plotted] = [paragraph("This page was made by"), code(asked.command)]
    if steps:
        body += [paragraph("Its parts, one by one:"), code("\n".join(steps))]
    body.append(html_table(["package", "version"], rows))
    said = [f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {platform.system()} {platform.machine()}."]
    if asked.digest:
        said.append(f"{asked.source}: sha256 {asked.digest}.")
    said.append(f"Seed {asked.seed}; the same command on the same file gives the same numbers.")
    body.append(paragraph(" ".join(said), muted=True))
    return Section("How it was made", body)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        module = sys.modules.get("scaling" if name == "scaling-sweeps" else name)
        return str(getattr(module, "__version__", "unknown"))


def sentence(text: str) -> str:
    """A line of a report as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def with_intervals(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """Columns NAME_lo and NAME_hi, and lo and hi beside a loss, as one column of intervals after what they are of.

    Sizes and tokens are said as people say them, and ratios in three digits, so that a wide window shows all.
    """
    found: dict[str, Any] = {}
    for name in map(str, frame):
        if name in ("lo", "hi") or name.endswith(("_lo", "_hi")):
            continue
        title = name.replace("tokens_per_param", "D / N").replace("beyond", "times beyond")
        short = name in ("tokens_per_param", "beyond")
        shown = _size if name in ("N", "D") else (lambda value: number(value, 3)) if short else (lambda value: value)
        found[title] = [shown(value) for value in frame[name]]
        low, high = ("lo", "hi") if name == "loss" else (f"{name}_lo", f"{name}_hi")
        if low in frame and high in frame:
            pairs = zip(frame[low], frame[high], strict=True)
            if name in ("N", "D"):
                intervals = [Cell(f"{_size(lo).text} to {_size(hi).text}", float(lo)) for lo, hi in pairs]
            else:
                intervals = [span(lo, hi, 3 if short else 4) for lo, hi in pairs]
            found[f"{level:.0%} of {title}"] = intervals
    return pd.DataFrame(found)


def _size(value: Any) -> Cell:
    return Cell(tidy(float(value)), float(value)) if np.isfinite(value) else number(value)


def tidy(value: float) -> str:
    """A size or a budget in a line of text."""
    from scaling.style import count

    return count(float(f"{value:.3g}")) if value < 1e15 else f"{value:.3g}"
