"""Where stacks train: in this process, or on a CPU in one process a core, each taking whole stacks.

Every stack is on its own: it fails, is stopped and resumes alone, and no failure stops the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch

from scaling.errors import ScalingError
from sweeps.progress import Bars, Lines, Report, display
from sweeps.runs import Stack
from sweeps.tokens import Tokens
from sweeps.train import train_stack

#: What two or more threads of one training are worth, per thread, beside as many trainings of one thread each:
#: measured at widths 16 to 96 on two cores (0.7 to 0.85).
THREAD_WORTH = 0.75
#: How long to wait for another process that is training the same stack: a killed sweep's workers notice within a
#: segment that it is gone.
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """How to train, beyond what the runs say; none of it changes results beyond rounding."""

    device: str
    threads: int
    max_slots: int | None = None
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """How the training of one stack ended; `message` says why it failed."""

    stack: str
    state: Literal["done", "stopped", "failed"]
    message: str = ""


def run_stacks(
    stacks: Sequence[Stack],
    tokens: Tokens,
    out: Path,
    *,
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    max_slots: int | None = None,
    checkpoint_seconds: float = 30.0,
    show: Bars | Lines | None = None,
) -> list[Outcome]:
    """Train `stacks` into `out`, whose run folders are open; one Outcome a stack, in the order given.

    device   "cpu", "cuda" or "cuda:1"; None takes CUDA where there is one
    workers  processes, each training one stack at a time; None decides by `division`
    threads  threads of each process

    SIGINT and SIGTERM write checkpoints and end the training cleanly, with state "stopped". With several workers the
    calling script needs the usual `if __name__ == "__main__":`, for they are spawned.
    """
    where = _device(device)
    left = sorted(stacks, key=cost, reverse=True)  # the most expensive first, so that none starts late
    split = division([cost(stack) for stack in left], _cores() if where == "cpu" else 1)
    workers = min(workers or split[0], max(1, len(left)))
    options = Options(where, threads or max(1, _cores() // workers), max_slots, checkpoint_seconds)
    with show or display(stacks) as screen, _stop_on_signals() as stopping:
        if workers == 1:
            done = [_train(stack, tokens, out, options, stopping, screen.show) for stack in left]
        else:
            done = _spread(left, tokens, out, options, workers, stopping, screen)
    outcomes = {outcome.stack: outcome for outcome in done}
    return [outcomes[stack.key] for stack in stacks]


def cost(stack: Stack) -> float:
    """Training FLOPs of a stack, shared steps counted once."""
    run = stack.runs[0]
    steps = sum(edge.stop - edge.start for edge in stack.edges)
    return steps * run.tokens_per_step * run.flops_per_token["6N_with_attention"]


def division(costs: Sequence[float], cores: int) -> tuple[int, int]:
    """Processes, and threads of each, for stacks of these costs, falling.

    Either one process with a thread a core, or one process a core with one thread, whichever ends sooner by
    THREAD_WORTH. Processes lose where one stack outweighs the rest: it then trains on one core to the end.
    """
    workers = min(cores, len(costs))
    if workers <= 1:
        return 1, cores
    loads = [0.0] * workers
    for value in costs:
        loads[loads.index(min(loads))] += value
    if max(loads) <= sum(costs) / (cores * THREAD_WORTH):
        return workers, max(1, cores // workers)
    return 1, cores


def _device(name: str | None) -> str:
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ScalingError(f"device must be cpu, cuda or cuda:<number>, got {name!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ScalingError(f"device {name!r} was asked for, but torch sees no CUDA device here; use cpu")
    return name


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
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


def _train(
    stack: Stack,
    tokens: Tokens,
    out: Path,
    options: Options,
    stopping: Callable[[], bool],
    report: Callable[[Report], None],
) -> Outcome:
    """Train one stack here and say how it ended; nothing but an interrupt is raised."""
    failure = out / ".stacks" / stack.key / "failure.txt"
    if stopping():
        return Outcome(stack.key, "stopped")
    torch.set_num_threads(options.threads)
    try:
        with _locked(failure.parent):
            finished = train_stack(
                stack,
                tokens,
                out,
                device=torch.device(options.device),
                max_slots=options.max_slots,
                checkpoint_seconds=options.checkpoint_seconds,
                stopping=stopping,
                report=report,
            )
            failure.unlink(missing_ok=True)
        return Outcome(stack.key, "done" if finished else "stopped")
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, ScalingError):
            message = str(error)
        elif isinstance(error, OSError):
            message = (
                f"{error}; what was written is intact: mend the cause (space, permissions) and run the same command "
                f"again, it continues from the last checkpoint"
            )
        with suppress(OSError):  # the message says it as well
            failure.write_text(traceback.format_exc())
        return Outcome(stack.key, "failed", message)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a stack's folder, so that no two processes train it; it goes with the process, even killed."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no flock: there it is the user's care
        yield
        return
    with (folder / "lock").open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ScalingError(
                        f"another process is training in {folder.parent.parent}; wait for it or stop it"
                    ) from None
                time.sleep(0.2)
        yield


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    stack: Stack | None = None


def _spread(
    left: Sequence[Stack],
    tokens: Tokens,
    out: Path,
    options: Options,
    count: int,
    stopping: Callable[[], bool],
    screen: Bars | Lines,
) -> list[Outcome]:
    """Train `left`, in this order, on `count` processes; one that dies fails its stack and is replaced."""
    queue, outcomes, workers, told = list(left), list[Outcome](), list[_Worker](), False
    try:
        while len(outcomes) < len(left):
            if stopping():
                outcomes += [Outcome(stack.key, "stopped") for stack in queue]
                queue.clear()
                if not told:
                    for worker in workers:
                        worker.process.terminate()  # SIGTERM: write a checkpoint and end
                told = True
            while queue and len(workers) < count:
                workers.append(_start(tokens, out, options))
                _give(workers[-1], queue)
            for pipe in wait([worker.pipe for worker in workers], timeout=0.5):
                worker = next(worker for worker in workers if worker.pipe is pipe)
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    workers.remove(worker)
                    if worker.stack is not None:
                        text = f"its process died with exit code {worker.process.exitcode}"
                        key = worker.stack.key
                        outcomes.append(Outcome(key, "stopped") if told else Outcome(key, "failed", text))
                    continue
                if isinstance(message, Report):
                    screen.show(message)
                else:
                    outcomes.append(message)
                    worker.stack = None
                    _give(worker, queue)
    finally:
        for worker in workers:
            worker.pipe.close()  # a worker without work ends, one at work stops at its next checkpoint
        for worker in workers:
            worker.process.join()
    return outcomes


def _start(tokens: Tokens, out: Path, options: Options) -> _Worker:
    context = multiprocessing.get_context("spawn")  # fork does not go with threads that torch has started
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, tokens, out, options), daemon=False)
    process.start()
    there.close()
    return _Worker(process, here)


def _give(worker: _Worker, queue: list[Stack]) -> None:
    if queue:
        worker.stack = queue.pop(0)
        with suppress(OSError):  # if it has died, the next read says so
            worker.pipe.send(worker.stack)


def _work(pipe: Connection, tokens: Tokens, out: Path, options: Options) -> None:
    """Body of a worker process: train what comes through the pipe until it closes."""
    orphaned: list[bool] = []

    def report(value: Report) -> None:
        try:
            pipe.send(value)
        except OSError:
            orphaned.append(True)

    with _stop_on_signals() as signalled:
        parent = multiprocessing.parent_process()

        def stopping() -> bool:
            return signalled() or bool(orphaned) or (parent is not None and not parent.is_alive())

        while not stopping():
            try:
                stack = pipe.recv()
                pipe.send(_train(stack, tokens, out, options, stopping, report))
            except (EOFError, OSError):
                return
