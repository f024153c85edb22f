"""The stacked, forked loop: company, forks and slots change nothing in a run; divergence and failures stay local."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scaling.errors import ScalingError
from sweeps import curves, pool, records, slots, train
from sweeps.counting import flops_per_token
from sweeps.curves import Curves
from sweeps.engine import Engine, Mode, evaluate
from sweeps.forks import Forks
from sweeps.runs import Run, Stack, validation_counts
from sweeps.slots import Snapshot, bucket, held, snapshot
from sweeps.tokens import Tokens
from sweeps.weights import decoder_weights
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened

CPU = torch.device("cpu")
TOKENS = a_text()
Train = Callable[..., dict[str, Snapshot]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Train:
    """train(stack, name) trains into tmp_path/name and returns the weights and moments at the end of every run."""

    def run(stack: Stack, name: str, tokens: Tokens = TOKENS, **options: object) -> dict[str, Snapshot]:
        ends: dict[str, Snapshot] = {}
        close = train.close_finished

        def keep(training, forks, place, *rest):  # type: ignore[no-untyped-def]
            for key in training.slots[place].edge.ends:
                ends[key] = snapshot(training.state, place)
            close(training, forks, place, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(train, "close_finished", keep)
            assert train.train_stack(stack, tokens, opened(tmp_path / name, stack), device=CPU, **options)  # type: ignore[arg-type]
        return ends

    return run


def mixed() -> list[Run]:
    """Shared trunks, two seeds, two learning rates, another schedule and other settings, in 9 edges."""
    return [
        a_run(steps=50, cooldown=12),
        a_run(steps=30, cooldown=8),
        a_run(steps=20, cooldown=4, cooldown_shape="linear"),
        a_run(steps=50, cooldown=12, seed=1, weight_decay=0.0, clip=0.3),
        a_run(steps=44, schedule="cosine", lr=0.03, beta2=0.99),
    ]


def assert_same_curve(a: list[dict[str, str]], b: list[dict[str, str]], rtol: float) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        for name in set(x) - {"seconds", "run"}:
            assert (x[name] == "") == (y[name] == "") or "val" in name
            if x[name] and y[name]:  # a fork is validated, the same step of an unforked run is not
                assert float(x[name]) == pytest.approx(float(y[name]), rel=rtol), (name, x["step"])


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_a_run_in_a_stack_and_off_a_fork_is_the_run_alone(trained: Train, tmp_path: Path, slots: int) -> None:
    runs = mixed()
    stack = forked(*runs)
    assert any(len(edge.runs) == 3 for edge in stack.edges)
    together = trained(stack, "together", max_slots=slots)
    for run in runs:
        by_itself = trained(alone(run), run.key)[run.key]
        # float64 over 50 updates: rounding of 1e-16 grows by no more than a factor 1e6
        torch.testing.assert_close(together[run.key].rows, by_itself.rows, rtol=1e-9, atol=1e-12)
        assert together[run.key].count == by_itself.count == run.steps
        assert_same_curve(curve(tmp_path / "together", run), curve(tmp_path / run.key, run), rtol=1e-9)
        losses = [final(tmp_path / name, run)["loss"] for name in ("together", run.key)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_slots_stand_at_different_steps_and_fill_in_the_order_of_the_longest_path(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[tuple[str, int]]] = []
    whole = train.segment

    def watch(training, *rest):  # type: ignore[no-untyped-def]
        seen.append([(slot.edge.name, slot.step) for _, slot in held(training)])
        return whole(training, *rest)

    monkeypatch.setattr(train, "segment", watch)
    stack = forked(*mixed())
    trained(stack, "out", max_slots=2)
    assert any(len({step for _, step in slots}) > 1 for slots in seen)
    assert all(len(slots) <= 2 for slots in seen)
    remaining = Forks(stack).remaining
    assert (
        sorted(remaining[name] for name, _ in seen[0])
        == sorted((remaining[edge.name] for edge in stack.edges if edge.parent is None), reverse=True)[:2][::-1]
    )


def test_a_run_that_ends_leaves_the_others_bitwise_as_they_were(trained: Train) -> None:
    long, short = a_run(steps=40, cooldown=5), a_run(steps=13, seed=1, schedule="constant")
    other = a_run(steps=13, seed=2, schedule="constant", lr=0.05)
    first = trained(forked(long, short), "a", max_slots=2)
    second = trained(forked(long, other), "b", max_slots=2)
    assert torch.equal(first[long.key].rows, second[long.key].rows)


def poisoned(initial: Callable[[Run], torch.Tensor], seed: int) -> Callable[[Run], torch.Tensor]:
    """Initial weights whose squares overflow in the forward pass, for one seed."""

    def make(run: Run) -> torch.Tensor:
        row = initial(run)
        if run.seed == seed:
            weight = next(w for w in decoder_weights(run) if w.name == "mlp_out.0")
            row[weight.start] = torch.inf
        return row

    return make


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_replica_that_diverges_does_not_touch_its_neighbours_and_is_recorded(
    trained: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    kept = [a_run(steps=20, seed=0, cooldown=4, dtype=dtype), a_run(steps=20, seed=2, cooldown=4, dtype=dtype)]
    bad = [a_run(steps=20, seed=1, cooldown=4, dtype=dtype), a_run(steps=30, seed=1, cooldown=4, dtype=dtype)]
    stack = forked(kept[0], *bad, kept[1])
    healthy = trained(stack, "healthy", max_slots=3)
    monkeypatch.setattr(slots, "initial", poisoned(slots.initial, seed=1))
    ends = trained(stack, "sick", max_slots=3)
    for run in kept:
        assert torch.equal(ends[run.key].rows, healthy[run.key].rows)
        assert final(tmp_path / "sick", run)["status"] == "finished"
    for run in bad:
        assert run.key not in ends
        end = final(tmp_path / "sick", run)
        assert end["status"] == "diverged" and end["loss"] is None


def test_a_run_that_explodes_keeps_the_rows_before(trained: Train, tmp_path: Path) -> None:
    bad = a_run(dtype="float32", steps=40, lr=1e18, schedule="constant", warmup=0, clip=1e9, weight_decay=1e-30)
    good = a_run(dtype="float32", steps=40, schedule="constant", warmup=0)
    trained(forked(bad, good), "out", max_slots=2)
    rows, end = curve(tmp_path / "out", bad), final(tmp_path / "out", bad)
    assert end["status"] == "diverged"
    assert 0 < len(rows) < 40 and all(np.isfinite(float(row["train_loss"])) for row in rows)
    assert end["steps"] == len(rows)
    assert len(curve(tmp_path / "out", good)) == 40


def test_rows_end_before_the_first_loss_that_is_not_finite(tmp_path: Path) -> None:
    stack = alone(a_run(steps=10))
    edge = stack.edges[0]
    log = Curves(opened(tmp_path, stack), edge.example, set(edge.runs), frozenset(), 1.0)
    metrics = np.array([[3.0, 1.0], [2.5, 1.0], [2.0, np.inf], [1.5, 1.0]])
    assert not curves.add(log, edge, 4, metrics, np.arange(4.0))
    curves.diverge(log, edge)
    assert [row["step"] for row in curve(tmp_path, edge.example)] == ["4", "5"]
    end = final(tmp_path, edge.example)
    assert (end["status"], end["steps"], end["train_loss"], end["loss"]) == ("diverged", 6, 2.5, None)


def test_rows_are_logged_and_validated_where_the_run_says(trained: Train, tmp_path: Path) -> None:
    run = a_run(steps=30, cooldown=7, log_every=4, evals_per_octave=2)
    trained(forked(run, a_run(steps=25, cooldown=3, log_every=4, evals_per_octave=2)), "out")
    rows = curve(tmp_path / "out", run)
    grid = set(validation_counts(2, 30).tolist())
    validated = grid | {22, 30}  # the end, and the fork where the other run's cooldown starts
    assert [int(row["step"]) for row in rows if row["val_loss"]] == sorted(count - 1 for count in validated)
    assert [int(row["step"]) for row in rows] == sorted({count - 1 for count in validated} | set(range(0, 30, 4)))
    for row in rows:
        step = int(row["step"])
        assert float(row["lr"]) == run.lr_per_step[step]
        assert int(row["tokens"]) == (step + 1) * run.tokens_per_step
        assert float(row["flops"]) == pytest.approx(int(row["tokens"]) * flops_per_token(run)["6N_with_attention"])
    end = final(tmp_path / "out", run)
    assert end["loss"] == float(rows[-1]["val_loss"]) and end["steps"] == 30
    assert end["bits_per_byte"] == pytest.approx(end["loss"] / np.log(2))


def test_the_validation_loss_is_the_mean_over_sequences_with_its_standard_error() -> None:
    run = a_run()
    from sweeps.model import losses
    from sweeps.optim import empty_state
    from sweeps.starting import initial, leaves

    state = empty_state(run, 3, CPU)
    rows = torch.stack([initial(a_run(seed=s)) for s in range(3)])
    state.weights[:] = rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    corpus = train.on_device(TOKENS, run, CPU)
    engine = Engine(run, state, corpus.train, Mode(), 1)
    loss, spread, one_by_one = evaluate(engine, [2, 0], corpus.validation)
    each = losses(leaves(state.weights[2:], run), corpus.validation[None], run)[0].mean(dim=1).detach().numpy()
    assert len(each) == run.val_sequences and len(set(each)) == len(each)
    assert loss[0] == pytest.approx(each.mean(), rel=1e-12)
    assert spread[0] == pytest.approx(each.std(ddof=1) / np.sqrt(len(each)), rel=1e-12)
    assert one_by_one[0] == pytest.approx(each, rel=1e-12)
    assert loss[1] != loss[0]


def test_validation_counts_double_in_even_steps_and_hold_for_every_horizon() -> None:
    counts = validation_counts(2, 100)
    assert counts.tolist() == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91]
    assert validation_counts(2, 30).tolist() == [c for c in counts if c <= 30]


def test_the_axis_is_as_long_as_the_edges_in_training_on_a_cpu_and_a_power_of_two_elsewhere() -> None:
    assert [bucket(n, CPU) for n in (0, 1, 5)] == [0, 1, 5]
    assert [bucket(n, torch.device("cuda")) for n in (0, 1, 2, 3, 5, 16)] == [0, 1, 2, 4, 8, 16]


def test_a_corpus_other_than_the_planned_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match="was planned for the corpus feedfacecafe"):
        train.train_stack(alone(a_run(corpus="feedfacecafe")), TOKENS, tmp_path, device=CPU)


def test_a_checkpoint_that_takes_long_is_made_less_often() -> None:
    assert train.pause_after(0.1, 30.0) == 30.0
    assert train.pause_after(5.0, 30.0) == 250.0  # 2% of the time
    assert train.pause_after(5.0, 0.2) == 0.2 and train.pause_after(5.0, -1) == -1


def test_real_text_is_learnt_beyond_its_letter_frequencies(trained: Train, tmp_path: Path) -> None:
    folder = Path(train.__file__).parent.parent  # the text of this package itself
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*/*.py")))
    letters = np.frombuffer(text, dtype=np.uint8)
    tokens = Tokens(letters[:-20_000], letters[-20_000:], TOKENS.manifest, "test")
    share = np.bincount(tokens.validation, minlength=256) / len(tokens.validation)
    unigram_entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    run = a_run(
        dtype="float32", width=32, depth=2, context=64, batch=8, steps=150, cooldown=40, lr=0.02, val_sequences=32
    )
    trained(alone(run), "out", tokens)
    assert final(tmp_path / "out", run)["loss"] < unigram_entropy - 0.3  # context counts, clearly


def test_a_full_disk_stops_the_sweep_in_one_line_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = alone(a_run(steps=6, warmup=0)), alone(a_run(steps=40, width=32, seed=1))
    opened(tmp_path, good, bad)
    whole = records.append_rows

    def full(out: Path, key: str, rows: object) -> None:
        with records.writing(out):
            if key == bad.runs[0].key and len(curve(out, bad.runs[0])) > 5:
                raise OSError(errno.ENOSPC, "No space left on device")
        whole(out, key, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(records, "append_rows", full)
        outcomes = pool.run_stacks([bad, good], TOKENS, tmp_path, device="cpu", workers=1, threads=1)
    assert [outcome.state for outcome in outcomes] == ["failed", "stopped"]  # the other would fail as well
    assert "No space left on device" in outcomes[0].message and "\n" not in outcomes[0].message
    kept = curve(tmp_path, bad.runs[0])
    assert kept and not records.is_done(tmp_path, bad.runs[0].key)
    assert pool.run_stacks([bad, good], TOKENS, tmp_path, device="cpu", workers=1, threads=1)[0].state == "done"
    again = curve(tmp_path, bad.runs[0])
    assert [row["step"] for row in again] == [str(step) for step in range(40)]
    assert [{**row, "seconds": ""} for row in again[: len(kept)]] == [{**row, "seconds": ""} for row in kept]


def test_processes_train_what_one_process_trains(tmp_path: Path) -> None:
    stacks = [alone(a_run(steps=6, warmup=0)), alone(a_run(steps=6, warmup=0, width=8))]
    for name, workers in (("one", 1), ("two", 2)):
        opened(tmp_path / name, *stacks)
        outcomes = pool.run_stacks(stacks, TOKENS, tmp_path / name, device="cpu", workers=workers, threads=1)
        assert [outcome.state for outcome in outcomes] == ["done", "done"]
        assert [outcome.stack for outcome in outcomes] == [stack.key for stack in stacks]
    for stack in stacks:
        assert_same_curve(curve(tmp_path / "one", stack.runs[0]), curve(tmp_path / "two", stack.runs[0]), rtol=0)


def test_a_failed_stack_in_a_process_does_not_stop_the_others(tmp_path: Path) -> None:
    stacks = [alone(a_run(steps=6, warmup=0, corpus="feedfacecafe")), alone(a_run(steps=6, warmup=0, width=8))]
    opened(tmp_path, *stacks)
    outcomes = pool.run_stacks(stacks, TOKENS, tmp_path, device="cpu", workers=2, threads=1)
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert "feedfacecafe" in outcomes[0].message
    assert "ScalingError" in (tmp_path / ".stacks" / stacks[0].key / "failure.txt").read_text()


def test_little_work_is_not_worth_a_second_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "start", lambda *_: pytest.fail("a process was started"))
    stacks = [alone(a_run(steps=6, warmup=0)), alone(a_run(steps=6, warmup=0, width=8))]
    outcomes = pool.run_stacks(stacks, TOKENS, opened(tmp_path, *stacks), device="cpu")
    assert [outcome.state for outcome in outcomes] == ["done", "done"]


def test_a_stack_that_gains_nothing_from_company_goes_tree_by_tree(tmp_path: Path) -> None:
    stack = forked(*mixed())
    assert pool.split(stack, "cpu", None) == [stack]  # small: sixteen fit a core's caches
    parts = pool.split(stack, "cpu", max_slots=1)
    assert [len(part.runs) for part in parts] == [3, 1, 1]
    assert sorted(edge.name for part in parts for edge in part.edges) == sorted(edge.name for edge in stack.edges)
    assert pool.split(stack, "cuda", max_slots=1) == [stack]
    (outcome,) = pool.run_stacks(
        [stack], TOKENS, opened(tmp_path, stack), device="cpu", workers=2, max_slots=1, threads=1
    )
    assert outcome == pool.Outcome(stack.key, "done")
    assert all(final(tmp_path, run)["status"] == "finished" for run in stack.runs)


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match="device must be cpu, cuda or cuda:<number>, got 'gpu'"):
        pool.run_stacks([alone(a_run())], TOKENS, tmp_path, device="gpu")
