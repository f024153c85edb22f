"""The command `scaling`: the parser and what the shell sees. Each command is a file in `scaling/commands/`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from scaling.commands import (
    compare,
    crossover,
    datasets,
    design,
    fit,
    forecast,
    holdout,
    isoflop,
    laws,
    mixture,
    optimum,
    plot,
    read,
    report,
    schedule,
    score,
    sensitivity,
    theory,
    watch,
)
from scaling.errors import ScalingError
from scaling.lawfile import blamed, own_laws

#: In the order of the help: laws and fits first, what is done with them after.
COMMANDS = (
    laws, read, fit, compare, forecast, watch, score, optimum, isoflop, crossover, mixture, design, schedule, holdout,
    sensitivity, plot, report, theory, datasets,
)  # fmt: skip

EXAMPLES = """examples:
  scaling laws chinchilla
  scaling read mlruns -o out
  scaling fit runs.csv
  scaling forecast runs.csv --at N=7e10,D=1.4e12
  scaling fit chinchilla runs.csv -o fit.json
  scaling fit chinchilla theirs.csv --map N=params,D=tokens,loss=final_loss --where 'status == "finished"'
  scaling fit power runs.csv --x C --fix L_inf=0
  scaling fit mylaw runs.csv --law-file mylaw.py   (executes mylaw.py)
  scaling fit tissue curves.csv --loss val_loss --warmup 2160
  scaling forecast fit.json --at N=7e10,D=1.4e12
  scaling forecast runs.csv --at N=7e10,D=1.4e12 --register forecasts.jsonl
  scaling watch curves.csv --run big --schedule wsd:steps=20000,peak=2e-4,cooldown=4000
  scaling score forecasts.jsonl results.csv
  scaling optimum fit.json --flops 1e24
  scaling isoflop runs.csv -o isoflop.png
  scaling crossover first.json second.json --along D --span 1e8,1e13 --at N=1e9
  scaling mixture mixtures.csv --experts experts.csv
  scaling design fit.json --flops 1e21 --at C=1e23 -o grid.toml
  scaling schedule optimize curves-fit.json --steps 24000 --peak 3e-4 --warmup 2160
  scaling holdout chinchilla runs.csv --hold 'C > 1e20'
  scaling sensitivity fit.json
  scaling plot fit.json -o fit.png
  scaling report runs.csv -o report.html
  scaling theory -o out
  scaling datasets luo2025 -o curves.csv
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
        with own_laws(args.law_file) as own:
            args.own = own
            args.argv = list(sys.argv[1:] if argv is None else argv)
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
    except Exception as error:
        said = blamed(error, args.law_file)
        if said is None:
            raise
        print(f"scaling: {said}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scaling",
        description="Fit scaling laws to logged runs, say how far to trust them, forecast budgets nobody has trained.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, *examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog="\n  ".join(["examples:", *examples]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --law is not --law-file
        )
        sub.set_defaults(run=run)
        sub.add_argument(
            "--law-file", metavar="FILE.py", help="laws of your own, known by name here; this executes the file"
        )
        return sub

    for module in COMMANDS:
        module.add(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
