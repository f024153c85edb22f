"""Papers' fits made again by our engine, on the papers' own data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.laws import LAWS
from tests.test_closed_forms import ADDITION, NMT_AT_512M

#: Loss of 6 + 6 layers on NMT, examples seen doubling from 5e5 (Alabdulmohsin 2022, the authors' benchmark file).
NMT = np.array([
    0.93117529, 0.74392821, 0.63623915, 0.5567885, 0.48200735, 0.40960946, 0.37374052, 0.35317313, 0.34907098,
    0.34027806,
])  # fmt: skip


def test_five_small_runs_give_the_papers_coefficients(datasets: Path) -> None:
    runs = pd.read_csv(datasets / "gadre2024_c4.csv.gz").rename(columns={"params": "N", "tokens": "D"})
    runs = runs[runs["eval"].str.startswith("c4_val/")].sort_values(["N", "D"])
    # the paper's: four sizes at 20 tokens a parameter, and the smallest at 320 (16 times that)
    small = (runs["N"] < 5e8) & (
        (runs["multiplier"] == 1) | ((runs["N"] == runs["N"].min()) & (runs["multiplier"] == 16))
    )
    assert small.sum() == 5
    fit = scaling.fit("gadre", runs.loc[small, ["N", "D", "loss"]], objective="squared")
    for name, value in LAWS["gadre"].published["C4"].items():
        print(f"{name}: {fit.params[name]:.9g}, published {value:.9g}")
        assert fit.params[name] == pytest.approx(value, rel=1e-6)
    rest = runs[~small & (runs["N"] < 5e8)]
    missed = np.abs(fit.predict(N=rest["N"], D=rest["D"]) / rest["loss"] - 1)
    print(f"the other {len(rest)} runs of them: {missed.median():.2%} off in the median, {missed.max():.2%} at worst")
    assert missed.median() < 0.02


def test_whole_numbers_of_any_size_do_not_overflow() -> None:
    values = LAWS["gadre"].published["C4"]
    whole = LAWS["gadre"](np.array([6_889_410_560]), np.array([137_788_211_200]), **values)
    assert whole[0] == pytest.approx(LAWS["gadre"](6889410560.0, 137788211200.0, **values), rel=1e-14)


def test_the_broken_law_refitted_to_14_sizes_is_the_authors_and_fits_no_worse() -> None:
    x, y = ADDITION
    table = pd.DataFrame({"D": x[:14], "loss": y[:14]})
    fit = scaling.fit("bnsl", table, x="D", objective="log-squared")
    off = np.log(fit.predict(D=x) / y)
    within, beyond = (float(np.sqrt(np.mean(part**2))) for part in (off[:14], off[14:]))
    print(f"root mean square of ln: {within:.6g} (authors 0.000598487), held out {beyond:.5f} (authors 0.01092)")
    # the authors minimise ln(y + 1), so theirs is not the least of these
    assert within <= 0.000598486986401525
    assert beyond == pytest.approx(0.010915726327851661, rel=0.05)
    for name, value in LAWS["bnsl"].published["addition"].items():
        assert fit.params[name] == pytest.approx(value, rel=0.01)


def test_m1_refitted_misses_the_held_out_size_by_what_the_authors_does() -> None:
    table = pd.DataFrame({"D": 5e5 * 2.0 ** np.arange(10), "loss": NMT})
    fit = scaling.fit("kaplan_power", table, x="D", objective="log-squared")
    missed = abs(np.log(fit.predict(D=5.12e8) / NMT_AT_512M))
    print(f"ln off at 5.12e8: {missed:.9f}, authors 0.261869408")
    assert missed == pytest.approx(0.26186940820261273, rel=1e-6)
