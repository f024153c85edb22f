"""Laws over sizes, fitted to curves of small runs, say where runs of other sizes and schedules end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.finals import final_losses
from scaling.heldout import hold_out_curve
from scaling.intervals import bootstrap
from scaling.laws import find_law
from scaling.schedule import cosine, wsd
from scaling.trajectory import Trajectory

PEAK, NOISE = 8e-3, 0.002
SIZES = (1e4, 2.3e4, 5.2e4, 1.2e5)
#: Nobody's result: a family whose terms all matter at these sizes and learning rates; amplitudes are those at 1e8.
TRUE = {
    "tissue_sizes": {"L0": 1.2, "A": 0.7, "alpha": 0.5, "B": 0.045, "beta": 0.25, "C": 0.3, "gamma": 0.15, "lam": 0.99},
    "ncl_sizes": {
        "L0": 1.2, "B": 0.045, "b": 0.25, "A": 1.0, "n_A": 0.05, "s": 0.5, "a0": 9.0, "n_0": 0.1, "a1": 19.0,
        "n_1": 0.15, "q": 1.1, "p": 1.9,
    },
}  # fmt: skip


def family(name: str, sizes: tuple[float, ...], horizons: tuple[int, ...], noise: float = NOISE) -> pd.DataFrame:
    """A cooldown off one trunk for each horizon and a cosine of the longest, a row every 20 updates from 40 on."""
    law, rng, parts, schedules = find_law(name), np.random.default_rng(0), [], {}
    for n in sizes:
        lrs = {f"wsd{h}": wsd(h, PEAK, 40, int(0.3 * h)) for h in horizons}
        lrs |= {"cosine": cosine(max(horizons), PEAK, 40)}
        for kind, lr in lrs.items():
            steps = np.unique(np.append(np.arange(40, len(lr), 20), len(lr) - 1))
            loss = law(Trajectory((lr,), (steps,)), np.full(len(steps), n), **TRUE[name])
            loss = loss * np.exp(noise * rng.standard_normal(len(steps)))
            schedules[f"{kind}-{n:g}"] = lr
            parts.append(pd.DataFrame({"run": f"{kind}-{n:g}", "step": steps, "lr": lr[steps], "loss": loss, "N": n}))
    return scaling.read_curves(pd.concat(parts, ignore_index=True), schedules=schedules)


@pytest.mark.parametrize("name", TRUE)
def test_larger_models_and_longer_horizons_are_forecast_to_the_noise(name: str) -> None:
    found = scaling.fit(name, family(name, SIZES, (400, 800)), starts=4)
    assert found.ok, found.problems
    truth = find_law(name)
    for n, lr in ((4.8e5, cosine(800, PEAK, 40)), (1.2e5, wsd(3200, PEAK, 40, 600)), (4.8e5, wsd(3200, PEAK, 40, 900))):
        path = Trajectory((lr,), (np.arange(100, len(lr), 10),))
        sizes = np.full(len(path), n)
        error = np.log(truth(path, sizes, **found.params) / truth(path, sizes, **TRUE[name]))
        assert np.sqrt(np.mean(error**2)) < 2 * NOISE


def test_final_losses_are_the_last_rows_of_forecasts_with_a_band() -> None:
    draws = bootstrap(scaling.fit("tissue_sizes", family("tissue_sizes", SIZES, (400, 800)), starts=4))
    assert draws.method == "jackknife" and len(draws.params) == 12
    spec = f"wsd:steps=1600,peak={PEAK},warmup=40,cooldown=480"
    runs = pd.DataFrame({"N": [1.2e5, 4.8e5], "schedule": [cosine(800, PEAK, 40), spec]}, index=["a", "b"])
    frame = final_losses(draws, runs)
    assert list(frame.columns) == ["N", "steps", "loss", "lo", "hi"]
    assert frame["steps"].tolist() == [800, 1600]
    for (_, row), lr in zip(frame.iterrows(), (cosine(800, PEAK, 40), wsd(1600, PEAK, 40, 480)), strict=True):
        last = scaling.forecast(draws, schedule=lr, N=row["N"]).iloc[-1]
        for column in ("loss", "lo", "hi"):
            assert row[column] == pytest.approx(last[column], rel=1e-6)  # pooled sums differ by rounding
        truth = find_law("tissue_sizes")(
            Trajectory((lr,), (np.array([len(lr) - 1]),)), row["N"], **TRUE["tissue_sizes"]
        )
        assert row["lo"] < truth[0] < row["hi"]
    said = " ".join(frame.attrs["said"])
    assert "N up to 4 times outside" in said and "steps up to 2 times outside" in said
    assert "learning rate" not in said


def test_final_losses_say_what_they_lack() -> None:
    fit = scaling.fit("tissue_sizes", family("tissue_sizes", SIZES[:2], (400,)), starts=2)
    runs = pd.DataFrame({"N": [1e5], "schedule": ["cosine:steps=400,peak=8e-3"]})
    assert any("2 sizes fitted" in line for line in final_losses(fit, runs).attrs["said"])
    with pytest.raises(scaling.ScalingError, match="reads schedule, N; the runs lack N"):
        final_losses(fit, runs.drop(columns="N"))
    with pytest.raises(scaling.ScalingError, match="did you mean cosine"):
        final_losses(fit, runs.assign(schedule="cosin:steps=4,peak=1"))
    with pytest.raises(scaling.ScalingError, match="the table is empty"):
        final_losses(fit, runs.iloc[:0])
    table = pd.DataFrame({"C": np.geomspace(1, 9, 6), "loss": 1 + 1 / np.geomspace(1, 9, 6)})
    with pytest.raises(scaling.ScalingError, match="a law of finished runs"):
        final_losses(scaling.fit("power", table, x="C"), runs)


def test_a_held_out_curve_is_forecast_from_other_sizes() -> None:
    curves = family("tissue_sizes", (*SIZES, 2.4e5), (400,))
    kept = curves[curves["run"].isin([r for r in curves["run"].unique() if "240000" not in r] + ["wsd400-240000"])]
    kept.attrs = curves.attrs
    held = hold_out_curve("tissue_sizes", kept, "wsd400-240000", starts=4)
    assert held.outcome["error"].abs().max() < 5 * NOISE
    assert held.outcome["inside"].mean() > 0.8


def test_the_command_forecasts_a_family_and_holds_out_its_sizes(tmp_path, capsys) -> None:
    curves = family("tissue_sizes", SIZES, (400, 800))
    path, table = tmp_path / "curves.csv", tmp_path / "runs.csv"
    curves.to_csv(path, index=False)
    fit = tmp_path / "fit.json"
    assert main(["fit", "tissue_sizes", str(path), "--warmup", "40", "--starts", "4", "-o", str(fit)]) == 0
    spec = f"cosine:steps=400,peak={PEAK},warmup=40"
    capsys.readouterr()
    assert main(["forecast", str(fit), "--schedule", spec, "--at", "N=2e5", "--at", "N=4e5"]) == 0
    printed = capsys.readouterr().out
    assert "N up to 3.33 times outside the fitted 1e+04 to 1.2e+05" in printed
    assert main(["forecast", str(fit), "--schedule", spec, "--at", "N=2e5"]) == 0
    assert "400 steps" in capsys.readouterr().out
    assert main(["forecast", str(fit), "--schedule", spec]) == 1
    assert "tissue_sizes forecasts a curve at --at N=.." in capsys.readouterr().err
    ends = curves.groupby("run").agg(N=("N", "first"), D=("step", "max"), loss=("loss", "last")).reset_index()
    ends["C"] = 6 * ends["N"] * ends["D"]
    ends.to_csv(table, index=False)
    asked = ["holdout", "chinchilla", str(table), "--hold", "N > 1e5", "--resamples", "20", "--curves", str(path)]
    assert main([*asked, "--curve-law", "tissue_sizes"]) == 0
    assert "from 9 fitted curves of 3 sizes" in capsys.readouterr().out
