"""Any set of schedules, any slots, stopped anywhere: every edge is trained once, from where its parent ended."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from sweeps import checkpoint, train
from sweeps.forks import Forks
from sweeps.plan import build_plan
from sweeps.runs import Run
from sweeps.slots import fill, held
from tests.stacks import a_run

CPU = torch.device("cpu")
IGNORED: Any = SimpleNamespace(put=lambda work: None)
RUNS = st.lists(
    st.builds(
        lambda how, **fields: a_run(vocab=4, width=8, mlp_ratio=1.0, schedule=how[0], cooldown=how[1], **fields),
        st.sampled_from([("wsd", 0), ("wsd", 3), ("wsd", 6), ("constant", 0), ("cosine", 0), ("multistep", 0)]),
        steps=st.integers(8, 20),
        warmup=st.sampled_from([0, 2]),
        lr=st.sampled_from([0.01, 0.02]),
        seed=st.integers(0, 1),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda run: run.key,
)


@settings(max_examples=40, deadline=None)
@given(RUNS, st.lists(st.tuples(st.integers(1, 5), st.integers(1, 12)), min_size=1, max_size=4), st.integers(1, 5))
def test_every_edge_is_trained_once_and_every_run_sees_its_own_schedule(
    runs: list[Run], lives: list[tuple[int, int]], slots: int
) -> None:
    """A stand-in for an update adds the learning rate to the weights, so that these say which rates a replica saw.

    lives  slots and segments of trainings that are stopped with a checkpoint, before one with `slots` ends the work
    """
    (stack,) = build_plan(runs).stacks
    forks, unfinished = Forks(stack), {run.key for run in runs}
    trained, ends = Counter[tuple[str, int]](), dict[str, float]()
    with tempfile.TemporaryDirectory() as name:
        for most, segments in [*lives, (slots, 10**6)]:
            training, behind = checkpoint.resume(Path(name), forks, unfinished, CPU, most)
            assert behind.keys() == unfinished or not unfinished
            for _ in range(segments):
                fill(training, forks, most)
                active = held(training)
                assert len(active) <= most
                if not active:
                    break
                count = train.segment_length(training, [], CPU)
                for place, slot in active:
                    for step in range(slot.step, slot.step + count):
                        trained[slot.edge.name, step] += 1
                        if step == 0:
                            training.state.weights[place, 0] = 0
                        training.state.weights[place, 0] += float(slot.edge.lr[step - slot.edge.start])
                        training.state.count[place] += 1
                    slot.step += count
                    if slot.step == slot.edge.stop:
                        assert training.state.count[place] == slot.step
                        ends |= dict.fromkeys(slot.edge.ends, float(training.state.weights[place, 0]))
                        unfinished -= set(slot.edge.ends)
                        train.close_finished(training, forks, place, IGNORED, IGNORED)
            checkpoint.save(Path(name), training)
    assert not unfinished and not training.snapshots and not training.parked
    assert trained == Counter((edge.name, step) for edge in stack.edges for step in range(edge.start, edge.stop))
    assert trained.total() <= sum(run.steps for run in runs)
    for run in runs:  # in the order of training, so to the last bit
        assert ends[run.key] == np.cumsum(run.lr_per_step.astype(float))[-1]


def test_a_thousand_nested_forks_have_descendants_without_recursion() -> None:
    plan = build_plan([a_run(schedule="constant", warmup=0, steps=n) for n in range(1, 1201)])
    (stack,) = plan.stacks
    forks = Forks(stack)
    assert sorted(forks.descendants(stack.edges[0].name)) == sorted(edge.name for edge in stack.edges[1:])
    assert forks.left(stack.edges[0].name, 0) == pytest.approx(1200)
