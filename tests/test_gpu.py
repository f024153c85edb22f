"""What must hold on a CUDA device; skipped, and said so, where there is none. The same checks run on the CPU first, so
that a mistake in the checks themselves does not wait for a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sweeps.capacity import doublings
from sweeps.engine import Engine, Mode
from sweeps.feed import Feed
from sweeps.optim import empty_state
from sweeps.runs import Run
from sweeps.starting import initial
from sweeps.train import on_device, train_stack
from tests.stacks import a_run, a_text, curve, final, forked, opened

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def runs(dtype: str) -> list[Run]:
    """Two horizons off one trunk, another seed, another learning rate: 8-wide heads, every slot at its own step."""
    wsd = dict(dtype=dtype, warmup=5, cooldown=10)
    return [a_run(**wsd), a_run(**wsd, steps=30), a_run(**wsd, seed=3), a_run(**wsd, lr=0.02)]


def trained(out: Path, device: str, dtype: str) -> list[float]:
    stack = forked(*runs(dtype))
    assert train_stack(stack, a_text(), opened(out, stack), device=torch.device(device))
    return [final(out, run)["loss"] for run in stack.runs]


@pytest.mark.parametrize("device", DEVICES)
def test_float64_on_the_device_is_float64_on_the_cpu(device: str, tmp_path: Path) -> None:
    here, there = trained(tmp_path / "cpu", "cpu", "float64"), trained(tmp_path / device, device, "float64")
    # 50 updates amplify differences in the order of sums by some orders of magnitude over 1e-16
    assert there == pytest.approx(here, rel=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_low_precision_on_the_device_ends_where_float64_does(device: str, dtype: str, tmp_path: Path) -> None:
    exact, low = trained(tmp_path / "exact", "cpu", "float64"), trained(tmp_path / dtype, device, dtype)
    # another seed moves these losses by several percent
    assert low == pytest.approx(exact, rel=1e-3 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(device: str, tmp_path: Path) -> None:
    trained(tmp_path / "through", device, "float32")
    stack = forked(*runs("float32"))
    out = opened(tmp_path / "stopped", stack)
    asked = iter([False, False, False, True])
    where = torch.device(device)
    assert not train_stack(stack, a_text(), out, device=where, stopping=lambda: next(asked))
    assert train_stack(stack, a_text(), out, device=where)
    for run in stack.runs:
        through, stopped = (curve(tmp_path / name, run) for name in ("through", "stopped"))
        if device == "cpu":
            kept = [[{k: v for k, v in row.items() if k != "seconds"} for row in rows] for rows in (through, stopped)]
            assert kept[0] == kept[1]
        else:  # sums by atomic additions come in any order
            losses = [[float(row["train_loss"]) for row in rows] for rows in (through, stopped)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-3)


#: How steps are wrapped: capture alone, of what is traced but not fused, and all that is done on CUDA by default.
WRAPPED = {"captured": Mode("on", backend="aot_eager"), "compiled and captured": Mode("on")}


def an_engine(device: str, mode: Mode, optimizer: str) -> tuple[Engine, np.ndarray]:
    """Three replicas of other seeds, ready for updates, and the draws of 12 of these."""
    replicas = [a_run(seed=seed, batch=4, depth=2, optimizer=optimizer) for seed in range(3)]
    state = empty_state(replicas[0], 3, torch.device(device))
    for place, run in enumerate(replicas):
        state.weights[place] = initial(run)
    state.alive[:] = True
    engine = Engine(replicas[0], state, on_device(a_text(), replicas[0], torch.device(device)).train, mode, 8)
    engine.set_runs(replicas)
    engine.prepare((4,))
    return engine, np.stack([Feed(a_text()).take(run, 0, 12) for run in replicas], axis=1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("wrapped", ["captured", pytest.param("compiled and captured", marks=pytest.mark.gpu)])
def test_wrapped_steps_are_the_plain_steps_and_nothing_is_compiled_again(
    device: str, optimizer: str, wrapped: str
) -> None:
    (plain, draws), (other, _) = (an_engine(device, mode, optimizer) for mode in (Mode("off"), WRAPPED[wrapped]))
    assert (other.graph is not None) == (device != "cpu")
    lr = np.random.default_rng(0).uniform(0.001, 0.02, (12, 3))
    for engine in (plain, other):
        engine.start(lr[:8], draws[:8])
    first = [engine.finish(8) for engine in (plain, other)]
    with torch.compiler.set_stance("fail_on_recompile"):
        for engine in (plain, other):
            engine.set_runs([a_run(seed=seed, batch=4, depth=2, clip=0.1, optimizer=optimizer) for seed in (7, 8, 9)])
            engine.state.alive[1] = False
            engine.start(lr[8:], draws[8:])
        second = [engine.finish(4) for engine in (plain, other)]
    np.testing.assert_allclose(first[0], first[1], rtol=1e-9)  # float64
    np.testing.assert_allclose(second[0], second[1], rtol=1e-9)
    torch.testing.assert_close(plain.state.weights, other.state.weights, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
def test_a_replica_that_is_not_finite_leaves_its_neighbours_as_they_were_in_a_graph() -> None:
    states = []
    for spoilt in (False, True):
        engine, draws = an_engine("cuda", WRAPPED["captured"], "adamw")
        if spoilt:
            engine.state.weights[1, -1] = torch.nan
        engine.start(np.full((8, 3), 0.01), draws[:8])
        assert np.isfinite(engine.finish(8)[:, :, [0, 2]]).all()
        states.append(engine.state)
    assert states[1].alive.tolist() == [True, False, True]
    torch.testing.assert_close(states[0].weights[[0, 2]], states[1].weights[[0, 2]], rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
def test_runs_that_do_not_fit_into_memory_are_halved() -> None:
    run = Run(width=512, depth=4, head_dim=64, steps=10, lr=0.001, batch=2, context=64, val_sequences=6)
    corpus, total = on_device(a_text(), run, torch.device("cuda")), torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(3e9 / total)  # a run takes 150 MB for weights and moments alone
    try:
        (speed,) = doublings(run, corpus, Feed(a_text()), Mode("off"), 64, 64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= speed.slots <= 16 and speed.memory is not None and speed.memory < 3e9
