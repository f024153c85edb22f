"""`scaling fit`: one law, or the best of all that apply."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scaling.commands.common import Command, fit_options, fitting_options, law_of, read_rows, reading_options
from scaling.errors import ScalingError
from scaling.files import write_text


def add(command: Command) -> None:
    fit = command(
        "fit",
        run,
        "fit a law to a table of runs or of curves; without LAW, rank the laws by rehearsal and fit the best",
        "scaling fit chinchilla runs.csv -o fit.json",
    )
    fit.add_argument("law", nargs="?", metavar="LAW", help="a law by name (see `scaling laws`); all that apply without")
    fit.add_argument(
        "table", metavar="TABLE", help="a table, a log, or a folder of logs (see `scaling read`); - for stdin"
    )
    reading_options(fit)
    fitting_options(fit)
    fit.add_argument("--json", action="store_true", help="print the fit as JSON, which the other commands read")
    fit.add_argument("-o", "--output", metavar="FILE", help="write that JSON to a file and print the report")
    fit.add_argument("--strict", action="store_true", help="exit with 1 when the fit has a problem")


def run(args: argparse.Namespace) -> None:
    from scaling.fitting import fit
    from scaling.persistence import to_json

    if args.law is None and len(args.own) == 1:
        args.law = args.own[0].name
    if args.law is None and args.own:
        names = ", ".join(law.name for law in args.own)
        raise ScalingError(f"{args.law_file} declares {names}; say which: scaling fit LAW TABLE --law-file ...")
    if args.law is None:
        _fit_all(args)
        return
    law = law_of(args)
    result = fit(law, read_rows(args, law), seed=args.seed, **fit_options(args))
    print(to_json(result) if args.json else result.report(), flush=True)
    if args.output:
        write_text(args.output, to_json(result) + "\n")
    if args.strict and not result.ok:
        raise ScalingError(f"--strict: the fit has {len(result.problems)} problems, the first: {result.problems[0]}")


def _fit_all(args: argparse.Namespace) -> None:
    """`scaling fit TABLE`: the ranking first, then the law that forecast best; --json and -o give that law's fit."""
    from scaling.comparison import compare
    from scaling.laws import LAWS
    from scaling.persistence import to_json

    if args.table in LAWS and not Path(args.table).exists():
        raise ScalingError(f"say what to fit {args.table} to: scaling fit {args.table} TABLE")
    if args.fix or args.tie:
        raise ScalingError("--fix and --tie hold parameters of one law: scaling fit LAW TABLE --fix ...")
    named = {name: value for name, value in fit_options(args).items() if name not in ("x", "fix", "tie")}
    compared = compare(None, read_rows(args, None), x=args.x, seed=args.seed, **named)
    best = compared.fits[next(name for name in compared.ranking.index if name in compared.fits)]
    print(compared.report() + "\n", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(to_json(best))
    else:
        print(
            "\n".join([best.report(), "", "the others", *(f"  {f}" for f in compared.fits.values() if f is not best)])
        )
    if args.output:
        write_text(args.output, to_json(best) + "\n")
    if args.strict and not best.ok:
        raise ScalingError(f"--strict: {best.law.name} has {len(best.problems)} problems, first: {best.problems[0]}")
