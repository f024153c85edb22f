"""Checkpoints of a stack's training: one file, replaced whole, the one before kept, damage noticed.

The file is what `torch.save` writes followed by the 32 bytes of its SHA-256. It is written beside its place, flushed
to disk and renamed, so that a kill at any moment leaves a whole file. Starting points of forks to come are files of
their own (see `ends`), which it names.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from sweeps.ends import clear_away, shelve, take_down
from sweeps.forks import Forks, covered
from sweeps.optim import empty_state
from sweeps.records import reading, writing
from sweeps.slots import Slot, Snapshot, Training, held, put, snapshot

VERSION = 2
NAMES = ("checkpoint.pt", "checkpoint.prev.pt")
_DIGEST_BYTES = 32


class _Hashed(io.RawIOBase):
    """Passes what is written on to a file and hashes it on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash = file, hashlib.sha256()
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise


def save(folder: Path, training: Training, check: Callable[[], None] = lambda: None) -> None:
    """Write the checkpoint of `training` to `folder`; RecordError where it cannot be, the old one then intact.

    `check` is asked before the file takes its place: it raises where this process may no longer write.
    """
    current, previous = (folder / name for name in NAMES)
    partial = folder / f"checkpoint.pt.{secrets.token_hex(4)}.tmp"  # a process that lost its lease may be writing yet
    with writing(current):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, end in training.snapshots.items():
                training.snapshots[name] = end if end.file else shelve(folder, end)
            with partial.open("wb") as file:
                _write(file, _pack(training))
            check()
            if current.exists():
                current.replace(previous)
            partial.replace(current)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        named = {end.file for end in training.snapshots.values()}
        clear_away(folder, named | training.files)  # those that either checkpoint names stay
        training.files = named


def _write(file: BinaryIO, payload: dict[str, Any]) -> None:
    through = _Hashed(file)
    try:
        torch.save(payload, cast(IO[bytes], through))
    except RuntimeError:
        if through.error is not None:  # torch hides why a write failed
            raise through.error from None
        raise
    file.write(through.hash.digest())
    file.flush()
    os.fsync(file.fileno())


def load(folder: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, Any] | None:
    """The newest undamaged checkpoint in `folder` as plain values and tensors, or None."""
    return next(_loaded(folder, say), None)


def _loaded(folder: Path, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The undamaged checkpoints in `folder`, the newest first; `say` is told of the others, a line each."""
    for name in NAMES:
        path = folder / name
        if not path.exists():
            continue
        with reading(path):
            data = path.read_bytes()
        if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
            say(f"{path} is damaged: going on from what there is before it")
            continue
        payload = torch.load(io.BytesIO(data[:-_DIGEST_BYTES]), map_location="cpu", weights_only=True)
        if payload["version"] == VERSION:
            yield payload | {"snapshots": _taken_down(folder, payload["snapshots"], say)}
        else:
            say(
                f"{path} has version {payload['version']}, this program knows {VERSION}: going on from what there is "
                f"before it"
            )


def _taken_down(folder: Path, named: dict[str, Any], say: Callable[[str], None]) -> dict[str, Snapshot]:
    found = {name: take_down(folder, end["file"], end["count"]) for name, end in named.items()}
    for name in (name for name, end in found.items() if end is None):
        say(f"{folder / named[name]['file']} is missing or damaged: the tree that forks from it is trained again")
    return {name: end for name, end in found.items() if end is not None}


def remove(folder: Path) -> None:
    """Delete the checkpoints in `folder`: its stack is done."""
    for path in folder.glob("checkpoint.*"):  # with what kills have left half written
        path.unlink(missing_ok=True)
    clear_away(folder, ())


def _pack(training: Training) -> dict[str, Any]:
    slots = [
        {"edge": slot.edge.name, "step": slot.step, "rows": now.rows.cpu(), "count": now.count}
        for slot, now in [
            *((slot, snapshot(training.state, place)) for place, slot in held(training)),
            *training.parked,
        ]
    ]
    return {
        "version": VERSION,
        "planned": {name: list(keys) for name, keys in training.planned.items()},
        "finished": sorted(training.finished),
        "slots": slots,
        "snapshots": {name: {"file": end.file, "count": end.count} for name, end in training.snapshots.items()},
        "seconds": training.seconds,
    }


def resume(
    folder: Path,
    forks: Forks,
    unfinished: set[str],
    device: torch.device,
    most: int,
    is_whole: Callable[[str, int], bool] = lambda key, count: True,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Training, dict[str, int]]:
    """Where training goes on from the checkpoints in `folder`, and the updates each unfinished run has behind it.

    most      slots in use, at most; what a checkpoint holds beyond them waits its turn
    is_whole  whether the curve of a run has all rows of so many first updates: where it has not, the checkpoint from
              which more is left to go on counts, or the run's tree begins anew
    """
    best: tuple[Training, dict[str, int]] | None = None
    for payload in _loaded(folder, say):
        training, behind, short = restore(payload, forks, unfinished, device, most, is_whole)
        if best is None or sum(behind.values()) > sum(best[1].values()):
            best = training, behind
        if not short:
            break
        say(
            f"{folder}: {len(short)} curves, {short[0]} first, lack rows that a checkpoint counts on: going on from "
            f"what there is before it"
        )
    return best or restore(None, forks, unfinished, device, most)[:2]


def restore(
    payload: dict[str, Any] | None,
    forks: Forks,
    unfinished: set[str],
    device: torch.device,
    most: int,
    is_whole: Callable[[str, int], bool] = lambda key, count: True,
) -> tuple[Training, dict[str, int], list[str]]:
    """Training as `payload` has it, updates behind each unfinished run, and the runs whose curves are not whole.

    Edges that the interrupted training still had before it are trained as it would have, even where their runs have
    finished since the checkpoint: the slots then hold the same company at every step, and a resumed sweep repeats
    the uninterrupted one bit by bit. Trees that the checkpoint does not cover (see `forks.covered`) begin anew.
    """
    old = payload or {"planned": {}, "finished": [], "slots": [], "snapshots": {}, "seconds": 0.0}
    steps = {slot["edge"]: slot["step"] for slot in old["slots"]}
    done = covered(forks, unfinished, old["planned"], old["finished"], steps, old["snapshots"])
    short = sorted(key for key, count in done.items() if not is_whole(key, count))
    done = {key: count for key, count in done.items() if key not in short}
    anew = {forks.paths[key][0].trunk for key in unfinished if key not in done}
    kept = {edge.name for edge in forks.stack.edges if edge.name in old["planned"] and edge.trunk not in anew}
    planned = {
        edge.name: edge.runs
        for edge in forks.stack.edges
        if edge.name in kept or (edge.trunk in anew and unfinished.intersection(edge.runs))
    }
    slots = [slot for slot in old["slots"] if slot["edge"] in kept]
    order = sorted(range(len(slots)), key=lambda i: -forks.left(slots[i]["edge"], slots[i]["step"]))
    placed = [slots[i] for i in sorted(order[:most])]  # as they lay
    state = empty_state(forks.stack.runs[0], len(placed), device)
    for place, slot in enumerate(placed):
        put(state, place, slot["rows"], slot["count"])
    training = Training(
        planned=planned,
        finished=set(old["finished"]) & kept,
        slots=[Slot(forks.edges[slot["edge"]], slot["step"]) for slot in placed],
        state=state,
        snapshots={name: end for name, end in old["snapshots"].items() if name in kept},
        files={end.file for end in old["snapshots"].values()},
        parked=[
            (Slot(forks.edges[slot["edge"]], slot["step"]), Snapshot(slot["rows"], slot["count"]))
            for slot in (slots[i] for i in order[most:])
        ],
        seconds=old["seconds"],
    )
    behind = {key: 0 if forks.paths[key][0].trunk in anew else done[key] for key in unfinished}
    return training, behind, short
