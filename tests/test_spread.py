"""How spread out hidden states are: found from Gram matrices, against the definitions by singular values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scaling.laws.wei2024 import matrix_entropy, matrix_nuclear_norm, normalised_states
from sweeps.representation import NAMES, normalised, spread


def _states(dtype: torch.dtype = torch.float64, tokens: int = 300, width: int = 48) -> torch.Tensor:
    """Three replicas whose spectra fall over four decades."""
    generator = torch.Generator().manual_seed(0)
    falls = torch.logspace(0, -4, width, dtype=torch.float64)
    return (torch.randn(3, tokens, width, generator=generator, dtype=torch.float64) * falls).to(dtype)


def test_gram_matrices_give_what_singular_values_give() -> None:
    states = _states()
    found = spread(states)
    assert tuple(found) == NAMES
    for r, alone in enumerate(states.numpy()):
        values = np.linalg.svd(normalised_states(alone), compute_uv=False)
        share = values**2 / np.sum(values**2)
        assert float(found["matrix_entropy"][r]) == pytest.approx(-np.sum(share * np.log(share)), rel=1e-10)
        assert float(found["matrix_entropy"][r]) == pytest.approx(matrix_entropy(alone), rel=1e-10)
        assert float(found["effective_rank"][r]) == pytest.approx(np.exp(matrix_entropy(alone)), rel=1e-10)
        assert float(found["nuclear_norm"][r]) == pytest.approx(values.sum(), rel=1e-6)  # half of the digits of float64
        assert float(found["nuclear_norm_bound"][r]) == pytest.approx(matrix_nuclear_norm(alone), rel=1e-10)


def test_fewer_tokens_than_channels_leave_the_largest_columns() -> None:
    states = _states(tokens=20, width=48)
    for r, alone in enumerate(states.numpy()):
        assert float(spread(states)["nuclear_norm_bound"][r]) == pytest.approx(matrix_nuclear_norm(alone), rel=1e-10)
        assert float(spread(states)["matrix_entropy"][r]) <= np.log(19) + 1e-9


def test_single_precision_costs_half_of_its_digits_in_small_singular_values_only() -> None:
    exact, single = spread(_states()), spread(_states(torch.float32))
    error = {name: float((single[name] / exact[name] - 1).abs().max()) for name in NAMES}
    assert error["matrix_entropy"] < 1e-6 and error["nuclear_norm_bound"] < 1e-6
    assert error["nuclear_norm"] < 3e-4  # about the root of the precision of float32


def test_a_replica_alone_has_the_numbers_it_has_in_a_stack() -> None:
    states = _states()
    for name, values in spread(states).items():
        alone = torch.cat([spread(states[r : r + 1])[name] for r in range(3)])
        torch.testing.assert_close(values, alone, rtol=1e-12, atol=0)


def test_a_token_that_is_the_mean_stays_at_zero_and_spoils_nothing() -> None:
    states = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    assert normalised(states)[0, 2].tolist() == [0.0, 0.0]
    assert float(spread(states)["matrix_entropy"]) == pytest.approx(0.0, abs=1e-12)
