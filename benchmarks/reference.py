"""The reference sweep: real loss curves of a few sizes, horizons and schedules, trained in one call on one accelerator.

    python benchmarks/reference.py pack                  the text, as one archive that is carried to the other machine
    python benchmarks/reference.py train --seconds 540   there: unpack, train until the time is over, collect, fit;
                                                         the same command goes on where it was stopped
    python benchmarks/reference.py                       tries all of it on a CPU, with tiny models, in a minute

The text is Python source: the standard library and the packages installed beside it, each file once. It is packed by
name, without dates and owners, so that equal files make an equal archive; text.json says its hashes, and nothing is
trained on another text than it names. The grid is sweeps/grids/reference.toml on that text. In --out then lie
tables/runs.csv and tables/curves.csv, thinned; tables/about.json, which says on what they were made; and, once all runs
ended, a fit of the wsd runs with its figure. docs/engine.md shows the commands.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from sweeps import tokens
from sweeps.corpora.files import walk
from sweeps.grid import find_grid

#: Files beyond are tables in the guise of source.
MOST_BYTES = 500_000
#: Rows of a curve that are kept.
ROWS = 300
#: What an H200 sustains over all sizes, in FLOP/s: a guess for the plan, 15% of its peak.
SPEED = 1.5e14
#: The blocks of the grid at a size that any machine trains in seconds.
QUICK = """# Does the script of the reference sweep work?
corpus = "stdlib"
context = 32
batch = 4
head_dim = 8
aspect = 8
depth_rule = "completep"
lr = 0.008
warmup = 5
cooldown_fraction = 0.2
val_sequences = 16
evals_per_octave = 4

[[grid]]
name = "wsd"
width = [8, 16, 24]
tokens = [2560, 5120, 10240]

[[grid]]
name = "seeds"
width = 8
tokens = [2560, 5120]
seed = [1, 2]

[[grid]]
name = "cosine"
schedule = "cosine"
width = [8, 16]
tokens = 5120

[[grid]]
name = "two_stage"
schedule = "multistep"
milestones = [0.8]
factor = 0.1
width = [8, 16, 24]
tokens = 5120
"""


def sources(quick: bool) -> Iterator[tuple[str, bytes]]:
    """Path in the archive and content of every file of Python source, each content once."""
    seen: set[bytes] = set()
    roots = {"stdlib": Path(sysconfig.get_path("stdlib"))}
    roots |= {} if quick else {"packages": Path(sysconfig.get_path("purelib"))}
    for name, root in roots.items():
        for path in walk(root, ("json/*.py", "email/*.py") if quick else ("*.py",)):
            content = path.read_bytes()
            key = hashlib.sha256(content).digest()
            if content and len(content) <= MOST_BYTES and key not in seen:
                seen.add(key)
                yield f"{name}/{path.relative_to(root).as_posix()}", content


def pack(out: Path, quick: bool) -> None:
    """Write text.tar.xz and text.json."""
    out.mkdir(parents=True, exist_ok=True)
    files, size = 0, 0
    with tarfile.open(out / "text.tar.xz", "w:xz", preset=2) as archive:
        for name, content in sources(quick):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
            files, size = files + 1, size + len(content)
    _unpack(out)
    about = {
        "what": f"source of the standard library of CPython {platform.python_version()}"
        + ("" if quick else " and of the packages beside it"),
        "files": files,
        "bytes": size,
        "archive_sha256": digest_of(out / "text.tar.xz"),
        "digest": tokens.load(str(out / "text")).digest,
    }
    (out / "text.json").write_text(json.dumps(about, indent=1) + "\n")
    print(f"{out / 'text.tar.xz'}: {(out / 'text.tar.xz').stat().st_size / 2**20:.1f} MiB; {about}", flush=True)


def _unpack(out: Path) -> None:
    with tarfile.open(out / "text.tar.xz") as archive:
        archive.extractall(out / "text", filter="data")


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prepared(out: Path, quick: bool) -> Path:
    """The grid on the packed text, which is unpacked and held to its hashes."""
    about = json.loads((out / "text.json").read_text())
    if not (out / "text").is_dir():
        if digest_of(out / "text.tar.xz") != about["archive_sha256"]:
            raise SystemExit(f"{out / 'text.tar.xz'} is not the archive that text.json names: pack it again")
        _unpack(out)
    if (digest := tokens.load(str(out / "text")).digest) != about["digest"]:
        raise SystemExit(f"the text in {out / 'text'} has the digest {digest}, not {about['digest']}: remove it")
    text = QUICK if quick else find_grid("reference").read_text()
    (out / "grid.toml").write_text(text.replace('corpus = "stdlib"', 'corpus = "text"'))
    return out / "grid.toml"


def run(command: str, *rest: object) -> int:
    """One of our commands, its output on ours; its exit status."""
    return subprocess.run([sys.executable, "-m", f"{command}.cli", *map(str, rest)]).returncode


def trained(grid: Path, out: Path, device: str, seconds: float) -> int:
    """`sweeps run`, ended at a checkpoint when the time is over; its exit status."""
    command = [sys.executable, "-m", "sweeps.cli", "run", str(grid), "--out", str(out), "--device", device]
    training = subprocess.Popen(command)
    try:
        return training.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        training.send_signal(signal.SIGTERM)  # a checkpoint, then a clean end
        return training.wait()


def train(out: Path, device: str, seconds: float, quick: bool) -> None:
    """Train until all is done or the time is over, then collect what there is."""
    begin = time.monotonic()
    grid = prepared(out, quick)
    run("sweeps", "plan", grid, "--speed", SPEED)
    code = trained(grid, out / "sweep", device, seconds - (time.monotonic() - begin))
    run("sweeps", "collect", out / "sweep", "-o", out / "tables", "--rows", ROWS)
    about = {
        "text": json.loads((out / "text.json").read_text()),
        "grid_sha256": digest_of(grid),
        "device": device_name(device),
        "python": platform.python_version(),
        "torch": torch_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds_of_this_call": round(time.monotonic() - begin, 1),
        "exit": code,
        "sha256": {path.name: digest_of(path) for path in sorted((out / "tables").glob("*.csv"))},
    }
    (out / "tables" / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about, indent=1), flush=True)
    if code == 0:
        fit = out / "tables" / "fit.json"
        run("scaling", "fit", "chinchilla", out / "tables" / "runs.csv", "--where", 'group == "wsd"', "-o", fit)
        run("scaling", "plot", fit, "-o", out / "tables" / "fit.png")
    else:
        print(f"not done (exit status {code}): the same command goes on", flush=True)


def device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(0)
    return f"{platform.processor() or platform.machine()} CPU"


def torch_version() -> str:
    import torch

    return torch.__version__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("pack", "train"), help="default: train --quick")
    parser.add_argument("--out", type=Path, help="folder of the text, the runs and the tables (default: out/reference)")
    parser.add_argument("--device", help="default: cuda, or with --quick cpu")
    parser.add_argument("--seconds", type=float, default=540.0, help="time of one call; collecting comes after it")
    parser.add_argument("--quick", action="store_true", help="tiny models on a little text: tries the script")
    args = parser.parse_args()
    if args.what is None:
        args.what, args.quick = "train", True
    out = args.out or Path("out/reference-quick" if args.quick else "out/reference")
    if args.what == "pack" or (args.quick and not (out / "text.json").exists()):
        pack(out, args.quick)
    if args.what == "train":
        train(out, args.device or ("cpu" if args.quick else "cuda"), args.seconds, args.quick)


if __name__ == "__main__":
    main()
