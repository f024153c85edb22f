"""watch(curves, run, plan) -> Watch: where a run that still trains will end, from its curve so far and its family's.

A law of whole curves is fitted to the family's curves and to the observed part of the run at once. What it then says of
the rest is the forecast. How far to trust that is rehearsed on the family: each finished run is watched at the same
share of its steps, and its hidden part forecast from the others (docs/watching.md has what the intervals were worth).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width
from scaling.curve_bands import DRAWN, RUN_TO_RUN, prior_draws
from scaling.departing import Departure, Earlier, departure_of
from scaling.errors import ScalingError, nearest
from scaling.fitting import Fit, fit, problem_of
from scaling.intervals import bootstrap
from scaling.law import Law
from scaling.laws import find_law
from scaling.problem import Problem
from scaling.search import minimise_near
from scaling.trajectory import Trajectory
from scaling.watch_rows import SETTLED, checked_plan, family_of, gathered, row_noise, rows_of

Array = NDArray[np.float64]
MOST = 12  # refits of each kind: with more runs, several are left out at once, and some are rehearsed
SHOWN = 160  # steps of the band
LEAST_DECAY = 0.3  # share of the planned fall of the learning rate that some curve must have had
#: Factor on rehearsed errors, chosen on public curves: with 1, intervals of nominal 90% held 97% to 100%. The rehearsed
#: runs' errors and those of refits that miss a run have much in common, and are added here.
REHEARSED = 0.75
#: Share of the loss that each of ncl's noise terms is at a constant peak rate, and the sd of its logarithm: together
#: .04 to .11 in the six families of Luo 2025 and Haegele 2024.
NOISE_SHARE = (0.035, 0.5)
ALONE = 0.02  # standard deviation of what the first half of a lone run says of the second, with no rehearsal to ask
FEW_DECAYS = 3  # curves with a decay below which ncl's amplitudes get priors of their own
PROGRESS = np.linspace(0, 1, 9)  # shares of the hidden part at which rehearsed errors are taken
USUAL, FEW = 0.002, 2  # rehearsed errors are averaged with so many of this size, which few runs cannot outweigh


@dataclass(frozen=True, eq=False)
class Watch:
    """A forecast of the rest of a run.

    plan, steps  learning rate of every update, and their number; now: the last step with a loss
    loss, lo, hi the forecast of its last loss; parts: standard deviations of ln loss that make the interval
    identified   whether some curve has had enough of the decay that the plan has yet to come
    band         step, lr, loss, lo, hi over the whole run; observed: step, loss, expected (by the fit)
    rehearsal    run, at (step), end, error (ln of predicted over observed at its end), of the family's runs
    departure    whether the observed part left what was to be expected, None where that cannot be told yet
    """

    run: str
    plan: Array
    now: int
    loss: float
    lo: float
    hi: float
    level: float
    parts: Mapping[str, float]
    identified: bool
    band: pd.DataFrame
    observed: pd.DataFrame
    rehearsal: pd.DataFrame
    departure: Departure | None
    family: tuple[str, ...]
    fit: Fit
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return len(self.plan)


def watch(
    curves: pd.DataFrame,
    run: str,
    plan: Any,
    *,
    law: str = "ncl",
    level: float = 0.9,
    family: Sequence[str] | None = None,
    seed: int = 0,
) -> Watch:
    """Forecast the last loss of a run that still trains, and the curve up to there.

    curves  of the run so far and of its family, from `read_curves`: rows run, step, loss (lr)
    plan    the learning rate of every update of the whole run
    law     a law of whole curves; family: the runs to use (by default those of its N and peak rate, where there are)

    Raises ScalingError for a run that is not there or has too few rows, and for a plan that ends before it.
    """
    found = find_law(law)
    if found.kind != "curves":
        raise ScalingError(f"{found.name} is a law of finished runs; watching takes a law of whole curves, such as ncl")
    z = half_width(level)
    schedule, notes = checked_plan(curves, run, plan)
    others, said = family_of(curves, run, schedule, () if found.inputs[1:] else ("N",))
    if family is not None:
        known = [str(name) for name in curves["run"].unique()]
        unknown = [name for name in family if name not in known]
        if unknown:
            raise ScalingError(f"there is no run {unknown[0]!r} in the curves; {nearest(unknown[0], known)}")
        others, said = [name for name in family if name != run], []
    table = gathered(curves, run, others, schedule)
    own = rows_of(curves, run)
    few = sum(decayed(table, name) >= LEAST_DECAY for name in others if name in set(table["run"])) < FEW_DECAYS
    amplitudes = _amplitudes(found, schedule, own) if few else {}
    fitted = fit(found, table, starts=2, seed=seed, priors=amplitudes)
    return _watched(_Past(fitted, run, schedule, own), level, z, [*notes, *said], seed)


def _amplitudes(law: Law, schedule: Array, own: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Priors on the amplitudes of ncl's noise where hardly a curve decays: each term a share of the loss at a constant
    peak rate, as public families have it. Without them curves at a constant rate leave annealing free."""
    if law.name != "ncl":
        return {}
    last = int(own["step"].iloc[-1])
    path = Trajectory((np.full(last + 1, schedule.max()),), (np.array([last]),))
    centres = {p.name: p.prior[0] for p in law.params if p.prior}
    found = {}
    for name in ("a0", "a1"):
        unit = float(law(path, **{"L0": 0.0, "A": 0.0, "a0": 0.0, "a1": 0.0} | centres | {name: 1.0})[0])
        found[name] = (NOISE_SHARE[0] * float(own["loss"].iloc[-1]) / unit, NOISE_SHARE[1])
    return found


@dataclass(frozen=True, eq=False)
class _Past:
    """The fit of the family and of the observed part, and what it is asked for."""

    fit: Fit
    run: str
    plan: Array
    own: pd.DataFrame

    @property
    def names(self) -> list[str]:
        return [str(name) for name in self.fit.table["run"].unique()]

    @property
    def family(self) -> list[str]:
        return [name for name in self.names if name != self.run]

    @property
    def now(self) -> int:
        return int(self.own["step"].iloc[-1])

    def ln_loss(self, params: Array, steps: NDArray[np.int64]) -> Array:
        """ln of the law on the plan after `steps` (n,) under parameters (B, p): (B, n)."""
        law = self.fit.law
        path = Trajectory((self.plan,), (steps,))
        sizes = [np.full(len(steps), float(self.own[name].iloc[0])) for name in law.inputs[1:]]
        rows = [law.function(path, *sizes, **dict(zip(law.names, row, strict=True))) for row in params]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(np.stack([np.broadcast_to(np.asarray(x, dtype=float), len(steps)) for x in rows]))


def _watched(past: _Past, level: float, z: float, notes: list[str], seed: int) -> Watch:
    fitted, end = past.fit, len(past.plan) - 1
    centre = np.array(list(fitted.params.values()))[None]
    first = int(past.own["step"].iloc[0])
    steps = np.unique(np.linspace(first, end, SHOWN).round().astype(int))
    ahead = steps > past.now
    ln = past.ln_loss(centre, steps)[0]
    identified = _identified(past)
    left, rehearsal, growth, half = _refits(past)
    progress = np.clip((steps - past.now) / max(end - past.now, 1), 0, 1)
    rehearsed = np.where(ahead & bool(past.family), np.interp(progress, *growth), fitted.residual_sd)
    variance = np.zeros(len(steps))
    if past.family:
        variance += ((past.ln_loss(left, steps) - ln) ** 2).sum(0)
        draws = (
            None if identified or not fitted.priors else prior_draws(fitted, np.ones((DRAWN, len(fitted.table))), seed)
        )
    else:
        draws = bootstrap(fitted, seed=seed).params
    if draws is not None:  # without a decay, refits that miss a curve agree on what all of them have from the priors
        variance += ((past.ln_loss(draws, steps) - ln) ** 2).mean(0)
    parameters = np.sqrt(variance)
    at = past.own["step"].to_numpy(int)
    expected = np.exp(past.ln_loss(centre, at)[0])
    apart = past.own["loss"].to_numpy(float) / expected
    noise = row_noise(apart[at >= SETTLED * past.now])
    sd = np.sqrt(parameters**2 + rehearsed**2 + RUN_TO_RUN**2 + noise**2)
    loss, lo, hi = (np.exp(ln + k * sd) for k in (0, -z, z))
    band = pd.DataFrame({"step": steps, "lr": past.plan[steps], "loss": loss, "lo": lo, "hi": hi})
    observed = pd.DataFrame({"step": at, "loss": past.own["loss"].to_numpy(float), "expected": expected})
    if not identified:
        notes.append(
            "annealing is not identified: the plan has a fall of the learning rate to come that no curve here has had; "
            "how much the loss falls with it rests on priors alone"
        )
    if not past.family:
        notes.append("alone: no other run informs this forecast, and its interval was not rehearsed")
    at_end = {"parameters": parameters[-1], "rehearsal": rehearsed[-1], "runs": RUN_TO_RUN, "noise": noise}
    return Watch(
        run=past.run, plan=past.plan, now=past.now, loss=float(loss[-1]), lo=float(lo[-1]), hi=float(hi[-1]),
        level=level, parts={name: float(value) for name, value in at_end.items()}, identified=identified, band=band,
        observed=observed, rehearsal=rehearsal,
        departure=departure_of(past.own, half, noise), family=tuple(past.family), fit=fitted, notes=tuple(notes),
    )  # fmt: skip


def _refits(past: _Past) -> tuple[Array, pd.DataFrame, tuple[Array, Array], Earlier]:
    """Parameters (G, p) of fits that each miss some of the family; the rehearsal; how its error grows with progress;
    and the observed part as its first half and the family would have forecast it.

    All refits are descents from the one fit, done at once.
    """
    problem, table = problem_of(past.fit), past.fit.table
    names, step = table["run"].astype(str).to_numpy(), table["step"].to_numpy(float)
    lengths = {name: len(table.attrs["schedules"].lr[name]) for name in past.family}
    share = (past.now + 1) / len(past.plan)
    groups = [past.family[g::MOST] for g in range(min(MOST, len(past.family)))]
    places = np.unique(np.linspace(0, len(past.family) - 1, min(MOST, len(past.family))).round().astype(int))
    rehearsed = [past.family[i] for i in places]
    cuts = [share * lengths[name] for name in rehearsed]
    own_step = step[names == past.run]
    middle = float(own_step[len(own_step) // 2])
    seen = [~np.isin(names, group) for group in groups]
    seen += [(names != name) | (step <= cut) for name, cut in zip(rehearsed, cuts, strict=True)]
    seen += [(names != past.run) | (step <= middle)]
    params, ln_law = _descended(problem, past.fit, np.array(seen) * problem.weights)
    error = ln_law - np.log(problem.loss)
    rows, by_progress = [], np.zeros((len(rehearsed), len(PROGRESS)))
    for i, (name, cut) in enumerate(zip(rehearsed, cuts, strict=True)):
        at = np.flatnonzero((names == name) & (step > cut))
        if not len(at):
            continue
        own = error[len(groups) + i, at]
        progress = (step[at] - cut) / (step[at[-1]] - cut)
        by_progress[i] = np.interp(PROGRESS, progress, own)
        rows.append((name, int(cut), int(step[at[-1]]), float(own[-1])))
    rehearsal = pd.DataFrame(rows, columns=["run", "at", "end", "error"])
    count = max(len(rows), 1)
    typical = np.sqrt((FEW * USUAL**2 + (by_progress**2).sum(0)) / (FEW + count))
    growth = (PROGRESS, REHEARSED * np.maximum.accumulate(typical))
    later = past.own[past.own["step"] > middle]
    at = later["step"].to_numpy(int)
    sd = float(growth[1][-1]) if past.family else ALONE
    earlier = Earlier(int(middle), at, past.ln_loss(params[-1:], at)[0], sd)
    return params[: len(groups)], rehearsal, growth, earlier


def _descended(problem: Problem, fitted: Fit, weights: Array) -> tuple[Array, Array]:
    """Parameters (B, p) of refits under row weights (B, n), from the fit on, and ln of the law at the rows (B, n)."""
    least = np.array([1e-9 if fitted.law.param(name).lo >= 0 else -np.inf for name in problem.free])
    start = problem.coordinates(np.maximum(fitted.free_values, least)[None])
    ends = minimise_near(problem, np.repeat(start, len(weights), 0), weights)
    free = problem.natural(ends.u)
    values = problem.parameters(free)
    return np.concatenate([values[name] for name in problem.law.names], axis=1), np.log(problem.predicted(free))


def decayed(table: pd.DataFrame, run: str) -> float:
    """The share of its peak by which a run's learning rate has fallen, up to its last row in the table."""
    last = int(table["step"][table["run"] == run].max())
    lr = table.attrs["schedules"].lr[run][: last + 1]
    return 1 - float(lr[int(np.argmax(lr)) :].min() / lr.max())


def _identified(past: _Past) -> bool:
    """Whether the learning rate has fallen, in what the fit saw, by a good part of what it has yet to fall."""
    seen = max(decayed(past.fit.table, name) for name in past.names)
    to_come = float((past.plan[past.now] - past.plan[past.now :].min()) / past.plan.max())
    return seen >= LEAST_DECAY * to_come or to_come < LEAST_DECAY / 3
