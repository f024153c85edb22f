"""Leases: however many processes are pointed at one folder, and whatever happens to them, a stack has one trainer."""

from __future__ import annotations

import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps import collecting, leases, pool, records, train, workers
from sweeps.leases import Leased, LeaseLost, leased
from sweeps.runs import Stack
from tests.lives import Life
from tests.stacks import a_run, a_text, alone, curve, final, forked, opened

ROOT = Path(__file__).parents[1]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.01)


# The lease alone.

RACE = """
import sys, time
from pathlib import Path
from sweeps.leases import Leased, leased
out, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for round in range(60):
    for key in ("w8-a", "w8-b", "w8-b-part", "w8-c"):
        try:
            with leased(out, key):
                inside = out / (key[:4] + ".inside")   # the part of w8-b excludes the whole of it
                inside.touch(exist_ok=False)           # FileExistsError where another is inside
                inside.unlink()
                print(key, flush=True)
        except Leased:
            pass
"""


def test_processes_that_race_for_leases_are_never_inside_together(tmp_path: Path) -> None:
    racers = [python(RACE, tmp_path, name) for name in "abc"]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    ended = [racer.communicate(timeout=60) for racer in racers]
    assert [said for _, said in ended] == ["", "", ""]
    assert min(len(taken.split()) for taken, _ in ended) > 20  # all had their share
    assert not list((tmp_path / leases.FOLDER).iterdir())


HOLD = """
import sys, time
from pathlib import Path
from sweeps.leases import LeaseLost, leased
with leased(Path(sys.argv[1]), "w8-a", float(sys.argv[2])) as lease:
    print("held", flush=True)
    sys.stdin.readline()
    try:
        lease.check()
        print("may write")
    except LeaseLost as error:
        print(error)
"""


def holding(out: Path, seconds: float) -> subprocess.Popen[str]:
    process = python(HOLD, out, seconds)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_lease_excludes_the_same_stack_and_its_parts_but_no_other(tmp_path: Path) -> None:
    process = holding(tmp_path, 60)
    for key in ("w8-a", "w8-a-part"):
        with (
            pytest.raises(Leased, match=rf"stack {key} is trained by process {process.pid} on "),
            leased(tmp_path, key),
        ):
            pass
    with leased(tmp_path, "w8-ab"), leased(tmp_path, "w8-b"):
        assert sorted(leases.holders(tmp_path)) == ["w8-a", "w8-ab", "w8-b"]
    assert process.communicate("\n")[0] == "may write\n"
    with leased(tmp_path, "w8-a-part"), pytest.raises(Leased), leased(tmp_path, "w8-a"):
        pass
    assert leases.holders(tmp_path) == {}


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    process = holding(tmp_path, 3600)
    process.kill()
    process.communicate()
    with leased(tmp_path, "w8-a"):
        assert leases.holders(tmp_path)["w8-a"].pid == os.getpid()
    assert not list((tmp_path / leases.FOLDER).iterdir())


def test_a_process_that_was_paused_for_too_long_gives_up_and_leaves_the_other_alone(tmp_path: Path) -> None:
    process = holding(tmp_path, 0.5)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(Leased), leased(tmp_path, "w8-a"):
        pass  # paused, but not for long
    until(lambda: not leases.holders(tmp_path))
    with leased(tmp_path, "w8-a") as lease:
        process.send_signal(signal.SIGCONT)
        assert "stops here: its lease" in process.communicate("\n")[0]
        lease._confirm()
        lease.check()


def test_a_process_that_was_paused_and_missed_by_nobody_goes_on(tmp_path: Path) -> None:
    process = holding(tmp_path, 0.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    process.send_signal(signal.SIGCONT)
    assert process.communicate("\n")[0] == "may write\n"


def elsewhere(out: Path, age: float, **changes: object) -> None:
    """The lease of a process on another machine, last renewed `age` seconds ago."""
    (out / leases.FOLDER).mkdir(exist_ok=True)
    path = out / leases.FOLDER / "w8-a.3.json"
    fields = dict(id="x", host="far", machine="another", pid=1, began=1, seconds=60.0)
    path.write_text(json.dumps(fields | changes))
    os.utime(path, (time.time() - age, time.time() - age))


def test_a_lease_from_another_machine_ages_by_its_own_promise(tmp_path: Path) -> None:
    elsewhere(tmp_path, age=50)
    with pytest.raises(Leased, match="process 1 on far"), leased(tmp_path, "w8-a"):
        pass
    elsewhere(tmp_path, age=70)
    with leased(tmp_path, "w8-a"):
        assert [path.name for path in (tmp_path / leases.FOLDER).iterdir()] == ["w8-a.4.json"]


def test_a_pid_that_another_process_has_now_is_not_the_holder(tmp_path: Path) -> None:
    elsewhere(tmp_path, age=0, machine=leases._machine(), pid=os.getpid(), began=1)
    with leased(tmp_path, "w8-a"):
        pass


def test_a_damaged_lease_is_held_until_it_is_old(tmp_path: Path) -> None:
    elsewhere(tmp_path, age=1)
    path = tmp_path / leases.FOLDER / "w8-a.3.json"
    path.write_text('{"id": "x", "ho')
    with pytest.raises(Leased, match="an unknown host"), leased(tmp_path, "w8-a"):
        pass
    os.utime(path, (time.time() - 200, time.time() - 200))
    with leased(tmp_path, "w8-a"):
        pass


def test_a_claim_backs_off_where_the_old_holder_renewed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(tmp_path, age=70)
    link = leases._link

    def slow(draft: Path, path: Path) -> None:
        os.utime(tmp_path / leases.FOLDER / "w8-a.3.json")  # it wakes between the look and the claim
        link(draft, path)

    monkeypatch.setattr(leases, "_link", slow)
    with pytest.raises(Leased, match="process 1 on far"), leased(tmp_path, "w8-a"):
        pass
    assert [path.name for path in (tmp_path / leases.FOLDER).iterdir()] == ["w8-a.3.json"]


def test_a_holder_that_finds_a_later_claim_may_not_write(tmp_path: Path) -> None:
    with leased(tmp_path, "w8-a") as lease:
        lease._confirm()
        lease.check()
        elsewhere(tmp_path, age=0)
        lease._confirm()
        with pytest.raises(LeaseLost, match="taken over by process 1 on far"):
            lease.check()
    assert [path.name for path in (tmp_path / leases.FOLDER).iterdir()][-1] == "w8-a.3.json"


def test_no_hard_links_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with leased(tmp_path, "w8-a"), pytest.raises(Leased), leased(tmp_path, "w8-a"):
        pass


# Sweeps.


def sweep(out: Path, seconds: float, segments: int = 0) -> list[str]:
    """Body of a process: train all in the folder; OUT/starts gets a line whenever the training of a stack begins.

    segments  pause this process when it has trained so many, before it writes what came out of the last one
    """
    stack_trained, segment_trained, count = workers.train_stack, train.segment, itertools.count(1)

    def logged(stack: Stack, *rest: Any, **options: Any) -> bool:
        if not all(records.is_done(out, run.key) for run in stack.runs):
            with (out / "starts").open("a") as file:
                file.write(stack.key + "\n")
        return stack_trained(stack, *rest, **options)

    def paused(*arguments: Any) -> Any:
        result = segment_trained(*arguments)
        if next(count) == segments:
            os.kill(os.getpid(), signal.SIGSTOP)
        return result

    workers.train_stack, train.segment = logged, paused
    outcomes = pool.run_stacks(
        some_stacks(), a_text(), out, device="cpu", workers=1, threads=1, checkpoint_seconds=0.05, lease_seconds=seconds
    )
    return [outcome.state for outcome in outcomes]


def some_stacks() -> list[Stack]:
    """Four stacks, the first and largest with a fork."""
    fields = dict(dtype="float32", context=32, batch=4, evals_per_octave=2, cooldown=20)
    runs = [a_run(steps=n, width=32, **fields) for n in (120, 180)]
    return [forked(*runs), *(alone(a_run(steps=60, width=width, **fields)) for width in (8, 16, 24))]


def starts(out: Path) -> Counter[str]:
    return Counter((out / "starts").read_text().split())


def repeatable(out: Path) -> list[object]:
    """All that the sweep leaves but times."""
    left: list[object] = []
    for run in (run for stack in some_stacks() for run in stack.runs):
        left.append([{name: value for name, value in row.items() if name != "seconds"} for row in curve(out, run)])
        left.append({name: value for name, value in final(out, run).items() if name != "seconds"})
    return left


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two sweeps of one folder leave."""
    out = opened(tmp_path_factory.mktemp("shared"), *some_stacks())
    both = [Life(sweep, out, 60.0) for _ in range(2)]
    assert [life.result() for life in both] == [["done"] * 4] * 2
    return out


def test_two_sweeps_of_one_folder_share_its_stacks_and_train_each_once(shared: Path) -> None:
    assert starts(shared) == Counter(stack.key for stack in some_stacks())
    assert not list((shared / leases.FOLDER).iterdir())


def paused_sweep(out: Path, seconds: float) -> Life:
    """A sweep paused in the middle of its first stack."""
    life = Life(sweep, out, seconds, 9)
    until(lambda: leases._state(life.pid) == "T")
    assert curve(out, some_stacks()[0].runs[0]) and not any(records.is_done(out, key) for key in records.run_keys(out))
    return life


def test_a_sweep_takes_over_what_a_killed_one_leaves(tmp_path: Path, shared: Path) -> None:
    out = opened(tmp_path, *some_stacks())
    killed = paused_sweep(out, 3600.0)
    other = Life(sweep, out, 60.0)
    until(lambda: starts(out).total() == 2)  # the other has begun with another stack
    assert Counter(collecting.status(out)["holder"])[f"process {killed.pid} on {platform.node()}"] == 2
    killed.kill()
    assert other.result() == ["done"] * 4
    assert repeatable(out) == repeatable(shared)


def test_a_sweep_that_was_paused_does_not_write_over_the_one_that_took_its_place(tmp_path: Path, shared: Path) -> None:
    out, first = opened(tmp_path, *some_stacks()), some_stacks()[0]
    paused = paused_sweep(out, 0.8)
    other = Life(sweep, out, 60.0)
    until(lambda: starts(out)[first.key] == 2)
    paused.send(signal.SIGCONT)
    assert paused.result() == ["done"] * 4  # by the other, in part
    assert other.result() == ["done"] * 4
    assert max(starts(out).values()) == 2  # the paused one began the first stack no third time
    assert repeatable(out) == repeatable(shared)
