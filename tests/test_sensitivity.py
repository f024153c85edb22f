from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.report import sensitivity_text
from scaling.sensitivity import movements
from tests.test_fit import TRUE, runs


def test_every_refit_is_the_fit_one_would_have_made() -> None:
    table = runs()
    frame = scaling.sensitivity(scaling.fit("chinchilla", table)).set_index("change")
    assert frame.loc["log-squared", "alpha"] == pytest.approx(
        scaling.fit("chinchilla", table, objective="log-squared").params["alpha"], rel=1e-5
    )
    assert frame.loc["log-huber (delta 0.01)", "E"] == pytest.approx(
        scaling.fit("chinchilla", table, delta=1e-2).params["E"], rel=1e-5
    )
    without = scaling.fit("chinchilla", table[table["run"] != "r7"])
    assert frame.loc["without run r7", "E"] == pytest.approx(without.params["E"], rel=1e-5)
    assert frame.loc["without run r7", "rows"] == 47


def test_headlines_stand_at_ten_times_the_largest_budget() -> None:
    found = scaling.fit("chinchilla", runs(noise=0.001))
    own = scaling.sensitivity(found).iloc[0]
    best = scaling.optimum(found, C=10 * 6 * 3e9 * 1e11).iloc[0]
    assert own["N_opt"] == pytest.approx(best["N"], rel=1e-6)
    assert own["tokens_per_param"] == pytest.approx(best["tokens_per_param"], rel=1e-6)
    assert own["loss_10x"] == pytest.approx(float(found.predict(N=3e9 * 10**0.5, D=1e11 * 10**0.5)), rel=1e-12)


def test_an_outlier_moves_squares_and_leaving_it_out_moves_them_back() -> None:
    table = runs(noise=0.001)
    table.loc[5, "loss"] *= 1.3
    frame = scaling.sensitivity(scaling.fit("chinchilla", table, objective="log-squared")).set_index("change")
    off = (frame["alpha"] - TRUE["alpha"]).abs()
    assert off["without the worst row"] < 0.1 * off["log-squared"]
    assert off["without run r5"] < 0.1 * off["log-squared"]
    assert off["without run r6"] > 0.5 * off["log-squared"]


def test_trunks_are_left_out_whole() -> None:
    table = runs().assign(trunk=lambda t: ["a", "b", "c", "d"] * 12)
    frame = scaling.sensitivity(scaling.fit("chinchilla", table))
    left = frame[frame["kind"] == "cluster"]
    assert left["change"].to_list() == [f"without trunk {name}" for name in "abcd"]
    assert (left["rows"] == 36).all()


def test_movements_name_the_refit_at_each_end() -> None:
    frame = scaling.sensitivity(scaling.fit("chinchilla", runs()))
    moves = movements(frame).set_index(["kind", "number"])
    row = moves.loc[("cluster", "E")]
    part = frame[frame["kind"] == "cluster"].set_index("change")["E"]
    assert (row["least"], row["greatest"]) == (part.min(), part.max())
    assert part[row["greatest_at"]] == part.max()


def test_laws_of_curves_and_of_one_variable_have_what_they_can_have() -> None:
    table = runs().assign(C=lambda t: 6 * t["N"] * t["D"])
    frame = scaling.sensitivity(scaling.fit("power", table, x="C"))
    assert "loss_10x" in frame and "N_opt" not in frame
    with pytest.raises(scaling.ScalingError, match="nothing can move"):
        scaling.sensitivity(scaling.fit("chinchilla", table, fix=TRUE))


def test_the_command_prints_each_number_once_and_json_every_refit(tmp_path: Path, capsys) -> None:
    found = scaling.fit("chinchilla", runs())
    path = tmp_path / "fit.json"
    path.write_text(scaling.to_json(found))
    assert main(["sensitivity", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == sensitivity_text(scaling.sensitivity(found)).strip()
    assert [line.split()[0] for line in printed.splitlines()[1:]] == [
        "E", "A", "B", "alpha", "beta", "loss_10x", "N_opt", "tokens_per_param"
    ]  # fmt: skip
    assert main(["sensitivity", str(path), "--json"]) == 0
    assert len(pd.read_json(io.StringIO(capsys.readouterr().out))) == len(scaling.sensitivity(found))
