"""Functions of equations that neither overflow nor break complex steps."""

from __future__ import annotations

from typing import Any

import numpy as np


def softplus(z: Any) -> Any:
    """ln(1 + exp(z)), for real and complex z."""
    size = np.where(np.real(z) > 0, z, -np.asarray(z))
    return np.where(np.real(z) > 0, z, 0) + np.log1p(np.exp(-size))


def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(-z)), for real and complex z."""
    return np.exp(-softplus(-np.asarray(z)))
