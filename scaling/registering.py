"""What a registered forecast says: the points and their intervals, by what, from which data, for which schedule.

The data are named twice: by the SHA-256 of the file, and by a digest of every row that the file held, used or not. A
score compares those with the rows it is given, so that a run that was in the file already is not counted as forecast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.ledger import digest_of, plain
from scaling.stacking import Stack

SCHEMA = 1
KNOTS = 33  # places of a schedule that are written down, to know it again
#: What tells one finished run from another: its size, tokens and loss; or its updates and loss.
IDENTITIES = (("N", "D", "loss"), ("steps", "loss"))


def row_digests(finals: pd.DataFrame, loss: str = "loss") -> list[set[str]]:
    """Of every row of finished runs, the digests of what tells it from others, at nine digits of each number."""
    found: list[set[str]] = [set() for _ in range(len(finals))]
    for names in IDENTITIES:
        columns = [loss if name == "loss" else name for name in names]
        if not set(columns) <= set(finals.columns):
            continue
        values = finals[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        for own, row in zip(found, values, strict=True):
            if np.isfinite(row).all():
                text = ",".join(f"{name}={x:.9g}" for name, x in zip(names, row, strict=True))
                own.add(hashlib.sha256(text.encode()).hexdigest()[:16])
    return found


def last_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row with a loss of every run of a table of curves, with `steps`, and D where tokens are logged."""
    rows = curves[curves["loss"].notna()].sort_values("step", kind="stable").groupby("run", sort=False).tail(1)
    rows = rows.assign(steps=rows["step"] + 1)
    return rows.assign(D=rows["tokens"]) if "tokens" in rows and "D" not in rows else rows


def data_record(table: pd.DataFrame, source: str | None, loss: str = "loss") -> dict[str, Any]:
    """The data behind a forecast: the file's name and SHA-256 where it is a file, and the digests of the finished runs
    that it held. `table` is all of it, the rows that were not fitted included."""
    finals = last_rows(table) if "step" in table else table
    rows = sorted({digest for own in row_digests(finals, loss) for digest in own})
    path = Path(source) if source else None
    held = hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else None
    return {"source": path.name if path else "stdin", "sha256": held, "runs": len(finals), "rows": rows}


def law_record(source: Fit | Stack) -> dict[str, Any]:
    """What forecast: the law and its equation, or the stack's laws and weights, and a digest of all coefficients."""
    if isinstance(source, Fit):
        by: dict[str, Any] = {"law": source.law.name, "equation": source.law.equation}
        return by | {"coefficients": digest_of(dict(source.params)), "fitted": len(source.table)}
    weights = source.weights
    names = [law.member.name for law in source.laws]
    every = {n: [float(w), dict(law.params)] for n, w, law in zip(names, weights, source.laws, strict=True)}
    return {
        "law": "stack",
        "weights": {n: float(w) for n, w in zip(names, weights, strict=True)},
        "coefficients": digest_of(every),
        "fitted": len(source.table),
    }


def schedule_record(lr: Any, spec: str = "") -> dict[str, Any]:
    """A schedule: its text, its steps, and its rates at 33 places, by which a logged run is known to have had it."""
    lr = np.asarray(lr, dtype=float)
    return {"spec": spec, "steps": len(lr), "rates": [float(f"{x:.6g}") for x in lr[places(len(lr))]]}


def places(steps: int) -> Any:
    """The updates at which the rates of a schedule are written down."""
    return np.linspace(0, steps - 1, KNOTS).round().astype(int)


def points_of(
    frame: pd.DataFrame, inputs: Iterable[str], predicts: str = "loss", runs: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of a forecast: the run's name if one was given, where it was asked, loss, lo, hi."""
    if runs and len(runs) != len(frame):
        raise ScalingError(f"--run names {len(runs)} runs and the forecast has {len(frame)} points; name each, or none")
    names = [name for name in inputs if name in frame]
    found = []
    for i, row in enumerate(frame.to_dict("records")):
        numbers = {name: plain(row[column]) for name, column in (("loss", predicts), ("lo", "lo"), ("hi", "hi"))}
        if None in numbers.values():
            raise ScalingError("this forecast has no number at one of its points, so it cannot be registered")
        found.append(
            {"run": runs[i] if runs else None, "at": {name: plain(row[name]) for name in names}, "predicts": predicts}
            | numbers
        )
    return found


def forecast_record(
    by: Mapping[str, Any],
    data: Mapping[str, Any],
    points: Sequence[Mapping[str, Any]],
    level: float,
    schedule: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All of a registered forecast but its date and its place in the chain."""
    return {
        "schema": SCHEMA,
        "package": f"scaling {_version()}",
        "by": dict(by),
        "data": dict(data),
        "points": [dict(p) for p in points],
        "level": level,
        "schedule": dict(schedule) if schedule else None,
        "options": {key: value for key, value in (options or {}).items() if value},
    }


def _version() -> str:
    try:
        return metadata.version("scaling-sweeps")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "of unknown version"
