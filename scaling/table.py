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

from scaling.errors import TableError, nearest
from scaling.where import select

NUMBERS = ("N", "D", "C", "loss")
#: Names others give to our columns; the first that a file has is taken.
ALIASES = {
    "N": ("params", "parameters", "n_params", "num_params", "Model Size", "model_size"),
    "D": ("tokens", "n_tokens", "num_tokens", "training_tokens"),
    "C": ("flops", "compute", "n_flops", "training_flops", "Training FLOP"),
    "loss": ("final_loss", "val_loss", "validation_loss", "eval_loss"),
    "run": ("run_id", "run_name", "name", "key"),
}
CURVE_ALIASES = {
    "step": ("steps", "iter", "iteration", "global_step"),
    "lr": ("learning_rate", "lrs"),
    "run": ALIASES["run"],
    "loss": ("val_loss", "train_loss"),
}
Source = str | os.PathLike[str] | IO[str] | pd.DataFrame


def read_table(source: Source, *, map: Mapping[str, str] | None = None, where: str | None = None) -> pd.DataFrame:
    """One row a run, with columns N (parameters), D (tokens), C (FLOP), loss, run as far as the file has them.

    source  path of a CSV (.gz too), an open text stream, or a DataFrame
    map     {"N": "params", ...}: our name -> the file's name; without it well-known names are recognised
    where   a row filter, such as 'N > 1e7 and status == "finished"'

    The one of N, D, C that is missing is derived from C = 6 N D. All other columns are kept as they are. Raises
    TableError for a file that is missing, empty or not a table.
    """
    table = _renamed(_load(source), map or {}, ALIASES)
    for name in NUMBERS:
        if name in table:
            _to_number(table, name)
    for name, others, rule in (
        ("C", ("N", "D"), lambda n, d: 6 * n * d),
        ("D", ("C", "N"), lambda c, n: c / (6 * n)),
        ("N", ("C", "D"), lambda c, d: c / (6 * d)),
    ):
        if name not in table and all(o in table for o in others):
            table[name] = rule(*(table[o] for o in others))
            table.attrs["notes"] += (f"{name} derived from {' and '.join(others)} by C = 6 N D",)
    if "run" not in table:
        table["run"] = [f"row {i}" for i in table.index]
        table.attrs["made"] = ("run",)
        table.attrs["notes"] += ("no column run: each row is taken as a run of its own",)
    return table if where is None else _keeping_attrs(table, select(table, where))


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
    there = [str(c) for c in table.columns if c not in table.attrs.get("made", ())]
    has = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
    reads = ", ".join(columns.values())
    fixes = " ".join(f"--map {name}=COLUMN" for name in missing)
    source = table.attrs.get("source", "the table")
    hint = nearest(missing[0], map(str, table.columns)) if len(table.columns) else ""
    also = f" ({hint})" if hint.startswith("did you") else ""
    return (
        f"{law} reads {reads}; {source} has {has}. Missing: {', '.join(missing)}{also}. Name the columns with "
        f"map={{...}} or {fixes}"
    )


def _load(source: Source) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        table = source.copy()
        table.attrs = dict(source.attrs)
        table.attrs.setdefault("source", "the table")
    else:
        name = str(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "the stream")
        if isinstance(source, str | os.PathLike) and Path(source).is_dir():
            raise TableError(
                f"{name} is a folder; give a CSV file (for a folder of sweeps: sweeps collect {name} -o {name})"
            )
        try:
            table = pd.read_csv(source, low_memory=False)
        except FileNotFoundError:
            raise TableError(f"there is no file {name}") from None
        except pd.errors.EmptyDataError:
            raise TableError(f"{name} is empty; expected a CSV with a header line and one row a run") from None
        except (pd.errors.ParserError, UnicodeDecodeError, OSError, EOFError) as error:
            raise TableError(f"cannot read {name} as a CSV: {error}") from None
        table.attrs["source"] = name
    names = {*ALIASES, *CURVE_ALIASES}
    # pandas calls the second of two columns of one name NAME.1
    repeated = [*table.columns[table.columns.duplicated()], *(n for n in sorted(names) if f"{n}.1" in table)]
    if len(table.columns) == 1 and (separator := next((s for s in ";\t" if s in str(table.columns[0])), None)):
        said = "tabs" if separator == "\t" else repr(separator)
        raise TableError(f"{table.attrs['source']} is separated by {said}; expected a CSV separated by commas")
    if repeated:
        raise TableError(f"{table.attrs['source']} has more than one column named {', '.join(map(str, repeated))}")
    if not len(table):
        raise TableError(f"{table.attrs['source']} has a header and no rows")
    if not table.index.is_unique:
        table = _keeping_attrs(table, table.reset_index(drop=True))
    table.attrs.setdefault("notes", ())
    table.attrs.setdefault("damaged", {})
    return table


def _renamed(table: pd.DataFrame, mapping: Mapping[str, str], aliases: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    given = table.copy(deep=False)
    for ours, theirs in mapping.items():
        if theirs not in given:
            raise TableError(
                f"map asks for {ours} from a column {theirs!r}, which {table.attrs['source']} does not have; "
                f"{nearest(theirs, map(str, table.columns))}"
            )
        table[ours] = given[theirs]
    for ours, names in aliases.items():
        found = [name for name in names if name in table]
        if found and ours not in table:
            table[ours] = table[found[0]]
            table.attrs["notes"] += (f"{ours} read from column {found[0]!r}",)
    return table


def _to_number(table: pd.DataFrame, column: str) -> None:
    """Turn a column to floats in place, remembering cells that held text."""
    if pd.api.types.is_numeric_dtype(table[column]):
        table[column] = table[column].astype(float)
        return
    numbers = pd.to_numeric(table[column], errors="coerce")
    bad = table[column][numbers.isna() & table[column].notna()]
    table.attrs["damaged"] = table.attrs["damaged"] | dict(zip([(i, column) for i in bad.index], bad, strict=True))
    table[column] = numbers.astype(float)


def _keeping_attrs(source: pd.DataFrame, result: pd.DataFrame) -> pd.DataFrame:
    result = result.copy()
    result.attrs = dict(source.attrs)
    return result
