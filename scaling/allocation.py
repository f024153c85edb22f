"""optimum(draws, C=...) -> DataFrame: the model size and tokens that a budget, or a loss, asks for, with intervals.

By closed form where the law and the cost have one, else by search (see `scaling.optima`). `off_optimum` says what it
costs to train another size, `flatness` how wide the valley is, `built` rounds to shapes that can be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width
from scaling.costs import Cost, cost_named
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.forecasting import interval
from scaling.intervals import Draws, bootstrap
from scaling.law import Law
from scaling.optima import Best, Repeats, Task, at_budget, for_loss
from scaling.published import Published, find_published
from scaling.rehearsal import budget
from scaling.shapes import ShapeRule, nearest_shape

Array = NDArray[np.float64]
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
WASTE, EXCESS = 0.01, 0.001  # how flat: sizes that waste 1% of the compute, and that end 0.1% higher
Source = Draws | Fit | Published


@dataclass(frozen=True, eq=False)
class _Case:
    """A law, its own parameters (1, p), and the rows (B, p) that are asked beside them; without draws, the same."""

    law: Law
    own: Array
    params: Array
    draws: Draws | None = None

    @property
    def problems(self) -> str:
        found = self.draws.fit.problems if self.draws is not None else ()
        return f"the fit's problems: {'; '.join(found) or 'none found'}"


def _case(source: Source) -> _Case:
    if isinstance(source, Published):
        return _Case(source.law, source.params, source.params)
    draws = bootstrap(source) if isinstance(source, Fit) else source
    own = np.array([[draws.fit.params[name] for name in draws.fit.law.names]])
    return _Case(draws.fit.law, own, draws.params, draws)


def optimum(
    source: Source, *, C: Any = None, loss: Any = None, level: float = 0.9, cost: Cost | str = "6ND",
    unique: float | Repeats | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The best N and D, a row a budget of C FLOP, or the cheapest that end at a loss, a row a loss.

    cost    what C counts: a name of `scaling.costs.COSTS` or a Cost; one with tokens served counts training and serving
    unique  tokens that exist: beyond them D repeats, for what Muennighoff 2023 found that to be worth

    Columns: C, N, N_lo, N_hi, D, D_lo, D_hi, tokens_per_param (_lo, _hi), loss, lo, hi, beyond; C_lo and C_hi for a
    loss; C_train where tokens are served; epochs where tokens repeat. Intervals of N and D are percentiles over the
    draws; that of the loss is a forecast's, and that of C at a loss holds a run's scatter and drift as a forecast does.
    A Fit is bootstrapped first; published coefficients have no intervals. Raises ScalingError where no size is best or
    no budget reaches the loss.
    """
    case, z = _case(source), half_width(level)
    task = _task(case.law, cost, unique)
    if (C is None) == (loss is None):
        raise ScalingError("say either budgets, C=..., or losses, loss=...")
    rows = []
    for asked in _asked(C if loss is None else loss):
        best = _own(task, case, asked, loss is not None)
        n, d = float(best.N[0]), float(best.D[0])
        row: dict[str, Any] = {"C": float(best.C[0])}
        drawn = None
        band = {"loss": float(best.loss[0])}
        if case.draws is not None:
            drawn = (at_budget if loss is None else for_loss)(task, case.params, asked)
            ends = drawn.loss if loss is None else _losses(task, case.params, n, d)
            beyond = np.array([6 * n * d / budget(case.draws.fit, case.draws.table).max()])
            parts = interval(case.draws, best.loss, np.log(ends)[:, None], beyond, z)
            band = {name: float(parts[name][0]) for name in ("loss", "lo", "hi", "beyond")}
            if loss is not None:
                row["C_lo"], row["C_hi"] = _budgets(task, case.draws, asked, parts, level)
        if task.cost.served:
            row["C_train"] = float(task.cost.training(n, d))
        for name, of in (("N", lambda b: b.N), ("D", lambda b: b.D), ("tokens_per_param", lambda b: b.D / b.N)):
            row[name] = float(of(best)[0])
            if drawn is not None:
                row[f"{name}_lo"], row[f"{name}_hi"] = _percentiles(of(drawn), level)
        if task.repeats:
            row["epochs"] = max(d / task.repeats.U, 1.0)
        rows.append(row | band)
    return pd.DataFrame(rows)


def optimum_of(published: str, **options: Any) -> pd.DataFrame:
    """`optimum` under a published set by its name, such as "besiroglu2024" or "gadre:C4"."""
    return optimum(find_published(published), **options)


def off_optimum(
    source: Source, *, C: float, factors: Sequence[float] = FACTORS, level: float = 0.9, cost: Cost | str = "6ND",
    unique: float | Repeats | None = None,
) -> pd.DataFrame:  # fmt: skip
    """What it costs to spend C on another size: a row for each multiple of the best N.

    Columns: factor, N, D, loss, excess (loss over the least loss, less 1), wasted (share of C that the optimum would
    have saved on the way to that loss), wasted_lo, wasted_hi (over the draws, each against its own optimum: at factor 1
    what not knowing the optimum costs), compute (multiple of C with which this size would reach the least loss;
    infinite where it never does).
    """
    case = _case(source)
    own, task = case.own, _task(case.law, cost, unique)
    (c,) = _asked(C)
    best = _own(task, case, c, False)
    rows = []
    for factor in factors:
        n = float(best.N[0]) * factor
        d = float(task.cost.tokens(n, c))
        if not (n > 1 and d > 1):
            raise ScalingError(f"{factor:g} times the best N = {best.N[0]:.4g} leaves no tokens at C = {c:g}")
        loss, drawn = (_losses(task, p, n, d) for p in (own, case.params))
        wasted, each = (1 - for_loss(task, p, at).C / c for p, at in ((own, loss), (case.params, drawn)))
        row = {"factor": factor, "N": n, "D": d, "loss": float(loss[0]), "excess": float(loss[0] / best.loss[0] - 1)}
        row["wasted"] = max(round(float(wasted[0]), 12), 0.0)
        if case.draws is not None:
            row["wasted_lo"], row["wasted_hi"] = _percentiles(np.maximum(each, 0.0), level)
        rows.append(row | {"compute": _compute_for(task, own, n, float(best.loss[0]), c)})
    return pd.DataFrame(rows)


def flatness(
    source: Source, *, C: float, cost: Cost | str = "6ND", unique: float | Repeats | None = None
) -> pd.DataFrame:
    """How flat the valley is: the sizes within 1% of the compute and within 0.1% of the loss of the best one.

    Rows "wasted" and "excess" with limit, N_lo, N_hi and both as multiples of the best N, factor_lo and factor_hi.
    """
    case = _case(source)
    own, task = case.own, _task(case.law, cost, unique)
    (c,) = _asked(C)
    best = _own(task, case, c, False)
    n, least = float(best.N[0]), float(best.loss[0])
    cheaper = at_budget(task, own, c * (1 - WASTE))
    rows = []
    for name, limit, ceiling in (("wasted", WASTE, float(cheaper.loss[0])), ("excess", EXCESS, least * (1 + EXCESS))):
        ends = [_end(task, own, n, c, ceiling, side) for side in (-1, 1)]
        rows.append(
            {"within": name, "limit": limit, "N_lo": n * ends[0], "N_hi": n * ends[1], "factor_lo": ends[0],
             "factor_hi": ends[1]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def built(
    source: Source,
    frame: pd.DataFrame,
    rule: ShapeRule,
    cost: Cost | str = "6ND",
    unique: float | Repeats | None = None,
) -> pd.DataFrame:
    """The optima of `frame` as models that can be built, at the same budget.

    Columns: C, width, depth, heads, N (as the rule counts), D, tokens_per_param, loss, excess over the unrounded
    optimum. Where serving is counted, it is part of the budget.
    """
    case = _case(source)
    task = _task(case.law, cost, unique)
    rows = []
    for row in frame.to_dict("records"):
        shape = nearest_shape(row["N"], rule)
        d = float(task.cost.tokens(float(shape.N), row["C"]))
        if not d > 1:
            raise ScalingError(
                f"the smallest shape near N = {row['N']:.4g} has {shape.N} parameters: no tokens are left"
            )
        loss = float(_losses(task, case.own, float(shape.N), d)[0])
        rows.append(
            {"C": row["C"], "width": shape.width, "depth": shape.depth, "heads": shape.width // rule.head_dim,
             "N": shape.N, "D": d, "tokens_per_param": d / shape.N, "loss": loss, "excess": loss / row["loss"] - 1}
        )  # fmt: skip
    return pd.DataFrame(rows)


def best_size(fit: Fit, params: Array, c: float) -> tuple[Array, Array]:
    """N of least loss at C = 6 N D and that loss under each parameter row (B, p); NaN where no size is best."""
    found = at_budget(_task(fit.law, "6ND", None), params, c)
    return found.N, found.loss


def _task(law: Law, cost: Cost | str, unique: float | Repeats | None) -> Task:
    repeats = Repeats(float(unique)) if isinstance(unique, int | float) else unique
    return Task(law, cost_named(cost) if isinstance(cost, str) else cost, repeats)


def _asked(values: Any) -> list[float]:
    asked = np.atleast_1d(np.asarray(values, dtype=float))
    if asked.ndim != 1 or not len(asked) or not (np.isfinite(asked) & (asked > 0)).all():
        raise ScalingError(f"C must be FLOP budgets and loss losses, positive and finite, got {values}")
    return [float(value) for value in asked]


def _own(task: Task, case: _Case, asked: float, is_loss: bool) -> Best:
    best = (for_loss if is_loss else at_budget)(task, case.own, asked)
    if np.isfinite(best.N[0]):
        return best
    if not is_loss:
        raise ScalingError(
            f"{case.law.name} has no compute-optimal size at C = {asked:g}: its loss falls to the edge of the range; "
            f"{case.problems}"
        )
    far = float(at_budget(task, case.own, 1e40).loss[0])
    raise ScalingError(
        f"no budget reaches a loss of {asked:g} by this {case.law.name}: at 1e40 FLOP it predicts {far:.4g}; "
        f"{case.problems}"
    )


def _budgets(task: Task, draws: Draws, loss: float, parts: dict[str, Array], level: float) -> tuple[float, float]:
    """The interval of C that ends at a loss: the draws, each with a run's scatter and drift of its own."""
    apart = np.sqrt(parts["sd_scatter"] ** 2 + parts["sd_distance"] ** 2)
    noise = np.random.default_rng(draws.seed).normal(size=len(draws.params)) * apart
    needed = for_loss(task, draws.params, loss * np.exp(noise)).C
    # a draw that cannot reach the loss at any budget asks for more than any other
    return _percentiles(np.where(np.isnan(needed), np.inf, needed), level)


def _losses(task: Task, params: Array, n: float, d: float) -> Array:
    """The loss of one run under each parameter row: (B,)."""
    named = {name: params[:, i] for i, name in enumerate(task.law.names)}
    return np.broadcast_to(np.asarray(task.loss(n, d, named), dtype=float), (len(params),))


def _percentiles(values: Array, level: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan
    tail = (1 - level) / 2
    # between two draws one of which is infinite, the interval is open
    lo, hi = np.quantile(known, [tail, 1 - tail], method="linear" if np.isfinite(known).all() else "higher")
    return float(lo), float(hi)


def _compute_for(task: Task, own: Array, n: float, loss: float, c: float) -> float:
    """The multiple of c with which size n reaches the loss, by halving in ln C; infinite beyond 1e6."""
    lo, hi = np.log(c), np.log(c * 1e6)
    if _losses(task, own, n, float(task.cost.tokens(n, np.exp(hi))))[0] > loss:
        return np.inf
    for _ in range(60):
        middle = (lo + hi) / 2
        above = _losses(task, own, n, float(task.cost.tokens(n, np.exp(middle))))[0] > loss
        lo, hi = (middle, hi) if above else (lo, middle)
    return float(np.exp(hi) / c)


def _end(task: Task, own: Array, n: float, c: float, ceiling: float, side: int) -> float:
    """The multiple of the best n, above or below it, at which the loss on the budget passes the ceiling."""

    def above(u: float) -> bool:
        size = n * np.exp(side * u)
        tokens = float(task.cost.tokens(size, c))
        return not (size > 1 and tokens > 1 and _losses(task, own, size, tokens)[0] <= ceiling)

    lo, hi = 0.0, 0.1
    while not above(hi):
        lo, hi = hi, 2 * hi
    for _ in range(50):
        lo, hi = (lo, (lo + hi) / 2) if above((lo + hi) / 2) else ((lo + hi) / 2, hi)
    return float(np.exp(side * lo))
