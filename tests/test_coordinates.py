"""The coordinate check: flat under the rules of width and depth, and not where a factor of them is missing."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from sweeps import coordinates, parametrization
from sweeps.cli import main
from sweeps.coordinates import activations, by_size, check, flatness, measure, small_run
from sweeps.model import block, embed, forward
from sweeps.runs import Run
from sweeps.starting import initial, leaves

#: Over 4 times the size. Measured: 1.40 over widths, 1.77 and 1.49 over depths by the two rules; rules off, 4.9 both;
#: without the factor of the logits 2.5.
FLAT, NOT_FLAT = 2.0, 2.3


def a_run(rule: str = "completep") -> Run:
    return small_run(width=32, depth=2, depth_rule=rule)


def worst(table: pd.DataFrame) -> tuple[float, str]:
    found = flatness(table)
    row = found.loc[found["times"].idxmax()]
    return float(row["times"]), f"{row['quantity']} of {row['kind']}"


def test_activations_and_their_changes_keep_their_size_over_widths() -> None:
    assert worst(check(a_run(), "width", (32, 128), seeds=2))[0] < FLAT
    assert worst(check(a_run(), "width", (32, 128), seeds=2, off=True))[0] > NOT_FLAT


@pytest.mark.parametrize("rule", ["depth-mup", "completep"])
def test_activations_and_their_changes_keep_their_size_over_depths(rule: str) -> None:
    assert worst(check(a_run(rule), "depth", (2, 8), seeds=1))[0] < FLAT


@pytest.mark.parametrize("axis, sizes", [("width", (32, 128)), ("depth", (2, 8))])
def test_the_rules_hold_for_muon_too(axis: str, sizes: tuple[int, int]) -> None:
    """Measured: 1.32 over widths, 1.67 over depths; without the rules 3.1 and 3.4."""
    run = small_run(width=32, depth=2, optimizer="muon")
    assert worst(check(run, axis, sizes, seeds=1))[0] < FLAT


def test_without_a_rule_of_depth_the_stream_grows() -> None:
    times, what = worst(check(a_run("none"), "depth", (2, 8), seeds=1))
    assert times > NOT_FLAT and what == "change of block"


@pytest.mark.parametrize("forgotten", ["learning rate", "branch", "output"])
def test_the_check_sees_a_factor_that_was_forgotten(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    axis, sizes = ("depth", (2, 8)) if forgotten == "branch" else ("width", (32, 128))
    if forgotten == "learning rate":
        groups = parametrization.groups

        def unscaled(run: Run, depth: int | None = None) -> dict[str, parametrization.Group]:
            m = run.width / run.base_width
            return {
                k: replace(g, lr_factor=g.lr_factor * m if g.decays else g.lr_factor)
                for k, g in groups(run, depth).items()
            }

        monkeypatch.setattr(parametrization, "groups", unscaled)
    elif forgotten == "branch":
        monkeypatch.setattr(parametrization, "branch_multiplier", lambda run, depth=None: 1.0)
    else:
        monkeypatch.setattr(parametrization, "output_multiplier", lambda run: 1.0)
    assert worst(check(a_run(), axis, sizes, seeds=1))[0] > NOT_FLAT


def test_what_is_looked_at_is_what_the_model_computes() -> None:
    run = small_run(width=16, depth=3, depth_rule="depth-mup", lr=0.01, steps=1).model_copy(update={"base_depth": 1})
    row = initial(run)
    weights = leaves((row + 0.1 * torch.randn(row.shape))[None], run)
    tokens = torch.randint(0, run.vocab, (1, 2, run.context))
    seen = activations(weights, tokens, run)
    x = embed(weights, tokens, run)
    for i in range(run.depth):
        x = block(weights, i, x, 2, run)
        assert torch.equal(seen["block", i], x)
    assert torch.equal(seen["logits", -1], forward(weights, tokens, run))
    half = torch.add(seen["embedding", -1], seen["attention", 0], alpha=3**-0.5)
    torch.testing.assert_close(torch.add(half, seen["mlp", 0], alpha=3**-0.5), seen["block", 0])


def test_rows_begin_with_the_untrained_model_and_name_every_block() -> None:
    run = small_run(width=16, depth=2, depth_rule="none", lr=0.01, steps=2)
    table = measure(run, seeds=1)
    assert len(table) == 3 * (2 + 3 * run.depth)
    first = table[table["step"] == 0]
    assert (first["change"] == 0).all() and first["rms"][first["kind"] == "logits"].item() == 0
    assert table[table["kind"].isin(["embedding", "logits"])]["block"].isna().all()
    assert set(table["block"].dropna()) == {0, 1}
    own = table[(table["step"] == 2) & (table["kind"] == "block") & (table["block"] == 1)]
    mean = by_size(table.assign(axis="width"))
    assert mean[(mean["step"] == 2) & (mean["kind"] == "block")]["rms"].item() == pytest.approx(own["rms"].item())


def test_the_command_prints_slopes_and_writes_table_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["coordinates", "--widths", "8,16", "--depth", "1", "--steps", "2"]
    assert main([*few, "-o", str(tmp_path)]) == 0
    assert "flat within" in capsys.readouterr().out
    assert (tmp_path / "coordinates_width.png").stat().st_size > 10_000
    with (tmp_path / "coordinates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["width"] for row in rows} == {"8", "16"} and {row["kind"] for row in rows} == set(coordinates.KINDS)
    assert {row["block"] for row in rows} == {"", "0"}
    assert main([*few, "--within", "1.0001"]) == 1
    assert "more than 1.0001" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--widths", "16,20"], "multiples of head_dim = 8, got 20"),
        ([], "say what to go over"),
        (["--widths", "8,16", "--depth", "1", "--lr", "1e30"], "no number after 10 updates at lr = 1e+30"),
    ],
)
def test_the_command_says_what_it_cannot_check(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["coordinates", *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("sizes", ["16", "16,x", "16,16", "0,8", "16,"])
def test_fewer_than_two_sizes_are_wrong_usage(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["coordinates", "--depths", sizes])
    assert "must be two sizes or more" in capsys.readouterr().err
