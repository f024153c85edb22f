"""`scaling compare`: laws ranked by how well they would have forecast."""

from __future__ import annotations

import argparse

from scaling.commands.common import Command, read_rows, reading_options, say


def add(command: Command) -> None:
    ranked = command(
        "compare",
        run,
        "rank laws by how well they would have forecast the table's own larger runs",
        "scaling compare runs.csv",
    )
    ranked.add_argument("table", metavar="TABLE", help="a CSV file of runs, or - for stdin")
    ranked.add_argument("--laws", metavar="LAW,..", help="only these laws (default: all that read the table)")
    ranked.add_argument("--x", metavar="COL", help="the column of laws of one variable: C, N or D")
    reading_options(ranked)
    ranked.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    ranked.add_argument("--resamples", type=int, default=60, help="bootstrap resamples at each cut (default 60)")
    ranked.add_argument("--seed", type=int, default=0, help="seed of starts and resampling (default 0)")
    ranked.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.comparison import compare

    laws = args.laws.split(",") if args.laws else None
    table = read_rows(args, None)
    compared = compare(laws, table, x=args.x, level=args.level, resamples=args.resamples, seed=args.seed)
    print(compared.to_json() if args.json else compared.report())
    say([f"note  {note}" for note in table.attrs["notes"]], args)
