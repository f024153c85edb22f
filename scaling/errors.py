"""What can go wrong, by whose mistake: every message says the rule, what was found, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

LONGEST, SHOWN = 80, 60  # characters of a name, and names, that a message shows


class ScalingError(ValueError):
    """A mistake in what the caller gave: a name, an option, a value."""


class TableError(ScalingError):
    """A table that cannot be read or lacks what a law reads."""


class FitError(ScalingError):
    """A fit that failed. `best` holds the best attempt (a Fit) where there is one, else None."""

    def __init__(self, message: str, best: Any = None) -> None:
        super().__init__(message)
        self.best = best


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known ones, or all of them."""
    names = sorted(n for n in known if len(n) <= LONGEST)
    close = difflib.get_close_matches(name[:LONGEST], names, n=2, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
