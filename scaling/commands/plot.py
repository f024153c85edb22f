"""`scaling plot`: draw a fit."""

from __future__ import annotations

import argparse
import sys

from scaling.commands.common import Command, draws_of, floats, uncertain_options


def add(command: Command) -> None:
    plot = command(
        "plot",
        run,
        "draw a fit: loss against compute, size and tokens, contours, residuals, parameters, allocation, curves",
        "scaling plot fit.json -o fit.png",
        "scaling plot fit.json --kind contour --flops 1e21,1e23 -o contour.svg",
        "scaling plot fit.json --kind residuals --theme dark -o residuals.png",
        "scaling plot curves-fit.json --kind curves -o curves.pdf",
    )
    uncertain_options(plot)
    plot.add_argument("-o", "--output", required=True, metavar="FILE", help="png, svg or pdf")
    plot.add_argument(
        "--kind", default="overview", metavar="KIND",
        help="overview (default), frontier, size, tokens, contour, allocation, observed, residuals, rehearsal, "
        "parameters, profile, curves; a law has those that suit it",
    )  # fmt: skip
    plot.add_argument("--theme", default="light", metavar="NAME", help="light (default) or dark")
    plot.add_argument("--flops", type=floats, metavar="C[,C..]", help="budgets to mark, for contour and allocation")
    plot.add_argument("--curves", metavar="CSV", help="the runs' curves (run, tokens, loss), drawn behind the runs")


def run(args: argparse.Namespace) -> None:
    from scaling.curves import read_curves
    from scaling.plots import figure_of, sized
    from scaling.style import drawing, save

    draws = draws_of(args)
    curves = sized(read_curves(args.curves), draws.fit.table) if args.curves else None
    with drawing(args.theme):
        figure = figure_of(draws, args.kind, curves=curves, budgets=args.flops, level=args.level)
        save(figure, args.output)
    print(f"wrote {args.output}", file=sys.stderr)
