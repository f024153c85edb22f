"""Ye et al. 2024, Data Mixing Laws (arXiv:2403.16952)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Floor, Law, Param, Scale, law
from scaling.laws.factory import checked_names, with_signature

Response = Annotated[float, Param(start=(-5.0, 3.0), unit="1 / share")]


def mixing(
    domains: Sequence[str],
    *,
    name: str = "my_mixing",
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> Law:
    """The law of one validation loss over the shares of these domains; its columns are the domains' names."""
    domains = checked_names(domains, "domains")

    def equation(shares: Sequence[Any], params: Mapping[str, Any]) -> Any:
        return params["c"] + params["k"] * np.exp(
            sum(params[f"t_{d}"] * r for d, r in zip(domains, shares, strict=True))
        )

    def starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
        # ln(L - c) is linear in the shares once c is known, and ln k is the constant that shares of 1 allow anyway
        shares, found = np.stack([np.asarray(inputs[d], float) for d in domains], 1), []
        for below in (0.999, 0.98, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.05):
            floor = below * loss.min()
            t = np.linalg.lstsq(shares, np.log(loss - floor), rcond=None)[0]
            found += [
                {"c": floor, "k": k} | {f"t_{d}": float(v - np.log(k)) for d, v in zip(domains, t, strict=True)}
                for k in (1.0,)
            ]
        return found

    params = {"c": Floor, "k": Scale} | {f"t_{d}": Response for d in domains}
    return law(
        cite="Ye 2024, arXiv:2403.16952",
        published=published,
        example={} if published else {"c": 2.0, "k": 1.0} | {f"t_{d}": -0.5 - 0.3 * i for i, d in enumerate(domains)},
        starts=starts,
        zero=domains,
        simplex=domains,
        ranges={},
        hold=("k",),
        family="mixtures",
        units=f"{', '.join(domains)}: shares of the training text, which sum to 1; one size and one number of tokens; "
        "loss: nats/token on one validation domain",
        symbols={"c": "what no mixture removes", "k": "held at any value: ln k adds to every t"}
        | {f"t_{d}": f"response to the share of {d}" for d in domains},
        notes="Shares sum to 1, so ln k and a constant in all t are one: hold k, at 1 or at a published value. Several "
        "validation domains are as many fits; scaling.mixtures.best_mixture weighs them.",
        instead="shukor where sizes and tokens vary too; bimix where a domain's own share decides.",
    )(with_signature(equation, name, "L(r) = c + k exp(sum_j t_j r_j)", domains, params))  # fmt: skip


def _set(log_c: float, log_k: float, *t: float) -> dict[str, float]:
    named = dict(zip((f"t_{d}" for d in _FIVE), t, strict=True))
    return {"c": float(np.exp(log_c)), "k": float(np.exp(log_k)), **named}


_FIVE = ("academic", "prose", "dialogue", "symbolic", "internet")
ye = mixing(
    _FIVE,
    name="ye",
    published={
        # the authors' notebook (yegcjs/mixinglaws, mix_5_domains.ipynb): one set a validation domain
        "academic": _set(0.975, -2.1391, -10.0864, 2.714, 2.7106, 2.6083, 1.5866),
        "prose": _set(1.2624, -2.1656, 1.393, -4.6811, 0.7855, 1.8719, 0.5734),
        "dialogue": _set(1.1375, -7.1017, 6.7135, 6.2643, -31.8621, 6.6423, 6.2053),
        "symbolic": _set(0.475, -3.6546, 3.3289, 3.6705, 3.1127, -16.4217, 3.1591),
        "internet": _set(1.2402, -1.951, 1.1897, 0.8697, -0.5184, 1.7122, -3.087),
    },
)
