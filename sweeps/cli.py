"""The command `sweeps`: the parser and what the shell sees. Each command is a file in `sweeps/commands/`.

Results go to stdout, everything else to stderr. Planning, looking and collecting work without torch: what trains is
imported by the functions that train.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from scaling.errors import ScalingError
from sweeps.commands import collect, coordinates, plan, report, run, status

#: In the order of the help.
COMMANDS = (plan, run, status, collect, report, coordinates)

EXAMPLES = """examples:
  sweeps plan demo                          what a grid will train and cost; nothing starts
  sweeps run demo --out out/demo            train it; run again after a stop, and it continues
  sweeps status out/demo                    how far every run is, also while it runs
  sweeps collect out/demo -o out/demo       runs.csv and curves.csv
  sweeps collect out/demo | scaling fit chinchilla -
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it worked, 1 for what is said in one line, 2 for wrong usage, 130 when interrupted."""
    args = _parser().parse_args(argv)
    try:
        code = args.command(args)
        sys.stdout.flush()
        return code
    except ScalingError as error:
        print(f"sweeps: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"sweeps: {error.filename or 'error'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sweeps: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sweeps",
        description="Train a grid of small transformers as stacks and forks, and log every loss curve to CSV.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, *examples: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=run)
        return sub

    for module in COMMANDS:
        module.add(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
