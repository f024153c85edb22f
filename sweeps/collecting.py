"""Tables out of a sweep's folder, at any moment of it: how far every run is, and the CSVs that `scaling` reads."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.columns import CURVES, LOSS_ON as LOSS, MDE_ON as MIXED, MEASURED, RUNS, SHARE_OF as SHARE
from scaling.errors import ScalingError
from sweeps.experts import experts_table, find_experts, losses_of_mixtures
from sweeps.formats.listed import NONE, gmse_of
from sweeps.leases import holder_of_run, holders
from sweeps.records import (
    cell,
    read_curve,
    read_failure,
    read_final,
    read_manifest,
    read_run,
    read_tail,
    run_keys,
    write_text,
    writing,
)

#: Fields that say how a run is stored -> the column of the mean squared error of that format.
GMSE = {"weight_format": "gmse_weights", "activation_format": "gmse_activations"}
#: Settings, and what follows from them, that are columns of the table where any run departs from these defaults.
FURTHER: dict[str, Any] = (
    {"objective": "autoregressive"} | dict.fromkeys(GMSE, NONE) | dict.fromkeys(GMSE.values(), 0.0)
)


def status(out: str | os.PathLike[str]) -> pd.DataFrame:
    """One row a run: run, group, status, step, steps, loss (latest validation), idle (seconds since a row), holder (who
    trains its stack now), reason (why its stack failed, one line).

    status is finished, diverged, failed (its stack stopped on an error), running, or waiting (no step logged yet).
    """
    rows, held = [], holders(Path(out))
    for key in run_keys(out):
        record, final, tail = read_run(out, key), read_final(out, key), read_tail(out, key)
        holder = None if final is not None else holder_of_run(record["stack"], record["trunk"], held)
        state = _state(out, record, final, bool(tail))
        if final is not None:
            step, loss = final["steps"], final["loss"]
        else:
            step = int(tail[-1]["step"]) + 1 if tail else 0
            loss = next((float(row["val_loss"]) for row in reversed(tail) if row["val_loss"]), None)
        rows.append(
            {
                "run": key,
                "group": record["run"]["group"],
                "status": state,
                "step": step,
                "steps": record["run"]["steps"],
                "loss": math.nan if loss is None else loss,
                "idle": max(0.0, time.time() - (Path(out) / key / "curve.csv").stat().st_mtime),
                "holder": holder.name if holder else "",
                "reason": read_failure(out, record["stack"], record["trunk"]) if state == "failed" else "",
            }
        )
    return pd.DataFrame(rows, columns=["run", "group", "status", "step", "steps", "loss", "idle", "holder", "reason"])


def collect(out: str | os.PathLike[str], corpus: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of runs and of curves, columns as in scaling.columns; loss is empty where a run has none.

    corpus  keep only runs on the text of this digest. ScalingError if the runs are on several and none is chosen.
    """
    records = {key: read_run(out, key) for key in run_keys(out)}
    digests = sorted({record["run"]["corpus"] for record in records.values()})
    if corpus is not None and corpus not in digests:
        raise ScalingError(f"no run in {out} is on the corpus {corpus}; there are: {', '.join(digests)}")
    if corpus is None and len(digests) > 1:
        counts = {d: sum(record["run"]["corpus"] == d for record in records.values()) for d in digests}
        raise ScalingError(
            f"the runs in {out} are on {len(digests)} different texts, on which losses do not compare: "
            f"{', '.join(f'{d} ({n} runs)' for d, n in counts.items())}. Select one with --corpus {digests[0]}"
        )
    texts = {digest: read_manifest(out, digest) for digest in digests}
    records = {key: record for key, record in records.items() if corpus in (None, record["run"]["corpus"])}
    mixed = losses_of_mixtures(records, find_experts(out, records, texts))
    runs, curves = [], []
    for key, record in records.items():
        curve = read_curve(out, key)
        curve.insert(0, "run", key)
        final = read_final(out, key)
        row = _row(record, final, _state(out, record, final, len(curve) > 0), texts[record["run"]["corpus"]])
        row |= {MIXED + source: loss for source, loss in mixed.get(key, {}).items()}
        runs.append(row | _measured(curve if row["status"] == "finished" else curve[:0]))
        if len(curve):
            curves.append(curve)
    table = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()
    own = list(dict.fromkeys(name for record in records.values() for name in record.get("columns", ())))
    other = [name for name in FURTHER if any(row[name] != FURTHER[name] for row in runs)]
    floats = dict.fromkeys(("loss", "loss_se", "bits_per_byte"), float)  # also where no run has any
    begins = ((name, start) for row in runs for name in row for start in (SHARE, LOSS) if name.startswith(start))
    there = {name.removeprefix(start) for name, start in begins}
    named = [part["name"] for text in texts.values() for part in text.get("sources", ())]  # in the order of the corpus
    sources = list(dict.fromkeys([*(name for name in named if name in there), *sorted(there)]))
    shares, losses, experts = ([start + source for source in sources] for start in (SHARE, LOSS, MIXED))
    experts = experts if mixed else []
    measured = [name for columns in MEASURED.values() for name in columns if name in table]
    rows = pd.DataFrame(runs, columns=[*RUNS, *other, *own, *shares, *losses, *experts, *measured]).astype(floats)
    return rows.fillna(dict.fromkeys(shares, 0.0)), table.reindex(columns=[*CURVES, *measured])


def collect_experts(
    out: str | os.PathLike[str], corpus: str | None = None, say: Callable[[str], None] | None = None
) -> dict[str, pd.DataFrame]:
    """The table of experts, a row a validation token (see `sweeps.experts`), by the name of its file.

    corpus  only experts on the text of this digest
    say     told why there is none where experts are of several kinds; the result is then empty, as without experts.
            Where nobody is told, both are ScalingErrors
    """
    every = {key: read_run(out, key) for key in run_keys(out)}
    records = {key: record for key, record in every.items() if corpus in (None, record["run"]["corpus"])}
    texts = {record["run"]["corpus"]: read_manifest(out, record["run"]["corpus"]) for record in records.values()}
    kinds = find_experts(out, records, texts)
    if not kinds and say is not None:
        return {}
    try:
        return {"experts.csv": experts_table(kinds)}
    except ScalingError as error:
        if say is None:
            raise
        say(f"sweeps: no experts.csv: {error}")
        return {}


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV text, written by the same rule as the curves: exact numbers, empty where missing."""
    columns = [[cell(value) for value in table[name].tolist()] for name in table]
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*columns, strict=True))
    return lines.getvalue()


def write_csv(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table to `path`, whole or not at all."""
    with writing(Path(path).parent):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(Path(path), to_csv(table))


def _row(
    record: Mapping[str, Any], final: Mapping[str, Any] | None, state: str, text: Mapping[str, Any]
) -> dict[str, Any]:
    """One row of the table of runs; `text` is the manifest of its corpus."""
    run, final = record["run"], final or {}
    n, d = record["parameters"]["matmul"], record["tokens"]
    unique = run.get("unique_tokens") or _there(run, text)
    return (
        {name: run[name] for name in RUNS if name in run}
        | {
            "run": record["key"],
            "N": n,
            "D": d,
            "C": float(6 * n * d),
            "U": unique,
            "epochs": d / unique if unique else None,
            "loss": final.get("loss"),
            "loss_se": final.get("loss_se"),
            "bits_per_byte": final.get("bits_per_byte"),
            "status": state,
            "trunk": record["trunk"],
            "N_total": record["parameters"]["chinchilla"],
            "N_embedding": record["parameters_by_group"]["embedding"],
            "flops": record["flops"],
            "flops_marginal": record["flops_marginal"],
        }
        | {name: run.get(name, default) for name, default in FURTHER.items()}
        | {column: gmse_of(run.get(field, NONE)) for field, column in GMSE.items()}
        | record.get("columns", {})
        | {SHARE + source: weight for source, weight in run.get("mixture", ())}
        | {LOSS + source: loss for source, loss in final.get("loss_by_source", {}).items()}
    )


def _measured(curve: pd.DataFrame) -> dict[str, float]:
    """What was measured beside the loss at the end of a curve."""
    return {name: curve[name].iloc[-1] for each in MEASURED.values() for name in each if name in curve and len(curve)}


def _there(run: Mapping[str, Any], text: Mapping[str, Any]) -> int | None:
    """Training tokens of the sources that a run reads."""
    sources = {name for name, _ in run.get("mixture", ())}
    if not sources:
        return text.get("train_tokens")
    return sum(part["tokens"] for part in text.get("sources", ()) if part["name"] in sources) or None


def _state(out: str | os.PathLike[str], record: Mapping[str, Any], final: Mapping[str, Any] | None, begun: bool) -> str:
    if final is not None:
        return final["status"]
    if read_failure(out, record["stack"], record["trunk"]) is not None:
        return "failed"
    return "running" if begun else "waiting"
