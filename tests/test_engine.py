"""The step over static buffers: compiled, split and padded it is the same step, and it is compiled once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._dynamo.utils import counters

from scaling.errors import ScalingError
from sweeps import train
from sweeps.engine import Engine, Mode, evaluate, mean_losses, step
from sweeps.feed import Feed
from sweeps.optim import State, empty_state
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run
from sweeps.starting import initial
from tests.stacks import a_run, a_text, curve, final, forked, opened

CPU = torch.device("cpu")
TOKENS = a_text()
#: Traces, differentiates ahead of time and functionalises as the default compiler does, but needs no C++ compiler.
COMPILED = Mode(compile="on", backend="aot_eager")
STEPS = 8


def filled(runs: list[Run]) -> State:
    state = empty_state(runs[0], len(runs), CPU)
    for place, run in enumerate(runs):
        row = initial(run)
        generator = torch.Generator().manual_seed(run.seed)
        state.weights[place] = row + 0.1 * torch.randn(row.shape, generator=generator, dtype=row.dtype)
    state.alive[:] = True
    return state


def an_engine(runs: list[Run], mode: Mode) -> Engine:
    engine = Engine(runs[0], filled(runs), train.on_device(TOKENS, runs[0], CPU).train, mode, STEPS)
    engine.set_runs(runs)
    engine.prepare((runs[0].batch,))
    return engine


def draws(runs: list[Run], first: int, count: int) -> NDArray[np.int64]:
    return np.stack([Feed(TOKENS).take(run, first, count) for run in runs], axis=1)


def trained(runs: list[Run], mode: Mode, count: int = 6) -> tuple[Engine, NDArray[np.float64]]:
    engine = an_engine(runs, mode)
    engine.start(np.full((count, len(runs)), 0.01), draws(runs, 0, count))
    return engine, engine.finish(count)


def assert_same_state(a: State, b: State, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    for name in ("weights", "first", "second", "count", "alive"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=rtol, atol=atol)


RUNS = [a_run(seed=seed, batch=4, depth=2) for seed in range(3)]
MUON = [a_run(seed=seed, batch=4, depth=2, optimizer="muon") for seed in range(3)]


@pytest.mark.parametrize("runs", [RUNS, MUON], ids=["adamw", "muon"])
def test_a_compiled_step_is_the_plain_step(runs: list[Run]) -> None:
    plain, compiled = trained(runs, Mode()), trained(runs, COMPILED)
    np.testing.assert_allclose(plain[1], compiled[1], rtol=1e-9)  # float64 over 6 updates
    assert_same_state(plain[0].state, compiled[0].state)


def test_the_metrics_are_losses_and_norms_of_the_steps_in_order() -> None:
    engine, metrics = trained(RUNS, Mode(), count=5)
    state = filled(RUNS)
    for i in range(5):
        inputs = regime_of(RUNS[0]).gather(engine.text, torch.from_numpy(draws(RUNS, i, 1)[0]), RUNS[0])
        expected = step(state, engine.how, torch.full((3,), 0.01, dtype=torch.float64), inputs, engine.parts)
        assert np.array_equal(metrics[i], expected.numpy())
    assert torch.equal(engine.state.weights, state.weights)


def test_nothing_is_compiled_again_when_rates_settings_slots_or_segments_change() -> None:
    engine = an_engine(RUNS, COMPILED)
    engine.start(np.full((4, 3), 0.01), draws(RUNS, 0, 4))
    validation = train.on_device(TOKENS, RUNS[0], CPU).validation
    for places in ([0, 1], [0, 1, 2]):
        evaluate(engine, places, validation)
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    with torch.compiler.set_stance("fail_on_recompile"):
        others = [a_run(seed=9, batch=4, depth=2, beta1=0.5, clip=0.1, weight_decay=0.0, steps=99, schedule="cosine")]
        others += RUNS[:2]
        engine.set_runs(others)
        engine.start(np.random.default_rng(0).random((7, 3)), draws(others, 50, 7))
        engine.state.alive[1] = False
        engine.state.weights[2] = filled(others).weights[0]
        engine.start(np.zeros((1, 3)), draws(RUNS, 3, 1))
        evaluate(engine, [2, 0], validation)
        evaluate(engine, [2, 1, 0], validation)
        again = an_engine(others, COMPILED)  # another stretch of the same stack, its replica axis as long
        again.start(np.full((2, 3), 0.02), draws(others, 0, 2))
    assert counters["stats"]["unique_graphs"] == before
    assert not counters["graph_break"]
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError, match="recompil"):
        an_engine(RUNS[:2], COMPILED)  # the check itself: another length is another shape


def test_metrics_stay_when_the_next_updates_write_over_the_ring() -> None:
    engine, metrics = trained(RUNS, Mode(), count=5)
    kept = metrics.copy()
    engine.start(np.full((5, 3), 0.01), draws(RUNS, 5, 5))
    assert np.array_equal(metrics, kept) and not np.array_equal(engine.finish(5), kept)


def test_getting_ready_changes_no_bit_of_the_state() -> None:
    engine = an_engine(RUNS, COMPILED)
    for name in ("weights", "first", "second", "count", "alive"):
        assert torch.equal(getattr(engine.state, name), getattr(filled(RUNS), name))
    engine.start(np.full((2, 3), 0.01), draws(RUNS, 0, 2))  # moments are not zero now
    before = [getattr(engine.state, name).clone() for name in ("weights", "first", "second", "count", "alive")]
    assert before[1].any()
    engine.prepare((RUNS[0].batch,))
    after = [getattr(engine.state, name) for name in ("weights", "first", "second", "count", "alive")]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("parts", [2, 4])
def test_an_update_in_micro_batches_is_the_whole_update(parts: int) -> None:
    whole, split = trained(RUNS, Mode()), trained(RUNS, Mode(micro_batches=parts))
    np.testing.assert_allclose(whole[1], split[1], rtol=1e-9)
    assert_same_state(whole[0].state, split[0].state)


def test_micro_batches_must_be_equal() -> None:
    with pytest.raises(ScalingError, match="must divide the batch of 4 sequences into equal parts, got 3"):
        an_engine(RUNS, Mode(micro_batches=3))


@pytest.mark.parametrize("runs", [RUNS, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("mode", [Mode(), COMPILED], ids=["plain", "compiled"])
def test_a_replica_that_is_not_finite_leaves_its_neighbours_bitwise_as_they_were(runs: list[Run], mode: Mode) -> None:
    healthy, sick = trained(runs, mode)[0].state, an_engine(runs, mode)
    sick.state.weights[1, -1] = torch.nan
    sick.start(np.full((6, 3), 0.01), draws(runs, 0, 6))
    metrics = sick.finish(6)
    assert np.isnan(metrics[:, 0, 1]).all() and np.isfinite(metrics[:, :, [0, 2]]).all()
    assert sick.state.alive.tolist() == [True, False, True]
    for name in ("weights", "first", "second"):
        assert torch.equal(getattr(sick.state, name)[[0, 2]], getattr(healthy, name)[[0, 2]])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_update_on_another_device_takes_no_tensor_from_the_cpu_and_reads_nothing_back(
    dtype: str, optimizer: str
) -> None:
    # tensors of the device "meta" have no values: to read one, or to mix it with one of the CPU, is an error
    run, away = a_run(batch=4, depth=2, dtype=dtype, optimizer=optimizer), torch.device("meta")
    state, text = empty_state(run, 3, away), torch.zeros(5000, dtype=torch.uint8, device=away)
    engine = Engine(run, state, text, Mode("off", micro_batches=2), STEPS)
    engine.prepare((run.batch,))
    engine.step()
    assert engine.metrics.device == engine.draws.device == away
    assert engine.metrics.dtype == state.weights.dtype == torch.float32


def test_validation_filled_up_to_few_sizes_is_validation() -> None:
    run = a_run(batch=4, depth=2, val_sequences=6)  # a last chunk of two
    inputs = train.on_device(TOKENS, run, CPU).validation
    plain, compiled = (an_engine([run, *RUNS[1:]], mode) for mode in (Mode(), COMPILED))
    for a, b in zip(evaluate(plain, [2, 0, 1], inputs), evaluate(compiled, [2, 0, 1], inputs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    loss = mean_losses(run)(plain.state.weights[2:], inputs[None])
    assert evaluate(compiled, [2], inputs)[0][0] == pytest.approx(loss.item(), rel=1e-12)


def test_a_stack_trained_by_compiled_steps_is_the_stack(tmp_path: Path) -> None:
    stack = forked(a_run(steps=20, cooldown=5, warmup=2), a_run(steps=14, cooldown=4, warmup=2), a_run(seed=1, steps=9))
    for name, mode in (("plain", Mode()), ("compiled", COMPILED)):
        assert train.train_stack(stack, TOKENS, opened(tmp_path / name, stack), device=CPU, mode=mode)
    for run in stack.runs:
        a, b = (final(tmp_path / name, run) for name in ("plain", "compiled"))
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-9) and a["steps"] == b["steps"]
        assert len(curve(tmp_path / "plain", run)) == len(curve(tmp_path / "compiled", run))


def test_draws_do_not_depend_on_how_they_are_asked_for() -> None:
    feed, run = Feed(TOKENS), RUNS[0]
    whole = feed.take(run, 0, 200)
    assert np.array_equal(feed.take(run, 60, 10), whole[60:70])
    assert np.array_equal(whole[150], regime_of(run).draws(run, TOKENS, 150, 1)[0])
    assert not np.array_equal(feed.take(RUNS[1], 60, 10), whole[60:70])
