"""What is said of a training while it runs."""

from __future__ import annotations

import io
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
