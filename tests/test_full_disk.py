"""A disk that is full, a real one: the sweep stops in one line, what is there is intact, and with room it goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.cli import main
from tests.test_kills import tables

GRID = """# Does it survive?
corpus = "texts"
head_dim = 8
context = 16
batch = 2
val_sequences = 4
lr = 0.01
depth = 1
width = 16
evals_per_octave = 1
[[grid]]
name = "wsd"
steps = [40, 60, 100]
cooldown = 10
"""
RUN = ["run", "grid.toml", "--device", "cpu", "--workers", "1", "--threads", "1", "--checkpoint-seconds=-1", "--out"]

#: Run in a mount namespace of its own, with a small file system at DISK; prints the exit codes.
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
from sweeps.cli import main
disk, command = Path(sys.argv[1]), json.loads(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
codes = []
for room in (0, 8, 24, 80, 200, 340, 430, 490):  # KiB
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(bytes(max(0, free - room * 1024)))
    codes.append(main([*command, str(disk / "out")]))
    (disk / "filler").unlink()
codes.append(main([*command, str(disk / "out")]))
print(json.dumps(codes))
subprocess.run(["cp", "-r", disk / "out", sys.argv[3]], check=True)
"""


@pytest.mark.skipif(
    subprocess.run(["sh", "-c", "unshare -rm true"], capture_output=True).returncode != 0,
    reason="needs a user who may mount a file system in a namespace",
)
def test_a_sweep_on_a_full_disk_stops_in_one_line_and_goes_on_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts").mkdir()
    for i in range(10):
        (tmp_path / "texts" / f"{i}.txt").write_text(f"text {i} says what it says. " * 20)
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "disk").mkdir()
    arguments = [tmp_path / "disk", json.dumps(RUN), tmp_path / "copy"]
    ended = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", SCRIPT, *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    codes = json.loads(ended.stdout.splitlines()[-1])
    assert set(codes[:3]) == {1} and codes[-1] == 0
    said = [line for line in ended.stderr.splitlines() if "No space left on device" in line]
    assert len(said) == codes.count(1)
    assert all("What was written before is intact" in line for line in said)
    assert "Traceback" not in ended.stderr
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, "whole"]) == 0
    assert tables(tmp_path / "copy") == tables(tmp_path / "whole")
