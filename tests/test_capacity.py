"""How many runs at once: doubled while it pays and fits, and the choice is the fewest that lose little."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sweeps import capacity
from sweeps.capacity import Speed, best_of, choose_slots, doublings, measured, useful_slots
from sweeps.cli import main
from sweeps.engine import Mode
from sweeps.feed import Feed
from sweeps.train import default_slots, on_device
from tests.stacks import a_run, a_text, alone, forked

CPU = torch.device("cpu")
TOKENS = a_text()
RUN = a_run()
CORPUS = on_device(TOKENS, RUN, CPU)


def speed(slots: int, rate: float) -> Speed:
    return Speed(slots, slots / rate, rate, 0.0, None)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch):
    """pretended({slots: tokens/s or None where memory ends}) stands for the measurement; returns what was asked for."""

    def replace(rates: dict[int, float | None]) -> list[int]:
        asked: list[int] = []

        def fake(run, corpus, feed, mode, slots):  # type: ignore[no-untyped-def]
            asked.append(slots)
            rate = rates[slots]
            if rate is None:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return speed(slots, rate)

        monkeypatch.setattr(capacity, "measured", fake)
        return asked

    return replace


def tried(first: int, most: int) -> list[int]:
    return [s.slots for s in doublings(RUN, CORPUS, Feed(TOKENS), Mode(), first, most)]


def test_doubling_goes_on_while_it_gains_a_twentieth(pretended) -> None:
    asked = pretended({1: 100, 2: 190, 4: 300, 8: 310, 16: 900})
    assert tried(1, 64) == asked == [1, 2, 4, 8]
    assert best_of([speed(1, 100), speed(2, 190), speed(4, 300), speed(8, 310)]) == 4
    assert best_of([speed(8, 310), speed(4, 300), speed(16, 400)]) == 4


def test_doubling_ends_at_what_is_useful_and_where_memory_ends(pretended) -> None:
    pretended({1: 100, 2: 200, 4: 400, 8: None})
    assert tried(1, 2) == [1, 2]
    assert tried(1, 64) == [1, 2, 4]


def test_a_first_guess_that_does_not_fit_is_halved(pretended) -> None:
    asked = pretended({16: None, 8: None, 4: 400})
    assert tried(16, 64) == [4]
    assert asked == [16, 8, 4]
    pretended({1: None})
    with pytest.raises(torch.OutOfMemoryError):
        tried(1, 64)


def test_updates_are_timed_on_the_device() -> None:
    one, four = (measured(RUN, CORPUS, Feed(TOKENS), Mode(), slots) for slots in (1, 4))
    assert one.memory is None and one.setup > 0
    assert one.rate == pytest.approx(RUN.tokens_per_step / one.seconds)
    assert four.rate == pytest.approx(4 * RUN.tokens_per_step / four.seconds)


def test_no_more_runs_are_useful_than_trees_have_ends() -> None:
    assert useful_slots(alone(a_run())) == 1
    assert useful_slots(forked(a_run(cooldown=5), a_run(steps=30, cooldown=5), a_run(seed=1))) == 3


def test_a_cpu_keeps_the_rule(pretended) -> None:
    asked = pretended({})
    stack = forked(a_run(cooldown=5), a_run(steps=30, cooldown=5), a_run(seed=1))
    assert choose_slots(stack, TOKENS, CPU) == default_slots(RUN, CPU) and not asked


def test_plan_prints_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "a.txt").write_text("words and more words. " * 200)
    (tmp_path / "b.txt").write_text("other words. " * 200)
    grid = '# Is it fast?\ncorpus = "*.txt"\nhead_dim = 8\ncontext = 16\nbatch = 2\nval_sequences = 4\nlr = 0.01\n'
    (tmp_path / "grid.toml").write_text(grid + "depth = 1\nwidth = 16\nsteps = 9\nseed = [0, 1, 2]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "grid.toml", "--measure", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "runs at once  ms an update  tokens/s" in out and out.count(" x\n") + out.endswith(" x\n") >= 1
    assert main(["plan", "grid.toml", "--measure", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows = record["measured"]
    assert [row["slots"] for row in rows][:2] == [1, 2] and sum(row["best"] for row in rows) == 1
    (best,) = (row for row in rows if row["best"])
    shared, besides = record["flops_shared"], record["flops_validation"]
    expected = record["tokens_trained"] / best["rate"] * (1 + besides / shared)
    assert record["seconds_estimate"] == pytest.approx(expected)


def test_an_accelerator_gets_the_fewest_that_lose_little(pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "on_device", lambda *_: CORPUS)
    stack = forked(a_run(cooldown=5), a_run(steps=30, cooldown=5), a_run(seed=1))
    for rates, best in (({4: 400, 2: 395, 1: 200}, 2), ({4: 400, 2: 200}, 4), ({4: None, 2: 300, 1: 295}, 1)):
        pretended(rates)
        assert choose_slots(stack, TOKENS, torch.device("cuda")) == best
