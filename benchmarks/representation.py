"""Entropy and nuclear norm of hidden states from their Gram matrix, against singular values of the token matrix.

    python benchmarks/representation.py [--device cuda] [--tokens 16384] [--width 1024] [--threads 1 2]

Prints seconds, how many times those of the Gram matrix they are, and how far values are from those in float64. Each is
the least of some repeats, which take turns; on a CPU also seconds of CPU, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sweeps.representation import normalised, spread


def of_singular_values(values: Tensor) -> dict[str, float]:
    """Entropy and nuclear norm by the definitions, from singular values."""
    share = values.double().square()
    share = share / share.sum()
    return {"matrix_entropy": float(torch.special.entr(share).sum()), "nuclear_norm": float(values.double().sum())}


def decomposed(states: Tensor) -> dict[str, float]:
    """By the thin decomposition, as implementations commonly find them."""
    return of_singular_values(torch.linalg.svd(normalised(states)[0], full_matrices=False).S)


def values_only(states: Tensor) -> dict[str, float]:
    """By singular values without vectors."""
    return of_singular_values(torch.linalg.svdvals(normalised(states)[0]))


def by_gram(states: Tensor) -> dict[str, float]:
    """As sweeps find them."""
    found = spread(states)
    return {name: float(found[name]) for name in ("matrix_entropy", "nuclear_norm")}


WAYS: dict[str, Callable[[Tensor], dict[str, float]]] = {
    "SVD": decomposed,
    "singular values alone": values_only,
    "Gram matrix": by_gram,
}


def seconds(function: Callable[[Tensor], object], states: Tensor) -> tuple[float, float]:
    """Seconds of a call, by the clock and of CPU; it ends in a number on the host, so the device is done."""
    begin = time.perf_counter(), time.process_time()
    function(states)
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def measure(options: argparse.Namespace) -> None:
    """Print the table of one number of threads."""
    torch.set_num_threads(options.threads[0])
    generator = torch.Generator().manual_seed(0)
    falls = torch.logspace(0, -options.decades, options.width, dtype=torch.float64)
    states = torch.randn(1, options.tokens, options.width, generator=generator, dtype=torch.float64) * falls
    formats = {"float64": states.to(options.device), "float32": states.float().to(options.device)}
    cases = [(number, way) for number in formats for way in WAYS]
    values = {case: WAYS[case[1]](formats[case[0]]) for case in cases}
    times = {case: [] for case in cases}  # type: dict[tuple[str, str], list[tuple[float, float]]]
    for _ in range(options.repeats):
        for number, way in cases:
            times[number, way].append(seconds(WAYS[way], formats[number]))
    least = {case: tuple(min(column) for column in zip(*own, strict=True)) for case, own in times.items()}
    exact = values["float64", "singular values alone"]
    print(f"\n{options.tokens} tokens, width {options.width}, {options.device}, threads: {options.threads[0]}\n")
    print("| number format | by | seconds | of CPU | over Gram | entropy off by | nuclear norm off by |")
    print("|---|---|---|---|---|---|---|")
    for number, way in cases:
        clock, cpu = least[number, way]
        over = clock / least[number, "Gram matrix"][0], cpu / least[number, "Gram matrix"][1]
        off = {key: abs(values[number, way][key] / exact[key] - 1) for key in exact}
        print(
            f"| {number} | {way} | {clock:.2f} | {cpu:.2f} | {over[0]:.1f}, {over[1]:.1f} of CPU | "
            f"{off['matrix_entropy']:.0e} | {off['nuclear_norm']:.0e} |"
        )
    mixed = [a / b for a, b in zip(least["float64", "SVD"], least["float32", "Gram matrix"], strict=True)]
    print(f"\nSVD in float64 over Gram matrix in float32: {mixed[0]:.1f}, {mixed[1]:.1f} of CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--decades", type=float, default=2.0, help="over which the singular values fall")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    if len(options.threads) == 1 and os.environ.get("OMP_NUM_THREADS") == str(options.threads[0]):
        measure(options)
        return
    for threads in options.threads:  # libraries of linear algebra read it once, when they are loaded
        own = [sys.executable, __file__, "--device", options.device, "--threads", str(threads)]
        own += [f"--{name}={getattr(options, name)}" for name in ("tokens", "width", "decades", "repeats")]
        there = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
        subprocess.run(own, env=there, check=True)


if __name__ == "__main__":
    main()
