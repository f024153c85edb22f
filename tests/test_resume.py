"""Killed, stopped, damaged, extended: a sweep continues, and says the same as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sweeps import checkpoint, records, train
from sweeps.runs import Run, Stack
from sweeps.slots import Training
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened

CPU = torch.device("cpu")
TOKENS = a_text()

SCRIPT = """
import sys
from pathlib import Path
from sweeps import pool
from tests.stacks import a_text, opened
from tests.test_resume import long_stacks
if __name__ == "__main__":
    out, workers = Path(sys.argv[1]), int(sys.argv[2])
    stacks = long_stacks()
    opened(out, *stacks)
    outcomes = pool.run_stacks(
        stacks, a_text(), out, device="cpu", workers=workers, threads=1, checkpoint_seconds=0.2, max_slots=3
    )
    print(*(outcome.state for outcome in outcomes))
"""


def long_stacks() -> list[Stack]:
    """A few seconds of training: forks, several seeds, runs that end long before the others."""
    fields = dict(width=32, depth=2, dtype="float32", context=32, batch=4, evals_per_octave=2)
    return [
        forked(
            a_run(steps=300, cooldown=60, **fields),
            a_run(steps=150, cooldown=30, **fields),
            a_run(steps=40, cooldown=10, seed=1, **fields),
            a_run(steps=200, cooldown=40, seed=1, **fields),
            a_run(steps=260, schedule="cosine", **fields),
            a_run(steps=60, schedule="constant", seed=2, **fields),
        ),
        # long enough that it is still in training when the first stack writes its second checkpoint
        forked(a_run(steps=700, cooldown=30, **(fields | {"width": 24}))),
    ]


def start(out: Path, workers: int = 1) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(out), str(workers)],
        cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def wait_for(done: Path, process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    """Until `done` exists; the process must still be at work then."""
    deadline = time.monotonic() + seconds
    while not done.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"no {done}"
        time.sleep(0.005)
    assert process.poll() is None


def repeatable(out: Path, run: Run) -> tuple[list[dict[str, str]], dict[str, object]]:
    """All that a run leaves but times."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in curve(out, run)]
    return rows, {name: value for name, value in final(out, run).items() if name != "seconds"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    process = start(out)
    assert process.communicate(timeout=120)[0].split() == ["done", "done"]
    return out


def assert_same(a: Path, b: Path) -> None:
    for run in (run for stack in long_stacks() for run in stack.runs):
        assert repeatable(a, run) == repeatable(b, run)  # bitwise: the same company in the same slots


@pytest.mark.parametrize("finished, workers", [(False, 1), (True, 2)])
def test_a_killed_sweep_continues_from_its_checkpoint_bit_by_bit(
    tmp_path: Path, undisturbed: Path, finished: bool, workers: int
) -> None:
    """Killed before any run has ended, and after; workers that the killed process leaves behind end by themselves."""
    out, (stack, _) = tmp_path / "out", long_stacks()
    process = start(out, workers)
    folder = out / ".stacks" / stack.key
    wait_for(out / stack.runs[2].key / "final.json" if finished else folder / "checkpoint.prev.pt", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {run.key: len(curve(out, run)) for run in stack.runs}
    assert any(before.values()) and not all(records.is_done(out, run.key) for run in stack.runs)
    assert start(out).communicate(timeout=120)[0].split() == ["done", "done"]
    assert_same(out, undisturbed)
    assert not (folder / "checkpoint.pt").exists()


def test_a_terminated_sweep_of_several_processes_stops_cleanly_and_continues(tmp_path: Path, undisturbed: Path) -> None:
    out, (stack, _) = tmp_path / "out", long_stacks()
    process = start(out, workers=2)
    wait_for(out / ".stacks" / stack.key / "checkpoint.prev.pt", process)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0].split() == ["stopped", "stopped"]
    assert start(out).communicate(timeout=120)[0].split() == ["done", "done"]
    assert_same(out, undisturbed)


class Killed(Exception):
    pass


def train_until(out: Path, stack: Stack, steps: int) -> None:
    """Train in this process and vanish, as a kill does, when a slot has come to `steps`: one segment, with its rows on
    disk, after the last checkpoint."""

    def stopping() -> bool:
        if any(int(row[-1]["step"]) + 1 >= steps for run in stack.runs if (row := curve(out, run))):
            raise Killed
        return False

    with pytest.raises(Killed):
        train.train_stack(stack, TOKENS, opened(out, stack), device=CPU, checkpoint_seconds=-1, stopping=stopping)


def some_runs() -> list[Run]:
    return [a_run(steps=40, cooldown=8), a_run(steps=24, cooldown=4), a_run(steps=30, cooldown=6, seed=1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, stack = tmp_path_factory.mktemp("whole"), forked(*some_runs())
    assert train.train_stack(stack, TOKENS, opened(out, stack), device=CPU)
    return out


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "both"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_or_to_none(tmp_path: Path, whole: Path, damage: str) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 22)
    folder = tmp_path / ".stacks" / stack.key
    current, previous = folder / "checkpoint.pt", folder / "checkpoint.prev.pt"
    data = bytearray(current.read_bytes())
    if damage == "cut":
        current.write_bytes(data[: len(data) // 2])
    elif damage == "gone":  # killed between the two renames
        current.unlink()
    else:
        data[len(data) // 2] ^= 1
        current.write_bytes(data)
    if damage == "both":
        previous.write_bytes(b"")
    payload = checkpoint.load(folder)
    assert (payload is None) == (damage == "both")
    assert train.train_stack(stack, TOKENS, tmp_path, device=CPU)
    for run in stack.runs:
        assert repeatable(tmp_path, run) == repeatable(whole, run)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = forked(*some_runs())
    train_until(tmp_path, stack, 10)
    folder = tmp_path / ".stacks" / stack.key
    before = (folder / "checkpoint.pt").read_bytes()
    training, _ = checkpoint.restore(checkpoint.load(folder), train.Forks(stack), {r.key for r in stack.runs}, CPU)

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
    first, behind = checkpoint.restore(checkpoint.load(folder), train.Forks(stack), unfinished, CPU)
    assert behind[stack.runs[0].key] >= 20 and first.seconds > 0 and len(first.slots) >= 2
    checkpoint.save(tmp_path, first)
    second, _ = checkpoint.restore(checkpoint.load(tmp_path), train.Forks(stack), unfinished, CPU)
    assert described(first) == described(second)


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
    payload = checkpoint.load(tmp_path / ".stacks" / stack.key)
    training, _ = checkpoint.restore(payload, train.Forks(stack), left, CPU)
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
