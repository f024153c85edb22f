"""`scaling datasets`: published measurements, and a copy of one as CSV."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from scaling.commands.common import Command
from scaling.errors import ScalingError, nearest


def add(command: Command) -> None:
    sets = command(
        "datasets",
        run,
        "list published data sets, show one, or with -o download it and write it as a CSV",
        "scaling datasets",
        "scaling datasets luo2025",
    )
    sets.add_argument("name", nargs="?", metavar="NAME", help="a data set")
    sets.add_argument("-o", "--output", metavar="FILE", help="download the data set and write it as a CSV")
    sets.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.datasets import DATASETS, load
    from scaling.exports import to_csv
    from scaling.files import write_text

    if args.output and not args.name:
        raise ScalingError("say which data set to write: scaling datasets NAME -o FILE")
    if args.name and args.name not in DATASETS:
        raise ScalingError(f"there is no data set {args.name!r}; {nearest(args.name, DATASETS)}")
    chosen = [DATASETS[args.name]] if args.name else list(DATASETS.values())
    if args.json:
        print(json.dumps([_record(dataset) for dataset in chosen], indent=1))
    elif args.name:
        print("\n".join(f"{key:12}{value}" for key, value in _record(chosen[0]).items() if key != "files"))
    else:
        for dataset in chosen:
            print(
                f"{dataset.name:20}{dataset.kind:8}{dataset.size / 1000:7.0f} kB  {dataset.licence:12}  {dataset.paper}"
            )
            print(f"{'':20}{dataset.what}")
    if args.output:
        table = load(args.name)
        write_text(Path(args.output), to_csv(table)[0])
        print(f"wrote {args.output}: {len(table)} rows; cite {chosen[0].paper}", file=sys.stderr)


def _record(dataset: Any) -> dict[str, Any]:
    return {
        "name": dataset.name, "what": dataset.what, "paper": dataset.paper, "licence": dataset.licence,
        "address": dataset.address, "bytes": dataset.size, "kind": dataset.kind, "columns": dataset.columns,
        "files": [{"path": f.path, "sha256": f.sha256, "bytes": f.size} for f in dataset.files],
    }  # fmt: skip
