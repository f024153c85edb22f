"""Caballero et al. 2022, Broken Neural Scaling Laws (arXiv:2210.14891)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from scaling.law import Law, Param
from scaling.laws.smooth import sigmoid, softplus

#: The authors' script on 4-digit addition: the first 14 of 17 training-set sizes.
_ADDITION = {
    "a": 0.4138847284472877, "b": 2.277272028957718, "c0": 0.05507734889779344, "c1": 5.662905901309526,
    "d1": 612.5836347908672, "f1": 0.0591930449875196,
}  # fmt: skip


def bnsl_of(breaks: int, name: str = "") -> Law:
    """The law of an error or loss over one size x, with so many breaks on logarithmic axes.

    Between breaks the reducible part falls as x^-(c0 + ... + ci); di is where a break lies, fi how wide it is.
    """
    if breaks < 0:
        raise ValueError(f"breaks is a whole number from 0 up, got {breaks}")
    each = range(1, breaks + 1)

    def function(x: Any, *, a: Any, b: Any, c0: Any, **p: Any) -> Any:
        log_x = np.log(x)
        power = -c0 * log_x
        for i in each:
            power = power - p[f"c{i}"] * p[f"f{i}"] * softplus((log_x - np.log(p[f"d{i}"])) / p[f"f{i}"])
        return a + b * np.exp(power)

    params = [
        Param(lo=0.0, linear=True, unit="as the loss", name="a"),
        Param(lo=0.0, linear=True, start=(1e-3, 1e3), unit="loss x input^c0", name="b"),
        Param(start=(0.0, 0.6), name="c0"),
    ]
    for i in each:
        params += [
            Param(start=(-0.5, 3.0), name=f"c{i}"),
            Param(lo=0.0, start=(0.1, 10.0), unit="as x", of="x", name=f"d{i}"),
            Param(lo=0.0, start=(0.03, 1.0), name=f"f{i}"),
        ]
    breaking = "".join(f" (1 + (x / d{i})^(1 / f{i}))^(-c{i} f{i})" for i in each)
    return Law(
        name=name or f"bnsl{breaks}",
        equation=f"L(x) = a + b x^-c0{breaking}",
        cite="Caballero 2022, arXiv:2210.14891, eq. 1",
        function=function,
        inputs=("x",),
        params=tuple(params),
        published=MappingProxyType({"addition": MappingProxyType(_ADDITION)} if breaks == 1 else {}),
        units="x: training examples, tokens, parameters or FLOP; loss: any error or loss",
        family="language models",
        ranked=False,
        unit="as measured",
        ranges=MappingProxyType({"x": (160.0, 928.0)}),
        instead="power where the curve is straight once its floor is taken off; scaling.laws.caballero2022.bnsl_of(n) "
        "for n breaks",
        symbols=MappingProxyType(
            {"x": "the column that x= names", "a": "floor", "c0": "exponent before the first break"}
            | {f"c{i}": f"what break {i} adds to the exponent" for i in each}
            | {f"d{i}": f"where break {i} lies" for i in each}
            | {f"f{i}": f"width of break {i}: small is sharp" for i in each}
        ),
        notes="A break outside the data is not determined, nor is the width of one sharper than the spacing of rows.",
    )


bnsl = bnsl_of(1, "bnsl")


def local_exponent(x: Any, *, c0: Any, **p: Any) -> Any:
    """- d ln(L - a) / d ln x: c0 left of the first break, c0 + c1 right of it, and so on."""
    total = c0
    for i in range(1, sum(name.startswith("d") for name in p) + 1):
        total = total + p[f"c{i}"] * sigmoid((np.log(x) - np.log(p[f"d{i}"])) / p[f"f{i}"])
    return total
