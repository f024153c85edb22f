"""Tables as text: CSV with commas, semicolons or tabs, plain or packed with gzip, from a file or a stream."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd

from scaling.errors import TableError
from scaling.readers.bounds import LONGEST_LINE, MOST_COLUMNS, Bounded, encoding_of, open_bytes, said
from scaling.readers.log import Format, Log
from scaling.readers.wandb import is_export, unfold_export

SEPARATORS = ",;\t"
ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".txt")


class _Encoded(io.RawIOBase):
    """The bytes of a stream of text."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream, self.rest = stream, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.rest = self.rest or self.stream.read(2**16).encode("utf-8", errors="surrogatepass")
        data, self.rest = self.rest[: len(buffer)], self.rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def read_delimited(source: Path | IO[str], name: str = "") -> pd.DataFrame:
    """A table from text; the separator is the one of , ; and tab that the header has most of.

    Cells are numbers, text or missing as pandas reads them. TableError for what is no table, or beyond the limits.
    """
    name = name or str(source)
    with said(name, "a CSV"):
        stream = open_bytes(source) if isinstance(source, Path) else _of_stream(source, name)
        with stream:
            encoding = encoding_of(stream.peek(2)[:2])
            text = io.TextIOWrapper(stream, encoding=encoding, newline="")
            first, sample = _begin(text, name)
            if not first.strip():
                raise TableError(f"{name} is empty; expected a CSV with a header line and one row a run")
            separator = max(SEPARATORS, key=first.count)
            names = _cells(first, separator, name)
            bounded = stream.raw
            assert isinstance(bounded, Bounded)
            bounded.columns = first.count(separator) + 1
            decimal = "," if separator == ";" and _decimal_commas(sample) else "."
            try:
                table = pd.read_csv(
                    _Joined(first + sample, text), sep=separator, decimal=decimal, low_memory=False,  # type: ignore[call-overload]
                )  # fmt: skip
            except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
                raise TableError(f"cannot read {name} as a CSV: {' '.join(str(error).split())}") from None
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise TableError(f"{name} has more than one column named {', '.join(repeated[:5])}")
    table.attrs["source"] = name
    if separator != ",":
        what = "tabs" if separator == "\t" else "semicolons"
        commas = ", decimal commas" if decimal == "," else ""
        table.attrs["notes"] = (f"columns separated by {what}{commas}",)
    return table


class _Joined:
    """Text read ahead, and then the rest of a stream: what pandas reads from."""

    def __init__(self, ahead: str, rest: IO[str]) -> None:
        self.ahead, self.rest = ahead, rest

    def read(self, size: int = -1) -> str:
        if not self.ahead:
            return self.rest.read(size)
        if size < 0:
            given, self.ahead = self.ahead + self.rest.read(), ""
        else:
            given, self.ahead = self.ahead[:size], self.ahead[size:]
        return given

    def __iter__(self) -> Any:
        while line := self.read(2**16):
            yield line


def _of_stream(stream: IO[str], name: str) -> io.BufferedReader:
    return io.BufferedReader(Bounded(_Encoded(stream), name))  # type: ignore[arg-type]


def _begin(text: io.TextIOWrapper, name: str) -> tuple[str, str]:
    """The header line, and a few lines more."""
    lines = []
    for _ in range(6):
        line = text.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise TableError(f"{name} has a line of more than {LONGEST_LINE:,} bytes: it is not read as a table")
        lines.append(line)
        if not line:
            break
    while len(lines) > 1 and not lines[0].strip():
        lines.pop(0)
    return lines[0], "".join(lines[1:])


def _cells(line: str, separator: str, name: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise TableError(f"cannot read {name} as a CSV: {error}") from None
    if len(cells) > MOST_COLUMNS:
        raise TableError(f"{name} has {len(cells):,} columns; a table may have {MOST_COLUMNS:,}")
    return [cell.strip() for cell in cells if cell.strip()]


def _decimal_commas(sample: str) -> bool:
    cells = [cell.strip() for line in sample.splitlines() for cell in line.split(";")]
    return any("," in c and "." not in c and c.replace(",", "", 1).strip("+-").isdigit() for c in cells)


def header(path: Path) -> list[str]:
    """The names of the columns of a file of text; empty for what is none."""
    try:
        with open_bytes(path) as stream:
            raw = stream.readline(LONGEST_LINE + 1)
            line = raw.decode(encoding_of(raw[:2]), errors="strict")
    except (TableError, OSError, UnicodeError, EOFError):
        return []
    if len(raw) > LONGEST_LINE:
        return []
    return next(csv.reader([line], delimiter=max(SEPARATORS, key=line.count)), [])


def read_csv(path: Path) -> Log:
    """A table as it stands, or the curves of a chart exported by W&B."""
    table = read_delimited(path)
    return of_table(table)


def of_table(table: pd.DataFrame) -> Log:
    """The log in a table: a W&B chart's as curves, any other as it stands."""
    if is_export([str(c) for c in table.columns]):
        found = unfold_export(table)
        return Log(found.runs, found.curves, (*table.attrs.get("notes", ()), *found.notes))
    return Log(table, plain=True)


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return path.is_file() and path.name.lower().endswith(ENDINGS)


DELIMITED = Format("csv", "CSV or TSV, plain or .gz; also a chart or table exported by W&B", _knows, read_csv)
