"""Every token from those before it: the language model of Kaplan 2020 and Hoffmann 2022."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling import flops
from sweeps.order import segment_offsets, validation_sequences
from sweeps.regimes.regime import Regime
from sweeps.runs import Run
from sweeps.tokens import Tokens
from sweeps.weights import decoder_weights

if TYPE_CHECKING:
    from torch import Tensor


def decoder_flops(run: Run) -> dict[str, float]:
    """Training FLOP per token of one decoder, by convention."""
    groups = flops.parameter_groups(
        width=run.width, depth=run.depth, head_dim=run.head_dim, mlp_ratio=run.mlp_ratio, vocab=run.vocab
    )
    return flops.flops_per_token(groups, width=run.width, depth=run.depth, context=run.context)


def starts(run: Run, tokens: Tokens, step: int, count: int) -> NDArray[np.int64]:
    """Where sequences start, (count, batch)."""
    return segment_offsets(tokens, run, step, count)


def validation(run: Run, tokens: Tokens) -> NDArray[np.int64]:
    """The fixed validation sequences, (count, context + 1)."""
    return validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64)


def gather(text: Tensor, starts: Tensor, run: Run) -> Tensor:
    """Sequences (R, B, context + 1) from where each starts, (R, B)."""
    import torch

    return text[starts.unsqueeze(-1) + torch.arange(run.context + 1, device=starts.device)].long()


def losses(weights: Mapping[str, Tensor], sequences: Tensor, run: Run) -> Tensor:
    """Cross-entropy in nats of every predicted token, (R, B, context), for `sequences` (R, B, context + 1)."""
    from sweeps import model

    return model.losses(weights, sequences, run)


def states(weights: Mapping[str, Tensor], sequences: Tensor, run: Run) -> Tensor:
    """What the head reads at every predicted token, (R, B*context, width)."""
    from sweeps import model

    return model.hidden(weights, sequences[:, :, :-1], run)


REGIME = Regime(
    name="autoregressive",
    about="every token from those before it",
    weights=decoder_weights,
    flops=decoder_flops,
    draws=starts,
    validation=validation,
    gather=gather,
    losses=losses,
    states=states,
    likelihoods=True,
)
