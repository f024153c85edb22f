"""The data that ships with the project is what its README says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pandas as pd

import scaling
from scaling.columns import CURVES, RUNS
from scaling.heldout import hold_out

DATA = Path(__file__).parents[1] / "data"


def test_every_file_has_the_digest_its_readme_states() -> None:
    stated = dict(re.findall(r"`(\S+\.csv)` \| `([0-9a-f]{64})`", (DATA / "README.md").read_text()))
    files = {str(path.relative_to(DATA)) for path in DATA.rglob("*.csv")}
    assert files == set(stated)
    for name, digest in stated.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest, name


def test_the_demo_tables_have_the_columns_of_the_vocabulary() -> None:
    assert list(pd.read_csv(DATA / "demo" / "runs.csv").columns) == list(RUNS)
    assert list(pd.read_csv(DATA / "demo" / "curves.csv").columns) == list(CURVES)


def test_the_demo_forecasts_its_held_out_runs_within_their_intervals() -> None:
    table = scaling.read_table(DATA / "demo" / "runs.csv")
    held = hold_out("chinchilla", table, 'group == "held_out"', resamples=200)
    assert not held.notes  # no held-out run shares a trunk with a fitted one
    assert (held.outcome["beyond"] >= 4).all()
    assert held.outcome["inside"].all()
    assert held.outcome["error"].abs().max() < 0.05


def test_the_demo_grid_costs_what_the_demo_may_cost() -> None:
    from sweeps.grid import read_grid
    from sweeps.plan import build_plan

    grid = read_grid("demo")
    plan = build_plan(grid.runs)
    blocks = pd.Series([run.group for run in grid.runs]).value_counts()
    assert plan.flops_shared <= 2e12
    assert blocks["wsd"] >= 20 and blocks["cosine"] == 2 and blocks["seeds"] == 2
    held = [run for run in grid.runs if run.group == "held_out"]
    fitted = [run for run in grid.runs if run.group != "held_out"]
    compute = {run.key: 6 * run.parameter_counts["matmul"] * run.tokens for run in grid.runs}
    assert min(compute[run.key] for run in held) >= 4 * max(compute[run.key] for run in fitted)
    assert {plan.trunk[run.key] for run in held}.isdisjoint(plan.trunk[run.key] for run in fitted)
    assert {run.seed for run in held}.isdisjoint(run.seed for run in fitted)
