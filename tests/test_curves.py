from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import scaling
from scaling.curve_checks import noise_floor
from scaling.figures.curves import plot_curves
from scaling.forecasting import rehearsal_line
from scaling.heldout import hold_out_curve
from scaling.laws import LAWS
from scaling.schedule import constant, cosine, wsd
from scaling.schedule_spec import schedule_from
from scaling.trajectory import whole

TRUE = {"L0": 2.6, "A": 0.5, "alpha": 0.5, "C": 0.5, "lam": 0.99}
NCL = {"L0": 2.7, "A": 0.9, "s": 0.5, "a0": 6.0, "a1": 4.0, "q": 1.05, "p": 1.9}
STEPS = 2000
SCHEDULES = {
    "cosine": cosine(STEPS, 2e-3, 100),
    "constant": constant(STEPS, 2e-3, 100),
    "wsd": wsd(STEPS, 2e-3, 100, cooldown=400),
}


def curves(noise: float = 0.0005, every: int = 10, seed: int = 0, first: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for run, lr in SCHEDULES.items():
        steps = np.arange(first, STEPS, every)
        loss = LAWS["tissue"](whole(lr), **TRUE)[steps] * np.exp(noise * rng.normal(size=len(steps)))
        frames.append(pd.DataFrame({"run": run, "step": steps, "lr": lr[steps], "loss": loss}))
    return pd.concat(frames, ignore_index=True)


def test_a_schedule_never_run_is_predicted_from_three_others() -> None:
    table = scaling.read_curves(curves(), schedules=SCHEDULES)
    found = scaling.fit("tissue", table)
    new = wsd(STEPS, 2e-3, 100, cooldown=1000, shape="linear")
    predicted = found.predict(schedule=new)
    assert predicted.shape == (STEPS,)
    np.testing.assert_allclose(predicted[200:], LAWS["tissue"](whole(new), **TRUE)[200:], rtol=1e-3)


def test_a_plain_frame_of_curves_fits_without_any_preparation() -> None:
    found = scaling.fit("tissue", curves(every=4, first=0))
    assert found.params["alpha"] == pytest.approx(TRUE["alpha"], rel=0.02)


def test_a_log_that_starts_late_says_what_was_assumed_of_its_start() -> None:
    found = scaling.fit("tissue", curves())
    assert any("held back to step 0; say warmup=STEPS" in note for note in found.notes)


def test_a_stated_warm_up_is_rebuilt_and_said() -> None:
    table = scaling.read_curves(curves(), warmup=100)
    np.testing.assert_allclose(table.attrs["schedules"].lr["constant"], SCHEDULES["constant"][:1991], rtol=1e-12)
    found = scaling.fit("tissue", table)
    assert any("warm-up of 100 updates was rebuilt" in note for note in found.notes)
    assert any("interpolated" in note for note in found.notes)


def test_a_log_that_starts_within_the_warm_up_gets_its_true_beginning() -> None:
    table = scaling.read_curves(curves(first=20), warmup=100)
    np.testing.assert_allclose(table.attrs["schedules"].lr["constant"][:91], SCHEDULES["constant"][:91], rtol=1e-9)


def test_rows_are_filtered_after_the_learning_rates_are_rebuilt() -> None:
    asked = scaling.read_curves(curves(every=1, first=0), where="step >= 500 and run != 'cosine'")
    assert asked["step"].min() == 500 and set(asked["run"]) == {"constant", "wsd"}
    np.testing.assert_allclose(asked.attrs["schedules"].lr["wsd"], SCHEDULES["wsd"], rtol=1e-12)


def test_steps_before_the_first_learning_rate_above_0_are_dropped_and_forecast_as_nothing() -> None:
    table = curves(every=1, first=0)
    table.loc[table["step"] == 0, "lr"] = 0.0
    found = scaling.fit("tissue", table)
    assert found.dropped["reason"].tolist() == ["no update had a learning rate above 0 yet"] * 3
    lr = np.concatenate([[0.0], SCHEDULES["wsd"]])
    assert np.isinf(found.predict(schedule=lr)[0]) and np.isfinite(found.predict(schedule=lr)[1:]).all()
    band = scaling.forecast(scaling.bootstrap(found), schedule=lr)
    assert np.isnan(band["loss"][0]) and (band["lo"][1:] < band["hi"][1:]).all()


def test_schedules_of_other_runs_and_negative_warm_ups_are_refused() -> None:
    with pytest.raises(scaling.TableError, match="none of which is in the table"):
        scaling.read_curves(curves(), schedules={"other": SCHEDULES["wsd"]})
    with pytest.raises(scaling.TableError, match="not below 0"):
        scaling.read_curves(curves(), warmup=-5)


def test_contiguous_rows_are_not_called_interpolated() -> None:
    found = scaling.fit("tissue", scaling.read_curves(curves(every=1), warmup=100))
    assert not any("interpolated" in note for note in found.notes)


def test_filtering_a_table_keeps_its_schedules() -> None:
    table = scaling.read_curves(curves(), schedules=SCHEDULES)
    part = table[table["run"] != "wsd"]
    found = scaling.fit("tissue", part)
    assert set(found.table["run"]) == {"cosine", "constant"}
    assert len(found.table.attrs["schedules"].lr["cosine"]) == STEPS


def test_constant_curves_alone_do_not_identify_annealing() -> None:
    table = scaling.read_curves(curves(), schedules=SCHEDULES)
    found = scaling.fit("tissue", table[table["run"] == "constant"])
    assert any("no curve has a falling learning rate" in p for p in found.problems)


def test_the_loss_column_is_chosen_and_empty_rows_are_left_out_with_a_count() -> None:
    table = curves(every=1).rename(columns={"loss": "val_loss"}).assign(train_loss=9.0)
    table.loc[table.index % 5 != 0, "val_loss"] = np.nan
    found = scaling.fit("tissue", scaling.read_curves(table, loss="val_loss", warmup=100))
    assert found.params["alpha"] == pytest.approx(TRUE["alpha"], rel=0.02)
    assert any(f"{int(table['val_loss'].isna().sum())} rows without a loss" in note for note in found.notes)
    assert not len(found.dropped)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="lr"), "Missing: lr"),
        (lambda t: t.drop(columns="step"), "Missing: step"),
        (lambda t: t.assign(step=-1.0), "steps must lie between 0"),
        (lambda t: t.assign(lr=np.nan), "no row with a usable learning rate"),
    ],
)
def test_damaged_curves_are_refused(change, says: str) -> None:
    with pytest.raises(scaling.TableError, match=says):
        scaling.read_curves(change(curves()))


def test_bad_rows_of_curves_are_listed() -> None:
    table = curves()
    table["loss"] = table["loss"].astype(object)
    table.loc[3, "loss"], table.loc[4, "loss"] = "oops", -1
    stream = io.StringIO(table.to_csv(index=False))
    found = scaling.fit("tissue", scaling.read_curves(stream, schedules=SCHEDULES))
    assert found.dropped["row"].tolist() == [3, 4]
    assert "'oops'" in found.dropped["reason"][0]


def test_steps_that_are_means_of_bins_are_rounded_down_and_said() -> None:
    table = curves(every=10).assign(step=lambda t: t["step"] + 4.5)
    found = scaling.fit("tissue", scaling.read_curves(table, schedules=SCHEDULES))
    assert (found.table["step"] % 10 == 4).all()
    assert any("rounded down" in note for note in found.notes)


def test_a_schedule_shorter_than_its_curve_is_refused() -> None:
    with pytest.raises(scaling.TableError, match="needs at least 1991"):
        scaling.read_curves(curves(), schedules={"wsd": SCHEDULES["wsd"][:100]})


def test_a_schedule_to_predict_is_checked() -> None:
    found = scaling.fit("tissue", scaling.read_curves(curves(), schedules=SCHEDULES))
    for bad in ([], [1e-3, -1e-3], [[1e-3]], [np.nan], [0.0, 0.0]):
        with pytest.raises(scaling.ScalingError, match="list of learning rates"):
            found.predict(schedule=bad)
    with pytest.raises(scaling.ScalingError, match="give schedule="):
        found.predict(N=1e9)


def test_three_curves_give_a_jackknife_band_that_covers_a_new_schedule() -> None:
    table = scaling.read_curves(curves(), schedules=SCHEDULES)
    draws = scaling.bootstrap(scaling.fit("tissue", table))
    assert draws.method == "jackknife"
    assert draws.params.shape == (3, 5)
    assert list(draws.rehearsal["run"]) == ["constant", "cosine", "wsd"]
    new = wsd(STEPS, 2e-3, 100, cooldown=1000, shape="linear")
    band = scaling.forecast(draws, schedule=new)
    assert list(band.columns) == ["step", "loss", "lo", "hi"]
    truth = LAWS["tissue"](whole(new), **TRUE)
    inside = (band["lo"] < truth) & (truth < band["hi"])
    assert inside[200:].mean() > 0.9
    narrow, broad = (draws.summary(level).loc["alpha"] for level in (0.5, 0.99))
    assert broad["hi"] - broad["lo"] > 3.8 * (narrow["hi"] - narrow["lo"])  # normal quantiles: 2.576 / 0.674 = 3.82
    wide = scaling.forecast(draws, schedule=new, level=0.99)
    assert (wide["hi"] > band["hi"]).all()


def test_one_curve_gives_a_band_that_says_what_it_leaves_out() -> None:
    table = scaling.read_curves(curves(), schedules=SCHEDULES)
    draws = scaling.bootstrap(scaling.fit("tissue", table[table["run"] == "wsd"]), 20)
    assert draws.method == "blocks"
    assert "not the law's error on other schedules" in draws.notes[0]


def ncl_curves(names: tuple[str, ...], noise: float = 0.001, seed: int = 0) -> pd.DataFrame:
    """Curves of the noise-convolution law, 60 rows each, with noise."""
    rng = np.random.default_rng(seed)
    frames = []
    for name in names:
        steps = np.arange(100, STEPS, 32)
        loss = LAWS["ncl"](whole(SCHEDULES[name]), **NCL)[steps] * np.exp(noise * rng.normal(size=len(steps)))
        frames.append(pd.DataFrame({"run": name, "step": steps, "loss": loss}))
    return scaling.read_curves(pd.concat(frames, ignore_index=True), schedules=SCHEDULES)


def test_one_curve_of_a_law_with_priors_gives_the_band_of_its_priors() -> None:
    fitted = scaling.fit("ncl", ncl_curves(("wsd",)))
    draws = scaling.bootstrap(fitted)
    assert draws.method == "prior" and "priors" in draws.notes[0]
    assert len(draws.params) >= 30 and np.isfinite(draws.params).all()
    new = wsd(STEPS, 2e-3, 100, cooldown=1500, shape="linear")
    band = scaling.forecast(draws, schedule=new)
    truth = LAWS["ncl"](whole(new), **NCL)
    inside = (band["lo"] < truth) & (truth < band["hi"])
    assert inside[200:].mean() > 0.9
    own = scaling.forecast(draws, schedule=SCHEDULES["wsd"])
    assert (band["hi"] - band["lo"]).iloc[-1] > (own["hi"] - own["lo"]).iloc[-1]  # wider where nothing was seen


def test_parameters_that_the_curves_leave_to_their_priors_are_named() -> None:
    alone = scaling.fit("ncl", ncl_curves(("constant",)))
    assert any("decided by the prior" in note and "p" in note.split(":")[0] for note in alone.notes)
    assert any("no curve has a falling learning rate" in p for p in alone.problems)
    several = scaling.fit("ncl", ncl_curves(("constant", "cosine", "wsd"), noise=1e-5))
    assert not any("decided by the prior" in note and "s" in note.split(":")[0].split(", ") for note in several.notes)


def test_each_left_out_curve_says_how_much_of_it_the_others_bands_held() -> None:
    draws = scaling.bootstrap(scaling.fit("ncl", ncl_curves(("constant", "cosine", "wsd"))))
    covered = draws.rehearsal["covered"]
    assert covered.between(0, 1).all() and covered.mean() > 0.5
    assert "90% bands made without a curve held" in rehearsal_line(draws)


def test_a_forecast_says_where_it_leaves_the_fitted_curves() -> None:
    draws = scaling.bootstrap(scaling.fit("ncl", ncl_curves(("constant", "cosine", "wsd"))))
    said = scaling.forecast(draws, schedule=cosine(3 * STEPS, 8e-3, 100)).attrs["said"]
    assert any("peak learning rate 0.008" in word for word in said) and any("3 times the longest" in w for w in said)
    again = np.concatenate([cosine(1000, 2e-3, 100, 0.1), cosine(1000, 2e-3, 100, 0.1)])
    assert "rises again" in scaling.forecast(draws, schedule=again).attrs["said"][0]
    assert scaling.forecast(draws, schedule=SCHEDULES["wsd"]).attrs["said"] == []
    assert "fewer than" in scaling.forecast(draws, schedule=constant(500, 2e-3, 100)).attrs["said"][0]


def test_rows_that_a_fitted_curve_has_too_are_scored_apart() -> None:
    table = ncl_curves(("constant", "cosine", "wsd"))
    stable = (table["run"] == "wsd") & (table["step"] < 1600)
    table.loc[stable, "loss"] = table.loc[(table["run"] == "constant") & (table["step"] < 1600), "loss"].to_numpy()
    held = hold_out_curve("ncl", table, "wsd")
    assert held.outcome["shared"].sum() == stable.sum()
    assert any(f"{int(stable.sum())} of" in note and "new part" in note for note in held.notes)


def test_runs_that_repeat_a_schedule_give_the_noise_floor() -> None:
    table = pd.concat([ncl_curves(("wsd",), 0.002, seed).assign(run=f"seed {seed}") for seed in range(4)])
    table = scaling.read_curves(
        table.reset_index(drop=True), schedules={f"seed {seed}": SCHEDULES["wsd"] for seed in range(4)}
    )
    floor, pairs = noise_floor(table)
    assert pairs == 6 and floor == pytest.approx(0.002, rel=0.15)
    found = scaling.fit("tissue", table)
    assert any("pairs of runs repeat a schedule" in note for note in found.notes) and found.ok


def test_copies_of_a_run_are_a_problem_for_they_narrow_bands() -> None:
    one = ncl_curves(("cosine", "wsd", "constant"))
    twice = pd.concat([one, one.assign(run=one["run"] + " copy")], ignore_index=True)
    table = scaling.read_curves(twice, schedules=SCHEDULES | {f"{name} copy": lr for name, lr in SCHEDULES.items()})
    assert any("3 runs repeat another's rows bit by bit" in p for p in scaling.fit("ncl", table).problems)
    assert not any("bit by bit" in p for p in scaling.fit("ncl", one).problems)


def test_a_parameter_of_any_sign_has_its_own_standard_error() -> None:
    lrs = {f"{name} {n:g}": SCHEDULES[name] for name in ("cosine", "wsd") for n in (3e7, 1e8, 3e8, 1e9)}
    params = NCL | {"L0": 1.5, "B": 0.7, "b": 0.2, "n_A": -0.02, "n_0": -0.03, "n_1": 0.1}
    rng, frames = np.random.default_rng(0), []
    for run, lr in lrs.items():
        steps, size = np.arange(100, STEPS, 64), float(run.split()[1])
        loss = LAWS["ncl_sizes"](whole(lr), size, **params)[steps] * np.exp(0.002 * rng.normal(size=len(steps)))
        frames.append(pd.DataFrame({"run": run, "step": steps, "loss": loss, "N": size}))
    found = scaling.fit("ncl_sizes", scaling.read_curves(pd.concat(frames, ignore_index=True), schedules=lrs), starts=2)
    drawn = plot_curves(*Figure().subplots(2, 1), found)  # every curve at its own size
    assert len({round(float(line.get_ydata()[-1]), 3) for line in drawn.lines[1::2]}) == len(lrs)
    for name in ("n_A", "n_0", "n_1"):
        assert found.summary().loc[name, "se"] == pytest.approx(found.log_se[name])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run,step,lr\na,0,1e-3\na,100,1e-3\nb,0,1e-3\n", "not one an update of one run"),
        ("step,lr\n0,1e-3\n128,1e-3\n", "not one an update of one run"),
    ],
)
def test_a_table_of_curves_is_no_schedule(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "lr.csv").write_text(text)
    with pytest.raises(scaling.ScalingError, match=said):
        schedule_from(str(tmp_path / "lr.csv"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("wsd:steps=abc,peak=1", "steps must be a number, got 'abc'"),
        ("wsd:steps=1.5,peak=1", "steps must be a whole number"),
        ("wsd:steps=10,steps=20,peak=1", "steps is given twice"),
        ("wsd:steps=10", "peak must be given, as in wsd:steps=1000"),
        ("wsd:steps=10,peak=1,warmpu=3", "wsd has no option 'warmpu'; .*warmup"),
        ("wsd:steps=10,peak", "expected NAME:option=value"),
        ("wsd:steps=1e9,peak=1", "steps must lie between"),
        ("wsd:steps=10,peak=1,shape=round", "shape"),
        ("wsdd:steps=10,peak=1", "no schedule is called"),
    ],
)
def test_a_schedule_that_cannot_be_made_is_refused_with_what_it_takes(spec: str, said: str) -> None:
    with pytest.raises(scaling.ScalingError, match=said):
        schedule_from(spec)


def test_a_schedule_in_one_word_is_that_schedule() -> None:
    assert len(schedule_from("wsd:steps=1e1, peak=1, cooldown=5, shape=linear")) == 10
    assert schedule_from("multistep:steps=10,peak=1,milestones=.5+.8,factor=.1")[[4, 5, 8]] == pytest.approx(
        [1, 0.1, 0.01]
    )


def test_curves_of_several_models_under_a_law_for_one_are_a_problem() -> None:
    one = ncl_curves(("cosine", "wsd"))
    other = one.assign(run="large " + one["run"], loss=one["loss"] * 0.93)
    schedules = SCHEDULES | {f"large {name}": lr for name, lr in SCHEDULES.items()}
    table = scaling.read_curves(pd.concat([one, other], ignore_index=True), schedules=schedules)
    found = scaling.fit("tissue", table)
    assert any("share a schedule, 2 of them, differ by 5" in p and "fit ncl_sizes" in p for p in found.problems)
    assert noise_floor(table)[1] == 0


def test_luos_three_curves_forecast_the_six_held_out(datasets: Path) -> None:
    # MPL paper's split, 100M: the study of the law measured a held-out RMSE of 6.27e-3 with warm-up rises left out of
    # S2
    table = scaling.read_curves(datasets / "luo2025_schedules.csv.gz", warmup=2160, where='model == "100M"')
    found = scaling.fit("tissue", table[table["split"] == "paper_train"])
    errors = []
    for run, rows in table[table["split"] == "paper_test"].groupby("run"):
        predicted = found.predict(schedule=table.attrs["schedules"].lr[str(run)])[rows["step"].astype(int)]
        errors.append(float(np.sqrt(np.mean((predicted - rows["loss"]) ** 2))))
    print("held-out RMSE", np.mean(errors))
    assert len(errors) == 6
    assert np.mean(errors) < 6.27e-3


def test_learning_rates_that_are_no_numbers_are_noted_by_row() -> None:
    table = curves().astype({"lr": object})
    table.loc[[7, 11], "lr"] = "n/a?"
    found = scaling.fit("tissue", scaling.read_curves(table))
    assert any("2 learning rates were no numbers (row 7, 11)" in note for note in found.notes)
    assert {7, 11} <= set(found.table.index)
