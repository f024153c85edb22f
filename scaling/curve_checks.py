"""What is doubtful about a fit of whole curves, about a forecast by it, and about a score of it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.problem import Problem

Array = NDArray[np.float64]
SIZES = 3  # sizes of model without which a term in N is not determined; 4 are better
WIDE = 1.05  # factor beyond the fitted peak rates or steps that is worth a word
RULED = 0.5  # share of its prior's variance that a parameter must keep for the prior to be called its master
OTHER = 0.015  # standard deviation of ln loss beyond which two runs of a schedule are no repeats
MANY = 60  # runs that are compared two by two
SETTLED = 0.2  # share of a run's steps that is left out where repeated runs are compared: the transient


def doubts(problem: Problem, table: pd.DataFrame) -> list[str]:
    """Problems of a fit's curves: no decay, too few sizes, several models under a law for one."""
    said = []
    lrs = [table.attrs["schedules"].lr[str(run)] for run in table["run"].unique()]
    if all((np.diff(lr[int(np.argmax(lr)) :]) >= 0).all() for lr in lrs):
        said.append(
            "no curve has a falling learning rate, so annealing is not identified; add a run with a decay (wsd or "
            "cosine)"
        )
    for name in problem.law.inputs[1:]:
        sizes = table[name].nunique()
        if sizes < SIZES:
            said.append(
                f"{name} has {sizes} level{'s' * (sizes > 1)}; its terms need {SIZES} or more, better 4: add curves at "
                f"other {name}, or fit the law for one size"
            )
    if not problem.law.inputs[1:]:
        said += _several_models(table)
    said += _copies(table)
    return said


def ruled_by_priors(problem: Problem, u: Array, bread: Array) -> list[str]:
    """A note on parameters that their priors decide; u (k,), bread (k, k) the curvature, priors included."""
    if not problem.priors:
        return []
    _, _, bend = problem.penalty(u[None])
    with np.errstate(all="ignore"):
        kept = np.diag(np.linalg.pinv(bread)) * bend[0]
    names = [name for name, share in zip(problem.free, kept, strict=True) if share > RULED]
    if not names:
        return []
    return [f"{', '.join(names)}: decided by the prior more than by these curves; other schedules or peaks would tell"]


def beyond_the_curves(lrs: Sequence[Array], schedule: Array) -> list[str]:
    """Where a schedule leaves what the fitted ones cover."""
    said = []
    peaks, asked = [float(lr.max()) for lr in lrs], float(schedule.max())
    if not min(peaks) / WIDE <= asked <= max(peaks) * WIDE:
        said.append(
            f"the peak learning rate {asked:.3g} lies outside the fitted {min(peaks):.3g} to {max(peaks):.3g}: laws of "
            "curves are least sure there"
        )
    most = max(len(lr) for lr in lrs)
    if len(schedule) > most * WIDE:
        said.append(f"{len(schedule):,} steps are {len(schedule) / most:.3g} times the longest fitted curve")
    least = min(len(lr) for lr in lrs)
    if len(schedule) * WIDE < least:
        said.append(f"{len(schedule):,} steps are fewer than the {least:,} of the shortest fitted curve")
    peak = int(np.argmax(schedule))
    if (np.diff(schedule[peak:]) > 0).any() and not any((np.diff(lr[int(np.argmax(lr)) :]) > 0).any() for lr in lrs):
        said.append("the learning rate rises again after its peak, as in no fitted curve")
    return said


def shared_rows(steps: Array, loss: Array, others: Mapping[str, pd.DataFrame]) -> NDArray[np.bool_]:
    """Rows (n,) that some other curve has too, bit by bit: parts of one run, logged twice, which test nothing."""
    shared = np.zeros(len(steps), bool)
    own = pd.Series(loss, index=pd.Index(steps))
    for rows in others.values():
        theirs = pd.Series(rows["loss"].to_numpy(), index=pd.Index(rows["step"].to_numpy()))
        theirs = theirs[~theirs.index.duplicated()]
        shared |= own.to_numpy() == theirs.reindex(own.index).to_numpy()
    return shared


def noise_floor(table: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation of ln loss between runs that repeat a schedule, and how many pairs it rests on.

    Runs that differ by more than OTHER share a schedule and are of other models or data. NaN and 0 where none repeats.
    """
    squares = np.array([x for x in _apart(table) if x <= OTHER**2])
    return (float(np.sqrt(squares.mean())), len(squares)) if len(squares) else (np.nan, 0)


def noise_note(table: pd.DataFrame) -> list[str]:
    """The noise floor as a note, where runs repeat a schedule."""
    floor, pairs = noise_floor(table)
    if not pairs:
        return []
    which = (
        "1 pair of runs repeats a schedule and differs"
        if pairs == 1
        else f"{pairs} pairs of runs repeat a schedule and differ"
    )
    return [f"{which} by {floor:.2%} a run (standard deviation): no law can come closer"]


def _copies(table: pd.DataFrame) -> list[str]:
    """Runs that are other runs' rows, bit by bit: left out alone, each leaves its copy, and bands shrink."""
    seen: dict[bytes, str] = {}
    pairs = []
    for run, rows in table.groupby("run", sort=False):
        own = rows[["step", "loss"]].to_numpy(float).tobytes()
        if own in seen:
            pairs.append(f"{run} is {seen[own]}")
        seen.setdefault(own, str(run))
    if not pairs:
        return []
    named = "; ".join(pairs[:2]) + ("; ..." if len(pairs) > 2 else "")
    return [f"{len(pairs)} runs repeat another's rows bit by bit ({named}), which narrows bands; leave them out"]


def _several_models(table: pd.DataFrame) -> list[str]:
    """Whether curves of one schedule lie too far apart to be repeats, in a table that a law for one model reads."""
    every = _apart(table)
    far = [x for x in every if x > OTHER**2]
    if 2 * len(far) <= len(every):  # most are repeats, and one that strays is noise
        return []
    apart = np.sqrt(np.mean(far))
    return [
        f"pairs of runs that share a schedule, {len(far)} of them, differ by {apart:.1%}: curves of several models or "
        "data sets in one fit; select one with where=, or add a column N and fit ncl_sizes"
    ]


def _apart(table: pd.DataFrame) -> list[float]:
    """Half the mean squared difference of ln loss of every two runs that have the same rates up to the shorter one's
    last step; their first fifth, where runs differ most, is left out, and rows that are equal bit by bit."""
    lrs: Mapping[str, Array] = table.attrs["schedules"].lr
    groups = table.drop_duplicates(["run", "step"]).groupby("run", sort=False)
    curves: dict[str, Any] = {str(run): rows.set_index("step")["loss"] for run, rows in groups}
    if len(curves) > MANY:
        curves = dict(list(curves.items())[:MANY])
    found = []
    for a, b in combinations(curves, 2):
        steps = min(len(lrs[a]), len(lrs[b]))
        if steps < 2 or not np.allclose(lrs[a][:steps], lrs[b][:steps], rtol=1e-4, atol=0):
            continue
        common = curves[a].index.intersection(curves[b].index)
        common = common[(common >= SETTLED * steps) & (common < steps)]
        apart = np.log(curves[a].loc[common].to_numpy() / curves[b].loc[common].to_numpy())
        apart = apart[apart != 0]
        if len(apart):
            found.append(float(np.mean(apart**2)) / 2)
    return found
