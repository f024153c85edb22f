"""The command `scaling`: laws, fit, compare, forecast, optimum, holdout, plot. Results on stdout, all else stderr."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError
from scaling.files import write_text
from scaling.options import floats as _floats, names as _names, numbers as _pairs

EXAMPLES = """examples:
  scaling laws chinchilla
  scaling fit runs.csv
  scaling forecast runs.csv --at N=7e10,D=1.4e12
  scaling fit chinchilla runs.csv -o fit.json
  scaling fit chinchilla theirs.csv --map N=params,D=tokens,loss=final_loss --where 'status == "finished"'
  scaling fit power runs.csv --x C --fix L_inf=0
  scaling fit tissue curves.csv --loss val_loss --warmup 2160
  scaling forecast fit.json --at N=7e10,D=1.4e12
  scaling optimum fit.json --flops 1e24
  scaling holdout chinchilla runs.csv --hold 'C > 1e20'
  scaling sensitivity fit.json
  scaling plot fit.json -o fit.png
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
        return sub

    laws = command("laws", _laws, "list the laws, or show one in full", "scaling laws chinchilla")
    laws.add_argument("name", nargs="?", metavar="NAME", help="a law")
    laws.add_argument("--json", action="store_true", help="print JSON")

    fit = command(
        "fit",
        _fit,
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
        _compare,
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
        _forecast,
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
        _optimum,
        "compute-optimal N and D at a budget, with intervals",
        "scaling optimum fit.json --flops 1e24",
    )
    _uncertain(best)
    best.add_argument("--flops", type=_floats, required=True, metavar="C[,C..]", help="budgets in FLOP")

    held = command(
        "holdout",
        _holdout,
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
        _sensitivity,
        "how far the headline numbers move under other objectives and without some runs",
        "scaling sensitivity fit.json",
    )
    moves.add_argument("fit", metavar="FIT.json", help="a fit written by `scaling fit`, or - for stdin")
    moves.add_argument("--json", action="store_true", help="print every refit as JSON")

    plot = command(
        "plot",
        _plot,
        "draw a fit: loss against compute, predicted against observed",
        "scaling plot fit.json -o fit.png",
    )
    _uncertain(plot)
    plot.add_argument("-o", "--output", required=True, metavar="FILE", help="png, svg or pdf")
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
    sub.add_argument("--objective", default="log-huber", help="log-huber (default), log-squared, huber, squared")
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


def _laws(args: argparse.Namespace) -> None:
    from scaling.laws import LAWS, find_law
    from scaling.report import law_text

    if args.json:
        chosen = [find_law(args.name)] if args.name else list(LAWS.values())
        print(json.dumps([_law_record(law) for law in chosen], indent=1))
    elif args.name:
        print(law_text(find_law(args.name)))
    else:
        for law in LAWS.values():
            print(f"{law.name:12} {law.equation:58} {law.cite.split(',')[0]}")


def _law_record(law: Any) -> dict[str, Any]:
    return {
        "name": law.name, "equation": law.equation, "cite": law.cite, "kind": law.kind, "inputs": list(law.inputs),
        "params": list(law.names), "units": law.units, "notes": law.notes,
        "published": {k: dict(v) for k, v in law.published.items()},
    }  # fmt: skip


def _read(args: argparse.Namespace, law: Any) -> Any:
    from scaling.curves import read_curves
    from scaling.table import read_table

    source = sys.stdin if args.table == "-" else args.table
    if law is None:
        return read_table(source, map=args.map | ({"loss": args.loss} if args.loss else {}), where=args.where)
    if law.kind == "curves":
        return read_curves(source, loss=args.loss, warmup=args.warmup, map=args.map, where=args.where)
    if args.warmup is not None:
        raise ScalingError(f"--warmup is for laws of whole curves; {law.name} reads {', '.join(law.inputs)}")
    return read_table(source, map=args.map | ({"loss": args.loss} if args.loss else {}), where=args.where)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "x": args.x, "objective": args.objective, "delta": args.delta, "weights": args.weights,
        "quantile": args.quantile, "se": args.se,
        "fix": args.fix, "tie": args.tie, "starts": args.starts,
    }  # fmt: skip


def _law_of(args: argparse.Namespace) -> Any:
    from scaling.laws import find_law

    if Path(args.law).exists():
        raise ScalingError(
            f"the law comes first, then the table: scaling fit chinchilla {args.law} (see `scaling laws`)"
        )
    return find_law(args.law)


def _fit(args: argparse.Namespace) -> None:
    from scaling.fitting import fit
    from scaling.persistence import to_json

    if args.law is None:
        _fit_all(args)
        return
    law = _law_of(args)
    result = fit(law, _read(args, law), seed=args.seed, **_options(args))
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
    named = {name: value for name, value in _options(args).items() if name not in ("x", "fix", "tie")}
    compared = compare(None, _read(args, None), x=args.x, seed=args.seed, **named)
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


def _compare(args: argparse.Namespace) -> None:
    from scaling.comparison import compare

    laws = args.laws.split(",") if args.laws else None
    compared = compare(laws, _read(args, None), x=args.x, level=args.level, resamples=args.resamples, seed=args.seed)
    print(compared.to_json() if args.json else compared.report())


def _draws(args: argparse.Namespace) -> Any:
    from scaling.intervals import bootstrap
    from scaling.persistence import from_json, read_fit

    fit = from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
    return bootstrap(fit, args.resamples, seed=args.seed)


def _is_fit(args: argparse.Namespace) -> bool:
    """Whether the positional is a fit's JSON and not a table: by its ending, else by its first character."""
    path = Path(args.fit)
    if args.fit == "-":
        text = sys.stdin.read()
        sys.stdin = io.StringIO(text)
        return text.lstrip()[:1] in ("{", "[")
    if path.suffix == ".json" or not path.is_file():
        return path.suffix == ".json"
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] in (b"{", b"[")


def _forecast_table(args: argparse.Namespace) -> None:
    import pandas as pd

    from scaling.forecasting import forecast
    from scaling.report import stacked_text
    from scaling.stacking import RESAMPLES, stack

    if not args.at or args.schedule:
        raise ScalingError("say where: --at N=..,D=.. (a forecast from a table is one of N and D)")
    args.table = args.fit
    stacked = stack(_read(args, None), resamples=args.resamples or RESAMPLES, seed=args.seed)
    names = sorted({name for at in args.at for name in at})
    if any(set(at) != set(names) for at in args.at):
        raise ScalingError("every --at must name N and D")
    points = {name: [at[name] for at in args.at] for name in names}
    frame = forecast(stacked, level=args.level, cautious=args.cautious, **points)
    text, said = stacked_text(stacked, frame, args.level), frame.attrs["said"]
    _print_frame(args, pd.DataFrame(frame), text)
    _said([*stacked.notes, *said], args)


def _forecast(args: argparse.Namespace) -> None:
    if not _is_fit(args):
        _forecast_table(args)
        return
    if args.map or args.where or args.loss or args.cautious:
        raise ScalingError("--map, --where, --loss and --cautious are for a forecast from a table; this is a fit")
    import pandas as pd

    from scaling.forecasting import forecast, range_warnings, rehearsal_line
    from scaling.report import forecast_text, schedule_from

    draws = _draws(args)
    if draws.fit.law.kind == "curves":
        if not args.schedule or args.at:
            raise ScalingError(f"{draws.fit.law.name} forecasts whole curves: give --schedule, not --at")
        frame = forecast(draws, schedule=schedule_from(args.schedule), level=args.level)
        warnings = list(draws.notes)
    else:
        if not args.at or args.schedule:
            raise ScalingError(
                f"say where: --at {','.join(draws.fit.columns[n] + '=..' for n in draws.fit.law.inputs)}"
            )
        frame = pd.concat([forecast(draws, level=args.level, **at) for at in args.at], ignore_index=True)
        warnings = [*draws.notes, *range_warnings(draws.fit, frame)]
    _print_frame(args, frame, forecast_text(frame))
    _said([*draws.fit.problems, *warnings, rehearsal_line(draws)], args)


def _optimum(args: argparse.Namespace) -> None:
    from scaling.allocation import optimum
    from scaling.forecasting import rehearsal_line
    from scaling.report import forecast_text

    draws = _draws(args)
    frame = optimum(draws, C=args.flops, level=args.level)
    _print_frame(args, frame, forecast_text(frame))
    _said([*draws.fit.problems, *draws.notes, rehearsal_line(draws)], args)


def _holdout(args: argparse.Namespace) -> None:
    from scaling.report import holdout_command

    law = _law_of(args)
    holdout_command(args, law, _read(args, law), _options(args))


def _sensitivity(args: argparse.Namespace) -> None:
    from scaling.persistence import from_json, read_fit
    from scaling.report import sensitivity_text
    from scaling.sensitivity import sensitivity

    fit = from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
    frame = sensitivity(fit)
    _print_frame(args, frame, sensitivity_text(frame))
    _said(list(fit.problems), args)


def _plot(args: argparse.Namespace) -> None:
    from scaling.plots import figure_of, save

    save(figure_of(_draws(args), level=args.level), args.output)
    print(f"wrote {args.output}", file=sys.stderr)


def _print_frame(args: argparse.Namespace, frame: Any, text: str) -> None:
    from scaling.persistence import frame_json

    print(frame_json(frame) if args.json else text)


def _said(lines: list[str], args: argparse.Namespace) -> None:
    for line in lines:
        print(line, file=sys.stderr if args.json else sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
