"""How well a run is forecast while it trains: its last loss, its interval, and false alarms of its departures.

    SCALING_DATASETS=FOLDER OMP_NUM_THREADS=1 python benchmarks/watching.py [--only PART ..] [--rows FILE.csv]

Every run of the public curves (Luo 2025, Haegele 2024, one GPT of 100M) is watched at a quarter, at half and at three
quarters of its steps, its plan known, given the runs of its family (its model, its peak rate) that had ended by the
observed step. `alone` gives some of them no family. `own` are this project's small sweeps, whose seeds differ by 1%.
`faults` adds a step to the loss of curves that went well. docs/watching.md reads these tables.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from public_curves import PEAKS, Curve, folder, haegele, luo, table_of

from scaling.rates import every_update
from scaling.scoring import binomial_interval
from scaling.watching import watch

SHARES = (0.25, 0.5, 0.75)
PARTS = ("half", "others", "alone", "own", "faults")
FAULTS = (0.0025, 0.005, 0.01, 0.02)  # of ln loss, over the last quarter of the observed steps
Curves = dict[str, Curve]


def public() -> dict[str, Curves]:
    """The families, each run with its curve."""
    sets = {f"luo {model}": luo(model) for model in ("25M", "100M")}
    return sets | {f"haegele {peak:g}": haegele(peak) for peak in PEAKS}


def gpt() -> Curves:
    """One cosine run, its rows means of 20 steps, from twice its warm-up on."""
    table = pd.read_csv(folder() / "gpt100M_cosine.csv.gz")
    step = table["step"].round().to_numpy(int)
    lr = every_update(step, table["lr"].to_numpy(float), int(step[-1]))
    return {"cosine": Curve("cosine", lr, step, table["loss"].to_numpy(float), np.ones(len(step), bool))}


def ours() -> dict[str, Curves]:
    """The sweeps of data/joint, by size, and data/untested, by seed: curves from step 100 on."""
    found: dict[str, Curves] = {}
    for name, by in (("joint", "N"), ("untested", "seed")):
        at = Path(__file__).parents[1] / "data" / name
        runs = pd.read_csv(at / "runs.csv").set_index("run")
        for run, rows in pd.read_csv(at / "curves.csv").groupby("run"):
            lr = every_update(rows["step"].to_numpy(), rows["lr"].to_numpy(float), int(rows["step"].max()))
            late = rows[rows["step"] >= 100]
            curve = Curve(str(run), lr, late["step"].to_numpy(), late["val_loss"].to_numpy(), np.ones(len(late), bool))
            found.setdefault(f"{name} {runs.loc[run, by]:g}", {})[str(run)] = curve
    return found


def planned(curve: Curve) -> Any:
    """The plan up to the last row, which is what is forecast."""
    return curve.lr[: int(curve.steps[-1]) + 1]


def watched(curve: Curve, share: float, family: list[Curve], shift: float = 0.0) -> dict[str, Any]:
    """One run at a share of its steps: error of its last loss, interval, departure."""
    now = share * len(planned(curve))
    seen = curve.part(curve.steps <= now)
    if shift:
        late = seen.steps > 0.75 * now
        seen = Curve(seen.name, seen.lr, seen.steps, seen.loss * np.where(late, np.exp(shift), 1.0), seen.new)
    table = table_of([seen, *family])
    begun, wall = time.process_time(), time.perf_counter()
    found = watch(table, f"0 {curve.name}", planned(curve))
    last, away = float(curve.loss[-1]), found.departure
    return {
        "run": curve.name, "share": share, "family": len(family), "error": found.loss / last - 1,
        "inside": found.lo <= last <= found.hi, "width": np.log(found.hi / found.lo) / 2,
        "z": away.z if away else np.nan, "spikes": len(away.spikes) if away else 0,
        "alarm": bool(away and away.departs), "identified": found.identified,
        "cpu": time.process_time() - begun, "wall": time.perf_counter() - wall,
    }  # fmt: skip


def ended(curves: Curves, name: str, share: float) -> list[Curve]:
    """The other runs of a family that have ended by the observed step."""
    now = share * len(planned(curves[name]))
    return [c for other, c in curves.items() if other != name and c.steps[-1] <= now]


def with_family(sets: dict[str, Curves], shares: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    for title, curves in sets.items():
        for name, curve in curves.items():
            for share in shares:
                family = ended(curves, name, share)
                if family and (curve.steps <= share * len(planned(curve))).sum() >= 8:
                    yield {"set": title} | watched(curve, share, family)


def alone(sets: dict[str, Curves]) -> Iterator[dict[str, Any]]:
    """Runs of 24k and 25k steps, of each kind one, and all of Luo's."""
    kinds = ("wsd20_linear_25000", "wsd60_linear_25000", "cos0_25000", "cos10_25000", "constant")
    for title, curves in (sets | {"gpt 100M": gpt()}).items():
        for name, curve in curves.items():
            if title.startswith("haegele") and name not in kinds:
                continue
            for share in SHARES:
                yield {"set": title} | watched(curve, share, [])


def faults(sets: dict[str, Curves]) -> Iterator[dict[str, Any]]:
    for title, curves in sets.items():
        names = [n for n in curves if n in ("wsd20_linear_50000", "cos0_50000", "cosine_72000", "constant_72000")]
        for name in names:
            for shift in FAULTS:
                found = watched(curves[name], 0.5, ended(curves, name, 0.5), shift)
                yield {"set": title, "shift": shift} | found


def table(rows: pd.DataFrame, by: list[str]) -> str:
    """Forecasts, median and worst error, coverage with its exact interval, median half-width, by group."""
    found = []
    for key, group in rows.groupby(by, sort=False):
        error, hits = group["error"].abs(), int(group["inside"].sum())
        lo, hi = binomial_interval(hits, len(group))
        named = dict(zip(by, key, strict=True))
        named |= {"forecasts": len(group), "median %": 100 * error.median(), "worst %": 100 * error.max()}
        named |= {"covered": hits / len(group), "95%": f"{lo:.2f}-{hi:.2f}"}
        named |= {"half-width %": 100 * group["width"].median(), "alarms": int(group["alarm"].sum())}
        found.append(named | {"cpu s": group["cpu"].median(), "wall s": group["wall"].median()})
    return pd.DataFrame(found).to_string(index=False, float_format=lambda v: f"{v:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", metavar="FILE", help="write every forecast to a CSV")
    args = parser.parse_args()
    sets = public()
    every = []
    for part in args.only:
        made = {
            "half": lambda: with_family(sets, (0.5,)),
            "others": lambda: with_family(sets, (0.25, 0.75)),
            "alone": lambda: alone(sets),
            "own": lambda: with_family(ours(), SHARES),
            "faults": lambda: faults(sets),
        }[part]()
        rows = pd.DataFrame(made).assign(part=part)
        every.append(rows)
        by = {"alone": ["set", "share", "identified"], "faults": ["set", "shift"]}.get(part, ["set", "share"])
        print(f"\n{part}\n{table(rows, by)}\n{table(rows, by[1:])}", flush=True)
        if args.rows:
            pd.concat(every).to_csv(args.rows, index=False)


if __name__ == "__main__":
    main()
