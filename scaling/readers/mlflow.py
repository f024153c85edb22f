"""MLflow's store of files: EXPERIMENT/RUN/ with meta.yaml, params/NAME, and metrics/NAME of lines `time value step`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import check_values, files_below, read_lines, read_small
from scaling.readers.log import Format, Log, log_of
from scaling.readers.settings import read_yaml

STATUS = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "failed"}  # MLflow's RunStatus
LONGEST_PARAM = 6000  # bytes: MLflow's own limit


def read_mlflow(path: Path) -> Log:
    """All runs of all experiments in a store, or of one experiment, or one run. Deleted runs are left out."""
    metas = [f for f in files_below(path) if f.name == "meta.yaml" and _is_run(f.parent)]
    settings: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    deleted = count = 0
    for meta in metas:
        folder, record = meta.parent, read_yaml(meta)
        if record.get("lifecycle_stage") == "deleted":
            deleted += 1
            continue
        name = str(record.get("run_name") or folder.name)
        run = name if name not in settings else f"{name} ({folder.name[:8]})"
        settings[run] = _params(folder / "params") | {"status": STATUS.get(record.get("status", 0), "")}
        rows[run] = _metrics(folder / "metrics")
        count += len(rows[run])
        check_values(count, str(path))
    if not settings:
        raise TableError(f"{path} is a store of MLflow without a run")
    return log_of(settings, rows, [f"{deleted} deleted runs were left out"] if deleted else [])


def _is_run(folder: Path) -> bool:
    return (folder / "metrics").is_dir() or (folder / "params").is_dir()


def _params(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        return {}
    found: dict[str, Any] = {}
    for file in files_below(folder):
        word = read_small(file, "a parameter", LONGEST_PARAM).strip()
        try:
            found[file.relative_to(folder).as_posix()] = float(word) if word else None
        except ValueError:
            found[file.relative_to(folder).as_posix()] = word
    return found


def _metrics(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        return []
    rows = []
    for file in files_below(folder):
        name = file.relative_to(folder).as_posix()
        lines = list(read_lines(file, "a metric of MLflow"))
        for number, line in enumerate(lines, 1):
            parts = line.split()
            try:
                value, step = float(parts[1]), float(parts[2]) if len(parts) > 2 else 0.0
            except (IndexError, ValueError):
                if number == len(lines):  # cut short by a kill
                    break
                raise TableError(f"{file} line {number}: expected time, value and step, found {line[:60]!r}") from None
            rows.append({"step": step if math.isfinite(step) else math.nan, name: value})
    return rows


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return any(file.name == "meta.yaml" for file in files)


MLFLOW = Format("mlflow", "a folder in which MLflow keeps runs as files (mlruns)", _knows, read_mlflow)
