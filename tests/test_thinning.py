"""Thinned curves keep what laws read: validations, ends, and every bend of the learning rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scaling import schedule
from scaling.curves import read_curves
from sweeps.thinning import BEND, thinned

STEPS = 3000
SCHEDULES = {
    "constant": schedule.constant(STEPS, 0.01, 50),
    "wsd": schedule.wsd(STEPS, 0.01, 50, cooldown=600),
    "cosine": schedule.cosine(STEPS, 0.01, 50, final=0.1),
    "multistep": schedule.multistep(STEPS, 0.01, 50, milestones=[0.5, 0.8], factor=0.3),
    "restarts": schedule.cosine_restarts(STEPS, 0.01, 50, cycles=3),
}


def a_curve(run: str, every: int = 5) -> pd.DataFrame:
    step = np.arange(0, STEPS, every)
    validated = np.isin(step, np.unique(np.geomspace(1, STEPS, 60).astype(int)) // every * every)
    loss = 2 + (step + 1.0) ** -0.3
    return pd.DataFrame({
        "run": run, "step": step, "lr": SCHEDULES[run][step], "train_loss": loss,
        "val_loss": np.where(validated, loss + 0.1, np.nan),
    })  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_and_validations_are_those_of_the_whole_curve(name: str) -> None:
    whole = a_curve(name)
    thin = thinned(whole, 150)
    assert len(thin) == 150
    pd.testing.assert_frame_equal(
        thin.dropna(subset="val_loss").reset_index(drop=True), whole.dropna(subset="val_loss").reset_index(drop=True)
    )
    read = [read_curves(table, loss="train_loss").attrs["schedules"].lr[name] for table in (whole, thin)]
    assert len(read[0]) == len(read[1])
    np.testing.assert_allclose(read[0], read[1], atol=BEND * read[0].max())


def test_rows_are_those_that_were_logged_and_no_stretch_is_left_out() -> None:
    whole = pd.concat([a_curve("wsd"), a_curve("constant")], ignore_index=True)
    thin = thinned(whole, 150)
    assert list(thin["run"].unique()) == ["wsd", "constant"]
    assert len(thin.merge(whole)) == len(thin)
    for _, curve in thin.groupby("run"):
        assert curve["step"].is_monotonic_increasing and curve["step"].iloc[[0, -1]].tolist() == [0, STEPS - 5]
        assert curve["step"].diff().max() < STEPS / 50


def test_what_is_needed_is_kept_where_fewer_rows_are_asked_for() -> None:
    whole = a_curve("wsd")
    thin = thinned(whole, 1)
    needed = int(whole["val_loss"].notna().sum())
    assert needed <= len(thin) < needed + 30  # a curved cooldown bends everywhere
    assert len(thinned(whole, 10_000)) == len(whole)
    assert thinned(whole[:0], 10).empty
