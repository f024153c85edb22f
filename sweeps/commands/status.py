"""`sweeps status`: how far every run is."""

from __future__ import annotations

import argparse
import json
from typing import Any

from sweeps import collecting, describing
from sweeps.commands.common import Command


def add(command: Command) -> None:
    status = command(
        "status",
        run,
        "print how far every run in a folder is",
        "sweeps status out/demo",
        "sweeps status out/demo --json",
    )
    status.add_argument("dir", metavar="DIR", help="folder that `sweeps run` wrote")
    status.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    states = collecting.status(args.dir)
    if args.json:
        rows: list[dict[str, Any]] = json.loads(states.to_json(orient="records"))
        print(json.dumps(rows, indent=1))
    else:
        print(describing.status_text(states))
    return 0
