"""Where stacks train: in this process, or on a CPU in one process a core with one thread each.

Every stack is on its own: it fails, is stopped and resumes alone, and no failure stops the others. A stack whose runs
gain nothing from each other's company goes as several, one a tree, so that the last core does not wait for the
largest stack.
"""

from __future__ import annotations

import hashlib
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

# Before torch is imported. Threads that wait by spinning hinder each other wherever another process wants a core: with
# one such process on two cores, two spinning threads took 10 to 20 times as long as one, two sleeping ones no longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from scaling.errors import ScalingError
from sweeps.progress import Bars, Lines, Report, display
from sweeps.records import writing
from sweeps.runs import Stack, stack_key
from sweeps.tokens import Tokens
from sweeps.train import default_slots, train_stack

#: Elements, tokens of an update times width, from which several threads are worth having when cores are idle: measured
#: on two cores up to 2**17.6, where sleeping threads gain a tenth; beyond is a guess.
THREADED_ELEMENTS = 2**18
#: Training FLOPs that a second process must take over to be worth its start: a few seconds, most of it importing torch.
SPAWN_FLOPS = 5e10
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
    workers  processes, each training one stack at a time; None takes one a core, or one for little work
    threads  threads of each process; None takes one, more only for large models on idle cores

    SIGINT and SIGTERM write checkpoints and end the training cleanly, with state "stopped". With several workers the
    calling script needs the usual `if __name__ == "__main__":`, for they are spawned.
    """
    where = _device(device)
    parts = {part.key: (stack, part) for stack in stacks for part in split(stack, where, max_slots)}
    left = sorted((part for _, part in parts.values()), key=cost, reverse=True)  # so that none expensive starts late
    cores = _cores()
    if workers is None:
        others = sum(cost(part) for part in left[1:])  # all that could go on beside the largest
        workers = cores if where == "cpu" and others > SPAWN_FLOPS else 1
    workers = max(1, min(workers, len(left)))
    if threads is None:
        threads = cores // workers if left and _elements(left[0]) >= THREADED_ELEMENTS else 1
    options = Options(where, max(1, threads), max_slots, checkpoint_seconds)
    for stack in stacks:
        with suppress(OSError):
            _failure(out, stack).unlink(missing_ok=True)
    with show or display(left) as screen, _stop_on_signals() as stopping:
        if workers == 1:
            done = [_train(stack, tokens, out, options, stopping, screen.show) for stack in left]
        else:
            done = _spread(left, tokens, out, options, workers, stopping, screen)
    return [_merged(stack, [o for o in done if parts[o.stack][0] is stack]) for stack in stacks]


def split(stack: Stack, device: str, max_slots: int | None) -> list[Stack]:
    """The stack as one, or, where a CPU would give it one slot, tree by tree: they can then train on any free core.

    The parts do not depend on how many cores there are, so that a sweep resumes anywhere.
    """
    trunks = dict.fromkeys(edge.trunk for edge in stack.edges)
    slots = max_slots or default_slots(stack.runs[0], torch.device(device))
    if device != "cpu" or slots > 1 or len(trunks) <= 1:
        return [stack]
    parts = []
    for trunk in trunks:
        edges = tuple(edge for edge in stack.edges if edge.trunk == trunk)
        keys = {key for edge in edges for key in edge.runs}
        name = f"{stack.key}-{hashlib.sha256(trunk.encode()).hexdigest()[:6]}"
        parts.append(Stack(name, tuple(run for run in stack.runs if run.key in keys), edges))
    return parts


def _merged(stack: Stack, outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of a stack's parts: the worst, with all that went wrong."""
    states = [outcome.state for outcome in outcomes]
    state: Literal["done", "stopped", "failed"] = "done"
    if "failed" in states:
        state = "failed"
    elif "stopped" in states:
        state = "stopped"
    return Outcome(stack.key, state, "; ".join(dict.fromkeys(o.message for o in outcomes if o.message)))


def _elements(stack: Stack) -> int:
    return stack.runs[0].tokens_per_step * stack.runs[0].width


def _failure(out: Path, stack: Stack) -> Path:
    """Where the error that ended a stack, or a part of it, is kept."""
    return out / ".stacks" / stack_key(stack.runs[0]) / "failure.txt"


def cost(stack: Stack) -> float:
    """Training FLOPs of a stack, shared steps counted once."""
    run = stack.runs[0]
    steps = sum(edge.stop - edge.start for edge in stack.edges)
    return steps * run.tokens_per_step * run.flops_per_token["6N_with_attention"]


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
    if stopping():
        return Outcome(stack.key, "stopped")
    torch.set_num_threads(options.threads)
    try:
        with _locked(out / ".stacks" / stack.key):
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
        return Outcome(stack.key, "done" if finished else "stopped")
    except Exception as error:
        message = str(error) if isinstance(error, ScalingError) else f"{type(error).__name__}: {error}"
        with suppress(OSError):  # the message says it as well
            failure = _failure(out, stack)
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(traceback.format_exc())
        return Outcome(stack.key, "failed", message)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a stack's folder, so that no two processes train it; it goes with the process, even killed."""
    with writing(folder):
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
