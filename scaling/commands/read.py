"""`scaling read`: what a table or log holds, as runs.csv and curves.csv."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from scaling.commands.common import Command, reading_of, reading_options


def add(command: Command) -> None:
    read = command(
        "read",
        run,
        "say what a table, a log or a folder of logs holds: CSV, TSV, Parquet, JSON lines, W&B, MLflow, TensorBoard, "
        "Hugging Face, Lightning, nanoGPT, nanochat, sweeps; with -o write it as runs.csv and curves.csv",
        "scaling read runs.csv",
        "scaling read curves.csv --set 'tokens=step * 524288' -o out",
    )
    read.add_argument("table", metavar="SOURCE", help="a file or folder; - for a CSV on stdin")
    read.add_argument("-o", "--output", metavar="DIR", help="write runs.csv and curves.csv to this folder")
    read.add_argument("--json", action="store_true", help="print JSON")
    reading_options(read)


def run(args: argparse.Namespace) -> None:
    from scaling.exports import to_csv
    from scaling.files import write_text
    from scaling.overview import described, overview, text

    source = sys.stdin if args.table == "-" else args.table
    found = overview(source, reading_of(args), map=args.map, loss=args.loss, where=args.where)
    record = described(found)
    print(json.dumps(record, indent=1, allow_nan=False) if args.json else text(record))
    if not args.output:
        return
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("runs", found.runs), ("curves", found.curves)):
        if table is None:
            continue
        content, escaped = to_csv(table)
        write_text(folder / f"{name}.csv", content)
        said = f"; {escaped} cells that begin like a formula got an apostrophe before them" * bool(escaped)
        print(f"wrote {folder / name}.csv: {len(table)} rows{said}", file=sys.stderr)
