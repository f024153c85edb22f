"""`scaling plot`: draw a fit."""

from __future__ import annotations

import argparse
import sys

from scaling.commands.common import Command, draws_of, uncertain_options


def add(command: Command) -> None:
    plot = command(
        "plot",
        run,
        "draw a fit: loss against compute, predicted against observed",
        "scaling plot fit.json -o fit.png",
    )
    uncertain_options(plot)
    plot.add_argument("-o", "--output", required=True, metavar="FILE", help="png, svg or pdf")


def run(args: argparse.Namespace) -> None:
    from scaling.plots import figure_of, save

    save(figure_of(draws_of(args), level=args.level), args.output)
    print(f"wrote {args.output}", file=sys.stderr)
