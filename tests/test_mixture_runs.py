"""Mixtures learn: as a plain model fed the same mixture does, each source the better the larger its share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scaling.experts import expert_mixture_loss
from sweeps import records, train
from sweeps.order import validation_sequences
from sweeps.tokens import Part, Tokens
from tests import plain
from tests.stacks import final, forked, opened
from tests.test_plain import SEEDS, a_small_run

SHARES = {"near": 0.7, "far": 0.3}
SIZE, SYMBOLS = 54_000, 32


def two_texts() -> Tokens:
    """Letters that are the one two places before plus 1 to 3, and letters that are it less 1 to 3."""
    rising = plain.second_order_text()
    falling = (SYMBOLS - 1 - rising).astype(np.uint8)
    parts = (Part("near", 0, SIZE, 0, 6000), Part("far", SIZE, SIZE, 6000, 6000))
    return Tokens(
        np.concatenate([rising[:SIZE], falling[:SIZE]]), np.concatenate([rising[SIZE:], falling[SIZE:]]), (), "test",
        vocab=SYMBOLS, parts=parts,
    )  # fmt: skip


@pytest.mark.slow
def test_a_mixture_is_learnt_as_by_a_plain_model_and_its_experts_know_how_well(tmp_path: Path) -> None:
    tokens, mixture = two_texts(), tuple(SHARES.items())
    runs = [a_small_run(seed=seed, mixture=mixture, steps=200) for seed in SEEDS]
    longer = [
        a_small_run(seed=seed, mixture=mixture, steps=220) for seed in SEEDS
    ]  # forks: the runs leave their trunks
    experts = [a_small_run(mixture=((name, 1.0),), token_losses=True, steps=200) for name in SHARES]
    stack = forked(*runs, *longer, *experts)
    assert len(stack.edges) > len(stack.runs)
    assert train.train_stack(stack, tokens, opened(tmp_path, stack), device=torch.device("cpu"))
    ours = [final(tmp_path, run)["loss"] for run in runs]

    run = runs[0]
    validation = torch.from_numpy(validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64))
    texts = [tokens.train[part.start : part.start + part.tokens] for part in tokens.parts]
    losses = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        sizes = dict(width=run.width, depth=run.depth, head_dim=run.head_dim, mlp_ratio=run.mlp_ratio, vocab=run.vocab)
        model = plain.Decoder(**sizes)  # type: ignore[arg-type]

        def loss_on(sequences: torch.Tensor, model: plain.Decoder = model) -> torch.Tensor:
            return F.cross_entropy(model(sequences[:, :-1]).transpose(1, 2), sequences[:, 1:])

        def loss_of(step: int, rng: np.random.Generator = rng, loss_on=loss_on) -> torch.Tensor:  # type: ignore[no-untyped-def]
            chosen = rng.choice(2, run.batch, p=list(SHARES.values()))
            rows = [plain.windows(texts[source], run.context, 1, rng) for source in chosen]
            return loss_on(torch.cat(rows))

        how = plain.optimizer(model, embedding_lr=10, head_lr=8, gain_lr=2, weight_decay=0.1)
        plain.train(model, how, run.lr_per_step, loss_of)
        with torch.no_grad():
            losses.append(float(loss_on(validation)))
    plain.assert_alike(ours, losses)
    half = run.val_sequences // 2
    for name, text, part in (("near", texts[0], validation[:half]), ("far", texts[1], validation[half:])):
        bigram = plain.bigram_loss(np.concatenate(texts), part.numpy(), SYMBOLS)
        assert max(final(tmp_path, run)["loss_by_source"][name] for run in runs) < bigram - 0.5, len(text)

    kept = [records.read_token_losses(tmp_path, expert.key) for expert in experts]
    p = np.exp(-np.stack([losses.reshape(-1) for losses in kept if losses is not None], axis=-1).astype(float))
    mixed = expert_mixture_loss(p, list(SHARES.values()))
    alone = min(expert_mixture_loss(p, corner) for corner in np.eye(2))
    assert mixed < alone - 0.5 and abs(mixed - np.mean(ours)) < abs(alone - np.mean(ours))
