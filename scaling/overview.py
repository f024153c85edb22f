"""What a source was understood to hold: its tables, the range and unit of each known column, what was done, doubts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling import units
from scaling.columns import CURVES, RUNS, Column
from scaling.curves import assumptions, read_curves
from scaling.errors import ScalingError, TableError
from scaling.reading import Reading
from scaling.table import Source, load, read_table, step_column

FEW = 1e4  # parameters or tokens: no language model has so few


@dataclass(frozen=True, eq=False)
class Overview:
    """The tables of a source, with what is known of them. A table that it does not hold is None, with the reason."""

    name: str
    runs: pd.DataFrame | None
    curves: pd.DataFrame | None
    lacking: Mapping[str, str]


def overview(
    source: Source,
    reading: Reading,
    *,
    map: Mapping[str, str] | None = None,
    loss: str | None = None,
    where: str | None = None,
) -> Overview:
    """The tables in a source: runs, curves, or both. Raises TableError where it holds neither."""
    name, log = load(source, reading.format)
    if not isinstance(source, str | os.PathLike):  # a stream can be read once
        source = log.runs if log.plain else log.curves
    lacking: dict[str, str] = {}
    curves = runs = None
    try:
        curves = read_curves(source, loss=loss, map=map, where=where, reading=reading)
    except ScalingError as error:
        lacking["curves"] = str(error)
        if log.plain and not step_column(log.runs):
            lacking["curves"] = "no column counts updates"
        elif not log.plain and not len(log.curves):
            lacking["curves"] = "no step was logged"
    many = curves is not None and len(curves) >= 2 * curves["run"].nunique()
    if log.plain and curves is not None and not many:
        curves, lacking["curves"] = None, "one row a run"
    final = reading.final or ("decayed" if log.plain and many else "")
    try:
        mapped = dict(map or {}) | ({"loss": loss} if loss else {})
        runs = read_table(source, map=mapped, where=where, reading=replace(reading, final=final))
    except ScalingError as error:
        lacking["runs"] = str(error)
    if curves is None and runs is None:
        raise TableError(lacking["runs"])
    if log.plain and many and runs is not None and not {"N", "D", "C"} & set(runs.columns):
        runs, lacking["runs"] = None, "the rows have neither N, D nor C"
    return Overview(name, runs, curves, lacking)


def described(found: Overview) -> dict[str, Any]:
    """The overview as a record for JSON and for print."""
    record: dict[str, Any] = {"source": found.name}
    notes: dict[str, None] = {}
    doubts: dict[str, None] = {}
    for kind, table, known in (("runs", found.runs, RUNS), ("curves", found.curves, CURVES)):
        if table is None:
            record[kind] = None
            continue
        record[kind] = {
            "rows": len(table),
            "runs": int(table["run"].nunique()),
            "columns": _columns(table, known),
            "others": [str(c) for c in table.columns if c not in known],
        }
        notes |= dict.fromkeys(table.attrs.get("notes", ()))
        if kind == "runs":
            doubts |= dict.fromkeys(_doubts(table))
        else:
            notes |= dict.fromkeys(assumptions(table))
    record |= {"notes": list(notes), "doubts": list(doubts), "lacking": dict(found.lacking)}
    record["left_out"] = dict(found.runs.attrs.get("left_out", ())) if found.runs is not None else {}
    return record


def _columns(table: pd.DataFrame, known: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Name, unit and range of the columns that are ours."""
    found = []
    for name, column in known.items():
        if name not in table:
            continue
        numbers = pd.to_numeric(table[name], errors="coerce")
        finite = numbers[np.isfinite(numbers)]
        record: dict[str, Any] = {"name": name, "unit": column.unit, "rows": int(table[name].notna().sum())}
        if len(finite):
            record |= {"least": float(finite.min()), "most": float(finite.max())}
        else:
            record["values"] = int(table[name].nunique())
        found.append(record)
    return found


def _doubts(table: pd.DataFrame) -> list[str]:
    """What the numbers themselves make one doubt of."""
    doubts = []
    for name, what in (("N", "parameters"), ("D", "tokens")):
        if name in table:
            most = float(table[name].max())
            if 0 < most < FEW:
                doubts.append(
                    f"{name} is at most {most:g} {what}: if it counts thousands or more, say --units {name}=M"
                )
    names = {name: name for name in ("N", "D", "C", "loss") if name in table}
    good = table[list(names)].dropna()
    good = good[((good > 0) & (good < np.inf)).all(axis=1)]
    if "loss" in names and len(good):
        doubts += units.suspicions(good, names)
    return doubts


def text(record: Mapping[str, Any]) -> str:
    """The record as a person reads it."""
    lines = [str(record["source"])]
    for kind in ("runs", "curves"):
        table = record[kind]
        if table is None:
            lines += [f"no {kind}: {record['lacking'].get(kind, '')}"]
            continue
        of = f" of {table['runs']} runs" if kind == "curves" else ""
        lines += ["", f"{kind}: {table['rows']} rows{of}"]
        for column in table["columns"]:
            span = (
                f"{column['least']:.6g} to {column['most']:.6g}" if "least" in column else f"{column['values']} values"
            )
            unit = column["unit"] if column["unit"] not in ("", "1") else ""
            lines.append(f"  {column['name']:18} {span:28} {unit}".rstrip())
        others = table["others"]
        if others:
            lines.append(f"  and {', '.join(others[:12])}{', ...' if len(others) > 12 else ''}")
    for title, words in (("done", record["notes"]), ("doubts", record["doubts"])):
        if words:
            lines += ["", title, *(f"  {word}" for word in words)]
    return "\n".join(lines)
