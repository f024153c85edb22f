"""What each parameter group's initial spread, learning rate and multiplier are, so that one learning rate serves all
sizes.

Width: muP (Tensor Programs V, arXiv:2203.03466, table 8; the README of microsoft/mup). m = width / base_width. Hidden
matrices: initial variance 1 / fan_in, learning rate / m. Embedding and gains: a learning rate that does not change with
width. Head: initial weights 0, such a learning rate too, logits multiplied by 1 / m. Heads have a fixed head_dim and
QK-norm, so attention logits keep 1 / sqrt(head_dim) at every width.

Depth, by `depth_rule`, with l = depth / base_depth and one exponent a: "depth-mup" is a = 1/2 (Tensor Programs VI,
arXiv:2310.02244: both the branches and their updates are divided by the square root of the depth), "completep" is
a = 1 (Dey 2025, arXiv:2505.01618, table 1; code of its authors: EleutherAI/nanoGPT-mup, branch completep). Factors on
top of those for width, for the weights inside of blocks (matrices and gains); embedding, last gain and head have none:

    branches, before they are added to the stream     l^-a
    learning rate                                     l^(a - 1)
    learning rate times weight decay                  l^(a - 1)
    epsilon of Adam                                   l^-a

The paper's epsilon and decay change with width too. Here decay does not have the factor 1 / m to begin with
(`sweeps/optim.py`), which is the paper's rule for it. Epsilon keeps one value over widths: at 1e-8 it is a hundredth or
less of the gradients' root mean squares, of 99% of all weights of tokens that occur (widths 16 and 64, 150 updates).
"none", the default, leaves every factor at 1, whatever the depth: runs that are finished keep their names.
docs/transfer.md measures all three and chooses "completep".

Muon's update (`sweeps/muon.py`) is orthogonal, so its size does not depend on the gradient's, as Adam's does not: its
learning rate has the same factor of depth, `block_lr_factor`. It has none of width: each matrix's update, queries, keys
and values apart, keeps its spectral norm over widths (arXiv:2310.17813, condition 1).

These rules leave each group one constant. The defaults of embedding_lr, head_lr and gain_lr are the best of eleven
settings tried at widths 16 and 32 on 5e5 tokens of Python source (1.95 and 1.78 nats/byte, against 2.00 and 1.83 with
all three at 1). They let small models leave their first plateau sooner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeps.runs import Run

#: Exponent a of the rules of depth above.
DEPTH_EXPONENT = {"depth-mup": 0.5, "completep": 1.0}


@dataclass(frozen=True)
class Group:
    """Of one parameter group: initial standard deviation, and factors of the learning rate, of learning rate times
    weight decay (0: no decay), and of Adam's epsilon; how many `matrices` of a block, which Muon moves, lie side by
    side in one of its weights (0: none, AdamW moves it)."""

    init_std: float
    lr_factor: float
    decays: float
    eps_factor: float = 1.0
    matrices: int = 0


def groups(run: Run, depth: int | None = None) -> dict[str, Group]:
    """The rule of each parameter group of `run`; keys name the weights in `sweeps/model.py`.

    depth  blocks of the stack that the weights are in, where that is not the depth of the run; so below
    """
    m = run.width / run.base_width
    hidden = round(run.mlp_ratio * run.width)
    by_depth, eps = block_lr_factor(run, depth), block_eps_factor(run, depth)

    def matrix(fan_in: int, matrices: int = 1) -> Group:
        return Group(1 / math.sqrt(fan_in), by_depth / m, by_depth, eps, matrices)

    return {
        "embedding": Group(1.0, run.embedding_lr, 0.0),
        "attention_in": matrix(run.width, 3),
        "attention_out": matrix(run.width),
        "mlp_in": matrix(run.width),
        "mlp_out": matrix(hidden),
        "norm": Group(0.0, run.gain_lr * by_depth, 0.0, eps),
        "norm_head": Group(0.0, run.gain_lr, 0.0),
        "head": Group(0.0, run.head_lr, 0.0),
    }


def output_multiplier(run: Run) -> float:
    """Factor on the logits: 1 / m."""
    return run.base_width / run.width


def branch_multiplier(run: Run, depth: int | None = None) -> float:
    """Factor on what attention and MLP add to the stream: l^-a."""
    return 1.0 if run.depth_rule == "none" else _relative(run, depth) ** -DEPTH_EXPONENT[run.depth_rule]


def block_lr_factor(run: Run, depth: int | None = None) -> float:
    """Factor of depth on the learning rate of the weights inside of blocks, under Adam and under Muon: l^(a - 1)."""
    return 1.0 if run.depth_rule == "none" else _relative(run, depth) ** (DEPTH_EXPONENT[run.depth_rule] - 1)


def block_eps_factor(run: Run, depth: int | None = None) -> float:
    """Factor of depth on Adam's epsilon for the weights inside of blocks: l^-a, as their gradients have."""
    return branch_multiplier(run, depth)


def _relative(run: Run, depth: int | None) -> float:
    return (run.depth if depth is None else depth) / run.base_depth
