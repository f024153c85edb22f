"""`scaling schedule`: predict, compare and optimise learning-rate schedules by a fitted law of whole curves."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from scaling.commands.common import Command, draws_of, floats, numbers, uncertain_options
from scaling.errors import ScalingError

PREDICT = """examples:
  scaling schedule predict curves-fit.json --schedule wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4800 -o curve.png
  scaling schedule predict curves-fit.json --schedule mine.csv --json
"""
COMPARE = """examples:
  scaling schedule compare curves-fit.json --schedule cosine:steps=24000,peak=3e-4,warmup=2160 \\
      --schedule wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4800
"""
OPTIMIZE = """examples:
  scaling schedule optimize curves-fit.json --steps 24000 --peak 3e-4 --warmup 2160 -o optimal.csv --plot optimal.png
  scaling schedule optimize curves-fit.json --steps 24000 --peak 1e-4,6e-4 --warmup 2160
  scaling schedule optimize curves-fit.json --steps 24000 --peak 3e-4 --warmup 2160 --wsd
  scaling schedule optimize family.json --flops 1e19 --tokens-per-step 2.6e5 --peak 3e-4 --warmup 0.02
"""
SPEC = "wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4000, or a CSV with a column lr; may be repeated"


def add(command: Command) -> None:
    top = command(
        "schedule",
        None,
        "predict, compare and optimise learning-rate schedules by a fitted law of curves",
        "scaling schedule optimize curves-fit.json --steps 24000 --peak 3e-4 --warmup 2160",
    )
    actions = top.add_subparsers(title="actions", required=True, metavar="ACTION")

    def action(name: str, run: Any, text: str, examples: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(
            name, help=text, description=text, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        uncertain_options(sub)
        sub.add_argument("--at", type=numbers, default={}, metavar="N=..", help="for laws over sizes: the size")
        sub.set_defaults(run=run)
        return sub

    for name, run, text, examples in (
        ("predict", run_predict, "the loss at the end of schedules, with intervals; with -o the whole curves", PREDICT),
        ("compare", run_compare, "how far schedules end above the first, with intervals of the differences", COMPARE),
    ):
        sub = action(name, run, text, examples)
        sub.add_argument("--schedule", action="append", required=True, metavar="SPEC", help=SPEC)
        sub.add_argument("-o", "--output", metavar="FILE", help="draw them: png, svg or pdf")
    best = action("optimize", run_optimize, "the schedule of least predicted final loss", OPTIMIZE)
    best.add_argument("--steps", type=int, metavar="T", help="updates of the run")
    best.add_argument(
        "--peak", type=floats, required=True, metavar="LR[,LR]", help="peak learning rate; two numbers free it between"
    )
    best.add_argument("--warmup", type=float, default=0.0, help="updates of linear warm-up; below 1 a share of all")
    best.add_argument("--flops", type=float, metavar="C", help="in place of --steps: choose N and steps at 6 N D = C")
    best.add_argument("--tokens-per-step", type=float, metavar="B", help="with --flops: tokens in one update")
    best.add_argument("--sizes", type=floats, metavar="N[,N..]", help="with --flops: sizes to try")
    best.add_argument("--wsd", action="store_true", help="among warm-up, stable, decay only: a table of cooldowns")
    best.add_argument("--rising", action="store_true", help="let the rate rise again after the warm-up")
    best.add_argument("--knots", type=int, default=80, help="knots of the schedule (default 80)")
    best.add_argument("--force", action="store_true", help="go on with a law that must not choose schedules")
    best.add_argument("-o", "--output", metavar="FILE", help="write the schedule: a CSV with step and lr")
    best.add_argument("--plot", metavar="FILE", help="draw it beside standard schedules: png, svg or pdf")


def _schedules(specs: list[str]) -> dict[str, Any]:
    from scaling.schedule_spec import schedule_from

    return {spec: schedule_from(spec) for spec in specs}


def _draw(args: argparse.Namespace, path: str, draws: Any, schedules: dict[str, Any]) -> None:
    from scaling.figures.schedules import schedule_figure
    from scaling.style import save

    save(schedule_figure(draws, schedules, level=args.level, sizes=args.at), path)
    print(f"wrote {path}", file=sys.stderr)


def _print(args: argparse.Namespace, text: str, record: Any) -> None:
    print(json.dumps(record, indent=1, allow_nan=False) if args.json else text)


def _draws_and_said(args: argparse.Namespace) -> tuple[Any, list[str]]:
    for path in filter(None, (getattr(args, "output", None), getattr(args, "plot", None))):
        if not Path(path).parent.is_dir():  # said before the work, not after it
            raise ScalingError(f"cannot write {path}: there is no folder {Path(path).parent}")
    draws = draws_of(args)
    if args.at and not draws.fit.law.inputs[1:]:
        raise ScalingError(f"{draws.fit.law.name} does not read {', '.join(args.at)}: leave --at out, give no size")
    return draws, [*draws.fit.problems, *draws.notes]


def _compared(args: argparse.Namespace) -> tuple[Any, Any, dict[str, Any]]:
    from scaling.choosing import beyond, compare_schedules

    draws, said = _draws_and_said(args)
    schedules = _schedules(args.schedule)
    frame = compare_schedules(draws, schedules, level=args.level, **args.at)
    _tell([*said, *beyond(draws.fit, list(schedules.values()), args.at)])
    return draws, frame, schedules


def run_predict(args: argparse.Namespace) -> None:
    draws, frame, schedules = _compared(args)
    shown = frame[["steps", "loss", "lo", "hi"]]
    _print(args, shown.to_string(float_format=lambda v: f"{v:.4f}"), shown.reset_index().to_dict("records"))
    if args.output:
        _draw(args, args.output, draws, schedules)


def run_compare(args: argparse.Namespace) -> None:
    draws, frame, schedules = _compared(args)
    text = frame.to_string(float_format=lambda v: f"{v:.4f}")
    close = frame.iloc[1:].query("difference_lo < 0 < difference_hi").index
    said = [f"not told apart from the first at {args.level:.0%}: {', '.join(close)}"] if len(close) else []
    _print(args, "\n".join([text, *said]), frame.reset_index().to_dict("records"))
    if args.output:
        _draw(args, args.output, draws, schedules)


def run_optimize(args: argparse.Namespace) -> None:
    if (args.steps is None) == (args.flops is None):
        raise ScalingError("say either --steps T, or --flops C with --tokens-per-step B")
    if len(args.peak) > 2:
        raise ScalingError(f"--peak takes one number, or the least and the greatest; got {len(args.peak)}")
    if args.flops is not None:
        _optimize_size(args)
        return
    from scaling.choosing import cooldown_table, optimal_schedule

    warmup = int(args.warmup if args.warmup >= 1 else args.warmup * args.steps)
    if not 0 <= warmup < args.steps - 1:
        raise ScalingError(f"--warmup must lie between 0 and --steps - 2 = {args.steps - 2}, got {args.warmup:g}")
    draws, said = _draws_and_said(args)
    if args.wsd:
        if args.output or args.plot or args.rising or len(args.peak) > 1:
            raise ScalingError("--wsd prints a table at one peak: leave out -o, --plot, --rising and a second peak")
        table = cooldown_table(
            draws, args.steps, args.peak[0], warmup, level=args.level, force=args.force, **args.at
        )  # fmt: skip
        warned = [f"warning: {w}" for w in table.attrs["warnings"]]
        text = table.head(12).to_string(index=False, float_format=lambda v: f"{v:.4f}")
        _print(args, "\n".join([text, *warned]), {"cooldowns": table.to_dict("records"), "warnings": warned})
    else:
        peak = args.peak[0] if len(args.peak) == 1 else (min(args.peak), max(args.peak))
        best = optimal_schedule(
            draws, args.steps, peak, warmup, monotone=not args.rising, knots=args.knots, level=args.level,
            force=args.force, **args.at,
        )  # fmt: skip
        _print(args, best.report(), record_of(best))
        _written(args, best, args.at)
    _tell(said)


def _optimize_size(args: argparse.Namespace) -> None:
    from scaling.sizing import optimal_size

    if not args.tokens_per_step or len(args.peak) > 1 or args.wsd or args.rising or args.at:
        raise ScalingError("--flops needs --tokens-per-step and one --peak, and takes no --wsd, --rising or --at")
    draws, said = _draws_and_said(args)
    found = optimal_size(
        draws, args.flops, args.tokens_per_step, args.peak[0], args.warmup, N=args.sizes, knots=args.knots,
        level=args.level, force=args.force,
    )  # fmt: skip
    record: dict[str, Any] = {"N": found.N, "lo": found.lo, "hi": found.hi, "flops": found.flops}
    record |= {"sizes": found.sizes.to_dict("records"), "schedule": record_of(found.schedule)}
    _print(args, found.report(), record | {"warnings": list(found.warnings)})
    _written(args, found.schedule, {"N": found.N})
    _tell(said)


def record_of(best: Any) -> dict[str, Any]:
    """An optimal schedule as what JSON holds; the rates themselves go to a CSV."""
    return {
        "law": best.draws.fit.law.name, "steps": len(best.lr), "warmup": best.warmup, "peak": best.peak,
        "loss": best.loss, "lo": best.lo, "hi": best.hi, "level": best.level, "shape": best.shape,
        "against": best.against.reset_index().to_dict("records"), "moves": best.moves.to_dict("records"),
        "warnings": list(best.warnings),
    }  # fmt: skip


def _tell(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _written(args: argparse.Namespace, best: Any, sizes: dict[str, float]) -> None:
    if args.output:
        from scaling.files import write_text

        rows = "".join(f"{i},{lr:.10g}\n" for i, lr in enumerate(best.lr))
        write_text(args.output, f"step,lr\n{rows}")
        print(f"wrote {args.output}", file=sys.stderr)
    if args.plot:
        from scaling.scheduling import STANDARD

        shown = {"optimum": best.lr}
        shown |= {n: STANDARD[n](len(best.lr), best.peak, best.warmup) for n in ("wsd 20% 1-sqrt", "cosine to 0")}
        args.at = sizes
        _draw(args, args.plot, best.draws, shown)
