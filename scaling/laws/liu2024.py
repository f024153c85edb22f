"""Liu et al. 2024, RegMix: Data Mixture as Regression for Language Model Pre-training (arXiv:2407.01492)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from scaling.law import Law, Param, law
from scaling.laws.factory import checked_names, with_signature

Weight = Annotated[float, Param(start=(1.0, 8.0), linear=True, unit="nats/token")]


def linear_mixing(domains: Sequence[str], features: Sequence[str] = (), *, name: str = "my_regression") -> Law:
    """The regression of one loss on the shares of these domains and, if any, on further columns.

    No intercept: shares sum to 1. With `features` the losses of mixed experts, the model of Belenki 2025.
    """
    domains = checked_names(domains, "domains")
    columns = (*domains, *checked_names((*domains, *features), "columns")[len(domains) :])

    def equation(values: Sequence[Any], params: Mapping[str, Any]) -> Any:
        return sum(params[f"w_{c}"] * v for c, v in zip(columns, values, strict=True))

    return law(
        cite="Belenki 2025, arXiv:2502.15950" if features else "Liu 2024, arXiv:2407.01492",
        example={f"w_{c}": 4.0 + 0.7 * i if c in domains else 0.3 for i, c in enumerate(columns)},
        zero=domains,
        simplex=domains,
        ranges=dict.fromkeys(features, (2.0, 6.0)),
        family="mixtures",
        units=f"{', '.join(domains)}: shares of the training text, which sum to 1; "
        + (f"{', '.join(features)}: losses of mixed experts, nats/token; " if features else "")
        + "loss: nats/token on one validation domain",
        symbols={f"w_{c}": f"loss of a model trained on {c} alone" if c in domains and not features
                 else f"weight of {c}" for c in columns},
        notes="A baseline. The paper prefers trees (LightGBM) to the linear regression; its optimum is a vertex, so "
        "mixtures are drawn and the best predicted ones averaged. Fit with objective='squared' for least squares."
        if not features else "Losses of mixed experts are from scaling.experts.expert_mixture_loss. The paper shrinks "
        "the weights by a ridge, or takes trees or a Gaussian process in their place.",
        instead="ye, whose response bends.",
    )(with_signature(equation, name, f"L = sum_j w_j x_j over {', '.join(columns)}", columns,
                     {f"w_{c}": Weight for c in columns}))  # fmt: skip


regmix = linear_mixing(("web", "code", "books"), name="regmix")
mde = linear_mixing(("web", "code", "books"), ("experts_web", "experts_code"), name="mde")
