"""`scaling design`: which runs to train next."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from scaling.commands.common import Command, floats, numbers, print_frame
from scaling.commands.optimum import rule_of, shape_options
from scaling.errors import ScalingError


def add(command: Command) -> None:
    sub = command(
        "design",
        run,
        "the runs that narrow a forecast most for their FLOP, as a grid that sweeps runs",
        "scaling design fit.json --flops 1e21 --at C=1e23",
        "scaling design fit.json --flops 1e21 --at N=7e10,D=1.4e12 -o grid.toml",
        "scaling design --prior besiroglu2024 --flops 1e21 --at C=1e24 --head-dim 64 -o grid.toml",
        "scaling design --prior besiroglu2024 --flops 1e21 --at C=1e24 --target N_opt --tokens-per-param 5,20,80",
        "scaling design --prior besiroglu2024 --flops 1e21 --at C=1e23 --within 0.07",
    )
    sub.add_argument("fit", nargs="?", metavar="FIT.json", help="a fit, whose runs count as trained, or - for stdin")
    sub.add_argument("--prior", metavar="SET", help="in place of a fit: published coefficients, and nothing trained")
    sub.add_argument("--flops", type=float, required=True, metavar="C", help="FLOP that the runs may cost together")
    sub.add_argument("--at", type=numbers, required=True, metavar="C=..|N=..,D=..", help="where the forecast is wanted")
    sub.add_argument(
        "--target", choices=("loss", "N_opt"), default="loss", help="what is wanted there: the loss, or at C the best N"
    )
    sub.add_argument(
        "--within", type=float, metavar="SHARE", help="the cheapest runs that bring half the interval to this, as .05"
    )
    sub.add_argument("--tokens-per-param", type=floats, metavar="R[,R..]", help="horizons (default 5,10,20,40,80,160)")
    sub.add_argument(
        "--sizes", type=floats, metavar="LO,HI", help="sizes to try (default: the largest affordable / 100)"
    )
    sub.add_argument("--runs", type=int, default=40, metavar="K", help="runs at most (default 40)")
    sub.add_argument("--noise", type=float, help="sd of a run's ln loss (default: the fit's residuals'; .003 without)")
    sub.add_argument("--cooldown", type=float, default=0.2, help="share of a run that is its cooldown (default 0.2)")
    sub.add_argument("--alone", action="store_true", help="runs of one shape share no trunk, as with cosine schedules")
    sub.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    sub.add_argument(
        "--lr", type=float, default=0.01, help="with -o: peak learning rate at the base width (default .01)"
    )
    sub.add_argument("--corpus", help="with -o: the text (default stdlib)")
    sub.add_argument("--batch", type=int, help="with -o: sequences of an update")
    sub.add_argument("--json", action="store_true", help="print the runs as JSON")
    sub.add_argument("-o", "--output", metavar="GRID.toml", help="write the grid")
    shape_options(sub, counts="matmul")


def run(args: argparse.Namespace) -> None:
    from scaling.bands import half_width
    from scaling.designing import cheapest_design, design_runs
    from scaling.information import Target
    from scaling.lattice import RATIOS, build_lattice

    if (args.fit is None) == (args.prior is None):
        raise ScalingError("say either a fit, or --prior SET")
    unknown = set(args.at) - {"N", "D", "C"}
    if unknown or (args.sizes and len(args.sizes) != 2):
        raise ScalingError("--at takes C=.. or N=..,D=.., and --sizes two numbers")
    if args.alone and args.output:
        raise ScalingError(
            "a grid is written with warm-up, stable, decay schedules, which share trunks: leave out --alone"
        )
    target = Target(args.target, **args.at)
    sizes: Any = tuple(args.sizes) if args.sizes else None
    lattice = build_lattice(
        rule_of(args), args.flops, ratios=args.tokens_per_param or RATIOS, sizes=sizes, cooldown=args.cooldown,
        forked=not args.alone,
    )  # fmt: skip
    options: dict[str, Any] = {"noise": args.noise, "most": args.runs}
    if args.within is None:
        design = design_runs(_source(args), target, args.flops, lattice, **options)
    else:
        sd = args.within / half_width(args.level)
        design = cheapest_design(_source(args), target, lattice, sd, args.flops, **options)
    print_frame(args, design.runs, design.report(args.level))
    if args.output:
        from scaling.files import write_text
        from scaling.gridfile import grid_text

        write_text(args.output, grid_text(design, lr=args.lr, corpus=args.corpus, batch=args.batch))
        print(f"wrote {args.output}: sweeps plan {args.output}", file=sys.stderr)


def _source(args: argparse.Namespace) -> Any:
    from scaling.persistence import from_json, read_fit
    from scaling.published import find_published

    if args.prior is not None:
        return find_published(args.prior)
    return from_json(sys.stdin.read()) if args.fit == "-" else read_fit(args.fit)
