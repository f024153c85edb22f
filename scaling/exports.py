"""Tables as CSV text that a spreadsheet cannot take for a program."""

from __future__ import annotations

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a cell begins that a spreadsheet would work out


def escaped(value: object) -> object:
    """A cell of text that begins like a formula, with an apostrophe before it; numbers and other text as they are."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def to_csv(table: pd.DataFrame) -> tuple[str, int]:
    """A table as CSV, numbers to the last digit, missing cells empty; and how many cells or names were escaped."""
    safe = table.copy(deep=False)
    safe.attrs = {}
    count = 0
    for at, name in enumerate(table.columns):
        column = table.iloc[:, at]
        if column.dtype == object or pd.api.types.is_string_dtype(column):
            cells = column.map(escaped)
            changed = int((cells.notna() & (cells != column)).sum())
            if changed:
                safe = safe.assign(**{str(name): cells})
                count += changed
    names = [str(escaped(str(name))) for name in table.columns]
    count += sum(new != str(old) for new, old in zip(names, table.columns, strict=True))
    safe.columns = pd.Index(names)
    return safe.to_csv(index=False), count
