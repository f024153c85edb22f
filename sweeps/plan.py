"""What a sweep will do before it does anything: runs become stacks, learning rates become fork trees, and both a price.

The tree of a stack is the trie of its runs' learning rates as 32-bit words, one tree for each seed and optimizer
setting. Sorted, runs that share the longest beginnings lie side by side, so the lengths that neighbours share decide
the whole tree: the comparisons are O(steps of all runs).
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeps.cadence import measurements, price
from sweeps.counting import flops_per_token
from sweeps.grid import changed
from sweeps.regimes.listed import regime_of
from sweeps.runs import Edge, Run, Stack, stack_key, validation_counts


@dataclass(frozen=True)
class Plan:
    """Stacks with their fork trees, and what they cost. FLOP are training FLOP, attention included."""

    stacks: tuple[Stack, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for stack in self.stacks for run in stack.runs)

    @property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(edge for stack in self.stacks for edge in stack.edges)

    @cached_property
    def trunk(self) -> dict[str, str]:
        """Run -> the tree it is a path of: runs of one trunk share noise."""
        return {key: edge.trunk for edge in self.edges for key in edge.runs}

    @cached_property
    def flops_marginal(self) -> dict[str, float]:
        """Run -> the FLOP it adds: those of shared steps are split equally among the runs that share them."""
        out: dict[str, float] = defaultdict(float)
        for edge in self.edges:
            for key in edge.runs:
                out[key] += _flops(edge) / len(edge.runs)
        return dict(out)

    @property
    def flops_alone(self) -> float:
        """FLOP of all runs, each trained alone."""
        return sum(flops_of(run) for run in self.runs)

    @property
    def flops_shared(self) -> float:
        """FLOP of all runs, shared steps trained once."""
        return sum(_flops(edge) for edge in self.edges)

    @property
    def flops_validation(self) -> float:
        """FLOP of all validations: a forward pass is a third of a training step on the same tokens."""
        return sum(
            validations(edge) * e.val_sequences * regime_of(e).passes(e) * _flops_of_tokens(e, e.context) / 3
            for edge in self.edges
            for e in (edge.example,)
        )

    @property
    def flops_measures(self) -> float:
        """FLOP of what is measured beside the loss."""
        return sum(measurements(stack.edges) * price(stack.runs[0]) for stack in self.stacks)

    @property
    def saved(self) -> float:
        """Fraction of the FLOP that forking saves."""
        return 1 - self.flops_shared / self.flops_alone

    @property
    def tokens_logged(self) -> int:
        """Tokens of all runs, as their curves count them."""
        return sum(run.tokens for run in self.runs)

    @property
    def tokens_trained(self) -> int:
        """Tokens trained on, those of shared steps once."""
        return sum((edge.stop - edge.start) * edge.example.tokens_per_step for edge in self.edges)


def build_plan(runs: Iterable[Run]) -> Plan:
    """Group runs into stacks and find their fork trees; runs with the same key count once.

    Names of stacks, trunks and edges depend on what they contain alone: they are the same in every plan of the runs.
    """
    shapes: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in runs:
        shapes.setdefault(run.shape, {})[run.key] = run
    return Plan(tuple(_stack(tuple(alike.values())) for alike in shapes.values()))


def flops_of(run: Run) -> float:
    """Training FLOP of a run trained alone, attention included."""
    return _flops_of_tokens(run, run.tokens)


def _flops_of_tokens(run: Run, tokens: int) -> float:
    return tokens * flops_per_token(run)["6N_with_attention"]


def validations(edge: Edge) -> int:
    """How often an edge is validated: on the common grid of updates and at its end."""
    counts = validation_counts(edge.example.evals_per_octave, edge.stop)
    return len(set(counts[counts > edge.start].tolist()) | {edge.stop})


def notes(plan: Plan) -> list[str]:
    """What the plan should be told of: runs that could share steps and do not, sizes that one rate may not serve."""
    return [*_apart(plan), *_own_rates(plan), *_unscaled(plan)]


def _apart(plan: Plan) -> list[str]:
    families: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in plan.runs:
        families[(run.shape, run.lineage, run.lr, run.schedule)].append(run)
    apart = [
        family
        for family in families.values()
        if len({run.warmup for run in family}) > 1
        and len({run.steps for run in family}) > 1
        and len({plan.trunk[run.key] for run in family}) == len(family)
    ]
    if not apart:
        return []
    count = sum(len(family) for family in apart)
    return [
        f"{count} runs differ in length and share nothing, because their warm-ups differ too (a warm-up relative to "
        f"the horizon parts them at the first update): give warmup in updates or warmup_tokens, and they share a trunk"
    ]


def _own_rates(plan: Plan) -> list[str]:
    """Runs that would share a trunk had they not a peak rate of their own at each horizon."""
    families: dict[tuple[Any, ...], dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in plan.runs:
        families[(run.shape, run.lineage, run.schedule, run.group)][run.steps].append(run)
    apart, alike = [], []
    for horizons in families.values():
        rates = {steps: sorted({run.lr for run in runs}) for steps, runs in horizons.items()}
        every = [lr for own in rates.values() for lr in own]
        if len(rates) < 2 or len(set(every)) < len(every) or len({len(own) for own in rates.values()}) > 1:
            continue
        longest = rates[max(rates)]
        for steps, runs in horizons.items():
            apart += runs
            alike += [changed(run, lr=longest[rates[steps].index(run.lr)]) for run in runs]
    if not apart:
        return []
    saved = 1 - build_plan(alike).flops_shared / build_plan(apart).flops_shared
    if saved < 0.01:
        return []
    return [
        f"{len(apart)} runs have a peak rate of their own at each horizon and share nothing: one for all horizons "
        f"would share trunks and save {100 * saved:.0f}% of their FLOP"
    ]


def _unscaled(plan: Plan) -> list[str]:
    depths = {run.depth for run in plan.runs if run.depth_rule == "none"}
    if len(depths) < 2:
        return []
    return [
        f"depth goes from {min(depths)} to {max(depths)} with depth_rule = 'none': one learning rate may not serve all "
        f"depths; set depth_rule = 'completep', and base_depth to the depth that lr was chosen at"
    ]


def _flops(edge: Edge) -> float:
    run = edge.example
    return (edge.stop - edge.start) * run.tokens_per_step * flops_per_token(run)["6N_with_attention"]


def _stack(runs: tuple[Run, ...]) -> Stack:
    families: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        families[run.lineage].append(run)
    key = stack_key(runs[0])
    edges = [edge for family in families.values() for edge in _trees(key, family)]
    return Stack(key, runs, tuple(edges))


def _trees(stack: str, runs: Sequence[Run]) -> Iterator[Edge]:
    """The fork trees of runs of one lineage, one for each first learning rate; parents before children."""
    words = {run.key: run.lr_per_step.view(np.uint32).astype(">u4") for run in runs}
    ordered = sorted(runs, key=lambda run: (words[run.key].tobytes(), run.key))
    rates = [words[run.key] for run in ordered]
    shared = np.array([0] + [_common(a, b) for a, b in itertools.pairwise(rates)])
    todo: list[tuple[int, int, int, str | None, str, Any]] = []

    def split(first: int, last: int, start: int, parent: str | None, trunk: str, digest: Any) -> None:
        """Runs [first, last) are alike up to `start` and go on: put each group that stays alike on the list."""
        borders = [first, *(first + 1 + np.flatnonzero(shared[first + 1 : last] == start)).tolist(), last]
        groups = [(a, b, start, parent, trunk, digest) for a, b in itertools.pairwise(borders)]
        todo.extend(reversed(groups))

    split(0, len(ordered), 0, None, "", hashlib.sha256())
    while todo:
        first, last, start, parent, trunk, digest = todo.pop()
        stop = int(min(shared[first + 1 : last], default=len(rates[first])))
        if parent is None:
            trunk = _trunk(stack, ordered[first])
        digest = digest.copy()
        digest.update(rates[first][start:stop].tobytes())
        name = f"{trunk}-{start}-{stop}-{digest.hexdigest()[:8]}"
        ends = first  # the runs that end here come first: nothing is less than something
        while ends < last and len(rates[ends]) == stop:
            ends += 1
        yield Edge(
            name=name,
            parent=parent,
            start=start,
            stop=stop,
            lr=ordered[first].lr_per_step[start:stop],
            runs=tuple(run.key for run in ordered[first:last]),
            ends=tuple(run.key for run in ordered[first:ends]),
            trunk=trunk,
            example=ordered[first],
        )
        if ends < last:
            split(ends, last, stop, name, trunk, digest)


def _common(a: NDArray[Any], b: NDArray[Any]) -> int:
    """Length of the longest common beginning."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    return int(differ.argmax()) if differ.any() else n


def _trunk(stack: str, run: Run) -> str:
    """Name of a tree: whether two runs share their first update, and so a trunk, is in their fields alone."""
    what = repr((stack, run.lineage, run.lr_per_step[0].tobytes()))
    return f"w{run.width}-d{run.depth}-s{run.seed}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
