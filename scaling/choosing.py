"""Schedules compared and chosen by a fitted law of whole curves, with the intervals of differences.

Two schedules predicted by one law share most of its error: the difference of their final losses is far better known
than either. So differences are taken under every refit of the Draws, and the interval is that of the difference. It
holds what the law does not know, not the scatter of two runs about it (`Fit.residual_sd`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width
from scaling.curve_bands import deviation
from scaling.errors import ScalingError
from scaling.finals import beyond_curves, final_losses
from scaling.fitting import Fit
from scaling.forecasting import values_at
from scaling.intervals import Draws, bootstrap
from scaling.schedule import COOLDOWNS, wsd
from scaling.scheduling import (
    CREDIT,
    KNOTS,
    STANDARD,
    Best,
    Choice,
    best_schedule,
    ends_of,
    exploits,
    grid,
    refusal,
)
from scaling.trajectory import Trajectory

Array = NDArray[np.float64]
REFITS = 6  # refits whose own optimum is sought


@dataclass(frozen=True, eq=False)
class OptimalSchedule:
    """The schedule of least predicted final loss, how sure the law is of it, and what it gains.

    lr        learning rate of every update, (T,)
    loss      predicted final loss, with its interval lo to hi at `level`
    against   standard schedules of the same length, warm-up and peak: loss, difference (theirs less this), lo, hi
    moves     one row a refit: the loss of this schedule above that refit's own optimum, and of that refit's optimum
              above this one by the fit; where its decay begins
    warnings  what the result rests on that was not measured
    """

    draws: Draws
    lr: Array
    loss: float
    lo: float
    hi: float
    level: float
    peak: float
    warmup: int
    shape: str
    against: pd.DataFrame
    moves: pd.DataFrame
    warnings: tuple[str, ...]
    ends: tuple[float, ...]

    def report(self) -> str:
        """The result in words and tables."""
        lines = [
            f"{self.draws.fit.law.name}: {len(self.lr)} steps, warm-up {self.warmup}, peak {self.peak:.4g}",
            f"predicted final loss {self.loss:.4f} ({self.level:.0%}: {self.lo:.4f} to {self.hi:.4f})",
            self.shape,
            "",
            f"above it by the law, with the {self.level:.0%} interval of the difference:",
            self.against.to_string(float_format=lambda v: f"{v:.4f}"),
        ]
        if len(self.moves):
            worst, begin = self.moves["excess"].max(), self.moves["begins"]
            lines += [
                "",
                f"by {len(self.moves)} refits that each miss some data, this schedule is at most {worst:.4f} above "
                f"their own optimum, whose decays begin at {begin.min():.0%} to {begin.max():.0%} of the steps",
            ]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])


def compare_schedules(
    source: Draws | Fit, schedules: Mapping[str, Any], *, level: float = 0.9, **sizes: float
) -> pd.DataFrame:
    """Final losses of schedules {name: learning rate of every update}, and how far each lies above the first.

    One row a schedule: steps, loss, lo, hi (of a run), difference (loss less that of the first), difference_lo,
    difference_hi (of the law's difference, run scatter left out). sizes: the law's other inputs, such as N=1e8.
    Raises ScalingError for laws of other kinds and unusable schedules.
    """
    draws = curve_draws(source)
    if not schedules:
        raise ScalingError("give at least one schedule")
    lrs = [np.asarray(lr, dtype=float) for lr in schedules.values()]
    runs = pd.DataFrame({"schedule": lrs, **sizes}, index=pd.Index(schedules, name="schedule"))
    frame = final_losses(draws, runs, level=level)[["steps", "loss", "lo", "hi"]]
    apart = differences(draws, lrs[1:], lrs[0], sizes, level)
    own = pd.DataFrame(0.0, index=[0], columns=apart.columns)
    apart = pd.concat([own, apart], ignore_index=True).set_axis(frame.index)
    return frame.join(apart.add_prefix("difference_").rename(columns={"difference_difference": "difference"}))


def differences(
    draws: Draws, lrs: Sequence[Array], base: Array, sizes: Mapping[str, Any], level: float
) -> pd.DataFrame:
    """Final losses of `lrs` less that of `base`, with the interval of each difference, paired by draw."""
    fit = draws.fit
    if not lrs:
        return pd.DataFrame(columns=["difference", "lo", "hi"], dtype=float)
    every = [base, *lrs]
    loss = ends_of(fit.law, fit.params, every, sizes)
    drawn = drawn_ends(draws, every, sizes)
    apart = loss[1:] - loss[0]
    sd = deviation(apart, drawn[:, 1:] - drawn[:, :1], draws.method)
    z = half_width(level)
    return pd.DataFrame({"difference": apart, "lo": apart - z * sd, "hi": apart + z * sd})


def cooldown_table(
    source: Draws | Fit,
    steps: int,
    peak: float,
    warmup: int = 0,
    *,
    fractions: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    shapes: Sequence[str] = tuple(COOLDOWNS),
    finals: Sequence[float] = (0.0, 0.1),
    level: float = 0.9,
    force: bool = False,
    **sizes: float,
) -> pd.DataFrame:
    """Warm-up, stable, decay: every cooldown start, shape and final rate, best first, with differences from the best.

    fractions: length of the cooldown over all steps; finals: last rate over the peak. Columns cooldown (steps), begins
    (fraction of the steps), shape, final, loss, difference, lo, hi. `attrs["warnings"]` says what was not measured.
    Raises ScalingError for a law that must not choose schedules.
    """
    draws = curve_draws(source)
    warned = _allowed(draws, steps, peak, warmup, sizes, force)
    rows, lrs = [], []
    for fraction in fractions:
        length = round(fraction * steps)
        for shape in shapes:
            for final in finals:
                lrs.append(wsd(steps, peak, warmup, length, shape, final))
                rows.append((length, 1 - fraction, shape, final))
    loss = ends_of(draws.fit.law, draws.fit.params, lrs, sizes)
    order = np.argsort(loss, kind="stable")
    frame = pd.DataFrame(rows, columns=["cooldown", "begins", "shape", "final"]).iloc[order].reset_index(drop=True)
    frame["loss"] = loss[order]
    apart = differences(draws, [lrs[i] for i in order], lrs[order[0]], sizes, level)
    frame = frame.join(apart)
    frame.attrs["warnings"] = [*warned, *beyond(draws.fit, [lrs[i] for i in order[:1]], sizes)]
    return frame


def optimal_schedule(
    source: Draws | Fit,
    steps: int,
    peak: float | tuple[float, float],
    warmup: int = 0,
    *,
    monotone: bool = True,
    knots: int = KNOTS,
    level: float = 0.9,
    force: bool = False,
    start: Array | None = None,
    **sizes: float,
) -> OptimalSchedule:
    """The schedule of least predicted final loss among all with this length, warm-up and peak.

    peak      the peak learning rate, or (least, greatest) where it is free too
    monotone  the rate never rises after the warm-up; False lets it go anywhere from 0 to the peak
    force     go on where the law would be refused, with a warning
    start     rates at the knots relative to the peak to start from, besides the usual starts
    sizes     the law's other inputs, such as N=1e8
    Raises ScalingError for a law that must not choose schedules, saying why and which to fit.
    """
    draws = curve_draws(source)
    fit = draws.fit
    lo, hi = peak if isinstance(peak, tuple) else (peak, peak)
    if not 0 < lo <= hi < np.inf:
        raise ScalingError(f"the peak learning rate must be above 0, or (least, greatest); got {peak}")
    warned = _allowed(draws, steps, hi, warmup, sizes, force)
    choice = Choice(grid(steps, warmup, knots), (lo, hi), monotone)
    best = best_schedule(fit.law, fit.params, choice, sizes)
    if start is not None:
        best = min(best, best_schedule(fit.law, fit.params, choice, sizes, [start]), key=lambda b: b.loss)
    lr, top = best.lr, float(best.values.max())
    credit, where = exploits(fit.law, fit.params, {"the optimum": lr}, sizes)
    if credit > CREDIT:
        said = (
            f"steps at learning rate 0 change no weight, but {where} lower the prediction of {fit.law.name} by "
            f"{credit:.2g}"
        )
        if not force:
            raise ScalingError(f"{said}: this optimum is an artefact of the law. Fit ncl to the same curves")
        warned.append(said)
    if max(best.ends) - min(best.ends) > 1e-4:
        warned.append(
            f"searches from {len(best.ends)} starts ended up to {max(best.ends) - min(best.ends):.2g} apart; the best "
            "is shown"
        )
    end = compare_schedules(draws, {"this": lr}, level=level, **sizes).iloc[0]
    standard = {name: make(steps, top, warmup) for name, make in STANDARD.items()}
    against = differences(draws, list(standard.values()), lr, sizes, level).set_axis(list(standard))
    against.insert(0, "loss", ends_of(fit.law, fit.params, list(standard.values()), sizes))
    against.index.name = "schedule"
    return OptimalSchedule(
        draws, lr, float(end["loss"]), float(end["lo"]), float(end["hi"]), level, top, warmup, in_words(lr, warmup),
        against, _moves(draws, choice, best, sizes),
        (*warned, *draws.notes, *beyond(fit, [lr], sizes)), best.ends,
    )  # fmt: skip


def _moves(draws: Draws, choice: Choice, best: Best, sizes: Mapping[str, float]) -> pd.DataFrame:
    """How far the optimum moves between refits; see `OptimalSchedule.moves`."""
    law, rows = draws.fit.law, []
    distinct = np.unique(draws.params, axis=0)
    chosen = distinct[np.unique(np.linspace(0, len(distinct) - 1, min(REFITS, len(distinct))).astype(int))]
    shape = best.values / best.values.max()
    for number, row in enumerate(chosen if len(distinct) > 1 else []):
        params = dict(zip(law.names, row, strict=True))
        own = best_schedule(law, params, choice, sizes, [shape])
        here = choice.grid.loss(law, params, best.values, sizes)[0]
        theirs = choice.grid.loss(law, draws.fit.params, own.values, sizes)[0]
        begins = _leaves(own.lr) / len(own.lr)
        rows.append((number, max(here - own.loss, 0.0), max(theirs - best.loss, 0.0), begins, own.values.max()))
    return pd.DataFrame(rows, columns=["refit", "excess", "theirs", "begins", "peak"])


def in_words(lr: Array, warmup: int) -> str:
    """The shape of a schedule in one sentence."""
    steps, peak = len(lr), lr.max()
    leaves = _leaves(lr)
    if leaves >= steps - 1:
        return "it stays at the peak to the end"
    decay = lr[leaves:] / peak
    x = np.arange(1, len(decay) + 1) / len(decay)
    final = decay[-1]
    shapes = {name: final + (1 - final) * curve(x) for name, curve in COOLDOWNS.items()}
    shapes["cosine"] = final + (1 - final) * 0.5 * (1 + np.cos(np.pi * x))
    shapes["(1 - x)^1.5"] = final + (1 - final) * (1 - x) ** 1.5
    apart = {name: float(np.sqrt(np.mean((decay - y) ** 2))) for name, y in shapes.items()}
    nearest = min(apart, key=lambda name: apart[name])
    half = leaves + int(np.argmax(decay < 0.5)) if final < 0.5 else None
    return (
        f"it leaves the peak {'at once' if leaves <= warmup else f'at step {leaves} ({leaves / steps:.0%} of the run)'}"
        f"{f', passes half of it at step {half} ({half / steps:.0%})' if half else ''} and ends at {final:.2%} of it; "
        f"of the usual decays {nearest} is nearest (RMS {apart[nearest]:.1%} of the peak)"
    )


def _leaves(lr: Array) -> int:
    """The first step after the last one within 1% of the peak."""
    return int(np.flatnonzero(lr >= 0.99 * lr.max())[-1]) + 1


def beyond(fit: Fit, lrs: Sequence[Array], sizes: Mapping[str, float]) -> list[str]:
    """In words, where schedules leave what the fitted curves cover: peak rates, lengths, sizes, any decay at all."""
    said = beyond_curves(fit, pd.DataFrame(dict(sizes), index=range(len(lrs))), list(lrs))
    trained = [fit.table.attrs["schedules"].lr[str(run)] for run in fit.table["run"].unique()]
    if not any((np.diff(lr) < 0).any() for lr in trained):
        said.append("no fitted curve has a falling learning rate: what a decay gains is not measured, only assumed")
    return said


def curve_draws(source: Draws | Fit) -> Draws:
    fit = source.fit if isinstance(source, Draws) else source
    if fit.law.kind != "curves":
        raise ScalingError(
            f"{fit.law.name} reads {', '.join(fit.law.inputs)}, not learning rates; fit a law of curves, such as ncl"
        )
    return source if isinstance(source, Draws) else bootstrap(source)


def drawn_ends(draws: Draws, lrs: Sequence[Array], sizes: Mapping[str, Any]) -> Array:
    """Final losses under every draw, (B, m)."""
    ends = Trajectory(tuple(lrs), tuple(np.array([len(lr) - 1]) for lr in lrs))
    inputs: list[Any] = [
        np.broadcast_to(np.asarray(sizes[name], float), (len(lrs),)) for name in draws.fit.law.inputs[1:]
    ]
    return values_at(draws.fit, draws.params, (ends, *inputs))  # type: ignore[arg-type]


def _allowed(draws: Draws, steps: int, peak: float, warmup: int, sizes: Mapping[str, float], force: bool) -> list[str]:
    law = draws.fit.law
    if set(sizes) != set(law.inputs[1:]):
        wanted = ", ".join(f"{name}=" for name in law.inputs[1:])
        raise ScalingError(f"{law.name} reads {', '.join(law.inputs)}: give {wanted or 'no size'}")
    why = refusal(law, draws.fit.params, steps, peak, warmup, sizes)
    if why and not force:
        raise ScalingError(why)
    return [why] if why else []
