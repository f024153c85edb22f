"""Who trains which stack: one process per accelerator, or on a CPU one a core with one thread each.

The queue is the folder itself: what is not done there and nobody holds a lease on, the largest stack first. So several
sweeps, also on several machines, may be pointed at one folder and share its work. Every stack is on its own: it fails,
is stopped and resumes alone, and no failure stops the others. A stack whose runs gain nothing from each other's company
goes as several, one a tree, so that the last core does not wait for the largest stack.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Literal

# Before torch is imported, here and in the processes that inherit it. Threads that wait by spinning hinder each other
# wherever another process wants a core: with one such process on two cores, two spinning threads took 10 to 20 times as
# long as one, two sleeping ones no longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from scaling.errors import ScalingError
from sweeps import records
from sweeps.counting import flops_per_token
from sweeps.engine import Mode
from sweeps.estimate import cores
from sweeps.leases import LEASE_SECONDS, holder_of, holders
from sweeps.progress import Bars, Lines, Report, display, summary
from sweeps.runs import Stack, part_key
from sweeps.tokens import Tokens
from sweeps.train import default_slots
from sweeps.workers import (
    Options,
    Outcome,
    Worker,
    death,
    dismiss,
    give,
    keep_failure,
    start,
    stop_on_signals,
    train_here,
)

#: Elements, tokens of an update times width, from which several threads are worth having when cores are idle: measured
#: on two cores up to 2**17.6, where sleeping threads gain a tenth; beyond is a guess.
THREADED_ELEMENTS = 2**18
#: Training FLOPs that a second process must take over to be worth its start: a few seconds, most of it importing torch.
SPAWN_FLOPS = 5e10
#: Seconds between two looks at the leases of others, and at signals.
POLL_SECONDS = 0.5


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
    lease_seconds: float = LEASE_SECONDS,
    wait_for_others: bool = True,
    compile_steps: Literal["auto", "on", "off"] = "auto",
    micro_batches: int = 1,
    show: Bars | Lines | None = None,
) -> list[Outcome]:
    """Train `stacks` into `out`, whose run folders are open; one Outcome a stack, in the order given.

    device   "cpu", "cuda" (all that torch sees), "cuda:1", or several with commas between; None takes CUDA where there
             is one. Every CUDA device gets a process of its own
    workers  processes, each training one stack at a time, dealt to the devices in turn; None takes one a device, on a
             CPU one a core, or one for little work
    threads  threads of each process; None takes one, more only for large models on idle cores
    wait_for_others  stay until stacks that other processes train are done too, and take over what they leave; without
             it, such stacks end as "elsewhere"
    compile_steps, micro_batches  as in `sweeps.engine.Mode`

    SIGINT and SIGTERM write checkpoints and end the training cleanly, with state "stopped". With several workers the
    calling script needs the usual `if __name__ == "__main__":`, for they are spawned.
    """
    devices = parse_devices(device)
    kind = devices[0].partition(":")[0]
    parts = {part.key: (stack, part) for stack in stacks for part in split(stack, kind, max_slots)}
    ordered = sorted((part for _, part in parts.values()), key=cost, reverse=True)  # so that none expensive starts late
    done = [part for part in ordered if all(records.is_done(out, run.key) for run in part.runs)]
    before = {part.key for part in done}
    queue = _Queue([part for part in ordered if part.key not in before], out)
    if workers is None:
        others = sum(cost(part) for part in queue.left[1:])  # all that could go on beside the largest
        alone = kind == "cpu" and len(devices) == 1
        workers = (cores() if others > SPAWN_FLOPS else 1) if alone else len(devices)
    workers = max(1, min(workers, len(queue.left)))
    if threads is None:
        threads = cores() // workers if queue.left and _elements(queue.left[0]) >= THREADED_ELEMENTS else 1
    mode = Mode(compile_steps, micro_batches)
    options = Options(devices[0], max(1, threads), max_slots, checkpoint_seconds, lease_seconds, mode)
    with show or display(ordered) as screen, stop_on_signals() as stopping:
        for part in done:  # says so, and removes what a kill at the very end has left
            here = replace(options, device="cpu")
            train_here(part, tokens, out, here, stopping=stopping, report=screen.show, say=screen.say)
            queue.outcomes.append(Outcome(part.key, "done"))
        work = _Work(queue, tokens, out, options, wait_for_others, stopping, screen)
        if workers == 1 and kind == "cpu":
            _train_in_turn(work)
        if queue.left:
            _spread(work, [devices[i % len(devices)] for i in range(workers)])
        if text := summary(list(screen.latest.values())):
            screen.say(text)
    return [_merged(stack, [o for o in queue.outcomes if parts[o.stack][0] is stack]) for stack in stacks]


def parse_devices(text: str | None) -> list[str]:
    """Names of the devices that `text` asks for; ScalingError, in one line, for what is not there."""
    count = torch.cuda.device_count()
    if text is None:
        text = "cuda" if count else "cpu"
    found: list[str] = []
    for name in text.split(","):
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise ScalingError(
                f"device must be cpu, cuda or cuda:<number>, got {name!r}; several have commas between, as in "
                f"cuda:0,cuda:1"
            )
        if name != "cpu" and not count:
            raise ScalingError(f"device {name!r} was asked for, but torch sees no CUDA device here; use cpu")
        if ":" in name and int(name[5:]) >= count:
            raise ScalingError(f"device {name!r} was asked for, but torch sees cuda:0 to cuda:{count - 1}")
        found += [f"cuda:{i}" for i in range(count)] if name == "cuda" else [name]
    if len({name.partition(":")[0] for name in found}) > 1:
        raise ScalingError(f"devices must be of one kind, got {text!r}: give the CPU a sweep of its own in the folder")
    return found


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
        runs = tuple(run for run in stack.runs if run.key in keys)
        parts.append(Stack(part_key(stack.key, trunk), runs, edges))
    return parts


def cost(stack: Stack) -> float:
    """Training FLOPs of a stack, shared steps counted once."""
    run = stack.runs[0]
    steps = sum(edge.stop - edge.start for edge in stack.edges)
    return steps * run.tokens_per_step * flops_per_token(run)["6N_with_attention"]


def _elements(stack: Stack) -> int:
    return stack.runs[0].tokens_per_step * stack.runs[0].width


def _merged(stack: Stack, outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of a stack's parts: the worst, with all that went wrong."""
    worst = max(outcomes, key=lambda o: ("done", "elsewhere", "stopped", "failed").index(o.state))
    return Outcome(stack.key, worst.state, "; ".join(dict.fromkeys(o.message for o in outcomes if o.message)))


@dataclass
class _Queue:
    """The stacks without an outcome that are in no worker's hands, the largest first, and the outcomes of others.

    slots  stack -> how many of its runs may train at once, where memory has shown that it must be told
    """

    left: list[Stack]
    out: Path
    outcomes: list[Outcome] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)

    def take(self, screen: Bars | Lines) -> Stack | None:
        """The largest stack that no other process holds."""
        held = holders(self.out) if self.left else {}
        for stack in self.left:
            holder = holder_of(stack.key, held)
            if holder is None:
                self.left.remove(stack)
                return stack
            if (stack.key, holder.id) not in self.told:
                self.told.add((stack.key, holder.id))
                screen.mark(stack.key, f"{holder.name} trains it")
        return None

    def note(self, stack: Stack, outcome: Outcome, screen: Bars | Lines) -> None:
        """Take in how a stack's training ended: put it back where it is to be tried again."""
        if outcome.state == "memory" and outcome.slots > 1:
            self.slots[stack.key] = outcome.slots // 2
            screen.say(f"{stack.key}  {outcome.message}; again with {outcome.slots // 2}")
        elif outcome.state == "memory":
            outcome = replace(outcome, state="failed", message=f"{outcome.message}: this shape does not fit")
            keep_failure(self.out, stack, outcome.message)
        if outcome.state == "failed":
            screen.mark(stack.key, "failed")
        if outcome.state in ("memory", "elsewhere"):
            self.left = sorted([*self.left, stack], key=cost, reverse=True)
        else:
            self.outcomes.append(outcome)
        if outcome.halts:
            self.end("stopped")

    def end(self, state: str) -> None:
        """Leave all that has not begun: "stopped", or "elsewhere" with the name of who trains it."""
        held = holders(self.out) if state == "elsewhere" else {}
        for stack in self.left:
            holder = holder_of(stack.key, held)
            message = f"{holder.name} trains it" if holder else ""
            self.outcomes.append(Outcome(stack.key, "elsewhere" if state == "elsewhere" else "stopped", message))
        self.left = []


@dataclass(frozen=True)
class _Work:
    queue: _Queue
    tokens: Tokens
    out: Path
    options: Options
    wait_for_others: bool
    stopping: Callable[[], bool]
    screen: Bars | Lines


def _train_in_turn(work: _Work) -> None:
    """Train what is left in this process; returns with something left if that needs a fresh one."""
    queue, screen = work.queue, work.screen
    while queue.left:
        if work.stopping():
            queue.end("stopped")
        elif (stack := queue.take(screen)) is not None:
            outcome = train_here(
                stack, work.tokens, work.out, work.options, stopping=work.stopping, report=screen.show, say=screen.say
            )
            queue.note(stack, outcome, screen)
            if outcome.state == "memory":
                return
        elif work.wait_for_others:
            time.sleep(POLL_SECONDS)
        else:
            queue.end("elsewhere")


def _spread(work: _Work, seats: Sequence[str]) -> None:
    """Train what is left, one process a seat (the name of a device); one that dies fails its stack and is replaced."""
    queue, screen = work.queue, work.screen
    workers, free, told = list[Worker](), list(seats), False
    try:
        while queue.left or any(worker.stack for worker in workers):
            if told or work.stopping() or any(outcome.halts for outcome in queue.outcomes):
                queue.end("stopped")
                for worker in workers if not told else ():
                    worker.process.terminate()  # SIGTERM: write a checkpoint and end
                told = True
            idle = [worker for worker in workers if worker.stack is None]
            while (idle or free) and (stack := queue.take(screen)) is not None:
                if not idle:
                    idle.append(start(work.tokens, work.out, replace(work.options, device=free.pop(0))))
                    workers.append(idle[-1])
                give(idle.pop(), stack, queue.slots.get(stack.key))
            if queue.left and not work.wait_for_others and not any(worker.stack for worker in workers):
                queue.end("elsewhere")
            ready = wait([worker.pipe for worker in workers], timeout=POLL_SECONDS)
            for worker in [worker for worker in workers if worker.pipe in ready]:
                if not _listen(worker, work, told):
                    dismiss(worker)
                    workers.remove(worker)
                    free.append(worker.device)
    finally:
        for worker in workers:
            worker.pipe.close()  # all of them before any is waited for
        for worker in workers:
            dismiss(worker)


def _listen(worker: Worker, work: _Work, told: bool) -> bool:
    """Take in one message of a worker; False if it should be replaced: it has died, or run out of memory."""
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        if (stack := worker.stack) is not None:
            worker.stack = None
            text = death(worker)
            if not told:
                keep_failure(work.out, stack, text)
            work.queue.note(stack, Outcome(stack.key, "stopped" if told else "failed", text), work.screen)
        return False
    if isinstance(message, Report):
        work.screen.show(message)
        return True
    if isinstance(message, str):
        work.screen.say(message)
        return True
    stack, worker.stack = worker.stack, None
    assert stack is not None, "an outcome without work"
    work.queue.note(stack, message, work.screen)
    return message.state != "memory"
