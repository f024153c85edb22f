"""Columns that seem to be in another unit than the rest, or than their names say. Flagged only on evidence that no
noise gives: a ratio that is a power of a thousand, a gap of three decades, losses a factor of ln 2 apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
WORDS = {3: "thousands", 6: "millions", 9: "billions", 12: "trillions"}
SMALL = 1e5  # counts of parameters and tokens lie above; counts in millions or billions below
GAP = 3.0  # decades of nothing between two groups of one column
NEAR = 0.3  # decades by which C / (6 N D) may miss a power of a thousand, counting parameters one way or another
APART = 0.25  # least gap in ln loss between two groups of residuals; it must also exceed the range of either
BITS = float(np.log(np.log(2)))  # ln of nats per bit, about -0.3665
UNIFORM = float(np.log(2**18))  # nats per token of a uniform guess over 262,144 tokens, the largest vocabulary in use


def suspicions(table: pd.DataFrame, columns: Mapping[str, str]) -> list[str]:
    """Problems of units that the table itself shows, in words, each with its fix."""
    groups = {name: _two_groups(name, table[name]) for name in ("N", "D", "C") if name in columns.values()}
    said = [words for words in groups.values() if words] or _thousands(table)
    said += _vocabulary(table, table[columns["loss"]].to_numpy(float))
    return said


def notes(table: pd.DataFrame) -> list[str]:
    """What may be meant, and is said: rows whose size, data and loss are those of another row."""
    named = [name for name in ("N", "D", "C", "step", "loss") if name in table]
    if len(named) < 2 or "step" in named:
        return []
    same = table["loss"].duplicated(keep=False) if "loss" in table else np.ones(len(table), bool)
    if not same.any():  # the cheap question first
        return []
    same = table.duplicated(subset=named, keep=False)
    if not same.any():
        return []
    return [
        f"{int(same.sum())} rows have the {', '.join(named)} of another row to the last digit (rows "
        f"{', '.join(map(str, table.index[same][:6]))}{', ...' if same.sum() > 6 else ''}): copies of one run count "
        "twice; drop them, or name runs in a column run, whose exact repeats are dropped"
    ]


def of_residuals(residuals: Array, index: pd.Index) -> str | None:
    """Two groups of rows whose losses differ by a constant factor, from ln(predicted / observed); None if one."""
    order = np.argsort(residuals, kind="stable")
    r = residuals[order]
    if len(r) < 6 or not np.isfinite(r).all():
        return None
    gaps = np.diff(r)
    at = int(gaps.argmax())
    low, high = r[: at + 1], r[at + 1 :]
    few = min(len(low), len(high))
    if few < 2 or gaps[at] < max(APART, float(np.ptp(low)), float(np.ptp(high))):
        return None
    # rows of low residual have a loss above the law's
    between = float(np.median(low) - np.median(high))
    minority = order[: at + 1] if len(low) <= len(high) else order[at + 1 :]
    rows = ", ".join(map(str, np.sort(index[minority].to_numpy())[:6])) + (", ..." if few > 6 else "")
    factor = np.exp(-between if len(low) <= len(high) else between)
    if abs(abs(between) + BITS) < 0.05:
        unit = "bits" if factor > 1 else "nats"
        other = "nats" if factor > 1 else "bits"
        fix = "multiply them by ln 2 = 0.6931" if factor > 1 else "divide them by ln 2 = 0.6931"
        return (
            f"{few} rows have losses {factor:.3f} times the others' (rows {rows}), as if in {unit} among {other} "
            f"(a bit is 0.6931 nats); {fix}, or leave them out"
        )
    return (
        f"{few} rows have losses {factor:.3g} times the others' (rows {rows}), as if in another unit (per byte or "
        "character among per token?) or on other text; convert them, or leave them out"
    )


def _two_groups(name: str, column: pd.Series) -> str:
    values = np.sort(column.to_numpy(float))
    logs = np.log10(values)
    if len(logs) < 2 or np.diff(logs).max() < GAP:
        return ""
    at = int(np.diff(logs).argmax())
    low, high = values[: at + 1], values[at + 1 :]
    if name in ("N", "D") and low[-1] >= SMALL:
        return ""
    middle = float(np.median(np.log10(high)) - np.median(np.log10(low)))
    power = min(WORDS, key=lambda p: abs(p - middle))
    return (
        f"{name} is {low[0]:.3g} to {low[-1]:.3g} in {len(low)} rows and {high[0]:.3g} to {high[-1]:.3g} in "
        f"{len(high)}, with nothing between: two units in one column (counts in {WORDS[power]} among counts?); "
        f"multiply the small ones by 1e{power}, or leave them out"
    )


def _thousands(table: pd.DataFrame) -> list[str]:
    if not {"N", "D", "C"} <= set(table.columns):
        return []
    with np.errstate(all="ignore"):
        ratio = np.log10(table["C"].to_numpy(float) / (6 * table["N"].to_numpy(float) * table["D"].to_numpy(float)))
    ratio = ratio[np.isfinite(ratio)]
    if not len(ratio):
        return []
    middle = float(np.median(ratio))
    power = int(3 * np.round(middle / 3))
    if abs(power) < 3 or abs(middle - power) > NEAR or np.quantile(np.abs(ratio - middle), 0.9) > 2 * NEAR:
        return []
    medians = {name: float(table[name].median()) for name in ("N", "D")}
    small = [name for name in medians if medians[name] < SMALL]
    if power < 0:
        return [
            f"C / (6 N D) is about 1e{power} in all rows: C is counted in a larger unit, such as {_flop(-power)}; "
            f"multiply C by 1e{-power}, or leave the column out (it is then 6 N D)"
        ]
    if not small:
        return []
    if len(small) == 2:
        return [
            f"C / (6 N D) is about 1e{power} in all rows: N and D are both counted in larger units, such as millions "
            "or billions; give both as plain counts"
        ]
    name = small[0]
    word = WORDS.get(power, f"units of 1e{power}")
    return [f"C / (6 N D) is about 1e{power} in all rows: {name} is counted in {word}; multiply {name} by 1e{power}"]


def _flop(power: int) -> str:
    return {15: "petaFLOP", 18: "exaFLOP", 21: "zettaFLOP"}.get(power, f"units of 1e{power} FLOP")


def _vocabulary(table: pd.DataFrame, loss: Array) -> list[str]:
    """Losses above that of a uniform guess over the vocabulary, which no trained model has."""
    column = next((c for c in ("vocab", "vocab_size", "n_vocab") if c in table), None)
    if column is not None:
        size = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
        known = np.isfinite(size) & (size > 1)
        over = loss[known] > np.log(size[known])
        if known.any() and over.mean() > 0.5:
            bits = (loss[known] <= np.log2(size[known])).all()
            unit = "bits, to be multiplied by ln 2 = 0.6931" if bits else "a perplexity, whose logarithm to take"
            return [
                f"{int(over.sum())} of {int(known.sum())} losses lie above ln {column}, that of a uniform guess: they "
                f"are no nats per token; perhaps {unit}"
            ]
    elif "N" in table and "D" in table and np.median(loss) > UNIFORM:
        return [
            f"the median loss is {np.median(loss):.4g}, above the {UNIFORM:.1f} nats of a uniform guess over 262,144 "
            "tokens: if this is a perplexity, take its logarithm; if it is summed over a text, divide by its tokens"
        ]
    return []
