"""A log as the two tables that laws read: names and units settled, sizes and tokens joined in, final rows found."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scaling.configs import with_sizes
from scaling.errors import LONGEST, TableError, nearest
from scaling.last_rows import final_rows, smoothed
from scaling.naming import CURVE_NAMES, RUN_NAMES, plain, renamed
from scaling.readers.log import Log
from scaling.reading import Reading
from scaling.where import calculate, named_in

SIZES = ("N", "N_total", "N_embedding")
PLANNED = ("planned_steps", "max_steps", "max_iters", "num_iterations", "total_steps", "train_steps", "num_train_steps",
           "max_train_steps", "training_steps", "steps")  # fmt: skip
PER_STEP = ("tokens_per_step", "tokens_per_iter", "tokens_per_batch", "batch_tokens", "batch_size_tokens")
COMPLETE = ("run", "N", "D", "loss")  # of a table of runs that needs no curves
SHOWN = 5


def set_columns(table: pd.DataFrame, arithmetic: Mapping[str, str]) -> pd.DataFrame:
    """The table with columns worked out from its others, each noted."""
    for name, expression in arithmetic.items():
        table[name] = calculate(table, expression)
        table.attrs["notes"] = (*table.attrs.get("notes", ()), f"{name} set to {expression}")
    return table


def curves_of(log: Log, reading: Reading, source: str) -> pd.DataFrame:
    """The curves of a log with columns run, step, loss, and lr, tokens, N as far as they are known."""
    curves, runs = log.curves.copy(), _runs(log, reading, source)
    curves.attrs = {"source": source, "notes": ()}
    mapping = {ours: theirs for ours, theirs in reading.columns.items() if theirs in curves or theirs not in runs}
    curves = renamed(curves, mapping, CURVE_NAMES, reading.units)
    unnamed = "run" not in curves
    if unnamed:
        curves["run"] = "run"
    curves["run"] = curves["run"].astype(str)
    notes = [*log.notes, *runs.attrs["notes"], *curves.attrs["notes"]]
    if len(runs):
        wanted = {*SIZES, *PER_STEP, *reading.columns, *(n for text in reading.set.values() for n in named_in(text))}
        keyed = runs.drop_duplicates("run").set_index("run")
        for name in keyed:
            if name in wanted and name not in curves:
                curves[name] = curves["run"].map(keyed[name])
    if "step" in curves:
        curves["step"] = pd.to_numeric(curves["step"], errors="coerce")
        per_step = next((name for name in PER_STEP if name in curves), None)
        if "tokens" not in curves and per_step and "tokens" not in reading.set:
            curves["tokens"] = curves["step"] * pd.to_numeric(curves[per_step], errors="coerce")
            notes.append(f"tokens derived from step times {per_step}")
    curves.attrs["notes"] = ()
    curves = set_columns(curves, reading.set)
    curves.attrs["notes"] = tuple(dict.fromkeys([*notes, *curves.attrs["notes"]]))
    curves.attrs["unnamed"] = unnamed
    return _settled(curves, reading)


def one_curve(curves: pd.DataFrame) -> None:
    """Raises TableError where rows that no column gives to a run cannot all be of one run."""
    if not curves.attrs.get("unnamed"):
        return
    why = ""
    if "N" in curves and curves["N"].nunique() > 1:
        why = "differ in N"
    elif {"step", "tokens"} <= set(curves.columns):
        rows = curves[["step", "tokens"]].apply(pd.to_numeric, errors="coerce").dropna().sort_values(["step", "tokens"])
        if (rows["tokens"].diff() < 0).any():
            why = "have fewer tokens at later steps"
    if why:
        raise TableError(
            f"no column of {curves.attrs['source']} names the runs, and its rows {why}: they are not one run's curve. "
            "Name the column with --map run=COLUMN; a table with one row a run is for laws of runs"
        )


def _settled(curves: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Curves without their first updates and with smooth losses, as asked."""
    if not {"step", "loss"} <= set(curves.columns):
        return curves
    notes = curves.attrs["notes"]
    if reading.skip:
        late = ~(curves["step"] < reading.skip)
        attrs, curves = curves.attrs, curves[late].copy()
        curves.attrs = attrs
        notes = (*notes, f"{int((~late).sum())} rows before step {reading.skip} were left out, as asked")
    if reading.smooth:
        curves["loss"] = pd.to_numeric(curves["loss"], errors="coerce")
        curves, said = smoothed(curves, reading.smooth)
        notes = (*notes, said)
    curves.attrs["notes"] = notes
    return curves


def runs_of(log: Log, reading: Reading, source: str) -> pd.DataFrame:
    """The runs of a log: settings, and the final row of every run that came to its end, where there are curves.

    A log that has N, D and the loss of every run itself, as `sweeps` writes them, is taken at its word.
    `attrs["left_out"]` has the runs that are not in it, with the reason.
    """
    if not len(log.curves) or (not reading.final and set(COMPLETE) <= set(log.runs.columns)):
        runs = _runs(log, reading, source)
        runs.attrs["notes"] = (*log.notes, *runs.attrs["notes"])
        return set_columns(runs, reading.set)
    curves = curves_of(log, reading, source)
    lacking = [name for name in ("step", "loss") if name not in curves]
    if lacking:
        raise TableError(
            f"no column of {source} is known to be the {' or the '.join(lacking)} of its curves; it has "
            f"{', '.join(str(c)[:LONGEST] for c in log.curves.columns[:20])}. Name it with --map {lacking[0]}=COLUMN"
        )
    one_curve(curves)
    curves["loss"] = pd.to_numeric(curves["loss"], errors="coerce")
    if "lr" in curves:
        curves["lr"] = pd.to_numeric(curves["lr"], errors="coerce")
    runs = _runs(log, reading, source)
    if reading.final == "rows":
        table = _joined(curves, runs)
        table.attrs = curves.attrs
        return table
    planned = _planned(runs, curves, reading)
    final, out, doubts = final_rows(curves, _status(runs), planned, judge=reading.final != "last")
    table = _joined(final, runs)
    notes = [*curves.attrs["notes"], *doubts, *left_out(out)]
    if len(table):
        notes.append(f"the final loss of each of {len(table)} runs is its last logged one")
    table.attrs |= {"notes": tuple(notes), "left_out": tuple(out.items()), "source": source}
    if not len(table):
        reasons = "; ".join(f"{run}: {reason}" for run, reason in list(out.items())[:SHOWN])
        raise TableError(f"no run of {source} has a final loss ({reasons}); --final last takes the last row of each")
    return table


def _runs(log: Log, reading: Reading, source: str) -> pd.DataFrame:
    """The table of runs under our names."""
    runs = log.runs.copy()
    runs.attrs = {"source": source, "notes": ()}
    if not len(runs):
        return runs
    mapping = {ours: theirs for ours, theirs in reading.columns.items() if theirs in runs}
    for ours, theirs in reading.columns.items():
        if theirs not in runs and theirs not in log.curves:
            known = [*map(str, runs.columns), *map(str, log.curves.columns)]
            raise TableError(
                f"map asks for {ours} from a column {theirs!r}, which {source} does not have; {nearest(theirs, known)}"
            )
    runs = renamed(runs, mapping, RUN_NAMES, reading.units)
    runs["run"] = runs["run"].astype(str) if "run" in runs else [f"row {i}" for i in runs.index]
    return with_sizes(runs)


def _joined(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of curves with the settings of their runs; the tokens of a row are its D, and lr is that of the settings."""
    table = rows.drop(columns="lr", errors="ignore")
    if "tokens" in table and "D" not in table:
        table["D"] = table["tokens"]
    if len(runs):
        known = [c for c in runs if c != "run" and (c in table or c == "loss")]
        table = table.join(runs.drop_duplicates("run").set_index("run").drop(columns=known), on="run")
    first = [c for c in ("run", "N", "D", "C", "loss") if c in table]
    return table[[*first, *(c for c in table if c not in first)]]


def _status(runs: pd.DataFrame) -> dict[str, str]:
    known = runs[["run", "status"]].dropna() if "status" in runs else runs.head(0)
    return dict(zip(known["run"].astype(str), known["status"].astype(str), strict=True)) if len(known) else {}


def _planned(runs: pd.DataFrame, curves: pd.DataFrame, reading: Reading) -> dict[str, float]:
    """Planned updates by run, where settings say them, or a column beside the curves that says the same in all rows."""
    asked = reading.planned
    if asked:
        try:
            return dict.fromkeys(map(str, curves["run"].unique()), float(asked))
        except ValueError:
            known = list(dict.fromkeys(map(str, [*runs.columns, *curves.columns])))
            if asked not in known:
                raise TableError(f"planned names a column {asked!r}; {nearest(asked, known)}") from None
    for table in (runs, curves):
        named = {plain(str(c)): c for c in reversed(list(table.columns))}
        column = asked if asked in table else next((named[name] for name in PLANNED if name in named), None)
        if column is None or (asked and column != asked):
            continue
        numbers = pd.to_numeric(table[column], errors="coerce")
        numbers = numbers.where(np.isfinite(numbers) & (numbers > 0))
        of_run = numbers.groupby(table["run"].astype(str), sort=False)
        if asked or table is runs or (of_run.nunique() <= 1).all():  # a count of updates grows within a run
            return {str(run): float(value) for run, value in of_run.max().dropna().items()}
    return {}


def left_out(out: Mapping[str, str]) -> list[str]:
    said = [f"run {run} left out: {reason}" for run, reason in list(out.items())[:SHOWN]]
    return [*said, f"{len(out) - SHOWN} more runs left out"] if len(out) > SHOWN else said
