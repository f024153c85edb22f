"""The command `sweeps`: what it prints, what it writes, and how it says that something is wrong."""

import csv
import io
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from sweeps import records
from sweeps.cli import main
from sweeps.grid import read_grid
from sweeps.plan import build_plan

GRID = """# Does the command work?
corpus = "texts"
head_dim = 8
context = 16
batch = 2
val_sequences = 4
lr = 0.01
depth = 1
width = 16
[[grid]]
name = "wsd"
steps = [8, 12]
cooldown = 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """The working folder of a test: a grid of two runs that share four steps, and its text."""
    (tmp_path / "texts").mkdir()
    for i in range(10):
        (tmp_path / "texts" / f"{i}.txt").write_text(f"text {i} says what it says. " * 20)
    (tmp_path / "grid.toml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_plan_prints_question_counts_and_costs(folder, capsys):
    assert main(["plan", "grid.toml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Does the command work?\n")
    for words in ("2 in 1 stacks; 1 trunks, 2 forks", "forking saves 20.0%", "an estimate"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 120


def test_plan_as_json_has_the_numbers_of_the_plan(folder, capsys):
    assert main(["plan", "grid.toml", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    plan = build_plan(read_grid("grid.toml").runs)
    assert (record["runs"], record["stacks"], record["forks"]) == (2, 1, 2)
    assert record["flops_alone"] == plan.flops_alone
    assert record["flops_shared"] == plan.flops_shared
    assert sum(row["flops_marginal"] for row in record["run_table"]) == pytest.approx(plan.flops_shared, rel=1e-12)
    assert (record["tokens_trained"], record["tokens_logged"]) == (16 * 32, 20 * 32)


def test_plan_says_when_the_text_is_read_more_than_once(folder, capsys):
    (folder / "long.toml").write_text(GRID.replace("[8, 12]", "[8, 12, 4000]"))
    assert main(["plan", "long.toml", "--json"]) == 0
    assert any(
        "times: laws of L(N, D) count fresh tokens" in note for note in json.loads(capsys.readouterr().out)["notes"]
    )


def test_plan_does_not_import_torch(folder):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sweeps.cli", "plan", "grid.toml"],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "sweeps.plan" in imported
    assert not {name for name in imported if name.split(".")[0] == "torch"}
    assert "2 in 1 stacks" in done.stdout


def test_a_seed_offset_changes_every_run(folder, capsys):
    keys = []
    for offset in ("0", "7"):
        main(["plan", "grid.toml", "--json", "--seed-offset", offset])
        keys.append({row["run"] for row in json.loads(capsys.readouterr().out)["run_table"]})
    assert not keys[0] & keys[1]
    assert all("-s7-" in key for key in keys[1])


def test_a_plan_tells_the_time_at_a_speed_that_is_given(folder, capsys):
    assert main(["plan", "grid.toml", "--json", "--speed", "1e6"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["seconds_estimate"] == (record["flops_shared"] + record["flops_validation"]) / 1e6
    assert main(["plan", "grid.toml", "--speed", "1e6"]) == 0
    assert "at 1e+06 FLOP/s" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["plan", "grid.toml", "--speed", "0"])
    assert "must be FLOP/s above 0" in capsys.readouterr().err


def test_curves_are_collected_with_as_many_rows_as_asked_for(folder, capsys, monkeypatch):
    run = read_grid("grid.toml").runs[0]
    records.open_run(folder / "out", run, stack="s", trunk="t", flops=1.0, flops_marginal=1.0)
    records.append_rows(folder / "out", run.key, [{"step": i, "lr": 0.01, "train_loss": 1 / (i + 1)} for i in range(9)])
    for asked, count in ((["--rows", "4"], 4), ([], 9)):
        assert main(["collect", "out", "--curves", *asked]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1 + count


def test_from_a_grid_to_tables(folder, capsys):
    pytest.importorskip("torch")
    command = ["run", "grid.toml", "--out", "out", "--workers", "1", "--threads", "1", "--device", "cpu"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out == "out: 2 runs finished, 0 diverged, 0 not done\n"
    assert "forking saves 20.0%" in err
    assert re.search(r"^steps \d.* s, validation .*, rest .*; .* tokens/s and .* FLOP/s in steps$", err, re.MULTILINE)
    assert len(list(Path("out").glob("corpus-*.json"))) == 1

    assert main(["status", "out"]) == 0
    assert "2 runs: 2 finished" in capsys.readouterr().out
    assert main(["status", "out", "--json"]) == 0
    assert [row["step"] for row in json.loads(capsys.readouterr().out)] == [12, 8]

    assert main(["collect", "out", "-o", "tables"]) == 0
    assert capsys.readouterr().out == "tables/runs.csv: 2 rows\ntables/curves.csv: 20 rows\n"
    runs, curves = (
        list(csv.DictReader(Path("tables", f"{name}.csv").read_text().splitlines())) for name in ("runs", "curves")
    )
    for run in runs:
        own = [row for row in curves if row["run"] == run["run"]]
        assert [int(row["step"]) for row in own] == list(range(int(run["steps"])))
        assert own[-1]["val_loss"] == run["loss"]
        assert float(own[-1]["flops"]) == float(run["flops"])
    assert main(["collect", "out"]) == 0
    assert list(csv.DictReader(io.StringIO(capsys.readouterr().out))) == runs
    assert main(["collect", "out", "--curves"]) == 0
    assert capsys.readouterr().out == Path("tables/curves.csv").read_text()

    before = {path: path.stat().st_mtime_ns for path in Path("out").glob("*/*.*")}
    assert main(command) == 0  # again: everything is done, nothing is touched
    assert "2 done before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*/*.*")} == before


def test_a_sweep_on_a_changed_text_does_not_mix_with_the_one_before(folder, capsys):
    for text in ("", "more"):
        (folder / "texts" / "0.txt").write_text(text or "text 0")
        main(["plan", "grid.toml", "--json"])
        record = json.loads(capsys.readouterr().out)
        plan = build_plan(run for run in read_grid("grid.toml").runs)
        for run in plan.runs:
            changed = type(run)(**(run.model_dump() | {"corpus": record["corpus"]["digest"]}))
            records.open_run("out", changed, stack="s", trunk="t", flops=1.0, flops_marginal=1.0)
    assert main(["collect", "out"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sweeps: the runs in out are on 2 different texts") and err.count("\n") == 1
    assert main(["collect", "out", "--corpus", record["corpus"]["digest"]]) == 0
    assert "2 of 2 runs are not done" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "nowhere.toml"], "there is no grid file nowhere.toml"),
        (["plan", "bad.toml"], "bad.toml, above the blocks: unknown key 'lrr'; did you mean lr"),
        (["plan", "large.toml"], "the training text of the corpus"),
        (["plan", "lost.toml"], "the corpus must be 'stdlib', a folder or a glob of text files"),
        (["run", "grid.toml", "--out", "grid.toml/out"], "cannot write grid.toml/out"),
        (
            ["run", "grid.toml", "--out", "out", "--device", "tpu"],
            "device must be cpu, cuda or cuda:<number>, got 'tpu'",
        ),
        (["status", "nowhere"], "no folder nowhere"),
        (["collect", "texts"], "no runs in texts"),
        (["collect", "begun", "-o", "grid.toml/tables"], "cannot write grid.toml/tables"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_1(folder, capsys, arguments, message):
    if arguments[0] == "run":
        pytest.importorskip("torch")
    (folder / "bad.toml").write_text(GRID.replace("lr =", "lrr ="))
    (folder / "large.toml").write_text(GRID.replace("context = 16", "context = 50000"))
    (folder / "lost.toml").write_text(GRID.replace('"texts"', '"lost"'))
    (run,) = read_grid("grid.toml").runs[:1]
    records.open_run("begun", run, stack="s", trunk="t", flops=1.0, flops_marginal=1.0)
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("sweeps: ") and message in last


@pytest.mark.parametrize("arguments", [[], ["plan"], ["plann", "x"], ["plan", "demo", "--seed-offset", "-1"],
                                       ["run", "demo"], ["run", "demo", "--out", "x", "--workers", "0"]])  # fmt: skip
def test_wrong_usage_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: sweeps" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["plan"], ["run"], ["status"], ["collect"], ["coordinates"]])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "examples:\n  sweeps " in capsys.readouterr().out


def test_training_without_torch_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "sweeps.pool", raising=False)
    monkeypatch.delattr("sweeps.pool", raising=False)
    monkeypatch.setitem(sys.modules, "sweeps.train", None)
    assert main(["run", "grid.toml", "--out", "out"]) == 1
    assert "pip install 'scaling-sweeps[sweeps]'" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_finished_run_without_its_curve_is_named(folder, capsys):
    (run,) = read_grid("grid.toml").runs[:1]
    records.open_run("out", run, stack="s", trunk="t", flops=1.0, flops_marginal=1.0)
    records.write_final("out", run.key, {"status": "finished", "steps": run.steps, "loss": 3.0})
    (Path("out") / run.key / "curve.csv").unlink()
    assert main(["collect", "out", "-o", "tables"]) == 0
    assert f"1 finished runs have no curve, {run.key} first" in capsys.readouterr().err


def test_a_plan_of_absurd_width_is_estimated_in_little_memory(folder, capsys):
    (folder / "wide.toml").write_text(re.sub(r"width = .*", "width = 32000", GRID))
    tracemalloc.start()
    assert main(["plan", "wide.toml"]) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e9


def test_a_closed_pipe_ends_quietly(folder):
    (run,) = read_grid("grid.toml").runs[:1]
    records.open_run("out", run, stack="s", trunk="t", flops=1.0, flops_marginal=1.0)
    rows = [{"step": i, "lr": 1 / (i + 3)} for i in range(10_000)]  # more than a pipe holds
    records.append_rows("out", run.key, rows)
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "collect", "out", "--curves"],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 1
    assert "Traceback" not in said and "Exception" not in said
    process.stderr.close()
