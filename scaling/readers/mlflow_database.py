"""MLflow's store in an SQLite file (mlflow.db, its default): the tables runs, params and metrics, never written to.

The database is opened read-only; what is called a table must be one, so that no view, trigger or module of the file
runs; a query that does not come to an end is broken off.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import MOST_VALUES, check_values
from scaling.readers.log import Format, Log, log_of

MAGIC = b"SQLite format 3\x00"
NAME = "mlflow.db"
TABLES = ("runs", "params", "metrics")
PATIENCE, EVERY = 10_000, 1_000_000  # calls of a check, and steps of SQLite's machine between two


def read_mlflow_database(path: Path) -> Log:
    """All runs in the database of an MLflow store. Deleted runs are left out."""
    file = path / NAME if path.is_dir() else path
    with _opened(file) as database:
        settings: dict[str, dict[str, Any]] = {}
        names: dict[str, str] = {}
        deleted = 0
        for key, name, status, stage in database.execute("SELECT run_uuid, name, status, lifecycle_stage FROM runs"):
            if stage == "deleted":
                deleted += 1
                continue
            run = str(name or key)
            names[str(key)] = run if run not in settings else f"{run} ({str(key)[:8]})"
            settings[names[str(key)]] = {"status": str(status).lower()}
        rows: dict[str, list[dict[str, Any]]] = {run: [] for run in settings}
        for key, name, value in database.execute("SELECT run_uuid, key, value FROM params"):
            if str(key) in names:
                settings[names[str(key)]].setdefault(str(name), _plain(value))
        asked = "SELECT run_uuid, key, value, step, is_nan FROM metrics ORDER BY timestamp LIMIT ?"
        for count, (key, name, value, step, missing) in enumerate(database.execute(asked, (MOST_VALUES + 1,)), 1):
            check_values(count, str(file))
            if str(key) in names and isinstance(value, int | float) and isinstance(step, int):
                rows[names[str(key)]].append({"step": step, str(name): float("nan") if missing else value})
    if not settings:
        raise TableError(f"{file} is a store of MLflow without a run")
    return log_of(settings, rows, [f"{deleted} deleted runs were left out"] if deleted else [])


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    calls = 0

    def impatient() -> int:
        nonlocal calls
        calls += 1
        return calls > PATIENCE

    try:
        with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.set_progress_handler(impatient, EVERY)
            known = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
            lacking = [name for name in TABLES if not str(known.get(name, "")).upper().startswith("CREATE TABLE")]
            if lacking:
                raise TableError(f"{file} is an SQLite database without MLflow's table {', '.join(lacking)}")
            yield database
    except sqlite3.Error as error:
        raise TableError(f"cannot read {file} as a store of MLflow: {error}") from None


def _plain(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value if isinstance(value, str) else None


def _knows(path: Path, files: Sequence[Path]) -> bool:
    if path.is_dir():
        return path / NAME in files
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


MLFLOW_DATABASE = Format("mlflow-db", "mlflow.db, MLflow's store in SQLite", _knows, read_mlflow_database)
