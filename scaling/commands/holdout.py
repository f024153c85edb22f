"""`scaling holdout`: fit without some runs, forecast them, print how far off it was."""

from __future__ import annotations

import argparse

from scaling.commands.common import Command, fit_options, fitting_options, law_of, read_rows, reading_options


def add(command: Command) -> None:
    held = command(
        "holdout",
        run,
        "fit without some runs, forecast them, and print how far off it was",
        "scaling holdout chinchilla runs.csv --hold 'C > 1e20' -o out",
    )
    held.add_argument("law", metavar="LAW", help="a law of N and D, or of one column with --x")
    held.add_argument("table", metavar="TABLE", help="a table or log of runs, or - for stdin")
    held.add_argument(
        "--hold", required=True, metavar="EXPR", help="which rows to hold out, such as 'group == \"held_out\"'"
    )
    held.add_argument(
        "--curves", metavar="CSV", help="curves of the same runs: forecast held-out curves whole, draw all of them"
    )
    held.add_argument("--curve-law", default="tissue", metavar="LAW", help="law of whole curves (default: tissue)")
    held.add_argument("--curve-where", metavar="EXPR", help="rows of the curves to use, such as 'step >= 100'")
    held.add_argument(
        "-o", "--output", metavar="DIR", help="write forecasts (CSV), the fit (JSON) and plots (PNG) to a folder"
    )
    reading_options(held)
    fitting_options(held)
    held.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    held.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples (default 1000)")
    held.add_argument("--json", action="store_true", help="print the forecasts as JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.report import holdout_command

    law = law_of(args)
    holdout_command(args, law, read_rows(args, law), fit_options(args))
