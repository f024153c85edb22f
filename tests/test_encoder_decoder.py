"""Encoder-decoders: what is taken out of a text, who sees what, which rules hold, and that they learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scaling.errors import ScalingError
from sweeps import muon
from sweeps.collecting import collect
from sweeps.counting import parameter_counts
from sweeps.grid import read_grid
from sweeps.model import views
from sweeps.order import validation_sequences
from sweeps.regimes.encoder_decoder import REGIME, encoded, flops_per_token, groups, lengths, parameters, sizes
from sweeps.runs import Run
from sweeps.starting import initial
from sweeps.train import on_device, train_stack
from tests import plain
from tests.stacks import a_run, a_text as some_text, alone, opened
from tests.test_plain import SEEDS, a_small_run, a_text, trained

CPU = torch.device("cpu")
TOKENS = some_text()


def spanned(**changes: object) -> Run:
    """Six of 24 tokens missing, in two spans."""
    own = {"noise_density": 0.25, "encoder_depth": 1} | {
        name: changes.pop(name) for name in ("encoder_depth", "noise_density", "mean_span") if name in changes
    }
    fields = {"objective": "span_corruption", "context": 24, "batch": 4, "options": tuple(sorted(own.items()))}
    return a_run(**(fields | changes))


def restored(inputs: NDArray[np.int64], run: Run) -> list[int]:
    """The window that was parted into what encoder and decoder see, or an error where they do not fit together."""
    read, written = lengths(run)
    source, target = inputs[:read].tolist(), inputs[read:].tolist()
    assert len(target) == written + 1 and target[0] == run.vocab and target[-1] == run.vocab + sizes(run)[2]
    spans: dict[int, list[int]] = {}
    for symbol in target:
        if symbol >= run.vocab:
            assert symbol == run.vocab + len(spans)  # sentinels in their order, each once
            spans[symbol] = []
        else:
            spans[list(spans)[-1]].append(symbol)
    assert all(spans[symbol] for symbol in list(spans)[:-1]) and not spans[target[-1]]
    window: list[int] = []
    for symbol in source:
        window += spans.pop(symbol) if symbol >= run.vocab else [symbol]
    assert list(spans) == [target[-1]]
    return window


@pytest.mark.parametrize("density, mean, context", [(0.15, 3.0, 64), (0.5, 4.0, 32), (0.8, 6.0, 30), (0.25, 6.0, 24)])
def test_what_the_encoder_reads_and_the_decoder_writes_are_the_window(
    density: float, mean: float, context: int
) -> None:
    run = spanned(noise_density=density, mean_span=mean, context=context, val_sequences=12)
    REGIME.check(run)
    text = torch.from_numpy(TOKENS.train.copy())
    draws = REGIME.draws(run, TOKENS, 3, 5)
    inputs = REGIME.gather(text, torch.from_numpy(draws), run).numpy()
    for start, row in zip(draws[..., 0].ravel(), inputs.reshape(-1, inputs.shape[-1]), strict=True):
        assert restored(row, run) == TOKENS.train[start : start + context].tolist()
    fixed = validation_sequences(TOKENS, context, run.val_sequences)
    for window, row in zip(fixed, REGIME.validation(run, TOKENS), strict=True):
        assert restored(row, run) == window[:-1].tolist()


def test_every_way_to_part_a_window_is_equally_likely() -> None:
    run = spanned(context=9, noise_density=4 / 9, mean_span=2.0)  # 4 of 9 tokens in 2 spans: 3 ways times 4
    words = torch.randint(-(2**62), 2**62, (6000,), generator=torch.Generator().manual_seed(0))
    text = torch.arange(9, dtype=torch.uint8)
    inputs = REGIME.gather(text, torch.stack([torch.zeros_like(words), words], dim=-1), run)
    found = Counter(tuple(row) for row in inputs[:, : lengths(run)[0]].tolist())
    assert len(found) == 12
    # chi squared of 11 degrees of freedom: above 31.3 once in a thousand draws, and the words are fixed
    assert sum((n - 500) ** 2 / 500 for n in found.values()) < 31.3


def test_the_encoder_looks_both_ways_and_the_decoder_back() -> None:
    run = spanned(depth=2, encoder_depth=1)
    flat = initial(run)[None] + 0.1 * torch.randn(1, len(initial(run)), dtype=torch.float64)
    read, written = lengths(run)
    inputs = torch.from_numpy(REGIME.validation(run, TOKENS)[:1])[None]

    def changed(place: int, function: Callable[..., Tensor] = REGIME.states) -> Tensor:
        other = inputs.clone()
        other[..., place] = (other[..., place] + 1) % run.vocab
        before, after = (function(views(flat, REGIME.weights(run), run), x, run)[0] for x in (inputs, other))
        return (before != after).any(dim=-1)

    for place in (0, read - 1):
        assert changed(place, encoded).all()  # the first and the last symbol read matter to what is said of all
        assert changed(place).all()  # and wherever something is written
    for i in range(written):
        assert not changed(read + i, encoded).any()
        assert changed(read + i).tolist() == [j >= i for j in range(written)]


def test_parameters_of_the_stacks_are_those_without_embedding_and_head() -> None:
    run = spanned(width=16, depth=3, encoder_depth=2)
    found = parameters(run)
    gains = 2 * run.head_dim
    assert found["N_e"] == 2 * (4 * 256 + 2 * 16 * 32 + 2 * 16 + gains) + 16
    assert found["N_d"] == 3 * (8 * 256 + 2 * 16 * 32 + 3 * 16 + 2 * gains) + 16
    assert sum(found.values()) == parameter_counts(run)["kaplan"]
    weights = {weight.name: weight for weight in REGIME.weights(run)}
    assert weights["embedding"].shape == (run.vocab + 3, 16) and weights["head"].shape == (16, run.vocab + 3)


def test_flop_count_each_matrix_for_the_symbols_it_is_multiplied_by() -> None:
    run = spanned(width=16, depth=1, encoder_depth=2, mlp_ratio=2.0)
    read, written = 20, 8
    w, gains = 16, 2 * run.head_dim
    encoder = 2 * (8 * w * w + 2 * w + gains) + w + 2 * w * w  # and keys and values of what it says
    decoder = 10 * w * w + 3 * w + 2 * gains + w + w * (run.vocab + 3)
    pairs = 2 * read * read + written * written + written * read
    expected = (6 * (read * encoder + written * decoder) + 12 * w * pairs) / 24
    assert flops_per_token(run)["6N_with_attention"] == expected


def test_rules_of_depth_take_the_depth_of_the_stack() -> None:
    fields = dict(depth=2, base_depth=2, encoder_depth=4)
    run, plainly = spanned(depth_rule="completep", **fields), spanned(**fields)
    assert groups(run)["mlp_in"] == groups(plainly)["mlp_in"]  # the decoder is as deep as the base
    assert groups(run)["mlp_in_encoder"].eps_factor == 0.5 * groups(plainly)["mlp_in_encoder"].eps_factor
    root = spanned(depth_rule="depth-mup", **fields)
    assert groups(root)["norm_encoder"].lr_factor == pytest.approx(groups(plainly)["norm"].lr_factor * 2**-0.5)
    assert groups(root)["norm_head_encoder"] == groups(plainly)["norm_head"]
    flat = initial(run)[None] + 0.1
    inputs = torch.from_numpy(REGIME.validation(run, TOKENS)[:2])[None]
    halved = {name: weight.clone() for name, weight in views(flat, REGIME.weights(run), run).items()}
    for name in halved:
        if name.startswith(("attention_out.e", "mlp_out.e")):
            halved[name] /= 2  # a branch of a stack twice as deep as the base counts half
    torch.testing.assert_close(
        REGIME.states(views(flat, REGIME.weights(run), run), inputs, run), REGIME.states(halved, inputs, plainly)
    )


def test_muon_moves_the_matrices_of_attention_to_the_encoder_keys_and_values_apart() -> None:
    run = spanned(width=32, base_width=32, optimizer="muon")
    found = {weight.name: weight for weight in REGIME.weights(run)}
    for name, count in (("cross_q.0", 1), ("cross_kv.0", 2), ("cross_out.0", 1), ("mlp_in.e0", 1)):
        weight = found[name]
        rows = torch.randn(1, weight.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        move = muon.moves(rows, [weight], run).view(weight.shape)
        for part in move.chunk(count, dim=1):
            values = torch.linalg.svdvals(part) / (muon.ADAMW_RMS * max(part.shape) ** 0.5)
            assert values.max() < 1.25 and values.median() > 0.65  # as in tests/test_muon.py


@pytest.mark.parametrize(
    "lines, said",
    [
        ("encoder_depth = 0", "encoder_depth = 0 must be at least 1: the decoder would look at embeddings"),
        ("context = 16", "context = 16 is too short for a span: noise_density = 0.15 takes 2 tokens out of it"),
        ("noise_density = 0.8\nmean_span = 2.0", "leaves 6 tokens of context = 32, too few to part 13 spans"),
        ("noise_density = 1.0", "noise_density = 1.0: must be less than 1"),
        ("mean_span = 0.5", "mean_span = 0.5: must be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_by_the_plan(tmp_path: Path, lines: str, said: str) -> None:
    text = (
        '# Is it refused?\nobjective = "span_corruption"\nwidth = 16\nhead_dim = 8\ndepth = 1\nlr = 0.01\nsteps = 8\n'
    )
    where = tmp_path / "grid.toml"
    where.write_text(text + ("" if "context" in lines else "context = 32\n") + lines)
    with pytest.raises(ScalingError) as caught:
        read_grid(where)
    assert said in str(caught.value)
    where.write_text(text + ("" if "context" in lines else "context = 32\n") + "vocab = 2\nencoder_depth = [1, 3]")
    if "context" not in lines:
        assert [sizes(run)[0] for run in read_grid(where).runs] == [1, 3]


def test_a_loss_over_part_of_a_text_gives_no_bits_per_byte(tmp_path: Path) -> None:
    run = spanned(steps=4, warmup=0)
    assert train_stack(alone(run), TOKENS, opened(tmp_path, alone(run)), device=CPU)
    runs, curves = collect(tmp_path)
    assert runs["loss"].notna().all() and runs["bits_per_byte"].isna().all()
    assert curves["val_bits_per_byte"].isna().all()
    assert runs[["N_e", "N_d", "encoder_tokens", "target_tokens"]].iloc[0].tolist() == [
        *parameters(run).values(), 20, 8
    ]  # fmt: skip


def corrupted(windows: NDArray[np.int64], missing: int, spans: int, vocab: int, rng: np.random.Generator) -> NDArray:
    """Windows (B, T) as source and target side by side, spans from marks that are shuffled."""

    def sizes_of(total: int) -> NDArray[np.int64]:
        marks = np.zeros(total - 1, int)
        marks[: spans - 1] = 1
        rng.shuffle(marks)
        return np.bincount(np.concatenate([[0], marks]).cumsum())

    out = []
    for window in windows.tolist():
        source, target, at = [], [], 0
        kept, gone = sizes_of(len(window) - missing), sizes_of(missing)
        for i in range(spans):
            source += [*window[at : at + kept[i]], vocab + i]
            target += [vocab + i, *window[at + kept[i] : at + kept[i] + gone[i]]]
            at += kept[i] + gone[i]
        out.append([*source, *target, vocab + spans])
    return np.array(out)


@pytest.mark.slow
def test_span_corruption_learns_as_a_plain_model_does(tmp_path: Path) -> None:
    tokens = a_text()
    options = (("encoder_depth", 1), ("mean_span", 4.0), ("noise_density", 0.5))
    own = dict(objective="span_corruption", options=options, base_depth=1)
    run = a_small_run(**own)
    longer = [a_small_run(seed=seed, steps=220, **own) for seed in SEEDS]  # forks: the runs leave their trunks
    ours = trained([*(a_small_run(seed=seed, **own) for seed in SEEDS), *longer], tokens, tmp_path)[: len(SEEDS)]
    (_, missing, spans), (read, _) = sizes(run), lengths(run)
    validation = on_device(tokens, run, CPU).validation
    losses = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        model = plain.EncoderDecoder(
            width=run.width, depth=run.depth, encoder_depth=1, head_dim=run.head_dim, mlp_ratio=run.mlp_ratio,
            vocab=run.vocab + spans + 1,
        )  # fmt: skip
        how = plain.optimizer(model, embedding_lr=10, head_lr=8, gain_lr=2, weight_decay=0.1)

        def loss_on(inputs: Tensor, model: plain.EncoderDecoder = model) -> Tensor:
            logits = model(inputs[:, :read], inputs[:, read:-1])
            return F.cross_entropy(logits.transpose(1, 2), inputs[:, read + 1 :])

        def loss_of(step: int, rng: np.random.Generator = rng, loss_on=loss_on) -> Tensor:  # type: ignore[no-untyped-def]
            windows = plain.windows(tokens.train, run.context, run.batch, rng)[:, :-1].numpy()
            return loss_on(torch.from_numpy(corrupted(windows, missing, spans, run.vocab, rng)))

        plain.train(model, how, run.lr_per_step, loss_of)
        with torch.no_grad():
            losses.append(float(loss_on(validation)))
    rng = np.random.default_rng(9)
    windows = plain.windows(tokens.train, run.context, 2000, rng)[:, :-1].numpy()
    written = corrupted(windows, missing, spans, run.vocab, rng)[:, read:]
    symbols = run.vocab + spans + 1
    bigram = plain.bigram_loss(written.ravel(), validation[:, read:].numpy(), symbols)
    assert max(ours) < bigram - 0.8
    plain.assert_alike(ours, losses)
