"""How a source is to be read, where it cannot be told from the source: a frozen record, from flags or a small TOML."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError, nearest

LARGEST = 2**20  # bytes of a file
FINALS = ("", "decayed", "last", "rows")
TABLES = ("columns", "units", "set", "curves")
SMOOTHING = re.compile(r"^(ema|median)[ :=](\S+)$")


@dataclass(frozen=True)
class Reading:
    """What a person says of a source.

    columns  our column -> the source's: {"N": "params", "loss": "val/loss"}
    units    our column -> unit: {"N": "M", "loss": "bits"}
    set      column -> arithmetic of columns: {"D": "step * 524288"}
    format   its format by name, where it would be taken for another
    smooth   of losses, run by run: "ema 0.98" or "median 5" (rows)
    skip     updates at the start of every run to leave out
    final    which rows of curves are final losses: "decayed": the last of every run that came to its end, by its
             status, planned steps or learning rate; "last": the last of every run; "rows": all rows stand as they are.
             The default is "decayed" for logs and "rows" for tables that a person wrote
    planned  a column with the planned number of updates, or that number
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, str] = field(default_factory=dict)
    format: str = ""
    smooth: str = ""
    skip: int = 0
    final: str = ""
    planned: str = ""

    def __post_init__(self) -> None:
        if self.final not in FINALS:
            raise ScalingError(f"final is one of {', '.join(FINALS[1:])}; got {self.final!r}")
        if self.skip < 0:
            raise ScalingError(f"skip is a number of updates, not below 0; got {self.skip}")
        smoothing(self.smooth)

    def with_columns(self, columns: Mapping[str, str]) -> Reading:
        """The same, with these columns before those of the record."""
        return replace(self, columns={**self.columns, **columns}) if columns else self


def smoothing(text: str) -> tuple[str, float]:
    """Kind and width of a smoothing: ("ema", 0.98), ("median", 5); ("", 0) for none."""
    if not text:
        return "", 0.0
    found = SMOOTHING.match(text.strip())
    try:
        kind, width = (found[1], float(found[2])) if found else ("", 0.0)
    except ValueError:
        kind, width = "", 0.0
    good = 0 < width < 1 if kind == "ema" else width >= 1 and width == int(width)
    if not kind or not good:
        raise ScalingError(f"smooth is 'ema 0.98' (weight of the past) or 'median 5' (rows); got {text!r}")
    return kind, width


def read_reading(path: str | os.PathLike[str]) -> Reading:
    """A reading from TOML: tables [columns], [units], [set], [curves] and the key format. Nothing in it is executed."""
    file = Path(path)
    if not file.is_file():
        raise ScalingError(f"there is no file {file}")
    if file.stat().st_size > LARGEST:
        raise ScalingError(f"{file} is too long to say how a source is read: {file.stat().st_size:,} bytes")
    try:
        record = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScalingError(f"cannot read {file} as TOML: {error}") from None
    _known(record, (*TABLES, "format"), str(file))
    words = {name: _words(record.get(name, {}), f"[{name}] of {file}") for name in ("columns", "units", "set")}
    curves = record.get("curves", {})
    if not isinstance(curves, dict):
        raise ScalingError(f"curves in {file} is a table, [curves]")
    _known(curves, ("smooth", "skip", "final", "planned"), f"[curves] of {file}")
    skip = curves.get("skip", 0)
    if not isinstance(skip, int) or isinstance(skip, bool):
        raise ScalingError(f"skip in [curves] of {file} is a whole number of updates, not {skip!r}")
    return Reading(
        **words,
        format=str(record.get("format", "")),
        smooth=str(curves.get("smooth", "")),
        skip=skip,
        final=str(curves.get("final", "")),
        planned=str(curves.get("planned", "")),
    )


def _words(table: Any, where: str) -> dict[str, str]:
    if not isinstance(table, dict) or any(isinstance(v, dict | list | bool) for v in table.values()):
        raise ScalingError(f'{where} holds one text for each column: N = "params"')
    return {str(k): str(v) for k, v in table.items()}


def _known(record: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in record:
        if name not in names:
            raise ScalingError(f"{where} has an unknown entry {name!r}; {nearest(name, names)}")
