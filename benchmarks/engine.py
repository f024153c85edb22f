"""The stacked trainer beside a plain loop: tokens a second of a whole sweep, MFU, memory, time outside of steps.

    python benchmarks/engine.py                                  on one CUDA device, in less than ten minutes
    python benchmarks/engine.py --device cpu                     one thread, and one process a core
    python benchmarks/engine.py --device cpu --quick             tries all of it on tiny models, in two minutes

The plain loop has nanoGPT's design: one model as an nn.Module, torch.compile, float32 weights under bfloat16 autocast,
scaled_dot_product_attention, clipping, fused AdamW; its architecture is that of sweeps/model.py, so that both do the
same work. It trains one run after another, so its tokens a second are those of a whole sweep. It is compiled once as
usual and once with CUDA graphs (mode="reduce-overhead"). Text lies on the device for both. MFU counts 6N with attention
(PaLM, arXiv:2204.02311, appendix B; the mask not discounted) against the peak in sweeps/devices.py. Memory is the most
that torch reserved. Compiling is apart. "grid s" is the wall time of one sweep of forked WSD runs, by the speed of the
row: all its tokens by the plain loop and by one run of ours after another, which fork nothing, and those that forks
leave to train by a stack. At the first size such a sweep is then trained by the real trainer, and measured.

Every size is measured in a process of its own with a limit on its time, and a row is written as soon as it is done:
rows.csv and table.md in the folder --out hold what there is, however it ends. On CUDA benchmarks/loss_memory.py comes
last, the peak memory of the loss over vocabularies: loss_memory.txt.
"""

from __future__ import annotations

import argparse
import csv
import gc
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from plain_loop import plain_step
from torch import Tensor

from sweeps import capacity, progress, records
from sweeps.counting import flops_per_token
from sweeps.devices import peak_flops
from sweeps.engine import Mode
from sweeps.feed import Feed
from sweeps.plan import build_plan
from sweeps.runs import Run
from sweeps.tokens import File, Tokens
from sweeps.train import default_slots, on_device, train_stack

#: Limit of benchmarks/loss_memory.py, which comes last.
LOSS_SECONDS = 60.0
#: Updates of the longest run of the sweep by which rows are compared.
GRID_STEPS = 8000
#: Updates a row may take: time ends it.
MANY = 10_000
COLUMNS = ("size", "how", "slots", "tokens/s", "MFU", "memory GiB", "compile s", "ms an update", "grid s", "note")


@dataclass(frozen=True)
class Size:
    """A model, its sequences, seconds for all its rows, and numbers of runs at once in the order of interest."""

    name: str
    fields: dict[str, object]
    seconds: float
    slots: tuple[int, ...]
    target: float | None = None  # tokens a second of the best stack over those of the compiled plain loop


def _size(name: str, width: int, depth: int, head: int, context: int, batch: int, *rest: object) -> Size:
    fields = dict(width=width, depth=depth, head_dim=head, context=context, batch=batch, base_width=width, steps=1000)
    return Size(name, fields | dict(lr=1e-3, val_sequences=2 * batch), *rest)  # type: ignore[arg-type]


#: 12 depth width^2 parameters and a head of 256 rows; tokens of a run's update as in the name.
CUDA_SIZES = (
    _size("3M@8k", 256, 4, 64, 512, 16, 105, (16, 1, 32, 8, 64), 4.0),
    _size("10M@16k", 384, 6, 64, 512, 32, 100, (8, 1, 16, 4), 2.0),
    _size("30M@16k", 512, 10, 64, 512, 32, 105, (4, 1, 8), 1.5),
    _size("101M@32k", 1024, 8, 64, 1024, 32, 100, (2, 1, 4), 1.1),
)
CPU_SIZES = tuple(_size(f"width {w}", w, 2, 16, 128, 8, 150, (8, 1)) for w in (32, 64, 128))
QUICK_SIZES = (_size("width 32", 32, 2, 16, 128, 8, 60, (4, 1)),)


def random_text(size: int = 4_000_000) -> Tokens:
    """Bytes without structure: for speed any will do."""
    letters = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    return Tokens(
        letters[: size * 15 // 16], letters[size * 15 // 16 :], (File("a", size, "0" * 64, "train"),), "random"
    )


def grid(run: Run, steps: int) -> list[Run]:
    """A sweep of 32 runs shaped as `run`: WSD at eight equally spaced horizons, two seeds at two rates."""
    return [
        run.model_copy(update={"steps": n, "warmup": 4, "cooldown": n // 5, "seed": seed, "lr": lr})
        for n in (steps * i // 8 for i in range(1, 9))
        for seed in (0, 1)
        for lr in (1e-3, 2e-3)
    ]


# --- rows of the plain loop ---


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_plain(run: Run, text: Tensor, compile_mode: str | None, seconds: float) -> capacity.Speed:
    """As `capacity.measured`, for the plain loop."""
    device = text.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begin = time.perf_counter()
    step = plain_step(run, text, compile_mode)
    for _ in range(5):
        step().item()
    setup, count = time.perf_counter() - begin, 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(10):  # nanoGPT looks at a loss every ten updates
            loss = step()
        loss.item()
        count += 10
    synchronize(device)
    each = (time.perf_counter() - begin) / count
    memory = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    return capacity.Speed(1, each, run.tokens_per_step / each, setup, memory)


# --- rows ---


class Rows:
    """Rows of one size, each written as it comes."""

    def __init__(self, path: Path, size: Size, run: Run, device: torch.device) -> None:
        self.path, self.size, self.run, self.peak = path, size, run, peak_flops(device, run.dtype)
        self.plan = build_plan(grid(run, GRID_STEPS))

    def add(self, how: str, speed: capacity.Speed, note: str = "", wall: float | None = None) -> None:
        flops = speed.rate * flops_per_token(self.run)["6N_with_attention"]
        mfu = f"{flops / self.peak:.3f}" if self.peak else ""
        memory = f"{speed.memory / 2**30:.2f}" if speed.memory else ""
        if wall is None:
            forks = how.startswith("stack") and speed.slots > 1
            wall = (self.plan.tokens_trained if forks else self.plan.tokens_logged) / speed.rate
        values = (self.size.name, how, speed.slots, f"{speed.rate:.0f}", mfu, memory)
        self._write((*values, f"{speed.setup:.1f}", f"{1000 * speed.seconds:.2f}", f"{wall:.0f}", note))

    def note(self, how: str, text: str) -> None:
        self._write((self.size.name, how, *[""] * (len(COLUMNS) - 3), " ".join(text.split())[:200]))

    def _write(self, values: tuple[object, ...]) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(values)
        print(*values, sep="  ", flush=True)


def beside(speed: capacity.Speed, baseline: capacity.Speed | None, size: Size) -> str:
    """How a row compares with the plain loop, and what is wanted of the best."""
    if baseline is None:
        return ""
    wanted = f"; target of the best stack {size.target:g}" if size.target and speed.slots > 1 else ""
    return f"{speed.rate / baseline.rate:.2f} of the plain loop{wanted}"


def attempt(
    rows: Rows, how: str, work: Callable[[], capacity.Speed], baseline: capacity.Speed | None = None
) -> capacity.Speed | None:
    """A row, or the reason why there is none."""
    try:
        speed = work()
    except Exception as error:  # one way that fails must not cost the others
        rows.note(how, f"{type(error).__name__}: {error}")
        return None
    finally:
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    rows.add(how, speed, beside(speed, baseline, rows.size))
    return speed


def measure_size(size: Size, device: torch.device, path: Path, args: argparse.Namespace) -> None:
    """All rows of one size, on CUDA: plain loops first, then numbers of runs at once, the most telling first."""
    begin = time.perf_counter()
    run = Run.model_validate(size.fields | {"dtype": "bfloat16" if device.type == "cuda" else "float32"})
    tokens = random_text()
    corpus, feed, rows = on_device(tokens, run, device), Feed(tokens), Rows(path, size, run, device)
    mode = Mode("on", backend="aot_eager") if args.quick else Mode()
    plain = None if args.quick else "default"
    baseline = attempt(rows, "plain, compiled", partial(time_plain, run, corpus.train, plain, args.seconds))
    graphs_left = device.type == "cuda"
    for slots in size.slots:
        if time.perf_counter() - begin > 0.8 * size.seconds:
            rows.note("stack", f"no time left for {slots} and what follows")
            break
        work = partial(capacity.measured, run, corpus, feed, mode, slots, args.seconds, MANY)
        attempt(rows, "stack", work, baseline)
        if graphs_left:
            graphs_left = False
            graphs = partial(time_plain, run, corpus.train, "reduce-overhead", args.seconds)
            attempt(rows, "plain, CUDA graphs", graphs, baseline)
    if size.name.startswith("10M") or args.quick:
        muon = run.model_copy(update={"optimizer": "muon"})
        work = partial(capacity.measured, muon, corpus, feed, mode, size.slots[0], args.seconds, MANY)
        attempt(rows, "stack, Muon", work, baseline)


def measure_grid(size: Size, device: torch.device, path: Path, args: argparse.Namespace) -> None:
    """A whole sweep of forked WSD runs through the real trainer: where its wall time goes."""
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    runs = grid(Run.model_validate(size.fields | {"dtype": dtype}), args.grid_steps)
    (stack,), tokens = build_plan(runs).stacks, random_text()
    out = path.parent / "grid"
    shutil.rmtree(out, ignore_errors=True)  # what an earlier call trained would count as done
    for run in runs:
        records.open_run(out, run, stack=stack.key, trunk="any", flops=1.0, flops_marginal=1.0)
    begin, reports = time.perf_counter(), list[progress.Report]()
    slots = best_slots(path, size) or capacity.choose_slots(stack, tokens, device)
    measuring = time.perf_counter() - begin
    limit = begin + args.grid_seconds
    finished = train_stack(
        stack, tokens, out, device=device, max_slots=slots, measuring=measuring,
        stopping=lambda: time.perf_counter() > limit, report=reports.append,
    )  # fmt: skip
    last = reports[-1]
    rows = Rows(path, size, runs[0], device)
    plan = build_plan(runs)
    text = progress.summary([last])
    text += f"; {'whole' if finished else 'stopped by time'}"
    text += f"; forks train {plan.tokens_trained / plan.tokens_logged:.1%} of the tokens logged"
    if rate := plain_rate(path, size):
        text += f"; every run by the plain loop: {plan.tokens_logged / rate:.0f} s"
    wall = last.seconds - sum(last.spent.get(name, 0.0) for name in ("compile", "measuring"))
    memory = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    speed = capacity.Speed(slots, 0.0, last.trained / wall, last.spent.get("compile", 0.0), memory)
    rows.add(f"sweep of {len(runs)} forked runs", speed, text, wall)


def done_rows(path: Path, size: Size, how: str) -> list[dict[str, str]]:
    """The rows that were measured of a size in one way."""
    with path.open(newline="") as file:
        return [r for r in csv.DictReader(file) if (r["size"], r["how"]) == (size.name, how) and r["tokens/s"]]


def plain_rate(path: Path, size: Size) -> float | None:
    """Tokens a second of the compiled plain loop, if its row is there."""
    found = done_rows(path, size, "plain, compiled")
    return float(found[-1]["tokens/s"]) if found else None


def best_slots(path: Path, size: Size) -> int | None:
    """Runs at once of the fastest stack, if there is a row: what it compiled is in the caches of the compiler."""
    found = done_rows(path, size, "stack")
    return int(max(found, key=lambda row: float(row["tokens/s"]))["slots"]) if found else None


# --- a CPU: one thread, and one process a core ---


def alternate(size: Size, path: Path, args: argparse.Namespace) -> None:
    """Plain loop and stacks in turns in one thread, so that whatever else the machine does meets both: medians."""
    torch.set_num_threads(1)
    device, tokens = torch.device("cpu"), random_text(400_000)
    run = Run.model_validate(size.fields)
    corpus, feed, rows = on_device(tokens, run, device), Feed(tokens), Rows(path, size, run, device)
    ways: dict[str, Callable[[], capacity.Speed]] = {
        "plain loop": partial(time_plain, run, corpus.train, None, args.seconds),
        **{
            f"stack of {n}": partial(capacity.measured, run, corpus, feed, Mode(), n, args.seconds, MANY)
            for n in sorted({*size.slots, default_slots(run, device)})
        },
    }
    speeds: dict[str, list[capacity.Speed]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, work in ways.items():
            speeds[name].append(work())
    for name, found in speeds.items():
        ratios = [a.rate / b.rate for a, b in zip(found, speeds["plain loop"], strict=True)]
        middle = sorted(found, key=lambda speed: speed.rate)[len(found) // 2]
        rows.add(name, middle, f"{args.note}{statistics.median(ratios):.2f} of the plain loop")


def children(args: argparse.Namespace, sizes: tuple[Size, ...], deadline: float) -> Iterator[list[list[str]]]:
    """Commands that run together, one group after another."""
    me = [sys.executable, __file__, "--out", str(args.out), "--device", args.device, "--seconds", str(args.seconds)]
    me += ["--rounds", str(args.rounds), "--grid-steps", str(args.grid_steps), *(["--quick"] if args.quick else [])]
    for size in sizes:
        if args.device == "cpu":
            yield [[*me, "--child", f"cpu:{size.name}"]]
            cores = os.cpu_count() or 1
            yield [[*me, "--child", f"cpu:{size.name}", "--note", f"one of {cores}: "]] * cores
        if args.device != "cpu" or args.quick:
            yield [[*me, "--child", f"size:{size.name}"]]
    if args.device != "cpu" or args.quick:
        left = max(20.0, min(args.grid_seconds, deadline - time.perf_counter() - LOSS_SECONDS - 20))
        yield [[*me, "--child", f"grid:{sizes[0].name}", "--grid-seconds", str(left)]]


def parent(args: argparse.Namespace, sizes: tuple[Size, ...]) -> None:
    path, begin = args.out / "rows.csv", time.perf_counter()
    deadline = begin + args.budget
    args.out.mkdir(parents=True, exist_ok=True)
    path.write_text(",".join(COLUMNS) + "\n")
    for group in children(args, sizes, deadline):
        kind, _, name = group[0][group[0].index("--child") + 1].partition(":")
        own = next(size.seconds for size in sizes if size.name == name) if kind != "grid" else math.inf
        processes = [subprocess.Popen(command) for command in group]
        for process in processes:
            try:
                process.wait(max(5.0, min(own + 10, deadline - time.perf_counter())))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"{kind} {name}: stopped, its time was over", flush=True)
        write_table(path, args)
    if args.device != "cpu" or args.quick:
        measure_loss(args, max(20.0, deadline - time.perf_counter()))
    print(f"\n{(args.out / 'table.md').read_text()}\n{time.perf_counter() - begin:.0f} s in all", flush=True)


def measure_loss(args: argparse.Namespace, seconds: float) -> None:
    """Peak memory and time of the loss over vocabularies, as benchmarks/loss_memory.py prints them."""
    script = Path(__file__).with_name("loss_memory.py")
    command = [sys.executable, str(script), "--repeats", "2", *(["--vocab", "256"] if args.quick else [])]
    with (args.out / "loss_memory.txt").open("w") as file:
        process = subprocess.Popen(command, stdout=file)
        try:
            process.wait(min(seconds, LOSS_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print("loss over vocabularies: stopped, its time was over", flush=True)
    print((args.out / "loss_memory.txt").read_text(), flush=True)


def write_table(path: Path, args: argparse.Namespace) -> None:
    """The rows so far as a table in Markdown, with what they were measured on."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    cuda = args.device != "cpu"
    name = torch.cuda.get_device_name(args.device) if cuda else f"{platform.processor() or platform.machine()}"
    lines = [f"{name}, {os.cpu_count()} cores; torch {torch.__version__}, Python {platform.python_version()}", ""]
    lines += ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(row) + " |" for row in rows[1:]]
    (path.parent / "table.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/engine"), help="folder for rows.csv and table.md")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="tiny models: tries the script")
    parser.add_argument("--sizes", help="only sizes whose names begin with one of these, commas between")
    parser.add_argument("--budget", type=float, default=570.0, help="seconds in all")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of updates a row")
    parser.add_argument("--rounds", type=int, default=5, help="turns of plain loop and stacks on a CPU")
    parser.add_argument("--grid-steps", type=int, default=GRID_STEPS, help="updates of its longest run")
    parser.add_argument("--grid-seconds", type=float, default=100.0, help="limit of the sweep")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--note", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = QUICK_SIZES if args.quick else CPU_SIZES if args.device == "cpu" else CUDA_SIZES
    if args.sizes:
        sizes = tuple(size for size in sizes if size.name.startswith(tuple(args.sizes.split(","))))
    if args.child is None:
        parent(args, sizes)
        return
    kind, _, name = args.child.partition(":")
    size = next(size for size in sizes if size.name == name)
    path, device = args.out / "rows.csv", torch.device(args.device)
    if kind == "cpu":
        alternate(size, path, args)
    elif kind == "size":
        measure_size(size, device, path, args)
    else:
        measure_grid(size, device, path, args)


if __name__ == "__main__":
    main()
