"""The command `sweeps`: plan, run, status, collect, coordinates. Results on stdout, everything else on stderr.

Planning, looking and collecting work without torch; only `sweeps run` and `sweeps coordinates` import what trains.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import ScalingError
from sweeps import collecting, describing, estimate, records, thinning, tokens as corpora
from sweeps.grid import Grid, read_grid, shipped_grids, with_corpus, with_seeds_shifted
from sweeps.order import check_run
from sweeps.plan import Plan, build_plan, flops_of
from sweeps.runs import DEPTH_RULES, OPTIMIZERS
from sweeps.tokens import Tokens

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
        )
        sub.set_defaults(command=run)
        return sub

    plan = command(
        "plan",
        _plan,
        "print what a grid will train, what it costs and what forking saves; needs no torch",
        "sweeps plan demo",
        "sweeps plan demo --measure",
        "sweeps plan demo --speed 1e14",
        "sweeps plan grid.toml --json",
    )
    _grid(plan)
    plan.add_argument("--json", action="store_true", help="print JSON, every run included")
    plan.add_argument(
        "--measure", action="store_true", help="time updates of 1, 2, 4, ... runs at once on this device; needs torch"
    )
    plan.add_argument(
        "--speed", type=_speed, metavar="FLOP/S", help="what another machine sustains, such as 1.5e14: the time there"
    )
    plan.add_argument("--device", metavar="NAME", help="of --measure: cpu, cuda or cuda:1 (default: cuda if there)")

    run = command(
        "run",
        _run,
        "train a grid into a folder; finished runs are skipped, stopped ones continue",
        "sweeps run demo --out out/demo",
        "sweeps run grid.toml --out out/grid --device cuda --slots 64",
        "sweeps run grid.toml --out /shared/grid --no-wait    (on several machines at once)",
    )
    _grid(run)
    run.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the runs; made if need be")
    run.add_argument(
        "--device",
        "--devices",
        metavar="NAMES",
        help="cpu, cuda (all there are) or cuda:0,cuda:1: a process each (default: cuda where there is one)",
    )
    run.add_argument(
        "--workers", type=_positive, metavar="N", help="processes, one stack each at a time (default: by cost)"
    )
    run.add_argument(
        "--threads", type=_positive, metavar="N", help="threads of each process (default: cores / workers)"
    )
    run.add_argument(
        "--slots", type=_positive, metavar="N", help="runs that train at once in a stack (default: by size)"
    )
    run.add_argument(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="compile the training step: auto does on CUDA, where it is captured as a graph too",
    )
    run.add_argument(
        "--micro-batches",
        type=_positive,
        default=1,
        metavar="N",
        help="work through an update's batch in N equal parts, to save memory (default 1)",
    )
    run.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="time between checkpoints (default 30); large ones come less often",
    )
    run.add_argument(
        "--no-wait",
        action="store_true",
        help="end when only stacks are left that other processes train (default: wait, and take over what they leave)",
    )

    status = command(
        "status",
        _status,
        "print how far every run in a folder is",
        "sweeps status out/demo",
        "sweeps status out/demo --json",
    )
    status.add_argument("dir", metavar="DIR", help="folder that `sweeps run` wrote")
    status.add_argument("--json", action="store_true", help="print JSON")

    collect = command(
        "collect",
        _collect,
        "gather the runs of a folder into runs.csv (one row a run) and curves.csv (one row a logged step)",
        "sweeps collect out/demo -o out/demo",
        "sweeps collect out/demo -o tables --rows 300",
        "sweeps collect out/demo | scaling fit chinchilla -",
    )
    collect.add_argument("dir", metavar="DIR", help="folder that `sweeps run` wrote")
    collect.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write both there, and experts.csv if any (default: to stdout)"
    )
    printed = collect.add_mutually_exclusive_group()
    printed.add_argument("--curves", action="store_true", help="print the curves to stdout instead of the runs")
    printed.add_argument(
        "--experts", action="store_true", help="print the losses of data experts on every validation token instead"
    )
    collect.add_argument("--corpus", metavar="DIGEST", help="only runs on this text")
    collect.add_argument(
        "--rows", type=_positive, metavar="N",
        help="N rows a curve: those validated, those where the learning rate bends (be they more), others evenly",
    )  # fmt: skip

    page = command(
        "report",
        _report,
        "one HTML page on a sweep, also while it runs: states, curves so far, failures, a fit once enough runs ended",
        "sweeps report out/demo -o out/demo/report.html",
        "sweeps report out/demo --no-fit",
    )
    page.add_argument("dir", metavar="DIR", help="folder that `sweeps run` wrote")
    page.add_argument("-o", "--output", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    page.add_argument("--no-fit", action="store_true", help="fit no law: a fit takes some seconds")
    page.add_argument("--corpus", metavar="DIGEST", help="only runs on this text")

    coordinates = command(
        "coordinates",
        _coordinates,
        "check in seconds that activations, and what training changes in them, keep their size over widths and depths",
        "sweeps coordinates --widths 16,32,64",
        "sweeps coordinates --depths 2,4,8 --depth-rule completep -o out/coordinates",
        "sweeps coordinates --widths 16,32,64 --off",
    )
    for axis, size in (("width", 32), ("depth", 2)):
        coordinates.add_argument(f"--{axis}s", type=_sizes, default=[], metavar="N,N", help=f"{axis}s to go over")
        coordinates.add_argument(
            f"--{axis}", type=_positive, default=size, metavar="N",
            help=f"{axis} of the models that differ in the other, and base of the rule (default {size})",
        )  # fmt: skip
    coordinates.add_argument(
        "--depth-rule", choices=DEPTH_RULES, default="completep", help="rule of depth (default completep)"
    )
    coordinates.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="default adamw")
    coordinates.add_argument("--off", action="store_true", help="rules off: what the check looks like when it fails")
    coordinates.add_argument("--lr", type=float, default=0.01, metavar="LR", help="learning rate (default 0.01)")
    coordinates.add_argument("--steps", type=_positive, default=10, metavar="N", help="updates (default 10)")
    coordinates.add_argument("--within", type=float, metavar="TIMES", help="fail where anything changes by more")
    coordinates.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write coordinates.csv and a plot an axis"
    )
    return parser


def _grid(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("grid", metavar="GRID", help=f"a TOML file, or one that comes along: {', '.join(shipped_grids())}")
    sub.add_argument(
        "--seed-offset", type=_whole, default=0, metavar="K", help="add K to every seed: the same grid, other noise"
    )


@contextmanager
def _torch_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ScalingError(
            "training needs torch, which is not installed: pip install 'scaling-sweeps[sweeps]'"
        ) from None


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(sizes) <= text.count(",") or len(set(sizes)) < 2 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"must be two sizes or more, as in 16,32,64, got {text}")
    return sorted(set(sizes))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _speed(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be FLOP/s above 0, such as 1.5e14, got {text}")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def _planned(args: argparse.Namespace) -> tuple[Grid, Tokens, Plan]:
    grid = read_grid(args.grid)
    tokens = corpora.load(grid.source)
    for run in grid.runs:
        check_run(tokens, run)
    grid = with_seeds_shifted(with_corpus(grid, tokens.digest), args.seed_offset)
    return grid, tokens, build_plan(grid.runs)


def _plan(args: argparse.Namespace) -> int:
    grid, tokens, plan = _planned(args)
    measured: list[dict[str, Any]] = []
    if args.measure:
        with _torch_needed():
            from sweeps import capacity
        measured = capacity.measure_stacks(plan.stacks, tokens, args.device)
        seconds = estimate.seconds_measured(plan, measured)
        basis = "on one device of this machine (an estimate from the updates measured below)"
    elif args.speed:
        seconds, basis = estimate.seconds_at(plan, args.speed), f"at {args.speed:.3g} FLOP/s"
    else:
        seconds, basis = estimate.seconds(plan), "on this CPU (an estimate from a short measurement)"
    record = describing.plan_record(grid, plan, tokens, seconds, basis)
    if measured:
        record["measured"] = measured
    print(json.dumps(record, indent=1) if args.json else describing.plan_text(record))
    return 0


def _run(args: argparse.Namespace) -> int:
    with _torch_needed():
        from sweeps import pool
    grid, tokens, plan = _planned(args)
    records.write_manifest(args.out, tokens)
    for stack in plan.stacks:
        for run in stack.runs:
            records.open_run(
                args.out,
                run,
                stack=stack.key,
                trunk=plan.trunk[run.key],
                flops=flops_of(run),
                flops_marginal=plan.flops_marginal[run.key],
                say=_say,
            )
    done = sum(records.is_done(args.out, run.key) for run in plan.runs)
    _say(f"{grid.question}")
    _say(
        f"{len(plan.runs)} runs in {len(plan.stacks)} stacks, {done} done before; {plan.flops_shared:.3g} FLOP, "
        f"forking saves {100 * plan.saved:.1f}%"
    )
    outcomes = pool.run_stacks(
        plan.stacks,
        tokens,
        args.out,
        device=args.device,
        workers=args.workers,
        threads=args.threads,
        max_slots=args.slots,
        checkpoint_seconds=args.checkpoint_seconds,
        wait_for_others=not args.no_wait,
        compile_steps=args.compile,
        micro_batches=args.micro_batches,
    )
    for outcome in outcomes:
        if outcome.state == "failed":
            _say(f"sweeps: stack {outcome.stack} failed: {outcome.message}")
        elif outcome.state == "elsewhere":
            _say(f"sweeps: stack {outcome.stack} left to others: {outcome.message}")
    return _ended([outcome.state for outcome in outcomes], plan, args)


def _ended(states: Sequence[str], plan: Plan, args: argparse.Namespace) -> int:
    finals = [records.read_final(args.out, run.key) for run in plan.runs]
    statuses = [final["status"] for final in finals if final is not None]
    print(
        f"{args.out}: {statuses.count('finished')} runs finished, {statuses.count('diverged')} diverged, "
        f"{len(finals) - len(statuses)} not done"
    )
    if "stopped" in states:
        _say(f"stopped; the same command continues: sweeps run {args.grid} --out {args.out}")
        return 130
    return 1 if "failed" in states else 0


def _status(args: argparse.Namespace) -> int:
    states = collecting.status(args.dir)
    if args.json:
        rows: list[dict[str, Any]] = json.loads(states.to_json(orient="records"))
        print(json.dumps(rows, indent=1))
    else:
        print(describing.status_text(states))
    return 0


def _collect(args: argparse.Namespace) -> int:
    runs, curves = collecting.collect(args.dir, corpus=args.corpus)
    waiting = int((~runs["status"].isin(["finished", "diverged"])).sum())
    if waiting:
        _say(
            f"sweeps: {waiting} of {len(runs)} runs are not done: their loss is empty, their curves end where they are"
        )
    bare = sorted(set(runs["run"][runs["status"] == "finished"]) - set(curves["run"]))
    if bare:
        _say(
            f"sweeps: {len(bare)} finished runs have no curve, {bare[0]} first: their curve.csv was removed or emptied"
        )
    if args.rows is not None:
        curves = thinning.thinned(curves, args.rows)
    experts = collecting.collect_experts(args.dir, args.corpus, None if args.experts else _say)
    if args.experts:
        sys.stdout.write(collecting.to_csv(experts["experts.csv"]))
    elif args.output is not None:
        for name, table in ({"runs.csv": runs, "curves.csv": curves} | experts).items():
            collecting.write_csv(args.output / name, table)
            print(f"{args.output / name}: {len(table)} rows")
    else:
        sys.stdout.write(collecting.to_csv(curves if args.curves else runs))
    return 0


def _report(args: argparse.Namespace) -> int:
    from sweeps import reporting

    typed = shlex.join(["sweeps", "report", args.dir, *(["--no-fit"] if args.no_fit else [])])
    text = reporting.report(args.dir, corpus=args.corpus, fit=not args.no_fit, command=typed)
    path = args.output or Path(args.dir) / "report.html"
    with records.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(path, text)
    _say(f"wrote {path}")
    return 0


def _coordinates(args: argparse.Namespace) -> int:
    with _torch_needed():
        from sweeps import coordinates
    if not args.widths and not args.depths:
        raise ScalingError("say what to go over: --widths 16,32,64, --depths 2,4,8, or both")
    run = coordinates.small_run(
        width=args.width,
        depth=args.depth,
        depth_rule=args.depth_rule,
        lr=args.lr,
        steps=args.steps,
        optimizer=args.optimizer,
    )
    tables = []
    for axis, sizes in (("width", args.widths), ("depth", args.depths)):
        if sizes:
            tables.append(coordinates.check(run, axis, sizes, off=args.off))
            if args.output is not None:
                coordinates.draw(tables[-1], args.output / f"coordinates_{axis}.png")
    table = pd.concat(tables, ignore_index=True)
    if args.output is not None:
        written = table.astype(object).where(table.notna(), None)  # outside of blocks the block is empty
        collecting.write_csv(args.output / "coordinates.csv", written)
        _say(f"{args.output}: coordinates.csv and a plot an axis")
    found = coordinates.flatness(table)
    print(found.to_string(index=False, float_format="{:.2f}".format))
    worst = found.sort_values("times").iloc[-1]
    where = f"{worst['quantity']} of {worst['kind']} by {worst['axis']}"
    print(f"flat within {worst['times']:.2f} times; the least flat is the {where}")
    if args.within is not None and worst["times"] > args.within:
        _say(f"sweeps: the {where} differs by {worst['times']:.2f} times, more than {args.within:g}")
        return 1
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
