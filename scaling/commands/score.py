"""`scaling score`: registered forecasts beside what the runs came to."""

from __future__ import annotations

import argparse
import io
import json
import sys
from typing import Any

from scaling.commands.common import Command, reading_of, reading_options
from scaling.errors import ScalingError

EXAMPLES = (
    "scaling score forecasts.jsonl results.csv",
    "scaling score forecasts.jsonl results.csv --tolerance 0.02 --json",
    "scaling score forecasts.jsonl   (only checks the file, and prints its head)",
)


def add(command: Command) -> None:
    sub = command("score", run, "score registered forecasts by the runs that have come to their end", *EXAMPLES)
    sub.add_argument("file", metavar="FILE", help="a file that --register wrote")
    sub.add_argument(
        "table",
        nargs="?",
        metavar="TABLE",
        help="a CSV of finished runs, or of curves (run, step, loss), or - for stdin",
    )
    reading_options(sub)
    sub.add_argument(
        "--tolerance", type=float, default=0.01, help="by which N, D, .. may be off, a share (default .01)"
    )
    sub.add_argument("--expect", metavar="DIGEST", help="a head that was published: it must be in the file")
    sub.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.ledger import read_records
    from scaling.persistence import frame_json

    records = read_records(args.file)
    digests = [record["digest"] for record in records]
    if args.expect and not any(digest.startswith(args.expect) for digest in digests):
        raise ScalingError(
            f"{args.file} holds no record {args.expect}: records were cut off its end, or it was written anew since "
            "that head was published"
        )
    if not records:
        raise ScalingError(f"{args.file} holds no record yet")
    last = records[-1]
    head = f"{len(records)} record{'s' * (len(records) > 1)}, unbroken; head {last['digest']} of {last['made']}"
    if args.table is None:
        print(json.dumps({"records": len(records), "head": last["digest"]}) if args.json else head)
        return
    from scaling.scoring import score_forecasts, score_text

    score = score_forecasts(records, _table(args), tolerance=args.tolerance)
    if not args.json:
        print(f"{score_text(score)}\n{head}")
        return
    parts = {"scored": score.scored, "open": score.open, "totals": score.totals()}
    print(
        json.dumps(
            {"records": len(records), "head": last["digest"]}
            | {name: json.loads(frame_json(frame)) for name, frame in parts.items()},
            indent=1,
        )
    )


def _table(args: argparse.Namespace) -> Any:
    """Finished runs; rows of curves where the table has steps."""
    from scaling.curves import read_curves
    from scaling.table import read_table

    source: Any = io.StringIO(sys.stdin.read()) if args.table == "-" else args.table
    mapped = args.map | ({"loss": args.loss} if args.loss else {})
    reading = reading_of(args)
    table = read_table(source, map=mapped, where=args.where, reading=reading)
    if not (table["run"].duplicated().any() and {"step", "steps", "iter", "global_step"} & set(table.columns)):
        return table
    if args.table == "-":
        source.seek(0)
    return read_curves(source, loss=args.loss, map=args.map, where=args.where, reading=reading)
