from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

import scaling
from tests.test_fit import runs


def csv(text: str) -> io.StringIO:
    return io.StringIO(text)


def test_a_missing_column_says_what_was_read_what_was_found_and_the_fix() -> None:
    table = scaling.read_table(csv("N,loss\n1e7,3\n"))
    with pytest.raises(
        scaling.TableError, match=r"chinchilla reads N, D, loss; .* has N, loss. Missing: D.*--map D=COLUMN"
    ):
        scaling.fit("chinchilla", table)


def test_well_known_names_are_recognised_and_said() -> None:
    table = scaling.read_table(csv("params,tokens,final_loss\n1e7,1e9,3\n"))
    assert table["C"].tolist() == [6e16]
    assert any("N read from column 'params'" in note for note in table.attrs["notes"])
    assert any("C derived from N and D" in note for note in table.attrs["notes"])


def test_rows_without_a_name_are_runs_of_their_own() -> None:
    table = scaling.read_table(csv("N,D,loss\n1e7,1e9,3\n1e7,1e9,3\n"))
    assert table["run"].tolist() == ["row 0", "row 1"]


def test_mapped_names_win_and_unknown_ones_are_refused() -> None:
    table = scaling.read_table(csv("params,N,tokens,loss\n5,1e7,1e9,3\n"), map={"N": "params"})
    assert table["N"].tolist() == [5.0]
    with pytest.raises(scaling.TableError, match=r"'tokns'.*did you mean tokens"):
        scaling.read_table(csv("N,tokens,loss\n1,1,1\n"), map={"D": "tokns"})


def test_tokens_follow_from_compute_and_size() -> None:
    assert scaling.read_table(csv("N,C,loss\n1e7,6e16,3\n"))["D"].tolist() == [1e9]


BAD = {
    "text in a number": ("loss", "n/a!", "not a number: 'n/a!'"),
    "missing": ("loss", np.nan, "loss is missing"),
    "zero": ("loss", 0.0, "0, not above 0"),
    "negative": ("loss", -2.0, "-2, not above 0"),
    "infinite": ("loss", np.inf, "loss is infinite"),
    "size missing": ("N", np.nan, "N is missing"),
}


@pytest.mark.parametrize(("column", "value", "reason"), BAD.values(), ids=BAD)
def test_bad_rows_are_dropped_and_kept_in_the_result_with_a_reason(column: str, value: object, reason: str) -> None:
    table = runs().astype({column: object})
    table.loc[7, column] = value
    stream = io.StringIO()
    table.to_csv(stream, index=False)
    stream.seek(0)
    found = scaling.fit("chinchilla", scaling.read_table(stream))
    assert found.dropped["row"].tolist() == [7]
    assert reason in found.dropped["reason"][0]
    assert reason in found.report()
    clean = scaling.fit("chinchilla", runs().drop(index=7))
    assert found.params["alpha"] == pytest.approx(clean.params["alpha"], rel=1e-6)


def test_an_exact_repeat_is_dropped_and_a_run_with_two_losses_is_kept_as_one_cluster() -> None:
    table = runs()
    again = pd.concat([table, table.iloc[[3]], table.iloc[[4]].assign(loss=3.0)], ignore_index=True)
    found = scaling.fit("chinchilla", again)
    assert found.dropped["reason"].tolist() == ["repeats an earlier row exactly"]
    assert any("share a run" in note for note in found.notes)
    from scaling.intervals import clusters

    assert clusters(found).max() + 1 == len(table)


def test_a_diverged_run_is_dropped_with_its_status() -> None:
    table = runs().assign(status="finished")
    table.loc[2, "status"], table.loc[2, "loss"] = "diverged", np.nan
    assert "status: diverged" in scaling.fit("chinchilla", table).dropped["reason"][0]


def test_one_row_is_too_few_and_says_how_many_are_needed() -> None:
    with pytest.raises(scaling.TableError, match=r"5 free parameters .* 1 of 1 rows can be used"):
        scaling.fit("chinchilla", runs().head(1))


def test_when_all_rows_are_bad_the_reasons_are_in_the_error() -> None:
    with pytest.raises(scaling.TableError, match="48 because loss is missing"):
        scaling.fit("chinchilla", runs().assign(loss=np.nan))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("N,D,loss\n", "no rows"),
        ("N,D,N,loss\n1,1,1,1\n", "more than one column named N"),
        ('a,b\n"unclosed\n', "cannot read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(text: str, says: str) -> None:
    with pytest.raises(scaling.TableError, match=says):
        scaling.read_table(csv(text))


def test_mapped_columns_may_trade_places() -> None:
    table = scaling.read_table(csv("N,D,loss\n1,2,3\n"), map={"N": "D", "D": "N"})
    assert (table["N"][0], table["D"][0]) == (2, 1)


def test_a_filter_may_use_what_was_derived() -> None:
    assert len(scaling.read_table(csv("N,D,loss\n1e7,1e9,3\n1e8,1e9,3\n"), where="C < 1e17")) == 1


def test_tables_that_were_put_together_fit_as_one() -> None:
    halves = [scaling.read_table(runs().iloc[i::2].reset_index(drop=True)) for i in (0, 1)]
    together = scaling.fit("chinchilla", pd.concat(halves))
    assert together.value == pytest.approx(scaling.fit("chinchilla", runs()).value, rel=1e-9)


def test_rows_written_twice_are_dropped_where_runs_have_no_names() -> None:
    table = runs().drop(columns="run")
    stream = io.StringIO(pd.concat([table, table.head(3)]).to_csv(index=False))
    found = scaling.fit("chinchilla", scaling.read_table(stream))
    assert found.dropped["row"].tolist() == [48, 49, 50]


def test_a_missing_file_and_a_folder_are_named(tmp_path) -> None:
    with pytest.raises(scaling.TableError, match="there is no file"):
        scaling.read_table(tmp_path / "nothing.csv")
    with pytest.raises(scaling.TableError, match="is a folder"):
        scaling.read_table(tmp_path)


def test_binary_rubbish_is_refused(tmp_path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(bytes(range(128, 256)) * 20)
    with pytest.raises(scaling.TableError, match="cannot read"):
        scaling.read_table(path)


def test_rows_are_filtered_by_an_expression() -> None:
    table = scaling.read_table(runs().assign(group=["a", "b"] * 24), where='group == "b" and 1e7 <= N < 1e9')
    assert set(table["group"]) == {"b"}
    assert table["N"].max() < 1e9


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("__import__('os').system('true')", "may hold"),
        ("N.__class__", "may hold"),
        ("(lambda: 1)()", "may hold"),
        ("N > ", "cannot read"),
        ("M > 3", "did you mean N|known"),
        ("N + D", "gives numbers"),
        ("run > 3", "compares text with numbers"),
        ("N and D", "join comparisons"),
        ("N ** 9 > 3", "may hold"),
        ("(" * 300 + "N" + ")" * 300 + " > 1", "cannot read"),
        ("N > 1 " + "and N > 1 " * 200, "1000 characters"),
        ("`N > 3", "backquote"),
        ('"a" in run', "needs a column on its left"),
        ("1/0 > N", "cannot be worked out"),
        ("()", "not one true or false a row"),
        ('run in ["a"] * 999999999', "calculate with numbers and columns"),
    ],
)
def test_a_filter_is_data_and_never_code(expression: str, says: str) -> None:
    with pytest.raises(scaling.ScalingError, match=says):
        scaling.read_table(runs(), where=expression)


def test_comparisons_of_constants_hold_for_all_rows() -> None:
    assert len(scaling.read_table(runs(), where="N > 1 and 1 < 2")) == 48
    assert not len(scaling.read_table(runs(), where="not 1 < 2"))


def test_filters_know_lists_negation_and_quoted_columns() -> None:
    table = runs().assign(**{"val/loss": 2.0})
    assert len(scaling.read_table(table, where='run in ["r1", "r2"]')) == 2
    assert len(scaling.read_table(table, where='not run in ["r1", "r2"]')) == 46
    assert len(scaling.read_table(table, where='run not in ["r1"] and `val/loss` < 3 and N/D > -1')) == 47
