"""Muennighoff et al. 2023, Scaling Data-Constrained Language Models (arXiv:2305.16264)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Param, law

Amplitude = Annotated[float, Param(lo=0.0, start=(1.0, 1e4), unit="nats/token x input^exponent")]
#: How many repeats a repetition is worth at most: of the data, or of the parameters beyond what the data ask for.
Repeats = Annotated[float, Param(lo=0.0, start=(0.5, 60.0), unit="repeats")]


def effective(x: Any, unique: Any, repeats: Any) -> Any:
    """What x, of which `unique` are distinct, is worth: U + U R (1 - exp(-(x / U - 1) / R))."""
    return unique - unique * repeats * np.expm1(-(x / unique - 1) / repeats)


def parameters_for(U: Any, *, A: Any, B: Any, alpha: Any, beta: Any, **_: Any) -> Any:
    """Parameters that one pass over U unique tokens asks for: Chinchilla's optimum at D = U."""
    g = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return (U * g) ** (beta / alpha) * g


def smaller(a: Any, b: Any) -> Any:
    """The lesser of two by their real parts, so that complex steps pass through."""
    return np.where(np.real(a) < np.real(b), a, b)


def worth(N: Any, D: Any, U: Any, *, A: Any, B: Any, alpha: Any, beta: Any, R_D: Any, R_N: Any) -> tuple[Any, Any]:
    """N' and D': the parameters and fresh tokens that N and D are worth where U tokens are distinct."""
    seen = smaller(U, D)
    enough = smaller(N, parameters_for(seen, A=A, B=B, alpha=alpha, beta=beta))
    return effective(N, enough, R_N), effective(D, seen, R_D)


@law(
    cite="Muennighoff 2023, arXiv:2305.16264, appendix A",
    published={
        # the authors' code (huggingface/datablations): a, b, e are ln A, ln B, ln E; alpha = beta
        "muennighoff2023": {
            "E": float(np.exp(0.6254804)), "A": float(np.exp(6.255414)), "B": float(np.exp(7.3049974)),
            "alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743,
        }
    },
    family="repeated data",
    units="N: all parameters; D: tokens trained on, repeats counted; U: unique tokens among them; loss: nats/token of "
    "GPT-2's tokenizer on C4",
    ranges={"N": (7e6, 9e9), "D": (1e8, 9e11), "U": (1e8, 2e11)},
    symbols={
        "U": "unique tokens; where D is less, D of them were seen",
        "R_D": "repeats of the data after which another is worth 1/e of the first (epochs less one)",
        "R_N": "the same for parameters beyond those that one pass over U asks for",
    },
    notes="The paper fits E, A, B and alpha = beta on runs of one epoch and holds them while R_D and R_N are fitted: "
    "hold them with fix=. The form only saturates: it has no loss that rises with epochs. The printed coefficients are "
    "rounded; these are the code's, and they matter, for exponents multiply ln 1e10.",
    instead="chinchilla where no run repeats its data.",
)  # fmt: skip
def muennighoff(
    N: Any, D: Any, U: Any, *, E: Floor, A: Amplitude, B: Amplitude, alpha: Exponent, beta: Exponent, R_D: Repeats,
    R_N: Repeats,
) -> Any:  # fmt: skip
    """L(N, D, U) = E + A / N'^alpha + B / D'^beta, D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), N' likewise"""
    n, d = worth(N, D, U, A=A, B=B, alpha=alpha, beta=beta, R_D=R_D, R_N=R_N)
    return E + A * n**-alpha + B * d**-beta


def muennighoff_optimum(C: float, U: float, **params: float) -> tuple[float, float, float]:
    """Best (N, D, loss) at C = 6 N D FLOP with U unique tokens: searched on ever finer grids of ln D, for there is no
    closed form."""
    lo, hi = np.log(C / 6e15), np.log(C / 6e3)
    for _ in range(12):
        d = np.exp(np.linspace(lo, hi, 65))
        loss = muennighoff.function(C / (6 * d), d, U, **params)
        best = int(np.argmin(loss))
        lo, hi = np.log(d[max(best - 1, 0)]), np.log(d[min(best + 1, 64)])
    return float(C / (6 * d[best])), float(d[best]), float(loss[best])
