"""What a grid says of mixtures: weights of sources, shares of them, or mixtures drawn from a Dirichlet distribution.

mixture = { code = 3, docs = 1 }                            # whole numbers are weights: 3 to 1
mixture = { code = 0.75, docs = 0.25 }                      # fractions are shares, and sum to 1
mixture = { dirichlet = 1.0, count = 24, seed = 0 }         # drawn: an axis of 24 mixtures
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest
from sweeps.corpora.settings import Source, check_shares

Mixture = tuple[tuple[str, float], ...]
DRAWN = "dirichlet"
#: Shares of drawn mixtures are multiples of one over this: they can be read, and last digits that differ between
#: versions of a library do not make other runs.
STEPS = 10_000
#: Concentrations beyond these are slips: mixtures of single sources, or all one mixture.
LEAST, MOST = 0.05, 1e4
MOST_DRAWN = 1000
#: Parts the seeds of these draws from those of other streams.
DOMAIN = 0x64697269


def read_mixtures(value: Any, source: Source, place: str) -> list[Mixture]:
    """The mixtures that one value of `mixture` stands for: shares that sum to 1, by source in the order of the corpus;
    a share of 0 leaves a source out. ScalingError names the place, the rule and what was found."""
    weights = source.weights
    if not weights:
        raise ScalingError(
            f"{place}: mixture weighs the named sources of a corpus, and this one has none: give [corpus.sources.NAME]"
        )
    if not isinstance(value, dict):
        first = next(iter(weights))
        raise ScalingError(
            f"{place}: mixture must be a table such as {{{first} = 1}} or {{{DRAWN} = 1.0, count = 24}}, got {value!r}"
        )
    if DRAWN in value and DRAWN not in weights:
        return _drawn(value, weights, place)
    for name, weight in value.items():
        _known(name, weights, f"{place}: mixture")
        if not _is_number(weight) or not 0 <= weight < math.inf:
            raise ScalingError(f"{place}: mixture.{name} must be a weight from 0 up, got {weight!r}")
    total = math.fsum(value.values())
    if total <= 0:
        raise ScalingError(f"{place}: mixture must give some source a weight above 0, got {value!r}")
    check_shares(value, f"{place}: mixture")
    return [tuple((name, value[name] / total) for name in weights if value.get(name))]


def draw(concentrations: Sequence[float], count: int, seed: int) -> NDArray[np.float64]:
    """Mixtures from a Dirichlet distribution of these concentrations, (count, sources), in steps of 1 / STEPS.

    A pure function of its arguments, of which `count` decides only how many: the first of more are the same.
    """
    from scipy.special import gammaincinv  # only grids that draw pay for it

    k = len(concentrations)
    raw = np.random.PCG64(np.random.SeedSequence([seed, DOMAIN])).random_raw(count * k).reshape(count, k)
    uniform = ((raw >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53
    gamma = gammaincinv(np.asarray(concentrations, float), uniform)
    whole = gamma / gamma.sum(axis=1, keepdims=True) * STEPS
    floor = np.floor(whole)
    # the steps that rounding down leaves go to the largest remainders
    order = np.argsort(-(whole - floor), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return (floor + (rank < STEPS - floor.sum(axis=1, keepdims=True))) / STEPS


def _drawn(value: Mapping[str, Any], weights: Mapping[str, float], place: str) -> list[Mixture]:
    for key in value:
        if key not in (DRAWN, "count", "seed"):
            raise ScalingError(
                f"{place}: mixture: unknown key {key!r} beside {DRAWN}; {nearest(key, (DRAWN, 'count', 'seed'))}"
            )
    count, seed = value.get("count"), value.get("seed", 0)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_DRAWN:
        raise ScalingError(
            f"{place}: mixture.count is how many mixtures are drawn, a whole number from 1 to {MOST_DRAWN}; "
            f"got {'nothing' if count is None else repr(count)}"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ScalingError(f"{place}: mixture.seed must be a whole number from 0 up, got {seed!r}")
    said = value[DRAWN]
    if isinstance(said, dict):
        for name in said:
            _known(name, weights, f"{place}: mixture.{DRAWN}")
        chosen = {name: said[name] for name in weights if name in said}
    elif _is_number(said):
        chosen = {name: said * len(weights) * weight for name, weight in weights.items()}
    else:
        chosen = {}
    if not chosen or not all(_is_number(c) and LEAST <= c <= MOST for c in chosen.values()):
        raise ScalingError(
            f"{place}: mixture.{DRAWN} is a concentration for all sources, such as 1.0, or a table of one for each "
            f"that may be in; after weighing each from {LEAST} to {MOST:g}; got {said!r}"
        )
    names = tuple(chosen)
    return [
        tuple((name, share) for name, share in zip(names, row, strict=True) if share)
        for row in draw(list(chosen.values()), count, seed).tolist()
    ]


def _known(name: str, weights: Mapping[str, float], place: str) -> None:
    if name not in weights:
        raise ScalingError(f"{place}: there is no source {name!r}; {nearest(name, weights)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
