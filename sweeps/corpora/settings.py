"""What a grid says of its corpus: sources, files, split, tokenizer, and weights of a mixture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError, nearest
from sweeps.markov import parse_markov

STDLIB = "stdlib"
#: Begins the names of other texts that lie beside every Python (see `sweeps.corpora.installed`).
INSTALLED = "python:"
DOCS, HEADERS = f"{INSTALLED}docs", f"{INSTALLED}headers"
BYTES = "bytes"
FORMATS = ("text", "rows", "shards")
#: Begins the name of a data set that the `datasets` library knows, and of a tiktoken encoding.
NAMED = "hf:"
TIKTOKEN = "tiktoken:"


@dataclass(frozen=True)
class Source:
    """Which text a corpus is made of, and how it is read.

    source      "stdlib" (the source of the running Python's standard library), "python:docs" (its documentation),
                "python:headers" (C headers of it and of numpy), a folder, one file, a glob, "markov" with its
                settings, text of known entropy (see `sweeps.markov`), or "hf:NAME", rows of a named data set
    include     patterns of names or relative paths to take, `*` matching `/` too; empty takes every file
    validation  about this fraction of the files, or rows, is kept for validation; shards say it by their names
    format      "text" (files), "rows" (tables: parquet, JSON lines, CSV) or "shards" (token ids in .bin files)
    column      which column of the rows is the text
    tokenizer   "bytes", "bpe:VOCAB" (trained on the training text), a tokenizers JSON file, a .tiktoken file or
                "tiktoken:NAME"; None takes bytes, and for shards says that nobody knows
    vocab       how many token ids the shards may hold; None asks the tokenizer
    mixture     named sources and their weights, of which this corpus then is made; all else but the tokenizer is theirs
    """

    source: str = STDLIB
    include: tuple[str, ...] = ()
    validation: float = 0.05
    format: str = "text"
    column: str = "text"
    tokenizer: str | None = None
    vocab: int | None = None
    mixture: tuple[tuple[str, Source, float], ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the named sources, summing to 1; empty for one source."""
        total = math.fsum(weight for _, _, weight in self.mixture)
        return {name: weight / total for name, _, weight in self.mixture}


#: Shares that are written with so many digits less than they have still sum to 1.
NEAR_ONE = 1e-6


def check_shares(weights: Mapping[str, float], place: str) -> None:
    """ScalingError where weights are not all whole numbers, so meant as shares, and do not sum to 1."""
    total = math.fsum(weights.values())
    if any(weight != round(weight) for weight in weights.values()) and abs(total - 1) > NEAR_ONE:
        said = ", ".join(f"{name} = {weight:g}" for name, weight in weights.items())
        raise ScalingError(
            f"{place}: shares must sum to 1, and {said} sum to {total:.7g}: mend them, or give whole numbers, which "
            f"are weights such as 3 to 1"
        )


_OWN = ("source", "include", "validation", "format", "column", "vocab")


def read_source(where: Path, value: Any) -> Source:
    """The corpus of a grid file at `where`. ScalingError names the key, its value and what is allowed."""
    table = {"source": value} if isinstance(value, str) else value
    if isinstance(table, dict) and "sources" in table:
        return _mixture(where, table)
    return _single(where, table, "corpus", ("tokenizer",))


def _mixture(where: Path, table: Mapping[str, Any]) -> Source:
    _known(where, table, "corpus, whose sources say the rest", ("sources", "tokenizer"))
    named = table["sources"]
    if not isinstance(named, dict) or not named or not all(isinstance(value, dict) for value in named.values()):
        raise ScalingError(
            f"{where}: corpus.sources must be tables, each begun by a line [corpus.sources.NAME] with source and weight"
        )
    parts = []
    for name, own in named.items():
        place = f"corpus.sources.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ScalingError(f"{where}: the name of a source must be letters, digits, _ or -, got {name!r}")
        weight = own.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ScalingError(f"{where}: {place}.weight must be a number above 0, got {weight!r}")
        parts.append((name, _single(where, own, place, ("weight",)), float(weight)))
    check_shares({f"{name}.weight": weight for name, _, weight in parts}, f"{where}: corpus.sources")
    return Source(", ".join(named), tokenizer=_tokenizer(where, table.get("tokenizer")), mixture=tuple(parts))


def _single(where: Path, table: Any, place: str, besides: tuple[str, ...]) -> Source:
    if not isinstance(table, dict) or not isinstance(table.get("source"), str):
        raise ScalingError(
            f"{where}: {place} must be {STDLIB!r}, a folder, a glob, {DOCS!r}, {HEADERS!r}, or a table with source, "
            f"include, validation, format, column, vocab and tokenizer, or with sources; got {table!r}"
        )
    _known(where, table, place, (*_OWN, *besides))
    include, validation = table.get("include", []), table.get("validation", Source.validation)
    include = [include] if isinstance(include, str) else include
    if not isinstance(include, list) or not all(isinstance(pattern, str) for pattern in include):
        raise ScalingError(f"{where}: {place}.include must be a list of patterns such as '*.md', got {include!r}")
    if not isinstance(validation, float) or not 0 < validation < 1:
        raise ScalingError(f"{where}: {place}.validation must be a fraction between 0 and 1, got {validation!r}")
    form, column, vocab = table.get("format", Source.format), table.get("column", Source.column), table.get("vocab")
    if form not in FORMATS:
        raise ScalingError(
            f"{where}: {place}.format must be one of {', '.join(FORMATS)}, got {form!r}; {nearest(str(form), FORMATS)}"
        )
    if "column" in table and (form != "rows" or not isinstance(column, str)):
        raise ScalingError(
            f'{where}: {place}.column names the column of the text in rows: say format = "rows" too; got {column!r}'
        )
    if vocab is not None and (form != "shards" or isinstance(vocab, bool) or not isinstance(vocab, int) or vocab < 2):
        raise ScalingError(
            f"{where}: {place}.vocab is a whole number from 2 up, how many token ids shards hold (format = "
            f'"shards"); got {vocab!r}'
        )
    source = table["source"]
    if source != STDLIB and parse_markov(source) is None and not source.startswith((NAMED, INSTALLED)):
        source = _beside(where, source)
    tokenizer = _tokenizer(where, table.get("tokenizer")) if "tokenizer" in besides else None
    return Source(source, tuple(include), validation, form, column, tokenizer, vocab)


def _tokenizer(where: Path, value: Any) -> str | None:
    if value is None or value == BYTES:
        return value
    if not isinstance(value, str):
        raise ScalingError(f"{where}: corpus.tokenizer must be text such as 'bytes' or 'bpe:4096', got {value!r}")
    named = value.startswith(("bpe:", TIKTOKEN))
    return value if named else _beside(where, value)


def _beside(where: Path, path: str) -> str:
    """A path relative to the grid, so that a grid means the same from everywhere."""
    return str(where.absolute().parent / Path(path).expanduser())


def _known(where: Path, table: Mapping[str, Any], place: str, allowed: tuple[str, ...]) -> None:
    for key in table:
        if key not in allowed:
            raise ScalingError(f"{where}: unknown key {key!r} in {place}; {nearest(key, allowed)}")
