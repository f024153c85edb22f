"""Entropy and nuclear norm of hidden states from their Gram matrix, against singular values of the token matrix.

    python benchmarks/representation.py [--device cuda] [--tokens 16384] [--width 1024]

Prints seconds (median; CPU seconds on a CPU), their ratio, and how far the values are from those in float64.
"""

from __future__ import annotations

import argparse
import statistics
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
    """By the full decomposition, as implementations commonly find them."""
    return of_singular_values(torch.linalg.svd(normalised(states)[0], full_matrices=False).S)


def values_only(states: Tensor) -> dict[str, float]:
    """By singular values without vectors."""
    return of_singular_values(torch.linalg.svdvals(normalised(states)[0]))


def by_gram(states: Tensor) -> dict[str, float]:
    """As sweeps find them."""
    found = spread(states)
    return {name: float(found[name]) for name in ("matrix_entropy", "nuclear_norm")}


def timed(
    function: Callable[[Tensor], dict[str, float]], states: Tensor, repeats: int
) -> tuple[float, dict[str, float]]:
    """Median seconds of a call and its values."""
    clock = time.perf_counter if states.is_cuda else time.process_time
    seconds, values = [], function(states)
    for _ in range(repeats):
        begin = clock()
        function(states)  # ends in a number on the host: the device is done
        seconds.append(clock() - begin)
    return statistics.median(seconds), values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    falls = torch.linspace(1.0, 0.01, options.width, dtype=torch.float64)
    states = torch.randn(1, options.tokens, options.width, generator=generator, dtype=torch.float64) * falls
    states = states.to(options.device)
    exact, rows = None, []
    for dtype in (torch.float64, torch.float32):
        for name, function in (("svd", decomposed), ("svdvals", values_only), ("gram", by_gram)):
            seconds, values = timed(function, states.to(dtype), options.repeats)
            exact = exact or values
            rows.append((str(dtype).removeprefix("torch."), name, seconds, values))
    print(f"{options.tokens} tokens, width {options.width}, {options.device}\n")
    print(
        "| number format | by | seconds | over gram | entropy off by | nuclear norm off by |\n|---|---|---|---|---|---|"
    )
    for number, name, seconds, values in rows:
        gram = next(s for n, by, s, _ in rows if n == number and by == "gram")
        assert exact is not None
        off = {key: abs(values[key] / exact[key] - 1) for key in exact}
        print(
            f"| {number} | {name} | {seconds:.2f} | {seconds / gram:.1f} | {off['matrix_entropy']:.0e} | "
            f"{off['nuclear_norm']:.0e} |"
        )


if __name__ == "__main__":
    main()
