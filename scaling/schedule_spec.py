"""A learning-rate schedule as one word of text: a standard one with its settings, or a CSV of rates."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.curves import LONGEST
from scaling.errors import ScalingError, nearest
from scaling.schedule import SCHEDULES


def schedule_from(spec: str) -> NDArray[np.float64]:
    """Learning rates from 'wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4000' or from a CSV with a column lr.

    A list of numbers is written with plus signs: milestones=.8+.9. Raises ScalingError with what the schedule takes.
    """
    name, _, rest = spec.partition(":")
    if ":" not in spec or Path(spec).exists():
        return _of_file(spec)
    if name not in SCHEDULES:
        raise ScalingError(f"no schedule is called {name!r}; {nearest(name, SCHEDULES)}")
    known = inspect.signature(SCHEDULES[name]).parameters
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, sign, text = (piece.strip() for piece in part.partition("="))
        if not sign or not text:
            raise ScalingError(f"schedule {spec!r}: expected NAME:option=value,...; got {part!r}")
        if key not in known:
            raise ScalingError(f"schedule {spec!r}: {name} has no option {key!r}; {nearest(key, known)}")
        if key in options:
            raise ScalingError(f"schedule {spec!r}: {key} is given twice; name it once")
        options[key] = _value(spec, key, text, str(known[key].annotation))
    missing = [key for key, known_one in known.items() if known_one.default is known_one.empty and key not in options]
    if missing:
        raise ScalingError(
            f"schedule {spec!r}: {' and '.join(missing)} must be given, as in {name}:steps=1000,peak=3e-4"
        )
    if not 0 < options["steps"] <= LONGEST:
        raise ScalingError(f"schedule {spec!r}: steps must lie between 1 and {LONGEST}")
    try:
        return SCHEDULES[name](**options)
    except ValueError as error:
        raise ScalingError(f"schedule {spec!r}: {error}") from None


def _value(spec: str, key: str, text: str, kind: str) -> Any:
    """One setting as what the schedule's signature says it is."""
    if kind == "str":
        return text
    try:
        numbers = [float(part) for part in text.split("+")] if kind.startswith("Sequence") else [float(text)]
    except ValueError:
        raise ScalingError(f"schedule {spec!r}: {key} must be a number, got {text!r}") from None
    if kind == "int" and not numbers[0].is_integer():
        raise ScalingError(f"schedule {spec!r}: {key} must be a whole number, got {text}")
    if kind.startswith("Sequence"):
        return numbers
    return int(numbers[0]) if kind == "int" else numbers[0]


def _of_file(path: str) -> NDArray[np.float64]:
    table = pd.DataFrame()
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise ScalingError(
            f"there is no file {path}; a schedule is a CSV with a column lr, one row a step, or "
            f"NAME:steps=..,peak=.. with NAME one of {', '.join(SCHEDULES)}"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ScalingError(f"cannot read the schedule {path}: {error}") from None
    if "lr" not in table:
        raise ScalingError(f"the schedule {path} needs a column lr, one row a step; it has {', '.join(table.columns)}")
    if ("run" in table and table["run"].nunique() > 1) or ("step" in table and (table["step"].diff()[1:] != 1).any()):
        raise ScalingError(
            f"the schedule {path} has {len(table)} rows that are not one an update of one run; a schedule is a "
            "CSV with the column lr and a row for every update"
        )
    return pd.to_numeric(table["lr"], errors="coerce").to_numpy(float)
