"""muP in width for AdamW: what each parameter group's initial spread, learning rate and multiplier are, so that one
learning rate serves all widths (Tensor Programs V, arXiv:2203.03466, table 8; the README of microsoft/mup).

m = width / base_width. Hidden matrices: initial variance 1 / fan_in, learning rate / m. Embedding and gains: a learning
rate that does not change with width. Head: initial weights 0, such a learning rate too, logits multiplied by 1 / m.
Heads have a fixed head_dim and QK-norm, so attention logits keep 1 / sqrt(head_dim) at every width. Depth has its place
here and no rule yet.

muP leaves each group one constant. The defaults of embedding_lr, head_lr and gain_lr are the best of eleven settings
tried at widths 16 and 32 on 5e5 tokens of Python source (1.95 and 1.78 nats/byte, against 2.00 and 1.83 with
all three at 1). They let small models leave their first plateau sooner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeps.runs import Run


@dataclass(frozen=True)
class Group:
    """Initial standard deviation, learning-rate factor and whether weight decay applies, for one parameter group."""

    init_std: float
    lr_factor: float
    decays: bool


def groups(run: Run) -> dict[str, Group]:
    """The rule of each parameter group of `run`; keys name the weights in `sweeps/model.py`."""
    m = run.width / run.base_width
    hidden = round(run.mlp_ratio * run.width)
    return {
        "embedding": Group(1.0, run.embedding_lr, False),
        "attention_in": Group(1 / math.sqrt(run.width), 1 / m, True),
        "attention_out": Group(1 / math.sqrt(run.width), 1 / m, True),
        "mlp_in": Group(1 / math.sqrt(run.width), 1 / m, True),
        "mlp_out": Group(1 / math.sqrt(hidden), 1 / m, True),
        "norm": Group(0.0, run.gain_lr, False),
        "head": Group(0.0, run.head_lr, False),
    }


def output_multiplier(run: Run) -> float:
    """Factor on the logits: 1 / m."""
    return run.base_width / run.width
