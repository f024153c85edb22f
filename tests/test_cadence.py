"""Where runs are measured beside their loss, and what the plan says that costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sweeps.cadence import PRICES, measured_counts, price
from sweeps.counting import flops_per_token
from sweeps.describing import plan_record, plan_text
from sweeps.engine import gradient, mean_losses
from sweeps.grid import read_grid
from sweeps.measures import MEASURES, Sight
from sweeps.plan import Plan, build_plan, flops_of
from sweeps.regimes.listed import regime_of
from sweeps.runs import MeasureName, Run, validation_counts
from sweeps.starting import initial
from sweeps.train import train_stack
from tests.stacks import a_run, a_text, alone, curve, forked, opened

EVERY = ("representation", "gradient_noise")
SIZES = [{}, {"width": 512, "depth": 8, "head_dim": 64, "context": 512, "batch": 32}, {"width": 256, "head_dim": 64}]


def updates(run: Run) -> float:
    """What measuring once costs, in updates."""
    return price(run) / (run.tokens_per_step * flops_per_token(run)["6N_with_attention"])


def test_every_measure_has_a_price() -> None:
    assert PRICES.keys() == MEASURES.keys() == set(MeasureName.__args__)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("measures", [("representation",), ("gradient_noise",), EVERY])
def test_measuring_costs_less_than_a_hundredth_of_any_run_of_a_few_hundred_updates(
    size: dict[str, int], measures: tuple[str, ...]
) -> None:
    for steps in (300, 600, 1000, 3000, 10_000, 100_000):
        run = a_run(steps=steps, measures=measures, **size)
        cost = Plan((alone(run),)).flops_measures / flops_of(run)
        assert price(run) < 3 * flops_of(run) / steps
        assert 0 < cost <= 0.01 + 1e-12
    assert cost > 0.0001  # not by measuring nothing


def test_runs_of_all_lengths_are_measured_at_the_same_places() -> None:
    run = a_run(measures=EVERY)
    long = measured_counts(run, 50_000)
    assert len(long) > 20 and set(long) <= set(validation_counts(run.evals_per_octave, 50_000).tolist())
    for stop in (0, 100, 777, 5000):
        assert measured_counts(run, stop) == [count for count in long if count <= stop]


def test_long_runs_are_measured_at_every_validation_again() -> None:
    run = a_run(measures=EVERY)
    grid = validation_counts(run.evals_per_octave, 100_000)
    counts = set(measured_counts(run, 100_000))
    assert all(count in counts for count in grid[grid > 20_000].tolist())


def test_the_plan_counts_the_measurements_that_training_makes(tmp_path: Path) -> None:
    every = {"measures": EVERY, "measures_share": 0.3}
    runs = [a_run(steps=steps, cooldown=4, seed=seed, **every) for steps in (12, 20) for seed in (0, 1)]
    stack = forked(*runs)
    assert train_stack(stack, a_text(), opened(tmp_path, stack), device=torch.device("cpu"))
    seen = {
        (edge.name, row["step"])
        for edge in stack.edges
        for key in edge.runs
        for row in curve(tmp_path, next(run for run in runs if run.key == key))
        if edge.start <= int(row["step"]) < edge.stop and row["gradient_noise"]
    }
    assert len(seen) == round(Plan((stack,)).flops_measures / price(runs[0]))
    assert all(curve(tmp_path, run)[-1]["gradient_noise"] for run in runs)
    forks = {edge.stop - 1 for edge in stack.edges if not edge.ends}
    assert forks and not forks & {int(step) for _, step in seen}  # an end of an edge alone is no reason to measure


def test_prices_are_the_products_that_are_carried_out() -> None:
    run, text = a_run(width=64, depth=2, head_dim=16, context=64, batch=8, mlp_ratio=4.0), a_text()
    inputs = torch.from_numpy(regime_of(run).validation(run, text))[None, :1].expand(1, 8, -1)
    sight = Sight(run, initial(run)[None], inputs, inputs)
    counted = {}
    for name in PRICES:
        with FlopCounterMode(display=False) as counter:
            MEASURES[name](sight)
        counted[name] = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        gradient(mean_losses(run), sight.weights, inputs, 1)
    update = counter.get_total_flops()
    own = run.tokens_per_step * flops_per_token(run)["6N_with_attention"]
    assert PRICES["gradient_noise"](run) / own == pytest.approx(counted["gradient_noise"] / update, rel=1e-6)
    outside = run.tokens_per_step * run.width**2 + 6 * run.width**3  # of torch: Gram matrix and eigenvalues
    head = 2 * run.tokens_per_step * run.width * run.vocab  # the states are what the head reads: it is not applied
    assert (PRICES["representation"](run) - outside - head) / own == pytest.approx(
        counted["representation"] / update, rel=0.05
    )


def test_a_grid_sets_the_share_and_its_plan_says_the_cost(tmp_path: Path) -> None:
    text = "# What does it cost?\nwidth = 16\ndepth = 1\nlr = 0.01\nsteps = 600\nmeasures = ['gradient_noise']\n"
    shares = {}
    for share in ("", "measures_share = 0.05\n"):
        (tmp_path / "a.toml").write_text(text + share)
        grid = read_grid(tmp_path / "a.toml")
        plan = build_plan(grid.runs)
        shares[share] = plan.flops_measures / plan.flops_shared
        said = plan_text(plan_record(grid, plan, a_text(), 1.0, ""))
        assert f"{100 * shares[share]:.2g}% of those to train" in said
    assert 0 < shares[""] <= 0.01 < list(shares.values())[1] <= 0.05


def test_a_share_that_nothing_reads_makes_no_run_of_its_own(tmp_path: Path) -> None:
    text = "# What does it cost?\nwidth = 16\ndepth = 1\nlr = 0.01\nsteps = 6\n"
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text + "measures_share = 0.5\n")
    (one,), (other,) = read_grid(tmp_path / "a.toml").runs, read_grid(tmp_path / "b.toml").runs
    assert one.key == other.key
    assert "measures" not in plan_text(
        plan_record(read_grid(tmp_path / "a.toml"), build_plan([one]), a_text(), 1.0, "")
    )
