"""How spread out hidden states are: found from Gram matrices, against the definitions by singular values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import blas
from threadpoolctl import threadpool_info, threadpool_limits

from scaling.laws.wei2024 import matrix_entropy, matrix_nuclear_norm, normalised_states
from sweeps import representation
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


def test_no_more_threads_work_than_torch_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    add = blas.dsyrk

    def watched(*args: object, **options: object) -> object:
        seen.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return add(*args, **options)

    monkeypatch.setattr(blas, "dsyrk", watched)
    with threadpool_limits(limits=2, user_api="blas"):
        spread(_states())
        assert seen and set(seen) == {torch.get_num_threads()} == {1}
        assert 2 in {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}  # as before


def test_pieces_of_tokens_add_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spread(_states())
    monkeypatch.setattr(representation, "PIECE", 48 * 7)  # which does not divide the 300 tokens
    for name, values in spread(_states()).items():
        torch.testing.assert_close(values, whole[name], rtol=1e-7 if name == "nuclear_norm" else 1e-12, atol=0)


def test_a_device_s_products_give_what_one_triangle_gives() -> None:
    for states in (_states(), _states(tokens=20)):
        values, squares = representation._by_products(states)
        others = representation._by_blas(states)
        torch.testing.assert_close(values, others[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(squares, others[1], rtol=1e-12, atol=0)


def test_states_that_are_not_finite_have_no_spread_and_spoil_no_other_s() -> None:
    states = _states()
    alone = spread(states[:1])
    states[1, 7, 3] = torch.inf
    for ways in (representation._by_blas, representation._by_products):
        values, _ = ways(states)
        assert values[1].isnan().all() and values[[0, 2]].isfinite().all()
    for name, values in spread(states).items():
        assert values[1].isnan() and float(values[0]) == pytest.approx(float(alone[name][0]), rel=1e-12), name
