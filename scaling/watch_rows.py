"""The rows that a forecast of a training run rests on: late ones, few to a curve, noisy ones averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.curves import Schedules
from scaling.errors import ScalingError

Array = NDArray[np.float64]
#: Rows before this share of the watched run's steps so far are left out: of .0 and .15, the error at half of a run on
#: public curves was .17% and .13% (benchmarks/watching.py); no law here describes the first transient.
SETTLED = 0.15
ROWS = 40  # rows a curve; with all of 240 the error is the same
NOISY = 5e-4  # standard deviation of ln loss of a row from which neighbouring rows are averaged
SAME_PEAK = 1.05  # peak learning rates within this factor are one


def rows_of(curves: pd.DataFrame, run: str) -> pd.DataFrame:
    """The rows of one run that have a step and a positive finite loss, by step, the last of each step."""
    rows = curves[curves["run"].astype(str) == run].sort_values("step", kind="stable")
    loss = pd.to_numeric(rows["loss"], errors="coerce").to_numpy(float)
    good = np.isfinite(loss) & (loss > 0) & np.isfinite(rows["step"].to_numpy(float))
    return rows[good].drop_duplicates("step", keep="last")


def row_noise(loss: Array) -> float:
    """Standard deviation of ln loss of single rows (n,), from second differences: what is smooth drops out."""
    if len(loss) < 8:
        return 0.0
    bends = np.diff(np.log(loss), 2)
    return float(1.4826 * np.median(np.abs(bends - np.median(bends))) / np.sqrt(6))


def thinned(rows: pd.DataFrame, most: int = ROWS) -> pd.DataFrame:
    """At most so many rows of a run: some of them where they are smooth, means of stretches where they are noisy."""
    if len(rows) <= most:
        return rows
    if row_noise(rows["loss"].to_numpy(float)) < NOISY:
        return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
    part = np.arange(len(rows)) * most // len(rows)
    middle = rows.groupby(part).nth(0).reset_index(drop=True)
    step = rows["step"].groupby(part).mean().round()
    loss = np.exp(np.log(rows["loss"]).groupby(part).mean())
    return middle.assign(step=step.to_numpy(), loss=loss.to_numpy())


def gathered(curves: pd.DataFrame, run: str, family: list[str], schedule: Array) -> pd.DataFrame:
    """The fitted table: late rows of the run and of its family, thinned, with the rates of every update.

    The run's own rates are cut after its last row, so that a decay that is only planned is not taken for one seen.
    """
    own = rows_of(curves, run)
    now = int(own["step"].iloc[-1])
    rates: dict[str, Array] = {run: schedule[: now + 1]}
    parts = []
    for name in [run, *family]:
        rows = rows_of(curves, name)
        late = thinned(rows[rows["step"] >= SETTLED * now])
        if len(late) >= 3 or (name == run and len(late)):
            parts.append(late.assign(run=name))
            rates.setdefault(name, curves.attrs["schedules"].lr[name])
    table = pd.concat(parts, ignore_index=True)
    known: Schedules = curves.attrs["schedules"]
    table.attrs = {"schedules": Schedules(rates, known.interpolated, known.held, known.warmup), "notes": ()}
    return table


def family_of(curves: pd.DataFrame, run: str, schedule: Array, same: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The runs that inform the watched one, and in words how they were chosen.

    Those that agree in the columns `same` (N, where the law does not read it); of these, those at its peak learning
    rate, if there are two.
    """
    lrs: Mapping[str, Array] = curves.attrs["schedules"].lr
    own = curves[curves["run"].astype(str) == run]
    others = [str(r) for r in curves["run"].unique() if str(r) != run and str(r) in lrs]
    said = []
    for name in same:
        if name not in curves or own[name].isna().all():
            continue
        value = float(own[name].dropna().iloc[0])
        of = curves.groupby(curves["run"].astype(str))[name].first()
        alike = [r for r in others if np.isclose(float(of[r]), value, rtol=1e-6)]
        if len(alike) < len(others):
            said.append(f"{len(others) - len(alike)} runs of another {name} were left out")
        others = alike
    peak = float(schedule.max())
    near = [r for r in others if peak / SAME_PEAK <= float(lrs[r].max()) <= peak * SAME_PEAK]
    if len(near) >= 2 and len(near) < len(others):
        said.append(f"{len(others) - len(near)} runs at another peak learning rate were left out")
        others = near
    return others, said


def checked_plan(curves: pd.DataFrame, run: str, schedule: Any) -> tuple[Array, list[str]]:
    """The planned rates of every update, and what the log says against them.

    Raises ScalingError for a run that is not in the table or has no usable row, and for a plan that is no schedule or
    ends before the run's last row.
    """
    names = [str(r) for r in curves["run"].unique()]
    if run not in names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise ScalingError(f"there is no run {run!r} in the curves; they hold {shown}")
    own = rows_of(curves, run)
    if len(own) < 4:
        raise ScalingError(f"run {run!r} has {len(own)} rows with a loss; a forecast needs 4 or more")
    lr = np.asarray(schedule, dtype=float)
    if lr.ndim != 1 or len(lr) < 2 or not np.isfinite(lr).all() or (lr < 0).any() or not lr.any():
        raise ScalingError("the plan is a list of learning rates, one an update, none negative, not all 0")
    last = int(own["step"].iloc[-1])
    if last >= len(lr):
        raise ScalingError(
            f"run {run!r} has a row at step {last}, and its plan ends with step {len(lr) - 1}; steps count from 0"
        )
    said = []
    if "lr" in own and own["lr"].notna().any():
        logged = own[own["lr"].notna() & (own["step"] >= min(SETTLED * last, own["step"].iloc[-2]))]
        away = np.abs(logged["lr"].to_numpy(float) - lr[logged["step"].to_numpy(int)]) > 0.02 * lr.max()
        if away.mean() > 0.02:  # a single odd row is no other schedule
            first = int(logged["step"].to_numpy()[np.argmax(away)])
            said.append(
                f"the logged learning rates are not those of the plan from step {first} on: the forecast is that of "
                "the plan"
            )
    return lr, said
