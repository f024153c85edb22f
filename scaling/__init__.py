"""Scaling laws: fit them to anybody's logs, say how far to trust them, forecast budgets nobody has trained."""

from __future__ import annotations

from scaling import laws
from scaling.allocation import optimum
from scaling.choosing import OptimalSchedule, compare_schedules, cooldown_table, optimal_schedule
from scaling.comparison import Comparison, compare
from scaling.curves import read_curves
from scaling.ending import final_loss
from scaling.errors import FitError, ScalingError, TableError
from scaling.fitting import Fit, fit
from scaling.forecasting import forecast
from scaling.handover import to_lmfit
from scaling.heldout import hold_out, hold_out_curve
from scaling.intervals import Draws, bootstrap
from scaling.law import Exponent, Floor, Law, Param, Scale, Size, law
from scaling.objective import Objective
from scaling.persistence import from_json, read_fit, to_json
from scaling.profiles import Profile, profile
from scaling.rehearsal import rehearse
from scaling.sensitivity import sensitivity
from scaling.sizing import OptimalSize, optimal_size
from scaling.stacking import Stack, stack
from scaling.table import read_table

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Draws",
    "Exponent",
    "Fit",
    "FitError",
    "Floor",
    "Law",
    "Objective",
    "OptimalSchedule",
    "OptimalSize",
    "Param",
    "Profile",
    "Scale",
    "ScalingError",
    "Size",
    "Stack",
    "TableError",
    "bootstrap",
    "compare",
    "compare_schedules",
    "cooldown_table",
    "final_loss",
    "fit",
    "forecast",
    "from_json",
    "hold_out",
    "hold_out_curve",
    "law",
    "laws",
    "optimal_schedule",
    "optimal_size",
    "optimum",
    "profile",
    "read_curves",
    "read_fit",
    "read_table",
    "rehearse",
    "sensitivity",
    "stack",
    "to_json",
    "to_lmfit",
]
