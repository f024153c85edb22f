"""Protocol buffers without their library: fields of a message by number, and no more than the bytes that are there.

Only what the readers of event files need: varints, 4 and 8 byte numbers, and strings of bytes (which hold text,
messages and packed numbers alike). The format is described at protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from scaling.errors import TableError

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
DEEPEST_NUMBER = 10  # bytes of a varint


def fields(message: bytes, name: str) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field: an int for a varint, the raw bytes for all others."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at, name)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(message, at, name)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(message, at, name)
        elif kind in (EIGHT, FOUR):
            size = 8 if kind == EIGHT else 4
        else:
            raise TableError(f"{name}: a record holds a field of unknown kind {kind}: the file is damaged")
        if size > end - at:
            raise TableError(f"{name}: a field says it is longer than its record: the file is damaged")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int, name: str) -> tuple[int, int]:
    value = shift = 0
    for _ in range(DEEPEST_NUMBER):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise TableError(f"{name}: a number in a record has no end: the file is damaged")


def first(message: bytes, number: int, name: str) -> bytes | None:
    """The first field of that number that holds bytes."""
    return next((v for n, v in fields(message, name) if n == number and isinstance(v, bytes)), None)


def text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def float32(value: bytes) -> float:
    return float(struct.unpack("<f", value)[0])


def float64(value: bytes) -> float:
    return float(struct.unpack("<d", value)[0])
