"""How far training is, on stderr: a live bar per stack on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TextIO

from sweeps.forks import Forks
from sweeps.runs import Stack

#: Seconds between two plain lines of one stack.
LINE_SECONDS = 15.0


@dataclass(frozen=True)
class Report:
    """One look at a stack in training."""

    stack: str
    state: Literal["training", "done", "stopped"]
    tokens: int  # trained on, shared steps counted once
    total: int
    rate: float  # tokens per second since this process began, validation included in the time
    loss: float | None  # latest training loss, mean over the runs now in slots
    slots: int

    @property
    def eta(self) -> float | None:
        """Seconds left, None before anything is known."""
        return (self.total - self.tokens) / self.rate if self.rate > 0 else None


class Meter:
    """Measures one stack's training from where this process takes it up."""

    def __init__(self, forks: Forks, planned: Sequence[str], done: int) -> None:
        self.key, self.per_step = forks.stack.key, forks.stack.runs[0].tokens_per_step
        self.total = sum(forks.edges[name].stop - forks.edges[name].start for name in planned)
        self.first, self.begin = done, time.monotonic()

    def read(self, state: Literal["training", "done", "stopped"], done: int, losses: Sequence[float]) -> Report:
        """A report after `done` of the planned steps; `losses` are those of the runs now in slots."""
        elapsed = max(time.monotonic() - self.begin, 1e-9)
        return Report(
            stack=self.key,
            state=state,
            tokens=done * self.per_step,
            total=self.total * self.per_step,
            rate=(done - self.first) * self.per_step / elapsed,
            loss=sum(losses) / len(losses) if losses else None,
            slots=len(losses),
        )


class Lines:
    """Plain lines: one per stack at its start, every LINE_SECONDS, and at its end."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.said = file, dict[str, float]()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, report: Report) -> None:
        now = time.monotonic()
        if report.state == "training" and now - self.said.get(report.stack, -LINE_SECONDS) < LINE_SECONDS:
            return
        self.said[report.stack] = now
        print(line(report), file=self.file, flush=True)

    def say(self, text: str) -> None:
        print(text, file=self.file, flush=True)


class Bars:
    """One live bar per stack."""

    def __init__(self, stacks: Sequence[Stack], file: TextIO) -> None:
        from rich.console import Console  # only a terminal pays for it
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}"),
            console=Console(file=file),
        )
        self.tasks = {s.key: self.progress.add_task(s.key, total=None, start=False, words="waiting") for s in stacks}

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def show(self, report: Report) -> None:
        task = self.tasks[report.stack]
        self.progress.start_task(task)
        self.progress.update(
            task, completed=report.tokens if report.total else 1, total=report.total or 1, words=words(report)
        )

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)


def display(stacks: Sequence[Stack], file: TextIO | None = None) -> Bars | Lines:
    """Bars where `file` (stderr unless given) is a terminal, lines elsewhere. A context manager with show and say."""
    file = file or sys.stderr
    return Bars(stacks, file) if file.isatty() else Lines(file)


def line(report: Report) -> str:
    """A report as one line of text."""
    share = report.tokens / report.total if report.total else 1.0
    return f"{report.stack}  {share:4.0%}  {words(report)}"


def words(report: Report) -> str:
    """A report without its name and share: tokens per second, loss, time left."""
    if not report.total:
        return "done before"
    parts = [f"{_short(report.tokens)} tokens"]
    if report.rate > 0:
        parts.append(f"{_short(report.rate)}/s")
    if report.loss is not None:
        parts.append(f"loss {report.loss:.3f} ({report.slots} at once)")
    if report.state != "training":
        parts.append(report.state)
    elif report.eta is not None:
        parts.append(f"{_clock(report.eta)} left")
    return "  ".join(parts)


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
