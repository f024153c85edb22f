"""What a regime is: the weights, what an update reads, and the loss. The loop knows regimes by this noun alone.

To add one: a file beside this one that makes a Regime, and a line in `listed.py`. Planning reads that file too, on
machines without torch, so what computes with tensors imports what it needs inside its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from scaling.columns import Column
from sweeps import parametrization
from sweeps.runs import Run
from sweeps.tokens import Tokens
from sweeps.weights import Weight

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Mapping[str, Tensor]


class Settings(BaseModel):
    """Settings of a grid that one regime alone reads, with defaults and descriptions; all belong to the shape."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Own = TypeVar("Own", bound=Settings)


def own(kind: type[Own], run: Run) -> Own:
    """The settings that the regime of `run` alone reads, defaults filled in; `kind` is its `settings`."""
    return kind(**dict(run.options))


def _groups(run: Run) -> dict[str, parametrization.Group]:
    return parametrization.groups(run)


def _fine(run: Run) -> None:
    """Nothing to object to."""


def _once(run: Run) -> int:
    return 1


def _no_columns(run: Run) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Regime:
    """The functions that make a way of training. Only the last three need torch.

    name        of `Run.objective`
    about       what it is, in a line
    settings    settings of its own; `own` gives a run's
    check       run -> None; raises ScalingError with the reason where a run cannot be trained
    weights     run -> every weight of a replica, in the order of the flat row; groups as in `sweeps/parametrization.py`
    flops       run -> training FLOP per token by convention, names as in `scaling.flops.flops_per_token`
    draws       run, tokens, index of an update, count -> whole numbers (count, batch, ...) that say what this and the
                next updates read: where sequences start, and the seed of whatever else is random. A function of the
                run's seed and the index alone, so that a training resumes and forks without a state of its own
    validation  run, tokens -> the fixed validation inputs (val_sequences, ...), each of one validation sequence
    passes      run -> forward passes that one of these inputs takes
    row         run -> further columns of the table of runs; `columns` describes them and those of the settings
    whole_text  whether every token of a text is predicted, so that its loss gives bits per byte
    likelihoods  whether a loss is minus the logarithm of the chance that its token was given, as experts are mixed by
    groups      run -> the rule of each group of weights
    gather      text (n,), draws (R, batch, ...), run -> inputs (R, batch, ...), on the device
    losses      weights (name -> (R, *shape)), inputs, run -> loss in nats of every token predicted, (R, batch, tokens)
    states      weights, inputs, run -> last hidden states, what the head reads, (R, tokens of the batch, width)
    """

    name: str
    about: str
    weights: Callable[[Run], tuple[Weight, ...]]
    flops: Callable[[Run], dict[str, float]]
    draws: Callable[[Run, Tokens, int, int], NDArray[np.int64]]
    validation: Callable[[Run, Tokens], NDArray[np.int64]]
    gather: Callable[[Tensor, Tensor, Run], Tensor]
    losses: Callable[[Weights, Tensor, Run], Tensor]
    states: Callable[[Weights, Tensor, Run], Tensor]
    settings: type[Settings] = Settings
    check: Callable[[Run], None] = _fine
    columns: Mapping[str, Column] = field(default_factory=dict)
    row: Callable[[Run], dict[str, Any]] = _no_columns
    whole_text: bool = True
    likelihoods: bool = False
    groups: Callable[[Run], dict[str, parametrization.Group]] = _groups
    passes: Callable[[Run], int] = _once
