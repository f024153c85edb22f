"""A sweep that is killed again and again at random points leaves what an undisturbed one leaves."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps import collecting, pool, records, train
from sweeps.plan import Plan, build_plan, flops_of
from tests.lives import Life
from tests.stacks import a_run, a_text

KILLS = 20


def plan() -> Plan:
    """Two shapes; in the first more trees than slots, horizons that fork, a cosine, a run logged and ended early."""
    fields = dict(dtype="float32", evals_per_octave=2, val_sequences=2)
    wsd = [a_run(steps=n, cooldown=n // 4, seed=seed, **fields) for n in (24, 40, 64) for seed in (0, 1)]
    others = [a_run(steps=40, schedule="cosine", **fields), a_run(steps=16, schedule="constant", seed=2, **fields)]
    return build_plan([*wsd, *others, a_run(steps=48, cooldown=12, log_every=3, **fields | {"width": 8})])


def sweep(out: Path, calls: int, training: bool = True) -> tuple[int, int]:
    """Body of a process: train all; SIGKILL to its process group after so many calls of functions, -1: never.

    training  count from the first update, not from the start

    Returns the calls made before the first update and after. They hardly depend on the speed of the machine, so a kill
    is at the same point again.
    """
    before, after, begun, segment = 0, 0, False, train.segment

    def first(*arguments: Any) -> Any:
        nonlocal begun
        begun = True
        return segment(*arguments)

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal before, after
        if event.endswith("call"):
            before, after = (before, after + 1) if begun else (before + 1, after)
            if calls == (after if training else before):
                os.killpg(os.getpgid(0), signal.SIGKILL)

    train.segment = first
    planned, text = plan(), a_text()
    sys.setprofile(count)
    for stack in planned.stacks:
        for run in stack.runs:
            marginal = planned.flops_marginal[run.key]
            trunk = planned.trunk[run.key]
            records.open_run(out, run, stack=stack.key, trunk=trunk, flops=flops_of(run), flops_marginal=marginal)
    outcomes = pool.run_stacks(
        planned.stacks, text, out, device="cpu", workers=1, threads=1, max_slots=3, checkpoint_seconds=-1
    )
    sys.setprofile(None)
    assert [outcome.state for outcome in outcomes] == ["done", "done"], outcomes
    return before, after


def tables(out: Path) -> tuple[str, str]:
    """runs.csv and curves.csv without the column of seconds."""
    runs, curves = collecting.collect(out)
    return collecting.to_csv(runs), collecting.to_csv(curves.drop(columns="seconds"))


@pytest.mark.slow
def test_killed_twenty_times_at_random_points_the_tables_are_those_of_an_undisturbed_sweep(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    before, after = Life(sweep, whole, -1).result()
    points = random.Random(0)
    done = []
    for number in range(KILLS):
        training = number % 5 > 0
        life = Life(sweep, killed, points.randrange(1, after // 9 if training else before // 10), training)
        life.process.join(60)
        assert life.process.exitcode == -signal.SIGKILL
        done.append(sum(len(records.whole_rows(killed, run.key)) for run in plan().runs))
    rows = sum(len(records.whole_rows(whole, run.key)) for run in plan().runs)
    assert len(set(done)) > KILLS / 2 and rows / 3 < done[-1] < rows, f"not spread over {rows} rows: {done}"
    Life(sweep, killed, -1).result()
    assert tables(killed) == tables(whole)
