"""The spans that are missing from a text, by an encoder-decoder: span corruption (T5, Raffel 2020, arXiv:1910.10683,
sections 3.1.4 and 3.3.4).

Of a window of `context` tokens a fixed number is taken out, in a fixed number of spans; which, is drawn as in T5: all
ways to part the window into kept and missing spans in turn, the first one kept, are equally likely. Each span leaves
a sentinel, a symbol of its own. The encoder reads what is left, both ways; the decoder writes sentinel and span in turn
and one sentinel more, which says that nothing follows. The first sentinel is always the same, so it is given and not
predicted. Lengths are the same for every window: no step is compiled twice.

    window    Who looks both ways sees more.
    encoder   Who <0> both ways <1> more.
    decoder   <0> looks <1> sees <2>

The loss is the mean over all symbols that the decoder writes, sentinels included, in nats. Sentinels are symbols beyond
the vocabulary, of the one embedding that both stacks share (T5 shares it too) and of the head, so that no vocabulary is
too small for them.

Blocks of the encoder are those of `sweeps/model.py` without the mask. Blocks of the decoder have a third branch between
the other two: attention to the encoder's output, its queries and keys normed and without positions. Rules of depth take
the depth of the stack that a block is in, both against `base_depth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scaling import flops
from scaling.columns import Column
from scaling.errors import ScalingError
from sweeps import parametrization
from sweeps.order import fixed_words, segment_offsets, sequence_words, validation_sequences
from sweeps.regimes.regime import Regime, Settings, own
from sweeps.runs import Run
from sweeps.tokens import Tokens
from sweeps.weights import Wanted, Weight, block_gains, block_matrices, placed

if TYPE_CHECKING:
    from torch import Tensor

#: Ends the names of the groups of the encoder's weights.
ENCODER = "_encoder"
#: Matrices that the decoder multiplies the encoder's output by: keys and values, side by side.
MEMORY = "attention_memory"


class SpanSettings(Settings):
    """Settings that grids of encoder-decoders may have."""

    encoder_depth: int = Field(2, description="blocks of the encoder; `depth` is that of the decoder")
    noise_density: float = Field(0.15, gt=0, lt=1, description="part of a window's tokens that is missing")
    mean_span: float = Field(3.0, ge=1, description="tokens of a missing span, on average")


#: What a run has where its grid says nothing.
DEFAULTS = {name: info.default for name, info in SpanSettings.model_fields.items()}


def sizes(run: Run) -> tuple[int, int, int]:
    """Blocks of the encoder, tokens missing from a window, and the spans they lie in."""
    found = DEFAULTS | dict(run.options)
    missing = round(run.context * found["noise_density"])
    return found["encoder_depth"], missing, round(missing / found["mean_span"])


def lengths(run: Run) -> tuple[int, int]:
    """Symbols of a window that the encoder reads, and that the decoder writes."""
    _, missing, spans = sizes(run)
    return run.context - missing + spans, missing + spans


def check(run: Run) -> None:
    """ScalingError where a run has no encoder, or its windows no room for the spans."""
    (depth, missing, spans), asked = sizes(run), own(SpanSettings, run)
    if depth < 1:
        raise ScalingError(
            f"encoder_depth = {depth} must be at least 1: the decoder would look at embeddings that know nothing of "
            f'each other. A decoder alone is objective = "autoregressive"'
        )
    if missing < asked.mean_span:
        raise ScalingError(
            f"context = {run.context} is too short for a span: noise_density = {asked.noise_density:g} takes {missing} "
            f"tokens out of it, and mean_span = {asked.mean_span:g}. Lengthen it, raise noise_density, or lower "
            f"mean_span"
        )
    if spans > run.context - missing:
        raise ScalingError(
            f"noise_density = {asked.noise_density:g} leaves {run.context - missing} tokens of context = "
            f"{run.context}, too few to part {spans} spans: lower it, or raise mean_span"
        )


def weights(run: Run) -> tuple[Weight, ...]:
    """Every weight in the order of the flat row: embedding and gains first, the encoder's before the decoder's."""
    w, (depth, _, spans) = run.width, sizes(run)
    symbols = run.vocab + spans + 1
    wanted: list[Wanted] = [("embedding", "embedding", (symbols, w))]
    for i in range(depth):
        wanted += _of_encoder(block_gains(run, f"e{i}"))
    wanted += [("norm_memory", "norm_head" + ENCODER, (w,))]
    for i in range(run.depth):
        wanted += [*block_gains(run, str(i)), (f"norm_cross.{i}", "norm", (w,))]
        wanted += [(f"norm_qk_cross.{i}", "norm", (2, run.head_dim))]
    wanted += [("norm_head", "norm_head", (w,))]
    for i in range(depth):
        wanted += _of_encoder(block_matrices(run, f"e{i}"))
    for i in range(run.depth):
        wanted += [*block_matrices(run, str(i)), (f"cross_q.{i}", "attention_query", (w, w))]
        wanted += [(f"cross_kv.{i}", MEMORY, (w, 2 * w)), (f"cross_out.{i}", "attention_out", (w, w))]
    return placed([*wanted, ("head", "head", (w, symbols))])


def _of_encoder(wanted: Iterator[Wanted]) -> Iterator[Wanted]:
    return ((name, group + ENCODER, shape) for name, group, shape in wanted)


def groups(run: Run) -> dict[str, parametrization.Group]:
    """The rule of each group of weights: those of the encoder by its depth, the rest by the decoder's."""
    own = parametrization.groups(run)
    encoder = parametrization.groups(run, sizes(run)[0])
    square = own["attention_out"]
    return (
        own
        | {name + ENCODER: rule for name, rule in encoder.items()}
        | {"attention_query": square, MEMORY: replace(square, matrices=2)}
    )


def parameters(run: Run) -> dict[str, int]:
    """Parameters of either stack, without embedding and head: N_e of the encoder, N_d of the decoder."""
    found = {"N_e": 0, "N_d": 0}
    for weight in weights(run):
        if weight.kind not in ("embedding", "head"):
            found["N_e" if weight.group.endswith(ENCODER) else "N_d"] += weight.size
    return found


def flops_per_token(run: Run) -> dict[str, float]:
    """Training FLOP per token of the windows, by convention.

    Encoder and decoder see unequal parts of a window, so "6N_with_attention" takes every parameter six times for each
    symbol that is multiplied by it: the encoder's, and keys and values of the decoder's attention to it, for what the
    encoder reads, all others for what the decoder writes. The products of attention are counted likewise, masks not
    discounted. The other conventions are what their names say, as if every parameter met every token.
    """
    counted: dict[str, int] = {}
    (read, written), products = lengths(run), 0
    for weight in weights(run):
        counted[weight.kind] = counted.get(weight.kind, 0) + weight.size
        if weight.kind != "embedding":
            meets = read if weight.group.endswith(ENCODER) or weight.group == MEMORY else written
            products += 6 * meets * weight.size
    pairs = sizes(run)[0] * read**2 + run.depth * written * (written + read)
    by_name = flops.flops_per_token(counted, width=run.width, depth=0, context=run.context)
    return by_name | {"6N_with_attention": (products + 12 * run.width * pairs) / run.context}


def draws(run: Run, tokens: Tokens, step: int, count: int) -> NDArray[np.int64]:
    """Where windows start, and the seed of what is missing: (count, batch, 2)."""
    return np.stack([segment_offsets(tokens, run, step, count), sequence_words(run, step, count)], axis=-1)


def validation(run: Run, tokens: Tokens) -> NDArray[np.int64]:
    """The fixed validation windows with the spans that are always missing from them, as `gather` makes them."""
    import torch

    windows = validation_sequences(tokens, run.context, run.val_sequences)[:, :-1].astype(np.int64)
    starts = np.arange(len(windows)) * run.context
    fixed = np.stack([starts, fixed_words(len(windows)).view(np.int64)], axis=-1)
    return gather(torch.from_numpy(windows.reshape(-1)), torch.from_numpy(fixed), run).numpy()


def gather(text: Tensor, draws: Tensor, run: Run) -> Tensor:
    """What encoder and decoder read and write, one after the other, (R, B, read + written + 1), for draws (R, B, 2)."""
    import torch
    import torch.nn.functional as F

    from sweeps.noise import uniform

    _, missing, spans = sizes(run)
    chance = uniform(draws[..., 1], run.context - 2)
    kept, gone = (
        _ends(part, spans) for part in chance.split([run.context - missing - 1, missing - 1], dim=-1)
    )  # tokens of either kind up to the end of each of its spans, (R, B, spans)
    number = torch.arange(spans + 1, device=text.device)
    before_kept, before_gone = F.pad(gone, (1, 0)), F.pad(kept, (1, 1))
    read, written = lengths(run)
    source = _laid(kept + number[:-1], before_kept, read)
    target = _laid(before_kept + number, before_gone, written + 1)
    places = torch.cat([source, target], dim=-1)
    tokens = text[draws[..., :1] + places.clamp(min=0)].long()
    return torch.where(places < 0, run.vocab - 1 - places, tokens)


def _ends(chance: Tensor, spans: int) -> Tensor:
    """Ends of `spans` spans that part n tokens, every way equally likely, for n - 1 random numbers: (..., spans)."""
    import torch.nn.functional as F

    cuts = chance.argsort(dim=-1)[..., : spans - 1].sort(dim=-1).values + 1
    return F.pad(cuts, (0, 1), value=chance.shape[-1] + 1)


def _laid(at: Tensor, other: Tensor, length: int) -> Tensor:
    """Place in the window of each of `length` symbols, or -1 - i for sentinel i: (..., length).

    at     where the sentinels stand, rising, (..., m)
    other  tokens of the other kind before the first of them, the second, ..., (..., m + 1)
    """
    import torch

    here = torch.arange(length, device=at.device).expand(*at.shape[:-1], length).contiguous()
    begun = torch.searchsorted(at.contiguous(), here, right=True)
    latest = at.gather(-1, (begun - 1).clamp(min=0))
    return torch.where(latest == here, -begun, here - begun + other.gather(-1, begun))


def losses(weights: Mapping[str, Tensor], inputs: Tensor, run: Run) -> Tensor:
    """Cross-entropy in nats of every symbol written, (R, B, written), for `inputs` of `gather`."""
    from sweeps.loss import linear_cross_entropy

    written = lengths(run)[1]
    nll = linear_cross_entropy(states(weights, inputs, run), weights["head"], inputs[..., -written:].flatten(1))
    return nll.view(*inputs.shape[:2], written)


def states(weights: Mapping[str, Tensor], inputs: Tensor, run: Run) -> Tensor:
    """What the head reads before every symbol written, (R, B * written, width)."""
    from sweeps.model import add_branch, attention, embed, mlp, normed

    memory, batch = encoded(weights, inputs, run), inputs.shape[1]
    x = embed(weights, inputs[..., lengths(run)[0] : -1], run)
    for i in range(run.depth):
        x = add_branch(x, attention(weights, i, x, batch, run), run)
        x = add_branch(x, cross_attention(weights, i, x, memory, batch, run), run)
        x = add_branch(x, mlp(weights, i, x, run), run)
    return normed(x, weights["norm_head"] * parametrization.output_multiplier(run))


def encoded(weights: Mapping[str, Tensor], inputs: Tensor, run: Run) -> Tensor:
    """What the encoder says of every symbol it reads, (R, B * read, width)."""
    from sweeps.model import block, embed, normed

    depth, batch = sizes(run)[0], inputs.shape[1]
    x = embed(weights, inputs[..., : lengths(run)[0]], run)
    for i in range(depth):
        x = block(weights, f"e{i}", x, batch, run, causal=False, depth=depth)
    return normed(x, weights["norm_memory"])


def cross_attention(weights: Mapping[str, Tensor], i: int, x: Tensor, memory: Tensor, batch: int, run: Run) -> Tensor:
    """What attention of decoder block `i` to the encoder's output `memory` (R, B * read, width) has to add to the
    stream x (R, B * written, width), B = `batch`, not yet scaled."""
    import torch.nn.functional as F

    from sweeps.model import normed, product

    heads = (x.shape[0], batch, -1, run.width // run.head_dim, run.head_dim)
    gain = weights[f"norm_qk_cross.{i}"].view(-1, 1, 1, 2, 1, run.head_dim)
    q = product(normed(x, weights[f"norm_cross.{i}"]), weights[f"cross_q.{i}"], run).view(heads)
    k, v = (part.reshape(heads) for part in product(memory, weights[f"cross_kv.{i}"], run).chunk(2, dim=-1))
    q, k = (normed(part, gain[:, :, :, j]).to(v.dtype) for j, part in enumerate((q, k)))
    q, k, v = (part.flatten(0, 1).transpose(1, 2) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v)
    return product(mixed.transpose(1, 2).reshape(x.shape), weights[f"cross_out.{i}"], run)


def row(run: Run) -> dict[str, Any]:
    """Sizes of the two stacks, and the lengths of what they read and write."""
    read, written = lengths(run)
    return {**parameters(run), "encoder_tokens": read, "target_tokens": written}


COLUMNS = {
    name: Column(name, unit, meaning)
    for name, unit, meaning in (
        ("N_e", "parameters", "parameters of the encoder, without embedding"),
        ("N_d", "parameters", "parameters of the decoder, attention to the encoder included, without the head"),
        ("encoder_tokens", "tokens", "symbols of a window that the encoder reads"),
        ("target_tokens", "tokens", "symbols of a window that the decoder writes, over which the loss is a mean"),
    )
}

REGIME = Regime(
    name="span_corruption",
    about="the spans missing from a text, by an encoder-decoder",
    settings=SpanSettings,
    check=check,
    weights=weights,
    flops=flops_per_token,
    draws=draws,
    validation=validation,
    columns=COLUMNS,
    row=row,
    groups=groups,
    gather=gather,
    losses=losses,
    states=states,
    whole_text=False,
)
