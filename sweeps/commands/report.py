"""`sweeps report`: one page on a sweep."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from sweeps import records
from sweeps.commands.common import Command, say


def add(command: Command) -> None:
    page = command(
        "report",
        run,
        "one HTML page on a sweep, also while it runs: states, curves so far, failures, a fit once enough runs ended",
        "sweeps report out/demo -o out/demo/report.html",
        "sweeps report out/demo --no-fit",
    )
    page.add_argument("dir", metavar="DIR", help="folder that `sweeps run` wrote")
    page.add_argument("-o", "--output", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    page.add_argument("--no-fit", action="store_true", help="fit no law: a fit takes some seconds")
    page.add_argument("--corpus", metavar="DIGEST", help="only runs on this text")


def run(args: argparse.Namespace) -> int:
    from sweeps import reporting

    typed = shlex.join(["sweeps", "report", args.dir, *(["--no-fit"] if args.no_fit else [])])
    text = reporting.report(args.dir, corpus=args.corpus, fit=not args.no_fit, command=typed)
    path = args.output or Path(args.dir) / "report.html"
    with records.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(path, text)
    say(f"wrote {path}")
    return 0
