"""Text that the command line prints, and the folder that `scaling holdout` writes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.curves import read_curves
from scaling.errors import ScalingError
from scaling.files import write_text
from scaling.forecasting import rehearsal_line
from scaling.heldout import HeldOut, hold_out, hold_out_curve
from scaling.law import Law
from scaling.laws import find_law
from scaling.persistence import frame_json, to_json
from scaling.sensitivity import movements
from scaling.stacking import Stack
from scaling.where import select


def forecast_text(frame: pd.DataFrame) -> str:
    """A forecast as a table; a long one (a whole curve) is shown at 20 of its rows."""
    shown = frame if len(frame) <= 40 else frame.iloc[np.unique(np.linspace(0, len(frame) - 1, 20).astype(int))]
    text = shown.to_string(index=False, formatters={str(c): _number for c in frame.select_dtypes("number")})
    return text + (f"\n({len(frame)} steps, {len(shown)} shown; --json prints all)" if len(shown) < len(frame) else "")


def stacked_text(stacked: Stack, frame: pd.DataFrame, level: float) -> str:
    """A forecast from a table: the interval, the parts it is made of, and each law's own forecast."""
    head = frame[["N", "D", "loss", "lo", "hi", "beyond"]]
    lines = [forecast_text(head), "", f"{level:.0%} interval, parts in % (one standard deviation of ln loss)"]
    parts = frame.filter(like="sd_").rename(columns=PARTS) * 100
    lines.append(parts.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    lines += ["", "each law's own forecast (weight)"]
    for name, values in frame.attrs["laws"].items():
        shown = ", ".join(f"{v:.4f}" for v in values[:8]) + (", ..." if len(values) > 8 else "")
        lines.append(f"  {name:18} ({frame.attrs['weights'][name]:.2f})  {shown}")
    dropped = f", {len(stacked.dropped)} dropped" if len(stacked.dropped) else ""
    return "\n".join([*lines, "", f"{len(stacked.table)} runs{dropped}, up to {stacked.reach:.3g} FLOP"])


PARTS = {
    "sd_parameters": "parameters", "sd_scatter": "scatter", "sd_laws": "law choice", "sd_distance": "distance"
}  # fmt: skip


def sensitivity_text(frame: pd.DataFrame) -> str:
    """Each number of a fit, its least and greatest in each kind of refit, and which refit moved it farthest."""
    moves = movements(frame)
    kinds = list(dict.fromkeys(moves["kind"]))
    counts = frame["kind"].value_counts()
    rows = []
    for number, part in moves.groupby("number", sort=False):
        by_kind = part.set_index("kind")
        own = float(part["fitted"].iloc[0])
        row = {"": number, "as fitted": _number(own)}
        for kind in kinds:
            if kind in by_kind.index:
                row[f"{kind} ({counts[kind]})"] = " .. ".join(
                    _number(float(v)) for v in by_kind.loc[kind, ["least", "greatest"]]
                )
        with np.errstate(all="ignore"):
            away = np.abs(np.log(part[["least", "greatest"]].to_numpy(float) / own))
        away = np.where(np.isfinite(away), away, -1.0)
        at, side = np.unravel_index(int(away.argmax()), away.shape)
        row["moved most by"] = str(part[["least_at", "greatest_at"]].iloc[int(at), int(side)])
        rows.append(row)
    return pd.DataFrame(rows).fillna("").to_string(index=False)


def _number(value: float) -> str:
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:.5g}"
    return f"{value:.4e}"


def outcome_text(held: HeldOut, level: float) -> str:
    """Forecast, interval, actual and error of every held-out run, and how many were inside."""
    out = held.outcome
    shown = pd.DataFrame(
        {
            "run": [str(r)[:40] for r in out["run"]],
            "beyond": [f"{b:.1f}x" for b in out["beyond"]],
            "forecast": [f"{v:.4f}" for v in out["loss"]],
            f"{level:.0%} interval": [f"{lo:.4f} .. {hi:.4f}" for lo, hi in zip(out["lo"], out["hi"], strict=True)],
            "actual": [f"{v:.4f}" for v in out["observed"]],
            "error": [f"{e:+.2%}" for e in out["error"]],
            "": ["inside" if i else "OUTSIDE" for i in out["inside"]],
        }
    )
    error = out["error"].abs()
    return (
        shown.to_string(index=False)
        + f"\n{int(out['inside'].sum())} of {len(out)} inside their {level:.0%} interval; "
        + f"error {error.median():.2%} (median), {error.max():.2%} at worst"
    )


def curve_text(run: str, held: HeldOut, level: float) -> str:
    """One line on a curve forecast whole."""
    out = held.outcome
    return (
        f"{run}: {len(out)} points, RMS error {np.sqrt(np.mean(out['error'] ** 2)):.2%}, final loss "
        f"{out['loss'].iloc[-1]:.4f} ({out['lo'].iloc[-1]:.4f} .. {out['hi'].iloc[-1]:.4f}), actual "
        f"{out['observed'].iloc[-1]:.4f}, error {out['error'].iloc[-1]:+.2%}; {out['inside'].mean():.0%} of the curve "
        f"inside its {level:.0%} band, from {held.draws.fit.table['run'].nunique()} fitted curves of {_sizes(held)}"
    )


def _sizes(held: HeldOut) -> str:
    fit = held.draws.fit
    count = fit.table["N"].nunique() if "N" in fit.law.inputs else 1
    return "the same size" if count == 1 else f"{count} sizes"


def holdout_command(args: argparse.Namespace, law: Law, table: pd.DataFrame, options: dict[str, Any]) -> None:
    """What `scaling holdout` does: fit, forecast, print, and write CSV, JSON and plots to a folder."""
    if law.kind == "curves":
        raise ScalingError(f"{law.name} describes whole curves: name it with --curve-law, beside a law of runs")
    curves = None
    if args.curves:
        curves = read_curves(args.curves, where=None)
    held = hold_out(law, table, args.hold, level=args.level, seed=args.seed, resamples=args.resamples, **options)
    whole = _whole_curves(args, table, curves) if curves is not None else []
    if args.json:
        print(frame_json(held.outcome))
    else:
        print(held.draws.fit.report())
        print(f"\n{rehearsal_line(held.draws)}\n\nheld out: {args.hold}\n")
        print(outcome_text(held, args.level))
        for note in (*held.notes, *held.draws.notes):
            print(f"note: {note}")
        if whole:
            print(f"\nwhole curves by {args.curve_law}")
            for run, one in whole:
                print("  " + curve_text(run, one, args.level))
                for problem in (*one.draws.fit.problems, *one.notes):
                    print(f"    note: {problem}")
    if args.output:
        _write(Path(args.output), args, held, whole, table, curves)


def _whole_curves(args: argparse.Namespace, table: pd.DataFrame, curves: pd.DataFrame) -> list[tuple[str, HeldOut]]:
    """Every held-out run's curve, forecast from fitted runs: of all sizes by a law that reads N, else of its own."""
    if "run" not in table or "N" not in table:
        raise ScalingError("--curves needs a table with columns run and N, to tell which curves are of one size")
    law = find_law(args.curve_law)
    used = select(curves, args.curve_where) if args.curve_where else curves
    if "N" in law.inputs:
        used = used.assign(N=used["run"].map(dict(zip(table["run"].astype(str), table["N"], strict=True))))
    used.attrs = curves.attrs
    hidden = select(table, args.hold)
    fitted = table.drop(index=hidden.index)
    found = []
    for run, n in zip(hidden["run"].astype(str), hidden["N"], strict=True):
        same = set(fitted["run"][(fitted["N"] == n) | ("N" in law.inputs)].astype(str))
        part = used[used["run"].isin(same | {run})]
        part.attrs = curves.attrs
        if same & set(part["run"]) and run in set(part["run"]):
            found.append((run, hold_out_curve(law, part, run, level=args.level, seed=args.seed)))
    if not found:
        print("note: no held-out run has fitted runs of its own size, so no curve was forecast whole", file=sys.stderr)
    return found


def _write(
    folder: Path,
    args: argparse.Namespace,
    held: HeldOut,
    whole: list[tuple[str, HeldOut]],
    table: pd.DataFrame,
    curves: pd.DataFrame | None,
) -> None:
    from scaling.plots import figure_of, sized
    from scaling.style import save

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "forecast.csv", folder / "fit.json", folder / "forecast.png"]
    write_text(written[0], held.outcome.to_csv(index=False))
    write_text(written[1], to_json(held.draws.fit) + "\n")
    drawn = None
    if curves is not None and "tokens" in curves:
        drawn = sized(curves, table)
    save(figure_of(held.draws, held=held, curves=drawn, level=args.level), str(written[2]))
    if whole:
        longest = max(whole, key=lambda pair: pair[1].outcome["step"].max())
        frame = pd.concat([one.outcome.assign(run=run) for run, one in whole], ignore_index=True)
        written += [folder / "curve_forecast.csv", folder / "curve_forecast.png"]
        write_text(written[3], frame.to_csv(index=False))
        save(figure_of(longest[1].draws, held=longest[1]), str(written[4]))
    print("\nwrote " + ", ".join(str(path) for path in written), file=sys.stderr if args.json else sys.stdout)
