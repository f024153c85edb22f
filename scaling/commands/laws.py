"""`scaling laws`: the list of laws, or one in full."""

from __future__ import annotations

import argparse
import json
from typing import Any

from scaling.commands.common import Command


def add(command: Command) -> None:
    laws = command("laws", run, "list the laws, or show one in full", "scaling laws chinchilla")
    laws.add_argument("name", nargs="?", metavar="NAME", help="a law")
    laws.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.lawpages import law_text, laws_text
    from scaling.laws import LAWS, find_law

    if args.json:
        chosen = [find_law(args.name)] if args.name else list(LAWS.values())
        print(json.dumps([_law_record(law) for law in chosen], indent=1))
    elif args.name:
        print(law_text(find_law(args.name)))
    else:
        print(laws_text(list(LAWS.values())))


def _law_record(law: Any) -> dict[str, Any]:
    return {
        "name": law.name, "family": law.family, "equation": law.equation, "cite": law.cite, "kind": law.kind,
        "inputs": list(law.inputs), "predicts": law.predicts, "unit": law.unit, "params": list(law.names),
        "units": law.units, "notes": law.notes, "instead": law.instead, "symbols": dict(law.symbols),
        "zero": list(law.zero), "hold": list(law.hold), "ranges": {k: list(v) for k, v in law.ranges.items()},
        "published": {k: dict(v) for k, v in law.published.items()},
    }  # fmt: skip
