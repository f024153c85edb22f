"""Schedules chosen by a law: better than the standard ones, with honest differences; laws that cannot are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.choosing import compare_schedules, cooldown_table, differences, optimal_schedule
from scaling.cli import main
from scaling.ending import final_loss
from scaling.errors import ScalingError
from scaling.law import Exponent, Floor, Scale, law
from scaling.laws import LAWS
from scaling.schedule import constant, cosine, wsd
from scaling.scheduling import STANDARD, Choice, best_schedule, ends_of, grid, refusal
from scaling.sizing import optimal_size
from scaling.trajectory import whole

STEPS, PEAK, WARMUP = 2400, 1e-3, 200
TRUE: dict[str, dict[str, float]] = {
    "ncl": {"L0": 2.7, "A": 0.45, "s": 0.5, "a0": 7.0, "a1": 12.0, "q": 1.1, "p": 1.9},
    "tissue": {"L0": 2.6, "A": 0.43, "alpha": 0.5, "C": 0.4, "lam": 0.995},
}
SEEN = {
    "constant": constant(STEPS, PEAK, WARMUP),
    "cosine": cosine(STEPS, PEAK, WARMUP, 0.1),
    "wsd": wsd(STEPS, PEAK, WARMUP, 480, "linear"),
}


def fitted(name: str, schedules: dict[str, np.ndarray] = SEEN) -> scaling.Fit:
    """The law fitted to three curves of its own, with 0.1% of noise."""
    rng, rows = np.random.default_rng(0), []
    for run, lr in schedules.items():
        step = np.arange(WARMUP, len(lr), 20)
        loss = LAWS[name](whole(lr), **TRUE[name])[step] * np.exp(1e-3 * rng.standard_normal(len(step)))
        rows.append(pd.DataFrame({"run": run, "step": step, "loss": loss}))
    return scaling.fit(name, scaling.read_curves(pd.concat(rows, ignore_index=True), schedules=schedules), starts=4)


@pytest.fixture(scope="module")
def draws() -> scaling.Draws:
    return scaling.bootstrap(fitted("ncl"))


@pytest.fixture(scope="module")
def best(draws: scaling.Draws) -> Any:
    return optimal_schedule(draws, STEPS, PEAK, WARMUP)


def test_the_optimum_is_below_every_standard_schedule(best: Any) -> None:
    assert (best.against["difference"] > 0).all()
    assert set(best.against.index) == set(STANDARD) and len(best.lr) == STEPS
    assert best.lo < best.loss < best.hi
    assert max(best.ends) - min(best.ends) < 2e-5


def test_no_small_change_of_the_optimum_lowers_the_loss(best: Any, draws: scaling.Draws) -> None:
    rng = np.random.default_rng(3)
    own, params = draws.fit.law, draws.fit.params
    least = final_loss(own, params, best.lr)[0]
    for _ in range(20):
        at = np.sort(rng.choice(np.arange(WARMUP, STEPS), 12, replace=False))
        factor = np.exp(np.interp(np.arange(STEPS), at, 0.1 * rng.standard_normal(12)))
        moved = np.minimum.accumulate(np.minimum(best.lr * factor, PEAK)[WARMUP:])
        assert final_loss(own, params, np.append(best.lr[:WARMUP], moved))[0] > least - 2e-6


def test_the_optimum_keeps_the_warm_up_and_the_peak_and_never_rises_again(best: Any) -> None:
    np.testing.assert_allclose(best.lr[:WARMUP], PEAK * np.arange(1, WARMUP + 1) / WARMUP)
    assert best.lr.max() == pytest.approx(PEAK) and (np.diff(best.lr[WARMUP:]) <= 1e-12).all()
    assert best.lr[-1] < 0.05 * PEAK and best.lr[STEPS // 3] > 0.99 * PEAK
    assert "leaves the peak at step" in best.shape and "of the run" in best.shape


def test_refits_say_how_far_the_optimum_moves(best: Any, draws: scaling.Draws) -> None:
    assert draws.method == "jackknife" and len(best.moves) == 3
    assert (best.moves["excess"] >= 0).all() and best.moves["excess"].max() < 0.01
    assert "3 refits" in best.report()


def test_a_freed_peak_is_the_better_for_it_and_a_freed_rise_no_worse(best: Any, draws: scaling.Draws) -> None:
    free = optimal_schedule(draws, STEPS, (PEAK / 3, PEAK * 3), WARMUP, knots=30)
    assert free.loss < best.loss and free.peak != pytest.approx(PEAK, rel=0.01)
    assert any("peak learning rate" in w for w in free.warnings)
    rising = optimal_schedule(draws, STEPS, PEAK, WARMUP, monotone=False, knots=30)
    assert rising.loss < best.loss + 5e-5


def test_leaving_the_trained_range_is_warned_of(best: Any, draws: scaling.Draws) -> None:
    assert best.warnings == ()
    longer = optimal_schedule(draws, 2 * STEPS, 2 * PEAK, WARMUP, knots=30)
    assert any("steps up to 2.02 times outside" in w for w in longer.warnings)
    assert any("peak learning rate up to 2 times outside" in w for w in longer.warnings)


# --- laws that must not choose ---


def test_tissue_falls_when_steps_at_rate_0_are_appended_and_ncl_does_not() -> None:
    lr = SEEN["wsd"]
    ends = {name: ends_of(LAWS[name], TRUE[name], [lr, np.append(lr, np.zeros(300))], {}) for name in ("tissue", "ncl")}
    assert ends["tissue"][1] < ends["tissue"][0] - 0.005
    assert ends["ncl"][1] == pytest.approx(ends["ncl"][0], abs=1e-8)


def test_tissue_is_refused_and_when_forced_jumps_to_0_where_its_formula_says() -> None:
    found = fitted("tissue")
    with pytest.raises(ScalingError, match=r"tissue must not .* credits steps at learning rate 0.*ncl"):
        optimal_schedule(found, STEPS, PEAK, WARMUP)
    forced = optimal_schedule(found, STEPS, PEAK, WARMUP, force=True, knots=200)
    assert any("must not choose" in w for w in forced.warnings)
    p = found.params
    # where dL/dlr changes sign: alpha A S^(-alpha - 1) = C lam^tau
    slope = p["alpha"] * p["A"] * forced.lr.sum() ** (-p["alpha"] - 1)
    tau = np.log(slope / p["C"]) / np.log(p["lam"])
    assert (forced.lr < 0.01 * PEAK).sum() == pytest.approx(tau, rel=0.1)
    assert ((forced.lr[WARMUP:] > 0.02 * PEAK) & (forced.lr[WARMUP:] < 0.98 * PEAK)).sum() < 40


MPL = {"L0": 2.65, "A": 0.6, "alpha": 0.453, "B": 438.0, "C": 2.13, "beta": 0.598, "gamma": 0.655}


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, ""), ({"gamma": 0.999}, "gamma = 0.999 must not"), ({"C": 1e-6}, "C = 1e-06 at its bound must not")],
)
def test_the_multi_power_law_is_refused_at_its_bounds(change: dict[str, float], said: str) -> None:
    why = refusal(LAWS["mpl"], MPL | change, STEPS, PEAK, WARMUP, {})
    assert said in why if said else why == ""


@law(cite="nobody's")
def greedy(schedule: Any, *, L0: Floor, A: Scale, s: Exponent) -> Any:
    """L = L0 + A S^-s + (learning rate at the end)"""
    return L0 + A * schedule.area**-s - 100.0 * schedule.past("drops").sum(1.0 - 0.0 * schedule.past("drops").lag)


def test_a_law_of_ones_own_that_credits_idle_steps_is_refused_by_its_numbers() -> None:
    why = refusal(greedy, {"L0": 2.0, "A": 0.5, "s": 0.5}, STEPS, PEAK, WARMUP, {})
    assert "steps at learning rate 0 change no weight, but" in why and "lower its prediction by 0.1" in why


# --- differences ---


def test_differences_are_paired_by_draw(draws: scaling.Draws) -> None:
    a, b = SEEN["wsd"], wsd(STEPS, PEAK, WARMUP, 500, "linear")
    row = differences(draws, [b], a, {}, 0.9).iloc[0]
    alone = compare_schedules(draws, {"a": a, "b": b})
    assert row["hi"] - row["lo"] < 0.3 * (alone["hi"] - alone["lo"]).min()
    assert row["difference"] == pytest.approx(alone["loss"]["b"] - alone["loss"]["a"], abs=2e-5)
    same = differences(draws, [a], a, {}, 0.9).iloc[0]
    assert same.abs().max() == 0


def test_a_difference_is_as_uncertain_as_the_jackknife_of_its_refits(draws: scaling.Draws) -> None:
    a, b = SEEN["cosine"], SEEN["wsd"]
    each = [
        dict(zip(draws.fit.law.names, row, strict=True)) for row in (list(draws.fit.params.values()), *draws.params)
    ]
    apart = [final_loss(draws.fit.law, p, b)[0] - final_loss(draws.fit.law, p, a)[0] for p in each]
    sd = np.sqrt(2 / 3 * np.sum((np.array(apart[1:]) - apart[0]) ** 2))
    row = differences(draws, [b], a, {}, 0.9).iloc[0]
    assert row["hi"] - row["difference"] == pytest.approx(1.6449 * sd, rel=2e-3)


def test_the_cooldown_table_is_sorted_and_holds_the_best(draws: scaling.Draws, best: Any) -> None:
    table = cooldown_table(draws, STEPS, PEAK, WARMUP)
    assert table["loss"].is_monotonic_increasing and table["difference"].iloc[0] == 0
    assert len(table) == 32 and table["loss"].iloc[0] > best.loss
    lr = wsd(STEPS, PEAK, WARMUP, int(table["cooldown"][0]), table["shape"][0], table["final"][0])
    assert table["loss"][0] == pytest.approx(final_loss(draws.fit.law, draws.fit.params, lr)[0], abs=2e-5)


def test_fewer_than_two_steps_to_choose_are_said() -> None:
    with pytest.raises(ScalingError, match="warmup must lie between 0 and"):
        grid(100, 99)


# --- sizes ---


@pytest.fixture(scope="module")
def family() -> scaling.Draws:
    true, rows, lrs = LAWS["ncl_sizes"].coefficients(), [], {}
    rng = np.random.default_rng(0)
    for n in (2e7, 6e7, 2e8):
        for run, lr in SEEN.items():
            step = np.arange(WARMUP, len(lr), 60)
            loss = LAWS["ncl_sizes"](whole(lr), np.full(len(lr), n), **true)[step]
            loss = loss * np.exp(1e-3 * rng.standard_normal(len(step)))
            rows.append(pd.DataFrame({"run": f"{run}{n:g}", "step": step, "loss": loss, "N": n}))
            lrs[f"{run}{n:g}"] = lr
    table = scaling.read_curves(pd.concat(rows, ignore_index=True), schedules=lrs)
    found = scaling.fit("ncl_sizes", table, starts=2, fix={"b": true["b"], "n_A": true["n_A"]})
    params = np.array([list(found.params.values())] * 3) * (1 + 0.002 * rng.standard_normal((3, len(found.params))))
    return scaling.Draws(found, params, "jackknife", 0, pd.DataFrame(), ())


def test_size_steps_and_schedule_are_chosen_together(family: scaling.Draws) -> None:
    flops, batch = 6 * 6e7 * 2400 * 5e4, 5e4
    found = optimal_size(family, flops, batch, PEAK, 0.05, N=[3e7, 6e7, 1.2e8], knots=20)
    np.testing.assert_allclose(6 * found.sizes["N"] * found.sizes["D"], flops, rtol=2e-3)
    assert found.sizes["loss"].min() == found.sizes.set_index("N")["loss"][found.N]
    assert found.sizes.set_index("N")["difference"][found.N] == pytest.approx(0, abs=1e-4)
    assert found.lo < found.hi and 0.5 < found.N / np.sqrt(found.lo * found.hi) < 2
    own = found.sizes[found.sizes["N"] != found.N].iloc[0]
    steps = int(own["steps"])
    other = best_schedule(
        family.fit.law, family.fit.params, Choice(grid(steps, int(0.05 * steps), 20), (PEAK, PEAK)), {"N": own["N"]}
    )
    assert own["loss"] == pytest.approx(other.loss, abs=5e-5)
    assert len(found.schedule.lr) == found.sizes.set_index("N")["steps"][found.N]


def test_a_law_without_sizes_cannot_choose_one(draws: scaling.Draws) -> None:
    with pytest.raises(ScalingError, match="ncl reads no N; fit ncl_sizes"):
        optimal_size(draws, 1e18, 1e5, PEAK)


# --- the command ---


@pytest.fixture
def fit_json(draws: scaling.Draws, tmp_path: Path) -> str:
    (tmp_path / "fit.json").write_text(scaling.to_json(draws.fit))
    return str(tmp_path / "fit.json")


SPEC = f"steps={STEPS},peak={PEAK},warmup={WARMUP}"


def test_the_command_predicts_and_compares(fit_json: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--schedule", f"cosine:{SPEC}", "--schedule", f"wsd:{SPEC},cooldown=480"]
    plot = tmp_path / "curves.png"
    assert main(["schedule", "predict", fit_json, *given, "--json", "-o", str(plot)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["steps"] for r in rows] == [STEPS, STEPS] and rows[0]["lo"] < rows[0]["loss"] < rows[0]["hi"]
    assert plot.stat().st_size > 20_000
    assert main(["schedule", "compare", fit_json, *given, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["difference"] == 0 and rows[1]["difference_hi"] < 0


def test_the_command_optimises_and_writes_a_schedule_that_can_be_read(
    fit_json: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "best.csv"
    asked = ["schedule", "optimize", fit_json, "--steps", str(STEPS), "--peak", str(PEAK), "--warmup", str(WARMUP)]
    assert main([*asked, "-o", str(out), "--knots", "30", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(pd.read_csv(out)) == STEPS
    assert main(["schedule", "predict", fit_json, "--schedule", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["loss"] == pytest.approx(record["loss"], abs=1e-6)
    assert main([*asked, "--wsd"]) == 0
    assert "1-sqrt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--peak", "1e-3"], "either --steps T, or --flops C"),
        (["--peak", "1e-3", "--flops", "1e19"], "--flops needs --tokens-per-step"),
        (["--peak", "1,2,3", "--steps", "100"], "one number, or the least and the greatest"),
        (["--peak", "1e-3", "--steps", "100", "--at", "N=1e8"], "give no size"),
        (["--peak", "1e-3", "--steps", "100", "--plot", "nowhere/x.png"], "there is no folder nowhere"),
    ],
)
def test_the_command_says_what_it_lacks(
    given: list[str], said: str, fit_json: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "optimize", fit_json, *given]) == 1
    assert said in capsys.readouterr().err
