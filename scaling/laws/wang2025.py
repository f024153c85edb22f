"""Wang et al. 2025, Learning Dynamics in Continual Pre-Training for Large Language Models (arXiv:2505.07796)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Param, Scale, law


@law(
    cite="Wang 2025, arXiv:2505.07796, eq. 4 and figure 3",
    published={
        # validation on the text of pre-training, and on that of continued pre-training
        "FineWeb": {
            "L0": 3.057, "A": 0.49, "alpha": 0.497, "C1": 0.299, "C2": 0.298, "B": 0.366, "E": 28.0, "beta": 0.189,
        },
        "KnowledgePile": {
            "L0": 3.024, "A": 0.412, "alpha": 0.677, "C1": 0.278, "C2": 0.324, "B": -0.666, "E": 5662.0, "beta": 0.146,
        },
    },
    units="S1_pt, S1_cpt: sums of the learning rates of pre-training and of continued pre-training; S2_pt, S2_cpt: "
    "their annealing sums (Tissue 2024, lam 0.999); loss: nats/token",
    family="learning-rate annealing",
    zero=("S1_cpt", "S2_pt", "S2_cpt"),
    ranges={"S1_pt": (0.5, 8.0), "S1_cpt": (0.0, 4.0), "S2_pt": (0.0, 0.6), "S2_cpt": (0.0, 0.6)},
    instead="tissue before the text changes",
    symbols={
        "S1_pt": "learning rates summed before the change of text", "S1_cpt": "the same after it",
        "S2_pt": "annealing before", "S2_cpt": "annealing after", "B": "loss that the change adds, at most",
        "E": "how soon the change acts", "L0": "floor",
    },
    notes="One size and one pair of texts a fit. scaling.schedule has lr_area and annealing_sum. The signs of the "
    "exponents are those of equation 4, as the figure's are lost in print.",
)  # fmt: skip
def cpt(
    S1_pt: Any,
    S1_cpt: Any,
    S2_pt: Any,
    S2_cpt: Any,
    *,
    L0: Floor,
    A: Scale,
    alpha: Exponent,
    C1: Scale,
    C2: Scale,
    B: Annotated[float, Param(start=(-1.5, 1.5), linear=True, unit="nats/token")],
    E: Annotated[float, Param(lo=0.0, start=(1.0, 1e4), unit="1 / learning rate")],
    beta: Exponent,
) -> Any:
    """L = L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + B (1 - (1 + E S1_cpt)^-beta)"""
    shift = 1 - np.exp(-beta * np.log1p(E * S1_cpt))
    return L0 + A * (S1_pt + S1_cpt) ** -alpha - C1 * S2_pt - C2 * S2_cpt + B * shift
