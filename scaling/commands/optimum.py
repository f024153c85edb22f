"""`scaling optimum`: the compute-optimal size and tokens at a budget."""

from __future__ import annotations

import argparse

from scaling.commands.common import Command, draws_of, floats, print_frame, say, uncertain_options


def add(command: Command) -> None:
    best = command(
        "optimum",
        run,
        "compute-optimal N and D at a budget, with intervals",
        "scaling optimum fit.json --flops 1e24",
    )
    uncertain_options(best)
    best.add_argument("--flops", type=floats, required=True, metavar="C[,C..]", help="budgets in FLOP")


def run(args: argparse.Namespace) -> None:
    from scaling.allocation import optimum
    from scaling.forecasting import rehearsal_line
    from scaling.report import forecast_text

    draws = draws_of(args)
    frame = optimum(draws, C=args.flops, level=args.level)
    print_frame(args, frame, forecast_text(frame))
    say([*draws.fit.problems, *draws.notes, rehearsal_line(draws)], args)
