"""Where one law overtakes another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.crossing import crossover
from scaling.laws import LAWS
from scaling.laws.muennighoff2023 import muennighoff_optimum
from scaling.laws.prabhudesai2025 import REPEATS, critical_compute

PAPER = dict(LAWS["muennighoff"].published["muennighoff2023"])
#: A family that starts behind, and for which repeats are worth as much as the paper says for diffusion.
SLOW = PAPER | {"B": 2.2 * PAPER["B"]} | REPEATS["diffusion"]
FAST = PAPER | REPEATS["autoregressive"]


def power_of(loss: np.ndarray, d: np.ndarray) -> scaling.Fit:
    return scaling.fit("power", pd.DataFrame({"D": d, "loss": loss}), x="D")


def test_two_powers_cross_where_they_are_equal():
    # 2 + 40 D^-0.2 and 2 + 900 D^-0.4 are equal at D = 22.5^5
    d = np.geomspace(1e4, 1e9, 24)
    first, second = power_of(2 + 40 * d**-0.2, d), power_of(2 + 900 * d**-0.4, d)
    found = crossover(first, second, along="D", span=(1e4, 1e12)).iloc[0]
    assert found["at"] == pytest.approx(22.5**5, rel=1e-3)
    assert found["ahead"] == "second"
    back = crossover(second, first, along="D", span=(1e4, 1e12)).iloc[0]
    assert np.isnan(back["at"]) and back["ahead"] == "first"


def test_the_interval_of_a_crossing_covers_it_and_narrows_with_the_noise():
    d = np.geomspace(1e4, 1e9, 24)
    width = []
    for noise in (3e-3, 1e-3):
        rng = np.random.default_rng(3)
        draws = [
            scaling.bootstrap(power_of(loss * np.exp(noise * rng.standard_normal(d.size)), d), 60)
            for loss in (2 + 40 * d**-0.2, 2 + 900 * d**-0.4)
        ]
        found = crossover(*draws, along="D", span=(1e4, 1e12)).iloc[0]
        assert found["lo"] < 22.5**5 < found["hi"] and found["cross"] == 1
        width.append(np.log(found["hi"] / found["lo"]))
    assert width[1] < 0.6 * width[0]


def test_a_family_that_learns_more_from_repeats_overtakes_after_some_epochs():
    # Ni 2025 (arXiv:2511.03276): the family for which repeats are worth more wins from some number of epochs on, later
    # when there is more unique text
    n, u = 1e9, 1e9
    grid = [v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 5e11, 9), [3e8, 1e9, 3e9])]
    fits = []
    for params in (FAST, SLOW):
        table = pd.DataFrame(dict(zip("NDU", grid, strict=True)))
        table["loss"] = LAWS["muennighoff"](*grid, **params)
        fits.append(scaling.fit("muennighoff", table, fix={k: params[k] for k in ("E", "A", "B", "alpha", "beta")}))
    found = crossover(*fits, along="D", span=(1e9, 1e13), N=n, U=u).iloc[0]
    assert found["at"] > u  # after the first epoch
    more = crossover(*fits, along="D", span=(1e9, 1e13), N=n, U=2 * u).iloc[0]
    assert more["at"] > found["at"]
    before, after = ([f.predict(N=n, D=found["at"] * k, U=u) for f in fits] for k in (0.97, 1.03))
    assert before[0] < before[1] and after[0] > after[1]


def test_critical_compute_is_where_the_best_losses_meet_and_grows_with_unique_tokens():
    compute = [critical_compute(u, FAST, SLOW) for u in (1e8, 1e9)]
    for c, u in zip(compute, (1e8, 1e9), strict=True):
        assert muennighoff_optimum(c, u, **SLOW)[2] == pytest.approx(muennighoff_optimum(c, u, **FAST)[2], rel=1e-9)
    assert np.log10(compute[1] / compute[0]) == pytest.approx(2.0, abs=0.2)  # N and D both grow as U
    assert np.isnan(critical_compute(1e9, SLOW, FAST))


def test_mistakes_are_said():
    d = np.geomspace(1e4, 1e9, 24)
    fit = power_of(2 + 40 * d**-0.2, d)
    with pytest.raises(scaling.ScalingError, match="the crossing names N"):
        crossover(fit, fit, along="N", span=(1.0, 2.0))
    with pytest.raises(scaling.ScalingError, match="two positive numbers"):
        crossover(fit, fit, along="D", span=(2.0, 1.0))


def fits_on_repeated_data(noise: float = 0.0) -> list[scaling.Fit]:
    grid = [v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 5e11, 9), [3e8, 1e9, 3e9])]
    fits = []
    for i, params in enumerate((FAST, SLOW)):
        table = pd.DataFrame(dict(zip("NDU", grid, strict=True)))
        rng = np.random.default_rng(i)
        table["loss"] = LAWS["muennighoff"](*grid, **params) * np.exp(noise * rng.standard_normal(len(table)))
        fits.append(scaling.fit("muennighoff", table, fix={k: params[k] for k in ("E", "A", "B", "alpha", "beta")}))
    return fits


def test_along_compute_each_law_takes_its_own_best_size():
    first, second = fits_on_repeated_data()
    found = crossover(first, second, along="C", span=(1e17, 1e24), U=1e9).iloc[0]
    expected = critical_compute(1e9, FAST, SLOW, span=(1e17, 1e24))  # by a search of its own
    assert found["at"] == pytest.approx(expected, rel=0.02)  # 120 budgets, 14% apart, are interpolated
    drawn = [scaling.bootstrap(fit, 40) for fit in fits_on_repeated_data(1e-3)]
    row = crossover(*drawn, along="C", span=(1e17, 1e24), U=1e9).iloc[0]
    assert row["lo"] < expected < row["hi"]
    with pytest.raises(scaling.ScalingError, match="U alone can be held"):
        crossover(first, second, along="C", span=(1e17, 1e24), N=1e9)


def test_the_command_prints_tokens_and_epochs(tmp_path, capsys):
    from scaling.cli import main

    paths = []
    for name, fit in zip(("ar", "diffusion"), fits_on_repeated_data(1e-3), strict=True):
        paths.append(str(tmp_path / f"{name}.json"))
        (tmp_path / f"{name}.json").write_text(scaling.to_json(fit))
    words = ["crossover", *paths, "--along", "D", "--span", "1e9,1e13", "--at", "N=1e9,U=1e9", "--resamples", "40"]
    assert main(words) == 0
    said = capsys.readouterr().out
    at = float(said.split("D = ")[1].split()[0])
    exact = crossover(*fits_on_repeated_data(), along="D", span=(1e9, 1e13), N=1e9, U=1e9)["at"].iloc[0]
    assert at == pytest.approx(exact, rel=0.2)
    assert f"that is after {at / 1e9:.4g} epochs" in said and "100% of the draws cross" in said
    assert main([*words[:-4], "--at", "N=1e9", "--resamples", "5"]) == 1
    assert "was fitted on N, D, U; the crossing names D, N" in capsys.readouterr().err


def test_the_command_says_when_second_leads_from_the_start_and_asks_before_it_resamples(tmp_path, capsys, monkeypatch):
    from scaling.cli import main

    paths = []
    for name, fit in zip(("ar", "diffusion"), fits_on_repeated_data(1e-3), strict=True):
        paths.append(str(tmp_path / f"{name}.json"))
        (tmp_path / f"{name}.json").write_text(scaling.to_json(fit))
    rest = ["--at", "N=1e9,U=1e9", "--resamples", "40"]
    assert main(["crossover", *paths, "--along", "D", "--span", "2e12,1e13", *rest]) == 0
    said = capsys.readouterr().out
    assert "second has the lower loss from the start of the span on" in said
    assert "0% of the draws cross, second leads from the start in 100%" in said

    def never(*_: object, **__: object) -> None:
        raise AssertionError("resampled")

    monkeypatch.setattr("scaling.intervals.bootstrap", never)
    for words, expected in (
        (["--span", "1e13,1e9"], "the least first"),
        (["--span", "1e9,1e13", "--level", "90"], "the level of an interval lies between 0 and 1"),
    ):
        assert main(["crossover", *paths, "--along", "D", *words, *rest]) == 1
        assert expected in capsys.readouterr().err
