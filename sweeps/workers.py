"""One worker: trains stacks, one at a time, on one device, under a lease; in this process or in one of its own.

How a stack ended is an `Outcome`. Nothing but an interrupt is raised: what went wrong with one stack is no reason to
stop the others, and the process that hands out stacks decides.
"""

from __future__ import annotations

import errno
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch

from scaling.errors import ScalingError
from sweeps import records
from sweeps.capacity import choose_slots
from sweeps.engine import DEFAULT, Mode
from sweeps.leases import LEASE_SECONDS, Leased, LeaseLost, leased
from sweeps.progress import Report
from sweeps.runs import Stack
from sweeps.tokens import Tokens
from sweeps.train import train_stack

#: How processes are started: a plain fork does not go with threads that torch has started.
CONTEXT: SpawnContext | ForkServerContext = multiprocessing.get_context("spawn")
#: Errors of a file system on which nothing can be written: other stacks would end the same way.
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True)
class Options:
    """How to train, beyond what the runs say; none of it changes results beyond rounding."""

    device: str
    threads: int
    max_slots: int | None = None
    checkpoint_seconds: float = 30.0
    lease_seconds: float = LEASE_SECONDS
    mode: Mode = DEFAULT


@dataclass(frozen=True)
class Outcome:
    """How the training of one stack ended.

    state    done; stopped, by a signal; failed; elsewhere, where another process holds its lease; memory, where the
             device had too little of it for `slots` runs at a time: a fresh process may do with fewer
    message  why it failed, or who trains it
    halts    whether the cause ends every stack: a full disk
    """

    stack: str
    state: Literal["done", "stopped", "failed", "elsewhere", "memory"]
    message: str = ""
    slots: int = 0
    halts: bool = False


@dataclass
class Worker:
    """A process that trains what it is given, and what that is."""

    process: BaseProcess
    pipe: Connection
    device: str
    stack: Stack | None = None


def train_here(
    stack: Stack,
    tokens: Tokens,
    out: Path,
    options: Options,
    *,
    slots: int | None = None,
    stopping: Callable[[], bool],
    report: Callable[[Report], None],
    say: Callable[[str], None],
) -> Outcome:
    """Train one stack in this process and say how it ended.

    slots  at most so many runs at a time; None: as `options` says
    """
    if stopping():
        return Outcome(stack.key, "stopped")
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    most = slots or options.max_slots
    try:
        with leased(out, stack.key, options.lease_seconds) as lease:
            records.clear_failures(out, stack.key)
            start = time.monotonic()
            most = most or choose_slots(stack, tokens, device, options.mode)
            finished = train_stack(
                stack,
                tokens,
                out,
                device=device,
                max_slots=most,
                mode=options.mode,
                measuring=time.monotonic() - start,
                checkpoint_seconds=options.checkpoint_seconds,
                stopping=stopping,
                report=report,
                check=lease.check,
                say=lambda text: say(f"{stack.key}  {text}"),
            )
        return Outcome(stack.key, "done" if finished else "stopped")
    except (Leased, LeaseLost) as error:
        return Outcome(stack.key, "elsewhere", str(error))
    except Exception as error:
        if is_out_of_memory(error):
            most = most or 1
            return Outcome(stack.key, "memory", f"out of memory with {most} runs at a time on {options.device}", most)
        message = " ".join(
            (str(error) if isinstance(error, ScalingError) else f"{type(error).__name__}: {error}").split()
        )
        keep_failure(out, stack, message, traceback.format_exc())
        return Outcome(stack.key, "failed", message, halts=_ends_every_stack(error))


def keep_failure(out: Path, stack: Stack, reason: str, trace: str = "") -> None:
    """Leave the reason of a failure in the folder, if that can be written; the outcome says it as well."""
    with suppress(OSError):
        records.write_failure(out, stack.key, reason, trace)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the machine, has too little memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's allocator on the CPU
    )


def _ends_every_stack(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return True
        error = error.__cause__
    return False


def start(tokens: Tokens, out: Path, options: Options) -> Worker:
    """A process of its own on the device of `options`, without work."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(there, tokens, out, options), daemon=False)
    process.start()
    there.close()
    return Worker(process, here, options.device)


def give(worker: Worker, stack: Stack, slots: int | None) -> None:
    """Have an idle worker train `stack`, with at most `slots` runs at a time."""
    worker.stack = stack
    with suppress(OSError):  # if it has died, the next read says so
        worker.pipe.send((stack, slots))


def dismiss(worker: Worker) -> None:
    """Wait for a worker to end: one without work does so at once, one at work after a checkpoint."""
    worker.pipe.close()
    worker.process.join()


def death(worker: Worker) -> str:
    """How a process that has ended without a word ended."""
    code = worker.process.exitcode
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {number.value for number in signal.Signals} else f"signal {-code}"
    hint = ", which is also what a system short of memory does" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Within, SIGINT and SIGTERM only set what the function given says; a second SIGINT interrupts as usual."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if number == signal.SIGINT and caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are someone else's business
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(pipe: Connection, tokens: Tokens, out: Path, options: Options) -> None:
    """Body of a worker process: train what comes through the pipe until it closes."""
    orphaned: list[bool] = []

    def report(value: Report | str) -> None:
        try:
            pipe.send(value)
        except OSError:
            orphaned.append(True)

    with stop_on_signals() as signalled:
        parent = multiprocessing.parent_process()

        def stopping() -> bool:
            return signalled() or bool(orphaned) or (parent is not None and not parent.is_alive())

        while not stopping():
            try:
                stack, slots = pipe.recv()
                pipe.send(
                    train_here(stack, tokens, out, options, slots=slots, stopping=stopping, report=report, say=report)
                )
            except (EOFError, OSError):
                return
