"""Text from files: which belong to a corpus, and which of them are kept for validation.

A file belongs to the validation text when a hash of its relative path, a number in [0, 1), falls below the validation
fraction; the file with the lowest hash always does. Files of identical content go where the first of them in the
order of paths goes, so that no validation file is in the training text under another name. Files are put together in
the order of their paths.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scaling.errors import ScalingError
from sweeps.corpora.installed import installed
from sweeps.corpora.settings import INSTALLED, STDLIB, Source
from sweeps.markov import parse_markov

#: Folders left out of every corpus: installed packages, byte code.
_NEVER = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class File:
    """One file of a corpus: path relative to its root, size, SHA-256 of its content, and "train" or "validation"."""

    path: str
    bytes: int
    sha256: str
    split: str


@dataclass(frozen=True)
class Text:
    """The text of one source: its manifest, the contents by path, files that are no text, and a known entropy."""

    manifest: tuple[File, ...]
    contents: Mapping[str, bytes]
    skipped: int = 0  # files left out because they are empty or hold a zero byte, which text does not
    entropy: float | None = None  # nats/byte

    def of(self, split: str) -> list[bytes]:
        """Contents of the files of a split, in order."""
        return [self.contents[file.path] for file in self.manifest if file.split == split]


def read_files(spec: Source) -> Text:
    """The files, or the drawn text, that a source names, split. ScalingError where there is too little to split."""
    chain = parse_markov(spec.source)
    contents, skipped = (chain.files(), 0) if chain else _read(spec)
    manifest = _split(contents, spec.validation)
    if all(file.split == "validation" for file in manifest):
        raise ScalingError(
            f"a corpus needs at least two files of different content, for training and for validation; "
            f"{spec.source!r} has {len(manifest)} file(s). Cut it into parts, say with `split -b 100k`"
        )
    return Text(manifest, contents, skipped, chain.entropy if chain else None)


def _read(spec: Source) -> tuple[dict[str, bytes], int]:
    """Contents by path of the text files of a corpus, and how many files are no text."""
    if spec.source.startswith(INSTALLED):
        texts = installed(spec.source, spec.include, walk, matches)
        if not texts:
            wanted = f" matching {', '.join(spec.include)}" if spec.include else ""
            raise ScalingError(
                f"the corpus {spec.source!r} has no text{wanted} beside this Python; leave `include` out"
            )
        return texts, 0
    root, include = place(spec)
    contents: dict[str, bytes] = {}
    skipped = 0
    for path in walk(root, include):
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


def place(spec: Source) -> tuple[Path, tuple[str, ...]]:
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


def walk(root: Path, include: Iterable[str]) -> Iterator[Path]:
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
            if not name.startswith(".") and matches(relative, patterns) and path.is_file():
                found.append((relative, path))
    yield from (path for _, path in sorted(found))


def matches(relative: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern takes a relative path, or without `/` in it the name; no patterns take all."""
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
