"""What is measured beside the loss: columns of curves, from the stack that is in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scaling.columns import MEASURED
from scaling.errors import ScalingError
from scaling.laws.wei2024 import matrix_entropy
from sweeps import gradient_noise
from sweeps.collecting import collect
from sweeps.engine import gradient, mean_losses
from sweeps.grid import read_grid
from sweeps.measures import MEASURES, Sight, looked_at
from sweeps.model import views
from sweeps.records import truncate_rows
from sweeps.regimes.listed import REGIMES, regime_of
from sweeps.runs import MeasureName, Run
from sweeps.starting import initial
from sweeps.train import train_stack
from sweeps.weights import decoder_weights
from tests.stacks import a_run, a_text, alone, curve, forked, opened
from tests.test_regimes import EXAMPLES

EVERY = ("representation", "gradient_noise")
COLUMNS = [name for columns in MEASURED.values() for name in columns]


def _trained(tmp_path: Path, *runs: Run) -> Path:
    stack = forked(*runs) if len(runs) > 1 else alone(runs[0])
    assert train_stack(stack, a_text(), opened(tmp_path, stack), device=torch.device("cpu"))
    return tmp_path


def test_every_measure_has_its_columns_and_its_name() -> None:
    assert MEASURES.keys() == MEASURED.keys() == set(MeasureName.__args__)


def test_where_cost_does_not_count_measures_stand_at_every_validation_and_nowhere_else(tmp_path: Path) -> None:
    run = a_run(steps=12, measures=EVERY, measures_share=100.0)
    rows = curve(_trained(tmp_path, run), run)
    assert [name for name in rows[0] if name in COLUMNS] == COLUMNS
    for row in rows:
        assert all(bool(row[name]) == bool(row["val_loss"]) for name in COLUMNS)
    assert list(collect(tmp_path)[1].columns)[-len(COLUMNS) :] == COLUMNS


def test_a_run_that_asks_for_nothing_has_no_further_columns(tmp_path: Path) -> None:
    run = a_run(steps=6)
    assert not set(COLUMNS) & set(curve(_trained(tmp_path, run), run)[0])
    assert not set(COLUMNS) & set(collect(tmp_path)[1].columns)


def test_measuring_changes_no_loss(tmp_path: Path) -> None:
    plain, measured = a_run(steps=12), a_run(steps=12, measures=EVERY)
    losses = [
        [row["train_loss"] for row in curve(_trained(tmp_path / name, run), run)]
        for name, run in (("a", plain), ("b", measured))
    ]
    assert losses[0] == losses[1]


def test_a_run_in_a_stack_and_off_a_fork_is_measured_as_alone(tmp_path: Path) -> None:
    every = {"measures": EVERY, "measures_share": 0.5}
    runs = [a_run(steps=steps, cooldown=4, seed=seed, **every) for steps in (12, 20) for seed in (0, 1)]
    together = _trained(tmp_path / "all", *runs)
    for run in runs:
        apart = _trained(tmp_path / run.key, run)
        rows, others = curve(together, run), curve(apart, run)
        seen = [[i for i, row in enumerate(one) if row["matrix_entropy"]] for one in (rows, others)]
        assert seen[0] == seen[1] and 2 < len(seen[0]) < sum(bool(row["val_loss"]) for row in others)
        for row, other in ((rows[i], others[i]) for i in seen[0]):
            for name in COLUMNS:
                assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-7, abs=1e-12), name


def test_entropy_is_that_of_the_states_which_the_head_reads() -> None:
    run, text = a_run(batch=4), a_text()
    inputs = torch.from_numpy(regime_of(run).validation(run, text))[None, :4]
    weights = initial(run)[None]
    states = regime_of(run).states(views(weights, decoder_weights(run), run), inputs, run)
    assert states.shape == (1, 4 * run.context, run.width)
    found = MEASURES["representation"](Sight(run, weights, inputs, inputs))
    assert float(found["matrix_entropy"][0]) == pytest.approx(matrix_entropy(states[0].numpy()), rel=1e-10)


def test_noise_and_signal_are_the_moments_of_the_gradients_of_sequences() -> None:
    """Averaged over all ways to halve one batch, the estimates are those from the covariance of its sequences."""
    run, text = a_run(batch=4, vocab=128), a_text()
    generator = torch.Generator().manual_seed(1)
    weights = (initial(run) + 0.1 * torch.randn(initial(run).shape, generator=generator, dtype=torch.float64))[None]
    inputs = torch.from_numpy(regime_of(run).validation(run, text))[None, :4]
    each = torch.cat([gradient(mean_losses(run), weights, inputs[:, [i]], 1)[1] for i in range(4)])
    covariance = each.var(dim=0, unbiased=True).sum()
    mean = each.mean(dim=0).square().sum()
    halves = [(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)]
    found = [gradient_noise.measure(weights, inputs[:, list(order)], run) for order in halves]
    noise, signal = (torch.stack([one[name][0] for one in found]) for name in ("gradient_noise", "gradient_signal"))
    assert float(noise.mean()) == pytest.approx(float(covariance) * run.context, rel=1e-9)
    assert float(signal.mean()) == pytest.approx(float(mean - covariance / 4), rel=1e-9)
    assert gradient_noise.ratio(signal, noise) == pytest.approx(float(noise.mean() / signal.mean()), rel=1e-12)


def test_a_run_that_was_stopped_is_measured_where_one_that_was_not_is(tmp_path: Path) -> None:
    run, asked = a_run(steps=30, cooldown=5, measures=EVERY, measures_share=0.5), list[int]()
    whole = curve(_trained(tmp_path / "whole", run), run)
    stack = alone(run)
    out, device = opened(tmp_path / "stopped", stack), torch.device("cpu")
    assert not train_stack(stack, a_text(), out, device=device, stopping=lambda: asked.append(0) or len(asked) > 4)
    assert train_stack(stack, a_text(), out, device=device)
    assert [[row[name] for name in COLUMNS] for row in curve(out, run)] == [
        [row[name] for name in COLUMNS] for row in whole
    ]


def test_a_replica_that_diverged_spoils_no_other_s_measures() -> None:
    run, text = a_run(batch=4), a_text()
    inputs = torch.from_numpy(regime_of(run).validation(run, text))[None, :4]
    weights = torch.stack([initial(run), torch.full_like(initial(run), torch.nan)])
    for measure in MEASURES.values():
        pair = measure(Sight(run, weights, inputs.expand(2, -1, -1), inputs.expand(2, -1, -1)))
        one = measure(Sight(run, weights[:1], inputs, inputs))
        for name, values in pair.items():
            assert float(values[0]) == pytest.approx(float(one[name][0]), rel=1e-9) and values[1].isnan(), name


def test_what_is_looked_at_covers_every_source_and_is_of_about_a_batch() -> None:
    run = a_run(batch=4, context=16)
    assert looked_at((8, 17), run) == [0, 2, 4, 6]
    assert looked_at((3, 17), run) == [0, 1, 2]
    assert looked_at((8, 2, 17), run) == [0, 4]  # two versions of each sequence in an input
    assert looked_at((8, 100, 17), run) == [0]


@pytest.mark.parametrize("objective", list(REGIMES))
def test_every_regime_can_be_measured(objective: str, tmp_path: Path) -> None:
    run = a_run(**{"objective": objective, "batch": 4, "steps": 8, "measures": EVERY, **EXAMPLES[objective]})
    last = curve(_trained(tmp_path, run), run)[-1]
    assert 0 < float(last["matrix_entropy"]) < np.log(run.width) and float(last["gradient_noise"]) != 0


def test_rows_kept_after_a_kill_keep_their_measures(tmp_path: Path) -> None:
    run = a_run(steps=12, measures=EVERY)
    before = curve(_trained(tmp_path, run), run)
    truncate_rows(tmp_path, run.key, 7)
    assert curve(tmp_path, run) == before[:8]


def test_a_measure_named_twice_is_refused_where_the_grid_is_read(tmp_path: Path) -> None:
    grid = "# Is once enough?\nwidth = 16\ndepth = 1\nlr = 0.01\nsteps = 4\n"
    (tmp_path / "twice.toml").write_text(grid + 'measures = ["representation", "representation"]\n')
    with pytest.raises(ScalingError, match="names one twice"):
        read_grid(tmp_path / "twice.toml")


def test_a_batch_that_has_no_halves_is_refused_where_the_grid_is_read(tmp_path: Path) -> None:
    grid = "# Is one sequence enough?\nwidth = 16\ndepth = 1\nlr = 0.01\nsteps = 4\nbatch = 3\n"
    grid += 'measures = ["gradient_noise"]\n'
    (tmp_path / "odd.toml").write_text(grid)
    with pytest.raises(ScalingError, match="gradient_noise needs an even batch"):
        read_grid(tmp_path / "odd.toml")
    (tmp_path / "odd.toml").write_text(grid.replace("batch = 3", "batch = 4").replace("gradient_noise", "gradient"))
    with pytest.raises(ScalingError, match="gradient_noise"):
        read_grid(tmp_path / "odd.toml")


def test_a_grid_may_ask_for_several_measures_at_once(tmp_path: Path) -> None:
    text = f"# What is measured?\nwidth = 16\ndepth = 1\nlr = 0.01\nsteps = 4\nmeasures = {list(EVERY)}\n"
    (tmp_path / "all.toml").write_text(text.replace("'", '"'))
    (run,) = read_grid(tmp_path / "all.toml").runs
    assert run.measures == EVERY


def test_the_table_of_runs_has_what_was_measured_last(tmp_path: Path) -> None:
    run = a_run(steps=12, measures=EVERY)
    last = curve(_trained(tmp_path, run), run)[-1]
    (row,) = collect(tmp_path)[0].to_dict("records")
    assert {name: row[name] for name in COLUMNS} == {name: float(last[name]) for name in COLUMNS}
