"""After which updates a run is measured beside its loss, and what that costs. Nothing here imports torch.

Measuring at every validation would cost short runs several percent of their training. So it skips validations wherever
the run, had it ended there, would have spent more than its share on measuring. The rule looks at numbers of updates
alone, so that runs of all lengths are measured at the same places. The end of every run is always measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sweeps.counting import flops_per_token
from sweeps.regimes.listed import regime_of
from sweeps.runs import Edge, Run, validation_counts

#: FLOP of all eigenvalues of a symmetric matrix over the cube of its width: 4/3 by count, at a fifth of the rate of
#: products (width 1,024, float64 beside float32 products, one Zen 4 core).
EIGENVALUE_FLOPS = 6.0


def _representation(run: Run) -> float:
    """The forward passes over one batch of validation inputs, their Gram matrix, and the eigenvalues of that."""
    tokens = run.tokens_per_step * regime_of(run).passes(run)
    forward = tokens * flops_per_token(run)["6N_with_attention"] / 3
    return forward + tokens * run.width**2 + EIGENVALUE_FLOPS * run.width**3


def _gradient_noise(run: Run) -> float:
    """Gradients of one batch."""
    return run.tokens_per_step * flops_per_token(run)["6N_with_attention"]


#: Name of a measure -> FLOP of measuring a run once.
PRICES = {"representation": _representation, "gradient_noise": _gradient_noise}


def price(run: Run) -> float:
    """FLOP of measuring all that `run` asks for once."""
    return sum(PRICES[name](run) for name in run.measures)


def measured_counts(run: Run, stop: int) -> list[int]:
    """Numbers of updates, of those of `validation_counts` up to `stop`, after which runs of this shape are measured.

    After n updates, measuring there, before and once more at the end costs at most `measures_share` of the n updates.
    """
    if not run.measures:
        return []
    each = price(run) / (run.tokens_per_step * flops_per_token(run)["6N_with_attention"])  # in updates
    counts: list[int] = []
    for count in validation_counts(run.evals_per_octave, stop).tolist():
        if (len(counts) + 2) * each <= run.measures_share * count:
            counts.append(count)
    return counts


def is_measured(counts: Collection[int], edge: Edge, count: int) -> bool:
    """Whether `edge` is measured after `count` updates: at the common counts, and where a run ends."""
    return bool(edge.example.measures) and (count in counts or (count == edge.stop and bool(edge.ends)))


def measurements(edges: Iterable[Edge]) -> int:
    """How often the edges of one stack are measured, all together."""
    found = list(edges)
    if not found or not found[0].example.measures:
        return 0
    counts = set(measured_counts(found[0].example, max(edge.stop for edge in found)))
    return sum(
        is_measured(counts, edge, count)
        for edge in found
        for count in {c for c in counts if edge.start < c <= edge.stop} | {edge.stop}
    )
