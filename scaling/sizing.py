"""At fixed FLOPs: size, steps and schedule together, by a law of curves over sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.bands import half_width
from scaling.choosing import (
    OptimalSchedule,
    curve_draws,
    differences,
    drawn_ends,
    optimal_schedule,
)
from scaling.curve_bands import deviation
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.intervals import Draws
from scaling.scheduling import Choice, best_schedule, ends_of, grid, refusal

MOST = 3_000_000  # steps of one schedule


@dataclass(frozen=True, eq=False)
class OptimalSize:
    """The size of least predicted loss at a budget, each size with its own best schedule.

    N         the best size tried; lo, hi: interval of the least of the curve through the sizes, over the refits
    sizes     one row a size: N, steps, D, loss, and difference, lo, hi from the best (interval of the difference)
    schedule  the best schedule at the best size
    """

    flops: float
    N: float
    lo: float
    hi: float
    sizes: pd.DataFrame
    schedule: OptimalSchedule
    warnings: tuple[str, ...]

    def report(self) -> str:
        """The result in words and tables."""
        table = self.sizes.to_string(index=False, formatters=dict.fromkeys(("N", "D"), "{:.4g}".format))
        return "\n".join(
            [f"at {self.flops:.4g} FLOP (6 N D), each size with its own best schedule:", table, "",
             f"best: N = {self.N:.4g} ({self.schedule.level:.0%}: {self.lo:.4g} to {self.hi:.4g})",
             self.schedule.report(), *(f"warning: {w}" for w in self.warnings)]
        )  # fmt: skip


def optimal_size(
    source: Draws | Fit,
    flops: float,
    tokens_per_step: float,
    peak: float,
    warmup: int | float = 0.02,
    *,
    N: Sequence[float] | None = None,
    knots: int = 60,
    level: float = 0.9,
    force: bool = False,
) -> OptimalSize:
    """Size, steps and schedule of least predicted loss at a budget of 6 N D FLOP, D = steps * tokens_per_step.

    warmup  updates, or a fraction of the steps where below 1
    N       sizes to try; by default 7 from half the least fitted size to twice the largest, and between the best three
    Raises ScalingError for a law that does not read N, and for budgets that leave no steps.
    """
    draws = curve_draws(source)
    fit, law = draws.fit, draws.fit.law
    if law.inputs[1:] != ("N",):
        raise ScalingError(f"{law.name} reads no N; fit ncl_sizes to curves of several sizes, with a column N")
    if not (flops > 0 and tokens_per_step > 0):
        raise ScalingError(f"flops and tokens_per_step must be above 0, got {flops} and {tokens_per_step}")
    own = fit.table[fit.columns["N"]]
    asked = np.geomspace(own.min() / 2, own.max() * 2, 7) if N is None else np.sort(np.asarray(N, dtype=float))
    found: dict[float, tuple[int, int, np.ndarray, float]] = {}
    shape: np.ndarray | None = None

    def attempt(n: float) -> None:
        nonlocal shape
        steps = int(flops / (6 * n * tokens_per_step))
        rise = int(warmup) if warmup >= 1 else int(warmup * steps)
        if steps < 100 or steps > MOST or rise > steps // 2 or n in found:
            return
        why = refusal(law, fit.params, steps, peak, rise, {"N": n})
        if why and not force:
            raise ScalingError(why)
        choice = Choice(grid(steps, rise, knots), (peak, peak))
        starts = [] if shape is None or len(shape) != len(choice.grid.at) else [shape]
        best = best_schedule(law, fit.params, choice, {"N": n}, starts)
        shape = best.values / peak
        found[n] = (steps, rise, best.lr, best.loss)

    for n in asked:
        attempt(float(n))
    if not found:
        raise ScalingError(
            f"{flops:.3g} FLOP at {tokens_per_step:g} tokens a step give no size between {asked[0]:.3g} and "
            f"{asked[-1]:.3g} from 100 to {MOST} steps; give other sizes, or another budget"
        )
    for _ in range(2 if N is None else 0):
        tried = sorted(found)
        least = min(range(len(tried)), key=lambda i: found[tried[i]][3])
        for other in (least - 1, least + 1):
            if 0 <= other < len(tried):
                attempt(float(np.sqrt(tried[least] * tried[other])))
    tried = sorted(found)
    best_n = min(tried, key=lambda n: found[n][3])
    steps, rise, _, _ = found[best_n]
    schedule = optimal_schedule(draws, steps, peak, rise, knots=knots, level=level, force=force, N=best_n)
    found[best_n] = (steps, rise, schedule.lr, schedule.loss)
    rows = []
    for n in tried:
        apart = _apart(draws, n, found[n][2], best_n, schedule.lr, level)
        loss = float(ends_of(law, fit.params, [found[n][2]], {"N": n})[0])
        rows.append((n, found[n][0], found[n][0] * tokens_per_step, loss, *apart))
    frame = pd.DataFrame(rows, columns=["N", "steps", "D", "loss", "difference", "lo", "hi"])
    warned = []
    if best_n in (tried[0], tried[-1]):
        warned.append(f"the best size is the {'least' if best_n == tried[0] else 'largest'} tried; give other sizes")
    if own.nunique() < 3:
        warned.append(f"{own.nunique()} fitted sizes: what size is worth is hardly determined; fit 4 or more")
    lo, hi = _between(draws, tried, [found[n][2] for n in tried], level)
    return OptimalSize(flops, best_n, lo, hi, frame, schedule, tuple(warned))


def _between(draws: Draws, tried: list[float], lrs: list[np.ndarray], level: float) -> tuple[float, float]:
    """Interval of the best size, from where a parabola in ln N through each refit's best three is least."""
    x, sizes = np.log(tried), {"N": np.array(tried)}
    best: list[float] = []
    for row in [ends_of(draws.fit.law, draws.fit.params, lrs, sizes), *drawn_ends(draws, lrs, sizes)]:
        at = int(np.clip(np.argmin(row), 1, max(len(x) - 2, 1)))
        if len(x) < 3:
            best.append(x[int(np.argmin(row))])
            continue
        a, b, _ = np.polyfit(x[at - 1 : at + 2] - x[at], row[at - 1 : at + 2], 2)
        best.append(x[at] + np.clip(-b / (2 * a) if a > 0 else 0.0, x[at - 1] - x[at], x[at + 1] - x[at]))
    half = half_width(level) * float(deviation(np.array(best[:1]), np.array(best[1:])[:, None], draws.method)[0])
    return float(np.exp(best[0] - half)), float(np.exp(best[0] + half))


def _apart(draws: Draws, n: float, lr: np.ndarray, best: float, best_lr: np.ndarray, level: float) -> tuple[float, ...]:
    """Loss at size n less that at the best, with its interval, paired by draw."""
    row = differences(draws, [lr], best_lr, {"N": [best, n]}, level)
    return tuple(float(v) for v in row.iloc[0][["difference", "lo", "hi"]])
