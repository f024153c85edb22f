"""Ranking laws by rehearsal."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import scaling
from tests.test_cli import folder, run  # noqa: F401  (a fixture)
from tests.test_fit import runs


@pytest.fixture(scope="module")
def compared() -> scaling.Comparison:
    return scaling.compare(None, runs(sizes=6, horizons=5), resamples=30)


def test_the_law_that_made_the_data_ranks_near_the_top_and_one_without_a_floor_last(compared) -> None:
    ranking = compared.summary()
    assert set(ranking.index) == {"chinchilla", "kaplan", "skaling", "stack"}
    assert list(ranking.index).index("chinchilla") <= 1
    assert ranking.index[-1] == "kaplan"
    assert ranking["error"].is_monotonic_increasing


def test_a_law_whose_form_is_right_wins_by_every_criterion_here(compared) -> None:
    ranking = compared.summary().drop(index="stack")
    assert ranking["aicc"].idxmin() == ranking["bic"].idxmin() == "chinchilla"
    assert ranking.loc["kaplan", "by_N"] > ranking.loc["chinchilla", "by_N"]
    # the second parameter more costs skaling 2 in the deviance that AIC counts, ln 30 in that of BIC
    assert (ranking["bic"] > ranking["aicc"]).all()


def test_aicc_and_bic_are_those_of_normal_log_residuals(compared) -> None:
    one = compared.fits["chinchilla"]
    n, p = len(one.table), 6
    deviance = n * np.log(np.mean(one.residuals**2))
    row = compared.summary().loc["chinchilla"]
    assert row["aicc"] == pytest.approx(deviance + 2 * p + 2 * p * (p + 1) / (n - p - 1))
    assert row["bic"] == pytest.approx(deviance + p * np.log(n))


def test_achieved_coverage_stands_beside_nominal_and_follows_from_the_rehearsals(compared) -> None:
    ranking = compared.summary()
    assert (ranking["nominal"] == 0.9).all()
    for law, rows in compared.rehearsals.items():
        held = (rows["lo"] <= rows["observed"]) & (rows["observed"] <= rows["hi"])
        assert ranking.loc[law, "coverage"] == pytest.approx(held.groupby(rows["cut"]).mean().mean())
        assert ranking.loc[law, "cuts"] == rows["cut"].nunique()
        assert (rows["beyond"] > 1.8).all()


def test_text_json_and_frame_come_from_one_summary(compared) -> None:
    rows = json.loads(compared.to_json())
    assert [row["law"] for row in rows] == list(compared.summary().index)
    assert rows[0]["error"] == compared.summary()["error"].iloc[0]
    text = compared.report()
    for law, error in compared.summary()["error"].items():
        assert any(str(law) in line and f"{error:.2%}" in line for line in text.splitlines())
    assert "nan" not in text and "coverage" in text


def test_a_rehearsal_of_a_law_has_not_seen_what_it_scores() -> None:
    table = runs(noise=0.0, sizes=6, horizons=5)
    lifted = table["loss"] * np.where(6 * table["N"] * table["D"] > 1e20, 1.1, 1.0)
    rows = scaling.compare("chinchilla", table.assign(loss=lifted), resamples=10).rehearsals["chinchilla"]
    first = rows[(rows["cut"] < 1e20) & (rows["cut"] * rows["beyond"] > 1e20)]
    np.testing.assert_allclose(first["error"], -np.log(1.1), atol=2e-3)


def test_a_table_that_cannot_rehearse_is_ranked_by_aicc_and_says_so() -> None:
    compared = scaling.compare(["chinchilla", "kaplan"], runs(sizes=2, horizons=6))
    assert (compared.summary()["cuts"] == 0).all()
    assert compared.summary()["aicc"].is_monotonic_increasing
    assert "no rehearsal" in compared.report() and "AICc" in compared.report()


def test_laws_of_one_variable_are_compared_on_their_column() -> None:
    c = np.geomspace(1e18, 1e22, 20)
    table = pd.DataFrame({"C": c, "loss": 1.9 + (3e19 / c) ** 0.15})
    compared = scaling.compare(None, table, x="C", resamples=10)
    assert list(compared.summary().index) == ["power"]
    assert compared.summary().loc["power", "error"] < 1e-4
    assert "by_N" not in compared.summary()


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(scaling.ScalingError, match="whole curves"):
        scaling.compare(["chinchilla", "tissue"], runs())
    with pytest.raises(scaling.TableError, match="no law of finished runs reads"):
        scaling.compare(None, runs()[["N", "loss"]])
    with pytest.raises(scaling.ScalingError, match="a column's name"):
        scaling.compare("chinchilla", runs(), weights=np.ones(48))
    with pytest.raises(scaling.ScalingError, match="did you mean chinchilla"):
        scaling.compare("chinchila", runs())


def test_the_command_compare_prints_the_ranking_and_its_json(folder, capsys) -> None:  # noqa: F811
    code, out, err = run(capsys, "compare", "runs.csv", "--laws", "chinchilla,kaplan", "--resamples", "10")
    assert (code, err) == (0, "")
    assert out.index("chinchilla") < out.index("kaplan")
    assert "coverage" in out and "90%" in out
    code, out, _ = run(capsys, "compare", "runs.csv", "--laws", "chinchilla", "--resamples", "10", "--json")
    assert json.loads(out)[0]["law"] == "chinchilla"


def test_fit_with_a_table_alone_ranks_the_laws_and_fits_the_best(folder, capsys) -> None:  # noqa: F811
    code, out, _ = run(capsys, "fit", "runs.csv", "-o", "best.json")
    assert code == 0
    assert out.index("rehearsed forecasts") < out.index("objective")
    assert "chinchilla: L(N, D)" in out
    assert scaling.read_fit("best.json").law.name == "chinchilla"


def test_fit_still_takes_the_law_first_with_options_between(folder, capsys) -> None:  # noqa: F811
    code, out, _ = run(capsys, "fit", "chinchilla", "--seed", "1", "runs.csv")
    assert code == 0 and out.startswith("chinchilla: L(N, D)")
    with pytest.raises(SystemExit):
        run(capsys, "fit", "chinchilla", "runs.csv", "runs.csv", "--seed", "1")


def test_forecast_from_a_table_prints_parts_laws_and_warnings_and_from_a_fit_that_law(folder, capsys) -> None:  # noqa: F811
    at = ("--at", "N=7e10,D=1.4e12")
    code, out, err = run(capsys, "forecast", "runs.csv", *at, "--resamples", "20")
    assert (code, err) == (0, "")
    for word in ("law choice", "kaplan with floor", "rehearsal: having seen only", "lies outside", "about 70-80%"):
        assert word in out
    code, out, err = run(capsys, "forecast", "runs.csv", *at, "--resamples", "20", "--json")
    row = json.loads(out)[0]
    frame = scaling.forecast(scaling.stack(scaling.read_table("runs.csv"), resamples=20), N=[7e10], D=[1.4e12])
    assert row["loss"] == pytest.approx(frame["loss"][0], rel=1e-12)
    assert row["lo"] == pytest.approx(frame["lo"][0], rel=1e-12)
    assert "rehearsal" in err
    run(capsys, "fit", "chinchilla", "runs.csv", "-o", "fit.json")
    code, out, _ = run(capsys, "forecast", "fit.json", *at, "--json")
    assert "sd_laws" not in json.loads(out)[0]
    assert run(capsys, "forecast", "fit.json", *at, "--cautious")[0] == 1
