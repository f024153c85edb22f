"""Porian et al. 2024, Resolving Discrepancies in Compute-Optimal Scaling of Language Models (arXiv:2406.19146)."""

from __future__ import annotations

from scaling.laws.monomial import monomial

porian_model = monomial(
    "porian_model",
    ("C",),
    predicts="N_opt",
    unit="parameters",
    cite="Porian 2024, arXiv:2406.19146, medians of the authors' bootstraps",
    family="language models",
    # from Kaplan's optimum to Hoffmann's, one correction at a time, on RefinedWeb; the last is the recommended recipe
    published={
        "tuned": {"k": 0.11893, "p_C": 0.4969},
        "cosine_decay": {"k": 0.0047693, "p_C": 0.57149},
        "warmup": {"k": 0.0014309, "p_C": 0.60204},
        "last_layer": {"k": 1.2702e-05, "p_C": 0.70647},
        "kaplan": {"k": 4.232e-08, "p_C": 0.8353},
    },
    units="C: training FLOP; N_opt: parameters with the output head and without the embedding ('kaplan': without both)",
    ranges={"C": (1e16, 3e19)},
    instead="chinchilla where single runs, not optima of isoFLOP curves, are at hand",
    symbols={"N_opt": "size of the least loss at that budget"},
    notes="An isoFLOP curve gives one row: its least loss and where. 'warmup' follows 'last_layer' follows 'kaplan'.",
)
