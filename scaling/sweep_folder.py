"""Curves, plans and sizes of a folder of sweeps, from the files that docs/data-format.md describes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.curves import Schedules
from scaling.errors import ScalingError, TableError
from scaling.readers.bounds import parse_json, read_small
from scaling.readers.delimited import read_delimited
from scaling.schedule import SCHEDULES


@dataclass(frozen=True, eq=False)
class SweepFolder:
    """The runs of one folder.

    curves    rows run, step, lr, loss, N; in `attrs["schedules"]` every run's whole plan
    plans     learning rate of every planned update, by run
    training  runs that have a curve and are not done
    """

    curves: pd.DataFrame
    plans: dict[str, NDArray[np.float64]]
    training: tuple[str, ...]


def read_sweep_folder(folder: str, *, loss: str | None = None) -> SweepFolder:
    """Read every run that has logged a row; `loss` is the column to take, by default val_loss.

    Diverged runs and rows without that loss are left out. Raises TableError for a folder without such a run.
    """
    column = loss or "val_loss"
    plans: dict[str, NDArray[np.float64]] = {}
    training, parts = [], []
    for record in sorted(Path(folder).glob("*/run.json")):
        run = record.parent.name
        said = _json(record)
        status = _json(record.with_name("final.json")).get("status") if (record.parent / "final.json").exists() else ""
        rows = _rows(record.with_name("curve.csv"), column)
        if status == "diverged" or rows is None:
            continue
        plans[run] = _plan(said, record)
        if not status:
            training.append(run)
        size = said.get("parameters", {}).get("matmul")
        parts.append(rows.assign(run=run, loss=rows[column], N=float(size) if size else np.nan))
    if not parts:
        raise TableError(
            f"{folder} holds no run with a {column}: expected KEY/run.json and KEY/curve.csv, as of sweeps"
        )
    curves = pd.concat(parts, ignore_index=True)
    curves.attrs = {"schedules": Schedules(dict(plans)), "notes": (), "source": str(folder)}
    return SweepFolder(curves, plans, tuple(training))


def _json(path: Path) -> dict[str, Any]:
    found = parse_json(read_small(path, "a record of a run"), str(path))
    if not isinstance(found, dict):
        raise TableError(f"{path} is no record of a run: expected a JSON object")
    return found


def _rows(path: Path, column: str) -> pd.DataFrame | None:
    """The rows with a loss; a last line without its line break was cut short and does not count."""
    if not path.is_file() or not path.stat().st_size:
        return None
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        cut = file.read() != b"\n"
    table = read_delimited(path)
    if not {"step", "lr", column} <= set(table.columns):
        raise TableError(f"{path} has {', '.join(map(str, table.columns))}; expected step, lr and {column}")
    rows = table.iloc[: len(table) - cut]
    rows = rows[rows[column].notna()]
    return rows if len(rows) else None


def _plan(said: dict[str, Any], path: Path) -> NDArray[np.float64]:
    """Every planned learning rate, checked against the sum that was written beside it."""
    plan = said.get("schedule")
    try:
        lr = SCHEDULES[plan["name"]](plan["steps"], plan["peak"], **plan["options"])  # type: ignore[index]
        if not np.isclose(lr.sum(), float(plan["lr_sum"]), rtol=1e-4):  # type: ignore[index]
            raise ValueError("its rates do not add up to its lr_sum")
    except (KeyError, TypeError, ValueError) as error:
        raise ScalingError(f"{path}: the schedule cannot be rebuilt ({error})") from None
    return lr
