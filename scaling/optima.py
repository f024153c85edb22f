"""Best sizes under many parameter rows at once: at a budget, or for a loss; closed where the law and the cost allow.

The search closes in on the zero of the loss's slope along the budget, so that it agrees with closed forms to rounding
and not to the square root of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.costs import Cost
from scaling.errors import ScalingError
from scaling.law import COMPLEX_STEP, Law
from scaling.laws.muennighoff2023 import muennighoff, worth

Array = NDArray[np.float64]
GRID = 161  # sizes that the search looks at first, evenly in ln N: steps of about a third at large budgets
HALVINGS = 46
FEWEST = 2.0  # tokens: a search that ends at the last token has found an edge
LARGEST = 1e60  # FLOP: a loss that needs more is not reached


@dataclass(frozen=True)
class Repeats:
    """U unique tokens, and what repeating them is worth: R_D for tokens, R_N for parameters beyond what U asks for.

    Muennighoff 2023 (arXiv:2305.16264), with their constants unless said otherwise.
    """

    U: float
    R_D: float = field(default=muennighoff.published["muennighoff2023"]["R_D"])
    R_N: float = field(default=muennighoff.published["muennighoff2023"]["R_N"])

    def __post_init__(self) -> None:
        if not all(np.isfinite(v) and v > 0 for v in (self.U, self.R_D, self.R_N)):
            raise ScalingError(f"unique tokens, R_D and R_N must be above 0, got {self.U}, {self.R_D}, {self.R_N}")


@dataclass(frozen=True)
class Task:
    """A law of N and D, what training costs, and whether the tokens are limited."""

    law: Law
    cost: Cost
    repeats: Repeats | None = None

    def __post_init__(self) -> None:
        own = self.law.inputs == ("N", "D", "U")
        if not (self.law.weighs_sizes or (own and self.repeats)):
            reads = f"{self.law.name} reads {', '.join(self.law.inputs)} and predicts {self.law.predicts}"
            more = ": say how many tokens are unique (--unique)" if own else ""
            raise ScalingError(
                f"a best size needs a law of N and D, such as chinchilla, that predicts a loss; {reads}{more}"
            )
        if self.repeats and not own and self.law.balance is None:
            raise ScalingError(
                f"unique tokens need a law whose terms of N and D are known apart, such as chinchilla; {self.law.name} "
                "is not one"
            )

    @property
    def is_closed(self) -> bool:
        """Whether the best size has a closed form."""
        return self.law.balance is not None and self.cost.is_power and self.repeats is None

    def loss(self, N: Any, D: Any, params: Mapping[str, Any]) -> Any:
        """The law, of what N and D are worth where tokens repeat."""
        if self.repeats is None:
            return self.law.function(N, D, **params)
        if self.law.balance is None:
            return self.law.function(N, D, np.full(np.shape(N), self.repeats.U), **params)
        log_a, alpha, log_b, beta = self.law.balance(**params)
        n, d = worth(
            N, D, self.repeats.U, A=np.exp(log_a), B=np.exp(log_b), alpha=alpha, beta=beta,
            R_D=self.repeats.R_D, R_N=self.repeats.R_N,
        )  # fmt: skip
        return self.law.function(n, d, **params)


@dataclass(frozen=True, eq=False)
class Best:
    """Per parameter row (B,): the best size, its tokens, its loss and the FLOP spent; NaN where no size is best."""

    N: Array
    D: Array
    loss: Array
    C: Array


def at_budget(task: Task, params: Array, C: Any) -> Best:
    """Least loss at C FLOP under each parameter row (B, p); C is one number or one a row."""
    c = np.broadcast_to(np.asarray(C, dtype=float), (len(params),))
    named = {name: params[:, i] for i, name in enumerate(task.law.names)}
    size = _closed(task, named, c) if task.is_closed else _searched(task, params, c)
    with np.errstate(all="ignore"):
        tokens = task.cost.tokens(size, c)
        size = np.where((size > 1) & (tokens > 1), size, np.nan)
        tokens = np.where(np.isfinite(size), tokens, np.nan)
        return Best(
            size, tokens, np.asarray(task.loss(size, tokens, named), dtype=float), np.where(size > 0, c, np.nan)
        )


def for_loss(task: Task, params: Array, loss: Any) -> Best:
    """Fewest FLOP that reach a loss under each row; NaN where none does.

    Newton on the least loss as a function of ln C, kept between budgets that are known to be too small and enough.
    """
    wanted = np.broadcast_to(np.asarray(loss, dtype=float), (len(params),))
    named = {name: params[:, i] for i, name in enumerate(task.law.names)}
    log_c = np.full(len(params), np.log(1e18))
    few, enough = np.full(len(params), -np.inf), np.full(len(params), np.inf)
    best = at_budget(task, params, np.exp(log_c))
    for _ in range(100):
        with np.errstate(all="ignore"):
            h = 1e-4
            up, down = (task.loss(best.N, task.cost.tokens(best.N, np.exp(log_c + s * h)), named) for s in (1, -1))
            move = (wanted - best.loss) / ((up - down) / (2 * h))  # at the best size only the tokens' slope counts
            reached = best.loss <= wanted  # no size at all is too small a budget, and no loss
            few, enough = np.where(reached, few, log_c), np.where(reached, log_c, enough)
            aimed = log_c + np.clip(np.where(np.isfinite(move), move, 5.0), -5.0, 5.0)
            outside = (aimed <= few) | (aimed >= enough)
            middle = np.where(np.isfinite(few) & np.isfinite(enough), (few + enough) / 2, aimed)
        close = np.isfinite(move) & (np.abs(move) < 1e-10)
        log_c = np.where(close, log_c, np.minimum(np.where(outside, middle, aimed), np.log(LARGEST)))
        best = at_budget(task, params, np.exp(log_c))
        if (close | (log_c >= np.log(LARGEST))).all():
            break
    with np.errstate(all="ignore"):
        reached = np.abs(best.loss / wanted - 1) < 1e-7
    return Best(*(np.where(reached, values, np.nan) for values in (best.N, best.D, best.loss, np.exp(log_c))))


def _closed(task: Task, params: Mapping[str, Array], c: Array) -> Array:
    """The size at which the two terms' slopes along k N^a D^b = C balance: Hoffmann 2022, eq. 4, where a = b = 1."""
    assert task.law.balance is not None
    ratio = task.cost.a / task.cost.b
    with np.errstate(all="ignore"):  # a resample may put a term at 0
        log_a, alpha, log_b, beta = task.law.balance(**params)
        pull = np.log(alpha) + log_a - np.log(ratio * beta) - log_b
        return np.asarray(np.exp((pull + beta / task.cost.b * np.log(c / task.cost.k)) / (alpha + ratio * beta)))


def _searched(task: Task, params: Array, c: Array) -> Array:
    """The same by search: a grid in ln N, then halvings of the step about its least value; NaN at an edge."""
    columns = {name: params[:, i : i + 1] for i, name in enumerate(task.law.names)}
    u = np.linspace(
        0, np.log(max(float(c.max()), 36.0)), GRID
    )  # one grid for all rows: what a size costs is found once
    rows = np.arange(len(params))
    values = _values(task, u[None], c[:, None], columns)
    k = values.argmin(1)
    inner = np.clip(k, 1, GRID - 2)
    edge = (k == 0) | (k == GRID - 1) | ~np.isfinite(values[rows, k])
    lo, hi = u[inner - 1], u[inner + 1]
    slope = _slope_of(task, c, columns, (lo + hi) / 2)
    for _ in range(HALVINGS):
        middle = (lo + hi) / 2
        # much served, the best size is close to one that leaves no tokens, where the slope means nothing
        falls = (slope(middle) < 0) & (task.cost.tokens(np.exp(middle), c) > 1)
        lo, hi = np.where(falls, middle, lo), np.where(falls, hi, middle)
    size = np.exp((lo + hi) / 2)
    with np.errstate(all="ignore"):
        return np.where(edge | ~(task.cost.tokens(size, c) > FEWEST), np.nan, size)


def _values(task: Task, u: Array, c: Array, columns: Mapping[str, Array]) -> Array:
    """The loss at sizes exp(u) (B, m) on the budget; infinite where the tokens would be fewer than one."""
    with np.errstate(all="ignore"):
        size = np.exp(u)
        tokens = task.cost.tokens(size, c)
        values = np.asarray(task.loss(size, tokens, columns), dtype=float)
        return np.where(np.isfinite(values) & (tokens >= 1), values, np.inf)


def _slope_of(task: Task, c: Array, columns: Mapping[str, Array], where: Array) -> Any:
    """A function of ln N (B,): the loss's slope along the budget, by complex step where the law is analytic in N and D,
    else by differences."""

    def exact(u: Array) -> Array:
        with np.errstate(all="ignore"):
            size = np.exp(u[:, None] + 1j * COMPLEX_STEP)
            value = task.loss(size, task.cost.tokens(size, c[:, None]), columns)
            return np.asarray(np.imag(value)[:, 0] / COMPLEX_STEP)

    def differences(u: Array) -> Array:
        h = 1e-5
        ahead, behind = (_values(task, u[:, None] + s * h, c[:, None], columns)[:, 0] for s in (1, -1))
        with np.errstate(all="ignore"):
            return np.asarray((ahead - behind) / (2 * h))

    off = where + 0.05  # beside the optimum, where the slope is not 0
    try:
        said, seen = exact(off), differences(off)
    except TypeError:
        return differences
    finite = np.isfinite(seen)
    return exact if np.allclose(said[finite], seen[finite], rtol=1e-3, atol=1e-7) else differences
