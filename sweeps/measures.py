"""What is measured beside the loss where a run is validated: columns of its curve that a grid may ask for.

To add one: a module with its function, a line in MEASURES, its price in `cadence.PRICES`, its name in
`runs.MeasureName` and its columns in `scaling.columns.MEASURED`. The loop knows measures by this noun alone.
"""

from __future__ import annotations

import math
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
    validation  inputs of the fixed validation set, about a batch, the same for every replica, (R, n, ...)
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
) -> dict[int, dict[str, float]]:
    """All that the run asks for, of the slots at `places`: place -> column -> value.

    feed        where what the next updates read comes from
    validation  the fixed inputs (count, ...), of which `looked_at` are used
    """
    run, chosen = engine.run, list(places)
    if not chosen:
        return {}
    slots = [slot for slot in (training.slots[place] for place in chosen) if slot is not None]
    draws = np.stack([feed.take(slot.edge.example, slot.step, 1)[0] for slot in slots])
    seen = validation[looked_at(validation.shape, run)]
    sight = Sight(
        run,
        engine.state.weights[chosen],
        seen.expand(len(chosen), *seen.shape),
        regime_of(run).gather(engine.text, torch.from_numpy(draws).to(engine.text.device), run),
    )
    columns = {name: value for measure in run.measures for name, value in MEASURES[measure](sight).items()}
    values = {name: value.double().cpu().tolist() for name, value in columns.items()}
    return {place: {name: value[i] for name, value in values.items()} for i, place in enumerate(chosen)}


def looked_at(shape: Sequence[int], run: Run) -> list[int]:
    """Which validation inputs, of `shape` (count, ...), are looked at: as many tokens as a batch has, spread evenly.

    Evenly, for sources follow one another in the validation set. An input may hold its sequence several times, as those
    of diffusion do.
    """
    count, sequence = shape[0], math.prod(shape[1:])
    wanted = min(count, max(1, run.batch * (run.context + 1) // sequence))
    return [i * count // wanted for i in range(wanted)]
