"""How far training is, on stderr: a live bar per stack on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TextIO

from sweeps.counting import flops_per_token
from sweeps.forks import Forks
from sweeps.runs import Stack

#: Seconds between two plain lines of one stack.
LINE_SECONDS = 15.0
#: Bars at once, as long as some have ended: a terminal shows no more lines than it has.
MOST_BARS = 12
#: What the time of a stack is counted for; what is left is the rest.
SPENT = ("steps", "validation", "measures", "checkpoints", "measuring", "compile")


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
    trained: int = 0  # tokens trained on since this process began
    flops: float = 0.0  # FLOP of training on them, attention included
    peak: float | None = None  # FLOP/s of the device at its best, where that is known
    seconds: float = 0.0  # since this process began the stack
    spent: Mapping[str, float] = field(default_factory=dict)  # seconds of these by what they were spent on

    @property
    def eta(self) -> float | None:
        """Seconds left, None before anything is known."""
        return (self.total - self.tokens) / self.rate if self.rate > 0 else None


class Clock:
    """What the time of one stack goes to."""

    def __init__(self) -> None:
        self.begin, self.spent = time.monotonic(), dict[str, float]()

    def add(self, what: str, seconds: float) -> None:
        """Count time from before the clock began."""
        self.begin -= seconds
        self.spent[what] = self.spent.get(what, 0.0) + seconds

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time within for `what`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + time.monotonic() - start


class Meter:
    """Measures one stack's training from where this process takes it up; `peak` is the device's FLOP/s, if known."""

    def __init__(self, forks: Forks, planned: Sequence[str], done: int, peak: float | None = None) -> None:
        self.key, self.run, self.peak = forks.stack.key, forks.stack.runs[0], peak
        self.total = sum(forks.edges[name].stop - forks.edges[name].start for name in planned)
        self.first, self.clock = done, Clock()

    def read(self, state: Literal["training", "done", "stopped"], done: int, losses: Sequence[float]) -> Report:
        """A report after `done` of the planned steps; `losses` are those of the runs now in slots."""
        elapsed = max(time.monotonic() - self.clock.begin, 1e-9)
        per_step = self.run.tokens_per_step
        trained = (done - self.first) * per_step
        return Report(
            stack=self.key,
            state=state,
            tokens=done * per_step,
            total=self.total * per_step,
            rate=trained / elapsed,
            loss=sum(losses) / len(losses) if losses else None,
            slots=len(losses),
            trained=trained,
            flops=trained * flops_per_token(self.run)["6N_with_attention"],
            peak=self.peak,
            seconds=elapsed,
            spent=dict(self.clock.spent),
        )


class Overall:
    """How far all stacks are together, by their FLOP, from the latest report of each."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.sizes = {stack.key: _flops(stack) for stack in stacks}
        self.first, self.latest = dict[str, float](), dict[str, Report]()
        self.begin = time.monotonic()

    def show(self, report: Report) -> None:
        """Take in a report."""
        self.latest[report.stack] = report
        self.first.setdefault(report.stack, _share(report))

    @property
    def share(self) -> float:
        """Fraction of the work that is done, also by processes before this one."""
        return sum(_share(r) * self.sizes[key] for key, r in self.latest.items()) / sum(self.sizes.values())

    @property
    def words(self) -> str:
        """Stacks done, and time left at the pace so far."""
        done = sum(report.state == "done" for report in self.latest.values())
        text = f"{done} of {len(self.sizes)} stacks done"
        made = self.share - sum(share * self.sizes[key] for key, share in self.first.items()) / sum(self.sizes.values())
        if made <= 0 or self.share >= 1:
            return text
        return f"{text}  {_clock((1 - self.share) / made * (time.monotonic() - self.begin))} left"


class Lines:
    """Plain lines: one per stack at its start, every LINE_SECONDS, and at its end; then one for all."""

    def __init__(self, stacks: Sequence[Stack], file: TextIO) -> None:
        self.file, self.said, self.overall = file, dict[str, float](), Overall(stacks)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def latest(self) -> dict[str, Report]:
        return self.overall.latest

    def show(self, report: Report) -> None:
        self.overall.show(report)
        now = time.monotonic()
        if report.state == "training" and now - self.said.get(report.stack, -LINE_SECONDS) < LINE_SECONDS:
            return
        self.said[report.stack] = now
        print(line(report), file=self.file, flush=True)
        if report.state == "done" and report.total and len(self.overall.sizes) > 1:
            print(f"all stacks  {self.overall.share:4.0%}  {self.overall.words}", file=self.file, flush=True)

    def mark(self, stack: str, text: str) -> None:
        """Say what has become of a stack that is not in training here."""
        print(f"{stack}  {text}", file=self.file, flush=True)

    def say(self, text: str) -> None:
        print(text, file=self.file, flush=True)


class Bars:
    """A live bar for every stack that has begun, the last MOST_BARS of them, and one for all."""

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
        self.overall = Overall(stacks)
        self.tasks = {
            s.key: self.progress.add_task(s.key, total=None, start=False, visible=False, words="waiting")
            for s in stacks
        }
        self.all = self.progress.add_task("all stacks", total=1.0, visible=len(stacks) > 1, words="")

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    @property
    def latest(self) -> dict[str, Report]:
        return self.overall.latest

    def show(self, report: Report) -> None:
        self.overall.show(report)
        task = self.tasks[report.stack]
        self.progress.start_task(task)
        self._update(
            report.stack, completed=report.tokens if report.total else 1, total=report.total or 1, words=words(report)
        )
        self.progress.update(self.all, completed=self.overall.share, words=self.overall.words)

    def mark(self, stack: str, text: str) -> None:
        """Say what has become of a stack that is not in training here."""
        self._update(stack, words=text)

    def _update(self, stack: str, **fields: Any) -> None:
        """Change a bar and show it; the one that ended first makes room for it."""
        self.progress.update(self.tasks[stack], visible=True, **fields)
        shown = [key for key, task in self.tasks.items() if self.progress.tasks[task].visible]
        ended = [key for key, report in self.latest.items() if key in shown and report.state == "done"]
        for key in ended[: max(0, len(shown) - MOST_BARS)]:
            self.progress.update(self.tasks[key], visible=False)

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)


def display(stacks: Sequence[Stack], file: TextIO | None = None) -> Bars | Lines:
    """Bars where `file` (stderr unless given) is a terminal, lines elsewhere. A context manager with show and say."""
    file = file or sys.stderr
    return Bars(stacks, file) if file.isatty() else Lines(stacks, file)


def line(report: Report) -> str:
    """A report as one line of text."""
    return f"{report.stack}  {_share(report):4.0%}  {words(report)}"


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


def summary(reports: Sequence[Report]) -> str:
    """Where the time of all stacks went, as one line; empty where nothing was trained."""
    reports = [report for report in reports if report.trained and report.spent.get("steps")]
    if not reports:
        return ""
    spent = {name: sum(report.spent.get(name, 0.0) for report in reports) for name in SPENT}
    if not spent["measures"]:
        del spent["measures"]  # most sweeps measure nothing beside the loss
    rest = sum(report.seconds for report in reports) - sum(spent.values())
    trained, flops = sum(report.trained for report in reports), sum(report.flops for report in reports)
    text = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in {**spent, "rest": max(rest, 0.0)}.items())
    text += f", {outside(reports):.1%} outside of steps"
    text += f"; {_short(trained / spent['steps'])} tokens/s and {flops / spent['steps']:.3g} FLOP/s in steps"
    peaks = {report.peak for report in reports}
    if len(peaks) == 1 and (peak := peaks.pop()) is not None:
        text += f", MFU {flops / spent['steps'] / peak:.1%}"
    return text


def outside(reports: Sequence[Report]) -> float:
    """Fraction of the wall time that went to other things than steps; compiling and measuring count for neither."""
    apart = sum(report.spent.get(name, 0.0) for report in reports for name in ("compile", "measuring"))
    wall = sum(report.seconds for report in reports) - apart
    return 1 - sum(report.spent.get("steps", 0.0) for report in reports) / wall


def _share(report: Report) -> float:
    return report.tokens / report.total if report.total else 1.0


def _flops(stack: Stack) -> float:
    run, steps = stack.runs[0], sum(edge.stop - edge.start for edge in stack.edges)
    return steps * run.tokens_per_step * flops_per_token(run)["6N_with_attention"]


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
