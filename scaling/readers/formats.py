"""The formats that are read, in the order in which they are tried: by what they hold and what they are called."""

from __future__ import annotations

from pathlib import Path

from scaling.errors import TableError, nearest
from scaling.readers.bounds import files_below
from scaling.readers.delimited import DELIMITED
from scaling.readers.huggingface import HUGGINGFACE
from scaling.readers.jsonlines import JSONLINES
from scaling.readers.lightning import LIGHTNING
from scaling.readers.log import Format, Log
from scaling.readers.mlflow import MLFLOW
from scaling.readers.mlflow_database import MLFLOW_DATABASE
from scaling.readers.parquet import PARQUET
from scaling.readers.printed import PRINTED
from scaling.readers.sweep import SWEEP
from scaling.readers.tensorboard import TENSORBOARD
from scaling.readers.wandb import WANDB

FORMATS: tuple[Format, ...] = (
    SWEEP, WANDB, MLFLOW, MLFLOW_DATABASE, HUGGINGFACE, LIGHTNING, TENSORBOARD, PARQUET, JSONLINES, PRINTED, DELIMITED,
)  # fmt: skip


def read_log(path: Path, name: str | None = None) -> tuple[str, Log]:
    """What a file or folder holds, and the format it was read as; `name` says the format where it is known.

    A file of no known kind is read as a CSV. TableError for what is not there, or for a folder without a log.
    """
    if not path.exists():
        raise TableError(f"there is no file {path}")
    chosen = find_format(name) if name else detected(path)
    return chosen.name, chosen.read(path)


def detected(path: Path) -> Format:
    """The first format that a path shows itself to be."""
    files = files_below(path) if path.is_dir() else []
    for candidate in FORMATS:
        if candidate.knows(path, files):
            return candidate
    if path.is_dir():
        said = "; ".join(f.what for f in FORMATS if "folder" in f.what)
        raise TableError(f"{path} is a folder without a log that is known here: {said}")
    return DELIMITED


def find_format(name: str) -> Format:
    """The format of that name."""
    known = {f.name: f for f in FORMATS}
    if name not in known:
        raise TableError(f"there is no format {name!r}; {nearest(name, known)}")
    return known[name]
