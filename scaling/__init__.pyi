# The interface of the package: `scaling/__init__.py` reads this list and imports a name when it is first asked for.

from . import laws as laws
from .allocation import off_optimum as off_optimum, optimum as optimum
from .choosing import (
    OptimalSchedule as OptimalSchedule,
    compare_schedules as compare_schedules,
    cooldown_table as cooldown_table,
    optimal_schedule as optimal_schedule,
)
from .comparison import Comparison as Comparison, compare as compare
from .crossing import crossover as crossover
from .curves import read_curves as read_curves
from .datasets import load as load
from .designing import Design as Design, design_runs as design_runs
from .ending import final_loss as final_loss
from .errors import FitError as FitError, ScalingError as ScalingError, TableError as TableError
from .fitting import Fit as Fit, fit as fit
from .forecasting import forecast as forecast
from .handover import to_lmfit as to_lmfit
from .heldout import hold_out as hold_out, hold_out_curve as hold_out_curve
from .intervals import Draws as Draws, bootstrap as bootstrap
from .isoflop import IsoFlop as IsoFlop, compare_approaches as compare_approaches
from .law import (
    Exponent as Exponent,
    Floor as Floor,
    Law as Law,
    Param as Param,
    Scale as Scale,
    Size as Size,
    law as law,
)
from .objective import Objective as Objective
from .persistence import from_json as from_json, read_fit as read_fit, to_json as to_json
from .profiles import Profile as Profile, profile as profile
from .reading import Reading as Reading
from .rehearsal import rehearse as rehearse
from .repeats import before_harm as before_harm
from .sensitivity import sensitivity as sensitivity
from .sizing import OptimalSize as OptimalSize, optimal_size as optimal_size
from .stacking import Stack as Stack, stack as stack
from .table import read_table as read_table
from .watching import Watch as Watch, watch as watch

__version__: str
