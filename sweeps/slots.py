"""Slots: the places of a stack's replica axis, each holding one edge at a step of its own.

A queue hands ready edges to free slots. On a CPU the replica axis is exactly as long as there are edges in training,
for its cost is linear in replicas; on an accelerator it takes few lengths, powers of two, so that compiled steps and
captured graphs stay valid, and an empty slot is a replica that is not alive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sweeps.forks import Forks, ready
from sweeps.optim import State, empty_state
from sweeps.runs import Edge, Run
from sweeps.starting import initial

#: Ends of edges that an accelerator holds for forks to come: a few percent of a large one.
DEVICE_BYTES = 2**32


@dataclass
class Slot:
    """One edge in training and the index of its next update."""

    edge: Edge
    step: int


@dataclass(frozen=True)
class Snapshot:
    """One replica at the end of an edge: weights and both moments, (3, P), and its number of updates.

    file  name of the file that `rows` is a view of, empty while there is none (see `ends`)
    """

    rows: Tensor
    count: float
    file: str = ""


@dataclass
class Training:
    """All that training a stack changes; a checkpoint holds exactly this.

    planned    edge -> keys of the runs through it, for every edge this training means to train
    finished   edges trained to their end, diverged, or below a diverged one
    slots      the replica axis of `state`; None is a free slot
    snapshots  ends of finished edges that have children still to start
    parked     edges in the middle of their training for which there is no slot: it stopped with more slots
    files      files of ends that the last checkpoint names
    seconds    training time so far, validation left out
    """

    planned: dict[str, tuple[str, ...]]
    finished: set[str]
    slots: list[Slot | None]
    state: State
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    parked: list[tuple[Slot, Snapshot]] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    seconds: float = 0.0


def held(training: Training) -> list[tuple[int, Slot]]:
    """The slots in use, with their place on the replica axis."""
    return [(i, slot) for i, slot in enumerate(training.slots) if slot is not None]


def bucket(active: int, device: torch.device) -> int:
    """Length of the replica axis for `active` edges in training."""
    if device.type == "cpu" or active == 0:
        return active
    return 1 << (active - 1).bit_length()


def snapshot(state: State, place: int) -> Snapshot:
    """A copy of one replica."""
    rows = torch.stack([state.weights[place], state.first[place], state.second[place]])
    return Snapshot(rows, float(state.count[place]))


def keep(training: Training, name: str, place: int) -> None:
    """Keep the end of edge `name`, on the device as long as it has room to spare, then in memory."""
    end = snapshot(training.state, place)
    if end.rows.device.type != "cpu":
        there = sum(s.rows.nbytes for s in training.snapshots.values() if s.rows.device == end.rows.device)
        if there + end.rows.nbytes > DEVICE_BYTES:
            end = Snapshot(end.rows.cpu(), end.count)
    training.snapshots[name] = end


def put(state: State, place: int, rows: Tensor, count: float) -> None:
    """Write one replica, alive: rows (3, P)."""
    state.weights[place], state.first[place], state.second[place] = rows.to(state.weights.device)
    state.count[place] = count
    state.alive[place] = True


def fill(training: Training, forks: Forks, most: int) -> None:
    """Hand ready edges to free slots, up to `most` in use, and fit the replica axis to what is in use."""
    device, run = training.state.weights.device, forks.stack.runs[0]
    active = held(training)
    begun = training.finished | {slot.edge.name for slot in [*(s for _, s in active), *(s for s, _ in training.parked)]}
    fresh = ready(forks, training.planned, begun, training.snapshots)
    waiting: list[tuple[Slot, Snapshot | None]] = [*training.parked, *((Slot(e, e.start), None) for e in fresh)]
    waiting.sort(key=lambda item: -forks.left(item[0].edge.name, item[0].step))
    starting = waiting[: max(0, most - len(active))]
    size = bucket(len(active) + len(starting), device)
    if size != len(training.slots):
        state = empty_state(run, size, device)
        for place, (old, _) in enumerate(active):
            kept = snapshot(training.state, old)
            put(state, place, kept.rows, kept.count)
        training.state = state
        training.slots = [slot for _, slot in active] + [None] * (size - len(active))
    for slot, parked in starting:
        place, edge = training.slots.index(None), slot.edge
        training.slots[place] = slot
        if parked is not None:
            put(training.state, place, parked.rows, parked.count)
            training.parked = [item for item in training.parked if item[0] is not slot]
        elif edge.parent is None:
            row = initial(edge.example)
            put(training.state, place, torch.stack([row, torch.zeros_like(row), torch.zeros_like(row)]), 0.0)
        else:
            start = training.snapshots[edge.parent]
            put(training.state, place, start.rows, start.count)
    begun |= {slot.edge.name for slot, _ in starting}
    for name in list(training.snapshots):
        if all(child.name in begun or child.name not in training.planned for child in forks.children[name]):
            del training.snapshots[name]


def free(training: Training, place: int) -> None:
    """Empty a slot. Its weights stay where they are and no longer change."""
    training.slots[place] = None
    training.state.alive[place] = False


def slot_runs(training: Training, spare: Run) -> list[Run]:
    """A run for every place of the replica axis, whose settings hold there; `spare` fills the free slots."""
    return [spare if slot is None else slot.edge.example for slot in training.slots]
