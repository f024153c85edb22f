"""The commands that decide: every example of their help runs, and what they print can be acted on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from scaling.cli import main
from tests.test_fit import runs
from tests.test_isoflop import isoflops

COMMANDS = ("optimum", "isoflop", "design")


def examples_of(command: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    lines = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"  scaling {command}")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    runs().assign(C=lambda t: 6.6 * t["N"] ** 0.99 * t["D"]).to_csv("runs.csv", index=False)
    isoflops().to_csv("isoflops.csv", index=False)
    assert main(["fit", "chinchilla", "runs.csv", "-o", "fit.json"]) == 0
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_the_help_runs(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples_of(command, capsys)
    assert len(found) >= 2
    for argv in found:
        assert main(argv) == 0, (argv, capsys.readouterr().err)
        assert capsys.readouterr().out


def test_optima_are_printed_as_json_with_what_was_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["optimum", "fit.json", "--resamples", "50", "--json"]
    assert main([*short, "--flops", "1e21,1e22", "--cost", "table"]) == 0
    out, err = capsys.readouterr()
    assert [row["C"] for row in json.loads(out)] == [1e21, 1e22]
    assert "C = 6.6 N^0.9900 D^1.0000" in err
    assert main([*short, "--flops", "1e21", "--round"]) == 0
    shaped = json.loads(capsys.readouterr().out)[0]
    assert shaped["width"] == 64 * shaped["heads"]
    assert main([*short, "--flops", "1e21", "--off"]) == 0
    assert [row["factor"] for row in json.loads(capsys.readouterr().out)] == [0.25, 0.5, 1, 2, 4]


def test_the_cheapest_runs_within_an_interval_cost_less_than_the_budget(folder, capsys) -> None:
    short = ["design", "--prior", "besiroglu2024", "--flops", "1e21", "--at", "C=1e23", "--json"]
    assert main(short) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main([*short, "--within", "0.08"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert sum(run["flops_added"] for run in part) < 0.5 * sum(run["flops_added"] for run in whole)
    assert main([*short, "--within", "0.01"]) == 1
    assert "give more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["optimum", "besiroglu24", "--flops", "1e21"], "did you mean besiroglu2024"),
        (["optimum", "fit.json", "--flops", "1e21", "--cost", "9ND"], "no cost is called '9ND'"),
        (["optimum", "besiroglu2024", "--flops", "1e21", "--cost", "table"], "published coefficients have none"),
        (["optimum", "besiroglu2024", "--loss", "1.5"], "no budget reaches a loss of 1.5"),
        (["isoflop", "isoflops.csv", "--tolerance", "2"], "between 0 and 1"),
        (["isoflop", "isoflops.csv", "--where", "N < 4e7"], "no budget"),
        (["isoflop", "isoflops.csv", "--law", "power"], "a best size needs a law of N and D"),
        (["design", "--flops", "1e21", "--at", "C=1e23"], "either a fit, or --prior"),
        (["design", "fit.json", "--flops", "1e21", "--at", "Q=1e23"], "--at takes C=.. or N=..,D=.."),
        (["design", "fit.json", "--flops", "1e21", "--at", "N=1e9"], "a target is loss"),
        (["design", "fit.json", "--flops", "1e9", "--at", "C=1e23"], "one shape"),
        (["design", "fit.json", "--flops", "1e20", "--at", "C=1e23", "--alone", "-o", "x.toml"], "leave out --alone"),
        (["optimum", "fit.json", "--flops", "1e21", "--unique", "0"], "must be above 0"),
        (["optimum", "fit.json", "--flops", "1e21", "--aspect", "-1", "--cost", "head"], "must be above 0"),
    ],
)
def test_mistakes_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], says: str) -> None:
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and says in err
