"""The stacked model: its counts, its independence of replicas, a plain reference, muP over widths."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sweeps import parametrization
from sweeps.counting import parameter_groups
from sweeps.engine import plain_parts, step
from sweeps.model import NORM_EPS, ROPE_BASE, block, embed, forward, losses
from sweeps.optim import State, empty_state, settings, update
from sweeps.runs import Run
from sweeps.starting import initial, leaves
from sweeps.weights import decoder_weights

CPU = torch.device("cpu")


def a_run(**changes: object) -> Run:
    fields = dict(width=32, depth=2, head_dim=8, vocab=50, context=24, batch=4, steps=10, lr=0.01, base_width=32)
    return Run(**{**fields, "dtype": "float64", **changes})


def noisy(run: Run, seed: int = 0) -> Tensor:
    """A flat row with every weight random, the head and the gains too: zeros would hide mistakes."""
    generator = torch.Generator().manual_seed(100 + seed)
    row = initial(run.model_copy(update={"seed": seed}))
    return row + 0.1 * torch.randn(row.shape, generator=generator, dtype=torch.float64).to(row.dtype)


def text(run: Run, replicas: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, run.vocab, (replicas, run.batch, run.context + 1), generator=generator)


@pytest.mark.parametrize("depth, head_dim, mlp_ratio, vocab", [(1, 16, 4.0, 256), (3, 8, 2.5, 50)])
def test_weights_count_what_the_convention_counts_group_by_group(
    depth: int, head_dim: int, mlp_ratio: float, vocab: int
) -> None:
    run = a_run(depth=depth, head_dim=head_dim, mlp_ratio=mlp_ratio, vocab=vocab)
    counted = dict.fromkeys(parameter_groups(run), 0)
    for weight in decoder_weights(run):
        counted[weight.group.split("_")[0]] += weight.size
    assert counted == parameter_groups(run)
    assert initial(run).shape == (sum(counted.values()),)


def test_initial_weights_depend_on_the_seed_and_nothing_else_of_a_replica() -> None:
    first = initial(a_run(seed=3))
    assert torch.equal(first, initial(a_run(seed=3, lr=0.5, steps=99, weight_decay=0.0, schedule="cosine")))
    assert not torch.equal(first, initial(a_run(seed=4)))
    assert torch.equal(initial(a_run(seed=3, dtype="float32")), first.float())


def test_initial_spreads_are_those_of_the_parametrization() -> None:
    run = a_run(width=128, base_width=32)
    weights = leaves(initial(run)[None], run)
    for weight in decoder_weights(run):
        rule = parametrization.groups(run)[weight.group]
        expected = 1.0 if weight.is_gain else rule.init_std
        rms = weights[weight.name].detach().square().mean().sqrt().item()
        assert rms == pytest.approx(expected, rel=5 / math.sqrt(weight.size)), weight.name  # five standard errors


def test_the_untrained_head_gives_every_token_the_same_chance() -> None:
    run = a_run()
    nll = losses(leaves(initial(run)[None], run), text(run), run).detach()
    torch.testing.assert_close(nll, torch.full_like(nll, math.log(run.vocab)))


def plain_logits(row: Tensor, tokens: Tensor, run: Run) -> Tensor:
    """The same model written for one replica and one sequence, head by head, with explicit loops and mask."""
    w = {
        weight.name: row[weight.start : weight.start + weight.size].view(weight.shape)
        for weight in decoder_weights(run)
    }

    def norm(x: Tensor, gain: Tensor) -> Tensor:
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + NORM_EPS) * gain

    def turn(x: Tensor) -> Tensor:
        half = run.head_dim // 2
        pairs = torch.complex(x[:, :half], x[:, half:])
        frequency = torch.tensor([ROPE_BASE ** (-i / half) for i in range(half)], dtype=torch.float64)
        angle = torch.arange(len(x), dtype=torch.float64)[:, None] * frequency
        pairs = pairs * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([pairs.real, pairs.imag], dim=-1)

    x = w["embedding"][tokens]
    hidden = torch.ones(len(tokens), len(tokens), dtype=torch.bool).triu(1)
    scale = {"none": 1.0, "depth-mup": (run.base_depth / run.depth) ** 0.5, "completep": run.base_depth / run.depth}
    scale = scale[run.depth_rule]
    for i in range(run.depth):
        q, k, v = (norm(x, w[f"norm_attention.{i}"]) @ w[f"attention_in.{i}"]).split(run.width, dim=-1)
        heads = []
        for start in range(0, run.width, run.head_dim):
            here = slice(start, start + run.head_dim)
            qh, kh = (turn(norm(t[:, here], w[f"norm_qk.{i}"][j])) for j, t in enumerate((q, k)))
            scores = (qh @ kh.T / math.sqrt(run.head_dim)).masked_fill(hidden, -math.inf)
            heads.append(scores.softmax(-1) @ v[:, here])
        x = x + torch.cat(heads, dim=-1) @ w[f"attention_out.{i}"] * scale
        x = x + (norm(x, w[f"norm_mlp.{i}"]) @ w[f"mlp_in.{i}"]).clamp(min=0).pow(2) @ w[f"mlp_out.{i}"] * scale
    return norm(x, w["norm_head"]) @ w["head"] * run.base_width / run.width


@pytest.mark.parametrize("rule", ["none", "depth-mup", "completep"])
def test_the_stacked_model_is_the_plain_one_replica_by_replica(rule: str) -> None:
    run = a_run(base_width=16, depth_rule=rule, base_depth=1)
    rows = torch.stack([noisy(run, 0), noisy(run, 1)])
    tokens = text(run, replicas=2)[:, :, :-1]
    logits = forward(leaves(rows, run), tokens, run).view(2, run.batch, run.context, run.vocab)
    for r in range(2):
        for b in range(run.batch):
            plain = plain_logits(rows[r], tokens[r, b], run)
            # float64: products of a few hundred terms of order 1
            torch.testing.assert_close(logits[r, b].detach(), plain, rtol=1e-10, atol=1e-10)


def test_no_token_sees_a_later_one() -> None:
    run = a_run()
    weights, tokens = leaves(noisy(run)[None], run), text(run)[:, :, :-1]
    changed = tokens.clone()
    changed[:, :, 15] = (changed[:, :, 15] + 1) % run.vocab
    before, after = (forward(weights, t, run).view(run.batch, run.context, -1) for t in (tokens, changed))
    assert torch.equal(before[:, :15], after[:, :15])
    assert not torch.allclose(before[:, 15], after[:, 15])


def gradient(rows: Tensor, sequences: Tensor, run: Run) -> Tensor:
    weights = leaves(rows, run)
    total = losses(weights, sequences, run).mean(dim=(1, 2)).sum()
    return torch.cat([g.flatten(1) for g in torch.autograd.grad(total, list(weights.values()))], dim=1)


def test_a_replicas_gradient_does_not_know_of_its_neighbours() -> None:
    run = a_run()
    rows, sequences = torch.stack([noisy(run, s) for s in range(3)]), text(run, 3)
    together = gradient(rows, sequences, run)
    for r in range(3):
        alone = gradient(rows[r : r + 1], sequences[r : r + 1], run)
        torch.testing.assert_close(together[r : r + 1], alone, rtol=1e-10, atol=1e-13)  # float64 sums of < 1e3 terms


def test_float32_gradients_agree_with_float64_to_1e_5() -> None:
    run = a_run()
    row, sequences = noisy(run)[None].float(), text(run)
    exact = gradient(row.double(), sequences, run)
    single = gradient(row, sequences, run.model_copy(update={"dtype": "float32"})).double()
    assert (single - exact).norm() / exact.norm() < 1e-5


def test_bfloat16_trains_close_to_float32() -> None:
    def final_loss(dtype: str) -> float:
        run = a_run(dtype=dtype, vocab=20)
        state, how = started(run), settings([run], CPU)
        sequences = text(run)
        for _ in range(30):
            metrics = step(state, how, torch.tensor([0.01]), sequences, plain_parts(run))
        return metrics[0, 0].item()

    low, single = final_loss("bfloat16"), final_loss("float32")
    assert single < 2.0  # from ln 20 = 3.0: it has learnt
    assert low == pytest.approx(single, abs=0.1)  # 8 bits of mantissa over 30 steps


def started(run: Run) -> State:
    state = empty_state(run, 1, CPU)
    state.weights[0] = initial(run)
    state.alive[0] = True
    return state


def drift(width: int, lr: float, rule: str) -> list[float]:
    """How far each block's output, and the logits, have moved after 4 updates: RMS over tokens and channels."""
    run = a_run(width=width, base_width=32, head_dim=16, batch=8, dtype="float32", lr=lr)
    state, how, sequences = started(run), settings([run], CPU), text(run)
    if rule == "standard":
        how.lr_factor.fill_(1.0)

    def outputs() -> list[Tensor]:
        with torch.no_grad():
            weights, tokens = leaves(state.weights, run), sequences[:, :, :-1]
            stream = [embed(weights, tokens, run)]
            for i in range(run.depth):
                stream.append(block(weights, i, stream[-1], run.batch, run))
            return [b - a for a, b in pairwise(stream)] + [forward(weights, tokens, run)]

    before = outputs()
    for _ in range(4):
        step(state, how, torch.tensor([lr]), sequences, plain_parts(run))
    return [(b - a).square().mean().sqrt().item() for a, b in zip(before, outputs(), strict=True)]


def test_activations_move_as_far_at_every_width() -> None:
    """The coordinate check of Tensor Programs V (arXiv:2203.03466, appendix D.1), and that it can fail."""
    small, large = drift(32, 0.01, "mup"), drift(128, 0.01, "mup")
    for a, b in zip(small, large, strict=True):
        assert 0.5 < b / a < 2.0, (small, large)  # 4 times the width; a wrong exponent of 1/2 gives 2, of 1 gives 4
    standard = [b / a for a, b in zip(drift(32, 0.01, "standard"), drift(128, 0.01, "standard"), strict=True)]
    assert max(standard) > 2.5  # the same learning rate for hidden matrices at all widths: the check sees it


def test_the_optimizer_is_adamw_in_each_replica() -> None:
    run = a_run(depth=1, width=8, vocab=5, weight_decay=0.3, clip=1e9)
    runs = [run, run.model_copy(update={"beta1": 0.8, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.0})]
    state, how = empty_state(run, 2, CPU), settings(runs, CPU)
    how.lr_factor.fill_(1.0), how.decays.fill_(1.0)
    state.weights[:] = torch.randn(state.weights.shape, dtype=torch.float64)
    state.alive[:] = True
    theirs = [torch.nn.Parameter(row.clone()) for row in state.weights]
    lrs = [0.01, 0.1]
    adamw = [
        torch.optim.AdamW([p], lr=lr, betas=(r.beta1, r.beta2), eps=r.eps, weight_decay=r.weight_decay)
        for p, lr, r in zip(theirs, lrs, runs, strict=True)
    ]
    for _ in range(10):
        grad = torch.randn(state.weights.shape, dtype=torch.float64)
        for p, g, optimizer in zip(theirs, grad, adamw, strict=True):
            p.grad = g.clone()
            optimizer.step()
        update(state, grad, torch.zeros(2), torch.tensor(lrs, dtype=torch.float64), how)
    torch.testing.assert_close(state.weights, torch.stack([p.data for p in theirs]), rtol=1e-12, atol=1e-12)


def test_gradients_are_clipped_replica_by_replica() -> None:
    run = a_run(depth=1, width=8, vocab=5, clip=2.0, beta1=0.0)
    state, how = empty_state(run, 2, CPU), settings([run, run], CPU)
    state.alive[:] = True
    grad = torch.randn(state.weights.shape, dtype=torch.float64)
    grad[0] *= 10 / grad[0].norm()
    grad[1] *= 1 / grad[1].norm()
    norms = update(state, grad.clone(), torch.zeros(2), torch.full((2,), 0.01, dtype=torch.float64), how)
    torch.testing.assert_close(norms, torch.tensor([10.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(state.first[0], grad[0] * 0.2)  # beta1 = 0: the first moment is the clipped gradient
    torch.testing.assert_close(state.first[1], grad[1])


def test_decay_is_the_learning_rate_times_the_weight_at_every_width() -> None:
    run = a_run(width=64, base_width=16, weight_decay=0.5)
    state, how = empty_state(run, 1, CPU), settings([run], CPU)
    state.weights[:], state.alive[:] = 1.0, True
    update(state, torch.zeros_like(state.weights), torch.zeros(1), torch.tensor([0.1], dtype=torch.float64), how)
    for name, value in leaves(state.weights, run).items():
        decays = parametrization.groups(run)[name.split(".")[0] if "norm" not in name else "norm"].decays
        torch.testing.assert_close(value.detach(), torch.full_like(value, 0.95 if decays else 1.0).detach())


#: Factors of a hidden matrix at 4 times base width and depth, those of width included: learning rate, learning rate
#: times decay, epsilon, branch. From table 1 of arXiv:2505.01618 as its authors' code has it (EleutherAI/nanoGPT-mup,
#: branch completep, Block and configure_optimizers), epsilon without its factor of width.
PUBLISHED = {
    "none": (1 / 4, 1.0, 1.0, 1.0),
    "depth-mup": (1 / 8, 1 / 2, 1 / 2, 1 / 2),
    "completep": (1 / 4, 1.0, 1 / 4, 1 / 4),
}


@pytest.mark.parametrize("rule", PUBLISHED)
def test_the_factors_of_depth_are_the_published_ones(rule: str) -> None:
    run = a_run(width=64, base_width=16, depth=8, base_depth=2, depth_rule=rule)
    lr, decay, eps, branch = PUBLISHED[rule]
    rules = parametrization.groups(run)
    for name in ("attention_in", "attention_out", "mlp_in", "mlp_out"):
        assert (rules[name].lr_factor, rules[name].decays, rules[name].eps_factor) == pytest.approx((lr, decay, eps))
    assert rules["norm"].lr_factor == pytest.approx(run.gain_lr * 4 * lr) and rules["norm"].eps_factor == eps
    assert parametrization.branch_multiplier(run) == branch
    outside = [rules[name] for name in ("embedding", "norm_head", "head")]
    assert [r.lr_factor for r in outside] == [run.embedding_lr, run.gain_lr, run.head_lr]
    assert {r.eps_factor for r in outside} == {1.0}
    base = run.model_copy(update={"depth": 2})
    assert parametrization.groups(base) == parametrization.groups(base.model_copy(update={"depth_rule": "none"}))


def test_the_first_update_has_the_epsilon_of_its_group() -> None:
    run = a_run(depth=8, width=8, vocab=5, depth_rule="completep", eps=0.3, weight_decay=0.0, clip=1e9, base_width=8)
    state, how = empty_state(run, 1, CPU), settings([run], CPU)
    state.alive[:] = True
    update(state, torch.ones_like(state.weights), torch.zeros(1), torch.tensor([1.0], dtype=torch.float64), how)
    moved = leaves(-state.weights, run)
    for name, eps, factor in (
        ("mlp_in.3", 0.3 / 4, 1.0),
        ("norm_qk.0", 0.3 / 4, run.gain_lr),
        ("head", 0.3, run.head_lr),
    ):
        expected = torch.full_like(moved[name], factor / (1 + eps)).detach()
        torch.testing.assert_close(moved[name].detach(), expected)


def test_attention_dispatches_to_a_fused_kernel_for_strided_heads() -> None:
    """The reshape after attention must not copy: what comes out is laid out (B, T, heads, head_dim) already."""
    q = torch.randn(2, 10, 4, 8).transpose(1, 2)
    out = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert out.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("spoilt", ["loss", "gradient", "overflow", "before"])
def test_a_replica_that_is_not_finite_keeps_its_weights_and_the_other_goes_on(spoilt: str) -> None:
    run = a_run(depth=1, width=8, vocab=5, dtype="float32")
    state, how = empty_state(run, 2, CPU), settings([run, run], CPU)
    state.weights[:], state.alive[:] = 1.0, True
    grad, loss = torch.ones_like(state.weights), torch.ones(2)
    if spoilt == "loss":
        loss[0] = torch.nan
    elif spoilt == "gradient":
        grad[0, 7] = torch.inf
    elif spoilt == "overflow":
        grad[0, :9] = 3e38  # finite numbers whose norm is not
    else:
        state.alive[0] = False
    for _ in range(3):  # and it does not come back
        update(state, grad.clone(), loss, torch.full((2,), 0.01), how)
        grad, loss = torch.ones_like(grad), torch.ones(2)
    assert state.alive.tolist() == [False, True] and state.count.tolist() == [0, 3]
    assert torch.equal(state.weights[0], torch.ones_like(state.weights[0]))
    assert not state.first[0].any() and not state.second[0].any()
    assert (state.weights[1] < 1).all()
