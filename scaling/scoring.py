"""Registered forecasts beside what the runs came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import ScalingError
from scaling.ledger import Record
from scaling.registering import SCHEMA, last_rows, places, row_digests

TOLERANCE = 0.01  # N, D and the like of a run may miss the registered ones by this share
SAME_RATE = 0.02  # rates of a schedule may miss the registered ones by this share of its peak
CERTAIN = 0.95  # of the interval of a coverage


@dataclass(frozen=True, eq=False)
class Score:
    """Forecasts that have come due, and those that have not.

    scored   a row a run that met a point: record, made, run, what was asked, loss, lo, hi, level, observed, error
             (predicted / observed - 1), inside, interval_score, known (the run was in the data of the forecast)
    open     points that no run has met yet: record, made, run, what was asked, loss, lo, hi, level
    """

    scored: pd.DataFrame
    open: pd.DataFrame
    tolerance: float

    @property
    def forecasts(self) -> pd.DataFrame:
        """The scored rows that were forecasts: their runs were not in the data."""
        return self.scored[~self.scored["known"].astype(bool)]

    def totals(self) -> pd.DataFrame:
        """A row a level: forecasts, inside, coverage with its exact binomial interval, median and mean errors."""
        return pd.DataFrame([_total(float(str(level)), rows) for level, rows in self.forecasts.groupby("level")])


def interval_score(observed: Any, lo: Any, hi: Any, level: float) -> Any:
    """Width plus 2 / (1 - level) of what the observed lies outside: least on average for the true quantiles, in the
    loss's unit (Gneiting & Raftery 2007, doi:10.1198/016214506000001437, eq. 43)."""
    outside = np.maximum(lo - observed, 0) + np.maximum(observed - hi, 0)
    return hi - lo + 2 / (1 - level) * outside


def binomial_interval(hits: int, count: int, level: float = CERTAIN) -> tuple[float, float]:
    """The exact interval of a share of which `hits` of `count` independent trials were seen (Clopper & Pearson 1934,
    doi:10.1093/biomet/26.4.404)."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    lo = float(beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    hi = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return lo, hi


def score_forecasts(records: list[Record], table: pd.DataFrame, *, tolerance: float = TOLERANCE) -> Score:
    """Set the runs of a table beside the registered points that they meet.

    A point with a run's name is met by that run; one without, by every run whose N, D, ... are within `tolerance` of
    the registered, and, where a schedule was registered, whose rates are its own. `table` has a row a finished run, or
    rows of curves (run, step, loss), whose last rows are taken where they have come to the schedule's end.

    Raises ScalingError for a record of another schema, or a tolerance that is not a share.
    """
    if not 0 <= tolerance < 1:
        raise ScalingError(f"the tolerance is a share such as 0.01, from 0 to below 1; got {tolerance:g}")
    curves = table if "step" in table and table["run"].duplicated().any() else None
    finals = (last_rows(table) if curves is not None else table).reset_index(drop=True)
    scored, waiting = [], []
    for number, record in enumerate(records, 1):
        if record.get("schema") != SCHEMA:
            raise ScalingError(f"record {number} has schema {record.get('schema')}, this version reads {SCHEMA}")
        known = set(record["data"]["rows"])
        for point in record["points"]:
            met = finals[_met(point, record["schedule"], finals, curves, tolerance)]
            common = {"record": number, "made": record["made"], "level": record["level"]}
            asked = dict(point["at"]) | {name: point[name] for name in ("loss", "lo", "hi")}
            if not len(met):
                waiting.append(common | {"run": point["run"]} | asked)
            digests = row_digests(met, point["predicts"])
            for (_, run), own in zip(met.iterrows(), digests, strict=True):
                observed = float(run[point["predicts"]])
                result = {
                    "observed": observed,
                    "error": point["loss"] / observed - 1,
                    "inside": bool(point["lo"] <= observed <= point["hi"]),
                    "interval_score": float(interval_score(observed, point["lo"], point["hi"], record["level"])),
                    "known": bool(own & known),
                }
                scored.append(common | {"run": str(run["run"])} | asked | result)
    columns = ["record", "made", "level", "run", "loss", "lo", "hi"]
    after = ["observed", "error", "inside", "interval_score", "known"]
    return Score(_frame(scored, [*columns, *after]), _frame(waiting, columns), tolerance)


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _met(
    point: Mapping[str, Any],
    schedule: Mapping[str, Any] | None,
    finals: pd.DataFrame,
    curves: pd.DataFrame | None,
    tolerance: float,
) -> pd.Series:
    """Which of the finished runs (n,) a point was about."""
    if point["predicts"] not in finals:
        return pd.Series(False, index=finals.index)
    loss = pd.to_numeric(finals[point["predicts"]], errors="coerce")
    met = pd.Series(np.isfinite(loss) & (loss > 0 if point["predicts"] == "loss" else True), index=finals.index)
    if "status" in finals:
        met &= ~finals["status"].isin(["running", "diverged"])
    if point["run"] is not None:
        met &= finals["run"].astype(str) == point["run"]
    else:
        for name, value in point["at"].items():
            met &= _close(finals[name], value, tolerance) if name in finals else False
        if schedule and "steps" in finals:
            met &= _close(finals["steps"], schedule["steps"], tolerance)
        if schedule and curves is None:
            met &= False  # without rates or a name nothing tells which run had the schedule
    if schedule and curves is not None:
        met &= finals["steps"] >= (1 - tolerance) * schedule["steps"]  # a run that has not come to its end is not due
        if point["run"] is None:
            met &= pd.Series([_had(curves, str(run), schedule) for run in finals["run"]], index=finals.index)
    return met


def _close(values: pd.Series, wanted: float, tolerance: float) -> pd.Series:
    return (pd.to_numeric(values, errors="coerce") / wanted - 1).abs() <= tolerance if wanted else values == wanted


def _had(curves: pd.DataFrame, run: str, schedule: Mapping[str, Any]) -> bool:
    """Whether a logged run's rates were those of the schedule, at the places that were written down."""
    if "schedules" not in curves.attrs:
        return False
    lr, rates = curves.attrs["schedules"].lr.get(run), np.asarray(schedule["rates"])
    if lr is None:
        return False
    at = places(schedule["steps"])
    there = at < len(lr)
    return bool((np.abs(lr[at[there]] - rates[there]) <= SAME_RATE * rates.max()).all())


def _total(level: float, rows: pd.DataFrame) -> dict[str, Any]:
    hits, error = int(rows["inside"].sum()), rows["error"].abs()
    lo, hi = binomial_interval(hits, len(rows))
    return {
        "level": level, "forecasts": len(rows), "points": len(rows.drop_duplicates(["record", "loss", "lo", "hi"])),
        "inside": hits, "coverage": hits / len(rows), "coverage_lo": lo, "coverage_hi": hi,
        "median_error": float(error.median()), "worst_error": float(error.max()),
        "interval_score": float(rows["interval_score"].mean()),
    }  # fmt: skip


def score_text(score: Score) -> str:
    """The score as a table and totals in words."""
    lines = []
    if len(score.scored):
        rows = score.scored
        shown = pd.DataFrame(
            {
                "record": rows["record"],
                "made": rows["made"],
                "run": [str(r)[:40] for r in rows["run"]],
                "forecast": [f"{v:.4f}" for v in rows["loss"]],
                "interval": [
                    f"{lo:.4f} .. {hi:.4f} ({p:.0%})"
                    for lo, hi, p in zip(rows["lo"], rows["hi"], rows["level"], strict=True)
                ],
                "observed": [f"{v:.4f}" for v in rows["observed"]],
                "error": [f"{v:+.2%}" for v in rows["error"]],
                "": ["inside" if i else "OUTSIDE" for i in rows["inside"]],
                "score": [f"{v:.4f}" for v in rows["interval_score"]],
            }
        )
        if rows["known"].any():
            shown[" "] = ["NOT A FORECAST: was in its data" if k else "" for k in rows["known"]]
        lines += [shown.to_string(index=False), ""]
    for total in score.totals().to_dict("records"):
        count, points = total["forecasts"], total["points"]
        lines.append(
            f"{total['inside']} of {count} forecasts{f' ({points} points)' if points < count else ''} inside their "
            f"{total['level']:.0%} interval: coverage {total['coverage']:.0%} (95%: {total['coverage_lo']:.0%} to "
            f"{total['coverage_hi']:.0%} if they were independent); error {total['median_error']:.2%} (median), "
            f"{total['worst_error']:.2%} at worst; interval score {total['interval_score']:.4f} (mean)"
        )
    if not len(score.forecasts):
        lines.append("no registered forecast has come due in this table")
    known = len(score.scored) - len(score.forecasts)
    if known:
        lines.append(
            f"{known} run{'s were' if known > 1 else ' was'} in the data when registered, and not counted: not a "
            "forecast"
        )
    if len(score.open):
        lines.append(
            f"{len(score.open)} point{'s' * (len(score.open) > 1)} still open (N, D and the like must agree to "
            f"{score.tolerance:.1%})"
        )
    return "\n".join(lines)
