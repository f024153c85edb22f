"""Tables of runs and of curves: anybody's CSV in, a DataFrame with known columns out, with a note of all that was done.

A table keeps its notes in `attrs`: "notes" (what was renamed or derived) and "damaged" (cells that held text where a
number belongs). Rows are never dropped here: `usable` drops them for one law, says why, and the fit keeps the list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.assembly import runs_of, set_columns
from scaling.configs import with_sizes
from scaling.errors import LONGEST, TableError, nearest
from scaling.last_rows import UNFINISHED
from scaling.naming import CURVE_NAMES, RUN_NAMES, plain, renamed
from scaling.readers.log import Log
from scaling.reading import Reading, read_reading
from scaling.where import select

NUMBERS = ("N", "D", "C", "loss")
#: Settings whose product is often the tokens of an update, on one device: named in a hint, never multiplied unasked.
BATCH = ("batch_size", "gradient_accumulation_steps", "block_size", "context", "seq_len", "max_seq_len", "n_positions")
Source = str | os.PathLike[str] | IO[str] | pd.DataFrame


def read_table(
    source: Source,
    *,
    map: Mapping[str, str] | None = None,
    where: str | None = None,
    reading: Reading | str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """One row a run, with columns N (parameters), D (tokens), C (FLOP), loss, run as far as the source has them.

    source   path of a table or log in any of `scaling.readers.formats.FORMATS`, an open text stream, or a DataFrame
    map      {"N": "params", ...}: our name -> the source's; without it well-known names are recognised
    where    a row filter, such as 'N > 1e7 and status == "finished"'
    reading  units, arithmetic, smoothing, which rows are final losses: a `Reading`, or the path of a TOML

    The one of N, D, C that is missing is derived from C = 6 N D, and N from a model's width, depth and vocabulary. Of
    the curves in a log, the last row of every run that came to its end is taken. All other columns are kept as they
    are. Raises TableError for a file that is missing, empty or not a table.
    """
    asked = reading_of(reading).with_columns(map or {})
    name, log = load(source, asked.format)
    table = _stated(log.runs, asked, log.notes) if log.plain else runs_of(log, asked, name)
    table = prepared(table, name)
    if log.plain and asked.final in ("decayed", "last"):
        table = _finals(table, log.runs, asked, name)
    for column in NUMBERS:
        if column in table:
            to_number(table, column)
    grows = bool(log.plain and not asked.final and _checkpoints(table))
    for derived, others, rule in (
        ("C", ("N", "D"), lambda n, d: 6 * n * d),
        ("D", ("C", "N"), lambda c, n: c / (6 * n)),
        ("N", ("C", "D"), lambda c, d: c / (6 * d)),
    ):
        if derived not in table and all(o in table for o in others) and not (grows and derived == "N"):
            table[derived] = rule(*(table[o] for o in others))
            table.attrs["notes"] += (f"{derived} derived from {' and '.join(others)} by C = 6 N D",)
    if "run" not in table:
        table["run"] = [f"row {i}" for i in table.index]
        table.attrs["made"] = ("run",)
        table.attrs["notes"] += ("no column run: each row is taken as a run of its own",)
    if where is not None:
        table = filtered(table, where)
    if log.plain and not asked.final:
        table.attrs["checkpoints"] = _checkpoints(table)
        table.attrs["notes"] += (*table.attrs["checkpoints"], *_unfinished(table))
    return table


def _stated(table: pd.DataFrame, asked: Reading, notes: tuple[str, ...]) -> pd.DataFrame:
    """A table that a person wrote, under our names."""
    attrs = table.attrs
    table = table.copy(deep=False)
    table.attrs = attrs | {"notes": (*attrs.get("notes", ()), *notes)}
    return with_sizes(set_columns(renamed(table, asked.columns, RUN_NAMES, asked.units), asked.set))


def _finals(table: pd.DataFrame, raw: pd.DataFrame, asked: Reading, name: str) -> pd.DataFrame:
    """The final rows of a table of curves."""
    found = runs_of(Log(curves=raw.copy(deep=False)), asked, name)
    found.attrs = table.attrs | found.attrs
    return found


def _unfinished(table: pd.DataFrame) -> tuple[str, ...]:
    """A word of warning where runs that did not end have a loss."""
    if not {"status", "loss"} <= set(table.columns):
        return ()
    words = table["status"].astype(str).str.lower()
    rows = words.isin(UNFINISHED) & table["loss"].notna()
    if not rows.any():
        return ()
    said = ", ".join(sorted(set(words[rows])))
    return (f"{int(rows.sum())} rows with a loss are of runs that are {said}: leave them out with --where on status",)


def _checkpoints(table: pd.DataFrame) -> tuple[str, ...]:
    """A word of warning where one run has rows at many steps."""
    if "run" not in table or step_column(table) is None:
        return ()
    runs = table["run"].nunique()
    if len(table) < 2 * runs:
        return ()
    return (
        f"{len(table)} rows at several steps of {runs} runs: rows before a run's end are no final losses; --final "
        "decayed keeps the last row of every run that came to its end, --final rows takes all for what is meant, and "
        "laws of whole curves, such as ncl, read all",
    )


def checkpoints(table: pd.DataFrame, columns: Mapping[str, str]) -> list[str]:
    """Problems of rows that a law of runs reads: whether many are of one run, where nobody said that this is meant."""
    if not table.attrs.get("checkpoints") or step_column(table) in columns.values():
        return []
    return list(_checkpoints(table))


def step_column(table: pd.DataFrame) -> str | None:
    """The column that counts updates, if any."""
    known = {plain(str(c)): str(c) for c in table.columns}
    return next((known[name] for name in ("step", *sum(CURVE_NAMES["step"], ())) if name in known), None)


def usable(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    law: str,
    positive: tuple[str, ...] | None = None,
    zero: tuple[str, ...] = (),
    signed: tuple[str, ...] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that a law can read, and the others with `row` and `reason`.

    columns maps what the law reads ("N", "loss", ...) to columns of the table. A row is dropped when a value is
    missing, not a number, infinite or, for columns in `positive` (default: all but those in `signed`), not above 0, or
    when it repeats an earlier row. Columns in `zero` may be 0.
    """
    missing = [c for c in columns.values() if c not in table]
    if missing:
        raise TableError(_missing_columns(table, columns, missing, law))
    attrs, made = table.attrs, list(table.attrs.get("made", ()))
    table = table.copy(deep=False)
    table.attrs = {}  # which pandas would copy at every step
    damaged = attrs.get("damaged", {})
    numbers = {c: pd.to_numeric(table[c], errors="coerce").to_numpy(float) for c in dict.fromkeys(columns.values())}
    reasons: dict[Any, str] = {}
    good = np.ones(len(table), bool)
    for column, values in numbers.items():
        bounded = column not in signed if positive is None else column in positive
        enough = (values >= 0 if column in zero else values > 0) if bounded else np.ones(len(values), bool)
        wrong = ~(np.isfinite(values) & enough)
        for at in np.flatnonzero(wrong).tolist():
            row = table.index[at]
            raw = damaged.get((row, column), table[column].iloc[at])
            reasons.setdefault(row, f"{column} is {_said(raw, column in zero)}{_status(table, at)}")
        good &= ~wrong
    if "run" in table:
        repeats = _repeats(table[good], numbers[columns["loss"]][good], made)
        reasons |= dict.fromkeys(table.index[good][repeats], "repeats an earlier row exactly")
        good[np.flatnonzero(good)[repeats]] = False
    kept = table[good]
    for column, values in numbers.items():
        kept[column] = values[good]
    kept.attrs = dict(attrs)
    dropped = pd.DataFrame({"row": list(reasons), "reason": list(reasons.values())})
    return kept, dropped


def _repeats(table: pd.DataFrame, loss: NDArray[np.float64], made: list[str]) -> NDArray[np.int64]:
    """Places of the rows that repeat an earlier one in all columns but those that were made."""
    maybe = np.flatnonzero(pd.Series(loss).duplicated(keep=False))  # most tables have few equal losses to look at
    if not len(maybe):
        return maybe
    return maybe[table.iloc[maybe].drop(columns=made).duplicated(keep="first").to_numpy()]


def _said(raw: Any, zero: bool) -> str:
    if isinstance(raw, str):
        return f"not a number: {raw[:40]!r}" if raw.strip() else "missing"
    if raw is None or raw is pd.NA or np.isnan(raw):
        return "missing"
    return "infinite" if np.isinf(raw) else f"{raw:g}, {'below' if zero else 'not above'} 0"


def _status(table: pd.DataFrame, at: Any) -> str:
    status = table["status"].iloc[at] if "status" in table else None
    return f" (status: {status})" if isinstance(status, str) and status not in ("", "finished") else ""


def _missing_columns(table: pd.DataFrame, columns: Mapping[str, str], missing: list[str], law: str) -> str:
    there = [str(c)[:LONGEST] for c in table.columns if c not in table.attrs.get("made", ())]
    has = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
    reads = ", ".join(columns.values())
    fixes = " ".join(f"--map {name}=COLUMN" for name in missing)
    source = table.attrs.get("source", "the table")
    hint = nearest(missing[0], map(str, table.columns)) if len(table.columns) else ""
    also = f" ({hint})" if hint.startswith("did you") else ""
    return (
        f"{law} reads {reads}; {source} has {has}. Missing: {', '.join(missing)}{also}. Name the columns with "
        f"map={{...}} or {fixes}{_instead(table, missing)}"
    )


def _instead(table: pd.DataFrame, missing: list[str]) -> str:
    """What else could be meant where a table has steps."""
    known, step = {plain(str(c)): str(c) for c in table.columns}, step_column(table)
    if step is None:
        return ""
    if len(table) > table["run"].nunique() and any(name in known for name in ("lr", *CURVE_NAMES["lr"][0])):
        return f". These are curves: give them to a law of whole curves: scaling fit ncl {table.attrs['source']}"
    sizes = [known[name] for name in BATCH if name in known]
    product = " * ".join([step, *(sizes if len(sizes) > 1 else ["TOKENS_PER_UPDATE"])])
    return f"; or work it out: --set 'D={product}'" if "D" in missing else ""


def reading_of(reading: Reading | str | os.PathLike[str] | None) -> Reading:
    """A reading as it is, from a TOML, or with nothing said."""
    if reading is None or isinstance(reading, Reading):
        return reading or Reading()
    return read_reading(reading)


def load(source: Source, kind: str = "") -> tuple[str, Log]:
    """The name of a source and the log in it; a DataFrame or a stream of text is a table as it stands."""
    if isinstance(source, pd.DataFrame):
        return str(source.attrs.get("source", "the table")), Log(source.copy(), plain=True)
    if isinstance(source, str | os.PathLike):
        from scaling.readers.formats import read_log

        return str(source), read_log(Path(source), kind)[1]
    from scaling.readers.delimited import of_table, read_delimited

    name = getattr(source, "name", "the stream")
    return name, of_table(read_delimited(source, name))


def prepared(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """A table with rows, each column once, each row under a number of its own, and the notes that go with it."""
    table.attrs.setdefault("source", source)
    table.attrs.setdefault("notes", ())
    table.attrs.setdefault("damaged", {})
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise TableError(f"{table.attrs['source']} has more than one column named {', '.join(map(str, repeated))}")
    if not len(table):
        raise TableError(f"{table.attrs['source']} has a header and no rows")
    return table if table.index.is_unique else keeping_attrs(table, table.reset_index(drop=True))


def to_number(table: pd.DataFrame, column: str) -> None:
    """Turn a column to floats in place, remembering cells that held text."""
    if pd.api.types.is_numeric_dtype(table[column]):
        table[column] = table[column].astype(float)
        return
    numbers = pd.to_numeric(table[column], errors="coerce")
    bad = table[column][numbers.isna() & table[column].notna()]
    table.attrs["damaged"] = table.attrs["damaged"] | dict(zip([(i, column) for i in bad.index], bad, strict=True))
    table[column] = numbers.astype(float)


def keeping_attrs(source: pd.DataFrame, result: pd.DataFrame) -> pd.DataFrame:
    result = result.copy()
    result.attrs = dict(source.attrs)
    return result


def filtered(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows for which a filter holds; TableError where it holds for none."""
    result = keeping_attrs(table, select(table, where))
    if not len(result):
        raise TableError(f"--where {where!r} leaves none of the {len(table)} rows of {table.attrs['source']}")
    return result
