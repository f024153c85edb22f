"""Ends of edges as files: where a fork starts from, written once and read where it starts.

A trunk with many forks ahead of it would fill the memory with their starting points, and every checkpoint with copies
of them. So a checkpoint writes each into a file of its own, named by the SHA-256 of what it holds, and from then on
only names it; the memory is a view of the file, which the system may drop and read again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from sweeps.slots import Snapshot

PATTERN = "end.*.npy"


def shelve(folder: Path, snapshot: Snapshot) -> Snapshot:
    """The snapshot as a view of a file in `folder`, written here if it is not there. OSError where it cannot be."""
    rows = snapshot.rows.cpu().contiguous().numpy()
    path = folder / f"end.{_digest(rows)}.npy"
    if not path.exists():
        partial = folder / f"{path.name}.{secrets.token_hex(4)}.tmp"
        try:
            with partial.open("wb") as file:
                np.save(file, rows)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    return Snapshot(_view(path), snapshot.count, path.name)


def take_down(folder: Path, name: str, count: float) -> Snapshot | None:
    """The snapshot of `count` updates in the file `name`; None where it is missing or damaged."""
    try:
        rows = _view(folder / name)
    except (OSError, ValueError, EOFError):
        return None
    return Snapshot(rows, count, name) if name == f"end.{_digest(rows.numpy())}.npy" else None


def clear_away(folder: Path, kept: Collection[str]) -> None:
    """Delete all files of ends but those named `kept`, with what kills have left half written."""
    for path in [*folder.glob(PATTERN), *folder.glob(f"{PATTERN}.*.tmp")]:
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _view(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
