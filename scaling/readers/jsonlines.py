"""JSON lines: one object a line, of runs or of logged steps. Nested names are joined by dots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import TableError
from scaling.readers.bounds import MOST_COLUMNS, check_cells, flat, open_text, parse_json, said
from scaling.readers.log import Format, Log

ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def read_jsonlines(path: Path) -> Log:
    """A table with a column for every name that a line has."""
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
            rows.append(flat(record, name))
            names |= dict.fromkeys(rows[-1])
            if len(names) > MOST_COLUMNS:
                raise TableError(f"{path} has more than {MOST_COLUMNS:,} names; a table may have that many columns")
            check_cells(len(rows), len(names), str(path))
    if not rows:
        raise TableError(f"{path} is empty; expected one JSON object a line")
    notes = ("the last line was cut short: it is left out",) if cut else ()
    return Log(pd.DataFrame(rows, columns=list(names)), notes=notes, plain=True)


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return path.is_file() and path.name.lower().endswith(ENDINGS)


JSONLINES = Format("jsonl", "JSON lines, plain or .gz", _knows, read_jsonlines)
