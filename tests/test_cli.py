from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.cli import main
from tests.test_curves import curves
from tests.test_fit import runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = runs().assign(C=lambda t: 6 * t["N"] * t["D"], trunk=lambda t: t["run"])
    table["group"] = np.where(table["C"] > 2e20, "held_out", "grid")
    table.to_csv(tmp_path / "runs.csv", index=False)
    curves().to_csv(tmp_path / "curves.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_fit_writes_json_that_comes_back_as_the_same_fit(folder: Path, capsys) -> None:
    code, out, err = run(capsys, "fit", "chinchilla", "runs.csv", "--json")
    assert (code, err) == (0, "")
    found = scaling.fit("chinchilla", scaling.read_table(folder / "runs.csv"))
    back = scaling.from_json(out)
    assert dict(back.params) == dict(found.params)
    assert back.value == found.value == json.loads(out)["value"]
    assert back.problems == found.problems and back.notes == found.notes
    pd.testing.assert_frame_equal(
        scaling.forecast(scaling.bootstrap(back, 50), N=1e10, D=1e12),
        scaling.forecast(scaling.bootstrap(found, 50), N=1e10, D=1e12),
    )


def test_a_curve_fit_comes_back_with_its_schedules(folder: Path, capsys) -> None:
    code, out, _ = run(capsys, "fit", "tissue", "curves.csv", "--warmup", "100", "--json")
    assert code == 0
    found = scaling.fit("tissue", scaling.read_curves(folder / "curves.csv", warmup=100))
    lr = np.full(500, 1e-3)
    np.testing.assert_array_equal(scaling.from_json(out).predict(schedule=lr), found.predict(schedule=lr))


def test_dropped_rows_survive_the_round_trip(folder: Path) -> None:
    table = runs()
    table.loc[3, "loss"] = np.nan
    found = scaling.fit("chinchilla", table)
    pd.testing.assert_frame_equal(scaling.from_json(scaling.to_json(found)).dropped, found.dropped)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "not a fit"),
        ('{"law": "chinchilla", "params": {}, "schema": 1}', "has parameters E, A"),
        ('{"law": "chinchilla", "params": {}, "schema": 9}', "schema 9"),
        ('{"law": "nolaw", "params": {}, "schema": 1}', "no law of ours"),
        ('{"law": "power", "params": {"L_inf": 1, "x0": 1, "alpha": 1}, "schema": 1}', "damaged"),
    ],
)
def test_a_file_that_is_no_fit_is_refused(text: str, says: str) -> None:
    with pytest.raises(scaling.ScalingError, match=says):
        scaling.from_json(text)


def test_forecast_and_optimum_read_the_fit_and_warn_about_distance(folder: Path, capsys) -> None:
    run(capsys, "fit", "chinchilla", "runs.csv", "-o", "fit.json")
    code, out, err = run(capsys, "forecast", "fit.json", "--at", "N=7e10,D=1.4e12", "--at", "N=1e9,D=1e10", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [r["N"] for r in rows] == [7e10, 1e9]
    assert rows[0]["lo"] < rows[0]["loss"] < rows[0]["hi"]
    assert "outside the fitted" in err and "rehearsal" in err
    code, out, _ = run(capsys, "optimum", "fit.json", "--flops", "1e22,1e24", "--json")
    assert [r["C"] for r in json.loads(out)] == [1e22, 1e24]
    code, out, _ = run(capsys, "forecast", "fit.json", "--at", "N=7e10,D=1.4e12")
    assert "beyond" in out and "outside the fitted" in out


def test_a_curve_is_forecast_under_a_schedule_by_name_or_file(folder: Path, capsys) -> None:
    run(capsys, "fit", "tissue", "curves.csv", "--warmup", "100", "-o", "g.json")
    spec = "wsd:steps=1000,peak=2e-3,warmup=100,cooldown=200,shape=linear"
    code, out, _ = run(capsys, "forecast", "g.json", "--schedule", spec, "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 1000
    pd.DataFrame({"lr": scaling.schedule.wsd(1000, 2e-3, 100, 200, "linear")}).to_csv("s.csv", index=False)
    code, again, _ = run(capsys, "forecast", "g.json", "--schedule", "s.csv", "--json")
    assert json.loads(again)[-1]["loss"] == pytest.approx(rows[-1]["loss"], rel=1e-12)


def test_holdout_prints_forecast_interval_actual_and_error_and_writes_a_folder(folder: Path, capsys) -> None:
    code, out, _ = run(
        capsys, "holdout", "chinchilla", "runs.csv", "--hold", 'group == "held_out"', "-o", "out", "--resamples", "100"
    )
    assert code == 0
    for word in ("forecast", "90% interval", "actual", "error", "inside"):
        assert word in out
    assert {p.name for p in (folder / "out").iterdir()} == {"forecast.csv", "fit.json", "forecast.png"}
    assert len(pd.read_csv("out/forecast.csv")) == (pd.read_csv("runs.csv")["group"] == "held_out").sum()


def test_holdout_forecasts_whole_curves_of_held_out_runs(folder: Path, capsys) -> None:
    table = runs()
    names = ["cosine", "constant", "wsd"]
    extra = pd.DataFrame({"run": names, "N": 5e8, "D": [1e10, 1.1e10, 6e11], "loss": 2.9})
    table = pd.concat([table, extra], ignore_index=True).assign(C=lambda t: 6 * t["N"] * t["D"])
    table.to_csv("runs.csv", index=False)
    curves().assign(tokens=lambda t: (t["step"] + 1) * 1e6).to_csv("curves.csv", index=False)
    code, out, _ = run(
        capsys,
        "holdout",
        "chinchilla",
        "runs.csv",
        "--hold",
        "D > 2e11",
        "--curves",
        "curves.csv",
        "--curve-where",
        "step >= 200",
        "-o",
        "o",
    )
    assert code == 0, out
    assert "wsd: 180 points" in out
    assert (folder / "o" / "curve_forecast.png").stat().st_size > 10_000
    assert set(pd.read_csv("o/curve_forecast.csv")["run"]) == {"wsd"}


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plots_are_written_in_the_format_of_their_name(folder: Path, capsys, ending: str) -> None:
    run(capsys, "fit", "chinchilla", "runs.csv", "-o", "fit.json")
    code, _, _ = run(capsys, "plot", "fit.json", "-o", f"x.{ending}", "--resamples", "50")
    assert code == 0
    start = Path(f"x.{ending}").read_bytes()[:60]
    assert {"png": b"PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending] in start
    code, _, err = run(capsys, "plot", "fit.json", "-o", "x.gif", "--resamples", "50")
    assert code == 1 and "must end in .png" in err


def test_laws_are_listed_and_shown(capsys) -> None:
    assert "chinchilla" in run(capsys, "laws")[1]
    assert "besiroglu2024: E=1.8172" in run(capsys, "laws", "chinchilla")[1]
    assert len(json.loads(run(capsys, "laws", "--json")[1])) == len(scaling.laws.LAWS)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["fit", "chinchila", "runs.csv"], "did you mean chinchilla"),
        (["fit", "runs.csv", "chinchilla"], "the law comes first"),
        (["fit", "chinchilla", "nothing.csv"], "there is no file nothing.csv"),
        (["fit", "chinchilla", "runs.csv", "--where", "Q > 1"], "a column 'Q'"),
        (["fit", "chinchilla", "runs.csv", "--map", "N=nope"], "column 'nope'"),
        (["fit", "chinchilla", "runs.csv", "--warmup", "3"], "laws of whole curves"),
        (["fit", "chinchilla", "curves.csv"], "Missing: N, D"),
        (["fit", "tissue", "runs.csv"], "Missing: step, lr"),
        (["fit", "chinchilla", "runs.csv", "--seed", "-1"], "a seed is a whole number from 0 up"),
        (["forecast", "nofit.json", "--at", "N=1,D=1"], "there is no file nofit.json"),
        (["plot", "runs.csv", "-o", "x.png"], "not JSON"),
        (["forecast", "runs.csv", "--at", "C=1e20"], "takes N= and D="),
        (["forecast", "runs.csv"], "say where"),
        (["fit", "chinchilla"], "say what to fit chinchilla to"),
        (["fit", "curves.csv"], "no law of finished runs reads"),
        (["fit", "runs.csv", "--fix", "E=1"], "of one law"),
        (["compare", "runs.csv", "--laws", "tissue"], "whole curves"),
        (["holdout", "tissue", "curves.csv", "--hold", "step > 3"], "--curve-law"),
    ],
)
def test_mistakes_are_one_line_on_stderr_and_exit_1(folder: Path, capsys, argv: list[str], says: str) -> None:
    code, out, err = run(capsys, *argv)
    assert code == 1
    assert out == ""
    assert err.startswith("scaling: ") and err.count("\n") == 1
    assert says in err


def test_strict_turns_problems_into_an_error(folder: Path, capsys) -> None:
    runs(sizes=1, horizons=20).to_csv("one.csv", index=False)
    assert run(capsys, "fit", "chinchilla", "one.csv")[0] == 0
    code, out, err = run(capsys, "fit", "chinchilla", "one.csv", "--strict")
    assert code == 1 and "PROBLEM" in out and "--strict" in err


@pytest.mark.parametrize("argv", [["fit"], ["fit", "chinchilla", "runs.csv", "--fix", "E"], ["bogus"], []])
def test_wrong_usage_exits_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2


def test_stdin_is_a_dash_and_a_closed_pipe_is_no_traceback(folder: Path) -> None:
    command = f"cat runs.csv | {sys.executable} -m scaling.cli fit chinchilla - | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(scaling.__file__).parents[1])},
    )
    assert done.stdout.startswith("chinchilla: L(N, D)")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(folder: Path, capsys) -> None:
    code, _, err = run(capsys, "fit", "chinchilla", "runs.csv", "-o", "/dev/full")
    assert code == 1
    assert err.startswith("scaling: No space left on device") and err.count("\n") == 1


def test_a_result_that_cannot_be_written_is_still_printed_and_the_old_file_stays(folder: Path, capsys) -> None:
    code, out, err = run(capsys, "fit", "chinchilla", "runs.csv", "-o", "no/such/fit.json")
    assert code == 1 and "objective" in out and err.count("\n") == 1
    (folder / "fit.json").write_text("what was there")
    script = f"ulimit -f 2; {sys.executable} -m scaling.cli fit chinchilla runs.csv -o fit.json"
    there = os.environ | {"PYTHONPATH": str(Path(scaling.__file__).parents[1])}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=there)
    assert done.returncode != 0 and "fit.json" in done.stderr
    assert (folder / "fit.json").read_text() == "what was there"
    assert not list(folder.glob(".*partial*"))


def test_published_coefficients_can_be_forecast(folder: Path, capsys) -> None:
    values = scaling.laws.LAWS["chinchilla"].published["besiroglu2024"]
    held = ",".join(f"{k}={v}" for k, v in values.items())
    assert run(capsys, "fit", "chinchilla", "runs.csv", "--fix", held, "-o", "fit.json")[0] == 0
    code, out, _ = run(capsys, "forecast", "fit.json", "--at", "N=7e10,D=1.4e12", "--json")
    assert code == 0 and json.loads(out)[0]["loss"] == pytest.approx(1.9738819, rel=1e-7)


def test_every_command_explains_itself_with_an_example(capsys) -> None:
    for command in ("laws", "fit", "compare", "forecast", "optimum", "holdout", "plot"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert f"examples:\n  scaling {command}" in capsys.readouterr().out


def test_reading_from_a_stream_needs_no_file() -> None:
    stream = io.StringIO(runs().to_csv(index=False))
    assert len(scaling.read_table(stream)) == 48


def test_no_resamples_are_refused_and_a_name_given_twice_is(folder: Path, capsys) -> None:
    table = str(folder / "runs.csv")
    code, _, err = run(capsys, "forecast", table, "--at", "N=1e10,D=1e12", "--resamples", "0")
    assert code == 1
    assert "at least 2 resamples, got 0" in err
    with pytest.raises(SystemExit):
        main(["forecast", table, "--at", "N=1e9,N=1e10,D=1e12"])
    assert "N is given twice" in capsys.readouterr().err
