"""Formats of weights and activations: levels, zeros and errors are the known ones, and training in them is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.nn.utils import parametrize

from scaling.errors import ScalingError
from scaling.laws import panferov2025
from sweeps import compression
from sweeps.collecting import collect
from sweeps.engine import Mode, gradient, mean_losses
from sweeps.formats import format as formats
from sweeps.formats.listed import FAMILIES, NAMES, format_of, gmse_of
from sweeps.grid import read_grid
from sweeps.model import views
from sweeps.order import validation_sequences
from sweeps.regimes.listed import REGIMES, regime_of
from sweeps.runs import Run, stack_key
from sweeps.starting import initial
from sweeps.train import train_stack
from tests import plain
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened
from tests.stepping import stepped
from tests.test_plain import SEEDS, a_small_run, a_text as second_order, trained as final_losses
from tests.test_regimes import example as regime_example

CPU = torch.device("cpu")
TOKENS = a_text()
#: Levels, zeros, both, and activations with them.
HOW = [("int2", "none"), ("top50", "none"), ("2:4+int4", "fp4"), ("none", "int2"), ("ternary", "int4")]
each = pytest.mark.parametrize("weights, activations", HOW)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def the(name: str) -> formats.Format:
    found = format_of(name)
    assert found is not None
    return found


def known(name: str) -> float:
    """GMSE by the closed forms of the law's file, which `sweeps` may not read."""
    if name.startswith("int"):
        return panferov2025.gmse_uniform(int(name[3:]))
    if name.startswith("top"):
        return panferov2025.gmse_sparse(float(name[3:]) / 100)
    magnitudes = {"fp4": panferov2025.E2M1, "ternary": (0.0, 1.0)}[name]
    return panferov2025.best_scale([*magnitudes, *(-m for m in magnitudes)])[1]


@pytest.mark.parametrize(
    "name", ["int1", "int2", "int3", "int4", "int8", "fp4", "ternary", "top25", "top50", "top75", "top90"]
)
def test_the_error_of_a_format_is_the_known_one(name: str) -> None:
    assert gmse_of(name) == pytest.approx(known(name), rel=3e-6)  # cells are 1/900 of the spacing of int8


def test_the_error_of_two_of_four_is_that_of_the_order_of_four_numbers() -> None:
    # E of the two smaller squares of four, by counting in a sample: 1e6 groups leave .1%
    smaller = np.sort(np.abs(np.random.default_rng(0).standard_normal((1_000_000, 4))), axis=1)[:, :2]
    assert gmse_of("2:4") == pytest.approx((smaller**2).sum() / 4e6, rel=4e-3)


@pytest.mark.parametrize("name", [*NAMES, "2:4+int4", "top50+int2", "top75+int1"])
def test_what_training_stores_has_that_error_on_normal_numbers(name: str) -> None:
    x, form = normal(512, 4800), the(name)
    # 2.5e6 numbers: sampling leaves about .2%; vectors of 4800 are long, though int8 feels their own size
    assert float((formats.stored(x, form) - x).square().mean()) == pytest.approx(form.gmse, rel=0.01)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(the(name).grid, formats.Grid)])
def test_every_number_goes_to_the_nearest_level(name: str) -> None:
    grid = the(name).grid
    assert grid is not None and list(grid.levels) == sorted(set(grid.levels))
    x = np.random.default_rng(0).uniform(-1.3, 1.3, 20_000) * grid.levels[-1]
    levels = np.array(grid.levels)
    nearest = levels[np.abs(x[:, None] - levels).argmin(axis=1)]
    np.testing.assert_allclose(grid.nearest(x), nearest)
    np.testing.assert_allclose(grid.nearest(torch.from_numpy(x)), nearest)


@pytest.mark.parametrize("name", ["int1", "int3", "fp4", "ternary", "2:4+int4", "top75+int1"])
def test_the_scale_is_the_best_one(name: str) -> None:
    form = the(name)
    assert all(formats.gmse(form.zeros, form.grid, form.scale * k) > form.gmse for k in (0.95, 0.99, 1.01, 1.05))


def test_the_largest_stay_as_they_are_and_the_others_become_0() -> None:
    x = normal(3, 7, 40)
    for name, keep in (("top50", 20), ("top90", 4)):
        form = the(name)
        y, size = formats.stored(x, form), x.abs().sort(dim=-1, descending=True).values
        torch.testing.assert_close(y, torch.where(x.abs() >= size[..., keep - 1 : keep], x, 0.0))
    pairs = formats.stored(x, the("2:4")).unflatten(-1, (10, 4))
    assert (pairs.ne(0).sum(-1) == 2).all()
    assert (pairs.abs().sum(-1) == x.unflatten(-1, (10, 4)).abs().topk(2).values.sum(-1)).all()


def test_zeros_and_levels_are_both_kept_in_one_format() -> None:
    y = formats.stored(normal(4, 64), the("top50+int2"))
    for row in y:
        assert int((row == 0).sum()) == 32 and len(row[row != 0].unique()) <= 4


def test_gradients_pass_straight_through() -> None:
    x = normal(2, 8, 16).requires_grad_()
    for name in ("int1", "top50", "2:4+fp4"):
        (grad,) = torch.autograd.grad((formats.stored(x, the(name)) * (weights := normal(2, 8, 16, seed=1))).sum(), x)
        assert torch.equal(grad, weights)


def test_vectors_of_zeros_stay_zero() -> None:
    for name in NAMES:
        y = formats.stored(torch.zeros(2, 16), the(name))
        assert torch.isfinite(y).all() and (y.abs() < 1e-20).all()


def test_matrices_inside_of_blocks_are_stored_by_outputs_and_nothing_else_is() -> None:
    run = a_run(weight_format="int2", depth=2)
    weights, flat = regime_of(run).weights(run), normal(3, initial(run).numel())
    there, here = (views(flat, weights, one) for one in (a_run(depth=2), run))
    for weight in weights:
        if weight.group in ("attention_in", "attention_out", "mlp_in", "mlp_out"):
            for replica, dense in zip(here[weight.name], there[weight.name], strict=True):
                for stored, column in zip(replica.T, dense.T, strict=True):
                    levels = torch.tensor([-1.5, -0.5, 0.5, 1.5]) * 0.99568668 * column.square().mean().sqrt()
                    apart = (stored[:, None] - levels).abs().min(dim=1).values
                    assert float(apart.max()) < 1e-3  # the best step, from the paper's notebook, to four digits
        else:
            assert torch.equal(here[weight.name], there[weight.name])


def test_turning_both_sides_leaves_a_product_as_it_is() -> None:
    for size in (16, 24, 40, 7):
        x, weight = normal(2, 5, size), normal(2, size, 9, seed=1)
        torch.testing.assert_close(compression.turned(x) @ compression.turned(weight.mT).mT, x @ weight)
    block = torch.from_numpy(hadamard(8) / 8**0.5)
    torch.testing.assert_close(compression.turned(normal(3, 24)), (normal(3, 3, 8) @ block).flatten(1))


def test_turned_squares_of_a_relu_are_stored_at_one_bit() -> None:
    x, run = F.relu(normal(1, 200, 64)) ** 2, a_run(activation_format="int1")
    weight = normal(1, 64, 32, seed=1)
    straight = formats.stored(x, the("int1")) @ weight
    turned = compression.activation_stored(x, run) @ compression.weight_stored(weight, run)

    def agrees(y: Tensor) -> float:  # about the mean over tokens: a constant says nothing of them
        a, b = (t - t.mean(dim=1, keepdim=True) for t in (y, x @ weight))
        return float((a * b).sum() / (a.norm() * b.norm()))

    assert agrees(turned) > 0.7 > 0.5 > agrees(straight)


def trained(out: Path, *runs: Run, **options: object) -> Path:
    stack = forked(*runs) if len(runs) > 1 else alone(runs[0])
    assert train_stack(stack, TOKENS, opened(out, stack), device=CPU, **options)
    return out


def losses(out: Path, run: Run) -> list[list[float]]:
    return [[float(row[c]) for c in ("train_loss", "grad_norm") if row[c]] for row in curve(out, run)]


@each
def test_a_run_in_a_stack_and_off_a_fork_is_the_run_alone(weights: str, activations: str, tmp_path: Path) -> None:
    how = dict(weight_format=weights, activation_format=activations)
    runs = [a_run(steps=40, cooldown=10, **how), a_run(steps=25, cooldown=5, **how), a_run(steps=30, seed=1, **how)]
    assert len(forked(*runs).edges) > len(runs)
    trained(tmp_path / "together", *runs, max_slots=2)
    for run in runs:
        trained(tmp_path / run.key, run)
        np.testing.assert_allclose(losses(tmp_path / "together", run), losses(tmp_path / run.key, run), rtol=1e-9)
        ends = [final(tmp_path / where, run)["loss"] for where in ("together", run.key)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    run, asked = a_run(steps=30, cooldown=5, weight_format="top50+int2", activation_format="int4"), list[int]()
    trained(tmp_path / "whole", run)
    out = opened(tmp_path / "stopped", alone(run))
    stopped = train_stack(alone(run), TOKENS, out, device=CPU, stopping=lambda: asked.append(0) or len(asked) > 3)
    assert not stopped and train_stack(alone(run), TOKENS, out, device=CPU)
    assert losses(out, run) == losses(tmp_path / "whole", run)  # bitwise


@pytest.mark.parametrize(
    "how, mode",
    [
        (dict(weight_format="2:4+int4", activation_format="fp4"), Mode(micro_batches=2)),
        (dict(weight_format="ternary", activation_format="int2", optimizer="muon"), Mode(micro_batches=4)),
        (
            dict(weight_format="top50+int4", activation_format="fp4", mlp_ratio=1.0),
            Mode(compile="on", backend="aot_eager"),
        ),
    ],
)
def test_micro_batches_and_compiling_without_breaks_change_nothing(how: dict[str, str], mode: Mode) -> None:
    runs = [a_run(seed=seed, batch=4, **how) for seed in range(2)]
    for plainly, other in zip(stepped(runs, Mode(), TOKENS), stepped(runs, mode, TOKENS), strict=True):
        np.testing.assert_allclose(plainly, other, rtol=1e-9)


@pytest.mark.parametrize("name", list(REGIMES))
def test_in_every_regime_both_sides_of_a_product_are_stored(name: str) -> None:
    run, fine = regime_example(name), regime_example(name, weight_format="int8", activation_format="int8")
    regime, flat = REGIMES[name], initial(run)[None]
    flat = flat + 0.1 * normal(*flat.shape)
    inputs = torch.from_numpy(regime.validation(run, TOKENS)[:4])[None]
    dense, stored = (regime.losses(views(flat, regime.weights(run), one), inputs, one) for one in (run, fine))
    # eight bits change losses by a percent or so; one side turned without the other, by as much as losses differ
    assert 0 < float((stored - dense).std()) < 0.05 * float(dense.std())


def test_no_replica_s_gradient_knows_of_another() -> None:
    runs = [a_run(seed=seed, batch=4, weight_format="top50+fp4", activation_format="int2") for seed in range(2)]
    flat = torch.stack([initial(run) for run in runs])
    inputs = torch.randint(0, 96, (2, 4, 17), generator=torch.Generator().manual_seed(0))
    both = gradient(mean_losses(runs[0]), flat, inputs, 1)[1]
    one = gradient(mean_losses(runs[0]), flat[1:], inputs[1:], 1)[1]
    torch.testing.assert_close(both[1:], one, rtol=1e-9, atol=1e-12)


def test_bfloat16_runs_store_their_float32_weights() -> None:
    run = a_run(dtype="bfloat16", weight_format="int1", activation_format="int4", batch=4)
    weights = views(initial(run)[None], regime_of(run).weights(run), run)
    assert weights["mlp_in.0"].dtype == torch.bfloat16
    inputs = torch.randint(0, 96, (1, 4, 17), generator=torch.Generator().manual_seed(0))
    loss, grad = gradient(mean_losses(run), initial(run)[None] + 0.01, inputs, 1)
    assert torch.isfinite(loss).all() and grad.dtype == torch.float32 and torch.isfinite(grad).all()


class OneBit(nn.Module):
    """Rows of a weight (out, in) as their signs times the mean magnitude of a normal variable of their size."""

    def forward(self, weight: Tensor) -> Tensor:
        size = weight.pow(2).mean(1, keepdim=True).sqrt() * (2 / np.pi) ** 0.5
        return weight + (torch.where(weight >= 0, size, -size) - weight).detach()


class TwoBits(nn.Module):
    """Vectors turned by a Hadamard matrix and put on four levels by comparison."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-1]
        y = x @ torch.from_numpy(hadamard(size) / size**0.5).float()
        unit = y.pow(2).mean(-1, keepdim=True).sqrt() * 0.99568668
        magnitude = torch.where(y.abs() > unit, 1.5, 0.5) * unit
        return y + (torch.where(y >= 0, magnitude, -magnitude) - y).detach()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int1", "int2"])
def test_compressed_models_learn_as_plain_ones_do(name: str, tmp_path: Path) -> None:
    """int1: weights alone; int2: weights and activations."""
    tokens, how = second_order(), dict(weight_format=name, activation_format={"int1": "none", "int2": "int2"}[name])
    run = a_small_run(**how)
    longer = [a_small_run(seed=seed, steps=220, **how) for seed in SEEDS]
    ours = final_losses([*(a_small_run(seed=seed, **how) for seed in SEEDS), *longer], tokens, tmp_path)[: len(SEEDS)]
    validation = torch.from_numpy(validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64))
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        sizes = dict(width=run.width, depth=run.depth, head_dim=run.head_dim, mlp_ratio=run.mlp_ratio, vocab=run.vocab)
        model = plain.Decoder(**sizes)
        optimizer = plain.optimizer(model, embedding_lr=10, head_lr=8, gain_lr=2, weight_decay=0.1)
        for linear in [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]:
            parametrize.register_parametrization(linear, "weight", OneBit() if name == "int1" else TwoBits())
            if name == "int2":
                linear.register_forward_pre_hook(lambda _, given: (TwoBits()(given[0]),))

        def loss_on(sequences: Tensor, model: plain.Decoder = model) -> Tensor:
            return F.cross_entropy(model(sequences[:, :-1]).transpose(1, 2), sequences[:, 1:])

        def loss_of(step: int, rng: np.random.Generator = rng, loss_on=loss_on) -> Tensor:  # type: ignore[no-untyped-def]
            return loss_on(plain.windows(tokens.train, run.context, run.batch, rng))

        plain.train(model, optimizer, run.lr_per_step, loss_of)
        with torch.no_grad():
            found.append(float(loss_on(validation)))
    assert max(ours) < plain.bigram_loss(tokens.train, validation.numpy(), 32) - 0.3
    plain.assert_alike(ours, found)


def grid(tmp_path: Path, lines: str) -> Path:
    text = "# Is it refused?\nwidth = 16\nhead_dim = 8\ndepth = 1\ncontext = 16\nlr = 0.01\nsteps = 8\n"
    (tmp_path / "grid.toml").write_text(text + lines)
    return tmp_path / "grid.toml"


@pytest.mark.parametrize(
    "lines, said",
    [
        ('weight_format = "int44"', "int44 must have 1 to 8 bits"),
        ('weight_format = "int0"', "int0 must have 1 to 8 bits"),
        ('weight_format = "inf4"', "there is no format 'inf4'; did you mean int4"),
        ('weight_format = "ternry"', "did you mean ternary?"),
        ('weight_format = "2:4+fp5"', "there is no format 'fp5' in '2:4+fp5'; did you mean fp4"),
        ('weight_format = "top100"', "top100 must set more than 0% and less than 100% to 0"),
        ('weight_format = "top0"', "top0 must set more than 0% and less than 100% to 0"),
        ('weight_format = "top99"', "top99 keeps none of the 16 weights of an output"),
        ('weight_format = "top1"', "top1 keeps all of the 16 weights of an output"),
        ('weight_format = "4:4"', "4:4 must keep some of at most 16 neighbours and not all, as in 2:4"),
        ('weight_format = "2:4"\nmlp_ratio = 2.1', "2:4 needs vectors that 4 divides: an output has 34 weights"),
        ('weight_format = "int4+2:4"', "must be one format, or zeros and then levels, as in 2:4+int4"),
        ('weight_format = "int4+int2"', "it has levels and then levels"),
        ('weight_format = ""', "there is no format ''"),
        ('activation_format = "2:4"', "activation_format = '2:4': activations are turned before they are stored"),
        ('activation_format = "top50+int4"', "zeros would mean nothing in them; use intB, fp4 or ternary"),
        ("weight_format = 4", "weight_format = 4: must be a string"),
    ],
)  # fmt: skip
def test_a_format_that_cannot_be_is_refused_with_the_reason(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(ScalingError) as caught:
        read_grid(grid(tmp_path, lines))
    assert said in str(caught.value)


def test_formats_are_axes_and_part_of_the_shape_and_none_renames_nothing(tmp_path: Path) -> None:
    path = grid(tmp_path, 'weight_format = ["none", "int4", "2:4+int4"]\nactivation_format = ["none", "fp4"]\n')
    runs = read_grid(path).runs
    assert len({run.key for run in runs}) == len({run.shape for run in runs}) == len({*map(stack_key, runs)}) == 6
    (bare,) = read_grid(grid(tmp_path, "")).runs
    assert runs[0].key == bare.key and stack_key(runs[0]) == stack_key(bare)


def test_the_table_of_runs_has_formats_and_their_errors(tmp_path: Path) -> None:
    runs = [a_run(steps=6, seed=1), a_run(steps=6, weight_format="top50+int2", activation_format="int4")]
    for run in runs:
        trained(tmp_path, run)
    table = collect(tmp_path)[0].set_index("run")
    stored, bare = table.loc[runs[1].key], table.loc[runs[0].key]
    assert stored["weight_format"] == "top50+int2" and stored["activation_format"] == "int4"
    assert stored["gmse_weights"] == gmse_of("top50+int2") and stored["gmse_activations"] == gmse_of("int4")
    assert bare["weight_format"] == "none" and bare["gmse_weights"] == 0.0 == bare["gmse_activations"]
    (tmp_path / "dense").mkdir()
    trained(tmp_path / "dense", runs[0])
    assert "gmse_weights" not in collect(tmp_path / "dense")[0]


def test_every_listed_name_is_of_its_family() -> None:
    for family in FAMILIES:
        assert family.about and all(family.pattern.fullmatch(name) for name in family.names)
        for other in FAMILIES:
            assert other is family or not any(other.pattern.fullmatch(name) for name in family.names)
