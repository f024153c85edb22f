"""`scaling crossover`: where one fitted law overtakes another."""

from __future__ import annotations

import argparse

from scaling.commands.common import Command, floats, numbers, print_frame
from scaling.errors import ScalingError


def add(command: Command) -> None:
    cross = command(
        "crossover",
        run,
        "where one fitted law overtakes another: from how many tokens, epochs or FLOP on, with an interval",
        "scaling crossover first.json second.json --along D --span 1e8,1e13 --at N=1e9",
        "scaling crossover first.json second.json --along C --span 1e17,1e24",
    )
    cross.add_argument("first", metavar="FIRST.json", help="a fit written by `scaling fit`: who is ahead at first")
    cross.add_argument("second", metavar="SECOND.json", help="a fit: who may overtake")
    cross.add_argument(
        "--along",
        required=True,
        metavar="COL",
        help="an input of both laws, as D; or C, with N and D at their best",
    )
    cross.add_argument("--span", required=True, type=floats, metavar="LO,HI", help="where to look, such as 1e8,1e12")
    cross.add_argument("--at", type=numbers, default={}, metavar="N=..,U=..", help="the other inputs, held")
    cross.add_argument("--level", type=float, default=0.9, help="chance that the interval should cover (default 0.9)")
    cross.add_argument("--resamples", type=int, default=None, help="bootstrap resamples of each fit (default 1000)")
    cross.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    cross.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    from scaling.crossing import crossover
    from scaling.intervals import bootstrap
    from scaling.persistence import read_fit

    if len(args.span) != 2:
        raise ScalingError(f"--span takes two numbers, such as 1e8,1e12; got {','.join(map(str, args.span))}")
    fits = [read_fit(path) for path in (args.first, args.second)]
    where = {"along": args.along, "span": (args.span[0], args.span[1]), **args.at}
    crossover(*fits, level=args.level, **where)  # so that what cannot be asked is refused before minutes of resampling
    draws = [bootstrap(fit, args.resamples, seed=args.seed + i) for i, fit in enumerate(fits)]
    frame = crossover(*draws, level=args.level, seed=args.seed, **where)
    if args.along == "D" and "U" in args.at:
        frame["epochs"] = frame["at"] / args.at["U"]
        frame[["epochs_lo", "epochs_hi"]] = frame[["lo", "hi"]] / args.at["U"]
    print_frame(args, frame, _text(frame.iloc[0], args))


def _text(row, args: argparse.Namespace) -> str:  # type: ignore[no-untyped-def]
    held = "".join(f", {name} = {value:g}" for name, value in args.at.items())
    lines = [f"second is {args.second}, along {args.along} from {args.span[0]:g} to {args.span[1]:g}{held}"]
    if row["at"] == row["at"]:
        lines.append(f"second has the lower loss from {args.along} = {row['at']:.4g} on")
    elif row["ahead"] == "second":
        lines.append("second has the lower loss from the start of the span on")
    else:
        lines.append("they do not cross there: first has the lower loss at the end")
    ends = [f"{row[end]:.4g}" if row[end] < float("inf") else "beyond the span" for end in ("lo", "hi")]
    lines.append(f"{100 * args.level:g}% interval {ends[0]} to {ends[1]}; {100 * row['cross']:.0f}% of the draws cross")
    if row["leads"]:
        lines[-1] += f", second leads from the start in {100 * row['leads']:.0f}%"
    if "epochs" in row and row["epochs"] == row["epochs"]:
        lines.append(f"that is after {row['epochs']:.4g} epochs ({row['epochs_lo']:.4g} to {row['epochs_hi']:.4g})")
    return "\n".join(lines)
