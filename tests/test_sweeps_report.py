"""`sweeps report`: one page on a sweep, also while it runs."""

from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path

import pytest

from scaling.errors import ScalingError
from sweeps import collecting, records, reporting
from sweeps.cli import main
from sweeps.counting import parameter_counts
from sweeps.runs import Run
from tests.test_records import FINAL, opened

EVIL = "<script>alert(1)</script>"


def _run(width: int, steps: int, group: str = "grid") -> Run:
    return Run(width=width, depth=1, steps=steps, lr=0.01, warmup=2, cooldown=3, group=group, corpus="abcdef123456")


def _rows(stop: int, loss: float) -> list[dict]:
    return [
        {"step": i, "tokens": (i + 1) * 2048, "train_loss": loss, "val_loss": loss + 1 / (i + 1) if i % 2 else None}
        for i in range(stop)
    ]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Four runs: one finished, one half way, one failed, one waiting."""
    done, half, failed, waiting = _run(16, 10), _run(24, 20), _run(32, 12, EVIL), _run(40, 10)
    out = opened(tmp_path / "sweep", done, half, failed, waiting)
    records.append_rows(out, done.key, _rows(10, 2.5))
    records.write_final(out, done.key, FINAL)
    records.append_rows(out, half.key, _rows(10, 3.5))
    records.append_rows(out, failed.key, _rows(4, 4.5))
    records.write_failure(out, records.read_run(out, failed.key)["stack"], f"RuntimeError: out of memory {EVIL}")
    return out


def _cards(text: str) -> dict[str, str]:
    return dict(re.findall(r'<div class="card"><span>([^<]*)</span><b>([^<]*)</b>', text))


def test_the_page_says_how_far_the_sweep_is(sweep: Path) -> None:
    text = reporting.report(sweep)
    shown = _cards(text)
    assert shown["runs ended"] == "1 of 4" and shown["lowest loss so far"] == "2.5000"
    for state in ("finished", "running", "failed", "waiting"):
        assert f"<td>{state}</td>" in text
    assert "out of memory" in text and EVIL not in text and "&lt;script&gt;" in text
    assert text.count("<svg ") == 1 and "of 3 runs" in text
    assert "1 runs are finished; laws are fitted from 8 on" in text


def test_the_time_left_is_what_the_pace_so_far_says(sweep: Path) -> None:
    states, (runs, _) = collecting.status(sweep), collecting.collect(sweep)
    begun = [run for run, step in zip(states["run"], states["step"], strict=True) if step]
    for run in begun:
        os.utime(sweep / run / "run.json", (time.time() - 1000,) * 2)
    cost = runs.set_index("run")["flops_marginal"]
    share = {row["run"]: 1.0 if row["status"] == "finished" else row["step"] / row["steps"]
             for row in states.to_dict("records")}  # fmt: skip
    of = {row["run"]: row["status"] for row in states.to_dict("records")}
    left = sum(cost[run] * (1 - share[run]) for run in share if of[run] in ("running", "waiting"))
    pace = sum(cost[run] * share[run] for run in share) / 1000
    assert reporting.seconds_left(sweep, states, runs) == pytest.approx(left / pace, rel=0.01)
    quiet = states.assign(idle=reporting.QUIET + 1)
    assert reporting.seconds_left(sweep, quiet, runs) is None


def test_a_sweep_that_has_not_begun_has_a_page(tmp_path: Path) -> None:
    text = reporting.report(opened(tmp_path / "sweep", _run(16, 10)))
    assert "No validation loss is logged yet" in text and _cards(text)["time left"] == "unknown"


def test_finished_runs_are_fitted(tmp_path: Path) -> None:
    runs = [_run(width, steps) for width, steps in itertools.product((16, 24, 32, 48), (10, 20, 40))]
    out = opened(tmp_path / "sweep", *runs)
    for run in runs:
        n, d = parameter_counts(run)["matmul"], run.steps
        records.append_rows(out, run.key, _rows(run.steps, 3.0))
        records.write_final(out, run.key, FINAL | {"steps": run.steps, "loss": 1 + 60 * n**-0.4 + 2 * d**-0.3})
    text = reporting.report(out)
    assert _cards(text)["runs fitted"] == "12" and _cards(text)["time left"] == "done"
    for section in ("Forecast so far", "Candidate laws", "Optimum"):
        assert f"<h2>{section}</h2>" in text
    assert "<h2>Candidate laws</h2>" not in reporting.report(out, fit=False)


def test_the_command_writes_the_page_into_the_folder(sweep: Path, capsys) -> None:
    assert main(["report", str(sweep), "--no-fit"]) == 0
    assert capsys.readouterr().out == ""
    assert "sweeps report" in (sweep / "report.html").read_text()
    assert main(["report", str(sweep / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_on_several_texts_are_not_mixed(sweep: Path) -> None:
    opened(sweep, Run(width=16, depth=1, steps=10, lr=0.01, warmup=2, cooldown=3, group="a", corpus="fedcba654321"))
    with pytest.raises(ScalingError, match="different texts"):
        reporting.report(sweep)
    assert _cards(reporting.report(sweep, corpus="fedcba654321"))["runs ended"] == "0 of 1"
