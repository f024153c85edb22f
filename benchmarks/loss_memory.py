"""Peak memory and time of a linear head's cross-entropy with its gradients: all logits at once against chunks of them.

    OMP_NUM_THREADS=1 python benchmarks/loss_memory.py [--repeats 3] [--vocab 256 8192 32768 131072]

On CUDA, where there is one: 4 replicas of 8,192 tokens, width 512, bfloat16, both compiled; memory as torch counts it,
"nan" where it does not suffice.
On a CPU: 2 replicas of 1,024 tokens, width 128, float32; memory is what the process grew by, each case in a process of
its own, and time is that of the processor. Times are the least of the repeats, taken in turns in one process.
docs/benchmarks.md shows this table.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

KINDS = ("whole", "chunked")
SHAPES = {"cpu": (2, 1024, 128), "cuda": (4, 8192, 512)}


def case(kind: str, vocab: int, device: str) -> tuple[Callable[[], Any], int]:
    """One loss with its gradients, as a function to call, and the tokens of a chunk."""
    import torch

    from sweeps.loss import chunk_length, chunked_cross_entropy, whole_cross_entropy

    replicas, tokens, width = SHAPES[device]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    draw = torch.Generator(device).manual_seed(0)
    make = partial(torch.randn, generator=draw, device=device)
    hidden = make(replicas, tokens, width).to(dtype).requires_grad_()
    head = make(replicas, width, vocab).div_(width**0.5).to(dtype).requires_grad_()  # in place: a copy is a peak too
    targets = torch.randint(vocab, (replicas, tokens), generator=draw, device=device)
    chunk = chunk_length((replicas, tokens, width), vocab, dtype, device)
    loss: Callable[..., Any] = partial(chunked_cross_entropy, chunk=chunk) if kind == "chunked" else whole_cross_entropy
    if device == "cuda":
        loss = torch.compile(loss, dynamic=False)

    def call() -> Any:
        return torch.autograd.grad(loss(hidden, head, targets).mean(), (hidden, head))

    return call, chunk


def peak(kind: str, vocab: int, device: str) -> float:
    """MB that one call needs beyond its inputs."""
    if device == "cpu":
        command = [sys.executable, __file__, "--peak", kind, str(vocab)]
        return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    import torch

    try:
        call, _ = case(kind, vocab, device)
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        return math.nan
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def grown(kind: str, vocab: int) -> float:
    """MB that this process grows by in one call, after a small one has loaded what there is to load."""
    small, _ = case(kind, 16, "cpu")
    small()
    call, _ = case(kind, vocab, "cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit


def seconds(vocab: int, device: str, repeats: int, kinds: Sequence[str]) -> tuple[dict[str, float], int]:
    """Least time of a call of these kinds, in turns, and the tokens of a chunk."""
    import torch

    made = {kind: case(kind, vocab, device) for kind in kinds}
    best = dict.fromkeys(KINDS, math.nan)
    clock = time.perf_counter if device == "cuda" else time.process_time
    for repeat in range(repeats + 1):
        for kind in kinds:
            begin = clock()
            made[kind][0]()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:  # the first one warms up
                best[kind] = min(clock() - begin, best[kind])  # NaN only in the second place
    return best, made["chunked"][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocab", type=int, nargs="+", default=[256, 8192, 32768, 131072])
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(json.dumps(grown(args.peak[0], int(args.peak[1]))))
        return
    # the memory of a child counts its parent's at the start: all peaks on a CPU come before torch is imported here
    found = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"], capture_output=True, text=True
    )
    device = "cuda" if found.stdout.strip() == "True" else "cpu"
    replicas, tokens, width = SHAPES[device]
    peaks = {(kind, vocab): peak(kind, vocab, device) for vocab in args.vocab for kind in KINDS}
    print(f"{device}: {replicas} replicas, {tokens} tokens each, width {width}; memory beyond inputs in MB, time in ms")
    print(
        f"{'vocab':>7} {'logits':>8} {'whole':>8} {'chunked':>8} {'chunk':>6} {'whole':>9} {'chunked':>9} {'ratio':>6}"
    )
    for vocab in args.vocab:
        fit = [kind for kind in KINDS if not math.isnan(peaks[kind, vocab])]
        best, chunk = seconds(vocab, device, args.repeats, fit)
        print(
            f"{vocab:7} {replicas * tokens * vocab * 4 / 2**20:8.0f} {peaks['whole', vocab]:8.0f} "
            f"{peaks['chunked', vocab]:8.0f} {chunk:6} {1e3 * best['whole']:9.1f} {1e3 * best['chunked']:9.1f} "
            f"{best['chunked'] / best['whole']:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
