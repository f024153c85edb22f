"""What runs learn: weights, the text an update reads, and the loss. The loop knows objectives by this noun alone.

To add one: a module with its functions, a line in OBJECTIVES, and its name among those of `Run.objective`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweeps import model
from sweeps.model import Weight
from sweeps.order import segment_offsets, validation_sequences
from sweeps.runs import Run
from sweeps.tokens import Tokens

#: Updates whose draws are worked out at once, and how many such blocks are kept: two a slot, and room.
FEED_STEPS, FEED_BLOCKS = 64, 256


@dataclass(frozen=True)
class Objective:
    """The functions that make a loss. All but the last three run on the host, before training.

    layout      run -> every weight of a replica, in the order of the flat row; groups as in `sweeps/parametrization.py`
    initial     run -> initial flat row (P,), a function of seed and shape
    draws       run, tokens, index of an update, count -> whole numbers (count, batch, ...) that say what this and the
                next updates read: where sequences start, and the seed of whatever else is random. A function of the
                run's seed and the index alone, so that a training resumes and forks without a state of its own
    validation  run, tokens -> the fixed validation inputs (count, ...)
    gather      text (n,), draws (R, batch, ...), run -> inputs (R, batch, ...), on the device
    losses      weights (name -> (R, *shape)), inputs, run -> loss in nats of every token predicted, (R, batch, tokens)
    states      weights, inputs, run -> last hidden states, what the head reads, (R, tokens of the batch, width)
    """

    layout: Callable[[Run], tuple[Weight, ...]]
    initial: Callable[[Run], Tensor]
    draws: Callable[[Run, Tokens, int, int], NDArray[np.int64]]
    validation: Callable[[Run, Tokens], NDArray[np.int64]]
    gather: Callable[[Tensor, Tensor, Run], Tensor]
    losses: Callable[[Mapping[str, Tensor], Tensor, Run], Tensor]
    states: Callable[[Mapping[str, Tensor], Tensor, Run], Tensor]


def objective_of(run: Run) -> Objective:
    """The objective of `run`."""
    return OBJECTIVES[run.objective]


class Feed:
    """What the updates of one stack read, worked out in blocks of updates and kept while slots may ask again."""

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
            self.kept[key] = objective_of(run).draws(run, self.tokens, number * FEED_STEPS, FEED_STEPS)
            if len(self.kept) > FEED_BLOCKS:
                del self.kept[next(iter(self.kept))]  # the oldest
        return self.kept[key]


def _starts(run: Run, tokens: Tokens, step: int, count: int) -> NDArray[np.int64]:
    return segment_offsets(tokens, run, step, count)


def _validation(run: Run, tokens: Tokens) -> NDArray[np.int64]:
    return validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64)


def _sequences(text: Tensor, starts: Tensor, run: Run) -> Tensor:
    """Sequences (R, B, context + 1) from where each starts, (R, B)."""
    return text[starts.unsqueeze(-1) + torch.arange(run.context + 1, device=starts.device)].long()


def _states(weights: Mapping[str, Tensor], sequences: Tensor, run: Run) -> Tensor:
    return model.hidden(weights, sequences[:, :, :-1], run)


OBJECTIVES: dict[str, Objective] = {
    "autoregressive": Objective(model.layout, model.initial, _starts, _validation, _sequences, model.losses, _states),
}
