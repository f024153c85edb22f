"""Wei et al. 2024, Large Language Model Evaluation via Matrix Entropy, later Diff-eRank (arXiv:2401.17139), and the
matrix nuclear norm of Li et al. 2024 (arXiv:2410.10672): how spread out hidden states are, and their law over size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Floor, Param, law
from scaling.laws.henighan2020 import power

Array = NDArray[np.float64]
Size = Annotated[float, Param(lo=0.0, start=(1e-6, 1e6), unit="parameters", of="N")]


def normalised_states(states: Any) -> Array:
    """Hidden states (tokens, width) centred over tokens, each token then of length 1."""
    centred = np.asarray(states, float) - np.mean(states, axis=0)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def matrix_entropy(states: Any) -> float:
    """Entropy in nats of the eigenvalues of the states' covariance, which sum to 1; at most ln min(tokens - 1, width).

    The paper's tables divide it by ln(width); exp of it is the effective rank.
    """
    x = normalised_states(states)
    values = np.linalg.eigvalsh(x.T @ x / len(x))
    values = values[values > 0] / values[values > 0].sum()
    return float(-np.sum(values * np.log(values)))


def rank_difference(untrained: Any, trained: Any) -> float:
    """Diff-eRank: the effective rank that training takes away, from states (tokens, width) of one text."""
    return float(np.exp(matrix_entropy(untrained)) - np.exp(matrix_entropy(trained)))


def matrix_nuclear_norm(states: Any) -> float:
    """Sum of the largest min(tokens, width) column norms of the normalised states: a bound from above on their nuclear
    norm, equal for orthogonal columns (Li 2024, the released code; the paper also divides by the tokens)."""
    return column_norm_sum(normalised_states(states))


def column_norm_sum(x: Any) -> float:
    """Sum of the largest min(rows, columns) norms of columns."""
    x = np.asarray(x, float)
    return float(np.sort(np.linalg.norm(x, axis=0))[::-1][: min(x.shape)].sum())


def _starts(inputs: Mapping[str, Any], values: Array) -> list[dict[str, float]]:
    assert power.starts is not None
    return power.starts({"x": inputs["N"]}, values)


@law(
    cite="Wei 2024, arXiv:2401.17139 (a power law in size; no coefficients)",
    derivatives=power.derivatives,
    starts=_starts,
    example={"L_inf": 2.0, "x0": 1e6, "alpha": 0.2},
    predicts="matrix_entropy",
    unit="nats",
    family="representation",
    units="N: parameters; matrix_entropy: nats, or divided by ln(width), the same in every row",
    ranges={"N": (1e8, 7e10)},
    symbols={"L_inf": "entropy that no size removes", "x0": "size at which 1 nat is left above it"},
    notes="The paper finds that entropy falls with size like a scaling law and prints no coefficients that could be "
    "verified. Texts of one length only: the rank is at most tokens - 1.",
    instead="power for losses.",
)
def wei(N: Any, *, L_inf: Floor, x0: Size, alpha: Exponent) -> Any:
    """H(N) = L_inf + (x0 / N)^alpha"""
    return power.function(N, L_inf=L_inf, x0=x0, alpha=alpha)
