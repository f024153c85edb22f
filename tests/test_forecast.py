from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.allocation import best_size
from scaling.heldout import hold_out, hold_out_curve
from scaling.intervals import clusters
from scaling.laws import LAWS
from scaling.laws.hoffmann2022 import chinchilla_optimum
from tests.test_curves import SCHEDULES, curves
from tests.test_fit import TRUE, runs


@pytest.fixture(scope="module")
def draws() -> scaling.Draws:
    return scaling.bootstrap(scaling.fit("chinchilla", runs()), 400, seed=1)


def test_bootstrap_errors_agree_with_refitting_fresh_data(draws: scaling.Draws) -> None:
    fresh = [scaling.fit("chinchilla", runs(seed=s), starts=2).params["alpha"] for s in range(40)]
    # 40 fresh fits know their spread to 11%, 400 resamples to 4%; the bootstrap of 48 rows is a few percent narrow
    assert draws.summary().loc["alpha", "se"] == pytest.approx(np.std(fresh, ddof=1), rel=0.4)


def test_every_resample_ends_where_a_cold_fit_of_it_ends(draws: scaling.Draws) -> None:
    table = draws.fit.table
    rng = np.random.default_rng(draws.seed)
    counts = rng.multinomial(48, np.full(48, 1 / 48), 400)
    for i in (0, 57, 399):
        cold = scaling.fit("chinchilla", table, weights=counts[i].astype(float))
        named = dict(zip(draws.fit.law.names, draws.params[i], strict=True))
        value = scaling.fit("chinchilla", table, weights=counts[i].astype(float), fix=named).value
        assert value == pytest.approx(cold.value, rel=1e-6)


def test_the_same_seed_gives_the_same_draws(draws: scaling.Draws) -> None:
    again = scaling.bootstrap(draws.fit, 400, seed=1)
    np.testing.assert_array_equal(again.params, draws.params)
    assert not np.array_equal(scaling.bootstrap(draws.fit, 400, seed=2).params, draws.params)


def test_runs_of_one_trunk_are_resampled_together() -> None:
    table = runs().assign(trunk=lambda t: t["N"].rank(method="dense").astype(int).astype(str))
    found = scaling.fit("chinchilla", table)
    assert clusters(found).max() + 1 == 8
    few = scaling.bootstrap(found, 50)
    assert few.method == "wild"
    assert "few clusters" in few.notes[0]


def test_wild_and_case_resampling_agree_on_clean_data() -> None:
    found = scaling.fit("chinchilla", runs(), objective="log-squared")
    wild, cases = (scaling.bootstrap(found, 300, method=m).summary().loc["alpha", "se"] for m in ("wild", "cases"))
    assert wild == pytest.approx(cases, rel=0.4)


def test_forecasts_say_how_far_out_they_stand_and_widen_with_it(draws: scaling.Draws) -> None:
    frame = scaling.forecast(draws, N=[1e9, 7e10, 1e12], D=[2e10, 1.4e12, 2e13], level=0.9)
    assert list(frame.columns[:6]) == ["N", "D", "loss", "lo", "hi", "beyond"]
    largest = (6 * draws.table["N"] * draws.table["D"]).max()
    np.testing.assert_allclose(frame["beyond"], 6 * frame["N"] * frame["D"] / largest)
    width = np.log(frame["hi"] / frame["lo"])
    assert (np.diff(width) > 0).all()
    parts = np.sqrt(frame["sd_parameters"] ** 2 + frame["sd_scatter"] ** 2 + frame["sd_distance"] ** 2)
    np.testing.assert_allclose(width, 2 * 1.6448536 * parts, rtol=1e-6)
    assert frame["sd_distance"][0] == 0


def test_the_parameters_part_of_the_interval_covers_the_truth_in_nine_of_ten_tables() -> None:
    inside = 0
    for seed in range(30):
        found = scaling.bootstrap(scaling.fit("chinchilla", runs(seed=100 + seed), starts=2), 100)
        frame = scaling.forecast(found, N=[1e10], D=[5e11])
        half = 1.645 * frame["sd_parameters"][0]
        inside += abs(np.log(frame["loss"][0] / LAWS["chinchilla"](1e10, 5e11, **TRUE))) < half
    # binomial(30, .85): 20 or fewer has a chance of 1.5%; a spread half as wide as it should be gives 18
    assert inside > 20


def test_rehearsals_hide_the_largest_budgets_and_score_them(draws: scaling.Draws) -> None:
    rehearsal = draws.rehearsal
    assert (rehearsal["beyond"] >= 1.9).all()
    assert (rehearsal["fitted"] >= 8).all()
    np.testing.assert_allclose(rehearsal["error"], np.log(rehearsal["predicted"] / rehearsal["observed"]))
    assert rehearsal["error"].abs().median() < 0.01
    assert rehearsal["cut"].nunique() >= 3


def test_a_rehearsal_has_not_seen_what_it_scores() -> None:
    table = runs(noise=0.0)
    cut = 6 * table["N"] * table["D"] > 1e20
    lifted = table.assign(loss=np.where(cut, table["loss"] * 1.1, table["loss"]))
    rehearsal = scaling.rehearse(scaling.fit("chinchilla", lifted))
    first = rehearsal[(rehearsal["cut"] < 1e20) & (rehearsal["cut"] * rehearsal["beyond"] > 1e20)]
    np.testing.assert_allclose(first["error"], -np.log(1.1), atol=1e-3)


def test_a_table_too_small_to_rehearse_says_so() -> None:
    from scaling.forecasting import rehearsal_line

    found = scaling.bootstrap(scaling.fit("chinchilla", runs(sizes=3, horizons=2)), 50)
    assert not len(found.rehearsal)
    assert "no rehearsal" in rehearsal_line(found)


def test_a_fit_in_place_of_draws_is_bootstrapped(draws: scaling.Draws) -> None:
    frame = scaling.forecast(draws.fit, N=[1e10], D=[1e12])
    assert frame["lo"][0] < frame["loss"][0] < frame["hi"][0]


def test_one_variable_laws_forecast_in_their_column() -> None:
    c = np.geomspace(1e18, 1e23, 20)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"C": c, "loss": (1.9 + (3e19 / c) ** 0.15) * np.exp(0.002 * rng.normal(size=20))})
    frame = scaling.forecast(scaling.bootstrap(scaling.fit("power", table, x="C"), 200), C=[1e24])
    assert frame["beyond"][0] == pytest.approx(10)
    assert frame["lo"][0] < 1.9 + (3e19 / 1e24) ** 0.15 < frame["hi"][0]


def test_wrong_levels_and_inputs_are_refused(draws: scaling.Draws) -> None:
    with pytest.raises(scaling.ScalingError, match="between 0 and 1"):
        scaling.forecast(draws, N=1e9, D=1e10, level=90)
    with pytest.raises(scaling.ScalingError, match="was fitted on N, D"):
        scaling.forecast(draws, N=1e9)
    with pytest.raises(scaling.ScalingError, match="do not match"):
        scaling.forecast(draws, N=[1e9, 2e9], D=[1e10, 1e11, 1e12])
    with pytest.raises(scaling.ScalingError, match="at least 2 resamples"):
        scaling.bootstrap(draws.fit, 1)
    with pytest.raises(scaling.ScalingError, match="cases, wild or parametric"):
        scaling.bootstrap(draws.fit, 10, method="tame")


def test_the_optimum_by_search_is_the_closed_form(draws: scaling.Draws) -> None:
    budgets = np.array([1e18, 5.76e23, 1e27])
    frame = scaling.optimum(draws, C=budgets)
    n, d = chinchilla_optimum(budgets, **draws.fit.params)
    np.testing.assert_allclose(frame["N"], n, rtol=1e-5)
    np.testing.assert_allclose(frame["D"], d, rtol=1e-5)
    np.testing.assert_allclose(frame["loss"], draws.fit.predict(N=n, D=d), rtol=1e-9)
    assert list(frame.columns) == [
        "C", "N", "N_lo", "N_hi", "D", "D_lo", "D_hi",
        "tokens_per_param", "tokens_per_param_lo", "tokens_per_param_hi", "loss", "lo", "hi", "beyond",
    ]  # fmt: skip
    for name in ("N", "D", "tokens_per_param", "loss"):
        lo, hi = ("lo", "hi") if name == "loss" else (f"{name}_lo", f"{name}_hi")
        assert (frame[lo] < frame[name]).all() and (frame[name] < frame[hi]).all()


def test_the_optimum_of_the_240_points_contains_chinchillas_20_tokens_per_parameter(datasets) -> None:
    table = scaling.read_table(datasets / "hoffmann2022_besiroglu2024.csv.gz", where="epoch_outlier == 0")
    frame = scaling.optimum(scaling.bootstrap(scaling.fit("chinchilla", table), 500), C=[5.76e23])
    assert frame["tokens_per_param_lo"][0] < 20 < frame["tokens_per_param_hi"][0]
    assert frame["N"][0] == pytest.approx(73.19e9, rel=1e-3)


def test_a_law_with_no_best_size_says_so(draws: scaling.Draws) -> None:
    values = dict(draws.fit.params) | {"A": 1e-12}
    size, _ = best_size(draws.fit, np.array([list(values.values())]), 1e18)
    assert np.isnan(size[0])
    with pytest.raises(scaling.ScalingError, match="needs a law of N and D"):
        scaling.optimum(scaling.fit("power", runs().assign(C=lambda t: 6 * t["N"] * t["D"]), x="C"), C=1e20)


def test_held_out_runs_are_forecast_by_a_fit_that_has_not_seen_them() -> None:
    table = runs().assign(C=lambda t: 6 * t["N"] * t["D"])
    held = hold_out("chinchilla", table, "C > 2e20", resamples=200)
    assert set(held.outcome["run"]).isdisjoint(held.draws.fit.table["run"])
    assert (held.outcome["beyond"] > 1).all()
    assert held.outcome["inside"].mean() > 0.5
    np.testing.assert_allclose(held.outcome["error"], held.outcome["loss"] / held.outcome["observed"] - 1)
    shared = hold_out("chinchilla", table.assign(trunk="one"), "C > 2e20", resamples=50)
    assert "easier than they look" in shared.notes[0]
    for wrong in ("C > 1e90", "C > 0"):
        with pytest.raises(scaling.ScalingError, match="must leave some"):
            hold_out("chinchilla", table, wrong)


def test_a_held_out_curve_is_forecast_from_the_others() -> None:
    table = scaling.read_curves(curves(), schedules=SCHEDULES)
    held = hold_out_curve("tissue", table, "wsd")
    assert set(held.draws.fit.table["run"]) == {"cosine", "constant"}
    assert held.outcome["error"].abs().max() < 0.01
    with pytest.raises(scaling.ScalingError, match="both are needed"):
        hold_out_curve("tissue", table, "nobody")


def test_an_interrupted_bootstrap_returns_what_is_done(monkeypatch, draws: scaling.Draws) -> None:
    from scaling import intervals

    calls = []
    honest = intervals._best_of

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*args)

    monkeypatch.setattr(intervals, "BATCH", 48 * 5 * 10)
    monkeypatch.setattr(intervals, "_best_of", interrupted)  # once a batch
    part = scaling.bootstrap(draws.fit, 400, seed=1)
    assert len(part.params) == 20
    assert "interrupted: 20 of 400" in part.notes[0]
