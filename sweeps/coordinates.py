"""The coordinate check: over widths and over depths, activations and what training changes in them keep their size.

Tensor Programs V (arXiv:2203.03466, appendix D.1): models of several sizes train for a few updates at one learning
rate; the root mean square of each kind of activation, and of its change from the untrained model, is flat in the size
where the parametrization is right, and goes as a power of it where a factor is wrong or forgotten. It takes seconds,
and finds most mistakes in an implementation; that one learning rate is best for all sizes is for a sweep to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scaling.errors import ScalingError
from sweeps.engine import plain_parts, step
from sweeps.grid import changed
from sweeps.markov import Markov
from sweeps.model import add_branch, attention, embed, forward, mlp
from sweeps.optim import empty_state, settings
from sweeps.runs import Run
from sweeps.starting import initial, leaves

#: Kinds of activations. attention and mlp are what a block adds to the stream, before the factor of depth; block is the
#: stream after it.
KINDS = ("embedding", "attention", "mlp", "block", "logits")
#: Text to train on: its next letter can be learnt, so that gradients agree from one update to the next.
TEXT = Markov(symbols=32, concentration=0.2, tokens=200_000)
#: Sequences on which activations are looked at.
LOOKED_AT = 8


def small_run(
    *,
    width: int,
    depth: int,
    depth_rule: str = "completep",
    lr: float = 0.01,
    steps: int = 10,
    optimizer: str = "adamw",
) -> Run:
    """A run to check, base of both rules: a constant learning rate, sequences of 32 tokens, heads of 8 channels."""
    sizes = dict(width=width, base_width=width, depth=depth, base_depth=depth)
    how = dict(depth_rule=depth_rule, lr=lr, steps=steps, optimizer=optimizer, schedule="constant")
    return Run.model_validate(sizes | how | dict(head_dim=8, context=32, batch=8))


def activations(weights: dict[str, Tensor], tokens: Tensor, run: Run) -> dict[tuple[str, int], Tensor]:
    """(kind, block) -> activations (R, B*T, channels) for `tokens` (R, B, T); the block is -1 outside of blocks."""
    batch, x = tokens.shape[1], embed(weights, tokens, run)
    out = {("embedding", -1): x}
    for i in range(run.depth):
        out["attention", i] = attention(weights, i, x, batch, run)
        x = add_branch(x, out["attention", i], run)
        out["mlp", i] = mlp(weights, i, x, run)
        x = out["block", i] = add_branch(x, out["mlp", i], run)
    return out | {("logits", -1): forward(weights, tokens, run)}


def measure(run: Run, seeds: int = 4) -> pd.DataFrame:
    """Train `run` for its steps, `seeds` replicas of it, and look after every update: one row a step and activation.

    Columns width, depth, depth_rule, lr, step (updates so far), kind, block (empty outside of blocks), rms and change,
    both root mean squares over replicas, tokens and channels; change is from the untrained model.
    ScalingError where training diverges.
    """
    device = torch.device("cpu")
    runs = [changed(run, seed=run.seed + i) for i in range(seeds)]
    state, how, parts = empty_state(run, seeds, device), settings(runs, device), plain_parts(run)
    state.weights[:] = torch.stack([initial(one) for one in runs])
    state.alive[:] = True
    text = torch.from_numpy(np.frombuffer(b"".join(TEXT.files().values()), np.uint8).copy())
    generator = torch.Generator().manual_seed(run.seed)

    def sequences(count: int) -> Tensor:
        starts = torch.randint(len(text) - run.context, (seeds, count, 1), generator=generator)
        return text[starts + torch.arange(run.context + 1)].long()

    looked_at = sequences(LOOKED_AT)[:, :, :-1]
    untrained: dict[tuple[str, int], Tensor] = {}
    rows = []
    for count in range(run.steps + 1):
        if count:
            lr = torch.full((seeds,), float(run.lr_per_step[count - 1]), dtype=state.weights.dtype)
            step(state, how, lr, sequences(run.batch), parts)
        with torch.no_grad():
            now = activations(leaves(state.weights, run), looked_at, run)
        untrained = untrained or now
        for (kind, block), x in now.items():
            change = _rms(x - untrained[kind, block])
            rows.append((count, kind, block if block >= 0 else None, _rms(x), change))
    if not state.alive.all():
        raise ScalingError(
            f"width {run.width}, depth {run.depth}: the loss is no number after {run.steps} updates at "
            f"lr = {run.lr:g}; check at a smaller one"
        )
    table = pd.DataFrame(rows, columns=["step", "kind", "block", "rms", "change"]).astype({"block": "Int64"})
    for i, name in enumerate(("width", "depth", "depth_rule", "lr")):
        table.insert(i, name, getattr(run, name))
    return table


def check(run: Run, axis: str, sizes: Sequence[int], *, seeds: int = 4, off: bool = False) -> pd.DataFrame:
    """`measure` for `run` at each of the sizes, with a column axis ("width" or "depth") before the others.

    ScalingError for a width that heads do not divide.

    off  every size is its own base: the rule of the axis does nothing, and the check should fail.
    """
    odd = [size for size in sizes if axis == "width" and size % run.head_dim]
    if odd:
        raise ScalingError(f"widths must be multiples of head_dim = {run.head_dim}, got {odd[0]}")
    tables = []
    for size in sizes:
        one = changed(run, **{axis: size}, **({f"base_{axis}": size} if off else {}))
        tables.append(measure(one, seeds))
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "axis", axis)
    return table


def by_size(table: pd.DataFrame) -> pd.DataFrame:
    """rms and change of each kind at every size and step, one row each: of blocks the stream after the last, of
    attention and MLP the root mean square over blocks."""
    last = table.groupby(["axis", "width", "depth"])["block"].transform("max")
    kept = table[(table["kind"] != "block") | (table["block"] == last)]
    values = kept.assign(rms=kept["rms"] ** 2, change=kept["change"] ** 2)
    means = values.groupby(["axis", "width", "depth", "step", "kind"])[["rms", "change"]].mean() ** 0.5
    return means.reset_index()


def flatness(table: pd.DataFrame) -> pd.DataFrame:
    """For each axis, kind and quantity: `times`, the largest over the smallest, after as many `updates` (from 2 on)
    as it is worst at, and the slope there, of its logarithm over that of the size.

    The head begins at 0: the first update moves it and the embedding alone, and logits have no size before it.
    """
    sizes = by_size(table[table["step"] >= min(2, table["step"].max())])
    rows = []
    for (axis, kind), own in sizes.groupby(["axis", "kind"]):
        for quantity in ("rms", "change") if kind != "logits" else ("change",):
            steps = own.groupby("step")[quantity]
            spread = steps.max() / steps.min()
            at = own[own["step"] == spread.idxmax()]
            slope = np.polyfit(np.log(at[axis]), np.log(at[quantity]), 1)[0]
            rows.append((axis, kind, quantity, spread.idxmax(), slope, spread.max()))
    found = pd.DataFrame(rows, columns=["axis", "kind", "quantity", "updates", "slope", "times"])
    found["kind"] = pd.Categorical(found["kind"], KINDS, ordered=True)
    return found.sort_values(["axis", "quantity", "kind"], ascending=[False, False, True], ignore_index=True)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Root mean squares, and below their change, over the sizes of one axis: a line for each number of updates."""
    import matplotlib.pyplot as plt

    from scaling.style import column_axis, drawing, log_axis, save

    axis, sizes = str(table["axis"].iloc[0]), by_size(table)
    last = int(table["step"].max())
    counts = sorted({0, 2, last // 2, last})  # the head begins at 0: after 1 update only it and the embedding moved
    with drawing("light") as look:
        figure, panels = plt.subplots(2, len(KINDS), figsize=(11, 4.6), sharex=True, layout="constrained")
        for (i, quantity), (j, kind) in ((a, b) for a in enumerate(("rms", "change")) for b in enumerate(KINDS)):
            ax, own = panels[i, j], sizes[(sizes["kind"] == kind) & (sizes[quantity] > 0)]
            for count in counts:
                at = own[own["step"] == count]
                color = look.sizes(counts.index(count) / max(len(counts) - 1, 1))
                ax.plot(at[axis], at[quantity], "o-", ms=3.5, color=color, label=f"{count}")
            column_axis(ax.xaxis, axis, most=len(table[axis].unique()))
            ax.set_xticks(sorted(table[axis].unique()))
            log_axis(ax.yaxis, most=5)
            lo, hi = own[quantity].min(), own[quantity].max()
            room = max(np.sqrt(30 / (hi / lo)), 1.25)  # a decade and a half at the least: what is flat should look it
            ax.set_ylim(lo / room, hi * room)
            if i == 0:
                ax.set_title(kind)
                ax.set_xlabel("")
        panels[0, 0].set_ylabel("RMS")
        panels[1, 0].set_ylabel("RMS of the change")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, title="updates", loc="outside right center")
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, str(path))
        plt.close(figure)


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())
