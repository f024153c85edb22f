"""Files that mean harm, or are merely broken: a clear error, bounded memory, and nothing executed."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.exports import to_csv
from scaling.readers import bounds
from scaling.readers.formats import read_log
from scaling.readers.tensorboard import masked_crc
from tests.test_readers import LOGS

EVENTS = next((LOGS / "tensorboard" / "gpt-small").glob("*.0"))
WANDB = next((LOGS / "wandb").rglob("*tinysmall.wandb"))


def refused(path: Path, says: str) -> None:
    with pytest.raises(scaling.TableError, match=says) as error:
        scaling.read_table(path)
    assert len(str(error.value)) < 1000


def test_a_million_columns_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(1_000_000)) + "\n" + "1," * 999_999 + "1\n")
    begun = time.process_time()
    refused(path, "a line of more than 1,048,576 bytes")
    path.write_text("," * 400_000 + "\n" + "," * 400_000)
    refused(path, "400,001 columns; a table may have 10,000")
    assert time.process_time() - begun < 5


def test_a_line_of_a_hundred_megabytes_is_refused_within_a_few_megabytes(tmp_path: Path) -> None:
    for name, head in {"long.csv": b"N,D,loss\n1,2,3\n", "long.jsonl": b'{"N": 1}\n'}.items():
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(head)
            for _ in range(100):
                file.write(b"9" * 2**20)
        tracemalloc.start()
        refused(path, "a line of more than 1,048,576 bytes")
        assert tracemalloc.get_traced_memory()[1] < 2e7
        tracemalloc.stop()


def test_what_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b"N,D,loss\n")
        for _ in range(100):
            file.write(b"1,2,3\n" * 2**17)
    assert path.stat().st_size < 1e6
    tracemalloc.start()
    refused(path, "unpacks to more than 200 times its size")
    assert tracemalloc.get_traced_memory()[1] < 2e8
    tracemalloc.stop()


def test_more_text_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 10_000)
    path = tmp_path / "t.csv"
    path.write_text("N,D,loss\n" + "1e7,1e9,3\n" * 2000)
    refused(path, "more than 10,000 bytes of text")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(b"N,D,loss\n1,2,3\n" * 100)[:-9], "cannot read .* as a CSV"),
        (b"\x1f\x8b\x08\x00rubbish", "cannot read .* as a CSV"),
        (b"N,D,loss\n1e7,1e9,\xff\xfe3\n", "cannot read .* as a CSV: 'utf-8' codec"),
        (b"N,D,loss,run\n1e7,1e9,3,\xc3\xa9\n1e7,1e9,3,\xe9\n", "cannot read .* as a CSV: 'utf-8' codec"),
        (b"N,D,loss,loss\n1,2,3,4\n", "more than one column named loss"),
        (b"N,D,loss\n1,2,3,4,5\n1,2,3\n", "cannot read|Length"),
        (b"\x00" * 5000, "no rows|is empty|Missing"),
        (b"", "is empty"),
        (b"\n\n\n", "is empty"),
    ],
    ids=["cut gz", "no gz", "no utf-8", "two encodings", "a name twice", "ragged", "zeros", "empty", "blank"],
)
def test_broken_tables_are_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    try:
        table = scaling.read_table(path)
    except scaling.TableError as error:
        assert pd.Series([str(error)]).str.contains(says)[0], error
    else:
        with pytest.raises(scaling.TableError):
            scaling.fit("chinchilla", table)


@pytest.mark.parametrize("word", ["9" * 5000, "1e999", "NaN", "-Infinity", "Infinity"])
def test_numbers_beyond_all_bounds_are_dropped_with_a_reason(tmp_path: Path, word: str) -> None:
    good = "\n".join(f'{{"N": {n}e7, "D": {d}e9, "loss": {3 + 1 / n + 1 / d}}}' for n in (1, 2, 5) for d in (1, 3, 9))
    (tmp_path / "t.jsonl").write_text(f'{good}\n{{"N": 1e7, "D": 1e9, "loss": {word}}}\n')
    found = scaling.fit("chinchilla", scaling.read_table(tmp_path / "t.jsonl"), fix={"E": 2.0})
    assert found.dropped["row"].tolist() == [9]
    assert pd.Series(found.dropped["reason"]).str.contains("infinite|missing|not above 0")[0]


@pytest.mark.parametrize("depth", [500, 200_000])
@pytest.mark.parametrize("name", ["trainer_state.json", "wandb-summary.json", "t.jsonl"])
def test_deep_json_is_refused(tmp_path: Path, name: str, depth: int) -> None:
    text = '{"a":' * depth + "1" + "}" * depth
    (tmp_path / name).write_text(text if name == "t.jsonl" else f'{{"log_history": [], "b": {text}}}')
    source = tmp_path / name if name == "t.jsonl" else tmp_path
    with pytest.raises(scaling.TableError):
        scaling.read_table(source)


def test_yaml_builds_no_objects_and_unfolds_no_aliases(tmp_path: Path) -> None:
    run = tmp_path / "mlruns" / "1" / "r"
    (run / "metrics").mkdir(parents=True)
    (run / "metrics" / "val_loss").write_text("1 3.5 0\n")
    made = tmp_path / "made"
    for evil in (
        f"x: !!python/object/apply:os.system ['touch {made}']",
        f"x: !!python/object/new:os.system [touch {made}]",
    ):
        (run / "meta.yaml").write_text(f"run_name: a\n{evil}\n")
        scaling.read_table(tmp_path / "mlruns")
        assert not made.exists()
    (run / "meta.yaml").write_text("a: &a [1,1]\nb: [*a,*a]\n")
    refused(tmp_path / "mlruns", "refers to parts of itself")
    (run / "meta.yaml").write_text("[" * 3000)
    refused(tmp_path / "mlruns", "nested too deeply|cannot read .* as YAML")
    (run / "meta.yaml").write_text("a: [unclosed")
    refused(tmp_path / "mlruns", "cannot read .* as YAML")


def test_formulas_stay_text_and_are_disarmed_where_tables_are_written(tmp_path: Path, capsys) -> None:
    names = ['=HYPERLINK("http://x")', "+cmd|' /C calc'!A0", "@SUM(1)", "-5", "plain", "<script>alert(1)</script>"]
    table = pd.DataFrame({"run": names, "N": 1e7, "D": 1e9, "loss": np.linspace(3, 4, 6), "=col": 1})
    table.to_csv(tmp_path / "t.csv", index=False)
    read = scaling.read_table(tmp_path / "t.csv")
    assert read["run"].tolist() == names
    assert main(["read", str(tmp_path / "t.csv"), "-o", str(tmp_path / "o")]) == 0
    assert "4 cells that begin like a formula got an apostrophe" in capsys.readouterr().err
    written = pd.read_csv(tmp_path / "o" / "runs.csv")
    assert written["run"].tolist() == ["'" + n for n in names[:3]] + names[3:]
    assert "'=col" in written.columns and to_csv(pd.DataFrame({"a": ["-1.5", 2.5]}))[1] == 0


def test_names_of_runs_are_never_paths(tmp_path: Path) -> None:
    names = ["../../evil", "/etc/evil", "a/../../b", "\\\\server\\x", "con", "x" * 5000]
    pd.DataFrame({"run": names, "N": 1e7, "D": 1e9, "loss": 3.0}).to_csv(tmp_path / "t.csv", index=False)
    assert main(["read", str(tmp_path / "t.csv"), "-o", str(tmp_path / "o" / "p")]) == 0
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert written == ["o/p/runs.csv", "t.csv"]


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    (folder / "mlruns" / "1" / "r").mkdir(parents=True)
    (tmp_path / "secret").write_text("1 9.9 0\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "trainer_state.json").write_text("{}")
    (folder / "link").symlink_to(tmp_path / "out")
    (folder / "trainer_state.json").symlink_to(tmp_path / "out" / "trainer_state.json")
    refused(folder, "without a log that is known")


def test_a_folder_of_very_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_FILES", 50)
    for i in range(60):
        (tmp_path / f"{i}.log").touch()
    refused(tmp_path, "more than 50 files")


# --- event files ---


def _event_folder(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "events.out.tfevents.1.host.1").write_bytes(data)
    return tmp_path


def test_an_event_file_that_was_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    data = EVENTS.read_bytes()
    whole = read_log(_event_folder(tmp_path, data))[1]
    for length in (len(data) - 3, len(data) - 30, len(data) // 2):
        part = read_log(_event_folder(tmp_path, data[:length]))[1]
        assert len(part.curves) <= len(whole.curves)
        assert any("end within a record" in note for note in part.notes)


@pytest.mark.parametrize("at", [0, 9, 30, 200, 2000])
def test_an_event_file_with_a_wrong_bit_is_refused(tmp_path: Path, at: int) -> None:
    data = bytearray(EVENTS.read_bytes())
    data[at] ^= 4
    refused(_event_folder(tmp_path, bytes(data)), "checksum")


def _record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_record(b"\x2a\xff\xff\xff\x7f"), "longer than its record"),  # a summary of 268 million bytes
        (_record(b"\x10" + b"\xff" * 20), "has no end"),
        (_record(b"\x2b"), "unknown kind"),
        (_record(b""), "no scalar"),
        (struct.pack("<Q", 2**62) + struct.pack("<I", masked_crc(struct.pack("<Q", 2**62))), "no scalar"),
        (b"\x00" * 64, "no event file"),
        (b"", "no scalar"),
    ],
    ids=["long field", "endless varint", "bad wire type", "nothing", "huge record", "zeros", "empty"],
)
def test_records_that_lie_about_themselves_are_refused(tmp_path: Path, data: bytes, says: str) -> None:
    refused(_event_folder(tmp_path, data), says)


def test_random_damage_never_ends_in_anything_but_a_clear_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = {"events.out.tfevents.1.h": EVENTS, "run-x.wandb": WANDB}
    for name, source in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        for _ in range(40):
            data = bytearray(source.read_bytes()[: int(rng.integers(1, 4000))])
            for at in rng.integers(0, len(data), int(rng.integers(0, 4))):
                data[at] = int(rng.integers(256))
            (folder / name).write_bytes(bytes(data))
            try:
                read_log(folder)
            except scaling.TableError as error:
                assert str(folder) in str(error)


def test_the_checksum_is_that_of_the_format() -> None:
    # RFC 3720 (iSCSI), appendix B.4: CRC-32C of 32 zero bytes is 0x8a9136aa; masked as TFRecord does
    crc = 0x8A9136AA
    assert masked_crc(b"\x00" * 32) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# --- W&B's log ---


def test_a_wandb_log_that_was_cut_short_is_a_run_that_goes_on(tmp_path: Path) -> None:
    data = WANDB.read_bytes()
    (tmp_path / "run-x.wandb").write_bytes(data[: len(data) // 2])
    log = read_log(tmp_path)[1]
    assert log.runs["status"].tolist() == ["running"] and 5 < len(log.curves) < 41
    refused(tmp_path, "its status is running")


def test_a_damaged_wandb_log_is_refused(tmp_path: Path) -> None:
    data = bytearray(WANDB.read_bytes())
    data[3000] ^= 1
    (tmp_path / "run-x.wandb").write_bytes(bytes(data))
    refused(tmp_path, "a record's checksum is wrong")
    (tmp_path / "run-x.wandb").write_bytes(b"rubbish")
    refused(tmp_path, "does not begin as a .wandb file")


# --- MLflow's database ---


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("CREATE TABLE a (b)", "without MLflow's table runs, params, metrics"),
        ("CREATE VIEW runs AS SELECT load_extension('x'); CREATE TABLE params (a); CREATE TABLE metrics (a)", "runs"),
        ("CREATE TABLE runs (a); CREATE TABLE params (a); CREATE TABLE metrics (a)", "no such column"),
        ("CREATE TABLE runs (run_uuid, name, status, lifecycle_stage); CREATE TABLE params (run_uuid, key, value); "
         "CREATE TABLE metrics (run_uuid, key, value, step, is_nan, timestamp)", "without a run"),
    ],
    ids=["other tables", "a view", "other columns", "empty"],
)  # fmt: skip
def test_a_database_that_is_no_store_of_mlflow_is_refused(tmp_path: Path, script: str, says: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.executescript(script)
    refused(tmp_path / "mlflow.db", says)


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    data = (LOGS / "mlflow_database" / "mlflow.db").read_bytes()
    (tmp_path / "mlflow.db").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "mlflow.db", "as a store of MLflow")
    (tmp_path / "mlflow.db").write_bytes(data[:100] + b"\xff" * 4000)
    refused(tmp_path, "as a store of MLflow")


# --- other logs ---


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("trainer_state.json", "{", "as JSON"),
        ("trainer_state.json", "[]", "no log_history"),
        ("trainer_state.json", '{"log_history": []}', "nothing was logged"),
        ("t.jsonl", '{"a": 1}\n{"a": \n{"a": 2}\n', "line 2"),
        ("t.jsonl", "[1, 2]\n", "expected an object"),
        ("t.parquet", "PAR1rubbish", "as Parquet"),
    ],
)
def test_broken_files_of_json_and_parquet_are_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text)
    try:
        table = scaling.read_table(tmp_path / name)
    except scaling.TableError as error:
        assert pd.Series([str(error)]).str.contains(says)[0], error
    else:
        with pytest.raises(scaling.TableError, match="reads N, D, loss"):
            scaling.fit("chinchilla", table)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "step.__class__", "(lambda: 1)()", "step ** 9", "'a'", "step > 1", "1 if",
        "step if 1 else 2", "[step]", "open('x')", "step @ step", "(" * 400 + "1" + ")" * 400, "step + " * 200 + "1",
    ],
)  # fmt: skip
def test_text_that_is_no_arithmetic_is_never_run(text: str) -> None:
    table = pd.DataFrame({"step": [1.0], "loss": [3.0]})
    with pytest.raises(scaling.ScalingError, match="arithmetic"):
        scaling.read_table(table, reading=scaling.Reading(set={"D": text}))


def test_more_cells_or_values_than_the_limits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_CELLS", 5000)
    (tmp_path / "t.csv").write_text("a,b,c\n" + "1,2,3\n" * 2000)
    refused(tmp_path / "t.csv", "3 columns and .* rows or more; a table may have 5,000 cells")
    (tmp_path / "t.jsonl").write_text("".join(f'{{"a{i}": 1}}\n' for i in range(100)))
    refused(tmp_path / "t.jsonl", "71 columns and 71 rows or more")
    monkeypatch.setattr(bounds, "MOST_VALUES", 50)
    for name in ("tensorboard", "mlflow", "wandb"):
        refused(LOGS / name, "more than 50 logged values")


@pytest.mark.parametrize(
    "line",
    ["step 1/2 " + "| loss: 1 |" * 40_000, "number of parameters: " + "1," * 200_000, "total" + " " * 400_000],
)
def test_lines_that_are_slow_to_match_are_not_looked_at_whole(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.log").write_text(line + "\nstep 5: train loss 3.0, val loss 3.1\n")
    begun = time.process_time()
    assert scaling.read_table(tmp_path / "t.log")["loss"].tolist() == [3.1]
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["(" + " " * 50_000, "_" * 50_000, "((" * 50_000, "x" * 50_000])
def test_names_of_columns_that_are_slow_to_match_are_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text(f"{name},N,loss\n1,1e7,3\n")
    begun = time.process_time()
    table = scaling.read_table(tmp_path / "t.csv")
    with pytest.raises(scaling.TableError) as error:
        scaling.fit("chinchilla", table)
    assert time.process_time() - begun < 5 and len(str(error.value)) < 1000
