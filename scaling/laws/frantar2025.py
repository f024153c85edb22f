"""Frantar et al. 2025, Compression Scaling Laws (arXiv:2502.16440), with the numbers of QuEST, Panferov et al. 2025
(arXiv:2502.05003): a compressed format acts as a share of the parameters, one number a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Law, Param, Scale, law
from scaling.laws.factory import with_signature

Share = Annotated[float, Param(lo=0.0, start=(0.02, 1.1), unit="share of the parameters")]


def by_format(
    formats: Mapping[str, float],
    *,
    dense: float,
    column: str = "bits",
    name: str = "my_formats",
    published: Mapping[str, Mapping[str, float]] | None = None,
    cite: str = "Frantar 2025, arXiv:2502.16440; Panferov 2025, arXiv:2502.05003",
    example: Mapping[str, float] | None = None,
) -> Law:
    """The law for a table whose `column` says the format of each row by a number.

    formats  parameter -> the number that stands for its format, as {"eff_W4A4": 4}; dense: that of the uncompressed
             runs, which count in full and without which A and the shares are not determined
    """

    def equation(inputs: Sequence[Any], params: Mapping[str, Any]) -> Any:
        n, d, key = inputs
        share = np.where(np.equal(key, dense), 1.0, np.nan)
        for parameter, number in formats.items():
            share = np.where(np.equal(key, number), params[parameter], share)
        return params["E"] + params["A"] * (n * share) ** -params["alpha"] + params["B"] * d ** -params["beta"]

    hints = {"E": Floor, "A": Scale, "B": Scale, "alpha": Exponent, "beta": Exponent} | dict.fromkeys(formats, Share)
    shown = f"L(N, D, {column}) = E + A / (N eff_{column})^alpha + B / D^beta, eff_{dense:g} = 1"
    numbers = sorted([dense, *formats.values()])
    return law(
        cite=cite,
        published=published,
        example=example or ({} if published else {
            "E": 1.5, "A": 20.0, "B": 400.0, "alpha": 0.2, "beta": 0.3, **dict.fromkeys(formats, 0.5)
        }),
        zero=(column,) if numbers[0] == 0 else (),
        family="compressed formats",
        units=f"N: parameters without embeddings; D: tokens; {column}: which format; loss: nats/token",
        ranges={"N": (3e7, 9e8), "D": (1.5e9, 8e10), column: (numbers[0], numbers[-1])},
        levels={column: tuple(numbers)},
        symbols={column: f"the format, as a number: {', '.join(f'{n:g}' for n in numbers)}; {dense:g} is uncompressed"}
        | {p: f"share of the parameters that the format {n:g} leaves" for p, n in formats.items()},
        notes="Shares are relative to uncompressed runs, and need some. E near 0 and a small alpha say that the range "
        "of "
        "sizes does not part the three terms: do not extrapolate." if published else
        "Shares are relative to uncompressed runs, and need some: A and they are not determined apart without.",
        instead="panferov, where formats of one kind share a curve; kumar for bits of weights, activations and cache.",
    )(with_signature(equation, name, shown, ("N", "D", column), hints))  # fmt: skip


_BASE = {"A": 8.13403101106, "alpha": 0.062726522, "B": 86.4119062383, "beta": 0.241288351, "E": 0.00142328978058}
#: Shares of the other formats that QuEST's code prints, at the same coefficients.
QUEST_OTHERS: Mapping[str, float] = {
    "FP4": 0.629639028, "W4A4 4:8 sparse": 0.381222089, "W1A1 no Hadamard": 0.0155770373,
    "W2A2 no Hadamard": 0.0784119072, "W3A3 no Hadamard": 0.322107861, "W4A4 no Hadamard": 0.603270679,
    "W8A8 no Hadamard": 0.937628722, "W1 only": 0.138419575, "W2 only": 0.413717453, "W3 only": 0.653058816,
    "W4 only": 0.840434222,
}  # fmt: skip

quest = by_format(
    {"eff_1": 1, "eff_2": 2, "eff_3": 3, "eff_4": 4, "eff_8": 8},
    dense=16,
    name="quest",
    published={
        # the authors' code (IST-DASLab/QuEST, notebooks/plots.ipynb): weights and activations of the same width
        "quest2025": _BASE
        | {"eff_1": 0.0205046859, "eff_2": 0.151870911, "eff_3": 0.433126203, "eff_4": 0.691831718, "eff_8": 1.01619263}
    },
    cite="Panferov 2025 (QuEST), arXiv:2502.05003; form of Frantar 2025, arXiv:2502.16440",
)
frantar_compressed = by_format(
    {"eff": 1},
    dense=0,
    column="compressed",
    name="frantar_compressed",
    cite="Frantar 2025, arXiv:2502.16440 (form as quoted in arXiv:2506.01863, table 1)",
)


def shares_at_memory(bits: Any, share: Any, dense_bits: float = 16.0) -> Any:
    """Effective parameters for the memory of one uncompressed parameter: share dense_bits / bits (QuEST)."""
    return share * dense_bits / bits
