"""Tokenizers: byte-pair encodings trained on the training text, tokenizers JSON files, tiktoken encodings.

Files are encoded one by one and joined as they are, without a token between them, so that a byte-level encoding stands
for exactly the bytes of the text and bits per byte compare across tokenizers. A file of more than PIECE characters is
encoded in pieces, cut after a line break. Bytes that are no UTF-8 are read as the replacement character.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from sweeps.corpora.cache import cache_folder, keep, needed
from sweeps.corpora.settings import BYTES, TIKTOKEN, Source

Ids = NDArray[np.unsignedinteger]
BPE = "bpe:"
PIECE = 1 << 20  # characters
TOGETHER = 1 << 22  # characters encoded at once: the library keeps offsets and text of each of their tokens
MEASURED = 1 << 20  # validation tokens of shards that are decoded to count their bytes
#: How text is cut before pairs are merged: GPT-2's rule, which .tiktoken files do not carry (tiktoken calls it r50k).
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
#: Vocabularies from this size up are rounded up to a multiple of ROUND in the model: products of odd sizes are slow.
LARGE, ROUND = 1024, 64


@dataclass(frozen=True)
class Tokenizer:
    """name    as the grid says it
    digest  twelve digits of a hash of what it is, however it is named
    vocab   number of ids
    json    the file of the `tokenizers` library, where it is one
    encode  texts (strings) -> their ids, one sequence each
    bytes   ids -> number of bytes they stand for; special tokens stand for none
    """

    name: str
    digest: str
    vocab: int
    json: str | None
    encode: Callable[[list[str]], Iterable[Sequence[int]]]
    bytes: Callable[[list[int]], int]


def model_vocab(spec: Source) -> int:
    """Vocabulary of models on this corpus, before its text is read: what its tokens need, large ones rounded up."""
    vocab = max((_vocab(spec, one) for one in [s for _, s, _ in spec.mixture] or [spec]), default=256)
    return -(-vocab // ROUND) * ROUND if vocab >= LARGE else vocab


def shard_vocab(spec: Source, tokenizer: Tokenizer | None) -> int:
    """How many ids the shards of `spec` may hold."""
    if spec.vocab is not None:
        return spec.vocab
    if tokenizer is None:
        raise ScalingError(
            f"nobody says how many token ids the shards of {spec.source!r} may hold: give vocab, 50257 for GPT-2's, or "
            f"their tokenizer"
        )
    return tokenizer.vocab


def find_tokenizer(name: str | None) -> Tokenizer | None:
    """An existing tokenizer by name or file; None for bytes, and for one that has to be trained."""
    if name is None or name == BYTES:
        return None
    if name.startswith(BPE):
        _bpe_size(name)
        return None
    if name.startswith(TIKTOKEN) or name.endswith(".tiktoken"):
        return _tiktoken(name)
    path = Path(name)
    if not path.is_file():
        raise ScalingError(
            f"there is no tokenizer file {name!r}; a tokenizer is {BYTES!r}, '{BPE}4096', a JSON file of the "
            f"tokenizers library, a .tiktoken file or '{TIKTOKEN}gpt2'"
        )
    return _from_json(path.name, path.read_text(encoding="utf-8"))


def train_tokenizer(name: str, texts: Sequence[bytes]) -> Tokenizer:
    """The byte-level BPE "bpe:VOCAB" trained on `texts`; trained once for the same texts, size and library."""
    size, library = _bpe_size(name), needed("tokenizers", f"the tokenizer {name}")
    parts = [name, library.__version__, *(hashlib.sha256(text).hexdigest() for text in texts)]
    kept = f"tokenizers/{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ScalingError):
        return _from_json(name, (cache_folder() / kept).read_text(encoding="utf-8"))
    level = library.pre_tokenizers.ByteLevel
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer, made.decoder = level(add_prefix_space=False, use_regex=True), library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(level.alphabet()), special_tokens=[], show_progress=False
    )
    made.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    text = made.to_str()
    keep(kept, lambda file: file.write(text.encode()))
    return _from_json(name, text)


def encode(tokenizer: Tokenizer, texts: Sequence[bytes]) -> Ids:
    """The ids of all texts, one after another, (n,); kept for the same texts and tokenizer."""
    digest = hashlib.sha256(tokenizer.digest.encode())
    for text in texts:
        digest.update(hashlib.sha256(text).digest())
    kept = f"tokens/{digest.hexdigest()[:32]}.npy"
    with suppress(OSError, ValueError):
        return np.load(cache_folder() / kept, mmap_mode="r", allow_pickle=False)
    small = np.uint8 if tokenizer.vocab <= 2**8 else np.uint16 if tokenizer.vocab <= 2**16 else np.uint32
    parts: list[Ids] = [np.zeros(0, small)]
    for together in _batches(piece for text in texts for piece in _pieces(text)):
        parts += [np.array(ids, small) for ids in tokenizer.encode(together)]
    ids = np.concatenate(parts)
    keep(kept, lambda file: np.save(file, ids, allow_pickle=False))
    return ids


def bytes_per_id(tokenizer: Tokenizer, ids: Ids) -> float:
    """Bytes that an id stands for, on average over the first MEASURED of `ids`."""
    some = ids[:MEASURED]
    return tokenizer.bytes(some.tolist()) / len(some)


def _vocab(spec: Source, one: Source) -> int:
    """How many ids the source `one` of the corpus `spec` has."""
    if one.format == "shards" and spec.tokenizer != BYTES:
        return shard_vocab(one, find_tokenizer(spec.tokenizer))
    found = find_tokenizer(spec.tokenizer)
    if found is not None:
        return found.vocab
    return _bpe_size(spec.tokenizer) if spec.tokenizer and spec.tokenizer != BYTES else 256


def _bpe_size(name: str) -> int:
    text = name.removeprefix(BPE)
    if not text.isdecimal() or not 257 <= int(text) <= 2**20:
        raise ScalingError(f"the tokenizer {name!r} needs a size from 257 to {2**20}, as in '{BPE}4096'")
    return int(text)


def _from_json(name: str, text: str) -> Tokenizer:
    library = needed("tokenizers", f"the tokenizer {name}")
    try:
        made = library.Tokenizer.from_str(text)
    except Exception as error:  # the library raises no narrower kind
        raise ScalingError(f"{name} is no tokenizer file of the tokenizers library: {error}") from error
    made.no_truncation()
    made.no_padding()
    # of the file and not of `to_str`, which other versions of the library may lay out in another way
    what = json.dumps(json.loads(text) | {"truncation": None, "padding": None}, sort_keys=True)
    return Tokenizer(
        name,
        hashlib.sha256(what.encode()).hexdigest()[:12],
        max(made.get_vocab(with_added_tokens=True).values()) + 1,
        text,
        lambda texts: (one.ids for one in made.encode_batch_fast(texts, add_special_tokens=False)),
        lambda ids: len(made.decode(ids, skip_special_tokens=True).encode()),
    )


def _tiktoken(name: str) -> Tokenizer:
    library = needed("tiktoken", f"the tokenizer {name}")
    if name.startswith(TIKTOKEN):
        try:
            made = library.get_encoding(name.removeprefix(TIKTOKEN))
        except Exception as error:  # of many kinds: an unknown name, no network
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise ScalingError(
                f"cannot get the tokenizer {name!r} ({said[0]}): give a .tiktoken file, or one of "
                f"{', '.join(library.list_encoding_names())} where the network or $TIKTOKEN_CACHE_DIR has it"
            ) from error
    else:
        made = library.Encoding(Path(name).stem, pat_str=GPT2_PATTERN, mergeable_ranks=_ranks(name), special_tokens={})
    special = {made.encode_single_token(word) for word in made.special_tokens_set}
    what = (made._pat_str, sorted(made._mergeable_ranks.items()), sorted(special))

    def count(ids: list[int]) -> int:
        return len(made.decode_bytes([i for i in ids if i not in special]))

    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
    return Tokenizer(Path(name).name, digest, made.n_vocab, None, lambda texts: map(made.encode_ordinary, texts), count)


def _ranks(name: str) -> dict[bytes, int]:
    """A .tiktoken file: on each line the bytes of a token in base 64 and its rank."""
    try:
        lines = Path(name).read_text(encoding="ascii").splitlines()
        ranks = {base64.b64decode(word, validate=True): int(rank) for word, rank in map(str.split, filter(None, lines))}
    except OSError as error:
        raise ScalingError(f"cannot read the tokenizer {name!r}: {error.strerror}") from error
    except (ValueError, binascii.Error) as error:
        raise ScalingError(f"{name} is no .tiktoken file: a line must be a token in base 64 and its rank") from error
    if sorted(ranks.values()) != list(range(len(ranks))) or any(bytes([i]) not in ranks for i in range(256)):
        raise ScalingError(f"{name}: a .tiktoken file has every single byte and the ranks from 0 up, each once")
    return ranks


def _pieces(content: bytes) -> Iterator[str]:
    text = content.decode("utf-8", errors="replace")
    start = 0
    while start < len(text):
        stop = start + PIECE
        if stop < len(text):
            stop = text.rfind("\n", start, stop) + 1 or stop
        yield text[start:stop]
        start = stop


def _batches(pieces: Iterable[str]) -> Iterator[list[str]]:
    together: list[str] = []
    length = 0
    for piece in pieces:
        together.append(piece)
        length += len(piece)
        if length >= TOGETHER:
            yield together
            together, length = [], 0
    if together:
        yield together
