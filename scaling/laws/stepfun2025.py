"""Li et al. 2025, Predictable Scale: Part I, Optimal Hyperparameter Scaling Law (arXiv:2503.04715), the Step Law."""

from __future__ import annotations

from scaling.laws.monomial import monomial

_ABOUT = "fixed final learning rate of 1e-5 and cosine decay; other schedules move the optimum"

steplaw_lr = monomial(
    "steplaw_lr",
    ("N", "D"),
    predicts="lr_opt",
    unit="1",
    cite="Li 2025, arXiv:2503.04715",
    family="hyper-parameters",
    # the paper prints two or three digits; the second set has the digits of the authors' 1000 bootstrapped models
    published={
        "li2025": {"k": 1.79, "p_N": -0.713, "p_D": 0.307},
        "li2025_bootstrap": {"k": 1.7973399939000017, "p_N": -0.7129222911869904, "p_D": 0.30749095041206964},
    },
    units="N: parameters without embeddings; D: tokens; lr_opt: peak learning rate",
    ranges={"N": (6e7, 1e9), "D": (2e9, 1e11)},
    instead="deepseek_lr where only the budget is known; the optimum rises with D here because the batch rises with it",
    symbols={"lr_opt": "peak learning rate of the least loss at that N and D"},
    notes=f"Coefficients are means over bootstrapped fits, k that of the logarithms. {_ABOUT}.",
)

steplaw_batch = monomial(
    "steplaw_batch",
    ("D",),
    predicts="batch_opt",
    unit="tokens",
    cite="Li 2025, arXiv:2503.04715",
    family="hyper-parameters",
    published={
        "li2025": {"k": 0.58, "p_D": 0.571},
        "li2025_bootstrap": {"k": 0.5806877084495872, "p_D": 0.5709443646895045},
    },
    units="D: tokens; batch_opt: tokens an update (sequences times their length)",
    ranges={"D": (2e9, 1e11)},
    instead="mccandlish for the trade of steps against examples; deepseek_batch where only the budget is known",
    symbols={"batch_opt": "batch of the least loss at that D, whatever N"},
    notes=_ABOUT + ".",
)
