"""Derivatives of an equation by its arrays, backwards: one pass gives those by every learning rate at once.

A `Traced` array remembers what it was made of. Laws are plain numpy expressions, so their equations run on traced
arrays as they stand, and no derivative is written down twice. The rules below are all that laws use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from scaling.errors import ScalingError

Array = NDArray[np.float64]
Back = Callable[[Array], Array]


class Traced(NDArrayOperatorsMixin):
    """An array `value` and how a derivative by it becomes derivatives by its `parents`."""

    __array_priority__ = 1000

    def __init__(self, value: Any, parents: tuple[tuple[Traced, Back], ...] = ()) -> None:
        self.value = np.asarray(value, dtype=float)
        self.parents = parents

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Traced:
        if method != "__call__" or kwargs or ufunc not in PARTIALS:
            raise ScalingError(
                f"the equation of this law uses numpy.{ufunc.__name__}, whose derivative is not known here; known: "
                f"{', '.join(sorted(u.__name__ for u in PARTIALS))}"
            )
        values = [x.value if isinstance(x, Traced) else np.asarray(x, dtype=float) for x in inputs]
        out = ufunc(*values)
        parents = []
        for place, x in enumerate(inputs):
            if isinstance(x, Traced):
                parents.append((x, _through(PARTIALS[ufunc][place], out, values, x.shape)))
        return Traced(out, tuple(parents))

    def sum(self) -> Traced:
        """All elements, summed: shape (1,)."""
        return Traced(self.value.sum(keepdims=True), ((self, lambda g: np.broadcast_to(g, self.shape)),))

    def cumsum(self) -> Traced:
        """Running sums of a vector."""
        return Traced(np.cumsum(self.value), ((self, lambda g: np.cumsum(g[::-1])[::-1]),))

    def last(self) -> Traced:
        """The last element of a vector: shape (1,)."""

        def back(g: Array) -> Array:
            found = np.zeros(self.shape)
            found[-1] = g[0]
            return found

        return Traced(self.value[-1:], ((self, back),))

    def through(self, matrix: Any) -> Traced:
        """matrix @ self, for a dense or sparse matrix."""
        return Traced(matrix @ self.value, ((self, lambda g: np.asarray(matrix.T @ g)),))

    def gradient(self, *of: Traced) -> list[Array]:
        """Derivatives of this one number by each of the arrays `of`."""
        order: list[Traced] = []
        seen: set[int] = set()
        stack: list[tuple[Traced, bool]] = [(self, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack += [(parent, False) for parent, _ in node.parents]
        slopes: dict[int, Array] = {id(self): np.ones(self.shape)}
        for node in reversed(order):
            slope = slopes.get(id(node))
            if slope is None:
                continue
            for parent, back in node.parents:
                own = back(slope)
                slopes[id(parent)] = slopes[id(parent)] + own if id(parent) in slopes else own
        return [slopes.get(id(x), np.zeros(x.shape)) for x in of]


def _through(partial: Callable[..., Any], out: Array, values: list[Array], shape: tuple[int, ...]) -> Back:
    def back(slope: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            own = slope * partial(out, *values)
        if own.shape == shape:
            return own
        lead = own.ndim - len(shape)
        stretched = tuple(i for i, n in enumerate(shape) if n == 1 and own.shape[lead + i] != 1)
        return own.sum(tuple(range(lead))).sum(stretched, keepdims=True)

    return back


def _by_base(out: Array, base: Array, power: Array) -> Array:
    return np.where(base != 0, power * out / np.where(base != 0, base, 1.0), power * base ** np.maximum(power - 1, 0.0))


#: ufunc -> derivative by each operand, from the result and the operands
PARTIALS: dict[Any, tuple[Callable[..., Any], ...]] = {
    np.add: (lambda o, a, b: 1.0, lambda o, a, b: 1.0),
    np.subtract: (lambda o, a, b: 1.0, lambda o, a, b: -1.0),
    np.multiply: (lambda o, a, b: b, lambda o, a, b: a),
    np.divide: (lambda o, a, b: 1 / b, lambda o, a, b: -o / b),
    np.power: (_by_base, lambda o, a, b: o * np.log(a)),
    np.negative: (lambda o, a: -1.0,),
    np.positive: (lambda o, a: 1.0,),
    np.exp: (lambda o, a: o,),
    np.expm1: (lambda o, a: o + 1,),
    np.log: (lambda o, a: 1 / a,),
    np.log1p: (lambda o, a: 1 / (1 + a),),
    np.sqrt: (lambda o, a: 0.5 / o,),
    np.square: (lambda o, a: 2 * a,),
    np.tanh: (lambda o, a: 1 - o**2,),
    np.maximum: (lambda o, a, b: (a >= b) * 1.0, lambda o, a, b: (a < b) * 1.0),
    np.minimum: (lambda o, a, b: (a <= b) * 1.0, lambda o, a, b: (a > b) * 1.0),
}
