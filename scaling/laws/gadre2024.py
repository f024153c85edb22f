"""Gadre et al. 2024, Language models scale reliably with over-training and on downstream tasks (arXiv:2403.08540)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Floor, Param, Scale, law

Eta = Annotated[float, Param(lo=0.0, hi=1.0, start=(0.03, 0.4))]


def overtraining_loss(C: Any, M: Any, *, E: Any, a: Any, b: Any, eta: Any) -> Any:
    """The law in the paper's variables: C in FLOP, M in tokens a parameter."""
    log_c, log_m = np.log(C), np.log(M)
    return E + a * np.exp(eta * (log_m - log_c)) + b * np.exp(-eta * (log_m + log_c))


@law(
    cite="Gadre 2024, arXiv:2403.08540",
    # the authors' fitting code on their runs, loss on C4's evaluation set by training set
    published={
        "C4": {"E": 1.508260532871536, "a": 141.27725, "b": 189.51551735363483, "eta": 0.12123612},
        "RedPajama": {"E": 1.8366483598543952, "a": 212.23610308047856, "b": 366.68715907438246, "eta": 0.13642535},
        "RefinedWeb": {"E": 1.7344620819109433, "a": 157.11628164505913, "b": 246.20668288328088, "eta": 0.12719742},
    },
    balance=lambda *, a, b, eta, **_: (np.log(a) - eta * np.log(6), 2 * eta, np.log(b) - eta * np.log(6), 2 * eta),
    units="N: all parameters; D: tokens; loss: nats/token",
    family="language models",
    ranked=False,
    ranges={"N": (1e7, 7e9), "D": (5e8, 1e12)},
    instead="chinchilla, whose exponents of N and D may differ: this is it with alpha = beta = 2 eta",
    symbols={"E": "entropy of the text", "a": "over-training's term", "b": "under-training's term"},
    notes="M = D / N tokens a parameter, C = 6 N D. Tuned at M = 20 alone, runs hardly determine the optimum.",
)
def gadre(N: Any, D: Any, *, E: Floor, a: Scale, b: Scale, eta: Eta) -> Any:
    """L(C, M) = E + (a M^eta + b M^-eta) C^-eta, C = 6 N D, M = D / N"""
    return overtraining_loss(6.0 * N * D, D / N, E=E, a=a, b=b, eta=eta)


def best_ratio(*, a: Any, b: Any, eta: Any, **_: Any) -> Any:
    """Tokens a parameter of the least loss, the same at every budget: (b / a)^(1 / (2 eta))."""
    return (b / a) ** (1 / (2 * eta))


Share = Annotated[float, Param(lo=0.0, hi=1.0, start=(0.3, 1.0), linear=True)]


@law(
    cite="Gadre 2024, arXiv:2403.08540",
    # the authors' code: mean top-1 error over 17 and over 46 tasks, by training set
    published={
        "C4_17": {"eps": 0.8497420147166346, "k": 2.0789071624301534, "gamma": 0.7561208817706444},
        "RedPajama_17": {"eps": 0.8569919276135063, "k": 2.2064901914623825, "gamma": 0.7145905530490234},
        "RefinedWeb_17": {"eps": 0.865279537456563, "k": 2.214814843606007, "gamma": 0.7070485013065003},
        "C4_46": {"eps": 0.7589494443050375, "k": 1.2885160400414704, "gamma": 0.9721642929737044},
        "RedPajama_46": {"eps": 0.7608495100309004, "k": 1.3228988873526577, "gamma": 0.8907078482827041},
        "RefinedWeb_46": {"eps": 0.7676792136621807, "k": 1.1280742057308613, "gamma": 0.8215227526962983},
    },
    units="L: loss on C4's evaluation set, nats/token; error: mean top-1 error of the tasks, 0 to 1",
    family="downstream",
    predicts="error",
    unit="1",
    ranges={"L": (2.2, 4.5)},
    instead="bhagia_accuracy for one task, whose accuracy may saturate on both sides",
    symbols={"L": "loss of the model", "error": "mean error", "eps": "error of guessing"},
    notes="Means over many tasks follow it; single tasks need not.",
)
def gadre_error(
    L: Any,
    *,
    eps: Share,
    k: Annotated[float, Param(lo=0.0, linear=True, start=(0.1, 10.0))],
    gamma: Annotated[float, Param(lo=0.0, hi=20.0, start=(0.1, 5.0))],
) -> Any:
    """error(L) = eps - k exp(-gamma L)"""
    return eps - k * np.exp(-gamma * L)
