"""`scaling watch`: where a run that still trains will end."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from scaling.commands.common import Command, reading_of, reading_options
from scaling.commands.registering import register, register_options
from scaling.errors import ScalingError

EXAMPLES = (
    "scaling watch curves.csv --run big --schedule wsd:steps=20000,peak=2e-4,cooldown=4000",
    "scaling watch big.csv --family curves.csv --schedule plan.csv -o watch.png",
    "scaling watch curves.csv --run big --schedule plan.csv --json --register forecasts.jsonl",
    "scaling watch OUT --follow 60   (a folder of sweeps: the plan is in run.json)",
)


def add(command: Command) -> None:
    sub = command("watch", run, "where a run that still trains will end, and whether it is on course", *EXAMPLES)
    sub.add_argument("table", metavar="TABLE", help="a CSV of curves (run, step, loss), or a folder of sweeps")
    sub.add_argument("--run", dest="name", metavar="NAME", help="the run to watch; not needed where only one trains")
    sub.add_argument(
        "--schedule",
        metavar="SPEC",
        help="its plan: wsd:steps=24000,peak=3e-4,.., or a CSV with a column lr",
    )
    sub.add_argument("--family", metavar="FILE", help="a CSV of other curves, or a fit of curves (JSON)")
    sub.add_argument("--law", default="ncl", metavar="LAW", help="a law of whole curves (default ncl)")
    reading_options(sub)
    sub.add_argument("--warmup", type=int, metavar="STEPS", help="length of a linear warm-up that the log leaves out")
    sub.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the draws for a lone run (default 0)")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("-o", "--output", metavar="FILE", help="draw the forecast: png, svg or pdf")
    sub.add_argument("--follow", type=float, metavar="SECONDS", help="read again so often, until the run has ended")
    register_options(sub)


def run(args: argparse.Namespace) -> None:
    if args.follow is not None and not args.follow > 0:
        raise ScalingError(f"--follow takes seconds above 0, got {args.follow:g}")
    if args.follow is not None and args.register:
        raise ScalingError("--register takes one forecast: leave out --follow")
    if args.follow is None:
        _once(args)
        return
    last = None
    while True:
        found = _watched(args)
        if found.now != last:
            _print(args, found)
            last = found.now
        if found.now >= 0.99 * (found.steps - 1):
            return
        time.sleep(args.follow)


def _once(args: argparse.Namespace) -> None:
    found = _watched(args)
    _print(args, found)
    if args.register:
        import pandas as pd

        from scaling.registering import law_record, points_of, schedule_record

        sizes = {name: found.fit.table[name].iloc[0] for name in found.fit.law.inputs[1:]}
        frame = pd.DataFrame([{"loss": found.loss, "lo": found.lo, "hi": found.hi} | sizes])
        points = points_of(frame, sizes, runs=[found.run])
        by = law_record(found.fit) | {"watched_to": found.now, "family": len(found.family)}
        register(args, points, by, _data(args), schedule_record(found.plan, args.schedule or ""))


def _data(args: argparse.Namespace) -> Any:
    """The record of all that the files held: what --where left out too, and the run's own rows in the family's file."""
    from scaling.registering import data_record

    args.where = None
    record = data_record(_own(args)[0], args.table)
    if args.family:
        theirs = data_record(_others(args), args.family)
        record |= {"family": {name: theirs[name] for name in ("source", "sha256", "runs")}}
        record["rows"] = sorted({*record["rows"], *theirs["rows"]})
    return record


def _watched(args: argparse.Namespace) -> Any:
    from scaling.watching import watch

    curves, name, plan = _given(args)
    return watch(curves, name, plan, law=args.law, level=args.level, seed=args.seed)


def _given(args: argparse.Namespace) -> tuple[Any, str, Any]:
    """The curves of the run and of its family, the run's name, its plan."""
    from scaling.schedule_spec import schedule_from

    curves, plans, training = _own(args)
    what = "runs" if plans is None else "runs that train"
    name = args.name or _only(training, what)
    if args.schedule:
        plan = schedule_from(args.schedule)
    elif plans is not None:
        plan = plans.get(name)
        if plan is None:
            raise ScalingError(f"{args.table} has no run {name!r} with a curve")
    else:
        plan = curves.attrs["schedules"].lr.get(name)
        rows = curves[(curves["run"].astype(str) == name) & curves["loss"].notna()]
        if plan is None or not len(rows) or len(plan) <= rows["step"].max() + 1:
            raise ScalingError(
                f"the plan of run {name!r} is not known: give --schedule, or rows with step and lr up to its end"
            )
    return (_joined(args, curves, name) if args.family else curves), name, plan


def _own(args: argparse.Namespace) -> tuple[Any, Any, list[str]]:
    """The curves of TABLE, the plans that it holds if it is a folder of sweeps, and the runs that may be meant."""
    if any(Path(args.table).glob("*/run.json")):
        from scaling.sweep_folder import read_sweep_folder

        folder = read_sweep_folder(args.table, loss=args.loss)
        return folder.curves, folder.plans, list(folder.training)
    curves = _read(args, args.table, args.follow is not None)
    return curves, None, [str(run) for run in curves["run"].unique()]


def _read(args: argparse.Namespace, path: str, growing: bool = False) -> Any:
    from scaling.curves import read_curves

    source: Any = path
    if path == "-":
        args.text = getattr(args, "text", None) or sys.stdin.read()  # a stream is read once
        source = io.StringIO(args.text)
    elif growing and Path(path).is_file() and Path(path).suffix in (".csv", ".tsv", ".txt"):
        text = Path(path).read_text(encoding="utf-8")
        source = io.StringIO(text[: text.rfind("\n") + 1])  # a last line without its break is still being written
    return read_curves(
        source, loss=args.loss, warmup=args.warmup, map=args.map, where=args.where, reading=reading_of(args)
    )


def _others(args: argparse.Namespace) -> Any:
    """The curves of the family's file, or those of a fit."""
    if not args.family.endswith(".json"):
        return _read(args, args.family)
    from scaling.persistence import read_fit

    fitted = read_fit(args.family)
    if fitted.law.kind != "curves":
        raise ScalingError(f"{args.family} is a fit of {fitted.law.name}, which reads no curves")
    return fitted.table


def _joined(args: argparse.Namespace, curves: Any, name: str) -> Any:
    """The run's rows and those of the family's file."""
    import pandas as pd

    from scaling.curves import Schedules

    others = _others(args)
    rates = {str(run): lr for run, lr in others.attrs["schedules"].lr.items() if str(run) != name}
    others = others[others["run"].astype(str) != name].assign(run=lambda t: t["run"].astype(str))
    table = pd.concat([curves, others], ignore_index=True)
    table.attrs = curves.attrs | {"schedules": Schedules(rates | dict(curves.attrs["schedules"].lr))}
    return table


def _only(names: list[str], what: str) -> str:
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    raise ScalingError(
        f"say which run to watch: --run NAME; there are {len(names)} {what}{f': {shown}' if names else ''}"
    )


def _print(args: argparse.Namespace, found: Any) -> None:
    from scaling.watch_text import watch_record, watch_text

    print(json.dumps(watch_record(found), indent=1, allow_nan=False) if args.json else watch_text(found), flush=True)
    if args.output:
        from scaling.figures.watching import watch_figure
        from scaling.style import save

        save(watch_figure(found), args.output)
        print(f"wrote {args.output}", file=sys.stderr)
