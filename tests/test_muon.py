"""Muon: the orthogonal factor, the rule of its learning rate, and that replicas know nothing of each other."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sweeps import muon
from sweeps.optim import empty_state, settings
from sweeps.runs import Run
from sweeps.starting import initial, leaves
from sweeps.train import train_stack
from sweeps.weights import decoder_weights
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(32, 32), (24, 96), (96, 24)])
def test_singular_values_go_to_about_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrices = random(5, *shape) * torch.tensor([1e-6, 1e-2, 1.0, 1e2, 1e6]).view(-1, 1, 1)
    out = muon.orthogonal(matrices)
    values = torch.linalg.svdvals(out)
    # the published range of five steps; square matrices have values near 0 that do not get there
    kept = torch.linalg.svdvals(matrices) > 0.05 * torch.linalg.matrix_norm(matrices, ord=2)[:, None]
    assert values[kept].min() > 0.65 and values.max() < 1.25
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ out @ v.mT
    torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), rtol=0, atol=1e-9)


def moved(run: Run, momentum: float = 0.0, count: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights before and after updates along random gradients, at learning rate 1 and without decay."""
    state, how = empty_state(run, 1, CPU), settings([run], CPU)
    how.momentum.fill_(momentum), how.decays.zero_(), how.clip.fill_(math.inf)
    state.weights[:], state.alive[:] = initial(run), True
    before, step = {k: v.detach().clone() for k, v in leaves(state.weights, run).items()}, muon.update_of(run)
    for i in range(count):
        step(state, random(*state.weights.shape, seed=i), torch.zeros(1), torch.ones(1, dtype=torch.float64), how)
    return before, {k: v.detach() for k, v in leaves(state.weights, run).items()}


def spectral(run: Run) -> dict[str, float]:
    before, after = moved(run)
    names = ("attention_out.0", "mlp_in.0", "mlp_out.0")
    norms = {name: torch.linalg.matrix_norm(after[name] - before[name], ord=2).item() for name in names}
    q = (after["attention_in.0"] - before["attention_in.0"])[:, :, : run.width]
    return norms | {"q": torch.linalg.matrix_norm(q, ord=2).item()}


def test_updates_are_as_large_at_every_width_as_the_published_rule_says_at_the_base() -> None:
    fields = dict(head_dim=16, base_width=32, optimizer="muon", mlp_ratio=4.0)
    base, wide = (spectral(a_run(width=width, **fields)) for width in (32, 128))
    for name, norm in base.items():
        longest = 4 * 32 if "mlp" in name else 32
        assert norm == pytest.approx(0.2 * math.sqrt(longest), rel=0.25)  # singular values are near 1, not at it
        assert wide[name] == pytest.approx(norm, rel=0.1)  # at four times the width; any wrong power of m is 2 or more


def test_queries_keys_and_values_are_orthogonalised_apart_and_the_rest_is_adamws() -> None:
    run = a_run(width=32, optimizer="muon", eps=1e-15)
    before, after = moved(run)
    change = {name: after[name] - before[name] for name in before}
    weight = next(w for w in decoder_weights(run) if w.name == "attention_in.0")
    row = random(1, decoder_weights(run)[-1].start + decoder_weights(run)[-1].size)
    gradient = row[:, weight.start : weight.start + weight.size].view(1, *weight.shape)
    for part, own in zip(change["attention_in.0"].chunk(3, dim=2), gradient.chunk(3, dim=2), strict=True):
        torch.testing.assert_close(part, -0.2 * math.sqrt(32 / 2) * muon.orthogonal(own))  # twice the base width
    for name, factor in (("embedding", run.embedding_lr), ("head", run.head_lr), ("norm_mlp.0", run.gain_lr)):
        # Adam's first step is the sign of the gradient
        torch.testing.assert_close(change[name].abs(), torch.full_like(change[name], factor), rtol=1e-5, atol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_a_matrix_moves_as_under_torchs_own_muon_with_liu_s_factor() -> None:
    run = a_run(width=32, base_width=32, optimizer="muon")
    before, after = moved(run, momentum=0.9, count=4)
    weight = next(w for w in decoder_weights(run) if w.name == "mlp_in.0")
    theirs = torch.nn.Parameter(before["mlp_in.0"][0].clone())
    optimizer = torch.optim.Muon([theirs], lr=1.0, weight_decay=0.0, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for i in range(4):
        row = random(1, decoder_weights(run)[-1].start + decoder_weights(run)[-1].size, seed=i)[0]
        theirs.grad = row[weight.start : weight.start + weight.size].view(weight.shape)
        optimizer.step()
    ours, other = after["mlp_in.0"][0] - before["mlp_in.0"][0], theirs.detach() - before["mlp_in.0"][0]
    assert (ours - other).norm() < 0.03 * other.norm()  # theirs is worked out in bfloat16


def test_a_run_in_a_stack_is_the_run_alone(tmp_path: Path) -> None:
    fields = dict(optimizer="muon", depth=2, steps=30, lr=0.005)
    runs = [a_run(cooldown=8, **fields), a_run(cooldown=8, **(fields | dict(steps=20)))]
    runs += [a_run(seed=1, momentum=0.8, clip=0.3, **fields)]
    stack = forked(*runs)
    assert train_stack(stack, a_text(), opened(tmp_path / "together", stack), device=CPU, max_slots=2)
    for run in runs:
        assert train_stack(alone(run), a_text(), opened(tmp_path / run.key, alone(run)), device=CPU)
        together, alone_ = (final(tmp_path / name, run)["loss"] for name in ("together", run.key))
        assert together == pytest.approx(alone_, rel=1e-9)  # float64 over 30 updates
        rows = [[row["train_loss"] for row in curve(tmp_path / name, run)] for name in ("together", run.key)]
        assert [float(v) for v in rows[0]] == pytest.approx([float(v) for v in rows[1]], rel=1e-9)
    assert final(tmp_path / "together", runs[0])["loss"] < 3.5  # from ln 256 = 5.5: it learns


def test_the_optimizer_is_of_the_shape_and_old_keys_stay() -> None:
    assert a_run().key == a_run(optimizer="adamw", momentum=0.95).key
    assert a_run().shape != a_run(optimizer="muon").shape
    assert a_run(optimizer="muon").lineage != a_run(optimizer="muon", momentum=0.9).lineage
