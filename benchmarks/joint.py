"""Final losses of runs nobody fitted: from whole curves of a few short, small runs, and from grids of end points.

    python benchmarks/joint.py [--from-step 250] [--public]
    SCALING_DATASETS=FOLDER python benchmarks/joint.py

1. data/joint (the grid `joint`): five sizes fitted, larger sizes, longer horizons and other schedules held out.
2. With the public datasets: Hägele 2024 (arXiv:2405.18392), one size at three peak rates, horizons of 25k to 50k steps
   from curves of at most 15k, beside E + B / D^beta on finished cosines.
Compute is that of the updates that were trained, a shared trunk once, relative to the grid of the first line of each
table trained run by run. docs/joint.md holds the tables.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.finals import final_losses
from scaling.intervals import bootstrap
from scaling.schedule import cosine, wsd
from sweeps.grid import read_grid, with_corpus

DATA = Path(__file__).parents[1] / "data"
STARTS = 4
WSD, SMALL = (500, 1000, 2000, 4000), (16, 24, 32, 48)


def read_sweep(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and curves of a committed sweep, with the learning rates that its grid asked for and N on the curves."""
    runs = scaling.read_table(DATA / name / "runs.csv")
    grid = with_corpus(read_grid(name), str(runs["corpus"].iloc[0]))
    lrs = {run.key: run.lr_per_step.astype(float) for run in grid.runs}
    curves = scaling.read_curves(DATA / name / "curves.csv", loss="val_loss", schedules=lrs)
    return runs, kept(curves.assign(N=curves["run"].map(runs.set_index("run")["N"])), curves["loss"].notna())


def kept(curves: pd.DataFrame, which: Any) -> pd.DataFrame:
    part = curves[which]
    part.attrs = curves.attrs
    return part


def flops(runs: pd.DataFrame, lrs: dict[str, Any]) -> tuple[float, float]:
    """FLOP of the distinct updates of some runs, and of the runs each trained alone."""
    once = alone = 0.0
    for _, trunk in runs.groupby("trunk"):
        seen: list[np.ndarray] = []
        for run in trunk.itertuples():
            lr, each = lrs[run.run], run.flops / run.steps
            shared = max((common(lr, other) for other in seen), default=0)
            once, alone = once + (len(lr) - shared) * each, alone + len(lr) * each
            seen.append(lr)
    return once, alone


def common(a: np.ndarray, b: np.ndarray) -> int:
    """Updates two schedules share from the start."""
    short = min(len(a), len(b))
    apart = np.flatnonzero(a[:short] != b[:short])
    return int(apart[0]) if len(apart) else short


def line(name: str, how: str, cost: float, whole: float, predicted: Any, observed: Any, more: str = "") -> None:
    error = 100 * np.log(np.asarray(predicted, float) / np.asarray(observed, float))
    each = " ".join(f"{e:+5.1f}" for e in error) if len(error) <= 6 else ""
    print(
        f"{name:34} {how:13} {cost / whole:6.1%}  {np.sqrt(np.mean(error**2)):5.2f} {np.abs(error).max():5.2f}  "
        f"{each} {more}",
        flush=True,
    )


def own_sweep(from_step: int) -> None:
    runs, curves = read_sweep("joint")
    lrs = dict(curves.attrs["schedules"].lr)
    late = kept(curves, curves["step"] >= from_step)
    held, rest = runs[runs["group"] == "held_out"], runs[runs["group"] != "held_out"]
    held = held.sort_values(["N", "steps"])
    asked = pd.DataFrame({"N": held["N"], "schedule": [lrs[run] for run in held["run"]]})
    seeds = rest[(rest["width"] == 32) & (rest["steps"] == 2000) & (rest["schedule"] == "wsd")]["loss"]
    print(f"1. own sweep, rows from step {from_step} on. Held out (error in % of each, in this order):")
    print("   " + ", ".join(f"w{r.width} {r.schedule} {r.steps}" for r in held.itertuples()))
    print(f"   noise floor: {len(seeds)} seeds of one run differ by {100 * np.log(seeds).std():.2f}% (sd)\n")
    print(f"{'fitted':34} {'law':13} {'FLOP':>6}  {'rms':>5} {'worst':>5}  error, %")

    def chosen(widths: tuple[int, ...], steps: tuple[int, ...], cosines: tuple[int, ...] = ()) -> pd.DataFrame:
        own = (rest["group"] == "wsd") & rest["width"].isin(widths) & rest["steps"].isin(steps)
        return rest[own | ((rest["group"] == "cosine") & rest["width"].isin(cosines))]

    grids = {
        "5 sizes x 4 horizons": chosen((*SMALL, 64), WSD),
        "4 sizes x 4 horizons": chosen(SMALL, WSD),
        "4 sizes x 500 to 2000": chosen(SMALL, WSD[:3]),
        "3 sizes x 500 to 2000": chosen(SMALL[:3], WSD[:3]),
    }
    _, whole = flops(grids["5 sizes x 4 horizons"], lrs)
    for name, rows in grids.items():
        once, alone = flops(rows, lrs)
        found = scaling.fit("chinchilla", rows)
        more = f"({alone / whole:.1%} alone)"
        line(f"ends: {name}", "chinchilla", once, whole, found.predict(N=held["N"], D=held["D"]), held["loss"], more)
        stacked = scaling.forecast(rows, N=held["N"].to_numpy(), D=held["D"].to_numpy())
        inside = ((stacked["lo"] <= held["loss"].to_numpy()) & (held["loss"].to_numpy() <= stacked["hi"])).sum()
        line(f"ends: {name}", "stack", once, whole, stacked["loss"], held["loss"], f"{inside} of {len(held)} inside")
    cheap = {
        "3 sizes, wsd 1000; cosine w16": chosen(SMALL[:3], (1000,), (16,)),
        "4 sizes, wsd 1000; cosine w16": chosen(SMALL, (1000,), (16,)),
        "4 sizes, wsd 2000; cosine w16": chosen(SMALL, (2000,), (16,)),
        "4 sizes, wsd 500-2000; cosine w16": chosen(SMALL, WSD[:3], (16,)),
        "4 sizes, wsd 500-4000; 4 cosines": chosen(SMALL, WSD, SMALL),
        "5 sizes, wsd 500-4000; 4 cosines": chosen((*SMALL, 64), WSD, SMALL),
    }
    for name, rows in cheap.items():
        for law in ("ncl_sizes", "tissue_sizes"):
            curve_line(f"curves: {name}", law, kept(late, late["run"].isin(rows["run"])), flops(rows, lrs)[0], whole,
                       asked, held["loss"])  # fmt: skip


def curve_line(
    name: str, law: str, rows: pd.DataFrame, cost: float, whole: float, asked: pd.DataFrame, observed: Any
) -> None:
    start = time.perf_counter()
    found = scaling.fit(law, rows, starts=STARTS)
    fitted = time.perf_counter() - start
    observed = np.asarray(observed, float)
    if rows["run"].nunique() < 3:  # no jackknife
        ends = [float(found.predict(schedule=lr)[-1]) for lr in asked["schedule"]]
        line(name, law, cost, whole, ends, observed, f"no band; fit {fitted:.1f} s")
        return
    frame = final_losses(bootstrap(found), asked)
    inside = int(((frame["lo"] <= observed) & (observed <= frame["hi"])).sum())
    refitted = time.perf_counter() - start - fitted
    more = f"{inside} of {len(observed)} inside; fit {fitted:.1f} s, jackknife {refitted:.1f} s"
    line(name, law, cost, whole, frame["loss"], observed, more)


def haegele(folder: Path) -> None:
    """Horizons at one size: rows are losses on validation text, every 200 steps.

    Kinds of runs are (schedule, steps, share): of the cooldown of wsd, of the last rate of a cosine.
    """
    table = pd.read_csv(folder / "haegele2024_124M_runs.csv.gz").drop_duplicates("run_id")
    rows = pd.read_csv(folder / "haegele2024_124M_curves.csv.gz")
    rows = rows[rows["split"] == "val"].rename(columns={"run_id": "run"})
    print("\n2. Hägele 2024, 124M: finals of 25k, 35k and 50k steps (cosine and wsd 20% linear, where logged)\n")
    print(f"{'fitted':34} {'law':13} {'FLOP':>6}  {'rms':>5} {'worst':>5}")
    for peak in (5e-4, 1e-3, 2e-3):
        runs = {}
        for run in table[table["peak_lr"] == peak].itertuples():
            own = rows[rows["run"] == run.run_id]
            logged = own[(own["step"] < run.iterations) & (own["step"] > 2 * run.warmup_steps)]
            if not len(logged):
                continue
            lr = schedule_of(run, float(logged["lr"].iloc[-1]))
            if lr is None:
                continue
            if np.abs(lr[logged["step"].to_numpy()] - logged["lr"]).max() < 0.02 * peak:
                share = float(run.wsd_fract_decay) if run.scheduler == "wsd" else round(lr[-1] / peak, 3)
                kind = (run.scheduler, int(run.iterations), share)
                runs.setdefault(kind, (run.run_id, lr, own))
        one_peak(peak, runs)


def schedule_of(run: Any, last: float) -> np.ndarray | None:
    """The schedule of a run: its cosines end at 10% of the peak or at 0, as the last logged rate says."""
    steps, warm = int(run.iterations), int(run.warmup_steps)
    if run.scheduler == "cos":
        return cosine(steps, run.peak_lr, warm, final=0.1 if last > 0.05 * run.peak_lr else 0.0)
    if run.scheduler == "wsd" and run.decay_type == "linear":
        return wsd(steps, run.peak_lr, warm, round(run.wsd_fract_decay * steps), "linear")
    return None


def one_peak(peak: float, runs: dict[Any, Any]) -> None:
    last = {kind: float(own.sort_values("step")["loss"].iloc[-1]) for kind, (_, _, own) in runs.items()}
    tests = [k for k in runs if k[1] >= 25_000 and (k[0] == "cos" or k[2] == 0.2) and k[1] in (25_000, 35_000, 50_000)]
    trunk = next((runs[k] for k in runs if k[0] == "wsd" and k[2] == 0.0), None)
    print(
        f"   peak {peak:g}: {len(tests)} finals, {', '.join(f'{k[0]} {k[1] // 1000}k' for k in sorted(tests))}"
        " (cosines to 10% and to 0)"
    )
    for kind in ("cos", "wsd"):
        share = 0.2 if kind == "wsd" else 0.1
        ends = sorted(k for k in runs if k[0] == kind and k[2] == share and k[1] in (15_000, 25_000, 35_000))
        asked = [k for k in tests if k[0] == kind and k[1] == 50_000 and k[2] == share]
        if len(ends) >= 3 and asked:
            data = pd.DataFrame({"D": [float(k[1]) for k in ends], "loss": [last[k] for k in ends]})
            found = scaling.fit("power", data, x="D")
            cost = sum(k[1] for k in ends) if kind == "cos" else 28_000 + 0.2 * sum(k[1] for k in ends)
            line(f"ends: {kind} {', '.join(str(k[1] // 1000) for k in ends)}k -> 50k", "power in D", cost, 75_000,
                 found.predict(D=np.array([float(k[1]) for k in asked])), [last[k] for k in asked])  # fmt: skip
    cos, cooled, second = (runs.get(k) for k in (("cos", 15_000, 0.1), ("wsd", 15_000, 0.2), ("wsd", 25_000, 0.2)))
    plans = {
        "cosine 15k": (15, (cos,)),
        "wsd 15k": (15, (cooled,)),
        "wsd 15k, cosine 15k": (30, (cooled, cos)),
        "wsd 15k, 25k": (28, (cooled, second)),
        "wsd 15k, 25k, cosine 15k": (43, (cooled, second, cos)),
    }
    for name, (cost, parts) in plans.items():
        if any(p is None for p in parts) or (cooled in parts and trunk is None):
            continue
        frames = [own.assign(run=f"{i}") for i, (_, _, own) in enumerate(parts)]
        lrs = {f"{i}": lr for i, (_, lr, _) in enumerate(parts)}
        if cooled in parts:  # the cooldown is logged alone: its trunk is the start of the constant run
            end = 20_000 if second in parts else 12_000
            frames.append(trunk[2][trunk[2]["step"] <= end].assign(run="trunk"))
            lrs["trunk"] = trunk[1][: end + 1]
        data = pd.concat(frames, ignore_index=True)
        data = data[(data["step"] >= 1000) & (data["step"] < data["run"].map({r: len(lr) for r, lr in lrs.items()}))]
        curves = scaling.read_curves(data[["run", "step", "loss"]], schedules=lrs)
        asked = pd.DataFrame({"schedule": [runs[k][1] for k in tests]})
        for law in ("ncl", "tissue"):
            curve_line(f"curves: {name} -> all", law, curves, 1000.0 * cost, 75_000, asked,
                       [last[k] for k in tests])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="end points against whole curves")
    parser.add_argument("--from-step", type=int, default=250, help="first row of our own curves to fit (default 250)")
    parser.add_argument("--public", action="store_true", help="only the public datasets")
    args = parser.parse_args()
    if not args.public:
        own_sweep(args.from_step)
    folder = os.environ.get("SCALING_DATASETS")
    if folder:
        haegele(Path(folder))


if __name__ == "__main__":
    main()
