"""Masked diffusion: what is hidden, what the bound is worth, and that a stack learns as a plain model does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sweeps.engine import mean_losses
from sweeps.noise import uniform
from sweeps.order import fixed_words, segment_offsets, sequence_words, validation_sequences
from sweeps.regimes.diffusion import REGIME, UNIT
from sweeps.runs import Run
from sweeps.starting import initial
from sweeps.train import on_device
from tests import plain
from tests.stacks import a_run, a_text as some_text
from tests.test_plain import SEEDS, a_small_run, a_text, trained

CPU = torch.device("cpu")


def a_diffusion(**changes: object) -> Run:
    return a_run(**{"objective": "diffusion", "vocab": 256, **changes})


def coded(visible: Tensor, hidden: Tensor, run: Run, t: float) -> Tensor:
    """Inputs (n, 1, context + 1) that hide some tokens (n, context) of one window, each with the same weight 1 / t."""
    inputs = visible + run.vocab * hidden
    return torch.cat([inputs, torch.full((len(hidden), 1), round(UNIT * t))], dim=1).unsqueeze(1)


def test_numbers_on_the_device_are_splitmix_s() -> None:
    def reference(seed: int, count: int) -> list[float]:
        out, state, mask = [], seed % 2**64, 2**64 - 1
        for _ in range(count):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            out.append(((z ^ (z >> 31)) >> 11) * 2.0**-53)
        return out

    seeds = torch.tensor([[0, 1], [-1, 2**62]])
    expected = [[reference(int(s), 5) for s in row] for row in seeds]
    assert torch.equal(uniform(seeds, 5), torch.tensor(expected, dtype=torch.float64))
    assert reference(0, 1)[0] == (0xE220A8397B1DCDAF >> 11) * 2.0**-53  # the published stream of seed 0
    many = uniform(torch.arange(2000), 50)
    assert abs(float(many.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / many.numel())
    assert abs(float((many[:, :-1] * many[:, 1:]).mean()) - 0.25) < 0.004  # neighbours know nothing of each other


def test_validation_hides_fixed_tokens_evenly_often_and_never_the_first() -> None:
    run, text = a_diffusion(val_sequences=32, context=9, options=(("noise_draws", 4),)), some_text()
    inputs = REGIME.validation(run, text)
    tokens, hidden = inputs[..., :-1] % run.vocab, inputs[..., :-1] >= run.vocab
    assert inputs.shape == (32, 4, 10) and not hidden[..., 0].any()
    np.testing.assert_array_equal(tokens, np.repeat(validation_sequences(text, 9, 32)[:, None, :-1], 4, axis=1))
    np.testing.assert_array_equal(hidden.sum(-1), np.round(inputs[..., -1] / UNIT * 8))
    counts = np.bincount(hidden.sum(-1).ravel(), minlength=9)
    assert counts[0] == 0 and counts[1:].min() >= 14 and counts[1:].max() <= 18  # 16 each would be even
    assert np.ptp(hidden.sum((0, 1))[1:]) < 40  # and every place about as often: 72 of 128 times
    # 16 draws of each number of hidden tokens would, if independent, make 82 different choices, give or take 3
    assert len({row.tobytes() for row in hidden.reshape(-1, 9)}) > 70


def test_training_hides_tokens_with_the_probability_it_weighs_them_by() -> None:
    run, text = a_diffusion(batch=64, context=16), some_text()
    draws = REGIME.draws(run, text, 0, 100)
    np.testing.assert_array_equal(draws[..., 0], segment_offsets(text, run, 0, 100))
    np.testing.assert_array_equal(draws[..., 1], sequence_words(run, 0, 100))
    inputs = REGIME.gather(on_device(text, run, CPU).train, torch.from_numpy(draws), run)
    t = inputs[..., 0, -1] / UNIT
    hidden = inputs[..., 0, :-1] >= run.vocab
    assert not hidden[..., 0].any() and 1e-3 <= float(t.min()) < float(t.max()) <= 1
    assert abs(float(t.mean()) - 0.5005) < 4 * math.sqrt(1 / 12 / t.numel())
    for low in np.arange(0, 1, 0.1):  # in every tenth of t the share of hidden tokens is t's mean
        chosen = (t >= low) & (t < low + 0.1)
        share, expected = hidden[chosen][:, 1:].double().mean(), t[chosen].mean()
        assert abs(float(share - expected)) < 4 * math.sqrt(0.25 / (15 * int(chosen.sum())))
    plain_text = torch.from_numpy(text.train.astype(np.int64))
    starts = torch.from_numpy(draws[..., 0])
    assert torch.equal(inputs[..., 0, :-1] % run.vocab, plain_text[starts[..., None] + torch.arange(16)])


def random_weights(run: Run) -> Tensor:
    row = initial(run)
    generator = torch.Generator().manual_seed(5)
    return (row + 0.3 * torch.randn(row.shape, generator=generator, dtype=row.dtype))[None]


def subsets(free: int) -> Tensor:
    """Every choice of hidden tokens but none, (2^free - 1, 1 + free): the first token stays."""
    rows = [(0, *row) for row in itertools.product((0, 1), repeat=free) if any(row)]
    return torch.tensor(rows, dtype=torch.bool)


def test_training_and_validation_estimate_one_bound() -> None:
    """Of a window of 5 tokens all 15 choices can be written down, with the chance that either draw gives them."""
    run, free = a_diffusion(context=5, batch=4, vocab=6), 4
    flat, tokens = random_weights(run), torch.tensor([1, 4, 2, 2, 5])
    hidden, sums = subsets(free), []
    for row in hidden:  # sum over hidden tokens of the cross-entropy, from inputs of weight 1
        values = REGIME.losses(_views(flat, run), coded(tokens, row[None], run, 1.0)[None], run)
        assert values.shape == (1, 1, free)
        assert (values[0, 0] > 0).equal(row[1:])
        sums.append(float(values.sum()))
    sizes = hidden.sum(1).tolist()
    # t ~ U(0, 1): the integral of t^l (1 - t)^(n - l) / t is the Beta function B(l, n - l + 1)
    beta = [math.gamma(s) * math.gamma(free - s + 1) / math.gamma(free + 1) for s in sizes]
    by_chance = sum(b * s for b, s in zip(beta, sums, strict=True)) / free
    by_count = sum(s / (size * math.comb(free, size)) for size, s in zip(sizes, sums, strict=True)) / free
    assert by_chance == pytest.approx(by_count, rel=1e-12)
    draws = torch.stack(
        [torch.zeros(40_000, dtype=torch.long), torch.from_numpy(fixed_words(40_000).view(np.int64))], 1
    )
    text = tokens.to(torch.uint8)
    inputs = REGIME.gather(text, draws[None], run)
    each = REGIME.losses(_views(flat, run), inputs, run)[0].mean(dim=1)
    # by the draws of training, eps = 1e-3 leaves out a thousandth; 4 standard errors of the mean
    assert abs(float(each.mean()) - by_count) < 4 * float(each.std()) / 200 + 2e-3 * by_count


def _views(flat: Tensor, run: Run) -> dict[str, Tensor]:
    from sweeps.model import views

    return views(flat, REGIME.weights(run), run)


def test_what_is_hidden_does_not_show() -> None:
    run = a_diffusion(context=6, vocab=8)
    hidden = torch.tensor([[False, True, False, True, False, False]])
    one, other = torch.tensor([3, 1, 2, 7, 0, 5]), torch.tensor([3, 4, 2, 0, 0, 5])
    states = [
        REGIME.states(_views(random_weights(run), run), coded(x, hidden, run, 0.5)[None], run) for x in (one, other)
    ]
    assert torch.equal(*states)
    seen = torch.tensor([3, 1, 2, 7, 0, 4])  # the last token is visible: what comes before it looks ahead
    ahead = REGIME.states(_views(random_weights(run), run), coded(seen, hidden, run, 0.5)[None], run)
    assert not torch.equal(ahead[0, 0], states[0][0, 0])


@pytest.mark.slow
def test_diffusion_learns_as_a_plain_model_does(tmp_path: Path) -> None:
    tokens, fields = a_text(), dict(objective="diffusion", steps=600, cooldown=180)
    run = a_small_run(**fields)
    runs = [a_small_run(seed=seed, **fields) for seed in SEEDS]
    ours = trained([*runs, *(a_small_run(seed=seed, **fields | {"steps": 620}) for seed in SEEDS)], tokens, tmp_path)
    inputs = torch.from_numpy(REGIME.validation(run, tokens)).flatten(0, 1)
    losses = plain_losses(run, tokens.train, inputs)
    sequences = validation_sequences(tokens, run.context, run.val_sequences)
    assert max(ours) < plain.bigram_loss(tokens.train, sequences, 32) - 0.5
    plain.assert_alike(ours[: len(SEEDS)], losses)


def plain_losses(run: Run, text: np.ndarray, inputs: Tensor) -> Sequence[float]:
    """Bounds on the windows of `inputs` (n, context + 1), as validation codes them, of plain models: one a seed."""
    vocab, losses = run.vocab, []
    hidden, tokens = inputs[:, :-1] >= vocab, inputs[:, :-1] % vocab
    share = hidden.sum(1) / (run.context - 1)
    for seed in SEEDS:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        sizes = dict(width=run.width, depth=run.depth, head_dim=run.head_dim, mlp_ratio=run.mlp_ratio)
        model = plain.Decoder(**sizes, vocab=vocab, symbols=vocab + 1, causal=False)  # type: ignore[arg-type]
        how = plain.optimizer(model, embedding_lr=10, head_lr=8, gain_lr=2, weight_decay=0.1)

        def bound(x: Tensor, gone: Tensor, t: Tensor, model: plain.Decoder = model) -> Tensor:
            nll = F.cross_entropy(model(x.masked_fill(gone, vocab)).transpose(1, 2), x, reduction="none")
            return ((nll * gone).sum(1) / t).mean() / (run.context - 1)

        def loss_of(step: int, rng: np.random.Generator = rng, bound=bound) -> Tensor:  # type: ignore[no-untyped-def]
            x = plain.windows(text, run.context, run.batch, rng)[:, :-1]
            t = 1e-3 + (1 - 1e-3) * torch.rand(len(x))
            gone = torch.rand(x.shape) < t[:, None]
            gone[:, 0] = False
            return bound(x, gone, t)

        plain.train(model, how, run.lr_per_step, loss_of)
        with torch.no_grad():
            losses.append(float(bound(tokens, hidden, share)))
    return losses


def test_the_loss_is_differentiated_through_what_is_hidden_alone() -> None:
    run = a_diffusion(context=6, vocab=8)
    inputs = coded(
        torch.tensor([3, 1, 2, 7, 0, 5]), torch.tensor([[False, False, True, False, False, False]]), run, 0.5
    )
    flat = random_weights(run).requires_grad_()
    mean_losses(run)(flat, inputs[None]).sum().backward()
    head = next(w for w in REGIME.weights(run) if w.name == "head")
    assert flat.grad is not None
    gradient = flat.grad[0, head.start :].view(head.shape)
    # one hidden token: the head's gradient is of rank one
    assert torch.linalg.matrix_rank(gradient) == 1
