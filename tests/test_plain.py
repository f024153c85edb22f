"""The plain model that judges the regimes, and the first of them, autoregression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sweeps import train
from sweeps.order import validation_sequences
from sweeps.runs import Run
from sweeps.tokens import File, Tokens
from tests import plain
from tests.stacks import final, forked, opened

SEEDS = range(4)


def a_small_run(**changes: object) -> Run:
    fields = dict(width=32, base_width=32, depth=1, head_dim=16, mlp_ratio=2.0, context=32, batch=8, vocab=32)
    fields |= dict(steps=200, cooldown=60, warmup=10, lr=0.01, val_sequences=64, evals_per_octave=1)
    return Run(**fields | changes)  # type: ignore[arg-type]


def a_text() -> Tokens:
    text = plain.second_order_text()
    where = len(text) * 9 // 10
    return Tokens(text[:where], text[where:], (File("a", len(text), "0" * 64, "train"),), "test", vocab=32)


def trained(runs: Sequence[Run], tokens: Tokens, out: Path) -> list[float]:
    """Final losses of runs that train together, off each other's forks where they can."""
    stack = forked(*runs)
    assert train.train_stack(stack, tokens, opened(out, stack), device=torch.device("cpu"))
    return [final(out, run)["loss"] for run in runs]


@pytest.mark.slow
def test_autoregression_learns_as_a_plain_model_does(tmp_path: Path) -> None:
    tokens, run = a_text(), a_small_run()
    longer = [a_small_run(seed=seed, steps=220) for seed in SEEDS]  # forks: the runs leave their trunks
    ours = trained([*(a_small_run(seed=seed) for seed in SEEDS), *longer], tokens, tmp_path)[: len(SEEDS)]
    validation = torch.from_numpy(validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64))
    losses = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        sizes = dict(width=run.width, depth=run.depth, head_dim=run.head_dim, mlp_ratio=run.mlp_ratio, vocab=run.vocab)
        model = plain.Decoder(**sizes)  # type: ignore[arg-type]
        how = plain.optimizer(model, embedding_lr=10, head_lr=8, gain_lr=2, weight_decay=0.1)

        def loss_on(sequences: torch.Tensor, model: plain.Decoder = model) -> torch.Tensor:
            return F.cross_entropy(model(sequences[:, :-1]).transpose(1, 2), sequences[:, 1:])

        def loss_of(step: int, rng: np.random.Generator = rng, loss_on=loss_on) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return loss_on(plain.windows(tokens.train, run.context, run.batch, rng))

        plain.train(model, how, run.lr_per_step, loss_of)
        with torch.no_grad():
            losses.append(float(loss_on(validation)))
    assert max(ours) < plain.bigram_loss(tokens.train, validation.numpy(), 32) - 1
    plain.assert_alike(ours, losses)


def test_means_that_lie_apart_are_told() -> None:
    plain.assert_alike([1.0, 1.1, 0.9], [1.05, 1.15, 0.95])
    with pytest.raises(AssertionError, match="between seeds"):
        plain.assert_alike([1.0, 1.1, 0.9], [1.3, 1.4, 1.2])
