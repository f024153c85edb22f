from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from tests.test_fit import runs


def problems(table: pd.DataFrame) -> str:
    return " | ".join(scaling.fit("chinchilla", table).problems)


def with_c(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(C=6 * table["N"] * table["D"])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.0005, 0.003, 0.03])
def test_a_table_in_one_unit_is_never_accused(seed: int, noise: float) -> None:
    said = problems(with_c(runs(noise=noise, seed=seed)))
    assert not any(word in said for word in ("unit", "bits", "counted", "uniform guess"))


def test_rows_in_bits_among_nats_are_named_with_the_fix() -> None:
    table = runs()
    table.loc[[3, 17, 40], "loss"] /= np.log(2)
    said = problems(table)
    assert "3 rows have losses 1.44" in said and "(rows 3, 17, 40), as if in bits among nats" in said
    assert "multiply them by ln 2" in said
    table = runs().assign(loss=lambda t: t["loss"] / np.log(2))
    table.loc[[3, 17, 40], "loss"] *= np.log(2)
    assert "as if in nats among bits" in problems(table)


def test_rows_per_byte_among_per_token_are_named() -> None:
    table = runs()
    table.loc[[3, 17, 40, 41], "loss"] /= 4.4
    # the factor is that of the residuals' medians: with 4 of 48 rows apart the fit itself is a little off
    said = problems(table)
    assert "4 rows have losses 0.2" in said and "(rows 3, 17, 40, 41), as if in another unit (per byte" in said


def test_rows_an_eighth_apart_are_other_runs_and_no_other_unit() -> None:
    table = runs(noise=0.0005)
    table.loc[[3, 17, 40, 41], "loss"] *= 1.125
    assert "unit" not in problems(table)


def test_one_outlier_is_no_other_unit() -> None:
    table = runs()
    table.loc[3, "loss"] /= np.log(2)
    assert "unit" not in problems(table)


@pytest.mark.parametrize(("column", "power"), [("N", 6), ("D", 9)])
def test_two_units_in_one_column_are_told_apart(column: str, power: int) -> None:
    table = runs()
    table.loc[::3, column] /= 10.0**power
    said = problems(table)
    assert (
        f"{column} is" in said and "two units in one column" in said and f"multiply the small ones by 1e{power}" in said
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"D": 1e-9}, "D is counted in billions; multiply D by 1e9"),
        ({"N": 1e-6}, "N is counted in millions; multiply N by 1e6"),
        ({"N": 1e-6, "D": 1e-9}, "N and D are both counted in larger units"),
        ({"C": 1e-18}, "such as exaFLOP; multiply C by 1e18"),
    ],
)
def test_a_whole_column_in_another_unit_shows_in_compute(change: dict[str, float], says: str) -> None:
    table = with_c(runs())
    for column, factor in change.items():
        table[column] *= factor
    assert says in problems(table)


def test_compute_that_is_not_quite_6nd_is_no_other_unit() -> None:
    table = with_c(runs())
    assert "counted" not in problems(table.assign(C=table["C"] * 3.1, epochs=3.1))


def test_losses_above_a_uniform_guess_are_named() -> None:
    table = runs().assign(vocab=8)
    assert "lie above ln vocab" in problems(table)
    assert "if this is a perplexity" in problems(runs().assign(loss=lambda t: np.exp(t["loss"]) * 2))


def test_copies_under_other_names_are_noted() -> None:
    table = runs()
    table = pd.concat([table, table.head(2).assign(run=["x", "y"])], ignore_index=True)
    found = scaling.fit("chinchilla", table)
    assert any("4 rows have the N, D, loss of another row" in note for note in found.notes)
    assert not any("another row" in note for note in scaling.fit("chinchilla", runs()).notes)


def test_a_constant_column_is_named() -> None:
    assert "D has 1 level" in problems(runs(sizes=12, horizons=1))
