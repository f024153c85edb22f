"""What the updates of one stack read, worked out in blocks of updates and kept while slots may ask again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sweeps.regimes.listed import regime_of
from sweeps.runs import Run
from sweeps.tokens import Tokens

#: Updates whose draws are worked out at once, and how many such blocks are kept: two a slot, and room.
FEED_STEPS, FEED_BLOCKS = 64, 256


class Feed:
    """Draws of any run of a stack, by the index of the update."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens, self.kept = tokens, dict[tuple[object, int], NDArray[np.int64]]()

    def take(self, run: Run, step: int, count: int) -> NDArray[np.int64]:
        """Draws of the updates `step`, `step` + 1, ... of `run`, (count, batch, ...)."""
        first, last = step // FEED_STEPS, (step + count - 1) // FEED_STEPS
        rows = [self._block(run, number) for number in range(first, last + 1)]
        return np.concatenate(rows)[step - first * FEED_STEPS :][:count]

    def _block(self, run: Run, number: int) -> NDArray[np.int64]:
        key = (run.lineage, number)
        if key not in self.kept:
            self.kept[key] = regime_of(run).draws(run, self.tokens, number * FEED_STEPS, FEED_STEPS)
            if len(self.kept) > FEED_BLOCKS:
                del self.kept[next(iter(self.kept))]  # the oldest
        return self.kept[key]
