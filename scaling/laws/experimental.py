"""Laws whose coefficients, and for some the equation, could not be checked against the paper: forms to fit, no numbers.

Their `example` coefficients are made up, to draw and to test with.
"""

from __future__ import annotations

from scaling.laws.monomial import monomial

_WARNING = "Experimental: no coefficient of the paper could be checked, so none is given."

bjorck_lr = monomial(
    "bjorck_lr",
    ("N", "D"),
    predicts="lr_opt",
    unit="1",
    cite="Bjorck 2024, arXiv:2409.19913",
    family="hyper-parameters",
    example={"k": 100.0, "p_N": -0.25, "p_D": -0.3},
    units="N: parameters; D: tokens; lr_opt: peak learning rate",
    ranges={"N": (5e7, 2e9), "D": (1e9, 1e11)},
    instead="steplaw_lr, whose coefficients are checked; there the batch grows with D, here it stands still",
    symbols={"lr_opt": "peak learning rate of the least loss at a fixed batch"},
    notes=f"{_WARNING} The learning rate falls with the number of tokens.",
)

zhang_batch = monomial(
    "zhang_batch",
    ("D",),
    predicts="batch_crit",
    unit="tokens",
    cite="Zhang 2024, arXiv:2410.21676",
    family="hyper-parameters",
    example={"k": 20.0, "p_D": 0.5},
    units="D: tokens; batch_crit: tokens an update",
    ranges={"D": (1e9, 1e11)},
    instead="steplaw_batch for the batch of least loss, which is another quantity",
    symbols={"batch_crit": "batch at which the steps to a target loss exceed ideal scaling by a fifth"},
    notes=f"{_WARNING} The paper finds that the critical batch depends on D and not on N.",
)

llama3_tokens = monomial(
    "llama3_tokens",
    ("C",),
    predicts="D_opt",
    unit="tokens",
    cite="Grattafiori 2024, arXiv:2407.21783, section 3.2.1",
    family="language models",
    example={"k": 0.4, "p_C": 0.53},
    units="C: training FLOP; D_opt: tokens",
    ranges={"C": (6e18, 1e22)},
    instead="chinchilla, or deepseek_data for a published frontier",
    symbols={"D_opt": "tokens of the least loss at that budget; the paper writes N* for it"},
    notes=f"{_WARNING} Two printed digits of the exponent move the tokens at 4e25 FLOP by a third: fit your own.",
)

hernandez_transfer = monomial(
    "hernandez_transfer",
    ("D_F", "N"),
    predicts="D_T",
    unit="characters",
    cite="Hernandez 2021, arXiv:2102.01293",
    family="transfer",
    example={"k": 1e4, "p_D_F": 0.2, "p_N": 0.4},
    units="D_F: characters of fine-tuning data; N: parameters without embeddings; D_T: characters",
    ranges={"D_F": (1e5, 1e9), "N": (1e6, 1e9)},
    instead="cpt for the loss along continued pre-training",
    symbols={
        "D_F": "fine-tuning data",
        "D_T": "data a model trained from scratch would need besides, for the same loss",
    },
    notes=f"{_WARNING} The exponents belong to the pair of texts; the loss is Kaplan's joint law at D_T "
    "(scaling.laws.kaplan2020).",
)
