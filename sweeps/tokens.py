"""A corpus as tokens: one flat array to train on and one to validate on, made from sources of text or of token ids."""

from __future__ import annotations

import hashlib
import itertools
import json
import mmap
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from sweeps.corpora.files import File, Text, read_files
from sweeps.corpora.rows import read_rows
from sweeps.corpora.settings import BYTES, STDLIB, Source
from sweeps.corpora.shards import read_shards
from sweeps.corpora.tokenizers import (
    BPE,
    Tokenizer,
    bytes_per_id,
    encode,
    find_tokenizer,
    shard_vocab,
    train_tokenizer,
)

Ids = NDArray[np.unsignedinteger]
IDS = "ids"


@dataclass(frozen=True)
class Part:
    """One source: where its tokens lie in the training and in the validation array, and how many they are."""

    name: str  # "" for a corpus of one source
    start: int
    tokens: int
    validation_start: int
    validation_tokens: int


@dataclass(frozen=True, eq=False)
class Tokens:
    """A corpus: `train` and `validation` are arrays of token ids, (n,), its sources one after another.

    The dtype is uint8 where ids are bytes, else uint16 or uint32; shards stay mapped files.
    """

    train: Ids
    validation: Ids
    manifest: tuple[File, ...]
    source: str
    skipped: int = 0  # files left out because they are empty or hold a zero byte, which text does not
    vocab: int = 256
    bytes_per_token: float | None = 1.0  # in the validation text, every source weighing the same; None: not known
    entropy: float | None = None  # nats/token, where the source is known
    tokenizer: str = BYTES  # or IDS, where shards alone were read
    tokenizer_digest: str = ""  # of a tokenizer that made these tokens; empty for bytes and shards
    tokenizer_json: str | None = None
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", (Part("", 0, len(self.train), 0, len(self.validation)),))

    def __getstate__(self) -> dict[str, Any]:
        """Arrays that are mapped files go to another process by name: a corpus may be larger than a pipe likes."""
        return {
            name: _Mapped(str(value.filename), value.dtype.str, value.offset, value.shape)
            if _is_mapped(value)
            else value
            for name, value in self.__dict__.items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self.__dict__[name] = (
                np.memmap(value.file, value.dtype, "r", value.offset, value.shape)
                if isinstance(value, _Mapped)
                else value
            )

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of a hash of the manifest: losses compare only where it is equal."""
        what: list[Any] = [self.tokenizer_digest or self.tokenizer, [asdict(file) for file in self.manifest]]
        names = [part.name for part in self.parts]
        text = json.dumps(what if names == [""] else [*what, names], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class _Mapped(NamedTuple):
    """A whole array in a file."""

    file: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


def _is_mapped(value: Any) -> bool:
    """Whether this is an array mapped from a file, and not a part of one, which still has the offset of the whole."""
    return isinstance(value, np.memmap) and isinstance(value.base, mmap.mmap)


def load(source: str | os.PathLike[str] | Source = STDLIB) -> Tokens:
    """Read a corpus. ScalingError where there is no such folder, no text in it, or too little to split."""
    spec = source if isinstance(source, Source) else Source(os.fspath(source))
    named = [(name, own) for name, own, _ in spec.mixture] or [("", spec)]
    for _, own in named:
        if not 0 < own.validation < 1:
            raise ScalingError(f"the validation fraction must lie between 0 and 1, got {own.validation}")
    texts = {name: _text(own) for name, own in named if own.format != "shards"}
    tokenizer = find_tokenizer(spec.tokenizer)
    if spec.tokenizer is not None and spec.tokenizer.startswith(BPE):
        if len(texts) < len(named):
            raise ScalingError(
                f"the tokenizer {spec.tokenizer!r} is trained on text, and shards have none: give the tokenizer that "
                f"they were written with"
            )
        tokenizer = train_tokenizer(spec.tokenizer, [part for text in texts.values() for part in text.of("train")])
    if spec.tokenizer is None and 0 < len(texts) < len(named):
        raise ScalingError(
            f"the corpus {spec.source!r} has sources of text and of token ids: give the tokenizer of the ids, which "
            f"then reads the text too"
        )
    bytewise = spec.tokenizer == BYTES
    made = [
        _encoded(own, texts[name], tokenizer) if name in texts else _shards(own, tokenizer, bytewise)
        for name, own in named
    ]
    return _joined(spec, [name for name, _ in named], made) if spec.mixture else made[0]


def manifest_record(tokens: Tokens) -> dict[str, Any]:
    """What is kept beside the runs to say which text they saw: digest, counts, and every file."""
    return {
        "digest": tokens.digest,
        "source": tokens.source,
        "tokenizer": tokens.tokenizer,
        **({"tokenizer_digest": tokens.tokenizer_digest} if tokens.tokenizer_digest else {}),
        **({} if tokens.tokenizer == BYTES else {"vocab": tokens.vocab}),
        **({} if tokens.bytes_per_token == 1.0 else {"bytes_per_token": tokens.bytes_per_token}),
        "train_tokens": len(tokens.train),
        "validation_tokens": len(tokens.validation),
        "skipped_files": tokens.skipped,
        **({} if tokens.entropy is None else {"entropy": tokens.entropy}),
        **({"sources": [asdict(part) for part in tokens.parts]} if tokens.parts[0].name else {}),
        "files": [asdict(file) for file in tokens.manifest],
    }


def _text(spec: Source) -> Text:
    return read_rows(spec) if spec.format == "rows" else read_files(spec)


def _encoded(spec: Source, text: Text, tokenizer: Tokenizer | None) -> Tokens:
    """One source of text as tokens."""
    read = text.of("train"), text.of("validation")
    if tokenizer is None:
        train, validation = (np.frombuffer(b"".join(contents), np.uint8) for contents in read)
        return Tokens(train, validation, text.manifest, spec.source, text.skipped, entropy=text.entropy)
    train, validation = (encode(tokenizer, contents) for contents in read)
    return Tokens(
        train,
        validation,
        text.manifest,
        spec.source,
        text.skipped,
        vocab=tokenizer.vocab,
        bytes_per_token=sum(map(len, read[1])) / max(len(validation), 1),
        tokenizer=tokenizer.name,
        tokenizer_digest=tokenizer.digest,
        tokenizer_json=tokenizer.json,
    )


def _shards(spec: Source, tokenizer: Tokenizer | None, bytewise: bool) -> Tokens:
    """One source of token ids. A tokenizer given serves to count the bytes that they stand for."""
    vocab = 256 if bytewise else shard_vocab(spec, tokenizer)
    shards = read_shards(spec, vocab)
    known = bytes_per_id(tokenizer, shards.validation) if tokenizer else 1.0 if bytewise else None
    return Tokens(
        shards.train,
        shards.validation,
        shards.manifest,
        spec.source,
        vocab=vocab,
        bytes_per_token=known,
        tokenizer=IDS,
    )


def _joined(spec: Source, names: Sequence[str], made: Sequence[Tokens]) -> Tokens:
    """Several sources as one corpus: arrays one after another, files under the names of their sources."""
    starts = itertools.accumulate((len(one.train) for one in made), initial=0)
    others = itertools.accumulate((len(one.validation) for one in made), initial=0)
    parts = tuple(
        Part(name, start, len(one.train), other, len(one.validation))
        for name, one, start, other in zip(names, made, starts, others, strict=False)
    )
    how = next((one for one in made if one.tokenizer != IDS), made[0])
    sizes = [one.bytes_per_token for one in made]
    return Tokens(
        np.concatenate([one.train for one in made]),
        np.concatenate([one.validation for one in made]),
        tuple(
            replace(file, path=f"{part.name}/{file.path}")
            for part, one in zip(parts, made, strict=True)
            for file in one.manifest
        ),
        spec.source,
        sum(one.skipped for one in made),
        vocab=max(one.vocab for one in made),
        bytes_per_token=None if None in sizes else sum(size or 0.0 for size in sizes) / len(sizes),
        tokenizer=how.tokenizer,
        tokenizer_digest=how.tokenizer_digest,
        tokenizer_json=how.tokenizer_json,
        parts=parts,
    )
