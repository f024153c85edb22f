"""Where one fitted law overtakes another: more epochs, more compute, with an interval from the draws of both.

Ni et al. 2025 (arXiv:2511.03276) find that masked diffusion models overtake autoregressive ones when text repeats, and
print no law for it: the crossing follows from a fit to each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.costs import cost_named
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.intervals import Draws
from scaling.optima import Repeats, Task, at_budget

Array = NDArray[np.float64]
POINTS = 400
BUDGETS = 120  # each asks for the best sizes of all draws


def crossover(
    first: Fit | Draws,
    second: Fit | Draws,
    *,
    along: str,
    span: tuple[float, float],
    level: float = 0.9,
    seed: int = 0,
    also: Mapping[str, Callable[[Any], Any]] | None = None,
    **held: float,
) -> pd.DataFrame:
    """Least `along` within `span` from which on `second` has the lower loss, the other inputs held; one row.

    along  an input of both laws, as D; held: the others, as N=1e9, U=1e9. Or C, where it is none of theirs: compute in
           FLOP, 6 N D, of which each law takes its own best N and D
    also   inputs that move with it, as {"N": lambda d: 1e21 / (6 * d)} at a fixed compute

    Columns: `at` (NaN where they do not cross, or second leads from the start), `ahead` ("first", "second": who has the
    lower loss at the end of the span) and, from Draws of both, lo and hi at `level` with the share of pairs of draws
    that `cross`, and of those in which second `leads` from the start. Pairs are random; in the interval, those that do
    not cross count as beyond the end of the span, or as its start where second leads there. Raises ScalingError.
    """
    if not 0 < level < 1:
        raise ScalingError(f"the level of an interval lies between 0 and 1, as 0.9, got {level:g}")
    if not (0 < span[0] < span[1] < np.inf):
        raise ScalingError(f"span must be two positive numbers, the least first, got {span}")
    x = np.geomspace(*span, POINTS)
    if along == "C" and not any("C" in _columns(part) for part in (first, second)):
        x = np.geomspace(*span, BUDGETS)
        gaps = [_best_losses(part, x, also or {}, held) for part in (first, second)]
    else:
        moved = {name: np.asarray(rule(x), float) for name, rule in (also or {}).items()}
        at: dict[str, Any] = {along: x, **moved, **held}
        gaps = [_losses(part, at) for part in (first, second)]
    gap = gaps[1][0] - gaps[0][0]
    found = _from_where(x, gap[None])[0]
    row: dict[str, Any] = {"along": along, "at": found, "ahead": "second" if gap[-1] < 0 else "first"}
    if len(gaps[0]) > 1 and len(gaps[1]) > 1:
        rng = np.random.default_rng(seed)
        pairs = [rng.integers(1, len(g), 2000) for g in gaps]
        each = _from_where(x, gaps[1][pairs[1]] - gaps[0][pairs[0]], inside=False)
        tail = (1 - level) / 2
        row["lo"], row["hi"] = np.quantile(each, [tail, 1 - tail], method="inverted_cdf")
        row["cross"] = float(np.mean(np.isfinite(each) & (each > span[0])))
        row["leads"] = float(np.mean(each <= span[0]))
    return pd.DataFrame([row])


def _losses(part: Fit | Draws, at: Mapping[str, Any]) -> Array:
    """Losses (1 + draws, points): the fit's own first."""
    fit, every = _rows(part)
    law, columns = fit.law, _columns(part)
    if set(columns) != set(at):
        raise ScalingError(
            f"{law.name} was fitted on {', '.join(columns) or 'whole curves'}; the crossing names {', '.join(at)}"
        )
    inputs = [np.asarray(at[c], float) for c in columns]
    params = {name: every[:, i : i + 1] for i, name in enumerate(law.names)}
    with np.errstate(all="ignore"):
        return np.broadcast_to(law.function(*inputs, **params), (len(every), POINTS))


def _best_losses(part: Fit | Draws, budgets: Array, also: Mapping[str, Any], held: Mapping[str, float]) -> Array:
    """Losses (1 + draws, budgets) of the best N and D at each budget, U of the tokens unique where that is held."""
    fit, every = _rows(part)
    if also or set(held) - {"U"}:
        raise ScalingError(
            f"along C each law takes its own N and D, and U alone can be held; got {', '.join([*also, *held])}"
        )
    task = Task(fit.law, cost_named("6ND"), Repeats(held["U"]) if "U" in held else None)
    return np.stack([at_budget(task, every, c).loss for c in budgets], axis=1)


def _rows(part: Fit | Draws) -> tuple[Fit, Array]:
    """The fit, and its parameters (1 + draws, p): its own first."""
    fit = part.fit if isinstance(part, Draws) else part
    own = np.array([[fit.params[name] for name in fit.law.names]])
    return fit, np.concatenate([own, part.params]) if isinstance(part, Draws) else own


def _columns(part: Fit | Draws) -> list[str]:
    fit = part.fit if isinstance(part, Draws) else part
    return [fit.columns[name] for name in fit.law.inputs] if fit.law.kind == "points" else []


def _from_where(x: Array, gap: Array, inside: bool = True) -> Array:
    """For each row of gap (B, n), the x after which it stays below 0, between points by the logarithm of x.

    NaN, or infinity and the first x where not `inside`, for rows that end above 0 and rows that are below throughout.
    """
    found = np.full(len(gap), np.nan if inside else np.inf)
    for i, row in enumerate(gap):
        above = np.flatnonzero(~(row < 0))
        if not len(above):
            found[i] = np.nan if inside else x[0]
        elif above[-1] < len(x) - 1:
            k = above[-1]
            share = row[k] / (row[k] - row[k + 1])
            found[i] = x[k] * (x[k + 1] / x[k]) ** share
    return found
