"""The three approaches to best sizes, on tables whose best sizes are known and on published runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import scaling
from scaling.errors import ScalingError
from scaling.figures.isoflops import plot_approaches, plot_parabolas
from scaling.isoflop import APPROACHES, compare_approaches
from scaling.isoflop_budgets import find_budgets, parabola_of
from scaling.laws import LAWS
from scaling.laws.hoffmann2022 import chinchilla_optimum, size_exponent

TRUE = dict(LAWS["chinchilla"].published["besiroglu2024"])
BUDGETS = np.geomspace(1e18, 1e21, 6)
SIZES = np.geomspace(2e7, 1.5e10, 20)


def isoflops(noise: float = 0.002, seed: int = 0, reach: float = 6.0, jitter: float = 0.02) -> pd.DataFrame:
    """Runs at six budgets met to 2%, sizes a factor `reach` about the best of each, from Besiroglu's coefficients."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in BUDGETS:
        best, _ = chinchilla_optimum(c, **TRUE)
        for n in SIZES[np.abs(np.log(SIZES / best)) < np.log(reach)]:
            rows.append((n, c * np.exp(jitter * rng.uniform(-1, 1)) / (6 * n)))
    n, d = np.array(rows).T
    loss = LAWS["chinchilla"](n, d, **TRUE) * np.exp(noise * rng.standard_normal(len(n)))
    return pd.DataFrame({"N": n, "D": d, "C": 6 * n * d, "loss": loss})


def true_size(c: np.ndarray) -> np.ndarray:
    return np.asarray(chinchilla_optimum(c, **TRUE)[0])


def test_budgets_are_found_where_runs_only_nearly_meet_them() -> None:
    table = isoflops()
    strays = pd.DataFrame({"N": [1e8, 2e9], "D": [5e10, 4e10], "loss": [3.0, 2.5]}).assign(
        C=lambda t: 6 * t["N"] * t["D"]
    )
    both = pd.concat([table, strays], ignore_index=True)
    found = find_budgets(both["C"].to_numpy(), both["N"].to_numpy(), 0.1)
    assert len(found) == len(BUDGETS)
    assert sorted(np.concatenate(found)) == list(range(len(table)))
    for rows, c in zip(found, BUDGETS, strict=True):
        assert np.median(both["C"].to_numpy()[rows]) == pytest.approx(c, rel=0.02)
    assert len(find_budgets(both["C"].to_numpy(), both["N"].to_numpy(), 0.001)) < len(BUDGETS)
    frayed = pd.concat([table, table[:4].assign(C=lambda t: t["C"] * 1.25)], ignore_index=True)
    assert len(find_budgets(frayed["C"].to_numpy(), frayed["N"].to_numpy(), 0.1)) == len(BUDGETS)


def test_without_noise_all_approaches_find_the_best_size() -> None:
    found = compare_approaches(isoflops(noise=1e-6, jitter=0.0), resamples=60)
    truth = true_size(np.sort(found.sizes["C"].unique()))
    by = {name: found.sizes[found.sizes["approach"] == name].sort_values("C")["N"].to_numpy() for name in APPROACHES}
    np.testing.assert_allclose(by["law"], truth, rtol=1e-3)
    np.testing.assert_allclose(by["parabola"], truth, rtol=0.02)  # a parabola's own bias
    np.testing.assert_allclose(by["envelope"], truth, rtol=0.2)  # sizes stand a factor 1.42 apart
    growth = found.growth.set_index("approach")
    assert growth["a"]["law"] == pytest.approx(size_exponent(**TRUE), abs=1e-3)
    assert growth["a"]["parabola"] == pytest.approx(size_exponent(**TRUE), abs=0.01)
    np.testing.assert_allclose(growth["a"] + growth["b"], 1)
    at = found.sizes[found.sizes["approach"] == "parabola"]
    np.testing.assert_allclose(6 * at["N"] * at["D"], at["C"], rtol=1e-3)


def test_intervals_of_parabolas_and_of_the_law_cover_the_best_size() -> None:
    inside = {"parabola": [], "law": []}
    for seed in range(6):
        found = compare_approaches(isoflops(seed=seed, jitter=0.0), resamples=120, seed=seed)
        for name, seen in inside.items():
            rows = found.sizes[found.sizes["approach"] == name]
            truth = true_size(rows["C"].to_numpy())
            seen += list((rows["N_lo"] < truth) & (truth < rows["N_hi"]))
    # 36 intervals of nominal 90%; the law's of one table move together
    assert np.mean(inside["parabola"]) > 0.7
    assert np.mean(inside["law"]) > 0.6


def test_gaps_are_told_in_combined_standard_errors() -> None:
    found = compare_approaches(isoflops(), resamples=120)
    sizes = found.sizes.pivot(index="C", columns="approach", values=["N", "se"])
    gaps = found.apart[(found.apart["what"] == "ln N") & (found.apart["pair"] == "parabola - law")].set_index("C")
    gap = np.log(sizes["N"]["parabola"] / sizes["N"]["law"])
    np.testing.assert_allclose(gaps["gap"], gap)
    np.testing.assert_allclose(gaps["in_se"], gap / np.hypot(sizes["se"]["parabola"], sizes["se"]["law"]), rtol=1e-9)
    assert (gaps["in_se"].abs() < 4).all()
    growth = found.growth.set_index("approach")
    slope = found.apart[(found.apart["what"] == "a") & (found.apart["pair"] == "parabola - law")].iloc[0]
    assert slope["gap"] == pytest.approx(growth["a"]["parabola"] - growth["a"]["law"])
    both_se = np.hypot(growth["a_se"]["parabola"], growth["a_se"]["law"])
    assert slope["in_se"] == pytest.approx(slope["gap"] / both_se)
    bent = isoflops().assign(loss=lambda t: t["loss"] * (t["N"] / true_size(t["C"].to_numpy())) ** -0.01)
    moved = compare_approaches(bent, resamples=120)
    both = found.sizes.merge(moved.sizes, on=["C", "approach"], suffixes=("", "_bent"))
    assert (both["N_bent"] > both["N"]).mean() > 0.8


@pytest.mark.parametrize(
    ("keep", "bend", "why"),
    [
        (lambda t, best: t["N"] < 1.5 * best, 1, "largest size"),
        (lambda t, best: t["N"] > 0.7 * best, 1, "smallest size"),
        (lambda t, best: t["N"].rank() <= 3, 1, "3 sizes, and 4 are needed"),
    ],
)
def test_a_budget_without_a_minimum_inside_is_refused_and_the_others_stand(keep, bend, why) -> None:
    table = isoflops(noise=0.0005, jitter=0.0)
    cut = np.isclose(table["C"], BUDGETS[2])
    best = float(true_size(BUDGETS[2:3])[0]) * (0.6 if "largest" in why else 1.6 if "smallest" in why else 1)
    found = compare_approaches(pd.concat([table[~cut], table[cut][keep(table[cut], best)]]), resamples=60)
    assert len(found.refused) == 1
    assert found.refused["C"][0] == pytest.approx(BUDGETS[2])
    assert why in found.refused["why"][0]
    assert found.sizes["C"].nunique() == len(BUDGETS) - 1
    assert why in found.report()


def test_a_hump_and_a_flat_of_noise_have_no_minimum() -> None:
    n, humps = np.geomspace(5e7, 2e8, 5), np.array([3.0, 3.2, 2.99, 3.2, 3.0])
    assert "do not bend upwards" in parabola_of(np.arange(5), np.full(5, 1e19), n, humps).refused
    flat = isoflops(noise=0.02, reach=2.5)
    said = " ".join(compare_approaches(flat, resamples=60).refused["why"])
    assert "not told from noise" in said or "lowest loss is at" in said


def test_tables_without_budgets_are_refused() -> None:
    table = isoflops()
    apart = table.assign(D=table["D"] * np.geomspace(1, 1e6, len(table))).assign(C=lambda t: 6 * t["N"] * t["D"])
    with pytest.raises(ScalingError, match="no budget"):
        compare_approaches(apart, tolerance=0.01)
    with pytest.raises(ScalingError, match="between 0 and 1"):
        compare_approaches(table, tolerance=1.5)


def test_plots_hold_a_curve_a_budget_and_a_line_an_approach() -> None:
    found = compare_approaches(isoflops(), resamples=60)
    left, right = Figure().subplots(1, 2)
    assert plot_parabolas(left, found) is left
    assert plot_approaches(right, found) is right
    good = sum(not b.refused for b in found.budgets)
    assert sum(line.get_marker() == "*" and len(line.get_xdata()) for line in left.lines) == good
    assert len(right.get_legend().get_texts()) == len(APPROACHES)


def test_one_budget_alone_has_a_size_and_no_growth() -> None:
    table = isoflops(jitter=0.0)
    one = np.isclose(table["C"], BUDGETS[3])
    edge = table[~one & (table["N"] < 0.5 * true_size(table["C"].to_numpy()))]  # falling everywhere else
    found = compare_approaches(pd.concat([table[one], edge]), resamples=60)
    assert found.sizes["C"].nunique() == 1 and not len(found.growth)
    assert "none says how it grows" in found.report()
    right = Figure().subplots()
    assert len(plot_approaches(right, found).get_legend().get_texts()) >= 2


def test_the_envelope_lies_inside_its_interval() -> None:
    found = compare_approaches(isoflops(noise=0.01), resamples=100)
    rows = found.sizes[(found.sizes["approach"] == "envelope") & found.sizes["N"].notna()]
    assert len(rows) and ((rows["N_lo"] < rows["N"]) & (rows["N"] < rows["N_hi"])).all()


def test_porians_runs_give_porians_exponent(datasets) -> None:
    where = 'experiment == "rw|base|short|kaplan|standard|val"'
    found = compare_approaches(scaling.read_table(datasets / "porian2024_rw.csv.gz", where=where), resamples=200)
    growth = found.growth.set_index("approach").loc["parabola"]
    # Porian 2024 (arXiv:2406.19146): .602 (.59, .62), by splines through each budget
    assert growth["a_lo"] < 0.602 < growth["a_hi"]
    assert growth["a"] == pytest.approx(0.602, abs=0.01)
