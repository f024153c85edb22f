"""Weights & Biases: local folders of runs, and the tables that its pages export.

A local run holds its whole history in run-ID.wandb: a log in LevelDB's format (blocks of 32 KiB; a record is a
checksum, a length, a kind and data) of `Record` messages. config.yaml and wandb-summary.json stand beside it where the
run was online. The numbers of the messages' fields are those of wandb's own wandb_internal.proto.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import TableError
from scaling.readers.bounds import (
    MOST_BYTES,
    MOST_RECORD,
    check_values,
    files_below,
    flat,
    parse_json,
    read_small,
    said,
)
from scaling.readers.log import Format, Log, log_of
from scaling.readers.settings import read_yaml
from scaling.readers.wire import fields, text

BLOCK, HEAD = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
IDENT = b":W&B"
SUMMARY, CONFIG = "wandb-summary.json", "config.yaml"
EDGE = re.compile(r"__(MIN|MAX)$")
OWN_STEPS = ("trainer/global_step", "train/global_step", "global_step", "step", "iter", "iteration")
STEPS = ("_step", "epoch", *OWN_STEPS)  # what the first column of an exported chart is called


def records(path: Path, cut: list[str]) -> Iterator[bytes]:
    """The records of a .wandb file; a last one that was cut short is noted in `cut`."""
    with said(str(path), "a .wandb file"), path.open("rb") as file:
        if file.read(HEAD)[:4] != IDENT:
            raise TableError(f"{path} does not begin as a .wandb file")
        if path.stat().st_size > MOST_BYTES:
            raise TableError(f"{path} has more than {MOST_BYTES:,} bytes; sync it and export the history")
        parts: list[bytes] = []
        at, size = HEAD, 0
        while True:
            left = BLOCK - at % BLOCK
            if left < HEAD:
                at += len(file.read(left))
            head = file.read(HEAD)
            if not head:
                break
            check, length, kind = struct.unpack("<IHB", head) if len(head) == HEAD else (0, 0, 0)
            data = file.read(length)
            if len(head) < HEAD or len(data) < length:
                break
            if kind not in (FULL, FIRST, MIDDLE, LAST) or zlib.crc32(data, zlib.crc32(bytes([kind]))) != check:
                if not any(head):  # room kept for more
                    break
                raise TableError(f"{path} is damaged at byte {at:,}: a record's checksum is wrong")
            at += HEAD + length
            parts = [data] if kind in (FULL, FIRST) else [*parts, data]
            size = length if kind in (FULL, FIRST) else size + length
            if size > MOST_RECORD:
                parts = []  # a table or a picture kept within the log
            if kind in (FULL, LAST):
                if parts:
                    yield b"".join(parts)
                parts, size = [], 0
        if parts or head:
            cut.append(str(path))


def _items(message: bytes, number: int, name: str) -> dict[str, Any]:
    """Keys and values of the items in field `number`: each has a key (1) or keys of a path (2), and JSON (16)."""
    found: dict[str, Any] = {}
    for n, item in fields(message, name):
        if n != number or not isinstance(item, bytes):
            continue
        path, value = [], b""
        for inner, part in fields(item, name):
            if inner in (1, 2) and isinstance(part, bytes):
                path.append(text(part))
            elif inner == 16 and isinstance(part, bytes):
                value = part
        if path and value:
            found[".".join(path)] = parse_json(text(value), name)
    return found


def _read_log(path: Path, cut: list[str]) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """Name, settings and history of one .wandb file."""
    settings: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    name, exited = path.stem.removeprefix("run-"), None
    for record in records(path, cut):
        for number, message in fields(record, str(path)):
            if not isinstance(message, bytes):
                continue
            if number == 2:
                rows.append(_items(message, 1, str(path)))
            elif number == 5:
                settings |= _items(message, 1, str(path))
            elif number == 17:
                for n, part in fields(message, str(path)):
                    if n == 4 and isinstance(part, bytes):
                        settings |= _items(part, 1, str(path))
                    elif n == 8 and isinstance(part, bytes) and part:
                        name = text(part)
            elif number == 18:
                exited = next((v for n, v in fields(message, str(path)) if n == 1), 0)
    settings = {k: v for k, v in flat(settings, str(path)).items() if not k.startswith("_wandb")}
    settings["status"] = "running" if exited is None else "finished" if exited == 0 else "failed"
    return name, settings, rows


def read_wandb_folder(path: Path) -> Log:
    """All runs in a folder that `wandb` wrote, or one .wandb file."""
    files = files_below(path) if path.is_dir() else [path]
    logs = [file for file in files if file.suffix == ".wandb"]
    with_log = {file.parent for file in logs}
    only = [f.parent for f in files if f.name == SUMMARY and not {f.parent, f.parent.parent} & with_log]
    settings: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    cut: list[str] = []
    notes: list[str] = []
    count = 0
    for file in logs:
        name, kept, history = _read_log(file, cut)
        run = name if name not in settings else f"{name} ({file.stem.removeprefix('run-')})"
        settings[run] = kept
        rows[run] = _rows(history)
        count += sum(map(len, rows[run]))
        check_values(count, str(path))
    for folder in only:
        name = folder.parent.name if folder.name == "files" else folder.name
        summary = flat(
            parse_json(read_small(folder / SUMMARY, "a summary"), str(folder / SUMMARY)), str(folder / SUMMARY)
        )
        settings[name] = _config(folder / CONFIG) | {k: v for k, v in summary.items() if not k.startswith("_wandb")}
    if only:
        notes.append(
            f"{len(only)} runs have only a summary, the last logged values: whether they finished is not known"
        )
    if cut:
        notes.append(f"{len(cut)} .wandb files end within a record, as when a run is stopped: the record is left out")
    if any(rows.values()):
        notes.append(_counted(rows))
    return log_of(settings, rows, notes)


def _rows(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The numbers of a history, with W&B's own count of calls under _step."""
    left = ("_timestamp", "_runtime")
    rows = [{k: v for k, v in row.items() if isinstance(v, int | float) and k not in left} for row in history]
    return [row for row in rows if "_step" in row]


def _counted(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Give every row a step: the runs' own count of updates where they log one, else W&B's count of calls."""
    every = [row for some in rows.values() for row in some]
    own = next((name for name in OWN_STEPS if any(name in row for row in every)), None)
    for row in every:
        calls = row.pop("_step")
        row["step"] = calls if own is None else row.get(own, calls)
    if own:
        return f"step read from {own!r}, which the runs logged themselves"
    return "step is W&B's own, which counts calls of log unless the runs gave it a step: check that it counts updates"


def _config(path: Path) -> dict[str, Any]:
    """Settings in a config.yaml, where each is kept under `value`."""
    if not path.exists():
        return {}
    record = {k: v for k, v in read_yaml(path).items() if k not in ("wandb_version", "_wandb")}
    return flat({k: v["value"] if isinstance(v, dict) and "value" in v else v for k, v in record.items()}, str(path))


def is_export(columns: Sequence[str]) -> bool:
    """Whether a table's header is that of a chart exported by W&B: a step, and RUN - METRIC with its extremes."""
    names = [str(c) for c in columns]
    return any(EDGE.search(n) and " - " in n for n in names) or (
        len(names) > 1 and names[0].lower() in STEPS and all(" - " in n for n in names[1:])
    )


def unfold_export(table: pd.DataFrame) -> Log:
    """A chart's table, one column a run and metric, as curves: one row a run and step."""
    step = str(table.columns[0])
    long: dict[str, dict[str, pd.Series]] = {}
    edges = 0
    for column in map(str, table.columns[1:]):
        if EDGE.search(column):
            edges += 1
            continue
        run, sign, metric = column.rpartition(" - ")
        if not sign:
            raise TableError(f"a column of this W&B export is no RUN - METRIC: {column!r}")
        if run.endswith("_step") or metric == "_step":
            continue
        long.setdefault(run, {})[metric] = table[column]
    parts = []
    for run, columns in long.items():
        part = pd.DataFrame({"run": run, "step": table[step], **columns})
        parts.append(part.dropna(how="all", subset=list(columns)))
    curves = pd.concat(parts, ignore_index=True)
    notes = [f"a chart exported by W&B: {len(long)} runs, step read from {step!r}"]
    if edges:
        notes.append(f"{edges} columns of extremes (__MIN, __MAX) were left out")
    if len(table) in (500, 1000, 1500):
        notes.append(f"the chart has {len(table)} rows: W&B thins long histories to that number when it draws them")
    if step.lower() == "step":
        notes.append("step may be W&B's own, which counts calls of log: check that it counts updates")
    return Log(pd.DataFrame(), curves, tuple(notes))


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return any(file.suffix == ".wandb" or file.name == SUMMARY for file in files or [path])


WANDB = Format("wandb", "a folder of runs that wandb wrote, or one .wandb file", _knows, read_wandb_folder)
