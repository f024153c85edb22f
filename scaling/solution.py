"""The global minimum, with terms that the data do not ask for taken out.

A linear parameter searched by its logarithm never arrives at its bound 0: every descent stops at another tiny value,
and counts as another end. So where a term has all but vanished, the search is repeated without it, and the parameter
is 0 if that is no worse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.problem import Problem
from scaling.search import AGREE, Ends, minimise, starts as find_starts

Array = NDArray[np.float64]
VANISHING = 1e-2  # largest share of the loss that a term may have in any row for its absence to be tried
FEW = 4  # starts for a curve law without a term that the first search put at 0
NO_WORSE = 1e-9  # relative rise of the objective that is rounding and not evidence of a term


@dataclass(frozen=True, eq=False)
class Solution:
    """Ends of the descents on `problem`, in which the parameters named by `collapsed` are fixed at their bound 0."""

    problem: Problem
    ends: Ends
    collapsed: tuple[str, ...]

    @property
    def best(self) -> int:
        return int(np.argmin(self.ends.cost))

    @property
    def u(self) -> Array:
        return self.ends.u[self.best]

    @property
    def value(self) -> float:
        return float(self.ends.cost[self.best])

    @property
    def agreed(self) -> int:
        """How many starts ended at the best objective."""
        return int((self.ends.cost <= self.value * (1 + AGREE) + 1e-15).sum())


def solve(problem: Problem, starts: int, seed: int) -> Solution | None:
    """The best of `starts` descents; None when no start has a finite objective."""
    u0 = find_starts(problem, starts, seed)
    if not len(u0):
        return None
    ends = minimise(problem, u0)
    if not np.isfinite(ends.cost).any():
        return None
    found = Solution(problem, ends, ())
    while (without := _without_a_term(found, starts, seed)) is not None:
        found = without
    return found


def _without_a_term(found: Solution, starts: int, seed: int) -> Solution | None:
    problem = found.problem
    theta = problem.natural(found.u[None])[0]
    terms = [name for name in problem.free if bounded_term(problem, name) and name not in problem.priors]
    shares = {name: share(problem, name, theta) for name in terms}
    vanishing = sorted((n for n, s in shares.items() if s < VANISHING), key=lambda n: shares[n])
    if problem.law.kind == "curves":  # sums over the past are dear, and the optimum without a term of 0 is close by
        starts = min(starts, FEW)
    together = [tuple(vanishing)] if len(vanishing) > 1 else []
    for names in [*together, *((name,) for name in vanishing)]:
        smaller = replace(problem, fixed={**problem.fixed, **dict.fromkeys(names, 0.0)})
        if not smaller.free:
            continue
        own = np.delete(found.u, [problem.free.index(name) for name in names])[None]
        ends = minimise(smaller, np.concatenate([find_starts(smaller, starts, seed), own]))
        if ends.cost.min() <= found.value * (1 + NO_WORSE):
            return Solution(smaller, ends, (*found.collapsed, *names))
    return None


def bounded_term(problem: Problem, name: str) -> bool:
    """Whether the parameter is the size of a term that may vanish: linear in the loss, and bounded below by 0."""
    p = problem.law.param(name)
    return p.linear and p.lo == 0


def share(problem: Problem, name: str, theta: Array) -> float:
    """Largest share of the loss that a linear parameter's term has in any row, theta (k,) the free parameters."""
    without = theta.copy()
    without[problem.free.index(name)] = 0.0
    both = problem.predicted(np.stack([theta, without]))
    # of what may be 0 a share is that of the largest value
    size = np.abs(both[0]).max() if problem.law.signed else np.abs(both[0])
    return float(np.max(np.abs(both[0] - both[1]) / size))


def off_bounds(problem: Problem, theta: Array, size: float = VANISHING) -> Array:
    """Coordinates (k,) of free parameters (k,), with terms of 0 lifted to a share of the loss, so that a search that
    starts there can raise them again."""
    theta = theta.copy()
    base = problem.predicted(theta[None])[0]
    for i, name in enumerate(problem.free):
        if bounded_term(problem, name) and theta[i] == 0:
            lifted = theta.copy()
            lifted[i] = 1.0
            rise = np.abs(problem.predicted(lifted[None])[0] - base) / np.abs(base)
            theta[i] = size / float(rise.max()) if rise.max() > 0 else 0.0
    return problem.coordinates(theta[None])[0]
