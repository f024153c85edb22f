"""`scaling sensitivity`: headline numbers under other choices."""

from __future__ import annotations

import argparse
import sys

from scaling.commands.common import Command, print_frame, say


def add(command: Command) -> None:
    moves = command(
        "sensitivity",
        run,
        "how far the headline numbers move under other objectives and without some runs",
        "scaling sensitivity fit.json",
    )
    moves.add_argument("fit", metavar="FIT.json", help="a fit written by `scaling fit`, or - for stdin")
    moves.add_argument("--json", action="store_true", help="print every refit as JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.persistence import from_json, read_fit
    from scaling.report import sensitivity_text
    from scaling.sensitivity import sensitivity

    fit = from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
    frame = sensitivity(fit)
    print_frame(args, frame, sensitivity_text(frame))
    say(list(fit.problems), args)
