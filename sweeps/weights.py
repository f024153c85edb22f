"""Where every weight of a replica lies in its flat row (P,): names, groups, shapes. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sweeps.runs import Run

#: One weight to be placed: name, group, shape.
Wanted = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class Weight:
    """Where one weight lies in a row of the flat tensor, its shape and its group in `sweeps/parametrization.py`.

    The part of the group's name before the first underscore is its kind, which it is counted as (`sweeps/counting.py`).
    """

    name: str
    group: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def kind(self) -> str:
        """embedding, attention, mlp, norm or head."""
        return self.group.partition("_")[0]

    @property
    def is_gain(self) -> bool:
        """Whether it is the gain of a norm, which begins at 1."""
        return self.kind == "norm"

    @property
    def is_matrix(self) -> bool:
        """Whether activations are multiplied by it: neither a gain nor an embedding."""
        return self.kind != "embedding" and not self.is_gain

    @property
    def in_block(self) -> bool:
        """Whether it is a matrix inside of blocks: neither gain, embedding nor head."""
        return self.is_matrix and self.kind != "head"


def placed(wanted: Iterable[Wanted]) -> tuple[Weight, ...]:
    """The weights one after another in a flat row. Matrices should come last, side by side."""
    weights, start = [], 0
    for name, group, shape in wanted:
        weights.append(Weight(name, group, shape, start))
        start += weights[-1].size
    return tuple(weights)


def decoder_weights(run: Run, symbols: int | None = None) -> tuple[Weight, ...]:
    """Every weight of one decoder in the order of the flat row: gains and embedding first, then all matrices.

    Matrices are (in, out). Queries, keys and values are the columns of one matrix, in this order. `symbols` is the
    number of rows of the embedding where it is not the vocabulary.
    """
    blocks = range(run.depth)
    wanted: list[Wanted] = [("embedding", "embedding", (symbols or run.vocab, run.width))]
    for i in blocks:
        wanted += block_gains(run, str(i))
    wanted += [("norm_head", "norm_head", (run.width,))]
    for i in blocks:
        wanted += block_matrices(run, str(i))
    return placed([*wanted, ("head", "head", (run.width, run.vocab))])


def block_gains(run: Run, i: str) -> Iterator[Wanted]:
    """Gains of the norms of block `i`."""
    yield f"norm_attention.{i}", "norm", (run.width,)
    yield f"norm_qk.{i}", "norm", (2, run.head_dim)
    yield f"norm_mlp.{i}", "norm", (run.width,)


def block_matrices(run: Run, i: str) -> Iterator[Wanted]:
    """Matrices of block `i`."""
    w, hidden = run.width, round(run.mlp_ratio * run.width)
    yield f"attention_in.{i}", "attention_in", (w, 3 * w)
    yield f"attention_out.{i}", "attention_out", (w, w)
    yield f"mlp_in.{i}", "mlp_in", (w, hidden)
    yield f"mlp_out.{i}", "mlp_out", (hidden, w)
