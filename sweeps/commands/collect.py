"""`sweeps collect`: tables out of a folder of runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sweeps import collecting, thinning
from sweeps.commands.common import Command, positive, say


def add(command: Command) -> None:
    collect = command(
        "collect",
        run,
        "gather the runs of a folder into runs.csv (one row a run) and curves.csv (one row a logged step)",
        "sweeps collect out/demo -o out/demo",
        "sweeps collect out/demo -o tables --rows 300",
        "sweeps collect out/demo | scaling fit chinchilla -",
    )
    collect.add_argument("dir", metavar="DIR", help="folder that `sweeps run` wrote")
    collect.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write both there, and experts.csv if any (default: to stdout)"
    )
    printed = collect.add_mutually_exclusive_group()
    printed.add_argument("--curves", action="store_true", help="print the curves to stdout instead of the runs")
    printed.add_argument(
        "--experts", action="store_true", help="print the losses of data experts on every validation token instead"
    )
    collect.add_argument("--corpus", metavar="DIGEST", help="only runs on this text")
    collect.add_argument(
        "--rows", type=positive, metavar="N",
        help="N rows a curve: those validated, those where the learning rate bends (be they more), others evenly",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    runs, curves = collecting.collect(args.dir, corpus=args.corpus)
    waiting = int((~runs["status"].isin(["finished", "diverged"])).sum())
    if waiting:
        say(f"sweeps: {waiting} of {len(runs)} runs are not done: their loss is empty, their curves end where they are")
    bare = sorted(set(runs["run"][runs["status"] == "finished"]) - set(curves["run"]))
    if bare:
        say(f"sweeps: {len(bare)} finished runs have no curve, {bare[0]} first: their curve.csv was removed or emptied")
    if args.rows is not None:
        curves = thinning.thinned(curves, args.rows)
    experts = collecting.collect_experts(args.dir, args.corpus, None if args.experts else say)
    if args.experts:
        sys.stdout.write(collecting.to_csv(experts["experts.csv"]))
    elif args.output is not None:
        for name, table in ({"runs.csv": runs, "curves.csv": curves} | experts).items():
            collecting.write_csv(args.output / name, table)
            print(f"{args.output / name}: {len(table)} rows")
    else:
        sys.stdout.write(collecting.to_csv(curves if args.curves else runs))
    return 0
