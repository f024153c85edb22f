"""A Fit as JSON and back: the law by name, every number in full, and the rows it rests on, so that it can be
bootstrapped,
forecast and plotted elsewhere. Reading executes nothing: a file is data."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from scaling.curves import Schedules
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.laws import LAWS, find_law
from scaling.objective import Objective
from scaling.problem import Prior

SCHEMA = 1


def to_json(fit: Fit, indent: int | None = None) -> str:
    """The fit as JSON: law, params, value, ok, problems first; then what `from_json` needs."""
    if fit.law.name not in LAWS:
        raise ScalingError(
            f"{fit.law.name} is not in scaling.laws.LAWS, so a file that names it could not be read back"
        )
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "law": fit.law.name,
        "equation": fit.law.equation,
        "params": dict(fit.params),
        "value": fit.value,
        "ok": fit.ok,
        "problems": list(fit.problems),
        "notes": list(fit.notes),
        "objective": asdict(fit.objective),
        "rows": len(fit.table),
        "dropped": [{"row": _plain(r.row), "reason": r.reason} for r in fit.dropped.itertuples()],
        "columns": dict(fit.columns),
        "fixed": dict(fit.fixed),
        "tied": dict(fit.tied),
        "priors": {name: [p.centre, p.sd, p.weight] for name, p in fit.priors.items()},
        "started": fit.started,
        "agreed": fit.agreed,
        "log_se": dict(fit.log_se),
        "at_bound": list(fit.at_bound),
        "gradient_norm": fit.gradient_norm,
        "condition": _plain(fit.condition),
        "table": {str(c): [_plain(v) for v in fit.table[c]] for c in fit.table.columns},
        "index": [_plain(i) for i in fit.table.index],
    }
    if fit.law.kind == "curves":
        lrs = fit.table.attrs["schedules"].lr
        record["schedules"] = {str(run): _runs_of_equals(lrs[str(run)]) for run in fit.table["run"].unique()}
    return json.dumps(record, indent=indent, allow_nan=False)


def from_json(text: str) -> Fit:
    """The fit that `to_json` wrote; raises ScalingError with what is wrong about the text."""
    try:
        record = json.loads(text)
        if not isinstance(record, dict) or "law" not in record or "params" not in record:
            raise ScalingError("this is not a fit: expected the JSON that `scaling fit LAW TABLE --json` writes")
        if record.get("schema") != SCHEMA:
            raise ScalingError(f"this fit has schema {record.get('schema')}, this version reads {SCHEMA}; fit again")
        if record["law"] not in LAWS:
            raise ScalingError(
                f"this fit is of {record['law']}, which is no law of ours; if it is your own, name the file that "
                "declares it: --law-file FILE.py, which executes that file"
            )
        law = find_law(record["law"])
        if set(record["params"]) != set(law.names):
            raise ScalingError(
                f"a fit of {law.name} has parameters {', '.join(law.names)}; found {', '.join(record['params'])}"
            )
        table = pd.DataFrame(
            {name: pd.Series(values, dtype=object).infer_objects() for name, values in record["table"].items()}
        )
        absent = [name for name in record["columns"].values() if name not in table]
        if absent or not len(table):
            raise ScalingError(f"this fit is damaged: its table lacks {', '.join(absent) or 'rows'}; fit again")
        table.index = pd.Index(record["index"])
        for name in ("step", "lr", *record["columns"].values()):
            if name in table:
                table[name] = pd.to_numeric(table[name]).astype(float)
        if "schedules" in record:
            table.attrs["schedules"] = Schedules({k: _equals_of_runs(v) for k, v in record["schedules"].items()})
        return Fit(
            law=law,
            params=MappingProxyType({name: float(record["params"][name]) for name in law.names}),
            value=float(record["value"]),
            objective=Objective(**record["objective"]),
            table=table,
            dropped=pd.DataFrame(record["dropped"], columns=["row", "reason"]),
            columns=MappingProxyType(dict(record["columns"])),
            fixed=MappingProxyType(dict(record["fixed"])),
            tied=MappingProxyType(dict(record["tied"])),
            problems=tuple(record["problems"]),
            notes=tuple(record["notes"]),
            started=int(record["started"]),
            agreed=int(record["agreed"]),
            log_se=MappingProxyType(dict(record["log_se"])),
            at_bound=tuple(record["at_bound"]),
            gradient_norm=float(record["gradient_norm"]),
            condition=math.inf if record["condition"] is None else float(record["condition"]),
            priors=MappingProxyType({name: Prior(*pair) for name, pair in record.get("priors", {}).items()}),
        )
    except json.JSONDecodeError as error:
        raise ScalingError(
            f"this is not JSON (line {error.lineno}); expected what `scaling fit LAW TABLE --json` writes"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ScalingError):
            raise
        raise ScalingError(f"this fit is damaged ({type(error).__name__}: {error}); fit again") from None


def read_fit(path: str) -> Fit:
    """The fit in a file."""
    try:
        return from_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScalingError(f"there is no file {path}; write one with: scaling fit LAW TABLE -o {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScalingError(f"cannot read {path}: {error}") from None


def frame_json(frame: pd.DataFrame) -> str:
    """A DataFrame as a JSON list of rows, missing values as null, floats in full."""
    rows = [{str(k): _plain(v) for k, v in row.items()} for row in frame.to_dict(orient="records")]
    return json.dumps(rows, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """A JSON value: numbers as Python's, missing and infinite as null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)


def _runs_of_equals(lr: Any) -> list[list[float]]:
    """[[value, count], ...]: schedules are mostly constant."""
    values = np.asarray(lr, dtype=float)
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    counts = np.diff(np.append(starts, len(values)))
    return [[float(v), int(c)] for v, c in zip(values[starts], counts, strict=True)]


def _equals_of_runs(pairs: list[list[float]]) -> Any:
    array = np.array(pairs, dtype=float).reshape(-1, 2)
    return np.repeat(array[:, 0], array[:, 1].astype(int))
