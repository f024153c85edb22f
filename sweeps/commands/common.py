"""What several commands share: values, options, reading a grid, and saying things on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scaling.errors import ScalingError
from sweeps import tokens as corpora
from sweeps.grid import Grid, read_grid, shipped_grids, with_corpus, with_seeds_shifted
from sweeps.order import check_run
from sweeps.plan import Plan, build_plan
from sweeps.tokens import Tokens

#: Adds a subparser: name, what it runs, one line of help, examples.
Command = Callable[..., argparse.ArgumentParser]


def grid_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("grid", metavar="GRID", help=f"a TOML file, or one that comes along: {', '.join(shipped_grids())}")
    sub.add_argument(
        "--seed-offset", type=whole, default=0, metavar="K", help="add K to every seed: the same grid, other noise"
    )


@contextmanager
def torch_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ScalingError(
            "training needs torch, which is not installed: pip install 'scaling-sweeps[sweeps]'"
        ) from None


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def planned(args: argparse.Namespace) -> tuple[Grid, Tokens, Plan]:
    grid = read_grid(args.grid)
    tokens = corpora.load(grid.source)
    for run in grid.runs:
        check_run(tokens, run)
    grid = with_seeds_shifted(with_corpus(grid, tokens.digest), args.seed_offset)
    return grid, tokens, build_plan(grid.runs)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
