"""The law that many papers write of optima: a product of powers, y = k x1^p1 x2^p2, straight in logarithms.

It stands here once; the papers' files give it names, inputs and coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Law, Param, Ranges


def monomial(
    name: str,
    inputs: tuple[str, ...],
    *,
    predicts: str,
    unit: str,
    cite: str,
    family: str,
    units: str,
    ranges: Ranges,
    instead: str,
    published: Mapping[str, Mapping[str, float]] | None = None,
    example: Mapping[str, float] | None = None,
    symbols: Mapping[str, str] | None = None,
    notes: str = "",
) -> Law:
    """The law `predicts` = k x1^p_x1 ..., with parameters k and one exponent an input, named p_ and the input."""
    exponents = tuple(f"p_{x}" for x in inputs)

    def function(*values: Any, k: Any, **p: Any) -> Any:
        return k * np.exp(sum(p[e] * np.log(x) for e, x in zip(exponents, values, strict=True)))

    def derivatives(*values: Any, k: Any, **p: Any) -> tuple[Any, Any, Any]:
        logs = [np.log(x) for x in values]
        shape = np.exp(sum(p[e] * x for e, x in zip(exponents, logs, strict=True)))
        value = k * shape

        def second() -> dict[tuple[str, str], Any]:
            found = {("k", e): shape * x for e, x in zip(exponents, logs, strict=True)}
            for i, (e, x) in enumerate(zip(exponents, logs, strict=True)):
                found |= {(e, f): value * x * y for f, y in zip(exponents[i:], logs[i:], strict=True)}
            return found

        return value, (shape, *(value * x for x in logs)), second

    def starts(named: Mapping[str, Any], y: NDArray[np.float64]) -> list[dict[str, float]]:
        columns = np.stack([np.ones_like(y), *(np.log(named[x]) for x in inputs)], axis=1)
        solved = np.linalg.lstsq(columns, np.log(y), rcond=None)[0]
        k = float(np.exp(np.clip(solved[0], -600, 600)))
        return [{"k": k} | {e: float(v) for e, v in zip(exponents, solved[1:], strict=True)}]

    power = " ".join(f"{x}^{e}" for x, e in zip(inputs, exponents, strict=True))
    return Law(
        name=name,
        equation=f"{predicts}({', '.join(inputs)}) = k {power}",
        cite=cite,
        function=function,
        inputs=inputs,
        params=(
            Param(lo=0.0, linear=True, start=(1e-6, 1e6), unit=f"{unit} / {power}", name="k"),
            *(Param(start=(-1.0, 1.0), name=e) for e in exponents),
        ),
        published=MappingProxyType({k: MappingProxyType(dict(v)) for k, v in (published or {}).items()}),
        derivatives=derivatives,
        starts=starts,
        units=units,
        notes=notes,
        family=family,
        instead=instead,
        predicts=predicts,
        unit=unit,
        ranges=MappingProxyType(dict(ranges)),
        example=MappingProxyType(dict(example or {})),
        symbols=MappingProxyType(dict(symbols or {})),
    )
