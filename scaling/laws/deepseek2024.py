"""DeepSeek-AI 2024, DeepSeek LLM: Scaling Open-Source Language Models with Longtermism (arXiv:2401.02954)."""

from __future__ import annotations

from typing import Any

from scaling.laws.monomial import monomial

_C = "C: training FLOP, M D with attention counted (the paper's M is non-embedding FLOP a token, not parameters)"
_CITE = "DeepSeek-AI 2024, arXiv:2401.02954, section 3"
_RANGES = {"C": (1e17, 2e20)}

deepseek_lr = monomial(
    "deepseek_lr",
    ("C",),
    predicts="lr_opt",
    unit="1",
    cite=_CITE,
    family="hyper-parameters",
    published={"deepseek2024": {"k": 0.3118, "p_C": -0.1250}},
    units=f"{_C}; lr_opt: peak learning rate",
    ranges=_RANGES,
    instead="steplaw_lr where N and D vary apart",
    symbols={"lr_opt": "peak learning rate of the least loss at that budget, model and data at their optimum"},
    notes="Fitted to runs within 0.25% of the least loss, with a schedule that falls in steps.",
)

deepseek_batch = monomial(
    "deepseek_batch",
    ("C",),
    predicts="batch_opt",
    unit="tokens",
    cite=_CITE,
    family="hyper-parameters",
    published={"deepseek2024": {"k": 0.2920, "p_C": 0.3271}},
    units=f"{_C}; batch_opt: tokens an update",
    ranges=_RANGES,
    instead="steplaw_batch where D is known",
    symbols={"batch_opt": "batch of the least loss at that budget"},
)

deepseek_model = monomial(
    "deepseek_model",
    ("C",),
    predicts="M_opt",
    unit="FLOP/token",
    cite=_CITE,
    family="language models",
    published={"deepseek2024": {"k": 0.1715, "p_C": 0.5243}},
    units=f"{_C}; M_opt: non-embedding FLOP a token",
    ranges={"C": (1e17, 3e20)},
    instead="chinchilla, whose optimum comes with the loss; D_opt is C / M_opt",
    symbols={"M_opt": "model of the least loss at that budget, in FLOP a token"},
    notes="The exponent moves with the data: 0.450 on the authors' early set, 0.578 on OpenWebText2.",
)

deepseek_data = monomial(
    "deepseek_data",
    ("C",),
    predicts="D_opt",
    unit="tokens",
    cite=_CITE,
    family="language models",
    published={"deepseek2024": {"k": 5.8316, "p_C": 0.4757}},
    units=f"{_C}; D_opt: tokens",
    ranges={"C": (1e17, 3e20)},
    instead="chinchilla, whose optimum comes with the loss",
    symbols={"D_opt": "tokens of the least loss at that budget"},
)


def flop_per_token(n_layer: Any, d_model: Any, l_seq: Any) -> Any:
    """M, non-embedding training FLOP a token, attention included (DeepSeek-AI 2024, section 3)."""
    return 72 * n_layer * d_model**2 + 12 * n_layer * d_model * l_seq


def frontier(C: Any) -> tuple[Any, Any, Any]:
    """M (FLOP a token) and D (tokens) of least loss at C FLOP, and M D / C, which rounding leaves near 1."""
    M = deepseek_model(C, **deepseek_model.published["deepseek2024"])
    D = deepseek_data(C, **deepseek_data.published["deepseek2024"])
    return M, D, M * D / C
