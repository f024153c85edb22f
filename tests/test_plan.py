"""Plans: the fork tree is exactly what the learning rates say, and the costs follow from it."""

import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from sweeps.estimate import seconds
from sweeps.plan import Plan, build_plan, flops_of, notes, validations
from sweeps.runs import Edge, Run, validation_counts


def a_run(**fields) -> Run:
    return Run(**{"width": 16, "depth": 1, "head_dim": 8, "steps": 20, "lr": 0.01, "context": 16, "batch": 2} | fields)


def path(plan: Plan, key: str) -> list[Edge]:
    return [edge for edge in plan.edges if key in edge.runs]


SCHEDULES = st.one_of(
    st.fixed_dictionaries({"schedule": st.just("wsd"), "cooldown": st.integers(0, 8)}),
    st.fixed_dictionaries({"schedule": st.sampled_from(["constant", "cosine", "linear"])}),
    st.fixed_dictionaries({"schedule": st.just("multistep"), "milestones": st.sampled_from([(0.5,), (0.5, 0.75)])}),
)
RUNS = st.lists(
    st.builds(
        lambda schedule, **fields: a_run(**schedule, **fields),
        SCHEDULES,
        steps=st.integers(12, 30),
        warmup=st.sampled_from([0, 2, 4]),
        lr=st.sampled_from([0.01, 0.02]),
        seed=st.integers(0, 1),
        width=st.sampled_from([16, 32]),
        weight_decay=st.sampled_from([0.1, 0.2]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(RUNS)
def test_a_plan_is_the_trie_of_its_learning_rates(runs):
    plan = build_plan(runs)
    unique = {run.key: run for run in runs}
    assert {run.key for run in plan.runs} == unique.keys()
    assert len({edge.name for edge in plan.edges}) == len(plan.edges)
    nodes = set()  # every beginning of every run, counted by brute force
    for run in unique.values():
        edges = path(plan, run.key)
        assert np.array_equal(np.concatenate([edge.lr for edge in edges]), run.lr_per_step)
        assert [edge.parent for edge in edges] == [None, *(edge.name for edge in edges[:-1])]
        assert [edge.start for edge in edges] == [0, *(edge.stop for edge in edges[:-1])]
        assert [run.key in edge.ends for edge in edges] == [False] * (len(edges) - 1) + [True]
        assert len({edge.trunk for edge in edges}) == 1
        lineage = (run.shape, run.lineage)
        nodes |= {(lineage, run.lr_per_step[: i + 1].tobytes()) for i in range(run.steps)}
    assert sum(edge.stop - edge.start for edge in plan.edges) == len(nodes)
    children = {edge.name: [child for child in plan.edges if child.parent == edge.name] for edge in plan.edges}
    for edge in plan.edges:  # no edge could be longer: where it stops, a run ends or paths part
        assert edge.ends or len(children[edge.name]) > 1
        assert len({child.lr[0] for child in children[edge.name]}) == len(children[edge.name])
        assert edge.example.key in edge.runs
    for stack in plan.stacks:
        assert len({run.shape for run in stack.runs}) == 1
        seen: set[str] = set()
        for edge in stack.edges:
            assert edge.parent is None or edge.parent in seen
            seen.add(edge.name)
    assert plan.flops_shared == pytest.approx(sum(plan.flops_marginal.values()), rel=1e-12)  # sums in other order
    assert plan.flops_alone == pytest.approx(sum(map(flops_of, unique.values())), rel=1e-12)
    assert plan.flops_shared <= plan.flops_alone * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(RUNS, st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order_of_runs(runs, order):
    shuffled = list(runs)
    order.shuffle(shuffled)
    one, other = build_plan(runs), build_plan(shuffled)
    assert {(e.name, e.parent, e.runs) for e in one.edges} == {(e.name, e.parent, e.runs) for e in other.edges}
    assert {s.key for s in one.stacks} == {s.key for s in other.stacks}


def test_horizons_of_wsd_share_one_trunk_and_each_cooldown_is_a_fork():
    runs = [a_run(steps=n, cooldown=4, warmup=2) for n in (10, 14, 22)]
    plan = build_plan(runs)
    assert sorted((e.start, e.stop, len(e.runs)) for e in plan.edges) == [
        (0, 6, 3), (6, 10, 1), (6, 10, 2), (10, 14, 1), (10, 22, 1),
    ]  # fmt: skip
    assert plan.tokens_trained == 30 * 32
    assert plan.tokens_logged == 46 * 32
    assert plan.saved == pytest.approx(1 - 30 / 46, rel=1e-12)
    per_step = flops_of(runs[0]) / 10
    marginal = [plan.flops_marginal[run.key] / per_step for run in runs]
    assert marginal == pytest.approx([2 + 4, 2 + 2 + 4, 2 + 2 + 12], rel=1e-12)


@pytest.mark.parametrize(
    ("horizons", "share"),
    [
        # trunk .8 H, cooldowns .2 x 4.5 H, alone 4.5 H
        ([1000 * i for i in range(1, 9)], 1.7 / 4.5),
        # trunk .8 H, cooldowns .2 x 255/128 H, alone 255/128 H
        ([50 * 2**i for i in range(8)], (0.8 + 0.2 * 255 / 128) / (255 / 128)),
    ],
    ids=["equally spaced", "each twice the one before"],
)
def test_forks_train_the_share_that_arithmetic_says(horizons, share):
    plan = build_plan([a_run(steps=n, cooldown=n // 5, warmup=4) for n in horizons])
    assert plan.flops_shared / plan.flops_alone == pytest.approx(share, rel=1e-12)


def test_a_run_that_ends_within_another_is_an_edge_with_an_end():
    short, long = a_run(schedule="constant", steps=8), a_run(schedule="constant", steps=20)
    first, second = build_plan([long, short]).edges
    assert (first.stop, first.ends, set(first.runs)) == (8, (short.key,), {short.key, long.key})
    assert (second.parent, second.ends) == (first.name, (long.key,))


def test_runs_of_equal_learning_rates_are_one_edge():
    same = [a_run(schedule="constant"), a_run(schedule="wsd", cooldown=0)]
    (edge,) = build_plan(same).edges
    assert set(edge.runs) == set(edge.ends) == {run.key for run in same}


@pytest.mark.parametrize("field", [{"seed": 1}, {"weight_decay": 0.3}, {"beta2": 0.99}, {"clip": 2.0}, {"eps": 1e-6}])
def test_runs_of_another_lineage_share_no_step(field):
    plan = build_plan([a_run(), a_run(**field)])
    assert len(plan.stacks) == 1
    assert len(set(plan.trunk.values())) == 2
    assert plan.saved == 0


def test_a_learning_rate_that_differs_in_the_last_bit_parts_runs():
    lr = float(np.nextafter(np.float32(0.01), np.float32(1)))
    plan = build_plan([a_run(), a_run(lr=lr)])
    assert plan.saved == 0


def test_a_trunk_keeps_its_name_when_runs_are_added():
    runs = [a_run(cooldown=4, warmup=2), a_run(cooldown=4, warmup=2, steps=30), a_run(schedule="cosine", warmup=2)]
    together = build_plan(runs).trunk
    assert len(set(together.values())) == 1
    for run in runs:
        assert build_plan([run]).trunk == {run.key: together[run.key]}


def test_a_thousand_nested_horizons_are_planned_without_recursion():
    runs = [a_run(schedule="constant", steps=n) for n in range(1, 1201)]
    random.Random(0).shuffle(runs)
    plan = build_plan(runs)
    assert len(plan.edges) == 1200
    assert plan.tokens_trained == 1200 * 32


def test_a_relative_warm_up_is_said_to_share_nothing():
    relative = [a_run(steps=n, warmup=n // 5, cooldown=4) for n in (10, 20, 40)]
    (note,) = notes(build_plan(relative))
    assert "3 runs" in note and "warm-up relative to the horizon" in note
    assert not notes(build_plan([a_run(steps=n, warmup=2, cooldown=4) for n in (10, 20, 40)]))
    assert not notes(build_plan([a_run(warmup=n) for n in (1, 2, 4)]))  # an axis of warm-ups at one horizon is meant so


def test_the_plan_says_what_a_rate_of_each_horizon_costs() -> None:
    own = {10: 0.04, 20: 0.02, 40: 0.01}
    (note,) = notes(build_plan([a_run(steps=n, lr=lr, cooldown=n // 5) for n, lr in own.items()]))
    # 70 updates; on one trunk 32 of it and the cooldowns of 2, 4 and 8
    assert "3 runs have a peak rate of their own" in note and "save 34% of their FLOP" in note
    crossed = [a_run(steps=n, lr=lr * k, cooldown=n // 5) for n, lr in own.items() for k in (1, 3)]
    assert "6 runs" in notes(build_plan(crossed))[0]
    assert not notes(build_plan([a_run(steps=n, lr=lr, cooldown=n // 5) for n in own for lr in own.values()]))
    assert not notes(build_plan([a_run(steps=n, lr=lr, schedule="cosine") for n, lr in own.items()]))  # share nothing


def test_the_plan_says_that_depths_share_a_rate_without_a_rule() -> None:
    (note,) = notes(build_plan([a_run(depth=1), a_run(depth=2)]))
    assert "depth goes from 1 to 2" in note and "depth_rule" in note
    assert not notes(build_plan([a_run(depth=n, depth_rule="completep") for n in (1, 2)]))
    assert not notes(build_plan([a_run(depth=4), a_run(depth=4, width=32)]))


def test_validations_are_counted_on_the_common_grid_and_at_the_end_of_each_edge():
    for edge in build_plan([a_run(steps=n, cooldown=4) for n in (17, 31)]).edges:
        grid = [n for n in validation_counts(4, 31) if edge.start < n <= edge.stop]
        assert validations(edge) == len({*grid, edge.stop})


def test_the_estimate_of_time_grows_with_the_work():
    short, long = (seconds(build_plan([a_run(steps=n, width=64)])) for n in (10, 1000))
    assert 0 < 10 * short < long  # a factor of 10 of 100: the measurement is short
