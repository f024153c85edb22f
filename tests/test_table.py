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
    with pytest.raises(scaling.TableError, match="'not 1 < 2' leaves none of the 48 rows"):
        scaling.read_table(runs(), where="not 1 < 2")


def test_filters_know_lists_negation_and_quoted_columns() -> None:
    table = runs().assign(**{"val/loss": 2.0})
    assert len(scaling.read_table(table, where='run in ["r1", "r2"]')) == 2
    assert len(scaling.read_table(table, where='not run in ["r1", "r2"]')) == 46
    assert len(scaling.read_table(table, where='run not in ["r1"] and `val/loss` < 3 and N/D > -1')) == 47


def test_a_law_of_runs_that_is_given_curves_names_a_law_of_curves() -> None:
    table = pd.DataFrame({"run": "a", "step": range(50), "lr": 1e-3, "val_loss": np.linspace(4, 3, 50)})
    with pytest.raises(scaling.TableError, match=r"These are curves: .*scaling fit ncl"):
        scaling.fit("chinchilla", scaling.read_table(table))
    last = table.tail(1).assign(N=1e7, batch_size=8, block_size=16)
    with pytest.raises(scaling.TableError, match=r"--set 'D=step \* batch_size \* block_size'"):
        scaling.fit("chinchilla", scaling.read_table(last))
    with pytest.raises(scaling.TableError) as error:
        scaling.fit("chinchilla", scaling.read_table(last.drop(columns="step")))
    assert "--set" not in str(error.value)


def test_no_size_is_made_of_the_flops_and_tokens_of_a_curve() -> None:
    table = pd.DataFrame({"run": "a", "step": range(9), "lr": 1e-3, "tokens": 1e3, "flops": 6e9, "val_loss": 3.0})
    with pytest.raises(scaling.TableError, match=r"Missing: N.*These are curves: .*scaling fit ncl"):
        scaling.fit("chinchilla", scaling.read_table(table))
    assert scaling.read_table(table.tail(1))["N"].tolist() == [1e6]


def test_names_of_others_are_recognised_whatever_their_case_and_signs() -> None:
    table = scaling.read_table(csv("Num Parameters,train/tokens,Eval-Loss,Run Name\n1e7,1e9,3,a\n"))
    assert table[["N", "D", "loss", "run"]].values.tolist() == [[1e7, 1e9, 3.0, "a"]]


def test_names_that_could_be_either_of_two_are_refused_with_the_choices() -> None:
    with pytest.raises(scaling.TableError, match=r"could be any of 'val/loss', 'eval_loss' .*--map loss=val/loss"):
        scaling.read_table(csv("N,D,eval_loss,val/loss\n1e7,1e9,3,4\n"))
    assert scaling.read_table(csv("N,D,eval_loss,val/loss\n1e7,1e9,3,4\n"), map={"loss": "eval_loss"})["loss"][0] == 3
    same = scaling.read_table(csv("N,D,eval_loss,val/loss\n1e7,1e9,3,3\n1e8,1e9,,2\n"))
    assert same["loss"].tolist() == [3, 2]
    assert scaling.read_table(csv("N,D,final_loss,val_loss\n1e7,1e9,3,4\n"))["loss"][0] == 3  # says more


@pytest.mark.parametrize(
    ("ours", "unit", "cell", "value"),
    [
        ("N", "M", 125, 125e6), ("D", "billions", 2.5, 2.5e9), ("C", "PF-days", 2, 2 * 8.64e19),
        ("C", "ZFLOP", 3, 3e21),
        ("D", "524288", 10, 5242880), ("loss", "bits", 2, 2 * np.log(2)), ("loss", "base10", 1, np.log(10)),
        ("loss", "perplexity", 20, np.log(20)), ("loss", "nats", 3, 3),
    ],
)  # fmt: skip
def test_units_are_converted_and_said(ours: str, unit: str, cell: float, value: float) -> None:
    row = {"N": 1e7, "D": 1e9, "C": 6e16, "loss": 3.0} | {ours: cell}
    table = scaling.read_table(pd.DataFrame([row]), reading=scaling.Reading(units={ours: unit}))
    assert table[ours][0] == pytest.approx(value, rel=1e-15)
    assert any(f"{ours} taken to be in {unit}" in note for note in table.attrs["notes"])
    with pytest.raises(scaling.TableError, match=f"{ours} has no unit 'furlongs'"):
        scaling.read_table(pd.DataFrame([row]), reading=scaling.Reading(units={ours: "furlongs"}))


def test_a_unit_in_brackets_behind_a_name_counts() -> None:
    table = scaling.read_table(csv("params (M),tokens [B],loss\n125,2.5,3\n"))
    assert table[["N", "D"]].values.tolist() == [[125e6, 2.5e9]]


def test_cells_that_are_no_numbers_survive_a_conversion_and_are_dropped_with_their_text() -> None:
    table = runs().astype({"loss": object})
    table.loc[4, "loss"] = "oops"
    found = scaling.fit("chinchilla", scaling.read_table(table, reading=scaling.Reading(units={"loss": "bits"})))
    assert found.dropped["reason"].tolist() == ["loss is not a number: 'oops'"]


SETTINGS = {
    "gpt2": ({"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}, 12 * 12 * 768**2 + 50257 * 768),
    # Llama 2 7B (arXiv:2307.09288): 6.738e9 parameters with the embedding, 32000 * 4096 of it
    "llama-2-7b": (
        {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 11008,
         "vocab_size": 32000, "hidden_act": "silu"}, 6_738_415_616 - 32000 * 4096 - 65 * 4096,
    ),
    # Mistral 7B (arXiv:2310.06825, table 1): 8 of 32 key-value heads
    "mistral-7b": (
        {"config.num_hidden_layers": 32, "config.hidden_size": 4096, "config.num_attention_heads": 32,
         "config.num_key_value_heads": 8, "config.intermediate_size": 14336, "config.vocab_size": 32000,
         "config.model_type": "mistral"}, 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336) + 32000 * 4096,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_s_settings_give_its_size(name: str) -> None:
    settings, n = SETTINGS[name]
    table = scaling.read_table(pd.DataFrame([{**settings, "tokens": 1e9, "loss": 3.0}]))
    assert table["N"][0] == n
    assert table["N_total"][0] - table["N"][0] == table["N_embedding"][0]
    assert any("N derived from" in note for note in table.attrs["notes"])
    tied = scaling.read_table(pd.DataFrame([{**settings, "tie_word_embeddings": True, "loss": 3.0}]))
    assert tied["N_total"][0] == tied["N"][0] == n


def test_a_file_says_how_a_source_is_read(tmp_path) -> None:
    (tmp_path / "r.toml").write_text(
        '[columns]\nN = "size"\n[units]\nN = "M"\nloss = "bits"\n[set]\nD = "updates * 2048"\n'
    )
    table = scaling.read_table(csv("size,updates,loss\n10,1000,4\n"), reading=tmp_path / "r.toml")
    assert table[["N", "D", "loss"]].values.tolist() == [[1e7, 2048e3, pytest.approx(4 * np.log(2))]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[colums]\n", "unknown entry 'colums'; did you mean columns"),
        ("[curves]\nsmoth = 3", "unknown entry 'smoth'; did you mean smooth"),
        ("[curves]\nsmooth = 'ema 3'", "smooth is 'ema 0.98'"),
        ("[curves]\nskip = 'x'", "whole number of updates"),
        ("[curves]\nfinal = 'best'", "final is one of"),
        ("[units]\nN = ['M']", "holds one text for each column"),
        ("N =", "as TOML"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, text: str, says: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(scaling.ScalingError, match=says):
        scaling.read_table(runs(), reading=tmp_path / "r.toml")


def test_losses_of_runs_that_did_not_end_are_said() -> None:
    table = runs().assign(State="finished")
    table.loc[[2, 5], "State"] = ["crashed", "Running"]
    notes = scaling.read_table(table).attrs["notes"]
    assert any("2 rows with a loss are of runs that are crashed, running" in note for note in notes)
    table.loc[[2, 5], "loss"] = np.nan
    assert not any("rows with a loss" in note for note in scaling.read_table(table).attrs["notes"])


def test_a_law_that_no_start_fits_says_so() -> None:
    rising = pd.DataFrame({"N": [1e6, 1e7, 1e8, 1e9], "loss": [3.0, 3.1, 3.2, 3.3]})
    with pytest.raises(scaling.FitError, match="no start gave a finite loss"):
        scaling.fit("power", rising, x="N", fix={"L_inf": 0.0})
