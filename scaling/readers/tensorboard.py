"""TensorBoard's event files, read without TensorBoard: scalars, however they are kept, and hyper-parameters.

A file is a row of records: length (8 bytes), its checksum, the data, its checksum (CRC-32C, rotated and shifted);
the data are `Event` messages. Records longer than MOST_EVENT are pictures, graphs or sounds and are passed over unread.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import check_values, files_below, said
from scaling.readers.log import Format, Log, log_of
from scaling.readers.wire import fields, first, float32, float64, signed, text

MOST_EVENT = 2**16  # bytes of an event with scalars
MOST_EVENTS = 20_000_000  # in one file, pictures and graphs included
NAME = re.compile(r"(^|\.)tfevents\.")
FLOAT, DOUBLE = 1, 2  # TensorFlow's numbers for types of tensors


def _table() -> list[int]:
    """The remainders of all bytes by the reversed polynomial of CRC-32C (Castagnoli)."""
    remainders = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        remainders.append(value)
    return remainders


REMAINDERS = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C of the data, rotated right by 15 bits, plus a constant: as TFRecord files keep it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = REMAINDERS[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path: Path, cut: list[str]) -> Iterator[bytes]:
    """Data of every record of a size that scalars have; a last one that was cut short is noted in `cut`."""
    with said(str(path), "an event file"), path.open("rb") as file:
        whole = path.stat().st_size
        for count in range(MOST_EVENTS):
            at = file.tell()
            head = file.read(12)
            if not head:
                return
            if len(head) < 12:
                cut.append(str(path))
                return
            if masked_crc(head[:8]) != struct.unpack("<I", head[8:])[0]:
                what = "no event file of TensorBoard" if count == 0 else f"damaged at byte {at:,} (record {count})"
                raise TableError(f"{path} is {what}: the checksum of a record's length is wrong")
            size = struct.unpack("<Q", head[:8])[0]
            if size + 4 > whole - file.tell():
                cut.append(str(path))
                return
            if size > MOST_EVENT:
                file.seek(size + 4, 1)
                continue
            data, check = file.read(size), file.read(4)
            if masked_crc(data) != struct.unpack("<I", check)[0]:
                raise TableError(f"{path} is damaged at byte {at:,} (record {count}): its checksum is wrong")
            yield data
    raise TableError(f"{path} has more than {MOST_EVENTS:,} records")


def read_tensorboard(path: Path) -> Log:
    """One run a folder that holds event files; of several files in a folder, the later ones go on with the run."""
    root = path if path.is_dir() else path.parent
    files = [f for f in files_below(path) if NAME.search(f.name)] if path.is_dir() else [path]
    settings: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    cut: list[str] = []
    count = 0
    for file in sorted(files, key=lambda f: (f.parent, f.name)):
        inner = file.parent.relative_to(root).as_posix()
        run = root.resolve().name if inner == "." else inner
        settings.setdefault(run, {})
        for data in records(file, cut):
            step, values = _event(data, str(file))
            for tag, value in values:
                if isinstance(value, dict):
                    settings[run] |= value
                else:
                    count += 1
                    check_values(count, str(path))
                    rows.setdefault(run, []).append({"step": step, tag: value})
    notes = (
        [f"{len(cut)} event files end within a record, as when a run is stopped: the record is left out"] if cut else []
    )
    if not rows:
        raise TableError(f"{path} has {len(files)} event files and no scalar in them")
    return log_of(settings, rows, notes)


def _event(data: bytes, name: str) -> tuple[int, list[tuple[str, Any]]]:
    """The step of an event, and its scalars by tag; hyper-parameters as a dict."""
    step, values = 0, []
    for number, value in fields(data, name):
        if number == 2 and isinstance(value, int):
            step = signed(value)
        elif number == 5 and isinstance(value, bytes):
            for inner, part in fields(value, name):
                if inner == 1 and isinstance(part, bytes):
                    values += _value(part, name)
    return step, values


def _value(message: bytes, name: str) -> list[tuple[str, Any]]:
    tag, found, plugin, content = "", None, "", b""
    for number, value in fields(message, name):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            tag = text(value)
        elif number == 2 and len(value) == 4:
            found = float32(value)
        elif number == 8:
            found = _tensor(value, name)
        elif number == 9:
            data = first(value, 1, name) or b""
            plugin, content = text(first(data, 1, name) or b""), first(data, 2, name) or b""
    if plugin == "hparams":
        session = first(content, 3, name)
        return [("", _hparams(session, name))] if session else []
    return [] if found is None else [(tag, found)]


def _tensor(message: bytes, name: str) -> float | None:
    """The number in a tensor that holds one number; None for all others."""
    kind, shaped, raw = 0, False, None
    for number, value in fields(message, name):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            shaped = any(n == 2 for n, _ in fields(value, name))
        elif number in (4, 5, 6) and isinstance(value, bytes):
            raw = value
    if shaped or raw is None:
        return None
    if kind == FLOAT and len(raw) == 4:
        return float32(raw)
    return float64(raw) if kind == DOUBLE and len(raw) == 8 else None


def _hparams(session: bytes, name: str) -> dict[str, Any]:
    """Settings from a SessionStartInfo: entries of field 1, each a key and a google.protobuf.Value."""
    found: dict[str, Any] = {}
    for number, entry in fields(session, name):
        if number != 1 or not isinstance(entry, bytes):
            continue
        key, value = first(entry, 1, name), first(entry, 2, name)
        if key is None or value is None:
            continue
        for kind, part in fields(value, name):
            if kind == 2 and isinstance(part, bytes):
                found[text(key)] = float64(part)
            elif kind == 3 and isinstance(part, bytes):
                found[text(key)] = text(part)
            elif kind == 4 and isinstance(part, int):
                found[text(key)] = bool(part)
    return found


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return any(NAME.search(file.name) for file in files or [path])


TENSORBOARD = Format("tensorboard", "event files of TensorBoard, or a folder of them", _knows, read_tensorboard)
