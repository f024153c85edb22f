"""`scaling isoflop`: best sizes by Hoffmann's three approaches, and where they disagree."""

from __future__ import annotations

import argparse
import sys

from scaling.commands.common import Command, read_rows, reading_options, say


def add(command: Command) -> None:
    sub = command(
        "isoflop",
        run,
        "best sizes by budget: the envelope, parabolas and a law, and where the three disagree",
        "scaling isoflop isoflops.csv",
        "scaling isoflop isoflops.csv --law skaling --tolerance 0.05 -o isoflop.png",
        "scaling isoflop isoflops.csv --where 'N > 3e7' --json",
    )
    sub.add_argument("table", metavar="TABLE", help="a CSV file of runs, or - for stdin")
    reading_options(sub)
    sub.add_argument("--law", default="chinchilla", help="the law of the third approach (default chinchilla)")
    sub.add_argument(
        "--tolerance", type=float, default=0.1, help="a budget's runs lie within this share of its C (default 0.1)"
    )
    sub.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    sub.add_argument("--resamples", type=int, default=500, help="resamples of each approach (default 500)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("-o", "--output", metavar="FILE", help="draw it: png, svg or pdf")


def run(args: argparse.Namespace) -> None:
    import json

    from scaling.isoflop import compare_approaches
    from scaling.persistence import frame_json

    table = read_rows(args, None)
    found = compare_approaches(
        table, law=args.law, tolerance=args.tolerance, level=args.level, resamples=args.resamples, seed=args.seed
    )
    if args.json:
        frames = {"sizes": found.sizes, "growth": found.growth, "apart": found.apart, "refused": found.refused}
        record = {name: json.loads(frame_json(frame)) for name, frame in frames.items()} | {"notes": list(found.notes)}
        print(json.dumps(record, indent=1))
    else:
        print(found.report())
    say([*table.attrs["notes"]], args)
    if args.output:
        from scaling.figures.isoflops import isoflop_figure
        from scaling.style import drawing, save

        with drawing():
            save(isoflop_figure(found), args.output)
        print(f"wrote {args.output}", file=sys.stderr)
