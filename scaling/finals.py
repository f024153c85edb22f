"""final_losses(draws, runs): where runs of any size and schedule would end, by a law of whole curves.

One forked sweep of small models with a cooldown or a cosine in it thus answers what a grid of finished runs answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scaling.bands import half_width
from scaling.curve_bands import curve_interval
from scaling.errors import ScalingError
from scaling.fitting import Fit, checked_schedule, positive_arrays
from scaling.intervals import Draws, bootstrap
from scaling.schedule_spec import schedule_from
from scaling.trajectory import Trajectory


def final_losses(draws: Draws | Fit, runs: pd.DataFrame, *, level: float = 0.9) -> pd.DataFrame:
    """The loss after the last update of every row of `runs`, with an interval: columns of `runs`, steps, loss, lo, hi.

    `runs` has a column `schedule`, each an array of learning rates, one an update, or text such as
    "wsd:steps=24000,peak=3e-4,warmup=2160,cooldown=4000", and the law's other inputs: N, in the fit's unit, for a law
    over sizes. The interval is the spread of refits that each miss one curve (a jackknife; see `bootstrap`) with the
    residuals' own. `attrs["said"]` has in words where rows leave the range of the fitted curves.

    Raises ScalingError for a law of finished runs, a missing column or a schedule that cannot be read.
    """
    if isinstance(draws, Fit):
        draws = bootstrap(draws)
    fit = draws.fit
    if fit.law.kind != "curves":
        raise ScalingError(f"{fit.law.name} is a law of finished runs: use forecast(draws, N=..., D=...)")
    lacking = [name for name in fit.law.inputs if name not in runs]
    if lacking:
        raise ScalingError(f"{fit.law.name} reads {', '.join(fit.law.inputs)}; the runs lack {', '.join(lacking)}")
    if not len(runs):
        raise ScalingError("there are no runs to forecast: the table is empty")
    lrs = [checked_schedule(schedule_from(s) if isinstance(s, str) else s) for s in runs["schedule"]]
    others = positive_arrays({name: runs[name].to_numpy(float) for name in fit.law.inputs[1:]})
    path = Trajectory(tuple(lrs), tuple(np.array([len(lr) - 1]) for lr in lrs))
    columns = curve_interval(draws, (path, *others.values()), half_width(level))
    frame = runs.drop(columns="schedule").assign(steps=[len(lr) for lr in lrs], **columns)
    frame.attrs["said"] = beyond_curves(fit, frame, lrs)
    return frame


def beyond_curves(fit: Fit, asked: pd.DataFrame, lrs: list[Any]) -> list[str]:
    """In words, where runs leave the sizes, horizons and peak learning rates of the fitted curves."""
    own = [fit.table.attrs["schedules"].lr[str(run)] for run in fit.table["run"].unique()]
    reach = fit.table.groupby("run", sort=False)["step"].max() + 1
    ranges = [
        ("steps", reach.to_numpy(float), np.array([float(len(lr)) for lr in lrs])),
        ("peak learning rate", np.array([lr.max() for lr in own]), np.array([lr.max() for lr in lrs])),
    ]
    ranges += [(n, fit.table[n].to_numpy(float), asked[n].to_numpy(float)) for n in fit.law.inputs[1:]]
    said = []
    for name, fitted, wanted in ranges:
        lo, hi = float(fitted.min()), float(fitted.max())
        far = float(max(wanted.max() / hi, lo / wanted.min() if name != "steps" else 1.0))
        if far > (1.02 if name == "steps" else 1.001):  # the last logged row stands a little before the run's end
            said.append(f"{name} up to {far:.3g} times outside the fitted {lo:.3g} to {hi:.3g}")
    sizes = fit.table["N"].nunique() if "N" in fit.law.inputs else 0
    if 0 < sizes < 3:
        said.append(
            f"{sizes} size{'s' * (sizes > 1)} fitted: how the loss depends on N is not determined, fit 3 or more"
        )
    return said
