"""`scaling optimum`: the size and tokens that a budget, or a loss, asks for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scaling.commands.common import Command, draws_of, floats, print_frame, say, uncertain_options
from scaling.errors import ScalingError


def add(command: Command) -> None:
    best = command(
        "optimum",
        run,
        "the best N and D at a budget, or the cheapest for a loss, with intervals",
        "scaling optimum fit.json --flops 1e24",
        "scaling optimum fit.json --flops 1e22,1e24 --cost attention --round",
        "scaling optimum fit.json --loss 2.1 --served 2e12",
        "scaling optimum fit.json --flops 1e23 --unique 1e11",
        "scaling optimum fit.json --flops 1e24 --off",
        "scaling optimum besiroglu2024 --flops 1e21",
    )
    uncertain_options(best)
    asked = best.add_mutually_exclusive_group(required=True)
    asked.add_argument("--flops", type=floats, metavar="C[,C..]", help="budgets in FLOP; with --served, of both")
    asked.add_argument("--loss", type=floats, metavar="L[,L..]", help="losses to reach with the fewest FLOP")
    cost_options(best)
    best.add_argument(
        "--served", type=float, default=0.0, metavar="TOKENS", help="tokens to serve, at 2 N FLOP each, counted in C"
    )
    best.add_argument(
        "--unique",
        type=float,
        metavar="TOKENS",
        help="tokens that exist; repeats are worth what Muennighoff 2023 found",
    )
    best.add_argument("--off", action="store_true", help="what other sizes waste, and how flat the valley is")
    best.add_argument("--round", action="store_true", help="round N to shapes that can be built")


def cost_options(sub: argparse.ArgumentParser) -> None:
    """What training costs, and the shapes that some costs look at."""
    sub.add_argument(
        "--cost",
        default="6ND",
        metavar="NAME",
        help="6ND (default), forward, head, attention, or table: fitted to its C",
    )
    shape_options(sub)


def shape_options(sub: argparse.ArgumentParser, counts: str = "chinchilla") -> None:
    """How size becomes shape. What N counts differs: the laws' papers count all, the trainer what 6 N D needs."""
    from scaling.shapes import COUNTS, ShapeRule

    rule = ShapeRule()
    shape = sub.add_argument_group("shapes, for costs that look at them and for models that can be built")
    shape.add_argument("--aspect", type=float, default=rule.aspect, help=f"width / depth (default {rule.aspect:g})")
    shape.add_argument(
        "--head-dim", type=int, default=rule.head_dim, help=f"channels of a head (default {rule.head_dim})"
    )
    shape.add_argument("--context", type=int, default=rule.context, help=f"tokens (default {rule.context})")
    shape.add_argument("--vocab", type=int, default=rule.vocab, help=f"vocabulary (default {rule.vocab})")
    shape.add_argument(
        "--counts", choices=COUNTS, default=counts,
        help="what N holds: all (chinchilla), no embedding (matmul), neither that nor the head (kaplan); "
        f"default {counts}",
    )  # fmt: skip


def rule_of(args: argparse.Namespace) -> Any:
    """The rule of the shape options."""
    from scaling.shapes import ShapeRule

    return ShapeRule(args.aspect, args.head_dim, args.context, args.vocab, counts=args.counts)


def source_of(args: argparse.Namespace) -> Any:
    """Draws of the fit named by the positional, or published coefficients by their name."""
    from scaling.published import find_published

    if args.fit == "-" or Path(args.fit).suffix == ".json" or Path(args.fit).exists():
        return draws_of(args)
    return find_published(args.fit)


def cost_of(args: argparse.Namespace, source: Any, served: float = 0.0) -> Any:
    """The cost that the options name; "table" is fitted to the C of the fit's rows."""
    from scaling.costs import cost_named, cost_of_table
    from scaling.published import Published

    if args.cost != "table":
        return cost_named(args.cost, rule_of(args), served)
    if isinstance(source, Published):
        raise ScalingError("--cost table is fitted to the rows of a fit; published coefficients have none")
    return cost_of_table(source.table, served)


def run(args: argparse.Namespace) -> None:
    import pandas as pd

    from scaling.allocation import built, flatness, off_optimum, optimum
    from scaling.forecasting import rehearsal_line
    from scaling.published import Published
    from scaling.report import forecast_text

    source = source_of(args)
    cost = cost_of(args, source, args.served)
    options: dict[str, Any] = {"cost": cost, "unique": args.unique}
    frame = optimum(source, C=args.flops, loss=args.loss, level=args.level, **options)
    shown, said = [forecast_text(frame)], []
    if cost.name != "6ND":
        said.append(f"cost: {cost.said}")
    if args.served:
        said.append(
            f"C counts training and 2 N FLOP for each of {args.served:g} tokens served; C_train the first alone"
        )
    if args.unique is not None:
        said.append(_repeats(source, args.unique))
    if args.off and args.round:
        raise ScalingError("--off and --round ask for two tables: run twice")
    if args.off:
        for c in dict.fromkeys(frame["C"]):
            frame = off_optimum(source, C=c, level=args.level, **options).assign(C=c)
            flat = flatness(source, C=c, **options)
            shown += ["", f"other sizes at {c:.4g} FLOP", forecast_text(frame.drop(columns="C"))]
            shown += [_flat(row) for row in flat.to_dict("records")]
    if args.round:
        frame = pd.DataFrame(built(source, frame, rule_of(args), **options))
        shown += ["", f"as built: {rule_of(args)}", forecast_text(frame)]
    print_frame(args, frame, "\n".join(shown))
    if isinstance(source, Published):
        said.append(f"{source}: no interval")
    else:
        said += [*source.fit.problems, *source.notes, rehearsal_line(source)]
    say(said, args)


def _repeats(source: Any, unique: float) -> str:
    """What was assumed of tokens seen again."""
    from scaling.optima import Repeats

    law = source.law if hasattr(source, "law") else source.fit.law
    if law.inputs == ("N", "D", "U"):
        return f"{unique:g} unique tokens; repeats are worth what this {law.name} says"
    known = Repeats(unique)
    return (
        f"{unique:g} unique tokens; repeats are worth what Muennighoff 2023 found (R_D* = {known.R_D:.3g}, R_N* = "
        f"{known.R_N:.3g}), which this fit has not tested; far beyond {known.R_D:.0f} epochs real losses rise"
    )


def _flat(row: Any) -> str:
    what = "of the compute wasted" if row["within"] == "wasted" else "above the least loss"
    return (
        f"at most {row['limit']:.1%} {what}: N from {row['N_lo']:.3g} to {row['N_hi']:.3g} "
        f"({row['factor_lo']:.2f} to {row['factor_hi']:.2f} times the best)"
    )
