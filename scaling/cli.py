"""The command `scaling`: laws, fit, compare, forecast, optimum, schedule, holdout, plot, theory. Results on stdout."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from scaling.commands import (
    run_compare,
    run_fit,
    run_forecast,
    run_holdout,
    run_laws,
    run_optimum,
    run_plot,
    run_sensitivity,
    run_theory,
)
from scaling.errors import ScalingError
from scaling.lawfile import own_laws
from scaling.options import floats as _floats, names as _names, numbers as _pairs
from scaling.schedule_commands import add_schedule_command

EXAMPLES = """examples:
  scaling laws chinchilla
  scaling fit runs.csv
  scaling forecast runs.csv --at N=7e10,D=1.4e12
  scaling fit chinchilla runs.csv -o fit.json
  scaling fit chinchilla theirs.csv --map N=params,D=tokens,loss=final_loss --where 'status == "finished"'
  scaling fit power runs.csv --x C --fix L_inf=0
  scaling fit mylaw runs.csv --law-file mylaw.py   (executes mylaw.py)
  scaling fit tissue curves.csv --loss val_loss --warmup 2160
  scaling forecast fit.json --at N=7e10,D=1.4e12
  scaling optimum fit.json --flops 1e24
  scaling schedule optimize curves-fit.json --steps 24000 --peak 3e-4 --warmup 2160
  scaling holdout chinchilla runs.csv --hold 'C > 1e20'
  scaling sensitivity fit.json
  scaling plot fit.json -o fit.png
  scaling theory -o out
  sweeps collect out | scaling fit chinchilla -
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it worked, 1 for a mistake said in one line, 2 for wrong usage."""
    parser = _parser()
    args, extra = parser.parse_known_args(argv)
    if len(extra) == 1 and not extra[0].startswith("-") and getattr(args, "law", "") is None:
        args.law, args.table, extra = (
            args.table,
            extra[0],
            [],
        )  # `fit LAW --option x TABLE`: the law looked like a table
    if extra:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    try:
        with own_laws(args.law_file) as own:
            args.own = own
            args.run(args)
        sys.stdout.flush()
    except ScalingError as error:
        print(f"scaling: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"scaling: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scaling: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scaling",
        description="Fit scaling laws to logged runs, say how far to trust them, forecast budgets nobody has trained.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument(
            "--law-file", metavar="FILE.py", help="laws of your own, known by name here; this executes the file"
        )
        return sub

    laws = command("laws", run_laws, "list the laws, or show one in full", "scaling laws chinchilla")
    laws.add_argument("name", nargs="?", metavar="NAME", help="a law")
    laws.add_argument("--json", action="store_true", help="print JSON")

    fit = command(
        "fit",
        run_fit,
        "fit a law to a table of runs or of curves; without LAW, rank the laws by rehearsal and fit the best",
        "scaling fit chinchilla runs.csv -o fit.json",
    )
    fit.add_argument("law", nargs="?", metavar="LAW", help="a law by name (see `scaling laws`); all that apply without")
    fit.add_argument("table", metavar="TABLE", help="a CSV file, or - for stdin")
    _reading(fit)
    _fitting(fit)
    fit.add_argument("--json", action="store_true", help="print the fit as JSON, which the other commands read")
    fit.add_argument("-o", "--output", metavar="FILE", help="write that JSON to a file and print the report")
    fit.add_argument("--strict", action="store_true", help="exit with 1 when the fit has a problem")

    ranked = command(
        "compare",
        run_compare,
        "rank laws by how well they would have forecast the table's own larger runs",
        "scaling compare runs.csv",
    )
    ranked.add_argument("table", metavar="TABLE", help="a CSV file of runs, or - for stdin")
    ranked.add_argument("--laws", metavar="LAW,..", help="only these laws (default: all that read the table)")
    ranked.add_argument("--x", metavar="COL", help="the column of laws of one variable: C, N or D")
    _reading(ranked)
    ranked.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    ranked.add_argument("--resamples", type=int, default=60, help="bootstrap resamples at each cut (default 60)")
    ranked.add_argument("--seed", type=int, default=0, help="seed of starts and resampling (default 0)")
    ranked.add_argument("--json", action="store_true", help="print JSON")

    forecast = command(
        "forecast",
        run_forecast,
        "loss where nobody has trained, with an interval: from a table of runs, or by one fitted law",
        "scaling forecast runs.csv --at N=7e10,D=1.4e12",
    )
    _uncertain(forecast, table=True)
    forecast.add_argument("--cautious", action="store_true", help="from a table: intervals a fifth wider")
    _reading(forecast)
    forecast.add_argument("--at", action="append", type=_pairs, metavar="N=..,D=..", help="one point; may be repeated")
    forecast.add_argument(
        "--schedule",
        metavar="SPEC",
        help="for curve laws: wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4000, or a CSV with a column lr",
    )

    best = command(
        "optimum",
        run_optimum,
        "compute-optimal N and D at a budget, with intervals",
        "scaling optimum fit.json --flops 1e24",
    )
    _uncertain(best)
    best.add_argument("--flops", type=_floats, required=True, metavar="C[,C..]", help="budgets in FLOP")

    add_schedule_command(command, _uncertain)

    held = command(
        "holdout",
        run_holdout,
        "fit without some runs, forecast them, and print how far off it was",
        "scaling holdout chinchilla runs.csv --hold 'C > 1e20' -o out",
    )
    held.add_argument("law", metavar="LAW", help="a law of N and D, or of one column with --x")
    held.add_argument("table", metavar="TABLE", help="a CSV file of runs, or - for stdin")
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
    _reading(held)
    _fitting(held)
    held.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    held.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples (default 1000)")
    held.add_argument("--json", action="store_true", help="print the forecasts as JSON")

    moves = command(
        "sensitivity",
        run_sensitivity,
        "how far the headline numbers move under other objectives and without some runs",
        "scaling sensitivity fit.json",
    )
    moves.add_argument("fit", metavar="FIT.json", help="a fit written by `scaling fit`, or - for stdin")
    moves.add_argument("--json", action="store_true", help="print every refit as JSON")

    plot = command(
        "plot",
        run_plot,
        "draw a fit: loss against compute, predicted against observed",
        "scaling plot fit.json -o fit.png",
    )
    _uncertain(plot)
    plot.add_argument("-o", "--output", required=True, metavar="FILE", help="png, svg or pdf")

    theory = command(
        "theory",
        run_theory,
        "losses of a model whose exponents are known (random features), as a plot and a table to try fits on",
        "scaling theory -a 1.5 -b 1.25 -o out",
    )
    theory.add_argument("-a", type=float, default=1.5, help="fall of the teacher's power: L ~ N^-(a-1) (default 1.5)")
    theory.add_argument("-b", type=float, default=1.25, help="fall of the eigenvalues: L ~ t^-(a-1)/b (default 1.25)")
    theory.add_argument(
        "--noise", type=float, default=0.0, help="sd of the labels; its square is the floor (default 0)"
    )
    theory.add_argument("--modes", type=float, default=1e8, help="modes of the data (default 1e8)")
    theory.add_argument("-o", "--output", metavar="DIR", help="write surface.csv and theory.png to a folder")
    theory.add_argument("--json", action="store_true", help="print the exponents as JSON")
    return parser


def _reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--map", type=_names, default={}, metavar="N=COL,..", help="our column names = the file's")
    sub.add_argument(
        "--where", metavar="EXPR", help="use only these rows, such as 'N > 1e7 and status == \"finished\"'"
    )
    sub.add_argument("--loss", metavar="COL", help="the column to read as loss")


def _fitting(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--x", metavar="COL", help="the column of a law of one variable: C, N or D")
    sub.add_argument(
        "--warmup", type=int, metavar="STEPS", help="curves: length of a linear warm-up that the log leaves out"
    )
    sub.add_argument("--fix", type=_pairs, default={}, metavar="P=VALUE,..", help="hold parameters at values")
    sub.add_argument("--tie", type=_names, default={}, metavar="P=Q,..", help="make parameters equal to others")
    sub.add_argument("--objective", help="log-huber (default for positive quantities), log-squared, huber, squared")
    sub.add_argument("--delta", type=float, help="Huber's threshold (default 1e-3)")
    sub.add_argument("--quantile", type=float, help="lead the law through this quantile of the losses (default 0.5)")
    sub.add_argument("--weights", metavar="COL", help="a column of row weights")
    sub.add_argument("--se", metavar="COL", help="a column of standard errors of the loss")
    sub.add_argument("--starts", type=int, default=16, help="separate descents to compare (default 16)")
    sub.add_argument("--seed", type=int, default=0, help="seed of starts and resampling (default 0)")


def _uncertain(sub: argparse.ArgumentParser, table: bool = False) -> None:
    sub.add_argument(
        "fit",
        metavar="TABLE|FIT.json" if table else "FIT.json",
        help=("a CSV file of runs, or " if table else "") + "a fit written by `scaling fit`, or - for stdin",
    )
    sub.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    sub.add_argument(
        "--resamples",
        type=int,
        default=None,
        help="bootstrap resamples (default 1000; for curves 200; from a table 100)",
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    sub.add_argument("--json", action="store_true", help="print JSON")


if __name__ == "__main__":
    sys.exit(main())
