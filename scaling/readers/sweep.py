"""A folder that `sweeps` wrote: its collected runs.csv and curves.csv, or else its records, read as they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.columns import RUNS
from scaling.errors import TableError
from scaling.readers.bounds import MOST_FILES, MOST_STATE, parse_json, read_small
from scaling.readers.delimited import read_delimited
from scaling.readers.log import Format, Log

RECORD, CURVE, FINAL = "run.json", "curve.csv", "final.json"


def read_sweep(path: Path) -> Log:
    """The tables as `sweeps collect` writes them; a run is finished if and only if its final.json says so."""
    tables = {name: path / f"{name}.csv" for name in ("runs", "curves") if (path / f"{name}.csv").is_file()}
    if tables:
        found = {name: read_delimited(file) for name, file in tables.items()}
        said = f"read {' and '.join(file.name for file in tables.values())} of {path}"
        return Log(found.get("runs", pd.DataFrame()), found.get("curves", pd.DataFrame()), (said,))
    folders = [folder for folder in sorted(path.iterdir()) if (folder / RECORD).is_file() and not folder.is_symlink()]
    if len(folders) > MOST_FILES:
        raise TableError(f"{path} holds more than {MOST_FILES:,} runs")
    runs, curves = [], []
    for folder in folders:
        record = _json(folder / RECORD)
        final = _json(folder / FINAL) if (folder / FINAL).is_file() else {}
        try:
            runs.append(_row(record, final))
        except (KeyError, TypeError) as error:
            raise TableError(f"{folder / RECORD} lacks {error}: it is no record of a run") from None
        if (folder / CURVE).is_file():
            curves.append(_curve(folder / CURVE).assign(run=record["key"]))
    corpora = sorted({str(row["corpus"]) for row in runs})
    if len(corpora) > 1:
        raise TableError(
            f"the runs in {path} are on {len(corpora)} different texts, on which losses do not compare; collect one: "
            f"sweeps collect {path} -o {path} --corpus {corpora[0]}"
        )
    notes = (f"read the records of {len(runs)} runs in {path}",)
    return Log(pd.DataFrame(runs), pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(), notes)


def _json(path: Path) -> dict[str, Any]:
    record = parse_json(read_small(path, "a record of a run"), str(path))
    if not isinstance(record, dict):
        raise TableError(f"{path} is no record of a run")
    return record


def _curve(path: Path) -> pd.DataFrame:
    """The logged steps of a run; a last line without its line break was cut short by a kill and does not count."""
    text = read_small(path, "the curve of a run", MOST_STATE)
    whole = text[: text.rfind("\n") + 1]
    return read_delimited(io.StringIO(whole), str(path)) if whole else pd.DataFrame()


def _row(record: dict[str, Any], final: dict[str, Any]) -> dict[str, Any]:
    """One row of runs.csv."""
    run, n, d = record["run"], record["parameters"]["matmul"], record["tokens"]
    return {name: run[name] for name in RUNS if name in run} | {
        "run": record["key"], "N": n, "D": d, "C": 6.0 * n * d,
        "loss": final.get("loss"), "loss_se": final.get("loss_se"), "bits_per_byte": final.get("bits_per_byte"),
        "status": final.get("status", "running"), "trunk": record["trunk"],
        "N_total": record["parameters"]["chinchilla"], "N_embedding": record["parameters_by_group"]["embedding"],
        "flops": record["flops"], "flops_marginal": record["flops_marginal"],
    }  # fmt: skip


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return path.is_dir() and (
        any((path / f"{name}.csv").is_file() for name in ("runs", "curves"))
        or any(file.name == RECORD and file.parent.parent == path for file in files)
    )


SWEEP = Format("sweep", "a folder that sweeps wrote, or one with runs.csv and curves.csv", _knows, read_sweep)
