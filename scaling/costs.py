"""What training costs: FLOP of N parameters on D tokens, by a convention's name or fitted to logged FLOP.

Every cost here is f(N) D^b, and serving adds 2 N for each token served: so tokens at a budget are explicit in N, and
one search serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling import flops
from scaling.errors import ScalingError, nearest
from scaling.shapes import ShapeRule

#: Name -> what it counts for one token.
COSTS = {
    "6ND": "6 N, with N as the law counts it",
    "forward": "2 N: forward passes alone",
    "head": "6 times the parameters of all matrix products, the head's included and the embedding's not",
    "attention": "head, and the products of queries, keys and values: 12 depth context width",
}
#: Names of `scaling.flops.flops_per_token` behind the costs that look at a shape.
CONVENTIONS = {"head": "6N", "attention": "6N_with_attention"}
SERVED = 2.0  # FLOP for each parameter and token served: a forward pass (Sardana 2024, arXiv:2401.00448, section 2)


@dataclass(frozen=True)
class Cost:
    """FLOP(N, D) = k N^a D^b, or k g(N) D^b where `of_size` gives g; served tokens add 2 N each.

    scatter  standard deviation of ln FLOP about a fitted cost
    """

    name: str
    k: float
    a: float = 1.0
    b: float = 1.0
    of_size: Callable[[Any], Any] | None = field(default=None, compare=False)
    served: float = 0.0
    scatter: float = 0.0
    said: str = ""

    @property
    def is_power(self) -> bool:
        """Whether it is a power of N times a power of D and no more."""
        return self.of_size is None and self.served == 0

    def training(self, N: Any, D: Any) -> Any:
        """FLOP of training alone."""
        return self._rate(N) * D**self.b

    def lifetime(self, N: Any, D: Any) -> Any:
        """FLOP of training and of serving."""
        return self.training(N, D) + SERVED * self.served * N

    def tokens(self, N: Any, C: Any) -> Any:
        """D that uses up C together with N; not above 0 where serving alone costs more."""
        return ((C - SERVED * self.served * N) / self._rate(N)) ** (1 / self.b)

    def _rate(self, N: Any) -> Any:
        return self.k * (N**self.a if self.of_size is None else self.of_size(N))


def cost_named(name: str, rule: ShapeRule | None = None, served: float = 0.0) -> Cost:
    """The cost of that name; "head" and "attention" look at the shape that `rule` gives a size.

    served  tokens that the trained model will be asked for and answer with, over its life
    """
    if name not in COSTS:
        raise ScalingError(f"no cost is called {name!r}; {nearest(name, [*COSTS, 'table'])}")
    if not (np.isfinite(served) and served >= 0):
        raise ScalingError(f"tokens served must be 0 or more, got {served}")
    if name in ("6ND", "forward"):
        return Cost(name, 6.0 if name == "6ND" else 2.0, served=served, said=COSTS[name])
    shape, convention = rule or ShapeRule(), CONVENTIONS[name]

    def per_token(N: Any) -> Any:
        width = shape.width(N)
        counted = flops.flops_per_token(
            shape.groups(width), width=width, depth=width / shape.aspect, context=shape.context
        )
        return counted[convention]

    return Cost(name, 1.0, of_size=per_token, served=served, said=f"{COSTS[name]}; {shape}")


def cost_of_table(table: pd.DataFrame, served: float = 0.0) -> Cost:
    """C = k N^a D^b by least squares on the logarithms of the table's columns N, D, C.

    Raises ScalingError where C is missing, or only 6 N D under another name, or N or D does not vary.
    """
    missing = [name for name in ("N", "D", "C") if name not in table]
    if missing or len(table) < 4:
        raise ScalingError(
            f"a cost fitted to the table needs columns N, D and C (logged FLOP) and 4 rows; it has {len(table)} rows"
            + (f" and no {', '.join(missing)}" if missing else "")
        )
    n, d, c = (np.log(table[name].to_numpy(float)) for name in ("N", "D", "C"))
    if not np.isfinite(c).all():
        raise ScalingError("a cost fitted to the table needs C above 0 in every row; drop the others with --where")
    if np.abs(c - n - d - np.log(6)).max() < 1e-4:
        raise ScalingError("the table's C is 6 N D in every row, derived and not logged: --cost 6ND says the same")
    columns = np.stack([np.ones_like(n), n, d], axis=1)
    (log_k, a, b), _, rank, _ = np.linalg.lstsq(columns, c, rcond=1e-9)
    if rank < 3 or not (a > 0 and b > 0):
        raise ScalingError(
            f"C = k N^a D^b cannot be told from these rows (a = {a:.3g}, b = {b:.3g}): they need sizes and horizons "
            "that vary apart"
        )
    scatter = float(np.sqrt(np.sum((columns @ [log_k, a, b] - c) ** 2) / max(len(c) - 3, 1)))
    said = f"C = {np.exp(log_k):.4g} N^{a:.4f} D^{b:.4f}, fitted to {len(c)} rows, which scatter by {scatter:.1%}"
    return Cost("table", float(np.exp(log_k)), float(a), float(b), served=served, scatter=scatter, said=said)


def with_served(cost: Cost, served: float) -> Cost:
    """The cost with so many tokens served."""
    return replace(cost, served=served)
