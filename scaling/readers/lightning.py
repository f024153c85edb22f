"""metrics.csv of Lightning's CSVLogger, whose rows each hold what was logged at once, with hparams.yaml beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import files_below, flat
from scaling.readers.delimited import header, read_delimited
from scaling.readers.log import Format, Log, log_of
from scaling.readers.settings import read_yaml

METRICS, SETTINGS = "metrics.csv", "hparams.yaml"


def read_lightning(path: Path) -> Log:
    """A metrics.csv, or all in a folder: NAME/version_0 is the run NAME where it has no other version."""
    files = [f for f in files_below(path) if f.name == METRICS] if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    settings: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        run = file.parent.relative_to(root).as_posix()
        run = root.resolve().name if run == "." else run
        if run.endswith("/version_0") and len(list(file.parent.parent.glob("version_*"))) == 1:
            run = run.removesuffix("/version_0")
        table = read_delimited(file)
        if "step" not in table:
            raise TableError(f"{file} has no column step: it is no metrics.csv of Lightning")
        rows[run] = [{str(k): v for k, v in row.items() if v == v} for row in table.to_dict("records")]
        beside = file.parent / SETTINGS
        settings[run] = flat(read_yaml(beside), str(beside)) if beside.is_file() else {}
    return log_of(settings, rows)


def _knows(path: Path, files: Sequence[Path]) -> bool:
    named = [file for file in files or [path] if file.name == METRICS and file.is_file()]
    return any({"step", "epoch"} <= set(header(file)) for file in named)


LIGHTNING = Format("lightning", "metrics.csv of Lightning's CSVLogger, or a folder of them", _knows, read_lightning)
