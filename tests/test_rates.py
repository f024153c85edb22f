"""The learning rate of every update, from logs that have a row in a hundred."""

from __future__ import annotations

import numpy as np
import pytest

from scaling.rates import every_update
from scaling.schedule import cosine, wsd

LOGGED = np.arange(0, 6000, 128)
TRUE = {
    "wsd linear": wsd(6000, 3e-4, 0, 1500, "linear", 0.1),
    "two-stage": np.where(np.arange(6000) < 2560, 3e-4, 9e-5),
    "exponential": np.where(np.arange(6000) < 4500, 3e-4, 3e-4 * 0.1 ** ((np.arange(6000) - 4499) / 1500)),
    "cosine": cosine(6000, 3e-4, 0, 0.1),
}


@pytest.mark.parametrize("lr", TRUE.values(), ids=TRUE)
def test_rates_between_logged_rows_are_rebuilt_with_their_jumps_and_bends(lr: np.ndarray) -> None:
    rebuilt = every_update(LOGGED, lr[LOGGED], int(LOGGED[-1]))
    # a chord over 128 steps of the exponential is off by (128 ln 10 / 1500)^2 / 8 = .5%; all else is far nearer
    np.testing.assert_allclose(rebuilt, lr[: LOGGED[-1] + 1], atol=5e-3 * 3e-4)
    assert np.median(np.abs(rebuilt / lr[: LOGGED[-1] + 1] - 1)) < 1e-3


def test_a_change_of_no_known_shape_is_joined_by_a_line() -> None:
    at, lr = np.arange(0, 80, 10), np.array([3.0, 3.0, 3.0, 2.0, 1.9, 1.2, 1.1, 0.2])
    np.testing.assert_allclose(every_update(at, lr, 70), np.interp(np.arange(71), at, lr))
