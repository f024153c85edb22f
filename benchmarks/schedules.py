"""Can a law choose a learning-rate schedule? Ranking real ones, and the optimum beside the standard ones.

    SCALING_DATASETS=FOLDER python benchmarks/schedules.py [--optimum]

Ranking: 124M models on SlimPajama (Hägele 2024, arXiv:2405.18392; logs of Schaipp 2025, arXiv:2501.18965). At each peak
learning rate a law is fitted to three runs of at most 25k steps (the constant one and two others) and ranks the real
schedules of 25k, 35k and 50k steps: cooldowns over 10 to 90%, cosines. Spearman's correlation with their final losses;
regret, what the chosen run lost against the best real one; error of the last logged losses. Which were fitted
matters, so several trios are tried. "ncl, three peaks" is one fit to the nine curves of three peak rates.

Optimum: the laws fitted to three curves of each model of Luo 2025 (arXiv:2503.12811) choose a schedule of 24k steps;
how far the standard ones lie above it, and how long the search takes.

The folder holds `haegele2024_124M_curves.csv.gz` with `_runs`, and `luo2025_schedules.csv.gz`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import scaling
from scaling.choosing import optimal_schedule
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.scheduling import ends_of

LAWS = ("tissue", "mpl", "mpl_tied", "ncl")
PEAKS, HORIZONS = (5e-4, 1e-3, 2e-3), (25_000, 35_000, 50_000)
FIRST = 2000  # steps below are not fitted
AGREE = 0.02  # of the peak: how far a closed form may lie from logged rates, which are rounded and of the step beside


def schedule_of(run: pd.Series) -> np.ndarray:
    """Learning rate of every update as the runs' code sets it (their OneCycleLR, and a linear warm-up for WSD)."""
    steps, peak, warmup = int(run["iterations"]), float(run["peak_lr"]), int(run["warmup_steps"])
    k = np.arange(steps)
    if run["scheduler"] == "cos":
        final = (
            0.1 * peak if run["name"].startswith("cos-10") else 1e-7 if run["name"].startswith("cos-zero") else np.nan
        )
        up = 0.01 * peak + 0.99 * peak * 0.5 * (1 - np.cos(np.pi * np.minimum(k / (warmup - 1), 1.0)))
        x = np.clip((k - (warmup - 1)) / (steps - warmup), 0.0, 1.0)
        return np.where(k < warmup, up, final + (peak - final) * 0.5 * (1 + np.cos(np.pi * x)))
    up = peak * (0.01 + 0.99 * np.minimum(k / warmup, 1.0))
    length = round(float(run["wsd_fract_decay"]) * steps)
    x = np.clip((k - (steps - length)) / max(length, 1), 0.0, 1.0)
    return up * ((1 - np.sqrt(x)) if run["decay_type"] == "sqrt" else (1 - x))


def haegele(folder: Path) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[str, np.ndarray]]:
    """Runs by id, validation rows of each, and the schedule of each, checked against its logged rates."""
    runs = pd.read_csv(folder / "haegele2024_124M_runs.csv.gz").set_index("run_id", drop=False)
    runs["name"] = runs["run_id"].str.split("_slimpajama").str[0]
    whole = runs["peak_lr"].isin(PEAKS) & runs["name"].str.match(r"ann124-|cos-10|cos-zero|stable-124m")
    runs = runs[whole]
    curves = pd.read_csv(folder / "haegele2024_124M_curves.csv.gz")
    rows, lrs = {}, {}
    for run_id, own in curves[curves["run_id"].isin(runs.index)].groupby("run_id", sort=False):
        lrs[run_id] = schedule_of(runs.loc[run_id])
        logged = own[(own["split"] == "train") & (own["step"] < len(lrs[run_id])) & (own["step"] > 0)]
        apart = np.abs(logged["lr"] - lrs[run_id][logged["step"]]).max() / runs.loc[run_id, "peak_lr"]
        if apart > AGREE:
            raise ScalingError(f"{run_id}: its logged rates lie up to {apart:.1%} of the peak off its schedule")
        rows[run_id] = own[own["split"] == "val"].sort_values("step").drop_duplicates("step")
    return runs, rows, lrs


#: The three curves that laws are fitted to, besides the constant one: (name, cooldown shape) of runs of 25k steps.
TRIOS = {
    "cosine to 0, linear 10%": (("cos-zero-124m", ""), ("ann124-0.1", "linear")),
    "cosine to 0, linear 20%": (("cos-zero-124m", ""), ("ann124-0.2", "linear")),
    "cosine to 0, 1-sqrt 20%": (("cos-zero-124m", ""), ("ann124-0.2", "sqrt")),
    "cosine to 0, linear 40%": (("cos-zero-124m", ""), ("ann124-0.4", "linear")),
    "cosine to 0, linear 60%": (("cos-zero-124m", ""), ("ann124-0.6", "linear")),
    "cosine to 10%, linear 20%": (("cos-10-124m", ""), ("ann124-0.2", "linear")),
    "cosine to 0, cosine to 10%": (("cos-zero-124m", ""), ("cos-10-124m", "")),
}


def trained(
    runs: pd.DataFrame, rows: dict[str, pd.DataFrame], lrs: dict[str, np.ndarray], peaks: tuple[float, ...], trio: str
) -> pd.DataFrame:
    """The curves that a law is fitted to, three a peak, none longer than 25k steps."""
    chosen = []
    for peak in peaks:
        at = runs[runs["peak_lr"] == peak]
        chosen += list(at[at["name"] == "stable-124m"].index)
        for name, shape in TRIOS[trio]:
            same = (at["name"] == name) & (at["iterations"] == 25_000)
            chosen += list(at[same & ((at["decay_type"] == shape) | (shape == ""))].index)
    assert len(chosen) == 3 * len(peaks), chosen
    parts = []
    for run_id in chosen:
        own = rows[run_id]
        own = own[(own["step"] >= FIRST) & (own["step"] <= 25_000)]
        parts.append(
            pd.DataFrame({"run": run_id, "step": own["step"] - 1, "loss": own["loss"]})
        )  # after `step` updates
    return scaling.read_curves(pd.concat(parts, ignore_index=True), schedules={r: lrs[r] for r in chosen})


def predicted(found: Fit, lrs: list[np.ndarray]) -> np.ndarray:
    """Losses at the ends of schedules."""
    return ends_of(found.law, found.params, lrs, {})


def rank(folder: Path) -> pd.DataFrame:
    """One row a trio, law, peak and horizon: Spearman's correlation, regret, and error of the last logged losses."""
    runs, rows, lrs = haegele(folder)
    found = []
    for trio in TRIOS:
        joint = scaling.fit("ncl", trained(runs, rows, lrs, PEAKS, trio))
        for peak in PEAKS:
            table = trained(runs, rows, lrs, (peak,), trio)
            fits = {law: scaling.fit(law, table) for law in LAWS} | {"ncl, three peaks": joint}
            for law, fit in fits.items():
                for steps in HORIZONS:
                    same = (runs["peak_lr"] == peak) & (runs["iterations"] == steps) & (runs["name"] != "stable-124m")
                    found.append({"trio": trio, "law": law, "peak": peak, "steps": steps}
                                 | judged(fit, runs[same], rows, lrs))  # fmt: skip
    return pd.DataFrame(found)


def judged(fit: Fit, real: pd.DataFrame, rows: dict[str, pd.DataFrame], lrs: dict[str, np.ndarray]) -> dict[str, float]:
    """How well a law ranks real runs by their final losses (of more data than the curves), and predicts the curves."""
    said = predicted(fit, [lrs[r] for r in real.index])
    true = real["final_val_loss"].to_numpy()
    last = [int(rows[r]["step"].max()) for r in real.index]
    ends = predicted(fit, [lrs[r][:n] for r, n in zip(real.index, last, strict=True)])
    logged = np.array([rows[r]["loss"].iloc[-1] for r in real.index])
    return {
        "schedules": len(real), "spearman": float(spearmanr(said, true).statistic),
        "regret": float(true[said.argmin()] - true.min()), "mae": float(np.abs(ends - logged).mean()),
    }  # fmt: skip


def optima(folder: Path, steps: int = 24_000, peak: float = 3e-4, warmup: int = 2160) -> pd.DataFrame:
    """One row a model and law: seconds, where the decay begins, and the standard schedules' excess over the optimum."""
    found = []
    for model in ("25M", "100M"):
        where = f'model == "{model}" and split == "paper_train"'
        table = scaling.read_curves(
            folder / "luo2025_schedules.csv.gz", map={"run": "run_id"}, warmup=warmup, where=where
        )
        for law in LAWS:
            draws = scaling.bootstrap(scaling.fit(law, table))
            begun = time.perf_counter()
            try:
                best = optimal_schedule(draws, steps, peak, warmup)
            except ScalingError as error:
                found.append({"model": model, "law": law, "refused": str(error)})
                continue
            seconds = time.perf_counter() - begun
            begins = (np.flatnonzero(best.lr >= 0.99 * best.peak)[-1] + 1) / steps
            row = {"model": model, "law": law, "seconds": seconds, "begins": begins, "ends": best.lr[-1] / best.peak,
                   "loss": best.loss, "moves": best.moves["excess"].max()}  # fmt: skip
            found.append(row | dict(best.against["difference"]))
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimum", action="store_true", help="the optimum only")
    args = parser.parse_args()
    named = os.environ.get("SCALING_DATASETS")
    if not named:
        print("skipped: set SCALING_DATASETS to the folder of public data sets")
        return
    pd.set_option("display.width", 200, "display.max_columns", 30, "display.float_format", lambda v: f"{v:.4g}")
    if not args.optimum:
        every = rank(Path(named))
        scores = ["spearman", "regret", "mae"]
        print("ranking real schedules: means over three peaks and three horizons")
        print(every.groupby(["trio", "law"], sort=False)[scores].mean().to_string())
        print(f"\nmeans over the trios as well\n{every.groupby('law', sort=False)[scores].mean().to_string()}")
    table = optima(Path(named))
    print("\noptimum at 24k steps, peak 3e-4; the standard schedules' excess over it (nats/token)")
    print(table.drop(columns="refused").dropna(subset="loss").T.to_string())
    for row in table.dropna(subset="refused").itertuples():
        print(f"{row.model}: {row.refused}")


if __name__ == "__main__":
    main()
