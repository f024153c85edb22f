"""Masked diffusion: hidden tokens from all that are visible, on either side.

The loss of LLaDA (Nie 2025, arXiv:2502.09992; as trained under repeated data by Ni 2025, arXiv:2511.03276):
for every sequence t ~ U(eps, 1), each token is hidden with probability t, and the cross-entropies of the hidden ones
are weighted by 1 / t. Attention looks both ways, and the model is not told t.

Validation is the same bound on the loss in nats per token, drawn with less noise: of the n tokens of a
window l are hidden, l even over 1 .. n, and their mean cross-entropy is the bound's term. Which are hidden is fixed by
the number of the sequence, so that curves compare. It is a bound: the loss of the model lies below.

The first token of every window is never hidden. An autoregressive model is given it as well, so that both objectives
predict the same tokens from the same start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sweeps.order import fixed_words, segment_offsets, sequence_words, validation_sequences
from sweeps.regimes.autoregressive import decoder_flops
from sweeps.regimes.regime import Regime, Settings, own
from sweeps.runs import Run
from sweeps.tokens import Tokens
from sweeps.weights import Weight, decoder_weights

if TYPE_CHECKING:
    from torch import Tensor

#: Probabilities of being hidden are whole numbers of this part, for inputs are whole numbers.
UNIT = 2**40
#: Spreads the validation's numbers of hidden tokens evenly over its sequences, however many there are.
GOLDEN_RATIO = 0.6180339887498949


class DiffusionSettings(Settings):
    """Settings that grids of diffusion models may have."""

    least_hidden: float = Field(1e-3, gt=0, lt=1, description="least probability eps of a token to be hidden")
    noise_draws: int = Field(4, gt=0, le=64, description="choices of hidden tokens that validation averages over")


def weights(run: Run) -> tuple[Weight, ...]:
    """A decoder's weights, the embedding with one symbol more: the one that stands for what is hidden."""
    return decoder_weights(run, symbols=run.vocab + 1)


def draws(run: Run, tokens: Tokens, step: int, count: int) -> NDArray[np.int64]:
    """Where sequences start, and the seed of what is hidden: (count, batch, 2)."""
    starts = segment_offsets(tokens, run, step, count)
    return np.stack([starts, sequence_words(run, step, count)], axis=-1)


def validation(run: Run, tokens: Tokens) -> NDArray[np.int64]:
    """The fixed validation inputs (count, noise_draws, context + 1), as `gather` makes them."""
    sequences = validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64)[:, :-1]
    count, repeats, free = len(sequences), own(DiffusionSettings, run).noise_draws, run.context - 1
    even = (np.arange(count) + 0.5) * GOLDEN_RATIO % 1
    hidden = 1 + np.floor(free * (np.arange(repeats) + even[:, None]) / repeats).astype(np.int64)  # l, (count, repeats)
    order = fixed_words(count * repeats * free).reshape(count, repeats, free).argsort(axis=-1, kind="stable")
    out = np.repeat(np.pad(sequences, ((0, 0), (0, 1)))[:, None], repeats, axis=1)
    out[:, :, 1:-1] += run.vocab * (order.argsort(axis=-1) < hidden[:, :, None])
    out[:, :, -1] = np.round(UNIT * hidden / free)
    return out


def gather(text: Tensor, draws: Tensor, run: Run) -> Tensor:
    """Inputs (R, B, 1, context + 1) for draws (R, B, 2): a window's tokens, hidden ones raised by the vocabulary, and
    the probability of being hidden in units of 1 / UNIT."""
    import torch

    from sweeps.noise import uniform

    least = own(DiffusionSettings, run).least_hidden
    tokens = text[draws[..., :1] + torch.arange(run.context, device=text.device)].long()
    chance = uniform(draws[..., 1], run.context)  # one number for t, and one for each token but the first
    t = ((least + (1 - least) * chance[..., :1]) * UNIT).round().long()
    hidden = torch.nn.functional.pad(chance[..., 1:] * UNIT < t, (1, 0))
    return torch.cat([tokens + run.vocab * hidden, t], dim=-1).unsqueeze(2)


def losses(weights: Mapping[str, Tensor], inputs: Tensor, run: Run) -> Tensor:
    """Weighted cross-entropies in nats (R, B, noise * (context - 1)) of inputs (R, B, noise, context + 1); 0 for tokens
    that are visible. Their mean is the bound."""
    from sweeps.loss import linear_cross_entropy

    tokens, hidden = _read(inputs, run)
    targets = tokens - run.vocab * hidden
    nll = linear_cross_entropy(states(weights, inputs, run), weights["head"], targets.flatten(1)).view(tokens.shape)
    weight = hidden * (UNIT / inputs[..., -1:].flatten(1, 2).to(nll.dtype))
    return (nll * weight)[..., 1:].reshape(*inputs.shape[:2], -1)


def states(weights: Mapping[str, Tensor], inputs: Tensor, run: Run) -> Tensor:
    """What the head reads at every token, (R, B * noise * context, width)."""
    import torch

    from sweeps import model

    tokens, hidden = _read(inputs, run)
    return model.hidden(weights, torch.where(hidden, run.vocab, tokens), run, causal=False)


def _read(inputs: Tensor, run: Run) -> tuple[Tensor, Tensor]:
    """Coded tokens and which of them are hidden, (R, B * noise, context) each."""
    tokens = inputs[..., :-1].flatten(1, 2)
    return tokens, tokens >= run.vocab


REGIME = Regime(
    name="diffusion",
    about="hidden tokens from all that are visible (masked diffusion)",
    settings=DiffusionSettings,
    weights=weights,
    flops=decoder_flops,
    draws=draws,
    validation=validation,
    passes=lambda run: own(DiffusionSettings, run).noise_draws,
    gather=gather,
    losses=losses,
    states=states,
)
