"""Killed, stopped, damaged, extended: a sweep continues, and says the same as one that was left alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps import checkpoint, pool, records, slots, train, workers
from sweeps.optim import empty_state
from sweeps.runs import Run, Stack
from sweeps.slots import Training
from sweeps.tokens import Part
from tests.lives import Life
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened

CPU = torch.device("cpu")
TOKENS = a_text()


def long_stacks() -> list[Stack]:
    """A few seconds of training: forks, several seeds, runs that end long before the others."""
    fields = dict(width=32, depth=2, dtype="float32", context=32, batch=4, evals_per_octave=2)
    return [
        forked(
            a_run(steps=150, cooldown=30, **fields),
            a_run(steps=75, cooldown=15, **fields),
            a_run(steps=20, cooldown=5, seed=1, **fields),
            a_run(steps=100, cooldown=20, seed=1, **fields),
            a_run(steps=130, schedule="cosine", **fields),
            a_run(steps=30, schedule="constant", seed=2, **fields),
        ),
        # long enough that it is still in training when the first stack writes its second checkpoint
        forked(a_run(steps=350, cooldown=30, **(fields | {"width": 24}))),
    ]


def sweep(out: Path, count: int = 1) -> list[str]:
    """Body of a process: train all, by workers of its own or alone."""
    opened(out, *long_stacks())
    workers.CONTEXT = multiprocessing.get_context("fork")  # type: ignore[assignment]  # torch is imported, not yet used
    outcomes = pool.run_stacks(
        long_stacks(), a_text(), out, device="cpu", workers=count, threads=1, checkpoint_seconds=0.2, max_slots=3
    )
    return [outcome.state for outcome in outcomes]


def wait_for(done: Path, life: Life, seconds: float = 60.0) -> None:
    """Until `done` exists; the process must still be at work then."""
    deadline = time.monotonic() + seconds
    while not done.exists():
        assert life.process.is_alive() and time.monotonic() < deadline, f"no {done}"
        time.sleep(0.005)
    assert life.process.is_alive()


def repeatable(out: Path, run: Run) -> tuple[list[dict[str, str]], dict[str, object]]:
    """All that a run leaves but times."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in curve(out, run)]
    return rows, {name: value for name, value in final(out, run).items() if name != "seconds"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert Life(sweep, out).result() == ["done", "done"]
    return out


def assert_same(a: Path, b: Path) -> None:
    for run in (run for stack in long_stacks() for run in stack.runs):
        assert repeatable(a, run) == repeatable(b, run)  # bitwise: the same company in the same slots


@pytest.mark.parametrize("finished, count", [(False, 1), (True, 2)])
def test_a_killed_sweep_continues_from_its_checkpoint_bit_by_bit(
    tmp_path: Path, undisturbed: Path, finished: bool, count: int
) -> None:
    """Killed before any run has ended, and after; workers that the killed process leaves behind end by themselves."""
    out, (stack, _) = tmp_path / "out", long_stacks()
    life = Life(sweep, out, count)
    folder = out / ".stacks" / stack.key
    wait_for(out / stack.runs[2].key / "final.json" if finished else folder / "checkpoint.prev.pt", life)
    os.kill(life.pid, signal.SIGKILL)  # not its workers
    life.process.join()
    before = {run.key: len(curve(out, run)) for run in stack.runs}
    assert any(before.values()) and not all(records.is_done(out, run.key) for run in stack.runs)
    assert Life(sweep, out).result() == ["done", "done"]
    assert_same(out, undisturbed)
    assert not (folder / "checkpoint.pt").exists()


def test_a_terminated_sweep_of_several_processes_stops_cleanly_and_continues(tmp_path: Path, undisturbed: Path) -> None:
    out, (stack, _) = tmp_path / "out", long_stacks()
    life = Life(sweep, out, 2)
    wait_for(out / ".stacks" / stack.key / "checkpoint.prev.pt", life)
    os.kill(life.pid, signal.SIGTERM)
    assert life.result() == ["stopped", "stopped"]
    assert Life(sweep, out).result() == ["done", "done"]
    assert_same(out, undisturbed)


class OnDevice(torch.Tensor):
    """A tensor of a device that is not here, with a way back."""

    @staticmethod
    def empty(size: int) -> OnDevice:
        return torch.empty(size, dtype=torch.float64, device="meta").as_subclass(OnDevice)

    def cpu(self, *_: object, **__: object) -> torch.Tensor:
        return torch.zeros(self.shape, dtype=self.dtype)


class Killed(Exception):
    pass


def train_until(out: Path, stack: Stack, steps: int, **options: Any) -> None:
    """Train in this process and vanish, as a kill does, when a slot has come to `steps`: one segment, with its rows on
    disk, after the last checkpoint."""

    def stopping() -> bool:
        if any(int(row[-1]["step"]) + 1 >= steps for run in stack.runs if (row := curve(out, run))):
            raise Killed
        return False

    with pytest.raises(Killed):
        opened(out, stack)
        train.train_stack(stack, TOKENS, out, device=CPU, checkpoint_seconds=-1, stopping=stopping, **options)


def test_runs_on_mixtures_and_few_tokens_continue_where_they_were(tmp_path: Path) -> None:
    text, half = a_text(), 9000
    parts = (Part("first", 0, half, 0, 1000), Part("second", half, half, 1000, 1000))
    tokens = replace(text, parts=parts)
    both = (("first", 0.75), ("second", 0.25))
    runs = [a_run(steps=40, mixture=both), a_run(steps=40, mixture=both, unique_tokens=320)]
    left, stopped = tmp_path / "left", tmp_path / "stopped"
    stack = forked(*runs)
    assert train.train_stack(stack, tokens, opened(left, stack), device=CPU)
    asked: list[int] = []
    assert not train.train_stack(
        stack, tokens, opened(stopped, stack), device=CPU, stopping=lambda: asked.append(0) or len(asked) > 3
    )
    assert 0 < len(curve(stopped, runs[0])) < 40
    assert train.train_stack(stack, tokens, stopped, device=CPU)
    for run in runs:
        assert repeatable(stopped, run) == repeatable(left, run)
    for run in runs:
        by_source = final(left, run)["loss_by_source"]
        assert sum(by_source.values()) / 2 == pytest.approx(final(left, run)["loss"], rel=1e-12)  # three sequences each
        assert by_source["first"] != by_source["second"]
    losses = [[row["train_loss"] for row in curve(left, run)] for run in runs]
    assert losses[0] != losses[1]


def some_runs() -> list[Run]:
    return [a_run(steps=40, cooldown=8), a_run(steps=24, cooldown=4), a_run(steps=30, cooldown=6, seed=1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, stack = tmp_path_factory.mktemp("whole"), forked(*some_runs())
    assert train.train_stack(stack, TOKENS, opened(out, stack), device=CPU)
    return out


@pytest.mark.parametrize(
    ("damage", "lines"), [("cut", 1), ("flipped", 1), ("gone", 0), ("later version", 1), ("both", 2)]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_or_to_none(
    tmp_path: Path, whole: Path, damage: str, lines: int
) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 22)
    folder = tmp_path / ".stacks" / stack.key
    current, previous = folder / "checkpoint.pt", folder / "checkpoint.prev.pt"
    data = bytearray(current.read_bytes())
    if damage == "cut":
        current.write_bytes(data[: len(data) // 2])
    elif damage == "gone":  # killed between the two renames
        current.unlink()
    elif damage == "later version":
        payload = checkpoint.load(folder)
        assert payload is not None
        with current.open("wb") as file:
            checkpoint._write(file, {**payload, "snapshots": {}, "version": checkpoint.VERSION + 1})
    else:
        data[len(data) // 2] ^= 1
        current.write_bytes(data)
    if damage == "both":
        previous.write_bytes(b"")
    said = list[str]()
    assert (checkpoint.load(folder) is None) == (damage == "both")
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU, say=said.append)
    assert len(said) == lines and all(str(folder) in line and "\n" not in line for line in said)
    for run in stack.runs:
        assert repeatable(tmp_path, run) == repeatable(whole, run)


def one_slot_runs() -> list[Run]:
    """A trunk with forks that wait, in one slot, until it has ended."""
    return [a_run(steps=n, cooldown=6) for n in (20, 28, 36)]


def test_starting_points_of_forks_are_written_once_and_named_by_the_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, written = forked(*one_slot_runs()), list[Path]()
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda old, new: (written.append(new), replace(old, new))[1])
    opened(tmp_path, stack)
    folder = tmp_path / ".stacks" / stack.key
    waiting = set[int]()

    def stopping() -> bool:
        waiting.add(len(list(folder.glob("end.*.npy"))))
        return False

    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU, max_slots=1, checkpoint_seconds=-1, stopping=stopping)
    ends = [path.name for path in written if path.name.startswith("end.")]
    assert len(ends) == len(set(ends)) == 2 and max(waiting) == 2
    assert not list(folder.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_starting_point_sends_its_tree_back_and_no_other(tmp_path: Path, damage: str) -> None:
    stack = forked(*one_slot_runs(), a_run(steps=80, cooldown=6, seed=1))
    whole = opened(tmp_path / "whole", stack)
    assert train.train_stack(stack, TOKENS, whole, device=CPU, max_slots=2)
    out = tmp_path / "out"
    train_until(out, stack, 30, max_slots=2)
    other = stack.runs[-1]
    before = curve(out, other)
    (path, *_) = (out / ".stacks" / stack.key).glob("end.*.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data[:-9] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    said = list[str]()
    assert train.train_stack(stack, TOKENS, out, device=CPU, max_slots=2, say=said.append)
    assert said == [f"{path} is missing or damaged: the tree that forks from it is trained again"]
    assert len(before) > 20 and curve(out, other)[:20] == before[:20]  # seconds included: not trained again
    for run in stack.runs:
        assert final(out, run)["loss"] == pytest.approx(final(whole, run)["loss"], rel=1e-9)
        assert [int(row["step"]) for row in curve(out, run)] == list(range(run.steps))


def test_ends_beyond_what_a_device_has_to_spare_go_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training({}, set(), [], empty_state(a_run(), 1, torch.device("meta")))
    one = 3 * training.state.weights[0].nbytes
    monkeypatch.setattr(slots, "DEVICE_BYTES", 2 * one)
    monkeypatch.setattr(slots, "snapshot", lambda state, place: slots.Snapshot(OnDevice.empty(one // 8), 0.0))
    for name in "abc":
        slots.keep(training, name, 0)
    assert [end.rows.device.type for end in training.snapshots.values()] == ["meta", "meta", "cpu"]


@pytest.mark.parametrize("damage", ["lost", "cut", "glued", "twice"])
def test_a_curve_that_lacks_what_the_checkpoint_counts_on_sends_training_back(
    tmp_path: Path, whole: Path, damage: str
) -> None:
    """As a machine that lost its power leaves it: the checkpoint was flushed to disk, the last rows were not."""
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 22)
    path = tmp_path / stack.runs[0].key / "curve.csv"
    lines = path.read_text().splitlines(True)
    if damage == "lost":
        path.write_text("".join(lines[:18]))
    elif damage == "cut":
        path.write_text("".join(lines[:16]) + lines[16][:9])
    elif damage == "glued":
        path.write_text("".join([*lines[:14], lines[14][:9], *lines[15:]]))
    else:
        path.write_text("".join([*lines[:12], lines[11], *lines[12:]]))
    said = list[str]()
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU, say=said.append)
    assert said and "2 curves" not in said[0] and stack.runs[0].key in said[0]
    for run in stack.runs:
        assert [row["step"] for row in curve(tmp_path, run)] == [str(step) for step in range(run.steps)]
        assert final(tmp_path, run)["loss"] == pytest.approx(final(whole, run)["loss"], rel=1e-9)


def test_the_checkpoint_from_which_more_is_left_counts(tmp_path: Path) -> None:
    """The last checkpoint counts on a row that is lost, the one before does not."""
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 22)
    folder, forks = tmp_path / ".stacks" / stack.key, train.Forks(stack)
    unfinished = {run.key for run in stack.runs}
    _, newest = checkpoint.resume(folder, forks, unfinished, CPU, 8)

    def is_whole(key: str, count: int) -> bool:
        return count < newest[key] or key != stack.runs[0].key

    _, behind = checkpoint.resume(folder, forks, unfinished, CPU, 8, is_whole)
    assert 0 < behind[stack.runs[0].key] < newest[stack.runs[0].key]


@pytest.mark.parametrize("text", ["", '{"status": "fini', "[]", "\xff\xfe"])
def test_a_damaged_result_is_said_and_trained_again(tmp_path: Path, whole: Path, text: str) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 36)
    short = stack.runs[1]
    (tmp_path / short.key / "final.json").write_text(text, encoding="latin-1")
    said = list[str]()
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU, say=said.append)
    assert [line.split(" is damaged")[0] for line in said] == [str(tmp_path / short.key / "final.json")]
    for run in stack.runs:
        assert final(tmp_path, run)["loss"] == pytest.approx(final(whole, run)["loss"], rel=1e-9)


def test_a_training_goes_on_with_fewer_slots_than_it_had(tmp_path: Path, whole: Path) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 22)
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU, max_slots=1)
    for run in stack.runs:
        assert final(tmp_path, run)["loss"] == pytest.approx(final(whole, run)["loss"], rel=1e-9)
        assert [int(row["step"]) for row in curve(tmp_path, run)] == list(range(run.steps))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 10)
    folder = tmp_path / ".stacks" / stack.key
    before = (folder / "checkpoint.pt").read_bytes()
    training, _ = checkpoint.resume(folder, train.Forks(stack), {r.key for r in stack.runs}, CPU, 8)

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(Path, "open", lambda self, mode="r": Full())
    with pytest.raises(records.RecordError, match="No space left on device"):
        checkpoint.save(folder, training)
    monkeypatch.undo()
    assert (folder / "checkpoint.pt").read_bytes() == before
    assert checkpoint.load(folder) is not None


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 22)
    folder = tmp_path / ".stacks" / stack.key
    unfinished = {run.key for run in stack.runs}
    first, behind = checkpoint.resume(folder, train.Forks(stack), unfinished, CPU, 8)
    assert behind[stack.runs[0].key] >= 20 and first.seconds > 0 and len(first.slots) >= 2
    checkpoint.save(tmp_path, first)
    second, _ = checkpoint.resume(tmp_path, train.Forks(stack), unfinished, CPU, 8)
    assert described(first) == described(second)
    fewer, _ = checkpoint.resume(tmp_path, train.Forks(stack), unfinished, CPU, 1)
    assert (len(fewer.slots), len(fewer.parked)) == (1, len(first.slots) - 1)
    checkpoint.save(tmp_path, fewer)  # what waits for a slot is not lost
    third, _ = checkpoint.resume(tmp_path, train.Forks(stack), unfinished, CPU, 8)
    assert {slot.edge.name for slot in third.slots} == {slot.edge.name for slot in first.slots}
    assert torch.equal(third.state.weights.sort(0).values, first.state.weights.sort(0).values)


def described(training: Training) -> dict[str, object]:
    state = training.state
    tensors = [state.weights, state.first, state.second, state.count, state.alive]
    return {
        "planned": training.planned,
        "finished": training.finished,
        "slots": [(slot.edge.name, slot.step) for slot in training.slots if slot is not None],
        "state": [tensor.tolist() for tensor in tensors],
        "snapshots": {name: (s.rows.tolist(), s.count) for name, s in training.snapshots.items()},
        "seconds": training.seconds,
    }


def test_runs_that_ended_after_the_checkpoint_stay_company_for_the_others(tmp_path: Path) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 16)
    left = {stack.runs[0].key}
    training, _ = checkpoint.resume(tmp_path / ".stacks" / stack.key, train.Forks(stack), left, CPU, 8)
    assert set(training.planned) == {edge.name for edge in stack.edges}
    assert {slot.edge.trunk for slot in training.slots if slot} == {edge.trunk for edge in stack.edges}


def test_finished_runs_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = alone(a_run(steps=10, warmup=0))
    train.train_stack(stack, TOKENS, opened(tmp_path, stack), device=CPU)
    monkeypatch.setattr(train, "segment", lambda *_: pytest.fail("trained again"))
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU)


def test_a_grid_that_grows_trains_the_shared_steps_again_and_leaves_finished_runs_alone(tmp_path: Path) -> None:
    old = a_run(steps=24, cooldown=4)
    stack = alone(old)
    train.train_stack(stack, TOKENS, opened(tmp_path, stack), device=CPU)
    before = (tmp_path / old.key / "curve.csv").read_bytes()
    new = a_run(steps=40, cooldown=8)
    grown = forked(new, old)
    assert train.train_stack(grown, TOKENS, opened(tmp_path, grown), device=CPU)
    assert (tmp_path / old.key / "curve.csv").read_bytes() == before
    assert [int(row["step"]) for row in curve(tmp_path, new)] == list(range(40))
    # the shared steps are the same numbers, seconds apart; the fork is validated in the new curve only
    shared = [(row["step"], row["train_loss"]) for row in curve(tmp_path, new)][:20]
    assert shared == [(row["step"], row["train_loss"]) for row in curve(tmp_path, old)][:20]


def test_a_run_whose_result_was_removed_is_trained_again(tmp_path: Path, whole: Path) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 36)
    short = stack.runs[1]
    assert records.is_done(tmp_path, short.key)
    (tmp_path / short.key / "final.json").unlink()
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU)
    for run in stack.runs:  # float64, but in other company than undisturbed
        assert final(tmp_path, run)["loss"] == pytest.approx(final(whole, run)["loss"], rel=1e-9)
        assert [int(row["step"]) for row in curve(tmp_path, run)] == list(range(run.steps))
