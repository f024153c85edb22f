"""What several commands share: values and groups of options, reading tables and fits, and printing.

Modules are imported where they are used, so that no command pays for what another needs.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError
from scaling.reading import FINALS

#: Adds a subparser: name, what it runs (None where it has actions of its own), one line of help, examples.
Command = Callable[..., argparse.ArgumentParser]


def names(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not (key.strip() and sign and value.strip()) for key, sign, value in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, separated by commas; got {text!r}")
    keys = [key.strip() for key, _, _ in pairs]
    repeated = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if repeated:
        raise argparse.ArgumentTypeError(f"{', '.join(repeated)} is given twice in {text!r}; name each once")
    return {key.strip(): value.strip() for key, _, value in pairs}


def numbers(text: str) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in names(text).items()}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, separated by commas; got {text!r}") from None


def floats(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas; got {text!r}") from None


def reading_options(sub: argparse.ArgumentParser) -> None:
    """How a table is read."""
    sub.add_argument("--map", type=names, default={}, metavar="N=COL,..", help="our column names = the file's")
    sub.add_argument(
        "--where", metavar="EXPR", help="use only these rows, such as 'N > 1e7 and status == \"finished\"'"
    )
    sub.add_argument("--loss", metavar="COL", help="the column to read as loss")
    sub.add_argument(
        "--units", type=names, default={}, metavar="N=M,loss=bits", help="units of columns: K, M, B, T, or of the loss"
    )
    sub.add_argument(
        "--set", action="append", default=[], metavar="COL=EXPR", help="a column by arithmetic: 'D=step * 524288'"
    )
    sub.add_argument(
        "--final", choices=FINALS[1:], help="curves: which rows are final losses (decayed for logs; rows for tables)"
    )
    sub.add_argument("--map-file", metavar="TOML", help="all of this, smoothing and steps to skip, from a file")


def fitting_options(sub: argparse.ArgumentParser) -> None:
    """How a law is fitted."""
    sub.add_argument("--x", metavar="COL", help="the column of a law of one variable: C, N or D")
    sub.add_argument(
        "--warmup", type=int, metavar="STEPS", help="curves: length of a linear warm-up that the log leaves out"
    )
    sub.add_argument("--fix", type=numbers, default={}, metavar="P=VALUE,..", help="hold parameters at values")
    sub.add_argument("--tie", type=names, default={}, metavar="P=Q,..", help="make parameters equal to others")
    sub.add_argument("--objective", help="log-huber (default for positive quantities), log-squared, huber, squared")
    sub.add_argument("--delta", type=float, help="Huber's threshold (default 1e-3)")
    sub.add_argument("--quantile", type=float, help="lead the law through this quantile of the losses (default 0.5)")
    sub.add_argument("--weights", metavar="COL", help="a column of row weights")
    sub.add_argument("--se", metavar="COL", help="a column of standard errors of the loss")
    sub.add_argument("--starts", type=int, default=16, help="separate descents to compare (default 16)")
    sub.add_argument("--seed", type=int, default=0, help="seed of starts and resampling (default 0)")


def uncertain_options(sub: argparse.ArgumentParser, table: bool = False) -> None:
    """A fit as the positional, or a table where `table`, and how its uncertainty is found."""
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


def reading_of(args: argparse.Namespace) -> Any:
    """What --map-file, --units, --set and --final say of the source; flags go before the file."""
    from scaling.reading import Reading, read_reading

    reading = read_reading(args.map_file) if args.map_file else Reading()
    arithmetic = {}
    for text in args.set:
        name, sign, expression = (part.strip() for part in text.partition("="))
        if not (name and sign and expression):
            raise ScalingError(f"--set takes COLUMN=ARITHMETIC, such as 'D=step * 524288'; got {text!r}")
        arithmetic[name] = expression
    return replace(
        reading,
        units={**reading.units, **args.units},
        set={**reading.set, **arithmetic},
        final=args.final or reading.final,
    )


def read_rows(args: argparse.Namespace, law: Any) -> Any:
    from scaling.curves import read_curves
    from scaling.table import read_table

    source, reading = sys.stdin if args.table == "-" else args.table, reading_of(args)
    if law is None:
        mapped = args.map | ({"loss": args.loss} if args.loss else {})
        return read_table(source, map=mapped, where=args.where, reading=reading)
    if law.kind == "curves":
        return read_curves(source, loss=args.loss, warmup=args.warmup, map=args.map, where=args.where, reading=reading)
    if args.warmup is not None:
        raise ScalingError(f"--warmup is for laws of whole curves; {law.name} reads {', '.join(law.inputs)}")
    mapped = args.map | ({law.predicts: args.loss} if args.loss else {})
    return read_table(source, map=mapped, where=args.where, reading=reading)


def fit_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "x": args.x, "objective": args.objective, "delta": args.delta, "weights": args.weights,
        "quantile": args.quantile, "se": args.se,
        "fix": args.fix, "tie": args.tie, "starts": args.starts,
    }  # fmt: skip


def law_of(args: argparse.Namespace) -> Any:
    from scaling.laws import find_law

    if Path(args.law).exists():
        raise ScalingError(
            f"the law comes first, then the table: scaling fit chinchilla {args.law} (see `scaling laws`)"
        )
    return find_law(args.law)


def draws_of(args: argparse.Namespace) -> Any:
    from scaling.intervals import bootstrap
    from scaling.persistence import from_json, read_fit

    fit = from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
    return bootstrap(fit, args.resamples, seed=args.seed)


def is_fit(args: argparse.Namespace) -> bool:
    """Whether the positional is a fit's JSON and not a table: by its ending, else by its first character."""
    path = Path(args.fit)
    if args.fit == "-":
        text = sys.stdin.read()
        sys.stdin = io.StringIO(text)
        return text.lstrip()[:1] in ("{", "[")
    if path.name == "trainer_state.json" or path.suffix in (".jsonl", ".ndjson"):
        return False
    if not path.is_file():
        return path.suffix == ".json"
    with path.open("rb") as file:
        first = file.read(64).lstrip()[:1]
    return first != b"[" if path.suffix == ".json" else first in (b"{", b"[")


def print_frame(args: argparse.Namespace, frame: Any, text: str) -> None:
    from scaling.persistence import frame_json

    print(frame_json(frame) if args.json else text)


def say(lines: list[str], args: argparse.Namespace) -> None:
    for line in lines:
        print(line, file=sys.stderr if args.json else sys.stdout)
