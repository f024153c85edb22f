"""Which runs on repeated data a law that only saturates can describe."""

from __future__ import annotations

import pandas as pd
import pytest

import scaling


def table(*rows: tuple[float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["N", "D", "U", "loss"])


def left(runs: pd.DataFrame, **options: float) -> list[int]:
    kept, harmed = scaling.before_harm(runs, **options)
    assert sorted([*kept.index, *harmed.index]) == list(runs.index)
    return list(harmed.index)


def test_a_run_that_more_epochs_made_worse_is_left_out():
    runs = table((1e6, 1e6, 1e6, 4.0), (1e6, 4e6, 1e6, 3.0), (1e6, 16e6, 1e6, 3.2), (1e6, 64e6, 1e6, 2.9))
    assert left(runs) == [2]
    assert left(runs, margin=0.1) == []


def test_a_larger_model_that_overfits_is_left_out():
    assert left(table((1e6, 4e6, 1e6, 3.0), (4e6, 4e6, 1e6, 3.1), (4e6, 8e6, 1e6, 2.9))) == [1]


def test_runs_on_more_unique_text_judge_none_on_less():
    assert left(table((1e6, 4e6, 4e6, 3.0), (1e6, 8e6, 1e6, 3.5))) == []


def test_fresh_text_is_alike_however_much_there_is():
    assert left(table((1e6, 1e6, 1e9, 3.0), (1e6, 2e6, 2e9, 3.1))) == [1]


def test_a_run_without_a_loss_judges_and_is_judged_by_none():
    assert left(table((1e6, 1e6, 1e6, float("nan")), (1e6, 2e6, 1e6, 3.1))) == []


def test_columns_that_are_missing_are_named():
    with pytest.raises(scaling.ScalingError, match="there is no D, U"):
        scaling.before_harm(pd.DataFrame({"N": [1.0], "loss": [2.0]}))
