"""What is said of a training while it runs."""

from __future__ import annotations

import io
import time
from dataclasses import replace

from sweeps import progress
from sweeps.progress import Bars, Lines, Report
from tests.stacks import a_run, alone

LOOK = Report("w16-d1", "training", tokens=1_500_000, total=6_000_000, rate=25_000.0, loss=2.3456, slots=3)


def test_a_line_says_share_tokens_rate_loss_and_time_left() -> None:
    assert progress.line(LOOK) == "w16-d1   25%  1.5M tokens  25k/s  loss 2.346 (3 at once)  3:00 left"
    done = replace(LOOK, state="done", tokens=6_000_000, loss=None, slots=0)
    assert progress.line(done) == "w16-d1  100%  6M tokens  25k/s  done"


def test_a_stack_that_was_done_before_says_so() -> None:
    assert progress.line(replace(LOOK, state="done", tokens=0, total=0)) == "w16-d1  100%  done before"


def test_nothing_is_promised_before_anything_is_known() -> None:
    first = replace(LOOK, tokens=0, rate=0.0, loss=None, slots=0)
    assert first.eta is None
    assert progress.line(first) == "w16-d1    0%  0 tokens"


def test_lines_are_few() -> None:
    file = io.StringIO()
    with Lines(file) as screen:
        for tokens in range(0, 6_000_000, 1000):
            screen.show(replace(LOOK, tokens=tokens))
        screen.show(replace(LOOK, state="done"))
    assert len(file.getvalue().splitlines()) == 2


def test_a_terminal_gets_a_bar_a_stack_and_a_file_gets_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stack = alone(a_run())
    assert isinstance(progress.display([stack], io.StringIO()), Lines)
    screen = progress.display([stack], Terminal())
    assert isinstance(screen, Bars)
    with screen:
        screen.show(replace(LOOK, stack=stack.key))
    task = screen.progress.tasks[0]
    assert (task.completed, task.total) == (1_500_000, 6_000_000)
    assert "loss 2.346" in task.fields["words"]


def test_the_summary_says_where_the_time_went_and_how_near_the_device_came_to_its_best() -> None:
    spent = {"steps": 8.0, "validation": 1.0, "compile": 0.5}
    one = replace(LOOK, state="done", trained=4_000_000, flops=2e12, peak=1e12, seconds=10.0, spent=spent)
    other = replace(one, spent={"steps": 2.0}, trained=1_000_000, flops=0.5e12, seconds=3.0)
    assert progress.summary([one, other]) == (
        "steps 10.0 s, validation 1.0 s, checkpoints 0.0 s, measuring 0.0 s, compile 0.5 s, rest 1.5 s; "
        "500k tokens/s and 2.5e+11 FLOP/s in steps, MFU 25.0%"
    )
    assert "MFU" not in progress.summary([replace(one, peak=None)])
    assert progress.summary([replace(one, trained=0)]) == ""


def test_the_clock_counts_what_is_within() -> None:
    clock = progress.Clock()
    for _ in range(2):
        with clock.on("steps"):
            time.sleep(0.02)
    assert 0.04 <= clock.spent["steps"] < 0.4 and "validation" not in clock.spent
