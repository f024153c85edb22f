"""The fork tree of a stack as the trainer sees it: which edges can start, which first, and what a checkpoint covers.

An edge can start when its parent's end is at hand: a snapshot, or no parent at all. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sweeps.runs import Edge, Stack


@dataclass(frozen=True)
class Forks:
    """The edges of one stack by name, with their children and the steps from their start to their deepest end."""

    stack: Stack

    @cached_property
    def edges(self) -> dict[str, Edge]:
        return {edge.name: edge for edge in self.stack.edges}

    @cached_property
    def children(self) -> dict[str, list[Edge]]:
        """Edges that start from the end of each edge."""
        out: dict[str, list[Edge]] = {name: [] for name in self.edges}
        for edge in self.stack.edges:
            if edge.parent is not None:
                out[edge.parent].append(edge)
        return out

    @cached_property
    def remaining(self) -> dict[str, int]:
        """Steps on the longest path from the start of each edge: what cannot be done side by side."""
        out: dict[str, int] = {}
        for edge in reversed(self.stack.edges):  # parents come before children in a stack
            below = max((out[child.name] for child in self.children[edge.name]), default=0)
            out[edge.name] = edge.stop - edge.start + below
        return out

    def left(self, name: str, step: int) -> int:
        """Steps on the longest path from `step` of an edge."""
        return self.remaining[name] - (step - self.edges[name].start)

    @cached_property
    def paths(self) -> dict[str, list[Edge]]:
        """The edges of every run, in the order of training."""
        out: dict[str, list[Edge]] = {run.key: [] for run in self.stack.runs}
        for edge in self.stack.edges:
            for key in edge.runs:
                out[key].append(edge)
        return out

    def descendants(self, name: str) -> list[str]:
        """Names of all edges below `name`."""
        out, todo = list[str](), [name]
        while todo:
            below = [child.name for child in self.children[todo.pop()]]
            out += below
            todo += below
        return out


def ready(forks: Forks, planned: Collection[str], begun: Collection[str], snapshots: Collection[str]) -> list[Edge]:
    """Planned edges that can start now, longest remaining path first (then by name, so that repeats agree).

    begun      names of the edges that are finished or in a slot
    snapshots  names of the edges whose end is kept
    """
    waiting = [
        edge
        for edge in forks.stack.edges
        if edge.name in planned and edge.name not in begun and (edge.parent is None or edge.parent in snapshots)
    ]
    return sorted(waiting, key=lambda edge: (-forks.remaining[edge.name], edge.name))


def covered(
    forks: Forks,
    unfinished: Iterable[str],
    planned: Mapping[str, Collection[str]],
    finished: Collection[str],
    steps: Mapping[str, int],
    snapshots: Collection[str],
) -> dict[str, int]:
    """For each unfinished run that a checkpoint can continue: the updates it has done there.

    planned    edge -> runs, as the interrupted training meant them
    finished   edges trained to their end
    steps      edge in a slot -> index of its next update
    snapshots  edges whose end is kept

    A run is left out where the checkpoint does not know one of its edges, or knows it without this run (its curve
    would lack the steps before), or says an edge was finished whose run has no result (someone removed it).
    """
    out = {}
    for key in unfinished:
        path = forks.paths[key]
        if any(key not in planned.get(edge.name, ()) for edge in path):
            continue
        left = [edge for edge in path if edge.name not in finished]
        if not left:
            continue
        first, later = left[0], left[1:]
        if any(edge.name in steps for edge in later):
            continue
        if first.name in steps:
            out[key] = steps[first.name]
        elif first.parent is None or first.parent in snapshots:
            out[key] = first.start
    return out
