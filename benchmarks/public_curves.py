"""Public loss curves with their learning rates, as the benchmarks of laws of whole curves read them.

The folder named by SCALING_DATASETS holds `luo2025_schedules.csv.gz` (Luo 2025, arXiv:2503.12811: 25M and 100M models,
nine schedules each) and `haegele2024_124M_runs.csv.gz`, `haegele2024_124M_curves.csv.gz` (Haegele 2024,
arXiv:2405.18392: a 124M model, cosine and WSD runs at several peak rates, logged for Schaipp 2025, arXiv:2501.18965).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import scaling
from scaling.rates import every_update
from scaling.trajectory import Trajectory

Array = NDArray[np.float64]
PEAKS = (1e-4, 5e-4, 1e-3, 2e-3)
LUO_TRAIN = ("cosine_24000", "constant_24000", "wsdcon_9")
LUO_WARMUP, HAEGELE_WARMUP = 2160, 300


@dataclass(frozen=True, eq=False)
class Curve:
    """Losses (n,) after the updates `steps` (n,) of the schedule `lr` (T,); `new` marks rows that no other run of the
    set shares."""

    name: str
    lr: Array
    steps: NDArray[np.int64]
    loss: Array
    new: NDArray[np.bool_]

    @property
    def path(self) -> Trajectory:
        return Trajectory((self.lr,), (self.steps,))

    def part(self, rows: NDArray[np.bool_]) -> Curve:
        return Curve(self.name, self.lr, self.steps[rows], self.loss[rows], self.new[rows])


def folder() -> Path:
    if "SCALING_DATASETS" not in os.environ:
        raise SystemExit("set SCALING_DATASETS to the folder that holds the public curves (see docs/annealing.md)")
    return Path(os.environ["SCALING_DATASETS"])


def luo(model: str) -> dict[str, Curve]:
    """The nine curves of "25M" or "100M" by schedule."""
    table = pd.read_csv(folder() / "luo2025_schedules.csv.gz")
    found = {}
    for name, rows in table[table["model"] == model].groupby("schedule"):
        steps = rows["step"].to_numpy()
        # shared with a training run up to here: the stable phase of wsd and two-stage runs, the first part of 72k runs
        shared = (
            24_000 if "72000" in str(name) else 8000 if "wsdcon" in str(name) else 20_000 if "wsd" in str(name) else 0
        )
        lr = _warmed(steps, rows["lr"].to_numpy(), LUO_WARMUP)
        found[str(name)] = Curve(str(name), lr, steps, rows["loss"].to_numpy(), steps > shared)
    return found


def haegele(peak: float) -> dict[str, Curve]:
    """Validation curves from step 2,000 on, of the runs at that peak with a known decay, by a name that says which.

    Names: constant, cos0_25000, cos10_50000, wsd20_linear_25000 (a cooldown of 20%), each run once. Runs that were
    forked from the constant one have its rows before theirs; they are new after their decay begins.
    """
    runs = pd.read_csv(folder() / "haegele2024_124M_runs.csv.gz")
    logged = pd.read_csv(folder() / "haegele2024_124M_curves.csv.gz")
    found: dict[str, Curve] = {}
    for run in runs[np.isclose(runs["peak_lr"], peak) & runs["decay_type"].notna()].itertuples():
        rows = logged[logged["run_id"] == run.run_id].sort_values("step", kind="stable")
        rates = rows.drop_duplicates("step")
        if run.scheduler == "wsd" and run.wsd_fract_decay == 0:
            name, rates = "constant", rates[rates["step"] < run.iterations]  # the last logged rate of these is 0
        elif run.scheduler == "cos":
            name = f"cos{'10' if rates['lr'].iloc[-1] > 0.05 * peak else '0'}_{run.iterations}"
        else:
            name = f"wsd{100 * run.wsd_fract_decay:.0f}_{run.decay_type}_{run.iterations}"
        if name in found:
            continue
        lr = _warmed(rates["step"].to_numpy(), rates["lr"].to_numpy(), HAEGELE_WARMUP, peak)
        val = rows[(rows["split"] == "val") & (rows["step"] >= 2000) & (rows["step"] < len(lr))]
        steps = val["step"].to_numpy()
        begins = run.iterations * (1 - run.wsd_fract_decay) if run.scheduler == "wsd" else 0
        found[name] = Curve(name, lr, steps, val["loss"].to_numpy(), steps > begins)
    trunk = found["constant"]
    return {name: _from_its_trunk(c, trunk) if name.startswith("wsd") else c for name, c in found.items()}


def _from_its_trunk(curve: Curve, trunk: Curve) -> Curve:
    before = trunk.steps < curve.steps[0]
    return Curve(
        curve.name, curve.lr, np.concatenate([trunk.steps[before], curve.steps]),
        np.concatenate([trunk.loss[before], curve.loss]), np.concatenate([np.zeros(before.sum(), bool), curve.new]),
    )  # fmt: skip


def _warmed(steps: Array, lr: Array, warmup: int, peak: float | None = None) -> Array:
    """Every update's rate from logged ones, with the linear warm-up to the peak that the log leaves out or begins with,
    and the peak held up to a first row that comes late."""
    at = steps >= warmup
    peak = lr[at][0] if peak is None else peak
    late = steps[at][0] - warmup > 1000
    hold = (np.array([warmup, steps[at][0] - 1]), np.full(2, peak)) if late else (np.empty(0, int), np.empty(0))
    full = every_update(np.concatenate([hold[0], steps[at]]), np.concatenate([hold[1], lr[at]]), int(steps[-1]))
    full[:warmup] = peak * np.arange(1, warmup + 1) / warmup
    return full


def table_of(curves: Sequence[Curve]) -> pd.DataFrame:
    """The curves as `scaling.fit` reads them."""
    frames = [pd.DataFrame({"run": f"{i} {c.name}", "step": c.steps, "loss": c.loss}) for i, c in enumerate(curves)]
    lrs: Mapping[str, Array] = {f"{i} {c.name}": c.lr for i, c in enumerate(curves)}
    return scaling.read_curves(pd.concat(frames, ignore_index=True), schedules=lrs)


def rmse(error: Array) -> float:
    return float(np.sqrt(np.mean(error**2)))
