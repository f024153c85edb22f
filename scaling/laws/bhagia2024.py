"""Bhagia et al. 2024, Establishing Task Scaling Laws via Compute-Efficient Model Ladders (arXiv:2412.04403), and the
two stages of Llama 3 (Grattafiori 2024, arXiv:2407.21783): from size and data to a task's loss, then to accuracy."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np

from scaling.law import Param, law
from scaling.laws.hoffmann2022 import chinchilla
from scaling.laws.smooth import sigmoid

#: The first stage is Hoffmann's equation; only what it is fitted to differs.
bhagia_loss = replace(
    chinchilla,
    name="bhagia_loss",
    equation="task_loss(N, D) = E + A / N^alpha + B / D^beta",
    cite="Bhagia 2024, arXiv:2412.04403, step 1",
    published=MappingProxyType(
        {
            "hellaswag": {"E": 0.5, "A": 11.23, "B": 60.37, "alpha": 0.2, "beta": 0.26},
            "mmlu": {"E": 0.45, "A": 38.07, "B": 100.09, "alpha": 0.23, "beta": 0.24},
        }
    ),
    units="N: parameters; D: tokens; task_loss: bits/byte of the right answer",
    family="downstream",
    predicts="task_loss",
    unit="bits/byte",
    ranges=MappingProxyType({"N": (1.9e8, 7e9), "D": (4e9, 4e12)}),
    instead="llama3_loss where runs are compute-optimal and only C is known",
    notes="Coefficients as printed, to two digits. A task's exponents are poorly determined: compare predictions.",
)


@law(
    cite="Bhagia 2024, arXiv:2412.04403, step 2; the sigmoid of Grattafiori 2024, arXiv:2407.21783, with a = -1, b = 1",
    published={
        "hellaswag": {"a": -0.73, "k": 12.74, "L_0": 0.77, "b": 0.99},
        # b is at its bound 1 for the other tasks
        "mmlu": {"a": -0.74, "k": 4.83, "L_0": 0.62, "b": 1.0},
        "arc_challenge": {"a": -0.78, "k": 5.91, "L_0": 0.71, "b": 1.0},
        "arc_easy": {"a": -0.65, "k": 4.13, "L_0": 0.74, "b": 1.0},
        "piqa": {"a": -0.46, "k": 5.03, "L_0": 0.96, "b": 1.0},
        "csqa": {"a": -0.86, "k": 2.21, "L_0": 1.13, "b": 1.0},
        "socialiqa": {"a": -0.60, "k": 7.16, "L_0": 0.89, "b": 1.0},
        "openbookqa": {"a": -0.79, "k": 4.31, "L_0": 1.08, "b": 1.0},
    },
    units="task_loss: bits/byte of the right answer (bhagia_loss) or nats (llama3_loss); accuracy: 0 to 1",
    family="downstream",
    predicts="accuracy",
    unit="1",
    ranges={"task_loss": (0.2, 2.0)},
    hold=("b",),
    instead="gadre_error for the mean over many tasks",
    symbols={"accuracy": "share answered right", "b": "accuracy at no loss", "a": "guessing less b", "L_0": "half way"},
    notes="Accuracy falls as the loss rises: a is negative. b is bounded at 1 for all tasks but one; hold it there.",
)
def bhagia_accuracy(
    task_loss: Any,
    *,
    a: Annotated[float, Param(lo=-1.5, hi=0.0, start=(-1.0, -0.2), linear=True)],
    k: Annotated[float, Param(lo=0.0, start=(0.5, 30.0))],
    L_0: Annotated[float, Param(lo=0.0, start=(0.2, 3.0), of="task_loss")],
    b: Annotated[float, Param(lo=0.0, hi=1.2, start=(0.6, 1.0), linear=True)],
) -> Any:
    """accuracy(task_loss) = a / (1 + exp(-k (task_loss - L_0))) + b"""
    return a * sigmoid(k * (task_loss - L_0)) + b


@law(
    cite="Grattafiori 2024, arXiv:2407.21783, section 3.2.1, first stage",
    units="C: training FLOP of compute-optimal models; task_loss: nats of the right answer, per character",
    family="downstream",
    predicts="task_loss",
    unit="nats/character",
    ranges={"C": (6e18, 1e22)},
    example={"a": 2.2, "s": 0.035},
    instead="bhagia_loss where N and D vary apart; then bhagia_accuracy for the second stage",
    symbols={"a": "loss at 1 FLOP", "s": "loss lost with each e-fold of compute"},
    notes="The paper prints no coefficients: the example is made up. Straight in ln C, so it ends below 0 far out.",
)
def llama3_loss(
    C: Any,
    *,
    a: Annotated[float, Param(lo=0.0, linear=True, start=(0.1, 10.0), unit="nats/character")],
    s: Annotated[float, Param(lo=0.0, linear=True, start=(1e-3, 1.0), unit="nats/character")],
) -> Any:
    """task_loss(C) = a - s ln C"""
    return a - s * np.log(C)
