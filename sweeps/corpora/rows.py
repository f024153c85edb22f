"""Text from the rows of tables: parquet, JSON lines or CSV on this machine, or a named data set, read by `datasets`.

A row belongs to the validation text when a hash of its own text, a number in [0, 1), falls below the validation
fraction, so rows of equal text are on one side; the row with the lowest hash always does. Rows follow each other in
the order of the tables, each ended by a line break.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError, nearest
from sweeps.corpora.cache import cache_folder, needed
from sweeps.corpora.files import File, Text, place, walk
from sweeps.corpora.settings import NAMED, Source

#: What `datasets` calls the tables that end so.
KINDS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}


def read_rows(spec: Source) -> Text:
    """The rows a source names, split. The manifest has one entry for the training and one for the validation rows."""
    datasets = needed("datasets", "reading rows of tables")
    rows = _named(datasets, spec) if spec.source.startswith(NAMED) else _local(datasets, spec)
    if spec.column not in rows.column_names:
        raise ScalingError(
            f"the rows of {spec.source!r} have no column {spec.column!r}; {nearest(spec.column, rows.column_names)}"
        )
    parts: dict[str, list[bytes]] = {"train": [], "validation": []}
    lowest, skipped = (2.0, b""), 0
    for batch in rows.select_columns([spec.column]).iter(batch_size=1000):
        for value in batch[spec.column]:
            if not isinstance(value, str) or not value:
                skipped += 1
                continue
            text = value.encode() + b"\n"
            chance = int(hashlib.sha256(text).hexdigest()[:16], 16) / 2**64
            lowest = min(lowest, (chance, text))
            parts["validation" if chance < spec.validation else "train"].append(text)
    if not parts["validation"] and parts["train"]:
        parts = {
            "train": [text for text in parts["train"] if text != lowest[1]],
            "validation": [text for text in parts["train"] if text == lowest[1]],
        }
    if not parts["train"]:
        raise ScalingError(
            f"a corpus needs at least two rows of different text, for training and for validation; {spec.source!r} has "
            f"{len(parts['validation'])} in the column {spec.column!r} ({skipped} empty or no text)"
        )
    name = spec.source.removeprefix(NAMED) if spec.source.startswith(NAMED) else Path(spec.source).name
    contents = {f"{name}#{spec.column}#{split}": b"".join(texts) for split, texts in parts.items()}
    manifest = tuple(
        File(path, len(content), hashlib.sha256(content).hexdigest(), path.rsplit("#", 1)[1])
        for path, content in contents.items()
    )
    return Text(manifest, contents, skipped)


def _local(datasets: Any, spec: Source) -> Any:
    root, include = place(spec)
    found = [path for path in walk(root, include) if path.suffix in KINDS]
    kinds = {KINDS[path.suffix] for path in found}
    if len(kinds) != 1:
        raise ScalingError(
            f"rows are read from files of one kind, {', '.join(KINDS)}; {spec.source!r} has "
            f"{' and '.join(sorted(kinds)) or 'none'}: choose with include"
        )
    return _loaded(datasets, spec, kinds.pop(), data_files=[str(path) for path in found], split="train")


def _named(datasets: Any, spec: Source) -> Any:
    """hf:NAME, hf:NAME/SUBNAME, or either with :CONFIGURATION; the rows of its split `train`."""
    name, _, configuration = spec.source.removeprefix(NAMED).partition(":")
    return _loaded(datasets, spec, name, *([configuration] if configuration else []), split="train")


def _loaded(datasets: Any, spec: Source, *names: str, **options: Any) -> Any:
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(*names, cache_dir=str(cache_folder() / "datasets"), **options)
    except Exception as error:  # of many kinds, from the network to the parser
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ScalingError(f"cannot read the rows of {spec.source!r}: {said[0]}") from error
