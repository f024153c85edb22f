"""Tables of loss curves: rows run, step, lr, loss; the learning rate of every update is rebuilt from what was logged.

The rebuilt schedules ride in `attrs["schedules"]`, so a curve table can be filtered like any DataFrame and fitted.
Steps are indices of updates from 0: a row at step s stands after the update s.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.assembly import curves_of, left_out, one_curve
from scaling.errors import LONGEST as NAME, TableError
from scaling.last_rows import final_rows
from scaling.rates import every_update
from scaling.readers.log import Log
from scaling.reading import Reading
from scaling.table import Source, filtered, keeping_attrs, load, prepared, reading_of, to_number
from scaling.trajectory import Trajectory

Array = NDArray[np.float64]
LONGEST = 50_000_000  # updates in one run; a larger step is taken for a damaged number


@dataclass(frozen=True, eq=False)
class Schedules:
    """Learning rate of every update, by run, and what had to be assumed. Copies of a table share one such record.

    interpolated  runs whose rates were interpolated between logged rows
    held          runs logged from a later step on, whose first logged rate was held back to step 0
    warmup        length of the linear warm-up that was rebuilt, if any
    """

    lr: Mapping[str, Array]
    interpolated: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    warmup: int | None = None

    def __deepcopy__(self, memo: Any) -> Schedules:
        return self


def read_curves(
    source: Source,
    *,
    loss: str | None = None,
    warmup: int | None = None,
    schedules: Mapping[str, Any] | None = None,
    map: Mapping[str, str] | None = None,
    where: str | None = None,
    reading: Reading | str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Loss curves as rows run, step, lr, loss (other columns are kept), with every update's learning rate beside them.

    source     a table or log in any of `scaling.readers.formats.FORMATS`, an open text stream, or a DataFrame
    loss       the column to read as loss, such as "val_loss"; rows where it is empty are left out
    warmup     updates of a linear warm-up that the log leaves out: it is rebuilt up to the first logged rate
    schedules  {run: learning rate of every update} where known; elsewhere rates are interpolated between logged rows
    map        {"step": "iter", ...}: our name -> the source's name
    where      a row filter
    reading    units, arithmetic, smoothing, steps to skip: a `Reading`, or the path of a TOML

    Runs of a log whose loss ends far above its least are left out, each with a note. Raises TableError for a file that
    is missing, empty or lacks a column.
    """
    asked = reading_of(reading).with_columns(dict(map or {}) | ({"loss": loss} if loss else {}))
    name, log = load(source, asked.format)
    attrs = log.runs.attrs
    read = curves_of(
        Log(curves=log.runs, notes=(*attrs.get("notes", ()), *log.notes)) if log.plain else log, asked, name
    )
    read.attrs = (attrs if log.plain else {}) | read.attrs
    table = prepared(read, name)
    needed = ("step", "loss") if schedules else ("step", "lr", "loss")
    lacking = [name for name in needed if name not in table]
    if lacking:
        has = ", ".join(
            str(c)[:NAME] for c in (log.runs if log.plain or not len(log.curves) else log.curves).columns[:20]
        )
        raise TableError(
            f"curves have rows run, step, lr, loss; {table.attrs['source']} has {has}. Missing: {', '.join(lacking)}. "
            "Name the columns with map={...} or --map step=COLUMN"
        )
    for name in ("step", "lr", "loss"):
        if name in table:
            to_number(table, name)
    if not log.plain:
        table = _without_diverged(table)
    table.attrs["notes"] += _doubtful(table)
    chosen = table if where is None else filtered(table, where)
    one_curve(chosen)
    if where is None:
        return with_schedules(table, warmup=warmup, schedules=schedules)
    # learning rates are rebuilt from all rows of the runs that are left, then the rows are filtered
    whole = keeping_attrs(table, table[table["run"].isin(chosen["run"])])
    rebuilt = with_schedules(whole, warmup=warmup, schedules=schedules)
    return keeping_attrs(rebuilt, rebuilt.loc[chosen.index])


def _without_diverged(table: pd.DataFrame) -> pd.DataFrame:
    """The curves of a log without the runs that have no finite last loss, or end far above their least."""
    _, out, _ = final_rows(table, {}, {}, judge=False)
    if not out:
        return table
    if len(out) == table["run"].nunique():
        raise TableError(f"no curve of {table.attrs['source']} can be used: {'; '.join(left_out(out))}")
    result = keeping_attrs(table, table[~table["run"].isin(list(out))])
    result.attrs["notes"] += tuple(left_out(out))
    return result


def _doubtful(table: pd.DataFrame) -> tuple[str, ...]:
    """Rows that contradict each other, and learning rates that are none."""
    notes = []
    same = table.duplicated(["run", "step"], keep=False) & table["loss"].notna()
    if same.any():
        groups = table[same].groupby(["run", "step"])["loss"]
        losses = groups.nunique()
        other = losses[losses > 1]
        if len(other):
            run, step = other.index[0]
            notes.append(
                f"{len(other)} steps have rows with different losses, the first step {step:g} of run {run}: each row "
                "is kept and counts; keep the ones that are meant"
            )
    if "lr" in table:
        lr = table["lr"].to_numpy(float)
        wrong = table.index[(lr < 0) | np.isinf(lr)]
        if len(wrong):
            shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            notes.append(
                f"{len(wrong)} learning rates were below 0 or infinite (row {shown}): their losses are kept, and the "
                "rates there are those of the run's other rows"
            )
    return tuple(notes)


def with_schedules(
    table: pd.DataFrame, *, warmup: int | None = None, schedules: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The curves with a learning rate for every update in `attrs["schedules"]`."""
    if warmup is not None and warmup < 0:
        raise TableError(f"warmup is a number of updates, not below 0; got {warmup}")
    known = {str(k): np.asarray(v, dtype=float) for k, v in (schedules or {}).items()}
    lrs: dict[str, Array] = {}
    interpolated, held = [], []
    if known and not set(known) & set(table["run"].astype(str)):
        names = _some(sorted(set(table["run"].astype(str))))
        raise TableError(f"schedules names {_some(sorted(known))}, none of which is in the table: it has {names}")
    for run, rows in table.groupby("run", sort=False):
        run = str(run)
        steps = rows["step"].to_numpy(float)
        steps = steps[np.isfinite(steps)]
        if not len(steps):
            continue
        if steps.min() < 0 or steps.max() > LONGEST:
            raise TableError(
                f"run {run}: steps must lie between 0 and {LONGEST}, found {steps.min():g} to {steps.max():g}"
            )
        last = int(steps.max())
        if run in known:
            if len(known[run]) <= last:
                raise TableError(
                    f"run {run}: its schedule has {len(known[run])} learning rates, its last row is at step {last}; "
                    f"steps count from 0, so the schedule needs at least {last + 1}"
                )
            if not (np.isfinite(known[run]).all() and (known[run] >= 0).all()):
                raise TableError(f"run {run}: its schedule has a negative or non-finite learning rate")
            lrs[run] = known[run]
            continue
        if "lr" not in rows:
            raise TableError(f"run {run} has neither logged learning rates nor a schedule in schedules={{...}}")
        logged = rows[["step", "lr"]].astype(float).dropna().drop_duplicates("step").sort_values("step")
        logged = logged[np.isfinite(logged["lr"]) & (logged["lr"] >= 0)]
        if not len(logged):
            raise TableError(f"run {run} has no row with a usable learning rate")
        at, lr = logged["step"].to_numpy(), logged["lr"].to_numpy()
        lrs[run] = every_update(at, lr, last)
        first = int(at[0])
        if warmup is not None:
            rise = min(warmup, first)  # a log that starts within the warm-up starts below the peak
            lrs[run][:rise] = lr[0] * np.arange(1, rise + 1) / max(min(warmup, first + 1), 1)
        elif first > 0:
            held.append(run)
        if len(logged) < last + 1 - first and np.ptp(lr) > 0:
            interpolated.append(run)
    result = keeping_attrs(table, table)
    result.attrs["schedules"] = Schedules(lrs, frozenset(interpolated), frozenset(held), warmup)
    return result


def assumptions(table: pd.DataFrame) -> list[str]:
    """In words, what was assumed of the learning rates of the runs in `table`."""
    schedules: Schedules = table.attrs["schedules"]
    runs = [str(run) for run in table["run"].unique()]
    interpolated = [run for run in runs if run in schedules.interpolated]
    held = [run for run in runs if run in schedules.held]
    notes = []
    if interpolated:
        notes.append(f"learning rates interpolated between logged rows in {_some(interpolated)}")
    if held:
        notes.append(
            f"no rows before the first logged step in {_some(held)}: the first logged learning rate was held back to "
            "step 0; say warmup=STEPS if there was a warm-up"
        )
    if schedules.warmup is not None:
        notes.append(f"a linear warm-up of {schedules.warmup} updates was rebuilt where a log starts late")
    return notes


def trajectory(table: pd.DataFrame) -> Trajectory:
    """What a curve law reads, for the rows of `table` in order; rows of one run must stand together."""
    lrs, steps = [], []
    for run, rows in table.groupby("run", sort=False):
        lrs.append(table.attrs["schedules"].lr[str(run)])
        steps.append(rows["step"].to_numpy().astype(int))
    return Trajectory(tuple(lrs), tuple(steps))


def _some(names: list[str]) -> str:
    return f"{len(names)} run{'s' * (len(names) > 1)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
