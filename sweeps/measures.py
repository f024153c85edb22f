"""What is measured beside the loss wherever a run is validated: columns of its curve that a grid may ask for.

To add one: a module with its function, a line in MEASURES, its name in `runs.MeasureName` and its columns in
`scaling.columns.MEASURED`. The loop knows measures by this noun alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweeps import gradient_noise, representation
from sweeps.engine import Engine
from sweeps.feed import Feed
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run
from sweeps.slots import Training


@dataclass(frozen=True)
class Sight:
    """What a measure may look at, all of the replicas that are measured.

    weights     (R, P)
    validation  inputs of one batch of the fixed validation set, the same for every replica, (R, B, ...)
    training    inputs of the next update, (R, B, ...)
    """

    run: Run
    weights: Tensor
    validation: Tensor
    training: Tensor


#: Name -> function of a Sight; gives every column (R,).
MEASURES: dict[str, Callable[[Sight], Mapping[str, Tensor]]] = {
    "representation": lambda sight: representation.measure(sight.weights, sight.validation, sight.run),
    "gradient_noise": lambda sight: gradient_noise.measure(sight.weights, sight.training, sight.run),
}


def measured(
    engine: Engine, training: Training, places: Sequence[int], feed: Feed, validation: Tensor
) -> list[dict[str, float]]:
    """All that the run asks for, of the slots at `places`: a record each, column -> value.

    feed        where what the next updates read comes from
    validation  the fixed inputs (count, ...), of which one batch is used
    """
    run, chosen = engine.run, list(places)
    if not run.measures:
        return [{} for _ in chosen]
    slots = [slot for slot in (training.slots[place] for place in chosen) if slot is not None]
    draws = np.stack([feed.take(slot.edge.example, slot.step, 1)[0] for slot in slots])
    first = validation[: run.batch]
    sight = Sight(
        run,
        engine.state.weights[chosen],
        first.expand(len(chosen), *first.shape),
        regime_of(run).gather(engine.text, torch.from_numpy(draws).to(engine.text.device), run),
    )
    columns = {name: value for measure in run.measures for name, value in MEASURES[measure](sight).items()}
    values = {name: value.double().cpu().tolist() for name, value in columns.items()}
    return [{name: value[i] for name, value in values.items()} for i in range(len(chosen))]
