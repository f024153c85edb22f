"""Shukor et al. 2025, Scaling Laws for Optimal Data Mixtures (arXiv:2507.09404)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Law, Param, Scale, law
from scaling.laws.factory import checked_names, with_signature

Worth = Annotated[float, Param(lo=0.0, start=(0.05, 20.0), unit="1 / (nats/token)")]
Bend = Annotated[float, Param(lo=0.0, hi=3.0, start=(0.1, 1.2))]
Mixed = Annotated[float, Param(lo=0.0, start=(0.1, 10.0))]
Sign = Annotated[float, Param(lo=-3.0, hi=3.0, start=(-1.0, 1.0))]


def _power(share: Any, exponent: Any) -> Any:
    return np.exp(exponent * np.log(np.maximum(share, 1e-300)))


def mixed_sizes(domains: Sequence[str], *, joint: bool = False, name: str = "my_mixed_sizes") -> Law:
    """The law of one loss over size, tokens and the shares of these domains; joint: A and B move with the mixture."""
    domains = checked_names(domains, "domains")
    inputs = ("N", "D", *domains)

    def equation(values: Sequence[Any], p: Mapping[str, Any]) -> Any:
        n, d, *shares = values
        named = list(zip(domains, shares, strict=True))
        mixture = 1 / sum(p[f"C_{x}"] * _power(h, p[f"gamma_{x}"]) for x, h in named)
        a, b = p.get("A", 1.0), p.get("B", 1.0)
        if joint:
            a = sum(p[f"A_{x}"] * h for x, h in named) ** p["gamma_A"]
            b = sum(p[f"B_{x}"] * h for x, h in named) ** p["gamma_B"]
        return p["E"] + mixture + a * n ** -p["alpha"] + b * d ** -p["beta"]

    params: dict[str, Any] = {"E": Floor} | {f"C_{x}": Worth for x in domains} | {f"gamma_{x}": Bend for x in domains}
    example = {"E": 1.3} | {f"C_{x}": 2.0 + i for i, x in enumerate(domains)}
    example |= {f"gamma_{x}": 0.3 + 0.25 * i for i, x in enumerate(domains)}
    if joint:
        params |= {f"{c}_{x}": Mixed for c in "AB" for x in domains} | {"gamma_A": Sign, "gamma_B": Sign}
        example |= {f"{c}_{x}": 300.0 + 100 * i for c in "AB" for i, x in enumerate(domains)}
        example |= {"gamma_A": 0.9, "gamma_B": 1.1}
    else:
        params |= {"A": Scale, "B": Scale}
        example |= {"A": 400.0, "B": 410.0}
    params |= {"alpha": Exponent, "beta": Exponent}
    example |= {"alpha": 0.34, "beta": 0.28}
    terms = ("(sum_i A_i h_i)^gamma_A", "(sum_i B_i h_i)^gamma_B") if joint else ("A", "B")
    return law(
        cite=f"Shukor 2025, arXiv:2507.09404 ({'joint form from memory' if joint else 'form from secondary notes'})",
        example=example,
        zero=domains,
        simplex=domains,
        ranges={"N": (1e8, 7e9), "D": (1e9, 2e11)},
        hold=("gamma_A", "gamma_B") if joint else (),
        family="mixtures",
        units=f"N: parameters; D: tokens; {', '.join(domains)}: shares of the training text, which sum to 1; loss: "
        "nats/token on one validation domain",
        symbols={f"C_{x}": f"worth of {x}" for x in domains}
        | {f"gamma_{x}": f"how soon {x} is enough" for x in domains},
        notes=("Experimental: how A and B depend on the mixture is from memory. " if joint else
               "The best mixture does not depend on N and D. ")
        + "E and the mixture's term are told apart by runs of varied mixtures only. No coefficients are listed.",
        instead="ye at one size and one number of tokens.",
    )(with_signature(
        equation, name, f"L(N, D, h) = E + 1 / sum_i C_i h_i^gamma_i + {terms[0]} / N^alpha + {terms[1]} / D^beta",
        inputs, params,
    ))  # fmt: skip


shukor = mixed_sizes(("web", "code", "books"), name="shukor")
shukor_joint = mixed_sizes(("web", "code"), joint=True, name="shukor_joint")
