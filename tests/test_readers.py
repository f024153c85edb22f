"""Every reader on a file that the real library made (tests/logs), and what is made of any log: names, sizes, ends."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.errors import TableError
from scaling.readers.formats import FORMATS, find_format, read_log
from scaling.reading import Reading
from sweeps import collecting, records
from tests.test_curves import curves
from tests.test_fit import runs
from tests.test_records import FINAL, OTHER, RUN, opened, rows

LOGS = Path(__file__).parent / "logs"
# the tiny models of tests/logs/make.py: matrices of 1 block of width 8 and of 2 blocks of width 16, vocabulary 64
SIZES = {"gpt-small": 12 * 8 * 8 + 64 * 8, "gpt-large": 2 * 12 * 16 * 16 + 64 * 16}
#: The last validation losses by tests/logs/make.py, which mlflow, TensorBoard, W&B and Lightning each logged.
LOSSES = {"gpt-small": 4.018783092498779, "gpt-large": 4.042504787445068}


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard", "lightning"])
def test_one_training_logged_by_four_libraries_is_read_as_the_same_curves(name: str) -> None:
    table = scaling.read_curves(LOGS / name)
    steps = 40 if name == "lightning" else 41
    assert table.groupby("run").size().to_dict() == dict.fromkeys(SIZES, 8 if name == "lightning" else steps)
    last = table.dropna(subset="loss").groupby("run").last()
    for run, loss in LOSSES.items():
        assert last["loss"][run] == pytest.approx(loss, rel=1e-6), run
        assert last["N"][run] == SIZES[run]
        lr = table.attrs["schedules"].lr[run]
        expected = 1e-3 + 4.5e-3 * (1 + np.cos(np.pi * np.arange(len(lr)) / 40))
        np.testing.assert_allclose(lr[steps // 8 : 40], expected[steps // 8 : 40], atol=1.2e-4)


@pytest.mark.parametrize("name", ["wandb", "mlflow", "mlflow_database", "tensorboard", "lightning", "wandb_files"])
def test_final_losses_and_sizes_come_out_of_a_folder_of_logs(name: str) -> None:
    table = scaling.read_table(LOGS / name).set_index("run")
    runs = dict(zip(SIZES, SIZES, strict=True))
    if name == "wandb_files":  # whose files do not hold the names of runs
        runs = {run: f"run-20260101_000000-tiny{run.removeprefix('gpt-')}" for run in SIZES}
    for run, key in runs.items():
        assert table["loss"][key] == pytest.approx(LOSSES[run], rel=1e-6)
        assert table["N"][key] == SIZES[run]
        assert table["N_total"][key] == SIZES[run] + table["N_embedding"][key]


def test_scalars_kept_as_tensors_are_scalars() -> None:
    table = scaling.read_curves(LOGS / "tensorboard_tensors")
    assert table["loss"].dropna().iloc[-1] == pytest.approx(LOSSES["gpt-small"], rel=1e-6)


def test_a_trainer_state_gives_tokens_status_and_the_validation_loss() -> None:
    table = scaling.read_table(LOGS / "huggingface").set_index("run")
    assert table["D"].to_dict() == dict.fromkeys(SIZES, 40 * 8 * 16)
    assert table["N"].to_dict() == SIZES and table["N_total"].to_dict() == SIZES  # the head is tied
    state = json.loads((LOGS / "huggingface" / "gpt-small" / "trainer_state.json").read_text())
    assert table["loss"]["gpt-small"] == [row["eval_loss"] for row in state["log_history"] if "eval_loss" in row][-1]
    assert set(table["status"]) == {"finished"}
    one = scaling.read_table(LOGS / "huggingface" / "gpt-small" / "trainer_state.json")
    assert one["run"].tolist() == ["gpt-small"]


def test_a_trainer_that_was_stopped_has_no_final_loss(tmp_path: Path) -> None:
    state = json.loads((LOGS / "huggingface" / "gpt-small" / "trainer_state.json").read_text())
    state["log_history"] = [row for row in state["log_history"] if row["step"] <= 20]
    state["global_step"] = 20
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(scaling.TableError, match=r"its status is running.*--final last"):
        scaling.read_table(tmp_path)
    assert scaling.read_table(tmp_path, reading=Reading(final="last"))["D"].tolist() == [20 * 128]


def test_what_nanogpt_prints_is_read(tmp_path: Path) -> None:
    table = scaling.read_table(LOGS / "nanogpt")
    assert table[["run", "N", "D", "loss"]].values.tolist() == [["gpt-small", 400000.0, 5120.0, 10.7379]]
    found = read_log(LOGS / "nanogpt" / "gpt-small.log")[1].curves
    assert found["train_loss"].tolist()[:2] == [10.8222, 10.8292]


def test_what_nanochat_prints_is_read_with_its_loss_in_nats() -> None:
    table = scaling.read_table(LOGS / "nanochat")
    assert table["run"].tolist() == ["d2"]
    assert table["loss"].tolist() == [pytest.approx(5.135632 * np.log(2))]
    # 73,782 in all, of which the embeddings of tokens and of values have 16,384 each; 20 updates of 256 tokens
    assert (table["N"][0], table["N_total"][0], table["D"][0]) == (41014, 73782, 20 * 256)
    assert any("0.693147 to be in nats" in note for note in table.attrs["notes"])
    assert any("N is nanochat's total" in note for note in table.attrs["notes"])
    assert not any("nanoGPT's own count" in note for note in table.attrs["notes"])
    curve = scaling.read_curves(LOGS / "nanochat", loss="train_loss")
    assert curve["loss"].notna().sum() == 20 and curve["lr"].tolist()[:4] == [0.25, 0.5, 0.75, 1.0]
    assert curve["loss"][0] == 6.236613


def test_a_log_of_one_format_is_known_by_what_it_holds() -> None:
    names = {"wandb": "wandb", "wandb_files": "wandb", "mlflow": "mlflow",
             "mlflow_database": "mlflow-db", "tensorboard": "tensorboard",
             "huggingface": "huggingface", "lightning": "lightning", "nanogpt": "printed", "nanochat": "printed",
             "wandb_exports/chart.csv": "csv"}  # fmt: skip
    assert {folder: read_log(LOGS / folder)[0] for folder in names} == names
    assert find_format("csv").name == "csv" and len({f.name for f in FORMATS}) == len(FORMATS)
    with pytest.raises(scaling.TableError, match="there is no format 'cvs'; did you mean csv"):
        find_format("cvs")


def test_a_chart_exported_by_wandb_is_curves_and_its_table_of_runs_is_runs() -> None:
    chart = scaling.read_table(LOGS / "wandb_exports" / "chart.csv")
    assert dict(zip(chart["run"], chart["loss"], strict=True)) == LOSSES
    assert any("__MIN, __MAX) were left out" in note for note in chart.attrs["notes"])
    runs = scaling.read_table(LOGS / "wandb_exports" / "runs.csv").set_index("run")
    assert runs["N"].to_dict() == SIZES and runs["loss"].to_dict() == LOSSES
    assert runs["status"].tolist() == ["finished", "finished"]


def test_a_sweep_s_folder_is_read_collected_or_not(tmp_path: Path) -> None:
    data = Path(__file__).parents[1] / "data" / "demo"
    collected = scaling.read_table(data)
    assert collected["loss"].tolist() == pd.read_csv(data / "runs.csv")["loss"].tolist()
    assert len(scaling.read_curves(data)) == len(pd.read_csv(data / "curves.csv"))
    key = "w16-d1"
    (tmp_path / key).mkdir()
    record = {
        "key": key, "run": {"width": 16, "depth": 1, "corpus": "c", "steps": 2, "lr": 0.1}, "tokens": 64,
        "parameters": {"matmul": 100, "chinchilla": 130}, "parameters_by_group": {"embedding": 30}, "trunk": "t",
        "flops": 1.0, "flops_marginal": 0.5,
    }  # fmt: skip
    (tmp_path / key / "run.json").write_text(json.dumps(record))
    (tmp_path / key / "curve.csv").write_text(
        "step,tokens,lr,train_loss,val_loss\n0,32,0.1,3.5,3.4\n1,64,0.0,3.2,3.1\n"
    )
    assert scaling.read_table(tmp_path)[["status", "D"]].values.tolist() == [["running", 64]]
    with pytest.raises(scaling.TableError, match=r"loss is missing .status: running"):
        scaling.fit("chinchilla", scaling.read_table(tmp_path))
    (tmp_path / key / "final.json").write_text(json.dumps({"status": "finished", "loss": 3.1}))
    table = scaling.read_table(tmp_path)
    assert table[["run", "N", "D", "C", "loss"]].values.tolist() == [[key, 100, 64, 38400.0, 3.1]]


def test_parquet_and_json_lines_are_tables_like_a_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"params": [1e7, 1e8], "tokens": [1e9, 1e10], "val/loss": [3.0, 2.5], "run": ["a", "b"]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "t.csv.gz", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text(table.to_json(orient="records", lines=True))
    expected = scaling.read_table(table)
    for name in ("t.csv", "t.tsv", "t.csv.gz", "t.parquet", "t.jsonl"):
        read = scaling.read_table(tmp_path / name)
        pd.testing.assert_frame_equal(pd.DataFrame(read), pd.DataFrame(expected), check_dtype=False)


def test_a_json_list_of_objects_is_a_table(tmp_path: Path, capsys) -> None:
    rows = [{"params": 1e7, "data": {"tokens": 1e9}, "val_loss": 3.0}, {"params": 2e7, "val_loss": 2.8}]
    (tmp_path / "runs.json").write_text(json.dumps(rows))
    table = scaling.read_table(tmp_path / "runs.json", map={"D": "data.tokens"})
    assert table["N"].tolist() == [1e7, 2e7] and table["loss"].tolist() == [3.0, 2.8]
    assert table["D"][0] == 1e9 and np.isnan(table["D"][1])
    assert main(["forecast", str(tmp_path / "runs.json"), "--at", "N=1e9,D=1e9"]) == 1  # a table, and no fit
    assert "not a fit" not in capsys.readouterr().err
    for text, says in (("{}", "is no list of objects"), ("[]", "is no list"), ("[1]", "is no list"), ("[{", "as JSON")):
        (tmp_path / "runs.json").write_text(text)
        with pytest.raises(TableError, match=says):
            scaling.read_table(tmp_path / "runs.json")


def test_a_unit_behind_a_mapped_name_counts_unless_another_is_said() -> None:
    table = pd.DataFrame({"size (M)": [10.0, 30.0], "seen (B)": [1.0, 2.0], "loss": [3.0, 2.9]})
    named = {"N": "size (M)", "D": "seen (B)"}
    assert scaling.read_table(table, map=named)[["N", "D"]].values.tolist() == [[1e7, 1e9], [3e7, 2e9]]
    said = scaling.read_table(table, map=named, reading=Reading(units={"N": "K"}))
    assert said["N"].tolist() == [1e4, 3e4]


def test_a_second_count_of_parameters_is_kept_and_named() -> None:
    table = pd.DataFrame({"params": [2e7], "params_no_emb": [1e7], "tokens": [1e9], "loss": [3.0]})
    read = scaling.read_table(table)
    assert read["N"].tolist() == [2e7] and read["params_no_emb"].tolist() == [1e7]
    assert any("--map N=params_no_emb takes it" in note for note in read.attrs["notes"])
    other = scaling.read_table(table.drop(columns="params"))
    assert other["N"].tolist() == [1e7] and "N read from column 'params_no_emb'" in other.attrs["notes"]


def test_semicolons_with_decimal_commas_are_read_and_said() -> None:
    table = scaling.read_table(io.StringIO("N;D;loss\n1e7;1e9;3,25\n"))
    assert table["loss"].tolist() == [3.25]
    assert "columns separated by semicolons, decimal commas" in table.attrs["notes"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_byte_order_are_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("N,D,loss\n1e7,1e9,3\n".encode(encoding))
    assert scaling.read_table(tmp_path / "t.csv")["N"].tolist() == [1e7]


def test_a_history_of_wandb_as_json_lines_is_curves(tmp_path: Path) -> None:
    rows = [
        {"_step": i, "train/loss": 4 - i / 10, "lr": 1e-3, **({"val/loss": 4.1 - i / 10} if i % 2 else {})}
        for i in range(9)
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = scaling.read_curves(tmp_path / "history.jsonl")
    assert table["loss"].dropna().tolist() == [4.1 - i / 10 for i in (1, 3, 5, 7)]
    final = scaling.read_table(tmp_path / "history.jsonl", reading=Reading(final="last"))
    assert final["loss"].tolist() == [4.1 - 0.7]


def test_the_count_of_updates_that_a_run_logs_itself_is_its_step() -> None:
    from scaling.readers.wandb import _counted

    rows = {"a": [{"_step": 0, "step": 100, "loss": 3.0}, {"_step": 1, "loss": 2.9}]}
    assert "'step'" in _counted(rows)
    assert [row["step"] for row in rows["a"]] == [100, 1]


def test_what_a_resumed_run_logs_again_replaces_what_it_logged_before(tmp_path: Path) -> None:
    run = tmp_path / "1" / "r"
    (run / "metrics").mkdir(parents=True)
    (run / "meta.yaml").write_text("run_name: a\nstatus: 3\n")
    (run / "metrics" / "val_loss").write_text("1 4.0 0\n2 3.5 10\n3 3.4 20\n4 3.3 10\n5 3.2 20\n")
    table = scaling.read_table(tmp_path)
    assert table["loss"].tolist() == [3.2]
    assert any("2 values were logged again for the same step" in note for note in table.attrs["notes"])


# --- ends of runs ---


def _log(folder: Path, table: pd.DataFrame) -> Path:
    """Curves as a folder of a sweep's tables, which are taken as a log."""
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "curves.csv", index=False)
    return folder


def test_a_checkpoint_within_a_decay_is_no_final_loss(tmp_path: Path) -> None:
    whole = curves(every=20)
    half = whole[(whole["run"] != "cosine") | (whole["step"] < 1500)]
    table = scaling.read_table(_log(tmp_path / "a", half))
    assert table["run"].tolist() == ["wsd"]
    left = dict(table.attrs["left_out"])
    assert "of its peak and falling at its last step, 1480" in left["cosine"]
    assert "still near its peak" in left["constant"]
    assert set(scaling.read_table(_log(tmp_path / "b", whole))["run"]) == {"cosine", "wsd"}
    everything = scaling.read_table(tmp_path / "a", reading=Reading(final="last"))
    assert set(everything["run"]) == {"cosine", "constant", "wsd"}


def test_all_rows_of_a_log_are_kept_where_that_is_asked() -> None:
    table = scaling.read_table(LOGS / "huggingface", reading=Reading(final="rows"))
    assert len(table) == 16 and table["D"].min() == 640 and set(table["N"]) == set(SIZES.values())


def test_a_chart_on_a_stream_is_a_chart_and_a_table_of_runs_is_none(capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO((LOGS / "wandb_exports" / "chart.csv").read_text()))
    assert main(["read", "-", "--final", "last"]) == 0
    assert "runs: 2 rows" in capsys.readouterr().out
    assert main(["read", str(LOGS / "wandb_exports" / "runs.csv")]) == 0
    assert "no curves: no column counts updates" in capsys.readouterr().out


def test_what_was_done_is_said_once() -> None:
    notes = scaling.read_table(io.StringIO("N;tokens;loss\n1e7;1e9;3.5\n")).attrs["notes"]
    assert len(notes) == len(set(notes)) and "columns separated by semicolons" in notes


def test_constant_rates_alone_are_taken_and_doubted(tmp_path: Path) -> None:
    table = scaling.read_table(_log(tmp_path, curves()[lambda t: t["run"] == "constant"]))
    assert len(table) == 1
    assert any("do not come down" in note for note in table.attrs["notes"])


def test_planned_steps_decide_where_they_are_known(tmp_path: Path) -> None:
    folder = _log(tmp_path, curves())
    pd.DataFrame({"run": ["cosine", "constant", "wsd"], "max_steps": [2000, 4000, 2000]}).to_csv(folder / "runs.csv")
    table = scaling.read_table(folder)
    assert table["run"].tolist() == ["cosine", "wsd"]
    assert dict(table.attrs["left_out"])["constant"] == "it ends at step 1990 of 4000 planned"
    assert len(scaling.read_table(folder, reading=Reading(planned="2000"))) == 3


def test_a_column_of_planned_steps_beside_the_rows_is_a_plan() -> None:
    """A table of checkpoints with the length of every run, as people keep them: no learning rates, no table of runs."""
    table = curves().drop(columns="lr").assign(N=1e7, D=lambda t: t["step"] * 1000.0)
    planned = table["run"].map({"cosine": 2000, "constant": 4000, "wsd": 2000})
    final = scaling.read_table(table.assign(total_steps=planned), reading=Reading(final="decayed"))
    assert final["run"].tolist() == ["cosine", "wsd"]
    assert dict(final.attrs["left_out"])["constant"] == "it ends at step 1990 of 4000 planned"
    named = Reading(final="decayed", planned="length")
    assert scaling.read_table(table.assign(length=planned), reading=named)["run"].tolist() == ["cosine", "wsd"]
    with pytest.raises(TableError, match="did you mean total_steps"):
        scaling.read_table(table.assign(total_steps=planned), reading=Reading(final="decayed", planned="total_stepz"))
    growing = table.rename(columns={"step": "steps"})  # a count of updates, and no plan
    assert len(scaling.read_table(growing, reading=Reading(final="decayed"))) == 3


def test_rows_that_no_column_gives_to_a_run_are_no_curve_where_they_cannot_be_one(tmp_path: Path, capsys) -> None:
    """A table of finished runs of many lengths has columns steps, lr and loss too."""
    grid = pd.DataFrame({"params": [1e7, 1e7, 3e7, 3e7], "tokens": [1e9, 4e9, 1e9, 4e9], "steps": [1000, 4000] * 2})
    grid = grid.assign(lr=1e-3, loss=[3.4, 3.2, 3.1, 2.9])
    with pytest.raises(TableError, match="no column of the table names the runs, and its rows differ in N"):
        scaling.read_curves(grid)
    with pytest.raises(TableError, match="differ in N"):
        scaling.read_table(grid, reading=Reading(final="last"))
    batches = grid.assign(params=1e7, steps=[1000, 2000, 3000, 4000])
    with pytest.raises(TableError, match="fewer tokens at later steps"):
        scaling.read_curves(batches)
    assert len(scaling.read_curves(grid, map={"N": "params"}, where="N < 2e7")) == 2
    grid.to_csv(tmp_path / "grid.csv", index=False)
    assert main(["read", str(tmp_path / "grid.csv")]) == 0
    out = capsys.readouterr().out
    assert "runs: 4 rows" in out and "no curves: no column of" in out


def test_runs_that_diverged_are_left_out_by_name(tmp_path: Path) -> None:
    table = curves()
    table.loc[(table["run"] == "cosine") & (table["step"] > 1500), "loss"] *= 1.5
    table.loc[(table["run"] == "wsd") & (table["step"] == 1990), "loss"] = np.inf
    folder = _log(tmp_path, table)
    read = scaling.read_curves(folder)
    assert set(read["run"]) == {"constant"}
    left = [note for note in read.attrs["notes"] if "left out" in note and "diverged" in note]
    assert "run cosine left out: its loss ends at" in left[0] and "1.2 times its least" in left[0]
    assert "run wsd left out: its last loss is inf" in left[1]


def test_a_plain_table_of_checkpoints_is_kept_and_warned_of() -> None:
    table = curves().assign(N=1e7, D=lambda t: t["step"] * 1000.0)
    read = scaling.read_table(table)
    assert len(read) == len(table)
    assert any("--final decayed keeps the last row" in note for note in read.attrs["notes"])
    fitted = scaling.fit("power", read, x="D")
    assert fitted.problems[0].startswith(f"{len(table)} rows at several steps of 3 runs")
    assert not any("several steps" in note for note in fitted.notes)
    last = read.groupby("run").tail(1)  # what a fit reads counts, not what was read from the file
    meant = scaling.read_table(table, reading=Reading(final="rows"))
    for used in (pd.concat([last, last.assign(run="again", loss=last["loss"] * 1.01)]), meant):
        assert not any("several steps" in said for said in scaling.fit("power", used, x="D").problems)
    ends = scaling.read_table(table, where="step > 1985")
    assert not any("several steps" in note for note in ends.attrs["notes"])
    final = scaling.read_table(table, reading=Reading(final="decayed"))
    assert final["run"].tolist() == ["cosine", "wsd"] and final["D"].tolist() == [1990e3, 1990e3]


def test_losses_are_smoothed_and_early_steps_left_out_as_asked() -> None:
    table = curves(noise=0.02, first=0)
    read = scaling.read_curves(table, reading=Reading(smooth="median 9", skip=200))
    assert read["step"].min() == 200
    assert any("losses smoothed run by run: median of 9 rows" in note for note in read.attrs["notes"])
    assert any("60 rows before step 200 were left out" in note for note in read.attrs["notes"])
    noisy, smooth = (t[t["run"] == "constant"]["loss"].diff().std() for t in (table[table["step"] >= 200], read))
    assert smooth < noisy / 3
    average = scaling.read_curves(table, reading=Reading(smooth="ema 0.5"))
    rows = table[table["run"] == "wsd"]["loss"].to_numpy()
    expected = (rows[2] + rows[1] / 2 + rows[0] / 4) / 1.75
    assert average[average["run"] == "wsd"]["loss"].iloc[2] == pytest.approx(expected, rel=1e-12)


# --- what is said of curves ---


def test_rows_of_one_step_that_contradict_each_other_are_said() -> None:
    table = curves()
    again = table.iloc[[5]].assign(loss=9.0)
    read = scaling.read_curves(pd.concat([table, again, table.iloc[[7]]]))
    assert sum("1 steps have rows with different losses" in note for note in read.attrs["notes"]) == 1
    assert not any("different losses" in note for note in scaling.read_curves(table).attrs["notes"])


def test_learning_rates_below_zero_are_said() -> None:
    table = curves().reset_index(drop=True)
    table.loc[[3, 9], "lr"] = [-1.0, np.inf]
    read = scaling.read_curves(table)
    assert any("2 learning rates were below 0 or infinite (row 3, 9)" in note for note in read.attrs["notes"])


# --- the command ---


def test_read_prints_what_it_understood_and_writes_tables_that_read_back(tmp_path: Path, capsys) -> None:
    assert (
        main(["read", str(LOGS / "mlflow"), "--set", "D=step * batch_size * block_size", "-o", str(tmp_path / "o")])
        == 0
    )
    out, err = capsys.readouterr()
    assert "N                  1280 to 7168                 parameters" in out
    assert "D set to step * batch_size * block_size" in out and "C derived from N and D" in out
    assert "wrote" in err and err.count("rows") == 2
    back = scaling.read_table(tmp_path / "o")
    assert (
        back["D"].tolist() == [5120.0, 5120.0]
        and back["N"].tolist() == list(SIZES.values())[:: 1 if back["run"][0] == "gpt-small" else -1]
    )
    assert len(scaling.read_curves(tmp_path / "o")) == 82


def test_read_prints_json(capsys) -> None:
    assert main(["read", str(LOGS / "lightning"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["runs"]["rows"] == 2 and record["curves"]["runs"] == 2
    assert {"name": "N", "unit": "parameters", "rows": 2, "least": 1280.0, "most": 7168.0} in record["runs"]["columns"]


def test_a_law_is_fitted_straight_from_a_folder_of_logs(capsys) -> None:
    logs = str(LOGS / "mlflow" / "mlruns")
    assert main(["fit", "tissue", logs, "--where", "run == 'gpt-small' and step % 2"]) == 1
    assert "may hold" in capsys.readouterr().err
    assert main(["fit", "tissue", logs, "--where", "run == 'gpt-small'"]) == 0
    assert "loss read from column 'val/loss'" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["read", "datasets"])
def test_the_examples_of_a_command_s_help_run(command: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    curves().to_csv("curves.csv", index=False)
    runs().to_csv("runs.csv", index=False)
    with pytest.raises(SystemExit):
        main([command, "--help"])
    lines = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line


def test_the_records_of_a_sweep_are_read_as_collecting_reads_them(tmp_path: Path) -> None:
    opened(tmp_path, RUN, OTHER)
    records.append_rows(tmp_path, RUN.key, rows(0, 10))
    records.append_rows(tmp_path, OTHER.key, rows(0, 4))
    records.write_final(tmp_path, RUN.key, FINAL)
    with (tmp_path / OTHER.key / "curve.csv").open("a") as file:
        file.write("4,1024")  # cut short by a kill: 10240
    theirs, their_curves = collecting.collect(tmp_path)
    log = read_log(tmp_path)[1]
    ours = log.runs.set_index("run").loc[theirs["run"]].reset_index()
    shared = [name for name in ours if name in theirs and name != "status"]
    assert {"N", "D", "C", "loss", "trunk", "flops", "N_total", "width"} <= set(shared)
    pd.testing.assert_frame_equal(ours[shared], theirs[shared], check_dtype=False)
    keys = ["run", "step", "tokens", "train_loss"]
    mine, yours = (t[keys].sort_values(["run", "step"]).reset_index(drop=True) for t in (log.curves, their_curves))
    pd.testing.assert_frame_equal(mine, yours, check_dtype=False)
