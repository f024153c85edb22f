"""A run that still trains is forecast from its curve and its family's; faults are seen, what is not known is said."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.laws import find_law
from scaling.schedule import constant, cosine, wsd
from scaling.sweep_folder import read_sweep_folder
from scaling.trajectory import Trajectory
from scaling.watch_rows import row_noise, rows_of, thinned
from scaling.watching import Watch, watch

PEAK, NOISE = 8e-3, 0.001
#: Nobody's result: amplitudes at which 6% of the loss is noise at this peak rate.
TRUE = {"L0": 1.3, "A": 1.0, "s": 0.5, "a0": 1.2, "a1": 2.5, "q": 1.1, "p": 1.9}
PLANS = {
    "constant": constant(1000, PEAK, 40), "cosine": cosine(1000, PEAK, 40), "wsd30": wsd(1000, PEAK, 40, 300),
    "short": wsd(600, PEAK, 40, 180), "half": wsd(800, PEAK, 40, 400),
}  # fmt: skip
PLAN = wsd(1600, PEAK, 40, 320)


def rows(run: str, lr: np.ndarray, until: int | None = None, seed: int = 0, noise: float = NOISE) -> pd.DataFrame:
    steps = np.unique(np.append(np.arange(40, len(lr), 16), len(lr) - 1))
    steps = steps[steps < (until or len(lr))]
    loss = find_law("ncl")(Trajectory((lr,), (steps,)), **TRUE)
    loss = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(steps)))
    return pd.DataFrame({"run": run, "step": steps, "lr": lr[steps], "loss": loss})


def curves(until: int = 800, family: tuple[str, ...] = tuple(PLANS), plan: np.ndarray = PLAN) -> pd.DataFrame:
    parts = [rows(name, PLANS[name], seed=i + 1) for i, name in enumerate(family)]
    return pd.concat([*parts, rows("big", plan, until)], ignore_index=True)


def read(table: pd.DataFrame) -> pd.DataFrame:
    return scaling.read_curves(table, warmup=40)


def truth(plan: np.ndarray = PLAN) -> float:
    return float(find_law("ncl")(Trajectory((plan,), (np.array([len(plan) - 1]),)), **TRUE)[0])


@pytest.fixture(scope="module")
def half() -> Watch:
    return watch(read(curves()), "big", PLAN)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = curves()
    table.to_csv(tmp_path / "curves.csv", index=False)
    table[table["run"] == "big"].to_csv(tmp_path / "big.csv", index=False)
    pd.DataFrame({"lr": PLAN}).to_csv(tmp_path / "plan.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_half_finished_run_is_forecast_from_its_family(half: Watch) -> None:
    assert (half.steps, half.now, half.family) == (1600, 792, tuple(sorted(PLANS)))
    assert half.loss == pytest.approx(truth(), rel=3 * NOISE)
    assert half.lo < truth() < half.hi
    assert half.identified and not half.departure.departs
    assert np.log(half.hi / half.lo) < 0.05
    last = half.band.iloc[-1]
    assert (last["step"], last["loss"], last["lo"], last["hi"]) == (1599, half.loss, half.lo, half.hi)
    assert half.band["lr"].iloc[-1] == PLAN[-1] and half.band["step"].is_monotonic_increasing
    ahead = half.band[half.band["step"] > half.now]
    assert np.all(np.diff(ahead["hi"] / ahead["lo"]) > -2e-3)  # farther ahead is not surer


def test_the_family_is_rehearsed_at_the_same_share(half: Watch) -> None:
    assert set(half.rehearsal["run"]) == set(PLANS)
    at = half.rehearsal.set_index("run")["at"]
    assert at["short"] == pytest.approx(0.4956 * 600, abs=2) and at["cosine"] == pytest.approx(0.4956 * 1000, abs=2)
    assert half.rehearsal["error"].abs().max() < 0.02


def test_a_family_that_does_not_forecast_itself_widens_the_interval(half: Watch) -> None:
    table = curves()
    late = (table["run"] == "wsd30") & (table["step"] >= 700)
    table.loc[late, "loss"] *= 1.05
    found = watch(read(table), "big", PLAN)
    error = found.rehearsal.set_index("run")["error"]
    assert error["wsd30"] == pytest.approx(-np.log(1.05), abs=0.015)
    assert found.parts["rehearsal"] > 3 * half.parts["rehearsal"]
    assert np.log(found.hi / found.lo) > 1.5 * np.log(half.hi / half.lo)


def test_a_rehearsed_run_s_hidden_part_is_not_in_what_forecasts_it() -> None:
    found = watch(read(curves(family=("constant", "wsd30"))), "big", PLAN)  # only wsd30 has a decay, after half
    end = np.log(found.fit.predict(schedule=PLANS["wsd30"])[-1] / truth(PLANS["wsd30"]))
    hidden = found.rehearsal.set_index("run")["error"]["wsd30"]
    assert abs(end) < 3 * NOISE < 10 * NOISE < abs(hidden)


def test_what_a_finished_run_hides_does_not_reach_the_forecast() -> None:
    table = curves()
    later = rows("big", PLAN, seed=5)
    later["loss"] = np.where(later["step"] >= 800, 9.0, np.nan)
    whole = pd.concat([table, later[later["step"] >= 800].assign(loss=np.nan)], ignore_index=True)
    assert watch(read(whole), "big", PLAN).loss == watch(read(table), "big", PLAN).loss


def test_a_lone_run_before_its_decay_does_not_identify_annealing(half: Watch) -> None:
    alone = watch(read(curves(family=())), "big", PLAN)
    assert not alone.identified and alone.family == () and not alone.departure.departs
    said = " ".join(alone.notes)
    assert "annealing is not identified" in said and "alone" in said
    assert any("no curve has a falling learning rate" in problem for problem in alone.fit.problems)
    assert np.log(alone.hi / alone.lo) > 3 * np.log(half.hi / half.lo)
    assert alone.lo < truth() < alone.hi
    flat = constant(1600, PEAK, 40)
    assert watch(read(curves(family=(), plan=flat)), "big", flat).identified  # nothing is to come
    cooled = watch(read(curves(until=1500, family=())), "big", PLAN)
    assert cooled.identified and np.log(cooled.hi / cooled.lo) < 0.5 * np.log(alone.hi / alone.lo)


def test_a_family_without_a_decay_does_not_identify_annealing_either(half: Watch) -> None:
    table = curves(family=("constant",))
    more = [rows(f"flat{i}", constant(900 + 100 * i, PEAK, 40), seed=20 + i) for i in range(3)]
    found = watch(read(pd.concat([table, *more], ignore_index=True)), "big", PLAN)
    assert len(found.family) == 4 and not found.identified
    assert np.log(found.hi / found.lo) > 3 * np.log(half.hi / half.lo)  # four curves do not make it sure


def test_runs_of_another_size_or_peak_are_left_out() -> None:
    table = curves().assign(N=1e6)
    other = rows("larger", PLANS["cosine"]).assign(N=2e6, loss=lambda t: t["loss"] * 0.8)
    hot = rows("hot", cosine(1000, 3 * PEAK, 40)).assign(N=1e6)
    found = watch(read(pd.concat([table, other, hot], ignore_index=True)), "big", PLAN)
    assert found.family == tuple(sorted(PLANS))
    assert any("another N" in n for n in found.notes) and any("another peak" in n for n in found.notes)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda step, loss: np.where(step > 650, loss * 1.05, loss), "departs: .* above"),
        (lambda step, loss: np.where(step > 650, loss * 0.95, loss), "departs: .* below"),
        (lambda step, loss: np.where(step > 650, loss * (1 + (step - 650) / 400), loss), "diverges"),
        (
            lambda step, loss: np.where((step > 640) & (step < 660), loss * 1.1, loss),
            "spikes? of the loss, at step 648",
        ),
    ],
)
def test_faults_are_seen(fault, says: str) -> None:
    table = curves()
    own = table["run"] == "big"
    table.loc[own, "loss"] = fault(table.loc[own, "step"], table.loc[own, "loss"])
    away = watch(read(table), "big", PLAN).departure
    assert away is not None and away.departs
    assert pd.Series(away.said).str.contains(says).any(), away.said


def test_runs_that_go_well_raise_no_alarm() -> None:
    for until in (500, 1100, 1500):
        away = watch(read(curves(until)), "big", PLAN).departure
        assert away is not None and not away.departs, away.said


def test_a_log_whose_rates_are_not_the_plan_is_named() -> None:
    other = wsd(1600, 0.5 * PEAK, 40, 320)
    assert any("not those of the plan" in note for note in watch(read(curves()), "big", other).notes)


@pytest.mark.parametrize(
    ("run", "plan", "says"),
    [
        ("bigger", PLAN, "there is no run 'bigger'"),
        ("big", PLAN[:700], "its plan ends with step 699"),
        ("big", -PLAN, "none negative"),
        ("big", PLAN[:1], "a list of learning rates"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(run: str, plan: np.ndarray, says: str) -> None:
    with pytest.raises(scaling.ScalingError, match=says):
        watch(read(curves()), run, plan)


def test_the_family_can_be_named() -> None:
    found = watch(read(curves()), "big", PLAN, family=["cosine", "wsd30"])
    assert found.family == ("cosine", "wsd30")
    with pytest.raises(scaling.ScalingError, match="there is no run 'cosin' in the curves; did you mean cosine"):
        watch(read(curves()), "big", PLAN, family=["cosin"])


def test_laws_of_runs_and_runs_of_three_rows_are_refused() -> None:
    with pytest.raises(scaling.ScalingError, match="a law of finished runs"):
        watch(read(curves()), "big", PLAN, law="chinchilla")
    with pytest.raises(scaling.ScalingError, match="has 3 rows with a loss"):
        watch(read(curves(until=80)), "big", PLAN)


def test_noisy_rows_are_averaged_and_smooth_ones_picked() -> None:
    smooth = rows_of(read(rows("a", PLAN, noise=0.0)), "a")
    assert row_noise(smooth["loss"].to_numpy()) < 1e-4
    assert set(thinned(smooth, 20)["loss"]) <= set(smooth["loss"])
    noisy = rows_of(read(rows("a", PLAN, noise=0.01)), "a")
    assert row_noise(noisy["loss"].to_numpy()) == pytest.approx(0.01, rel=0.3)
    few = thinned(noisy, 20)
    exact = find_law("ncl")(Trajectory((PLAN,), (few["step"].to_numpy(int),)), **TRUE)
    assert len(few) == 20
    assert np.std(np.log(few["loss"] / exact)[5:]) < 0.006  # ten rows in each


# --- the command ---


def test_the_command_prints_draws_and_registers(folder: Path, capsys) -> None:
    asked = ["watch", "curves.csv", "--run", "big", "--schedule", "plan.csv", "--warmup", "40"]
    assert main([*asked, "-o", "w.png", "--register", "f.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "big: step 792 of 1600 (50%)" in out and "from 5 curves of its family" in out and "on course" in out
    assert (folder / "w.png").stat().st_size > 10_000
    assert main([*asked, "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["annealing_identified"] is True and got["curve"][-1]["loss"] == got["loss"]
    rows("big", PLAN, seed=0).to_csv("later.csv", index=False)
    assert main(["score", "f.jsonl", "later.csv", "--json"]) == 0
    [scored] = json.loads(capsys.readouterr().out)["scored"]
    assert scored["run"] == "big" and not scored["known"] and scored["loss"] == got["loss"]
    rows("big", PLAN, 1500).to_csv("later.csv", index=False)
    assert main(["score", "f.jsonl", "later.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scored"] == []  # it has not come to its end


def test_rows_that_were_only_hidden_are_known_to_the_score(folder: Path, capsys) -> None:
    whole = pd.concat([curves(family=("wsd30", "cosine", "half")), rows("big", PLAN).query("step >= 800")])
    whole.to_csv("whole.csv", index=False)
    hide = ["--run", "big", "--warmup", "40", "--where", 'run != "big" or step < 800']
    assert main(["watch", "whole.csv", *hide, "--register", "f.jsonl"]) == 0
    asked = ["watch", "big.csv", "--family", "whole.csv", "--schedule", "plan.csv", "--warmup", "40"]
    assert main([*asked, "--register", "f.jsonl"]) == 0
    capsys.readouterr()
    assert main(["score", "f.jsonl", "whole.csv", "--json"]) == 0
    assert [row["known"] for row in json.loads(capsys.readouterr().out)["scored"]] == [True, True]
    assert main([*asked, "--register", "f.jsonl", "--follow", "1"]) == 1
    assert "--register takes one forecast" in capsys.readouterr().err


def test_a_family_may_stand_in_another_file_or_in_a_fit(folder: Path, capsys) -> None:
    def forecast(*words: str) -> dict:
        assert main(["watch", *words, "--schedule", "plan.csv", "--warmup", "40", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    together = forecast("curves.csv", "--run", "big")
    assert forecast("big.csv", "--family", "curves.csv")["loss"] == pytest.approx(together["loss"], rel=1e-6)
    others = pd.read_csv("curves.csv")
    others[others["run"] != "big"].to_csv("others.csv", index=False)
    assert main(["fit", "ncl", "others.csv", "--warmup", "40", "--starts", "2", "-o", "fit.json"]) == 0
    capsys.readouterr()
    assert forecast("big.csv", "--family", "fit.json")["loss"] == pytest.approx(together["loss"], rel=1e-6)


def test_the_plan_may_stand_in_the_log(folder: Path, capsys) -> None:
    ahead = pd.DataFrame({"run": "big", "step": np.arange(800, 1600), "lr": PLAN[800:], "loss": np.nan})
    pd.concat([pd.read_csv("curves.csv"), ahead]).to_csv("planned.csv", index=False)
    assert main(["watch", "planned.csv", "--run", "big", "--warmup", "40"]) == 0
    assert "step 792 of 1600" in capsys.readouterr().out
    assert main(["watch", "curves.csv", "--run", "big"]) == 1
    assert "the plan of run 'big' is not known: give --schedule" in capsys.readouterr().err
    assert main(["watch", "curves.csv", "--schedule", "plan.csv"]) == 1
    assert "say which run to watch" in capsys.readouterr().err


def test_a_growing_file_is_followed_to_its_end(folder: Path, capsys, monkeypatch) -> None:
    whole = rows("big", PLAN).to_csv(index=False)
    path = folder / "growing.csv"
    path.write_text(whole[: whole.index("big,808,")] + "big,808,0.0")

    # between two looks the rest is written
    monkeypatch.setattr(time, "sleep", lambda seconds: path.write_text(whole))
    asked = ["watch", "growing.csv", "--family", "curves.csv", "--schedule", "plan.csv", "--warmup", "40"]
    assert main([*asked, "--follow", "0.1"]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("big: step")]
    assert [line.split(" of ")[0] for line in shown] == ["big: step 792", "big: step 1599"]
    assert main([*asked, "--follow", "0"]) == 1


def sweep(folder: Path, run: str, lr: np.ndarray, options: dict, until: int | None = None, name: str = "wsd") -> None:
    at = folder / run
    at.mkdir(parents=True)
    plan = {"name": name, "steps": len(lr), "peak": PEAK, "options": options, "lr_sum": float(lr.sum())}
    (at / "run.json").write_text(json.dumps({"schedule": plan, "parameters": {"matmul": 10352}}))
    table = rows(run, lr, until, seed=len(run)).rename(columns={"loss": "val_loss"}).drop(columns="run")
    (at / "curve.csv").write_text(table.assign(train_loss=2.0).to_csv(index=False))
    if until is None:
        (at / "final.json").write_text(json.dumps({"status": "finished"}))


def test_a_folder_of_sweeps_holds_its_plans(tmp_path: Path, capsys) -> None:
    for run, cooldown in (("a", 300), ("bb", 400), ("ccc", 200)):
        sweep(tmp_path, run, wsd(1000, PEAK, 40, cooldown), {"warmup": 40, "cooldown": cooldown})
    sweep(tmp_path, "big", PLAN, {"warmup": 40, "cooldown": 320}, until=800)
    (tmp_path / "broken").mkdir()
    read_back = read_sweep_folder(str(tmp_path))
    assert read_back.training == ("big",) and len(read_back.plans["big"]) == 1600
    assert main(["watch", str(tmp_path), "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["run"] == "big" and got["family"] == ["a", "bb", "ccc"]
    assert got["loss"] == pytest.approx(truth(), rel=5 * NOISE)
    with (tmp_path / "big" / "curve.csv").open("a") as file:
        file.write("800,0.008,1.9")  # cut short by a kill
    assert int(read_sweep_folder(str(tmp_path)).curves.query("run == 'big'")["step"].max()) == 792
    said = json.loads((tmp_path / "big" / "run.json").read_text())
    said["schedule"]["lr_sum"] *= 1.1
    (tmp_path / "big" / "run.json").write_text(json.dumps(said))
    with pytest.raises(scaling.ScalingError, match="do not add up to its lr_sum"):
        read_sweep_folder(str(tmp_path))
    with pytest.raises(scaling.TableError, match="holds no run with a val_loss"):
        read_sweep_folder(str(tmp_path / "broken"))


def test_the_examples_of_the_help_run(folder: Path, capsys) -> None:
    from scaling.commands.watch import EXAMPLES

    parts = [rows(name, wsd(4000, 2e-4, 0, cooldown), seed=i) for i, (name, cooldown) in enumerate({"a": 900}.items())]
    table = pd.concat([*parts, rows("big", wsd(20000, 2e-4, 0, 4000), 3000)])
    table.to_csv("curves.csv", index=False)
    table[table["run"] == "big"].to_csv("big.csv", index=False)
    pd.DataFrame({"lr": wsd(20000, 2e-4, 0, 4000)}).to_csv("plan.csv", index=False)
    sweep(folder / "OUT", "a", wsd(1000, PEAK, 40, 300), {"warmup": 40, "cooldown": 300})
    sweep(folder / "OUT", "bb", wsd(1000, PEAK, 40, 300), {"warmup": 40, "cooldown": 300}, until=1000)
    for example in EXAMPLES:
        words = example.partition("   (")[0].split()
        assert words[0] == "scaling" and main(words[1:]) == 0, capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["watch", "--help"])
    assert "scaling watch curves.csv --run big" in capsys.readouterr().out


@pytest.mark.parametrize("run", ["100M_cosine_72000", "25M_constant_72000"])
def test_public_runs_are_forecast_at_half_of_their_steps_to_three_thousandths(datasets: Path, run: str) -> None:
    """Luo 2025 (arXiv:2503.12811), given the runs of the model that had ended by step 36,000."""
    source = datasets / "luo2025_schedules.csv.gz"
    model = run.partition("_")[0]
    every = scaling.read_curves(source, map={"run": "run_id"}, warmup=2160, where=f'model == "{model}"')
    ended = every.groupby("run")["step"].max() <= 36_000
    live = every[every["run"].map(ended) | ((every["run"] == run) & (every["step"] <= 36_000))]
    live.attrs = every.attrs
    found = watch(live, run, every.attrs["schedules"].lr[run])
    last = every[every["run"] == run].sort_values("step")["loss"].iloc[-1]
    assert len(found.family) == 7 and found.now <= 36_000
    assert found.loss == pytest.approx(last, rel=3e-3)
    assert found.lo < last < found.hi
