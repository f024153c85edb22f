"""Priors as pseudo-measurements: what is believed of a parameter before the data adds to the objective as a row would.

A prior is normal about its centre in the logarithm of a parameter that is bounded below by 0 or above, and in the
parameter itself otherwise. With residuals of ln loss and weights 1 / se^2, squares and priors together are the negative
logarithm of a posterior density.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scaling.errors import ScalingError, nearest
from scaling.law import Law
from scaling.problem import Prior

Given = Mapping[str, "Prior | tuple[float, float] | None"]


def merged(law: Law, given: Given, fixed: Mapping[str, float], tied: Mapping[str, str]) -> dict[str, Prior]:
    """The law's own priors, with those given in their place: {"E": (centre, sd)}, or None for none.

    Raises ScalingError for a parameter that is unknown, held or tied, a centre out of bounds, an sd that is not
    positive.
    """
    priors: dict[str, Prior] = {}
    for p in law.params:
        if p.prior is not None and p.name not in fixed and p.name not in tied:
            priors[p.name] = Prior(*p.prior, law.noise**2)
    for name, prior in given.items():
        if name not in law.names:
            raise ScalingError(f"{law.name} has no parameter {name!r}; {nearest(name, law.names)}")
        if prior is None:
            priors.pop(name, None)
            continue
        if name in fixed or name in tied:
            held = f"= {tied[name]}" if name in tied else f"held at {fixed[name]:g}"
            raise ScalingError(f"{name} is {held}, so a prior on it does nothing; put it on a free parameter")
        centre, sd = _pair(name, prior)
        p = law.param(name)
        if not p.lo < centre < p.hi:
            raise ScalingError(f"{name} lies between {p.lo:g} and {p.hi:g}; its prior is centred at {centre:g}")
        if not (sd > 0 and math.isfinite(sd)):
            raise ScalingError(f"the prior of {name} needs a positive standard deviation, got {sd:g}")
        priors[name] = Prior(centre, sd, law.noise**2)
    return priors


def _pair(name: str, prior: Prior | tuple[float, float]) -> tuple[float, float]:
    if isinstance(prior, Prior):
        return prior.centre, prior.sd
    try:
        centre, sd = (float(value) for value in prior)
    except (TypeError, ValueError):
        raise ScalingError(f"a prior is (centre, sd), as in priors={{{name!r}: (1.8, 0.2)}}; got {prior!r}") from None
    return centre, sd


def in_words(law: Law, priors: Mapping[str, Prior]) -> list[str]:
    """One line a prior, for a fit's notes."""
    return [
        f"prior: {'ln ' if law.param(name).lo >= 0 else ''}{name} is normal about "
        f"{'ln ' if law.param(name).lo >= 0 else ''}{prior.centre:g}, sd {prior.sd:g}"
        for name, prior in priors.items()
    ]
