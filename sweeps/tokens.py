"""Text as tokens: any folder of text files, read as bytes, split into training and validation by file.

A file belongs to the validation text when a hash of its relative path, a number in [0, 1), falls below the validation
fraction; the file with the lowest hash always does. Files of identical content go where the first of them in the
order of paths goes, so that no validation file is in the training text under another name. Files are put together in
the order of their paths.

Order of training: an epoch goes once through all windows of `context` tokens, in an order and from a shift of its
own. Both are pure functions of the seed and the number of the update, so a cursor is one integer. They are drawn from
the raw stream of a bit generator, which numpy promises never to change (NEP 19), unlike the methods of a Generator.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from sweeps.markov import parse_markov

STDLIB = "stdlib"
#: Folders left out of every corpus: installed packages, byte code.
_NEVER = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """Which files a corpus is made of.

    source      "stdlib" (the source of the running Python's standard library), a folder, one file, a glob, or "markov"
                with its settings, text of known entropy (see `sweeps.markov`)
    include     patterns of names or relative paths to take, `*` matching `/` too; empty takes every text file
    validation  about this fraction of the files is kept for validation
    """

    source: str = STDLIB
    include: tuple[str, ...] = ()
    validation: float = 0.05


@dataclass(frozen=True)
class File:
    """One file of a corpus: path relative to its root, size, SHA-256 of its content, and "train" or "validation"."""

    path: str
    bytes: int
    sha256: str
    split: str


@dataclass(frozen=True, eq=False)
class Tokens:
    """A corpus: `train` and `validation` are uint8 arrays of shape (n,), one token a byte."""

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    manifest: tuple[File, ...]
    source: str
    skipped: int = 0  # files left out because they are empty or hold a zero byte, which text does not
    vocab: int = 256
    bytes_per_token: float = 1.0
    entropy: float | None = None  # nats/token, where the source is known

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of a hash of the manifest: losses compare only where it is equal."""
        text = json.dumps(["bytes", [asdict(file) for file in self.manifest]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load(source: str | os.PathLike[str] | Source = STDLIB) -> Tokens:
    """Read a corpus. ScalingError where there is no such folder, no text in it, or too little to split."""
    spec = source if isinstance(source, Source) else Source(os.fspath(source))
    if not 0 < spec.validation < 1:
        raise ScalingError(f"the validation fraction must lie between 0 and 1, got {spec.validation}")
    chain = parse_markov(spec.source)
    contents, skipped = (chain.files(), 0) if chain else _read(spec)
    manifest = _split(contents, spec.validation)
    if all(file.split == "validation" for file in manifest):
        raise ScalingError(
            f"a corpus needs at least two files of different content, for training and for validation; "
            f"{spec.source!r} has {len(manifest)} file(s). Cut it into parts, say with `split -b 100k`"
        )
    return Tokens(
        train=_text(contents, manifest, "train"),
        validation=_text(contents, manifest, "validation"),
        manifest=manifest,
        source=spec.source,
        skipped=skipped,
        entropy=chain.entropy if chain else None,
    )


def _read(spec: Source) -> tuple[dict[str, bytes], int]:
    """Contents by path of the text files of a corpus, and how many files are no text."""
    root, include = _root(spec)
    contents: dict[str, bytes] = {}
    skipped = 0
    for path in _files(root, include):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ScalingError(f"cannot read {path} of the corpus {spec.source!r}: {error.strerror}") from error
        if content and b"\0" not in content:
            contents[path.name if path == root else path.relative_to(root).as_posix()] = content
        else:
            skipped += 1
    if not contents:
        wanted = f" matching {', '.join(include)}" if include else ""
        raise ScalingError(f"the corpus {spec.source!r} has no text files{wanted} in {root} ({skipped} not text)")
    return contents, skipped


def check_size(tokens: Tokens, context: int, val_sequences: int) -> None:
    """ScalingError where the corpus is too small for sequences of `context` tokens or for the validation set."""
    for name, have, need, what in (
        ("training", len(tokens.train), 2 * context, f"two sequences of context = {context}"),
        ("validation", len(tokens.validation), val_sequences * context + 1,
         f"val_sequences = {val_sequences} sequences of context = {context} that do not overlap"),
    ):  # fmt: skip
        if have < need:
            raise ScalingError(
                f"the {name} text of the corpus {tokens.source!r} has {have} tokens, but {what} need {need}: "
                f"give more text, or lower {'context' if name == 'training' else 'val_sequences or context'}"
            )


def batch_offsets(n_tokens: int, context: int, batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Where the sequences of update `step` start, shape (batch,); each is context + 1 tokens, the last only a target.

    Within an epoch no window repeats; a batch may lie across the border of two epochs.
    """
    windows = (n_tokens - context) // context  # as many as there are from the largest shift, in every epoch
    if windows < 1:
        raise ScalingError(f"a training text of {n_tokens} tokens holds no two sequences of context = {context}")
    epoch, first = divmod(step * batch, windows)
    parts: list[NDArray[np.int64]] = []
    left = batch
    while left:
        shift, order = _epoch(windows, context, seed, epoch)
        chosen = order[first : first + left].astype(np.int64)
        parts.append(shift + context * chosen)
        left -= len(chosen)
        epoch, first = epoch + 1, 0
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def validation_sequences(tokens: Tokens, context: int, count: int) -> NDArray[np.uint8]:
    """The fixed validation set, shape (count, context + 1): spread evenly over the validation text, no overlap."""
    check_size(tokens, context, count)
    free = len(tokens.validation) - (context + 1)
    starts = np.arange(count) * free // max(count - 1, 1)
    return tokens.validation[starts[:, None] + np.arange(context + 1)]


def manifest_record(tokens: Tokens) -> dict[str, Any]:
    """What is kept beside the runs to say which text they saw: digest, counts, and every file."""
    return {
        "digest": tokens.digest,
        "source": tokens.source,
        "tokenizer": "bytes",
        "train_tokens": len(tokens.train),
        "validation_tokens": len(tokens.validation),
        "skipped_files": tokens.skipped,
        **({} if tokens.entropy is None else {"entropy": tokens.entropy}),
        "files": [asdict(file) for file in tokens.manifest],
    }


@lru_cache(maxsize=256)  # one entry a seed in training; a quarter of a million windows are 1 MB
def _epoch(windows: int, context: int, seed: int, epoch: int) -> tuple[int, NDArray[np.int32]]:
    """Shift in tokens and order of the windows of one epoch."""
    stream = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    raw = stream.random_raw(windows + 1)
    return int(raw[0] % context), np.argsort(raw[1:], kind="stable").astype(np.int32)


def _root(spec: Source) -> tuple[Path, tuple[str, ...]]:
    """The folder (or single file) a corpus lies in, and which relative paths to take."""
    if spec.source == STDLIB:
        return Path(sysconfig.get_path("stdlib")), spec.include or ("*.py",)
    path = Path(spec.source).expanduser()
    wild = [i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")]
    include = spec.include
    if wild:
        if include:
            raise ScalingError(f"the corpus {spec.source!r} is a glob already: give a folder, or leave `include` out")
        path, include = Path(*path.parts[: wild[0]]), ("/".join(path.parts[wild[0] :]),)
    if not path.exists():
        raise ScalingError(
            f"the corpus must be {STDLIB!r}, a folder or a glob of text files; there is no {str(path.absolute())!r}"
        )
    return path, include


def _files(root: Path, include: Iterable[str]) -> Iterator[Path]:
    """Files below `root`, hidden ones and links to folders left out, sorted by relative path."""
    if root.is_file():
        yield root
        return
    patterns = tuple(include)
    found: list[tuple[str, Path]] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _NEVER and not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if not name.startswith(".") and _matches(relative, patterns) and path.is_file():
                found.append((relative, path))
    yield from (path for _, path in sorted(found))


def _matches(relative: str, patterns: tuple[str, ...]) -> bool:
    name = relative.rsplit("/", 1)[-1]
    return not patterns or any(
        fnmatch.fnmatchcase(relative, p) or fnmatch.fnmatchcase(relative, p.removeprefix("**/"))
        or ("/" not in p and fnmatch.fnmatchcase(name, p))
        for p in patterns
    )  # fmt: skip


def _split(contents: dict[str, bytes], fraction: float) -> tuple[File, ...]:
    first: dict[str, str] = {}  # content -> the first path that has it
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    for path, content in hashes.items():
        first.setdefault(content, path)
    places = {path: int(hashlib.sha256(path.encode()).hexdigest()[:16], 16) / 2**64 for path in first.values()}
    lowest = min(places.values())
    splits = {path: "validation" if place < fraction or place == lowest else "train" for path, place in places.items()}
    return tuple(File(path, len(contents[path]), content, splits[first[content]]) for path, content in hashes.items())


def _text(contents: dict[str, bytes], manifest: Iterable[File], split: str) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(contents[file.path] for file in manifest if file.split == split), dtype=np.uint8)
