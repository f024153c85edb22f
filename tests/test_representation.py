"""How spread out hidden states are, and laws of rewards."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.laws.cui2025 import cui, reward_ceiling
from scaling.laws.wei2024 import (
    column_norm_sum,
    matrix_entropy,
    matrix_nuclear_norm,
    normalised_states,
    rank_difference,
)

STATES = np.random.RandomState(0).randn(32, 16)  # a stream that numpy promises to keep


def test_the_entropy_of_fixed_states_is_that_of_the_definition():
    assert matrix_entropy(STATES) == pytest.approx(2.5520821457230625, rel=1e-12)


def test_states_spread_evenly_have_the_entropy_of_the_width_and_those_on_a_line_none():
    even = np.concatenate([np.eye(16), -np.eye(16)])
    assert matrix_entropy(even) == pytest.approx(np.log(16), rel=1e-12)
    line = np.outer([1.0, -2.0, 3.0, -2.0], np.ones(8))
    assert matrix_entropy(line) == pytest.approx(0.0, abs=1e-12)
    assert rank_difference(even, np.outer(np.r_[np.ones(8), -np.ones(8)], np.ones(16))) == pytest.approx(15.0)


def test_scale_and_shift_of_states_do_not_matter():
    assert matrix_entropy(3.0 * STATES + 5.0) == pytest.approx(matrix_entropy(STATES), rel=1e-12)


def test_column_norms_bound_the_nuclear_norm_from_above():
    x = normalised_states(STATES)
    exact = float(np.linalg.svd(x, compute_uv=False).sum())
    assert exact == pytest.approx(21.249197886259495, rel=1e-12)
    assert matrix_nuclear_norm(STATES) == pytest.approx(22.500940845147337, rel=1e-12)
    assert column_norm_sum(np.eye(8)) == 8.0


def test_rewards_on_entropy_give_the_ceiling_back_and_may_be_negative():
    entropy = np.linspace(0.1, 1.5, 12)
    rng = np.random.default_rng(0)
    reward = cui(entropy, a=0.2, b=0.7) + 1e-4 * rng.standard_normal(12)
    assert reward.min() < 0
    found = scaling.fit("cui", pd.DataFrame({"H": entropy, "R": reward}))
    assert reward_ceiling(**found.params) == pytest.approx(0.5, abs=1e-3)
    assert found.predict(H=0.0) == pytest.approx(reward_ceiling(**found.params))
