"""Records: whole or not there, exact, and readable at any moment of a sweep."""

import csv
import json
import math
import os
import re
import sys
from pathlib import Path

import pytest

from scaling.columns import CURVES, MEASURED, RUNS
from scaling.errors import ScalingError
from scaling.schedule import SCHEDULES
from sweeps import collecting, records
from sweeps.counting import flops_per_token, parameter_counts
from sweeps.plan import build_plan, flops_of
from sweeps.runs import SCHEMA_VERSION, Run

RUN = Run(width=32, depth=1, steps=10, lr=0.01, warmup=2, cooldown=3, group="a", corpus="abcdef123456")
OTHER = Run(width=32, depth=1, steps=20, lr=0.01, warmup=2, cooldown=3, group="b", corpus="abcdef123456")
FINAL = {"status": "finished", "steps": 10, "loss": 2.5, "loss_se": 0.1, "bits_per_byte": 3.6}


def opened(out: Path, *runs: Run) -> Path:
    plan = build_plan(runs)
    for stack in plan.stacks:
        for run in stack.runs:
            records.open_run(
                out,
                run,
                stack=stack.key,
                trunk=plan.trunk[run.key],
                flops=flops_of(run),
                flops_marginal=plan.flops_marginal[run.key],
            )
    return out


def rows(first: int, stop: int) -> list[dict]:
    return [
        {"step": i, "tokens": (i + 1) * 2048, "train_loss": 1 / (i + 3), "val_loss": None} for i in range(first, stop)
    ]


def test_run_json_holds_the_run_and_all_that_follows_from_it(tmp_path):
    opened(tmp_path, RUN)
    record = records.read_run(tmp_path, RUN.key)
    assert Run(**record["run"]) == RUN
    assert Run(**record["run"]).key == record["key"] == RUN.key
    assert record["schema_version"] == SCHEMA_VERSION
    assert record["parameters"] == parameter_counts(RUN)
    assert sum(record["parameters_by_group"].values()) == record["parameters"]["chinchilla"]
    assert record["flops_per_token"] == flops_per_token(RUN)
    assert record["parametrization"]["groups"]["mlp_in"] == {
        "init_std": pytest.approx(32**-0.5, rel=1e-15),
        "lr_factor": 2.0,
        "weight_decay": 0.1,
    }
    schedule = record["schedule"]
    rebuilt = SCHEDULES[schedule["name"]](schedule["steps"], schedule["peak"], **schedule["options"])
    assert rebuilt.astype("float32").tolist() == RUN.lr_per_step.tolist()
    assert record["versions"]["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert record["run"]["corpus"] == "abcdef123456"
    assert {"trunk", "stack", "commit", "flops", "flops_marginal"} <= record.keys()


def test_run_json_is_never_changed(tmp_path):
    opened(tmp_path, RUN)
    path = tmp_path / RUN.key / "run.json"
    path.write_text(path.read_text().replace('"group": "a"', '"group": "first"'))
    before = path.read_text()
    opened(tmp_path, RUN, OTHER)
    assert path.read_text() == before


def test_a_run_trained_by_other_rules_is_not_continued(tmp_path):
    opened(tmp_path, RUN)
    path = tmp_path / RUN.key / "run.json"
    record = json.loads(path.read_text())
    record["parametrization"]["groups"]["head"]["lr_factor"] = 1.0
    path.write_text(json.dumps(record))
    with pytest.raises(ScalingError, match=r"parametrization differs.*another folder with --out"):
        opened(tmp_path, RUN)


def test_a_curve_reads_back_exactly_and_missing_is_empty(tmp_path):
    opened(tmp_path, RUN)
    written = [
        {"step": 0, "tokens": 2048, "lr": 0.1 + 0.2, "train_loss": 1 / 3, "val_loss": 1e-300, "grad_norm": 1.0},
        {"step": 1, "tokens": 4096, "lr": 2.0**-149, "train_loss": 5e300, "val_loss": math.nan},
    ]
    records.append_rows(tmp_path, RUN.key, written[:1])
    records.append_rows(tmp_path, RUN.key, written[1:])
    text = (tmp_path / RUN.key / "curve.csv").read_text().splitlines()
    assert text[0] == ",".join(name for name in CURVES if name != "run")
    assert text[2] == f"1,4096,{2.0**-149!r},5e+300,,,,,,"
    curve = records.read_curve(tmp_path, RUN.key)
    for row, back in zip(written, curve.to_dict("records"), strict=True):
        for name, value in row.items():
            assert back[name] == value or (math.isnan(back[name]) and math.isnan(value))


def test_a_half_written_row_does_not_count(tmp_path):
    opened(tmp_path, RUN)
    records.append_rows(tmp_path, RUN.key, rows(0, 4))
    path = tmp_path / RUN.key / "curve.csv"
    with path.open("a") as file:
        file.write("4,1024")  # a kill in the middle of a number: 10240
    assert records.read_curve(tmp_path, RUN.key)["step"].tolist() == [0, 1, 2, 3]
    assert collecting.status(tmp_path)["step"].tolist() == [4]
    assert len(collecting.collect(tmp_path)[1]) == 4
    records.truncate_rows(tmp_path, RUN.key, 10)
    records.append_rows(tmp_path, RUN.key, rows(4, 6))
    assert records.read_curve(tmp_path, RUN.key)["step"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("last", "kept"), [(-1, []), (0, [0]), (2, [0, 1, 2]), (9, [0, 1, 2, 3])])
def test_truncating_keeps_rows_up_to_a_step(tmp_path, last, kept):
    opened(tmp_path, RUN)
    records.append_rows(tmp_path, RUN.key, rows(0, 4))
    records.truncate_rows(tmp_path, RUN.key, last)
    assert records.read_curve(tmp_path, RUN.key)["step"].tolist() == kept


def test_a_damaged_row_within_a_curve_is_named(tmp_path):
    opened(tmp_path, RUN)
    records.append_rows(tmp_path, RUN.key, [{"step": 0}, {"step": 1}])
    path = tmp_path / RUN.key / "curve.csv"
    path.write_text(path.read_text().replace("\n1,", "\n#garbage,", 1))
    with pytest.raises(records.RecordError, match=r"line 3 of .*curve.csv is damaged"):
        records.read_curve(tmp_path, RUN.key)


def test_truncating_a_curve_whose_header_was_cut_starts_it_anew(tmp_path):
    opened(tmp_path, RUN)
    (tmp_path / RUN.key / "curve.csv").write_text("step,tok")
    records.truncate_rows(tmp_path, RUN.key, 5)
    records.append_rows(tmp_path, RUN.key, rows(0, 1))
    assert records.read_curve(tmp_path, RUN.key)["step"].tolist() == [0]


def test_a_run_is_done_if_and_only_if_its_final_file_is_there(tmp_path):
    opened(tmp_path, RUN)
    assert not records.is_done(tmp_path, RUN.key)
    (tmp_path / RUN.key / "final.json.tmp").write_text('{"status": "fini')  # as a kill before the rename leaves it
    assert not records.is_done(tmp_path, RUN.key)
    assert records.read_final(tmp_path, RUN.key) is None
    records.write_final(tmp_path, RUN.key, FINAL)
    assert records.is_done(tmp_path, RUN.key)
    assert records.read_final(tmp_path, RUN.key) == FINAL


def test_processes_that_open_one_folder_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    fsync, nested = os.fsync, []

    def slow(number):
        if not nested:
            nested.append(1)
            opened(tmp_path, RUN)  # another process comes by while this one writes run.json, and trains
            records.append_rows(tmp_path, RUN.key, rows(0, 3))
        fsync(number)

    monkeypatch.setattr("os.fsync", slow)
    opened(tmp_path, RUN)
    assert nested and records.read_run(tmp_path, RUN.key)["key"] == RUN.key
    assert len(records.read_curve(tmp_path, RUN.key)) == 3
    assert sorted(path.name for path in (tmp_path / RUN.key).iterdir()) == ["curve.csv", "run.json"]


def test_what_a_kill_left_half_written_goes_when_training_goes_on(tmp_path):
    opened(tmp_path, RUN)
    (tmp_path / RUN.key / "curve.csv.0123abcd.tmp").write_text("step,")
    records.truncate_rows(tmp_path, RUN.key, -1)
    assert sorted(path.name for path in (tmp_path / RUN.key).iterdir()) == ["curve.csv", "run.json"]


def test_a_folder_that_cannot_be_written_is_one_error_with_its_path(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(records.RecordError, match=r"cannot write .*file/out/.*: Not a directory.*run the same command"):
        opened(tmp_path / "file" / "out", RUN)
    assert issubclass(records.RecordError, ScalingError) and issubclass(records.RecordError, OSError)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    opened(tmp_path, RUN)
    records.write_final(tmp_path, RUN.key, FINAL)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(records.RecordError, match=r"cannot write .*No space left on device"):
        records.write_final(tmp_path, RUN.key, FINAL | {"loss": 9.0})
    assert records.read_final(tmp_path, RUN.key) == FINAL
    assert not list((tmp_path / RUN.key).glob("*.tmp"))


def test_a_damaged_record_names_its_file_and_the_remedy(tmp_path):
    opened(tmp_path, RUN)
    path = tmp_path / RUN.key / "run.json"
    path.write_text('{"key": ')
    with pytest.raises(records.RecordError, match=re.escape(str(path)) + ".*damaged.*run the same command again"):
        collecting.collect(tmp_path)
    said: list[str] = []
    record = build_plan([RUN])
    records.open_run(tmp_path, RUN, stack="s", trunk=record.trunk[RUN.key], flops=1, flops_marginal=1, say=said.append)
    assert said == [f"{path} is damaged: written again from the grid"]
    assert collecting.collect(tmp_path)[0]["run"].tolist() == [RUN.key]


def test_a_damaged_final_file_does_not_count_and_is_no_table(tmp_path):
    opened(tmp_path, RUN)
    path = tmp_path / RUN.key / "final.json"
    path.write_text('{"status": "fini')
    said = []
    assert not records.is_done(tmp_path, RUN.key, said.append)
    assert said == [f"{path} is damaged: the run is trained again"]
    with pytest.raises(records.DamagedError, match=re.escape(str(path))):
        collecting.collect(tmp_path)


def test_a_record_of_a_later_version_is_refused(tmp_path):
    opened(tmp_path, RUN)
    path = tmp_path / RUN.key / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(records.RecordError, match=f"schema_version {SCHEMA_VERSION + 1}, this program knows up to"):
        collecting.collect(tmp_path)


def test_collected_tables_have_the_columns_of_the_vocabulary(tmp_path):
    opened(tmp_path, RUN, OTHER)
    records.append_rows(tmp_path, RUN.key, rows(0, 10))
    records.write_final(tmp_path, RUN.key, FINAL)
    runs, curves = collecting.collect(tmp_path)
    assert (list(runs), list(curves)) == (list(RUNS), list(CURVES))
    done, waiting = (runs.set_index("run").loc[key] for key in (RUN.key, OTHER.key))
    assert (done["N"], done["D"], done["C"]) == (20608, 20480, 6.0 * 20608 * 20480)
    assert (done["loss"], done["status"], done["group"], done["seed"]) == (2.5, "finished", "a", 0)
    assert done["N_total"] - done["N_embedding"] == done["N"]
    assert done["trunk"] == waiting["trunk"]
    assert done["flops_marginal"] < done["flops"] == flops_of(RUN)
    assert waiting["status"] == "waiting" and math.isnan(waiting["loss"])
    assert set(curves["run"]) == {RUN.key}


def test_tables_of_a_sweep_without_any_row_are_empty_not_missing(tmp_path):
    runs, curves = collecting.collect(opened(tmp_path, RUN))
    assert len(runs) == 1 and len(curves) == 0
    assert list(curves) == list(CURVES)


def test_statuses_tell_finished_diverged_failed_running_and_waiting_apart(tmp_path):
    runs = [Run(width=w, depth=1, steps=10, lr=0.01, head_dim=8) for w in (8, 16, 24, 32, 40)]
    opened(tmp_path, *runs)
    records.append_rows(tmp_path, runs[0].key, [{"step": 0, "val_loss": 3.0}, {"step": 1}])
    records.write_final(tmp_path, runs[1].key, FINAL)
    records.write_final(tmp_path, runs[2].key, FINAL | {"status": "diverged", "loss": None, "steps": 7})
    failed = tmp_path / ".stacks" / records.read_run(tmp_path, runs[3].key)["stack"]
    failed.mkdir(parents=True)
    (failed / "failure.txt").write_text("Traceback ...")
    states = collecting.status(tmp_path).set_index("run").loc[[run.key for run in runs]]
    assert states["status"].tolist() == ["running", "finished", "diverged", "failed", "waiting"]
    assert states["step"].tolist() == [2, 10, 7, 0, 0]
    assert states["loss"].isna().tolist() == [False, False, True, True, True]
    table = collecting.collect(tmp_path)[0].set_index("run")
    assert math.isnan(table.loc[runs[2].key, "loss"])
    assert collecting.to_csv(table.reset_index()).count("diverged") == 1


def test_different_texts_are_not_mixed_silently(tmp_path):
    other = Run(**(RUN.model_dump() | {"corpus": "fedcba654321"}))
    opened(tmp_path, RUN, other)
    with pytest.raises(ScalingError, match=r"2 different texts.*abcdef123456 \(1 runs\).*--corpus abcdef123456"):
        collecting.collect(tmp_path)
    assert collecting.collect(tmp_path, corpus="fedcba654321")[0]["run"].tolist() == [other.key]
    with pytest.raises(ScalingError, match=r"no run .* is on the corpus x; there are: abcdef123456, fedcba654321"):
        collecting.collect(tmp_path, corpus="x")


def test_a_written_table_reads_back_exactly(tmp_path):
    opened(tmp_path, RUN)
    records.append_rows(tmp_path, RUN.key, rows(0, 10))
    _, curves = collecting.collect(tmp_path)
    collecting.write_csv(tmp_path / "new" / "curves.csv", curves)
    with (tmp_path / "new" / "curves.csv").open() as file:
        back = list(csv.DictReader(file))
    assert list(back[0]) == list(CURVES)
    assert [float(row["train_loss"]) for row in back] == [1 / (i + 3) for i in range(10)]
    assert {row["val_loss"] for row in back} == {""}


def test_a_folder_without_runs_says_what_to_give(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ScalingError, match="sweeps run GRID --out DIR"):
            collecting.collect(folder)


DOCUMENT = (Path(__file__).parents[1] / "docs" / "data-format.md").read_text()


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("runs.csv", RUNS),
        ("curves.csv", CURVES),
        ("Measured columns", {name: column for columns in MEASURED.values() for name, column in columns.items()}),
    ],
)
def test_the_documented_columns_are_those_of_the_tables(table, columns):
    section = DOCUMENT.split(f"\n## {table}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", section.replace("|  |", "| |").replace("| |", "|  |"), re.M)
    assert rows == [(c.name, c.unit, c.meaning) for c in columns.values()]


def test_the_documented_fields_are_those_of_the_records(tmp_path):
    opened(tmp_path, RUN)
    record = records.read_run(tmp_path, RUN.key)
    section = DOCUMENT.split("\n## run.json\n")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} == record.keys()
