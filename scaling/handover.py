"""A fit handed to lmfit, for its confidence intervals, its emcee and its bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling.fitting import Fit, problem_of


def to_lmfit(fit: Fit) -> Any:
    """An lmfit.Minimizer that starts at the fit, with its bounds, fixed and tied parameters, and its residuals.

    The residuals are signed square roots of twice the rows' costs, so that lmfit's sum of squares is twice the fit's
    objective, Huber included. `minimizer.minimize()` then `lmfit.conf_interval(minimizer, result)`.
    """
    import lmfit  # two seconds to import: only who asks for it pays

    problem = problem_of(fit)
    parameters = lmfit.Parameters()
    for p in sorted(fit.law.params, key=lambda p: p.name in fit.tied):
        if p.name in fit.tied:
            parameters.add(p.name, expr=fit.tied[p.name])
        else:
            lo, hi = (p.lo, p.hi)
            parameters.add(p.name, value=fit.params[p.name], min=lo, max=hi, vary=p.name not in fit.fixed)

    def residuals(values: Any) -> Any:
        theta = np.array([[values[name].value for name in problem.free]])
        r = problem.residuals(problem.coordinates(theta))[0]
        return np.sign(r) * np.sqrt(2 * problem.weights * problem.objective.rho(r))

    return lmfit.Minimizer(residuals, parameters, nan_policy="omit")
