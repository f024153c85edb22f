"""Final losses out of curves: the last row of every run that came to its end, and why the others are left out.

A loss in the middle of a decay of the learning rate is above what the run would have reached had it been planned to end
there (Hoffmann 2022, arXiv:2203.15556, section 3 and appendix B), so a checkpoint is no final loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.reading import smoothing

Array = NDArray[np.float64]
DECAYED = 0.15  # of the peak: at or below, a learning rate has come down
LEVEL = 0.05  # a rate that falls by less, over the last TAIL of the run, has reached the end of its decay
TAIL = 0.05
HIGH = 0.9  # of the peak: above, it has not begun to come down
RISEN = 1.2  # times the least median of MEDIAN rows: a run that ends above has diverged
MEDIAN = 3
END = 0.98  # of the planned updates; the last ones may not be logged
LATE = 0.9  # of the last logged step: a loss before it is not the run's last
UNFINISHED = ("running", "failed", "crashed", "killed", "scheduled", "diverged", "preempted", "pending")


def final_rows(
    curves: pd.DataFrame, status: Mapping[str, str], planned: Mapping[str, float], judge: bool = True
) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """One row a run, the runs left out with the reason, and doubts.

    curves   columns run, step, loss, and lr where known
    status   of runs, where a source says it; planned: updates that a run was to have, where known
    judge    False takes the last row of every run that has a finite one, whatever is known of its end
    """
    rows, out, kinds = [], {}, {}
    for name, part in curves.groupby("run", sort=False):
        run = str(name)
        part = part.sort_values("step", kind="stable")
        reason, kind = _ended(part, status.get(run, ""), planned.get(run, np.nan), judge)
        if reason:
            out[run] = reason
            continue
        kinds[run] = kind
        loss = part["loss"].to_numpy(float)
        rows.append(part.ffill().iloc[int(np.flatnonzero(np.isfinite(loss))[-1])])
    if judge and "decayed" in kinds.values():
        steady = [run for run, kind in kinds.items() if kind == "steady"]
        out |= dict.fromkeys(steady, "its learning rate is still near its peak, while those of other runs came down")
        rows = [row for row in rows if str(row["run"]) not in out]
    table = pd.DataFrame(rows, columns=curves.columns).reset_index(drop=True)
    return table.infer_objects(), out, _doubts(list(kinds.values())) if judge else []


def _ended(part: pd.DataFrame, status: str, planned: float, judge: bool) -> tuple[str, str]:
    """Why a run has no final loss, if it has none; else how one knows that it has."""
    loss, step = part["loss"].to_numpy(float), part["step"].to_numpy(float)
    logged = ~np.isnan(loss)
    if not np.isfinite(loss).any():
        return "no finite loss was logged", ""
    last = float(np.nanmax(step))
    if not np.isfinite(loss[logged][-1]):
        return f"its last loss is {loss[logged][-1]}: it diverged", ""
    least = _least(loss[logged])
    end = float(np.median(loss[logged][-MEDIAN:]) if logged.sum() >= MEDIAN else loss[logged][-1])
    if end > RISEN * least > 0:
        return f"its loss ends at {end:.4g}, more than {RISEN:g} times its least, {least:.4g}: it diverged", ""
    if not judge:
        return "", ""
    if status.lower() in UNFINISHED:
        return f"its status is {status.lower()}", ""
    at = float(step[logged][-1])
    if at < LATE * last:
        return f"its last loss is at step {at:g} of {last:g}", ""
    if np.isfinite(planned) and planned > 0:
        if last + 1 < END * planned:
            return f"it ends at step {last:g} of {planned:g} planned", ""
        return "", "planned"
    return _by_rate(part, step)


def _least(loss: Array) -> float:
    if len(loss) < MEDIAN:
        return float(loss.min())
    windows = np.lib.stride_tricks.sliding_window_view(loss, MEDIAN)
    return float(np.median(windows[np.isfinite(windows).all(axis=1)], axis=1).min(initial=np.inf))


def _by_rate(part: pd.DataFrame, step: Array) -> tuple[str, str]:
    if "lr" not in part:
        return "", "unknown"
    lr = part["lr"].to_numpy(float)
    known = np.isfinite(lr)
    lr, step = lr[known], step[known]
    if len(lr) < MEDIAN or lr.max() <= 0:
        return "", "unknown"
    share = lr[-1] / lr.max()
    if share <= DECAYED:
        return "", "decayed"
    before = float(np.interp(step[-1] - TAIL * (step[-1] - step[0]), step, lr))
    level = lr[-1] > (1 - LEVEL) * before
    if share > HIGH and level:
        return "", "steady"
    if level:
        return "", "decayed"
    return (
        f"its learning rate is {share:.2g} of its peak and falling at its last step, {step[-1]:g}: a checkpoint within "
        "a decay is no final loss"
    ), ""


def _doubts(kinds: list[str]) -> list[str]:
    doubts = []
    if unknown := kinds.count("unknown"):
        doubts.append(
            f"{unknown} runs have neither learning rates nor planned steps: the last row of each is taken for its "
            "final loss; check that the runs came to their end"
        )
    if steady := kinds.count("steady") * ("decayed" not in kinds):
        doubts.append(
            f"the learning rates of {steady} runs do not come down: their last rows are losses before any decay, which "
            "compare with each other and not with losses after one"
        )
    return doubts


def smoothed(curves: pd.DataFrame, text: str) -> tuple[pd.DataFrame, str]:
    """Curves with the losses of every run smoothed over its rows, and what was done; missing ones stay so."""
    kind, width = smoothing(text)
    if not kind:
        return curves, ""
    curves = curves.sort_values(["run", "step"], kind="stable")

    def of_run(loss: pd.Series) -> Any:
        if kind == "ema":
            return loss.ewm(alpha=1 - width, ignore_na=True).mean().where(loss.notna())
        return loss.dropna().rolling(int(width), min_periods=1).median().reindex(loss.index)

    attrs, curves.attrs = curves.attrs, {}
    curves["loss"] = curves.groupby("run", sort=False)["loss"].transform(of_run)
    curves.attrs = attrs
    said = (
        f"mean with weights {width:g}^rows, this row and those before"
        if kind == "ema"
        else f"median of {int(width)} rows"
    )
    return curves, f"losses smoothed run by run: {said}"
