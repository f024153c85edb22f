"""Transformer shapes: the width that a count of parameters asks for, and the nearest shape that can be built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling import flops
from scaling.errors import ScalingError

Array = NDArray[np.float64]
COUNTS = ("chinchilla", "matmul", "kaplan")  # of `scaling.flops.parameter_counts`


@dataclass(frozen=True)
class ShapeRule:
    """How size becomes shape: depth = width / aspect, heads of head_dim channels, an MLP of mlp_ratio times the width.

    counts  what N holds: "chinchilla" all parameters, "matmul" all but the embedding, "kaplan" neither that nor the
            head (see `scaling.flops.parameter_counts`)
    context tokens of a sequence; vocab entries of the vocabulary
    """

    aspect: float = 64.0
    head_dim: int = 64
    context: int = 2048
    vocab: int = 32768
    mlp_ratio: float = 4.0
    counts: str = "chinchilla"

    def __post_init__(self) -> None:
        sizes = (self.aspect, self.head_dim, self.context, self.vocab, self.mlp_ratio)
        if not all(size > 0 for size in sizes):
            raise ScalingError(f"aspect, head_dim, context, vocab and mlp_ratio must be above 0, got {sizes}")
        if self.counts not in COUNTS:
            raise ScalingError(f"counts must be one of {', '.join(COUNTS)}, got {self.counts!r}")

    def groups(self, width: Any, depth: Any = None) -> dict[str, Any]:
        """Parameters by group; without a depth, at width / aspect, which need not be whole."""
        deep = width / self.aspect if depth is None else depth
        return flops.parameter_groups(
            width=width, depth=deep, head_dim=self.head_dim, mlp_ratio=self.mlp_ratio, vocab=self.vocab
        )

    def size(self, width: Any, depth: Any = None) -> Any:
        """N as the rule counts it."""
        return flops.parameter_counts(self.groups(width, depth))[self.counts]

    def width(self, N: Any) -> Any:
        """The width, any number above 0, at which the rule counts N parameters; analytic in N."""
        real = np.real(np.asarray(N))
        # the cube alone overestimates the width, and the count is convex: Newton falls to the root and never passes it
        w = np.cbrt(self.aspect * real / (4 + 2 * self.mlp_ratio)) + 1.0
        for _ in range(60):
            move = (self.size(w) - real) / self._slope(w)
            w = w - move
            if (np.abs(move) <= 1e-14 * w).all():
                break
        return w - (self.size(w) - N) / self._slope(w)  # one more step carries a complex N along

    def _slope(self, w: Any) -> Any:
        return np.imag(self.size(w + 1e-30j)) / 1e-30

    def __str__(self) -> str:
        return (
            f"depth = width / {self.aspect:g}, heads of {self.head_dim}, MLP {self.mlp_ratio:g} x width, vocabulary "
            f"{self.vocab}, context {self.context}, N counted as {self.counts}"
        )


@dataclass(frozen=True)
class Shape:
    """A model that can be built. N as its rule counts it."""

    width: int
    depth: int
    N: int


def nearest_shape(N: float, rule: ShapeRule) -> Shape:
    """The shape whose count is nearest to N in logarithm: width a multiple of head_dim, depth a whole number."""
    wide = float(rule.width(N))
    steps = {max(1, int(wide // rule.head_dim) + i) for i in (-1, 0, 1, 2)}
    return min((shape_at(step * rule.head_dim, rule) for step in steps), key=lambda s: abs(np.log(s.N / N)))


def shape_at(width: int, rule: ShapeRule) -> Shape:
    """The shape of a width, its depth by the aspect, at least 1."""
    depth = max(1, round(width / rule.aspect))
    return Shape(width, depth, int(rule.size(width, depth)))
