"""What a reader makes of a source: a table of runs, a table of curves, or both, in the source's own names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.readers.bounds import check_cells


@dataclass(frozen=True, eq=False)
class Log:
    """What a source holds.

    runs    one row a run, with a column run: settings, and what the source says of the outcome; may be empty
    curves  one row a logged step, with columns run and step; may be empty
    notes   what was done to it, each said once
    plain   a table that a person wrote: its rows are taken as they stand
    """

    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()
    plain: bool = False


@dataclass(frozen=True)
class Format:
    """One format: its name, what it is in a line, whether a path is one, and how it is read.

    knows(path, files) is asked with the files below a folder, or with none for a file.
    """

    name: str
    what: str
    knows: Callable[[Path, Sequence[Path]], bool]
    read: Callable[[Path], Log]


def log_of(
    settings: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Iterable[Mapping[str, Any]]],
    notes: Sequence[str] = (),
) -> Log:
    """A log from settings by run, and from logged rows by run, each with a step: rows of one step become one."""
    curves: list[dict[str, Any]] = []
    twice = 0
    for run, some in rows.items():
        by_step: dict[Any, dict[str, Any]] = {}
        for row in some:
            known = by_step.setdefault(row["step"], {"run": run})
            twice += any(name in known and known[name] != value for name, value in row.items())
            known |= {**row, "run": run}
        curves += by_step.values()
    check_cells(len(curves), len({name for row in curves for name in row}), "a log")
    if twice:
        notes = [
            *notes,
            f"{twice} values were logged again for the same step, as when a run resumes: the last are kept",
        ]
    runs = [{**kept, "run": run} for run, kept in settings.items()]
    return Log(pd.DataFrame(runs), pd.DataFrame(curves), tuple(notes))
