"""`scaling report`: from a table to one page that a team can read."""

from __future__ import annotations

import argparse
import hashlib
import io
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.commands.common import Command, floats, numbers, reading_of, reading_options
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
        command=shlex.join(["scaling", *args.argv]), reading=_flags(args), say=say,
    )  # fmt: skip
    text = _page(args, asked, args.table if raw is None else raw)
    write_text(args.output, text)
    say(f"wrote {args.output} ({len(text) / 1e6:.1f} MB)")


def _page(args: argparse.Namespace, asked: Any, given: str) -> str:
    """The page of curves or of runs, as the law or the source says."""
    from scaling.laws import find_law

    if args.law:
        return _of_curves(args, asked, given) if find_law(args.law).kind == "curves" else _of_runs(args, asked, given)
    from scaling.overview import overview

    found = overview(_opened(args, given), reading_of(args), map=args.map, loss=args.loss, where=args.where)
    grows = found.curves is not None and (found.curves.groupby("run")["step"].nunique() > 1).any()
    if found.runs is None or (grows and not Path(args.table).is_dir()):
        return _of_curves(args, asked, given)
    return _of_runs(args, asked, given, found.curves)


def _of_curves(args: argparse.Namespace, asked: Any, given: str) -> str:
    from scaling.curves import read_curves
    from scaling.reporting.curves import curves_page

    if args.flops or args.x or args.curves:
        raise ScalingError("--flops, --x and --curves are for tables of runs; this one is of curves")
    table = read_curves(
        _opened(args, given), loss=args.loss, warmup=args.warmup, map=args.map, where=args.where,
        reading=reading_of(args),
    )  # fmt: skip
    return curves_page(table, asked)


def _of_runs(args: argparse.Namespace, asked: Any, given: str, curves: Any = None) -> str:
    """`curves` are those beside the runs in one source, drawn where they have tokens."""
    from scaling.curves import read_curves
    from scaling.plots import sized
    from scaling.reporting.runs import runs_page
    from scaling.table import read_table

    if args.schedule or args.warmup is not None:
        raise ScalingError("--schedule and --warmup are for tables of curves; this one has no columns step and lr")
    mapped = args.map | ({"loss": args.loss} if args.loss else {})
    table = read_table(_opened(args, given), map=mapped, where=args.where, reading=reading_of(args))
    if args.curves:
        curves = read_curves(args.curves)
    elif curves is not None and not ("tokens" in curves and "N" in table):
        curves = None
    return runs_page(table, replace(asked, curves=None if curves is None else sized(curves, table)))


def _opened(args: argparse.Namespace, given: str) -> Any:
    return io.StringIO(given) if args.table == "-" else given


def _flags(args: argparse.Namespace) -> str:
    """The flags that say how the table is read, as they are typed."""
    found = ""
    for flag in ("map", "units"):
        pairs = ",".join(f"{ours}={theirs}" for ours, theirs in getattr(args, flag).items())
        found += f" --{flag} {shlex.quote(pairs)}" if pairs else ""
    found += "".join(f" --set {shlex.quote(text)}" for text in args.set)
    for flag in ("where", "loss", "final", "map_file", "warmup"):
        value = getattr(args, flag)
        found += f" --{flag.replace('_', '-')} {shlex.quote(str(value))}" if value is not None else ""
    return found


def _digest(path: str, raw: str | None) -> str:
    """sha256 of what was read; empty for what is no plain file."""
    if raw is not None:
        return hashlib.sha256(raw.encode()).hexdigest()
    if not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
