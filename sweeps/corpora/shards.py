"""Token ids from .bin files, as nanoGPT and llm.c write them. Nothing in them is executed or unpickled.

nanoGPT    train.bin and val.bin: unsigned 16-bit ids, nothing else (github.com/karpathy/nanoGPT, data/*/prepare.py)
llm.c      names with train or val in them: 256 32-bit integers, of which the first three are 20240520, the version 1
           and the number of ids, then that many unsigned 16-bit ids (github.com/karpathy/llm.c,
           dev/data/data_common.py; modded-nanogpt reads the same)

All numbers are little-endian. Files are mapped into memory. Each is read once, to hash it and to look at its largest
id; what was found is kept by path, size and time of change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from sweeps.corpora.cache import cache_folder, keep
from sweeps.corpora.files import File, place, walk
from sweeps.corpora.settings import Source

MAGIC, VERSION, HEADER = 20240520, 1, 256  # the header in 32-bit integers
IDS = np.dtype("<u2")
CHUNK = 1 << 24  # bytes read at once


@dataclass(frozen=True, eq=False)
class Shards:
    """Ids of the training and validation shards, (n,) each, mapped where one file holds them, and the files."""

    train: NDArray[np.uint16]
    validation: NDArray[np.uint16]
    manifest: tuple[File, ...]


def read_shards(spec: Source, vocab: int) -> Shards:
    """The shards of a folder, file or glob. ScalingError for a damaged file or an id from `vocab` up."""
    root, include = place(spec)
    found = [path for path in walk(root, include or ("*.bin",)) if path.is_file()]
    files: dict[str, list[Path]] = {"train": [], "validation": []}
    for path in found:
        # the name decides, else the folder: fineweb_val_000000.bin, val/000.bin
        words = next((w for w in (path.name.lower(), path.parent.name.lower()) if "train" in w or "val" in w), "")
        if not words:
            raise ScalingError(f"{path} is neither train nor val by its name: rename it, or leave it out with include")
        files["train" if "train" in words else "validation"].append(path)
    for split, paths in files.items():
        if not paths:
            raise ScalingError(
                f"the corpus {spec.source!r} has no .bin file with {split[:5] if split == 'train' else 'val'} in its "
                f"name; found {', '.join(path.name for path in found[:5]) or 'none'}"
            )
    manifest = []
    arrays = {split: [open_shard(path) for path in paths] for split, paths in files.items()}
    for split, paths in files.items():
        for path in paths:
            sha256, largest = _facts(path)
            if largest >= vocab:
                raise ScalingError(
                    f"{path} holds the token id {largest}, but the vocabulary has {vocab} ids (0 to {vocab - 1}): give "
                    f"the vocab of the tokenizer it was written with"
                )
            name = path.name if path == root else path.relative_to(root).as_posix()
            manifest.append(File(name, path.stat().st_size, sha256, split))
    return Shards(_joined(arrays["train"]), _joined(arrays["validation"]), tuple(manifest))


def open_shard(path: Path) -> NDArray[np.uint16]:
    """The ids of one .bin file, (n,), mapped into memory. ScalingError where header and size do not agree."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = np.frombuffer(file.read(4 * HEADER), "<i4") if size >= 4 * HEADER else np.zeros(1, "<i4")
    except OSError as error:
        raise ScalingError(f"cannot read {path}: {error.strerror}") from error
    start = 0
    if head[0] == MAGIC:
        start = 4 * HEADER
        if head[1] != VERSION:
            raise ScalingError(f"{path} has version {head[1]} in its header, only {VERSION} is known: 16-bit ids")
        if start + 2 * int(head[2]) != size:
            raise ScalingError(
                f"{path} should hold {head[2]} ids by its header, which are {start + 2 * int(head[2])} bytes with it; "
                f"it has {size}: it was cut short or damaged, write it again"
            )
    if size % 2 or size == start:
        raise ScalingError(f"{path} has {size} bytes: token ids of 16 bits need an even number above {start}")
    return np.memmap(path, IDS, "r", offset=start)


def _joined(arrays: Sequence[NDArray[np.uint16]]) -> NDArray[np.uint16]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _facts(path: Path) -> tuple[str, int]:
    """SHA-256 of a file and its largest id; from the cache where its path, size and time of change are the same."""
    stat = path.stat()
    where = str(path.resolve())
    mark = [where, stat.st_size, stat.st_mtime_ns]
    name = f"shards/{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        there = json.loads((cache_folder() / name).read_text())
        if there["mark"] == mark:
            return str(there["sha256"]), int(there["largest"])
    digest, largest = hashlib.sha256(), 0
    skip = stat.st_size - open_shard(path).nbytes
    with path.open("rb") as file:
        digest.update(file.read(skip))
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            largest = max(largest, int(np.frombuffer(chunk, IDS).max()))
    facts = {"mark": mark, "sha256": digest.hexdigest(), "largest": largest}
    keep(name, lambda out: out.write(json.dumps(facts).encode()))
    return digest.hexdigest(), largest
