"""All grids of the regimes that need an accelerator, one after the other in one call.

    python benchmarks/regimes.py --device cuda --seconds 560 --out out/regimes
                                                      trains what the time allows, collects what there is; the same
                                                      command goes on where it was stopped
    python benchmarks/regimes.py                      tries all of it on a CPU, with tiny models, in a few minutes

The grids are those of sweeps/grids whose names end in -gpu, on the standard library of the Python that trains. In --out
then lie tables/NAME-runs.csv and tables/NAME-curves.csv, thinned, and tables/about.json, which says on what they were
made; tables.tar.gz has them all. --only NAME,.. takes some of the grids.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from pathlib import Path

from reference import ROWS, device_name, digest_of, run, torch_version, trained

from sweeps.grid import shipped_grids

SUFFIX = "-gpu"
#: What the quick grids have in place of the settings that make a grid large; lists stay axes, no longer than these.
QUICK = {
    "width": "[16, 32]", "depth": "1", "encoder_depth": "[1, 2]", "context": "32", "batch": "4", "head_dim": "8",
    "tokens": "[1280, 2560]", "steps": "[10, 20]", "unique_tokens": "[1024, 2048]", "val_sequences": "24",
    "warmup": "2", "tokens_per_param": "1", "aspect": "16", "dtype": '"float32"', "seed": "[0, 1]",
}  # fmt: skip


def grids(only: str | None) -> dict[str, Path]:
    """The grids of the regimes by name, without the suffix."""
    found = {name.removesuffix(SUFFIX): path for name, path in shipped_grids().items() if name.endswith(SUFFIX)}
    chosen = only.split(",") if only else list(found)
    if missing := [name for name in chosen if name not in found]:
        raise SystemExit(f"there is no grid {missing[0]}{SUFFIX}; there are: {', '.join(found)}")
    return {name: found[name] for name in chosen}


def shrunk(text: str) -> str:
    """A grid at a size that any machine trains in seconds: its settings, but for those above."""

    def smaller(match: re.Match[str]) -> str:
        key, value = match[1], match[2]
        if key not in QUICK:
            return match[0]
        return f"{key} = {QUICK[key] if value.startswith('[') else QUICK[key].strip('[]').split(',')[0]}"

    return re.sub(r"^(\w+) = ([^#\n]*)", smaller, text, flags=re.MULTILINE)


def train(out: Path, device: str, seconds: float, quick: bool, only: str | None) -> int:
    """Train the grids in order until the time is over, then collect what there is; 0 when all is done."""
    end, done, tables = time.monotonic() + seconds, {}, out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, path in grids(only).items():
        grid = out / f"{name}.toml"
        grid.write_text(shrunk(path.read_text()) if quick else path.read_text())
        left = end - time.monotonic()
        if left < 1:
            done[name] = "no time left"
            continue
        code = trained(grid, out / name, device, left)
        done[name] = "done" if code == 0 else f"not done, exit status {code}"
        if run("sweeps", "collect", out / name, "-o", out / name / "tables", "--rows", ROWS) == 0:
            for table in ("runs", "curves"):
                shutil.copy(out / name / "tables" / f"{table}.csv", tables / f"{name}-{table}.csv")
    about = {
        "grids": done,
        "device": device_name(device),
        "torch": torch_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "sha256": {path.name: digest_of(path) for path in sorted(tables.glob("*.csv"))},
    }
    (tables / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    shutil.make_archive(str(tables), "gztar", tables)
    print(json.dumps(about, indent=1), flush=True)
    return int(any(state != "done" for state in done.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cuda, or without it a try on the CPU with tiny models")
    parser.add_argument("--seconds", type=float, default=560.0, help="time of one call; collecting comes after it")
    parser.add_argument("--out", type=Path, help="folder of runs and tables (default: out/regimes)")
    parser.add_argument("--only", metavar="NAME,..", help="some of the grids, by name without -gpu")
    args = parser.parse_args()
    quick = args.device is None
    out = args.out or Path("out/regimes-quick" if quick else "out/regimes")
    sys.exit(train(out, args.device or "cpu", args.seconds, quick, args.only))


if __name__ == "__main__":
    main()
