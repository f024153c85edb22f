from __future__ import annotations

import pytest

from scaling.flops import flops_per_token, parameter_counts, parameter_groups

GPT2 = {"width": 768, "depth": 12, "head_dim": 64, "mlp_ratio": 4.0, "vocab": 50257}


def test_a_wide_model_has_twelve_depth_width_squared_parameters() -> None:
    # Kaplan 2020, eq. 2.1: N = 12 n_layer d_model^2, gains left out
    n = parameter_counts(parameter_groups(**GPT2))["kaplan"]
    assert n == pytest.approx(12 * 12 * 768**2, rel=1e-3)


def test_the_conventions_differ_by_embedding_and_head() -> None:
    n = parameter_counts(parameter_groups(**GPT2))
    assert n["chinchilla"] - n["matmul"] == 50257 * 768
    assert n["matmul"] - n["kaplan"] == 50257 * 768


def test_flops_are_six_per_parameter_and_attention_comes_on_top() -> None:
    groups = parameter_groups(**GPT2)
    f = flops_per_token(groups, width=768, depth=12, context=1024)
    assert f["6N"] == 6 * parameter_counts(groups)["matmul"]
    assert f["6N_with_attention"] - f["6N"] == 12 * 12 * 1024 * 768
