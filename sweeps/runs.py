"""The nouns of a sweep, all frozen: a Run says everything its training needs; an Edge is a stretch of steps that one or
more runs share; a Stack is the runs of one shape, which train as one model. Nothing here imports torch.

A run is a path in its stack's fork tree. Two runs of the same shape, seed, data and optimizer share all steps up to
the first one at which their learning rates differ (exact float32 equality).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from scaling.schedule import SCHEDULES

SCHEMA_VERSION = 1

MeasureName = Literal["representation", "gradient_noise"]
DepthRule = Literal["none", "depth-mup", "completep"]
DEPTH_RULES: tuple[str, ...] = get_args(DepthRule)
Optimizer = Literal["adamw", "muon"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)


class Run(BaseModel):
    """One training run, every knob a number: the trainer decides nothing.

    The key is a hash of the fields that differ from their defaults, so a new knob with a default orphans no finished
    run. `group` says who asked for the run; it does not change the training and is no part of the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # shape: runs that agree on all of these train in one stack
    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    head_dim: int = Field(16, gt=0)
    mlp_ratio: float = Field(4.0, gt=0)
    vocab: int = Field(256, gt=1)
    context: int = Field(128, gt=1)
    batch: int = Field(16, gt=0)
    objective: str = "autoregressive"  # a name of `sweeps/regimes/listed.py`
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    corpus: str = ""  # digest of the token manifest: losses on different digests do not compare
    val_sequences: int = Field(128, gt=0)
    evals_per_octave: int = Field(4, gt=0)
    log_every: int = Field(1, gt=0)
    measures: tuple[MeasureName, ...] = ()  # what else is measured where a run is validated (see measures)
    measures_share: float = Field(0.01, ge=0, le=100)  # most of its training that this may cost (see cadence)
    options: tuple[tuple[str, bool | int | float | str], ...] = ()  # settings that the objective alone reads, by name
    weight_format: str = "none"  # how matrices inside of blocks are stored: a name of `sweeps/formats/listed.py`
    activation_format: str = "none"  # how what they multiply is stored

    # what one replica has to itself
    seed: int = Field(0, ge=0)
    mixture: tuple[tuple[str, float], ...] = ()  # source and weight, weights sum to 1; () for a corpus of one source
    unique_tokens: int | None = Field(None, gt=0)  # a multiple of context; None: all of the training text
    steps: int = Field(gt=0)
    schedule: Literal["constant", "linear", "cosine", "wsd", "multistep", "cosine_restarts", "rewarm"] = "wsd"
    lr: float = Field(gt=0)
    warmup: int = Field(0, ge=0)
    cooldown: int = Field(0, ge=0)
    cooldown_shape: Literal["linear", "1-sqrt"] = "1-sqrt"
    lr_final: float = Field(0.0, ge=0, le=1)  # last learning rate, as a fraction of the peak
    milestones: tuple[float, ...] = (0.8, 0.9)
    factor: float = Field(0.31622776601683794, gt=0)
    cycles: int = Field(2, gt=0)
    again_at: float = Field(0.5, gt=0, lt=1)  # where the second warm-up begins, as a fraction of the steps
    again_to: float = Field(1.0, gt=0)  # its peak, in multiples of the first
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    clip: float = Field(1.0, gt=0)
    optimizer: Optimizer = "adamw"
    momentum: float = Field(0.95, ge=0, lt=1)  # of muon
    base_width: int = Field(64, gt=0)  # width at which the muP factors are 1
    embedding_lr: float = Field(10.0, gt=0)  # learning rate of the embedding, in multiples of lr (see parametrization)
    head_lr: float = Field(8.0, gt=0)
    gain_lr: float = Field(2.0, gt=0)
    depth_rule: DepthRule = "none"  # how blocks change with depth (see parametrization)
    base_depth: int = Field(2, gt=0)  # depth at which the factors of depth are 1
    token_losses: bool = False  # whether the loss of every validation token is kept at the end (see experts)

    group: str = ""

    @cached_property
    def key(self) -> str:
        """Folder name: a readable start and ten hexadecimal digits of the hash of the non-default fields."""
        digest = _digest(self.model_dump(exclude={"group"}, exclude_defaults=True))
        return f"w{self.width}-d{self.depth}-t{self.steps}-{self.schedule}-s{self.seed}-{digest}"

    @cached_property
    def lr_per_step(self) -> NDArray[np.float32]:
        """Learning rate of every update, shape (steps,), float32: what the forks are found from."""
        return SCHEDULES[self.schedule](self.steps, self.lr, **self.schedule_options).astype(np.float32)

    @property
    def schedule_options(self) -> dict[str, Any]:
        """What the schedule's function takes beside steps and peak."""
        options: dict[str, Any] = {"warmup": self.warmup}
        if self.schedule in ("linear", "cosine"):
            options |= {"final": self.lr_final}
        elif self.schedule == "wsd":
            options |= {"cooldown": self.cooldown, "shape": self.cooldown_shape, "final": self.lr_final}
        elif self.schedule == "cosine_restarts":
            options |= {"cycles": self.cycles, "final": self.lr_final}
        elif self.schedule == "rewarm":
            options |= {"again_at": self.again_at, "again_to": self.again_to, "final": self.lr_final}
        elif self.schedule == "multistep":
            options |= {"milestones": self.milestones, "factor": self.factor}
        return options

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.context

    @property
    def tokens(self) -> int:
        """D: training tokens, repeats counted."""
        return self.steps * self.tokens_per_step

    @property
    def shape(self) -> tuple[Any, ...]:
        """Runs of equal shape train in one stack."""
        return tuple(getattr(self, name) for name in SHAPE + LATER_SHAPE)

    @property
    def lineage(self) -> tuple[Any, ...]:
        """Runs of equal shape and lineage share the steps before their learning rates part."""
        later = ((name, getattr(self, name)) for name in LATER_LINEAGE)
        return tuple(getattr(self, name) for name in LINEAGE) + tuple(
            (name, value) for name, value in later if value != Run.model_fields[name].default
        )


#: Fields that decide the compiled step: equal in all runs of a stack.
SHAPE = (
    "width", "depth", "head_dim", "mlp_ratio", "vocab", "context", "batch", "objective", "dtype", "corpus",
    "val_sequences", "evals_per_octave", "log_every", "base_width",
    "embedding_lr", "head_lr", "gain_lr",
)  # fmt: skip
#: The same, but later than names of stacks that exist: at their defaults they do not count for the name.
LATER_SHAPE = (
    "depth_rule", "base_depth", "optimizer", "measures", "measures_share", "options", "weight_format",
    "activation_format",
)  # fmt: skip
#: Fields beside the learning rates that decide the training of one replica.
LINEAGE = ("seed", "beta1", "beta2", "eps", "weight_decay", "clip")
#: The same, but later than names of trunks that exist: at their defaults they do not count for the name.
LATER_LINEAGE = ("mixture", "unique_tokens", "momentum")


@dataclass(frozen=True)
class Edge:
    """Steps [start, stop) of one path, trained once for all the runs that pass through it."""

    name: str  # unique in its stack and equal in every plan of the same runs
    parent: str | None  # the edge whose end this one starts from; None: from the initial weights
    start: int
    stop: int
    lr: NDArray[np.float32]  # shape (stop - start,)
    runs: tuple[str, ...]  # keys of all runs that pass through
    ends: tuple[str, ...]  # keys of the runs whose last update is stop - 1
    trunk: str  # name of the root edge of this tree: runs of one trunk share noise
    example: Run  # any run that passes through: seed and optimizer settings


@dataclass(frozen=True)
class Stack:
    """The runs of one shape and the edges of their fork trees, parents before children."""

    key: str
    runs: tuple[Run, ...]
    edges: tuple[Edge, ...]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def stack_key(run: Run) -> str:
    """Name of the stack a run trains in: a hash of its shape. A later knob at its default renames no stack."""
    values = [str(getattr(run, name)) for name in SHAPE]
    later = {name: str(getattr(run, name)) for name in LATER_SHAPE}
    values += [f"{name}={v}" for name, v in later.items() if v != str(Run.model_fields[name].default)]
    return f"w{run.width}-d{run.depth}-{_digest(values)}"


def part_key(stack: str, trunk: str) -> str:
    """Name of the part of a stack that is one tree alone."""
    return f"{stack}-{hashlib.sha256(trunk.encode()).hexdigest()[:6]}"


def validation_counts(evals_per_octave: int, stop: int) -> NDArray[np.int64]:
    """Numbers of updates, up to `stop`, after which every run is validated: `evals_per_octave` a doubling, rounded.

    One grid for all horizons, so that runs validate their shared steps at the same places. The last update of every
    edge, a fork or an end, is validated besides.
    """
    octaves = np.arange(int(np.ceil(evals_per_octave * np.log2(max(stop, 1)))) + 1) / evals_per_octave
    counts = np.unique(np.round(2.0**octaves).astype(np.int64))
    return counts[counts <= stop]
