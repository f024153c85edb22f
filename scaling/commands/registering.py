"""`--register FILE`, which `scaling forecast` and `scaling watch` share: a forecast becomes a dated record."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def register_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--register", metavar="FILE", help="add the forecast to a file of dated records, for `scaling score`"
    )


def register(args: argparse.Namespace, points: list[Any], by: Any, data: Any, schedule: Any = None) -> None:
    """Add a record to the file that --register names, and say its digest."""
    from scaling.ledger import append_record
    from scaling.registering import forecast_record

    named = ("map", "where", "loss", "warmup", "cautious", "seed", "resamples")
    options = {name: value for name in named if (value := getattr(args, name, None))}
    content = forecast_record(by, data, points, args.level, schedule, options)
    record = append_record(args.register, content)
    print(f"registered in {args.register} at {record['made']}; head {record['digest']}", file=sys.stderr)
