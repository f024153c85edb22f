"""Small files that the examples of the documents and of the commands' help read, made from published coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling import schedule
from scaling.curves import read_curves
from scaling.fitting import fit
from scaling.laws import LAWS
from scaling.persistence import to_json
from scaling.table import read_table
from scaling.trajectory import whole
from sweeps import records
from sweeps.counting import parameter_counts
from sweeps.plan import build_plan, flops_of
from sweeps.runs import Run

MYLAW = '''"""A law of my own: one power of the compute."""

from scaling import Exponent, Floor, Scale, law


@law(cite="mine, 2026")
def mylaw(C, *, E: Floor, A: Scale, a: Exponent):
    """L(C) = E + A / C^a"""
    return E + A * C**-a
'''
GRID = """# Does twice the width learn more from the same tokens?
corpus = "markov"
head_dim = 8
context = 16
batch = 2
val_sequences = 4
lr = 0.01
depth = 1
width = [16, 32]
[[grid]]
name = "wsd"
steps = [8, 12]
cooldown = 4
"""
STEPS, PEAK, WARMUP = 24_000, 3e-4, 2160  # of the schedules in the help


def isoflops() -> pd.DataFrame:
    """Seven sizes at each of four budgets, on Besiroglu 2024's law (arXiv:2404.10102) with 0.2% of noise."""
    rng = np.random.default_rng(0)
    c = np.repeat([6e18, 3e19, 1.5e20, 7.5e20], 7)
    n = np.sqrt(c / 120) * 1.6 ** np.tile(np.arange(-3, 4), 4)  # about the size of 20 tokens a parameter
    d = c / (6 * n)
    loss = LAWS["chinchilla"](n, d, **LAWS["chinchilla"].published["besiroglu2024"])
    loss = loss * np.exp(0.002 * rng.standard_normal(len(n)))
    return pd.DataFrame({"run": [f"run{i:02}" for i in range(len(n))], "N": n, "D": d, "C": c, "loss": loss})


def mixtures() -> tuple[pd.DataFrame, pd.DataFrame]:
    """24 mixtures of three domains and 6 on another seed, with experts on each domain: one model's loss is, made up,
    nine tenths of that of mixed experts and a bit that falls with the domain's share; 0.2% of noise."""
    rng = np.random.default_rng(0)
    names = ("code", "docs", "headers")
    tokens = []
    for number, source in enumerate(names):
        losses = rng.gamma(3.0, 1.0, (400, 3)) * np.where(np.arange(3) == number, 0.5, 1.0)
        tokens.append(pd.DataFrame({"source": source} | {f"loss_of_{n}": losses[:, i] for i, n in enumerate(names)}))
    experts = pd.concat(tokens, ignore_index=True)
    shares = np.vstack([np.eye(3), rng.dirichlet(np.ones(3), 30)])
    table = pd.DataFrame({"run": [f"run{i:02}" for i in range(len(shares))], "seed": [0] * 27 + [1] * 6})
    for i, name in enumerate(names):
        table[f"share_{name}"] = shares[:, i]
    for i, name in enumerate(names):
        own = experts[experts["source"] == name][[f"loss_of_{n}" for n in names]].to_numpy()
        mixed = -np.log(np.exp(-own) @ shares.T).mean(axis=0)
        table[f"loss_on_{name}"] = (0.9 * mixed + 0.3 - 0.1 * shares[:, i]) * np.exp(0.002 * rng.standard_normal(33))
    return table, experts


def annealed(sizes: tuple[float, ...] = ()) -> pd.DataFrame:
    """Three curves on the law `ncl` at made-up coefficients, or three of each size on `ncl_sizes`; a row every 480."""
    rng = np.random.default_rng(0)
    name = "ncl_sizes" if sizes else "ncl"
    frames = []
    lrs = {
        "constant": schedule.constant(STEPS, PEAK, WARMUP), "cosine": schedule.cosine(STEPS, PEAK, WARMUP, final=0.1),
        "wsd": schedule.wsd(STEPS, PEAK, WARMUP, 4800),
    }  # fmt: skip
    at = np.arange(WARMUP, STEPS, 480)
    for size in sizes or (0.0,):
        for run, lr in lrs.items():
            frames.append(_logged(name, f"{run}-{size:g}" if sizes else run, lr, at, rng, size))
    return pd.concat(frames, ignore_index=True)


def _logged(name: str, run: str, lr: Any, at: Any, rng: np.random.Generator, size: float = 0.0) -> pd.DataFrame:
    """Rows `at` of one curve on a law, with 0.1% of noise."""
    law = LAWS[name]
    inputs = (whole(lr), size) if size else (whole(lr),)
    loss = np.asarray(law(*inputs, **law.coefficients()), dtype=float)[at] * np.exp(
        0.001 * rng.standard_normal(len(at))
    )
    return pd.DataFrame({"run": run, "step": at, "lr": lr[at], "val_loss": loss} | ({"N": size} if size else {}))


def write_files(folder: Path) -> None:
    """Tables, fits, a law, a schedule, a grid and a sweep's folder."""
    runs = isoflops().assign(status="finished")
    runs.to_csv(folder / "runs.csv", index=False)
    runs.to_csv(folder / "isoflops.csv", index=False)
    theirs = runs.rename(columns={"N": "params", "D": "tokens", "loss": "final_loss"}).drop(columns="C")
    theirs.to_csv(folder / "theirs.csv", index=False)
    pd.DataFrame({"run": ["big"], "N": [7e10], "D": [1.4e12], "loss": [1.98]}).to_csv(
        folder / "results.csv", index=False
    )
    for name, made in zip(("mixtures", "experts"), mixtures(), strict=True):
        made.to_csv(folder / f"{name}.csv", index=False)
    curves = annealed()
    plan = schedule.wsd(20_000, 2e-4, cooldown=4000)
    big = _logged("ncl", "big", plan, np.arange(119, 10_000, 240), np.random.default_rng(1))  # still training
    pd.concat([curves, big]).to_csv(folder / "curves.csv", index=False)
    big.to_csv(folder / "big.csv", index=False)
    pd.DataFrame({"lr": plan}).to_csv(folder / "plan.csv", index=False)
    pd.DataFrame({"lr": schedule.wsd(STEPS, PEAK, WARMUP, 6000)}).to_csv(folder / "mine.csv", index=False)
    for name, law, table in (
        ("fit", "chinchilla", read_table(folder / "runs.csv")),
        ("curves-fit", "ncl", read_curves(curves, warmup=WARMUP)),
        ("family", "ncl_sizes", read_curves(annealed((5e7, 1e8, 2e8)), warmup=WARMUP)),
    ):
        (folder / f"{name}.json").write_text(to_json(fit(law, table, starts=4)) + "\n")
    first, law = read_table(folder / "runs.csv"), LAWS["chinchilla"]
    own = law.published["besiroglu2024"]
    slower = own | {"E": 1.7, "B": 1.5 * own["B"]}  # overtakes at (0.5 B / (E - 1.7))^(1 / beta) = 6e10 tokens
    behind = law(first["N"], first["D"], **slower) / law(first["N"], first["D"], **own)
    for name, table in (("first", first), ("second", first.assign(loss=first["loss"] * behind))):
        (folder / f"{name}.json").write_text(to_json(fit("chinchilla", table, starts=4)) + "\n")
    (folder / "mylaw.py").write_text(MYLAW)
    (folder / "grid.toml").write_text(GRID)
    for out in (folder / "out", folder / "out" / "demo"):
        write_sweep(out)


def write_sweep(out: Path) -> None:
    """A finished sweep of twelve runs, as `sweeps run` leaves it, at losses of a law."""
    runs = [
        Run(width=width, depth=1, steps=steps, lr=0.01, warmup=2, cooldown=3, group="grid", corpus="abcdef123456")
        for width in (16, 24, 32, 48)
        for steps in (10, 20, 40)
    ]
    plan = build_plan(runs)
    for stack in plan.stacks:
        for run in stack.runs:
            costs = {"flops": flops_of(run), "flops_marginal": plan.flops_marginal[run.key]}
            records.open_run(out, run, stack=stack.key, trunk=plan.trunk[run.key], **costs)
            loss = 1 + 60 * parameter_counts(run)["matmul"] ** -0.4 + 2 * run.steps**-0.3
            rows = [
                {"step": i, "tokens": (i + 1) * 512, "lr": 0.01, "train_loss": loss, "val_loss": loss + 1 / (i + 1)}
                for i in range(1, run.steps, 2)
            ]
            records.append_rows(out, run.key, rows)
            final = {"status": "finished", "steps": run.steps, "loss": loss, "loss_se": 0.01, "bits_per_byte": 2.0}
            records.write_final(out, run.key, final)
