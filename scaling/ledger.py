"""A file of dated records, one JSON line each, in which a later change shows: a hash chain.

Every record holds the SHA-256 of its own content and that of the record before it. So a record that was changed, moved,
put in or taken out of the middle is found from the file alone. What no file can show by itself: that its last records
were cut off, or that all of it was written anew. For that the digest of the last record (the head) has to stand
somewhere else, where others saw it: publish it, and ask for it later.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError

Record = dict[str, Any]


def canonical(content: Any) -> str:
    """One text for one content: keys sorted, no spaces, floats in full. Raises ScalingError for NaN and infinity."""
    try:
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise ScalingError("a record holds only finite numbers, text, lists and names of such") from None


def digest_of(content: Any) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def append_record(path: str | os.PathLike[str], content: Mapping[str, Any], now: datetime | None = None) -> Record:
    """Write one more record: the content, its date (UTC), the digest of the record before it and its own.

    Raises ScalingError where the file is no unbroken chain: nothing is written to a file that was changed.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8", newline="\n") as stream:
        _lock(stream)
        stream.seek(0)
        before = records_of(stream.read(), str(path))
        made = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        record = dict(content) | {"made": made, "before": before[-1]["digest"] if before else None}
        record = json.loads(canonical(record))  # what is hashed is what a reader gets
        record["digest"] = digest_of(record)
        stream.write(canonical(record) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return record


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """All records, oldest first; raises ScalingError that names every place where the chain is broken."""
    try:
        return records_of(Path(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ScalingError(f"there is no file {path}; write one with: scaling forecast ... --register {path}") from None
    except UnicodeDecodeError:
        raise ScalingError(f"{path} is no text; expected the lines that --register writes") from None


def records_of(text: str, name: str) -> list[Record]:
    """The records in the text of a file called `name`; raises ScalingError where the chain is broken."""
    if text and not text.endswith("\n"):
        raise ScalingError(f"{name}: the last line was cut short; take that line out, and know that a record is lost")
    records: list[Record] = []
    wrong: list[str] = []
    before = made = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not {"made", "before", "digest"} <= set(record):
                raise ValueError
            same = canonical(record) == line
        except (ValueError, RecursionError):
            wrong.append(f"line {number} is no record")
            before = made = None
            continue
        own = digest_of({key: value for key, value in record.items() if key != "digest"})
        if own != record["digest"] or not same:
            wrong.append(f"record {number} was changed after it was written")
        elif number > 1 and before is not None and record["before"] != before:
            wrong.append(f"record {number} does not follow record {number - 1}: one was removed, put in or moved")
        elif number == 1 and record["before"] is not None:
            wrong.append("record 1 follows another that is not there: the first records were removed")
        elif made is not None and record["made"] < made:
            wrong.append(f"record {number} is dated before record {number - 1}")
        before, made = record["digest"], record["made"]
        records.append(record)
    if wrong:
        raise ScalingError(f"{name} is not what was registered: {'; '.join(wrong[:6])}{'; ...' * (len(wrong) > 6)}")
    return records


def plain(value: Any) -> Any:
    """A number or text as JSON holds it: what is missing or not finite as None."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lock(stream: Any) -> None:
    """Hold others off until the file is closed, where the system can: two that write at once would break the chain."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    fcntl.flock(stream, fcntl.LOCK_EX)
