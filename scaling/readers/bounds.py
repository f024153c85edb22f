"""How much of a stranger's file is taken in: limits, and the doors to files that keep them.

Everything that is read passes one of these doors. What is beyond a limit is an error that names the limit, so memory
stays bounded; nothing that is read is executed, unpickled or followed to another place.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scaling.errors import TableError

MOST_BYTES = 2**30  # of one file of text, unpacked
MOST_RATIO = 200  # times a packed file may grow, past the first MOST_UNQUESTIONED bytes
MOST_UNQUESTIONED = 2**24
LONGEST_LINE = 2**20  # bytes; a header of MOST_COLUMNS names fits
MOST_COLUMNS = 10_000
MOST_CELLS = 200_000_000  # rows times columns of a table
MOST_VALUES = 5_000_000  # logged numbers of all runs in a source
MOST_FILES = 20_000  # in a folder of logs, all levels
DEEPEST = 12  # folders below the one that was named
MOST_RECORD = 2**22  # bytes of a JSON or YAML file of settings, or of one JSON line
MOST_STATE = 2**28  # bytes of a trainer_state.json, which holds a whole run
MOST_NESTED = 200  # levels of a JSON or YAML document
MOST_KEYS = 5000  # settings of one run


class Bounded(io.RawIOBase):
    """Bytes of `file`, given on until a limit is passed: then TableError. `under` is the packed file."""

    def __init__(self, file: IO[bytes], name: str, under: IO[bytes] | None = None) -> None:
        self.file, self.name, self.under = file, name, under
        self.total = self.line = self.lines = 0
        self.columns = 1  # told by the reader once it knows

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        if self.under:
            self.under.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        if data:
            self._check(data)
            buffer[: len(data)] = data
        return len(data)

    def _check(self, data: bytes) -> None:
        self.total += len(data)
        *whole, rest = data.split(b"\n")
        longest = max((len(part) for part in whole[1:]), default=0)
        longest = max(longest, self.line + len(whole[0] if whole else rest))
        self.line = len(rest) + (0 if whole else self.line)
        self.lines += len(whole)
        check_cells(self.lines, self.columns, self.name)
        if longest > LONGEST_LINE:
            raise TableError(f"{self.name} has a line of more than {LONGEST_LINE:,} bytes: it is not read as a table")
        if self.total > MOST_BYTES:
            raise TableError(f"{self.name} holds more than {MOST_BYTES:,} bytes of text; split it, or use Parquet")
        if self.under and self.total > MOST_UNQUESTIONED and self.total > MOST_RATIO * self.under.tell():
            raise TableError(f"{self.name} unpacks to more than {MOST_RATIO} times its size: unpack it if you trust it")


def check_cells(rows: int, columns: int, name: str) -> None:
    """TableError for a table that would not fit."""
    if rows * columns > MOST_CELLS:
        raise TableError(
            f"{name} has {columns:,} columns and {rows:,} rows or more; a table may have {MOST_CELLS:,} cells"
        )


def check_values(count: int, name: str) -> None:
    """TableError for a source that logged more numbers than are taken in."""
    if count > MOST_VALUES:
        raise TableError(f"{name} holds more than {MOST_VALUES:,} logged values; name a part of it")


def open_bytes(path: Path) -> io.BufferedReader:
    """The bytes of a file, unpacked where it is packed with gzip, within the limits."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    file = path.open("rb")
    if not packed:
        return io.BufferedReader(Bounded(file, str(path)))
    unpacked: Any = gzip.GzipFile(fileobj=file)
    return io.BufferedReader(Bounded(unpacked, str(path), file), 2**16)


@contextlib.contextmanager
def said(name: str, what: str) -> Iterator[None]:
    """Failures to open or to unpack as TableError: `name` cannot be read as `what`."""
    try:
        yield
    except FileNotFoundError:
        raise TableError(f"there is no file {name}") from None
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TableError(f"cannot read {name} as {what}: {reason}") from None


def encoding_of(head: bytes) -> str:
    """By the mark at the beginning; UTF-8 without one."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-8-sig"


def open_text(path: Path) -> io.TextIOWrapper:
    """The text of a file in UTF-8, or in UTF-16 where a mark says so, within the limits. Lines end as they are."""
    stream = open_bytes(path)
    head = stream.peek(2)[:2]
    return io.TextIOWrapper(stream, encoding=encoding_of(head), newline="")


def read_lines(path: Path, what: str) -> Iterator[str]:
    """Lines of a log, without their ends. What is no UTF-8 is shown as �: logs hold what programs print."""
    with said(str(path), what), open_bytes(path) as stream:
        encoding = encoding_of(stream.peek(2)[:2])
        for line in io.TextIOWrapper(stream, encoding=encoding, errors="replace"):
            yield line.rstrip("\r\n")


def read_small(path: Path, what: str, most: int = MOST_RECORD) -> str:
    """The text of a small file: settings, a summary."""
    with said(str(path), what):
        size = path.stat().st_size
        if size > most:
            raise TableError(f"{path} has {size:,} bytes; {what} may have {most:,}")
        return path.read_bytes()[: most + 1].decode("utf-8-sig")


def parse_json(text: str, name: str) -> Any:
    """A JSON document as it is, numbers beyond 18 digits as floats. TableError says where it breaks off."""
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise TableError(f"{name} is nested too deeply to be a log") from None
    except ValueError as error:
        raise TableError(f"cannot read {name} as JSON: {error}") from None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= 18 else float(digits)


def flat(record: Any, name: str) -> dict[str, Any]:
    """Numbers, words and truths of nested settings by their path: {"model": {"n_layer": 2}} gives "model.n_layer"."""
    found: dict[str, Any] = {}
    stack = [("", record, 0)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, dict):
            if depth >= MOST_NESTED:
                raise TableError(f"{name} is nested more than {MOST_NESTED} levels deep")
            stack += [(f"{path}.{key}" if path else str(key), part, depth + 1) for key, part in reversed(value.items())]
        elif isinstance(value, bool | int | float | str):
            found[path] = value
            if len(found) > MOST_KEYS:
                raise TableError(f"{name} holds more than {MOST_KEYS} settings of one run")
    return found


def files_below(folder: Path) -> list[Path]:
    """All plain files in a folder and below, sorted; links are not followed."""
    found: list[Path] = []
    for base, folders, names in os.walk(folder, followlinks=False):
        here = Path(base)
        if len(here.relative_to(folder).parts) >= DEEPEST:
            folders.clear()
        folders.sort()
        found += [here / name for name in sorted(names) if not (here / name).is_symlink()]
        if len(found) > MOST_FILES:
            raise TableError(f"{folder} holds more than {MOST_FILES:,} files; name a smaller folder of logs")
    return found
