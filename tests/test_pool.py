"""Who trains what: devices, processes that die or run out of memory, and how a sweep ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling.errors import ScalingError
from sweeps import collecting, pool, records, train, workers
from sweeps.describing import status_text
from sweeps.leases import leased
from sweeps.runs import Stack
from sweeps.tokens import Tokens
from sweeps.workers import Options
from tests import lives
from tests.stacks import a_run, a_text, alone, final, forked, opened

TOKENS = a_text()
WORK = workers._work


@pytest.fixture(autouse=True)
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers from a process that has imported torch already."""
    monkeypatch.setattr(workers, "CONTEXT", lives.CONTEXT)


def small_stacks(count: int) -> list[Stack]:
    """The first is the largest."""
    return [alone(a_run(steps=6, warmup=0, width=8 * (count - i))) for i in range(count)]


def said(out: Path) -> list[list[str]]:
    return [line.split() for line in (out / "log").read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [
        (None, 0, ["cpu"]),
        (None, 2, ["cuda:0", "cuda:1"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, ["cuda:1"]),
        ("cuda:0,cuda:1", 3, ["cuda:0", "cuda:1"]),
        ("cpu,cpu", 0, ["cpu", "cpu"]),
    ],
)
def test_devices_are_those_asked_for(text: str, count: int, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert pool.parse_devices(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda:2", "torch sees cuda:0 to cuda:1"),
        ("cuda:0,tpu", "cpu, cuda or cuda:<number>, got 'tpu'"),
        ("cpu,cuda:0", "of one kind"),
        ("", "got ''"),
    ],
)
def test_devices_that_are_not_there_are_refused(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ScalingError, match=message):
        pool.parse_devices(text)


def on_a_pretended_device(pipe: Connection, tokens: Tokens, out: Path, options: Options) -> None:
    """A worker whose accelerator is the CPU."""

    def logged(stack: Stack, *rest: Any, **more: Any) -> bool:
        with (out / "log").open("a") as file:
            file.write(f"{os.getpid()} {options.device} {options.threads} {stack.key}\n")
        return train.train_stack(stack, *rest, **more)

    workers.train_stack = logged
    WORK(pipe, tokens, out, replace(options, device="cpu"))


def test_every_device_has_a_process_that_pulls_the_largest_stack_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(workers, "_work", on_a_pretended_device)
    given, give = list[str](), pool.give

    def noted(worker: workers.Worker, stack: Stack, slots: int | None) -> None:
        given.append(stack.key)
        give(worker, stack, slots)

    monkeypatch.setattr(pool, "give", noted)
    stacks = small_stacks(5)
    outcomes = pool.run_stacks(stacks[::-1], TOKENS, opened(tmp_path, *stacks), device="cuda")
    assert [outcome.state for outcome in outcomes] == ["done"] * 5
    log = said(tmp_path)
    assert len({(pid, device) for pid, device, *_ in log}) == 2
    assert {device for _, device, *_ in log} == {"cuda:0", "cuda:1"}
    assert given == [stack.key for stack in stacks]
    assert sorted(key for *_, key in log) == sorted(stack.key for stack in stacks)


def test_a_cpu_named_twice_is_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", on_a_pretended_device)
    stacks = small_stacks(2)
    outcomes = pool.run_stacks(stacks, TOKENS, opened(tmp_path, *stacks), device="cpu,cpu", threads=1)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    assert len({pid for pid, *_ in said(tmp_path)}) == 2


def short_of_memory(fits: int) -> Callable[..., bool]:
    """`train_stack` on a device with memory for so many runs at a time."""

    def trained(stack: Stack, tokens: Tokens, out: Path, *, max_slots: int, **more: Any) -> bool:
        with (out / "log").open("a") as file:
            file.write(f"{os.getpid()} {max_slots}\n")
        if max_slots > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return train.train_stack(stack, tokens, out, max_slots=max_slots, **more)

    return trained


def memory_for_two(*arguments: Any) -> None:
    workers.train_stack = short_of_memory(2)
    WORK(*arguments)


def memory_for_none(*arguments: Any) -> None:
    workers.train_stack = short_of_memory(0)
    WORK(*arguments)


def test_out_of_memory_leads_to_a_fresh_process_with_half_the_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "_work", memory_for_two)
    monkeypatch.setattr(workers, "train_stack", short_of_memory(2))  # the first try is made here
    stack = forked(*(a_run(steps=6, warmup=0, seed=seed) for seed in range(3)))
    (outcome,) = pool.run_stacks([stack], TOKENS, opened(tmp_path, stack), device="cpu", max_slots=9)
    assert outcome == workers.Outcome(stack.key, "done")
    assert [slots for _, slots in said(tmp_path)] == ["9", "4", "2"]
    pids = [pid for pid, _ in said(tmp_path)]
    assert len(set(pids)) == 3 and pids[0] == str(os.getpid())
    assert "out of memory with 9 runs at a time on cpu; again with 4" in capsys.readouterr().err
    assert all(final(tmp_path, run)["status"] == "finished" for run in stack.runs)


def test_a_shape_that_does_not_fit_fails_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", memory_for_none)
    monkeypatch.setattr(workers, "train_stack", short_of_memory(0))
    stack = alone(a_run(steps=6, warmup=0))
    (outcome,) = pool.run_stacks([stack], TOKENS, opened(tmp_path, stack), device="cpu", max_slots=2)
    assert (outcome.state, outcome.message) == (
        "failed",
        "out of memory with 1 runs at a time on cpu: this shape does not fit",
    )
    assert [slots for _, slots in said(tmp_path)] == ["2", "1"]
    assert collecting.status(tmp_path)["reason"].tolist() == [outcome.message]


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, is_memory: bool) -> None:
    assert workers.is_out_of_memory(error) == is_memory


def dies_on_the_first(pipe: Connection, tokens: Tokens, out: Path, options: Options) -> None:
    largest = small_stacks(3)[0].key

    def trained(stack: Stack, *rest: Any, **more: Any) -> bool:
        if stack.key == largest:
            os.kill(os.getpid(), signal.SIGKILL)
        return train.train_stack(stack, *rest, **more)

    workers.train_stack = trained
    WORK(pipe, tokens, out, options)


def test_a_process_that_dies_fails_its_stack_alone_and_the_status_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = small_stacks(3)
    opened(tmp_path, *stacks)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_work", dies_on_the_first)
        outcomes = pool.run_stacks(stacks, TOKENS, tmp_path, device="cpu", workers=2)
    assert [outcome.state for outcome in outcomes] == ["failed", "done", "done"]
    reason = "its process was ended by SIGKILL, which is also what a system short of memory does"
    assert outcomes[0].message == reason
    states = collecting.status(tmp_path)
    assert sorted(states["reason"]) == ["", "", reason]
    assert f"failed      1 runs: {reason}" in status_text(states)
    assert [o.state for o in pool.run_stacks(stacks, TOKENS, tmp_path, device="cpu")] == ["done"] * 3
    assert collecting.status(tmp_path)["reason"].tolist() == [""] * 3


def test_the_reason_of_a_failure_is_one_line_below_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> bool:
        raise ZeroDivisionError("a mistake\nof two lines")

    monkeypatch.setattr(workers, "train_stack", broken)
    stack = alone(a_run(steps=6, warmup=0))
    (outcome,) = pool.run_stacks([stack], TOKENS, opened(tmp_path, stack), device="cpu")
    assert outcome.state == "failed"
    assert (tmp_path / ".stacks" / stack.key / "failure.txt").read_text().startswith("Traceback")
    assert records.read_failure(tmp_path, stack.key, "any") == "ZeroDivisionError: a mistake of two lines"


def test_stacks_of_others_are_left_to_them_where_one_does_not_wait(tmp_path: Path) -> None:
    stacks = small_stacks(2)
    opened(tmp_path, *stacks)
    with leased(tmp_path, stacks[0].key):
        outcomes = pool.run_stacks(stacks, TOKENS, tmp_path, device="cpu", wait_for_others=False)
    assert [outcome.state for outcome in outcomes] == ["elsewhere", "done"]
    assert f"process {os.getpid()} on " in outcomes[0].message


def test_a_finished_sweep_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = small_stacks(2)
    pool.run_stacks(stacks, TOKENS, opened(tmp_path, *stacks), device="cpu")
    monkeypatch.setattr(pool, "start", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [o.state for o in pool.run_stacks(stacks, TOKENS, tmp_path, device="cuda")] == ["done"] * 2
