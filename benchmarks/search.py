"""How often a fit ends at the global optimum: random synthetic problems over the laws of points.

    python benchmarks/search.py [--first 0] [--problems 300] [--scipy 200] [--more 100] [--cache FILE]

Each problem draws a law, its truth, a design (spread, few levels, narrow ranges, budgets of equal compute, very large N
and D), noise of .1% to 5%, and up to a tenth of outliers. The reference is the least objective known: our search from
100 times the starts, scipy's L-BFGS-B from 200 of them, and a descent from the truth. A fit succeeds when its objective
is within 1e-8 of the reference, relatively. References take minutes and are kept in the file named by --cache.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from scaling.laws import LAWS
from scaling.objective import Objective
from scaling.problem import Problem
from scaling.search import minimise, starts
from scaling.solution import solve

Array = NDArray[np.float64]
STARTS = 16
NAMES = ("chinchilla", "chinchilla", "power", "kaplan", "skaling")  # the law most fitted counts twice
DESIGNS = ("spread", "levels", "narrow", "budgets", "huge")


def design(kind: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """N and D (n,), 12 to 120 rows."""
    rows = int(rng.integers(12, 120))
    low_n, low_d = rng.uniform(6, 8), rng.uniform(8, 10)
    if kind == "levels":
        n, d = np.meshgrid(np.geomspace(1, 30, 3), np.geomspace(1, 100, int(rng.integers(4, 9))))
        return 10**low_n * n.ravel(), 10**low_d * d.ravel()
    if kind == "narrow":
        return 10 ** (low_n + rng.uniform(0, 0.7, rows)), 10 ** (low_d + rng.uniform(0, 0.7, rows))
    if kind == "budgets":
        n = 10 ** (low_n + rng.uniform(0, 2.5, rows))
        return n, 10 ** rng.choice([18.0, 18.7, 19.4, 20.1], rows) / (6 * n)
    if kind == "huge":
        return 10 ** rng.uniform(10, 13, rows), 10 ** rng.uniform(12, 15, rows)
    return 10 ** (low_n + rng.uniform(0, 2.5, rows)), 10 ** (low_d + rng.uniform(0, 3, rows))


def truth(name: str, N: Array, D: Array, rng: np.random.Generator) -> dict[str, float]:
    """Parameters whose terms are of the size of a loss in the middle of the data; a floor near 0 one time in five."""
    floor = float(rng.uniform(0.5, 2.5) if rng.random() > 0.2 else 1e-3)
    a, b = (float(x) for x in rng.uniform(0.1, 0.8, 2))
    n, d = (float(np.exp(np.log(x).mean())) for x in (N, D))
    if name == "power":
        return {"L_inf": floor, "x0": n * float(rng.uniform(0.1, 1.5)) ** (1 / a), "alpha": a}
    if name == "kaplan":
        return {"N_c": n * 3 ** (1 / a), "D_c": d * 3 ** (1 / b), "alpha_N": a, "alpha_D": b}
    terms = rng.uniform(0.1, 1.5, 2)
    found = {"E": floor, "A": float(terms[0] * n**a), "B": float(terms[1] * d**b), "alpha": a, "beta": b}
    return found | ({"k": float(rng.uniform(0.4, 1.8))} if name == "skaling" else {})


def draw(number: int) -> tuple[Problem, dict[str, float]]:
    """Problem `number` and its truth; the same number is always the same problem."""
    rng = np.random.default_rng([20240404, number])
    law = LAWS[NAMES[number % len(NAMES)]]
    N, D = design(DESIGNS[number // len(NAMES) % len(DESIGNS)], rng)
    true = truth(law.name, N, D, rng)
    inputs = (N, D)[: len(law.inputs)]
    loss = law(*inputs, **true) * np.exp(10 ** rng.uniform(-3, -1.3) * rng.normal(size=len(N)))
    far = rng.random(len(N)) < rng.choice([0, 0.03, 0.1])
    loss = loss * np.exp(far * rng.normal(0, 0.3, len(N)))
    return Problem(law, inputs, loss, np.ones(len(N)), Objective(), {}, {}), true


def reference(problem: Problem, true: dict[str, float], more: int, scipy_starts: int) -> float:
    """The least objective known."""
    at_truth = problem.coordinates(np.array([[true[name] for name in problem.free]]))
    own = [solve(problem, STARTS * more, seed) for seed in (1, 2)]
    values = [float(found.value) for found in own if found is not None]
    values.append(float(minimise(problem, at_truth).cost.min()))

    def objective(u: Array) -> tuple[float, Array]:
        r, jac = problem.jacobian(u[None])
        cost = problem.cost(r)[0]
        if not np.isfinite(cost):
            return 1e10, np.zeros(len(u))
        return float(cost), jac[0] @ (problem.weights * problem.objective.slope(r[0]))

    for u in starts(problem, scipy_starts, 3):
        result = minimize(objective, u, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 0, "maxiter": 2000})
        values.append(float(result.fun))
    return min(values)


def miss(problem: Problem, best: float, seed: int = 0) -> float:
    """By how much the default search ends above the best known, relatively."""
    found = solve(problem, STARTS, seed)
    return float("inf") if found is None else found.value / best - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first problem")
    parser.add_argument("--scipy", type=int, default=200, help="L-BFGS-B descents a problem in the reference")
    parser.add_argument("--more", type=int, default=100, help="how many times the default starts the reference takes")
    parser.add_argument("--cache", type=Path, help="JSON file of references, outside the repository")
    options = parser.parse_args()
    known: dict[str, Any] = {}
    if options.cache and options.cache.exists():
        known = json.loads(options.cache.read_text())
    spent, failures = 0.0, []
    for number in range(options.first, options.first + options.problems):
        problem, true = draw(number)
        key = f"{number} {options.more} {options.scipy}"
        if key not in known:
            known[key] = reference(problem, true, options.more, options.scipy)
            if options.cache:
                options.cache.write_text(json.dumps(known))
        start = time.process_time()
        above = miss(problem, known[key])
        spent += time.process_time() - start
        if above > 1e-8:
            kind = DESIGNS[number // len(NAMES) % len(DESIGNS)]
            failures.append(above)
            print(f"problem {number:3} {problem.law.name:10} {kind:8} {len(problem.loss):3} rows: {above:.1e} above")
    share = 1 - len(failures) / options.problems
    print(f"{share:.2%} of {options.problems} problems within 1e-8 of the best known; "
          f"{1e3 * spent / options.problems:.0f} ms a fit; reference: {options.more} x {STARTS} starts twice, "
          f"{options.scipy} L-BFGS-B starts, the truth")  # fmt: skip


if __name__ == "__main__":
    main()
