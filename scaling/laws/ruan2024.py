"""Ruan, Maddison & Hashimoto 2024, Observational Scaling Laws and the Predictability of Language Model Performance
(arXiv:2405.10938)."""

from __future__ import annotations

from typing import Annotated, Any

from scaling.law import Param, law
from scaling.laws.smooth import sigmoid


@law(
    cite="Ruan 2024, arXiv:2405.10938",
    units="S: first principal component of normalised benchmark scores, or ln C; accuracy: 0 to 1",
    family="downstream",
    predicts="accuracy",
    unit="1",
    zero=("S",),
    ranges={"S": (0.0, 10.0)},
    example={"h": 0.9, "slope": 0.8, "shift": -4.0},
    instead="bhagia_accuracy where the loss of the task is known",
    symbols={"S": "capability", "h": "accuracy at unlimited capability"},
    notes="Experimental: the equation could not be checked against the paper, and no coefficients are universal. Shift "
    "S so that it is not negative.",
)
def ruan(
    S: Any,
    *,
    h: Annotated[float, Param(lo=0.0, hi=1.0, start=(0.5, 0.99), linear=True)],
    slope: Annotated[float, Param(lo=0.0, start=(0.01, 10.0))],
    shift: Annotated[float, Param(start=(-20.0, 5.0))],
) -> Any:
    """accuracy(S) = h / (1 + exp(-(slope S + shift)))"""
    return h * sigmoid(slope * S + shift)
