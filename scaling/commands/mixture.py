"""`scaling mixture`: models of the losses of mixtures compared, and the mixture that the best one expects to win."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from scaling.commands.common import Command, numbers, read_rows, reading_options
from scaling.errors import ScalingError


def add(command: Command) -> None:
    sub = command(
        "mixture",
        run,
        "the best mixture of training domains: models compared on mixtures left out, then the optimum, with intervals",
        "scaling mixture mixtures.csv",
        "scaling mixture mixtures.csv --experts experts.csv -o mixture.png",
        "scaling mixture mixtures.csv --experts experts.csv --hold 'seed == 1' --models ye,mde-ridge",
        "scaling mixture mixtures.csv --model ye --weights code=2,docs=1 --limits docs=0:0.4 --json",
    )
    sub.add_argument(
        "table", metavar="TABLE",
        help="a CSV file of runs with columns share_NAME and loss_on_NAME, as `sweeps collect` writes it; - for stdin",
    )  # fmt: skip
    reading_options(sub)
    sub.add_argument(
        "--experts", metavar="FILE",
        help="losses of data experts on every validation token, experts.csv of `sweeps collect -o`: a mixture of them "
        "(Belenki 2025) then predicts mixtures that were not trained",
    )  # fmt: skip
    sub.add_argument("--models", type=_listed, default=[], metavar="M,M", help="models to compare (default: all)")
    sub.add_argument("--model", metavar="M", help="the model whose optimum is wanted (default: the best by its errors)")
    sub.add_argument(
        "--weights", type=numbers, default={}, metavar="NAME=W,..",
        help="weights of the validation sources in the target (default: all the same)",
    )  # fmt: skip
    sub.add_argument(
        "--limits", type=_limits, default={}, metavar="NAME=LO:HI,..", help="least and greatest share of a domain"
    )
    sub.add_argument("--at", type=numbers, default={}, metavar="NAME=S,..", help="say what loss is expected there too")
    sub.add_argument("--hold", metavar="EXPR", help="score on these rows, fit the others (default: cross-validation)")
    sub.add_argument("--shares", default="share_", metavar="PREFIX", help="begins columns of shares (default share_)")
    sub.add_argument("--losses", default="loss_on_", metavar="PREFIX", help="begins those of losses (default loss_on_)")
    sub.add_argument("--level", type=float, default=0.9, help="chance that an interval should cover (default 0.9)")
    sub.add_argument("--resamples", type=int, default=100, help="refits for the optimum's intervals (default 100)")
    sub.add_argument("--seed", type=int, default=0, help="seed of parts and resampling (default 0)")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("-o", "--output", metavar="FILE", help="draw it: png, svg or pdf")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _limits(text: str) -> dict[str, tuple[float, float]]:
    found = {}
    for part in text.split(","):
        name, sign, ends = part.partition("=")
        try:
            lo, hi = (float(end) for end in ends.split(":"))
        except ValueError:
            lo, hi = 1.0, 0.0
        if not (name.strip() and sign and 0 <= lo <= hi <= 1):
            raise argparse.ArgumentTypeError(f"expected NAME=LO:HI, shares from 0 to 1 in order; got {part!r}")
        found[name.strip()] = (lo, hi)
    return found


def run(args: argparse.Namespace) -> None:
    import json

    from scaling.experts import read_experts
    from scaling.mixture_optimum import optimal_mixture
    from scaling.mixture_scores import compare_models
    from scaling.mixture_table import read_mixtures
    from scaling.persistence import frame_json

    table = read_rows(args, None)
    experts = read_experts(args.experts) if args.experts else None
    options: dict[str, Any] = {"experts": experts, "shares": args.shares, "losses": args.losses}
    found, held = read_mixtures(table, **options), None
    if args.hold:
        from scaling.where import select

        rows = select(table, args.hold)
        rest = table.drop(index=rows.index)
        if not len(rows) or not len(rest):
            raise ScalingError(f"{args.hold!r} holds out {len(rows)} of {len(table)} rows; it must leave some to fit")
        found, held = read_mixtures(rest, **options), read_mixtures(rows, **options)
    if args.resamples < 2:
        raise ScalingError(f"an interval needs at least 2 resamples, got {args.resamples}")
    scores = compare_models(found, args.models, held=held, weights=args.weights, level=args.level, seed=args.seed)
    best = optimal_mixture(
        found, scores, args.model, experts=experts, limits=args.limits, at=args.at, level=args.level,
        resamples=args.resamples, seed=args.seed,
    )  # fmt: skip
    if args.json:
        frames = {"scores": scores.table, "shares": best.shares.reset_index(), "expected": best.expected}
        record = {name: json.loads(frame_json(frame)) for name, frame in frames.items()}
        print(json.dumps({"model": best.model, "mixture": best.setting, **record, "notes": best.notes}, indent=1))
    else:
        print(report(found, scores, best))
    if args.output:
        from scaling.figures.mixtures import mixture_figure
        from scaling.style import drawing, save

        with drawing():
            save(mixture_figure(found, scores, best, experts, held), args.output)
        print(f"wrote {args.output}", file=sys.stderr)


def report(found: Any, scores: Any, best: Any) -> str:
    """All of it as text."""
    weights = ", ".join(
        f"{name} {weight:.2g}" for name, weight in zip(found.sources, scores.weights, strict=True) if weight
    )
    lines = [f"{scores.how}; the target is the mean of the losses on {weights}", ""]
    lines.append(
        f"{'model':<11}{'rmse':>8}{'interval':>18}{'rank corr.':>12}{'interval':>15}{'each mse':>11}{'best in':>9}"
    )
    for model, rows in scores.table.groupby("model", sort=False):
        one = rows[rows["loss"] == "target"].iloc[0]
        each = rows[rows["loss"] != "target"]["mse"].mean()
        rank = "" if one["spearman"] != one["spearman"] else f"{one['spearman']:.3f}"
        ends = "" if not rank else f"{one['spearman_lo']:.2f} to {one['spearman_hi']:.2f}"
        rmse = f"{one['mse_lo'] ** 0.5:.4f} to {one['mse_hi'] ** 0.5:.4f}"
        lines.append(f"{model:<11}{one['rmse']:>8.4f}{rmse:>18}{rank:>12}{ends:>15}{each:>11.2e}{one['best']:>9.0%}")
    lines += ["", f"best mixture under {best.model} ({best.level:.0%} intervals):", ""]
    for name, row in best.shares.iterrows():
        lines.append(f"  {name:<16}{row['share']:>7.3f}   {row['lo']:.3f} to {row['hi']:.3f}")
    lines += ["", "expected loss of a new run:", ""]
    for row in best.expected.to_dict("records"):
        lines.append(f"  {row['mixture']:<16}{row['loss']:>7.4f}   {row['lo']:.4f} to {row['hi']:.4f}")
    lines += ["", best.setting]
    return "\n".join([*lines, *(f"note: {note}" for note in (*found.dropped, *best.notes))])
