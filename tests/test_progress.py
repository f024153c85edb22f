"""What is said of a training while it runs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

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
    file, stack = io.StringIO(), alone(a_run())
    with Lines([stack], file) as screen:
        for tokens in range(0, 6_000_000, 1000):
            screen.show(replace(LOOK, stack=stack.key, tokens=tokens))
        screen.show(replace(LOOK, stack=stack.key, state="done"))
    assert len(file.getvalue().splitlines()) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_a_stack_and_a_file_gets_lines() -> None:
    stack = alone(a_run())
    assert isinstance(progress.display([stack], io.StringIO()), Lines)
    screen = progress.display([stack], Terminal())
    assert isinstance(screen, Bars)
    with screen:
        screen.show(replace(LOOK, stack=stack.key))
    task = screen.progress.tasks[0]
    assert (task.completed, task.total) == (1_500_000, 6_000_000)
    assert "loss 2.346" in task.fields["words"]


def test_a_hundred_stacks_leave_room_for_the_bar_of_all() -> None:
    *stacks, last = [alone(a_run(width=8 * i)) for i in range(1, 102)]
    screen = progress.display([*stacks, last], Terminal())
    assert isinstance(screen, Bars)
    with screen:
        for done, stack in enumerate(stacks):
            screen.show(replace(LOOK, stack=stack.key))
            shown = [task.description for task in screen.progress.tasks if task.visible]
            assert len(shown) == min(done + 1, progress.MOST_BARS) + 1
            assert {stack.key, "all stacks"} <= set(shown)  # what is in training is seen
            screen.show(replace(LOOK, stack=stack.key, state="done", tokens=LOOK.total))
        screen.mark(last.key, "failed")
    assert screen.progress.tasks[100].fields["words"] == "failed" and screen.progress.tasks[100].visible
    assert screen.progress.tasks[-1].fields["words"].startswith("100 of 101 stacks done")


def test_the_whole_counts_stacks_by_their_work_and_the_pace_by_what_was_done_here() -> None:
    small, large = alone(a_run()), replace(alone(a_run(steps=150)), key="large")
    overall = progress.Overall([small, large])
    overall.begin -= 60
    overall.show(replace(LOOK, stack=large.key, tokens=0, total=1000))
    overall.show(replace(LOOK, stack=small.key, state="done", tokens=0, total=0))  # before this process
    assert (overall.share, overall.words) == (0.25, "1 of 2 stacks done")
    overall.show(replace(LOOK, stack=large.key, tokens=500, total=1000))
    assert overall.share == pytest.approx(0.625)
    assert overall.words == "1 of 2 stacks done  1:00 left"  # three eighths in the time that three took


def test_lines_say_how_far_all_stacks_are_when_one_is_done() -> None:
    file, stacks = io.StringIO(), [alone(a_run()), replace(alone(a_run(steps=150)), key="large")]
    with Lines(stacks, file) as screen:
        screen.show(replace(LOOK, stack=stacks[0].key, tokens=0))
        screen.show(replace(LOOK, stack=stacks[0].key, state="done", tokens=LOOK.total))
        screen.mark(stacks[1].key, "failed")
    lines = file.getvalue().splitlines()
    assert lines[2].startswith("all stacks   25%  1 of 2 stacks done") and lines[3] == f"{stacks[1].key}  failed"


def test_the_summary_says_where_the_time_went_and_how_near_the_device_came_to_its_best() -> None:
    spent = {"steps": 8.0, "validation": 1.0, "compile": 0.5}
    one = replace(LOOK, state="done", trained=4_000_000, flops=2e12, peak=1e12, seconds=10.0, spent=spent)
    other = replace(one, spent={"steps": 2.0}, trained=1_000_000, flops=0.5e12, seconds=3.0)
    assert progress.summary([one, other]) == (
        "steps 10.0 s, validation 1.0 s, checkpoints 0.0 s, measuring 0.0 s, compile 0.5 s, rest 1.5 s, "
        "20.0% outside of steps; 500k tokens/s and 2.5e+11 FLOP/s in steps, MFU 25.0%"
    )
    assert "MFU" not in progress.summary([replace(one, peak=None)])
    assert "validation 1.0 s, measures 0.2 s," in progress.summary([replace(one, spent=spent | {"measures": 0.2})])
    assert progress.summary([replace(one, trained=0)]) == ""


def test_the_clock_counts_what_is_within(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 3.0, 10.0, 14.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(moments))
    clock = progress.Clock()
    for _ in range(2):
        with clock.on("steps"):
            pass
    assert clock.spent == {"steps": 6.0}
