"""JSON lines, one object a line, and a JSON list of objects: runs or logged steps. Nested names are joined by dots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import TableError
from scaling.readers.bounds import (
    MOST_COLUMNS,
    MOST_STATE,
    check_cells,
    flat,
    open_text,
    parse_json,
    read_small,
    said,
)
from scaling.readers.log import Format, Log

ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
WHOLE = ".json"


def read_jsonlines(path: Path) -> Log:
    """A table with a column for every name that a line, or an object of the list, has."""
    if path.name.lower().endswith(WHOLE):
        return _listed(path)
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    cut = 0
    with said(str(path), "JSON lines"), open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            name = f"{path} line {number}"
            try:
                record = parse_json(line, name)
            except TableError:
                if line.endswith("\n"):
                    raise
                cut = 1  # the last line of a log that was stopped
                break
            if not isinstance(record, dict):
                raise TableError(f"{name}: expected an object, {{...}}, found {line.strip()[:40]!r}")
            _add(record, name, rows, names, path)
    if not rows:
        raise TableError(f"{path} is empty; expected one JSON object a line")
    notes = ("the last line was cut short: it is left out",) if cut else ()
    return Log(pd.DataFrame(rows, columns=list(names)), notes=notes, plain=True)


def _add(record: Any, name: str, rows: list[dict[str, Any]], names: dict[str, None], path: Path) -> None:
    """One more row, within the limits of a table."""
    rows.append(flat(record, name))
    names |= dict.fromkeys(rows[-1])
    if len(names) > MOST_COLUMNS:
        raise TableError(f"{path} has more than {MOST_COLUMNS:,} names; a table may have that many columns")
    check_cells(len(rows), len(names), str(path))


def _listed(path: Path) -> Log:
    """The table in a file that is one JSON list of objects."""
    records = parse_json(read_small(path, "a table in JSON", MOST_STATE), str(path))
    if not (isinstance(records, list) and records and all(isinstance(record, dict) for record in records)):
        raise TableError(
            f"{path} is no list of objects, [{{...}}, ...]: a table in JSON is one, or one object a line in a file "
            ".jsonl; what Hugging Face and W&B write is known as trainer_state.json and wandb-summary.json"
        )
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, record in enumerate(records, 1):
        _add(record, f"{path} object {number}", rows, names, path)
    return Log(pd.DataFrame(rows, columns=list(names)), plain=True)


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return path.is_file() and path.name.lower().endswith((*ENDINGS, WHOLE))


JSONLINES = Format("jsonl", "JSON lines, plain or .gz; a JSON list of objects", _knows, read_jsonlines)
