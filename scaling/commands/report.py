"""`scaling report`: from a table to one page that a team can read."""

from __future__ import annotations

import argparse
import hashlib
import io
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from scaling.commands.common import Command, floats, numbers, read_rows, reading_options
from scaling.errors import ScalingError


def add(command: Command) -> None:
    report = command(
        "report",
        run,
        "one HTML page from a table of runs or of curves: data, laws, fit, forecasts, optimum, plots",
        "scaling report runs.csv -o report.html",
        "scaling report runs.csv --at N=7e10,D=1.4e12 --flops 1e24 --question 'Is 70B worth it?' -o report.html",
        "scaling report curves.csv --schedule cosine:steps=40000,peak=2e-4 -o curves.html",
    )
    report.add_argument("table", metavar="TABLE", help="a CSV file of runs or of curves, or - for stdin")
    report.add_argument("-o", "--output", required=True, metavar="FILE", help="the page, such as report.html")
    reading_options(report)
    report.add_argument("--question", default="", metavar="TEXT", help="what the page should answer: its title")
    report.add_argument("--law", metavar="LAW", help="this law, in place of the one that forecasts best")
    report.add_argument("--x", metavar="COL", help="the column of laws of one variable: C, N or D")
    report.add_argument(
        "--at", action="append", type=numbers, default=[], metavar="N=..,D=..", help="a point to forecast; repeat"
    )
    report.add_argument("--flops", type=floats, default=[], metavar="C[,C..]", help="budgets in FLOP")
    report.add_argument("--curves", metavar="CSV", help="the runs' curves (run, tokens, loss), drawn behind the runs")
    report.add_argument("--warmup", type=int, metavar="STEPS", help="of curves: length of a warm-up the log leaves out")
    report.add_argument(
        "--schedule", action="append", default=[], metavar="SPEC", help="of curves: a schedule to forecast; repeat"
    )
    report.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    report.add_argument("--resamples", type=int, default=200, help="bootstrap resamples (default 200)")
    report.add_argument("--seed", type=int, default=0, help="seed of starts and resampling (default 0)")


def run(args: argparse.Namespace) -> None:
    from scaling.files import write_text
    from scaling.reporting.parts import Asked
    from scaling.schedule_spec import schedule_from

    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:5.1f} s  {text}", file=sys.stderr, flush=True)

    if not 0 < args.level < 1:
        raise ScalingError(f"--level is the chance that an interval covers, between 0 and 1; got {args.level}")
    raw = sys.stdin.read() if args.table == "-" else None
    say(f"reading {args.table}")
    asked = Asked(
        source="stdin" if raw is not None else Path(args.table).name, question=args.question, law=args.law, x=args.x,
        at=args.at, flops=args.flops, schedules={spec: schedule_from(spec) for spec in args.schedule},
        level=args.level, resamples=args.resamples, seed=args.seed, digest=_digest(args.table, raw),
        command=shlex.join(["scaling", *args.argv]), reading=_reading(args), say=say,
    )  # fmt: skip
    text = _of_curves(args, asked, raw) if _is_curves(args, raw) else _of_runs(args, asked, raw)
    write_text(args.output, text)
    say(f"wrote {args.output} ({len(text) / 1e6:.1f} MB)")


def _reading(args: argparse.Namespace) -> str:
    """The flags that say how the table is read, as they are typed."""
    mapped = ",".join(f"{ours}={theirs}" for ours, theirs in args.map.items())
    given = {"--map": mapped, "--where": args.where, "--loss": args.loss, "--warmup": args.warmup}
    return "".join(f" {flag} {shlex.quote(str(value))}" for flag, value in given.items() if value)


def _source(args: argparse.Namespace, raw: str | None) -> Any:
    return args.table if raw is None else io.StringIO(raw)


def _is_curves(args: argparse.Namespace, raw: str | None) -> bool:
    """Whether the table is of curves: the law says so, or it has steps and learning rates and several rows a run."""
    from scaling.laws import find_law
    from scaling.table import CURVE_ALIASES, read_table

    if args.law:
        return bool(find_law(args.law).kind == "curves")
    table = read_table(_source(args, raw), map=args.map)
    columns = set(table)
    if not all(name in columns or columns & set(CURVE_ALIASES[name]) for name in ("step", "lr")):
        return False
    if "run" in table.attrs.get("made", ()):
        step = next(name for name in ("step", *CURVE_ALIASES["step"]) if name in columns)
        return not {"N", "D"} <= columns and bool(table[step].nunique() > len(table) / 2)
    return bool(table["run"].duplicated().any())  # a table of runs may say their steps and peak rates


def _of_curves(args: argparse.Namespace, asked: Any, raw: str | None) -> str:
    from scaling.curves import read_curves
    from scaling.reporting.curves import curves_page

    if args.flops or args.x or args.curves:
        raise ScalingError("--flops, --x and --curves are for tables of runs; this one is of curves")
    source = _source(args, raw)
    return curves_page(read_curves(source, loss=args.loss, warmup=args.warmup, map=args.map, where=args.where), asked)


def _of_runs(args: argparse.Namespace, asked: Any, raw: str | None) -> str:
    from dataclasses import replace

    from scaling.curves import read_curves
    from scaling.plots import sized
    from scaling.reporting.runs import runs_page

    if args.schedule or args.warmup is not None:
        raise ScalingError("--schedule and --warmup are for tables of curves; this one has no columns step and lr")
    args.warmup = None
    sys.stdin = sys.stdin if raw is None else io.StringIO(raw)
    table = read_rows(args, None)
    curves = sized(read_curves(args.curves), table) if args.curves else None
    return runs_page(table, replace(asked, curves=curves))


def _digest(path: str, raw: str | None) -> str:
    """sha256 of what was read; empty for what is no plain file."""
    if raw is not None:
        return hashlib.sha256(raw.encode()).hexdigest()
    if not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
