"""Registered forecasts: a chain in which changes show, and a score that counts only what was a forecast."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from scaling.ledger import append_record, canonical, digest_of, read_records
from scaling.schedule import cosine, wsd
from scaling.scoring import binomial_interval, interval_score
from tests.test_curves import curves
from tests.test_fit import runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    runs().to_csv(tmp_path / "runs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chain(path: Path, count: int = 4) -> list[str]:
    for i in range(count):
        append_record(path, {"value": i + 0.25}, datetime(2026, 1, 1 + i, tzinfo=UTC))
    return path.read_text().splitlines(keepends=True)


def edited(line: str, redo: bool, **values: object) -> str:
    record = json.loads(line) | values
    if redo:
        record["digest"] = digest_of({k: v for k, v in record.items() if k != "digest"})
    return canonical(record) + "\n"


def test_an_untouched_chain_is_read_back(tmp_path: Path) -> None:
    chain(tmp_path / "f")
    records = read_records(tmp_path / "f")
    assert [r["value"] for r in records] == [0.25, 1.25, 2.25, 3.25]
    assert [r["before"] for r in records] == [None, *(r["digest"] for r in records[:-1])]
    assert records[2]["made"] == "2026-01-03T00:00:00Z"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: [x[0], edited(x[1], False, value=9), *x[2:]], "record 2 was changed"),
        (lambda x: [x[0], edited(x[1], True, value=9), *x[2:]], "record 3 does not follow record 2"),
        (lambda x: [x[0], x[1].replace("1.25", "1.250"), *x[2:]], "record 2 was changed"),
        (lambda x: [x[0], x[1].replace('{"before"', '{"value":9,"before"'), *x[2:]], "record 2 was changed"),
        (lambda x: [x[0], x[2], x[1], x[3]], "record 2 does not follow record 1"),
        (lambda x: [x[0], x[2], x[3]], "record 2 does not follow record 1"),
        (lambda x: x[1:], "the first records were removed"),
        (lambda x: [x[0], x[1], x[1], *x[2:]], "record 3 does not follow record 2"),
        (lambda x: [x[0], "[1]\n", *x[1:]], "line 2 is no record"),
        (lambda x: [*x[:3], x[3].rstrip("\n")], "cut short"),
        (lambda x: [*x[:3], edited(x[3], True, made="2025-01-01T00:00:00Z")], "dated before record 3"),
    ],
)
def test_a_change_is_found_and_nothing_is_appended_after_it(tmp_path: Path, change, says: str) -> None:
    path = tmp_path / "f"
    text = "".join(change(chain(path)))
    path.write_text(text)
    with pytest.raises(scaling.ScalingError, match=says):
        read_records(path)
    with pytest.raises(scaling.ScalingError, match=says):
        append_record(path, {"value": 5.0})
    assert path.read_text() == text


def test_what_is_cut_off_the_end_shows_only_against_a_published_head(folder: Path, capsys) -> None:
    assert main(["forecast", "runs.csv", "--at", "N=1e9,D=1e12", "--register", "f"]) == 0
    assert main(["forecast", "runs.csv", "--at", "N=1e9,D=2e12", "--register", "f"]) == 0
    first, last = (record["digest"] for record in read_records("f"))
    assert f"head {last}" in capsys.readouterr().err
    assert main(["score", "f", "--expect", first]) == 0
    assert main(["score", "f", "--expect", last[:16]]) == 0
    assert f"2 records, unbroken; head {last}" in capsys.readouterr().out
    path = Path("f")
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert main(["score", "f"]) == 0
    assert main(["score", "f", "--expect", last]) == 1
    assert "cut off its end" in capsys.readouterr().err


def test_records_written_at_once_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "f"
    threads = [threading.Thread(target=append_record, args=(path, {"value": i})) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r["value"] for r in read_records(path)) == list(range(12))


def test_a_forecast_is_scored_by_the_runs_that_meet_it(folder: Path, capsys) -> None:
    asked = ["--at", "N=1e9,D=1e12", "--at", "N=2e9,D=1e12", "--register", "f"]
    assert main(["forecast", "runs.csv", *asked, "--json"]) == 0
    point = json.loads(capsys.readouterr().out)[0]
    inside, above = point["loss"] * 1.001, point["hi"] + 0.1
    table = {"run": ["a", "b", "off"], "N": [1e9, 1.004e9, 1.05e9], "D": [1e12] * 3, "loss": [inside, above, 2.0]}
    pd.DataFrame(table).to_csv("later.csv", index=False)
    assert main(["score", "f", "later.csv", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert [(r["run"], r["inside"], r["known"]) for r in got["scored"]] == [("a", True, False), ("b", False, False)]
    assert got["scored"][0]["error"] == pytest.approx(1 / 1.001 - 1)
    assert got["scored"][1]["interval_score"] == pytest.approx(point["hi"] - point["lo"] + 20 * 0.1)
    [total] = got["totals"]
    assert (total["forecasts"], total["points"], total["inside"], total["coverage"]) == (2, 1, 1, 0.5)
    assert [r["N"] for r in got["open"]] == [2e9]
    assert main(["score", "f", "later.csv", "--tolerance", "0.06"]) == 0
    out = capsys.readouterr().out
    assert "1 of 3 forecasts (1 points) inside" in out and "1 point still open" in out


def test_a_run_that_was_in_the_file_is_no_forecast_even_if_it_was_filtered_out(folder: Path, capsys) -> None:
    table = pd.read_csv("runs.csv")
    last = table.sort_values("D").iloc[-1]
    at = f"N={last['N']},D={last['D']}"
    assert main(["forecast", "runs.csv", "--where", f"D < {last['D']}", "--at", at, "--register", "f"]) == 0
    capsys.readouterr()
    assert main(["score", "f", "runs.csv", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["scored"] and all(r["known"] for r in got["scored"])
    assert got["totals"] == []
    assert main(["score", "f", "runs.csv"]) == 0
    out = capsys.readouterr().out
    assert "NOT A FORECAST" in out and "no registered forecast has come due" in out
    table.assign(loss=table["loss"] * 1.01).to_csv("other.csv", index=False)  # other runs of the same sizes
    assert main(["score", "f", "other.csv"]) == 0
    assert "NOT A FORECAST" not in capsys.readouterr().out


def test_a_fit_is_registered_with_its_law_and_its_rows(folder: Path, capsys) -> None:
    assert main(["fit", "chinchilla", "runs.csv", "-o", "fit.json"]) == 0
    args = ["forecast", "fit.json", "--at", "N=1e9,D=1e12", "--resamples", "20", "--register", "f", "--run", "big"]
    assert main(args) == 0
    [record] = read_records("f")
    assert record["by"]["law"] == "chinchilla" and "L(N, D)" in record["by"]["equation"]
    assert record["by"]["coefficients"] == digest_of(dict(scaling.read_fit("fit.json").params))
    assert record["data"]["runs"] == len(pd.read_csv("runs.csv")) and len(record["data"]["sha256"]) == 64
    assert record["package"] == f"scaling {scaling.__version__}" and record["level"] == 0.9
    pd.DataFrame({"run": ["small", "big"], "N": 1e9, "D": 1e12, "loss": [2.0, 2.1]}).to_csv("later.csv", index=False)
    capsys.readouterr()
    assert main(["score", "f", "later.csv", "--json"]) == 0
    assert [r["run"] for r in json.loads(capsys.readouterr().out)["scored"]] == ["big"]
    assert main([*args, "--run", "more"]) == 1
    assert "--run names 2 runs and the forecast has 1 points" in capsys.readouterr().err


def test_a_schedule_is_known_again_by_its_rates_once_the_run_has_come_to_its_end(folder: Path, capsys) -> None:
    curves().to_csv("curves.csv", index=False)
    assert main(["fit", "tissue", "curves.csv", "--warmup", "100", "-o", "fit.json"]) == 0
    capsys.readouterr()
    spec = "wsd:steps=1600,peak=2e-3,warmup=100,cooldown=300"
    assert main(["forecast", "fit.json", "--schedule", spec, "--register", "f", "--json"]) == 0
    end = json.loads(capsys.readouterr().out)[-1]
    lrs = {"same": wsd(1600, 2e-3, 100, 300), "cosine": cosine(1600, 2e-3, 100), "peak": wsd(1600, 2.2e-3, 100, 300)}
    steps = np.arange(0, 1600, 3)
    table = pd.concat(
        [pd.DataFrame({"run": r, "step": steps, "lr": lr[steps], "loss": end["loss"]}) for r, lr in lrs.items()]
    )
    table.to_csv("later.csv", index=False)
    assert main(["score", "f", "later.csv", "--json"]) == 0
    assert [r["run"] for r in json.loads(capsys.readouterr().out)["scored"]] == ["same"]
    table[table["step"] < 1500].to_csv("later.csv", index=False)
    assert main(["score", "f", "later.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scored"] == []


def test_an_interval_score_and_a_binomial_interval_are_those_of_the_papers() -> None:
    assert interval_score(np.array([0.0, 1.5, 3.0]), 1.0, 2.0, 0.9) == pytest.approx([21.0, 1.0, 21.0])
    # Clopper & Pearson's exact limits, 9 of 10 at 95%: R 4.3, binom.test(9, 10)
    assert binomial_interval(9, 10) == pytest.approx((0.5549839, 0.9974714), abs=1e-6)
    assert binomial_interval(0, 10)[0] == 0 and binomial_interval(10, 10)[1] == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["score", "nothing"], "there is no file nothing"),
        (["score", "runs.csv"], "line 1 is no record"),
        (["score", "f", "runs.csv", "--tolerance", "2"], "the tolerance is a share"),
        (["score", "empty"], "holds no record yet"),
    ],
)
def test_mistakes_are_said_in_a_line(folder: Path, capsys, argv: list[str], says: str) -> None:
    chain(folder / "f", 1)
    (folder / "empty").write_text("")
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_the_examples_of_the_help_run(folder: Path, capsys) -> None:
    from scaling.commands.score import EXAMPLES

    assert main(["forecast", "runs.csv", "--at", "N=7e10,D=1.4e12", "--register", "forecasts.jsonl"]) == 0
    pd.DataFrame({"N": [7e10], "D": [1.4e12], "loss": [1.99]}).to_csv("results.csv", index=False)
    for example in EXAMPLES:
        words = example.partition("   (")[0].split()
        assert words[0] == "scaling" and main(words[1:]) == 0
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    assert "scaling score forecasts.jsonl results.csv" in capsys.readouterr().out
