"""A law is its equation: a function whose positional names are inputs and whose keyword-only names are parameters.

Everything else is derived from the one function: the columns for variable projection, the gradient (complex step), the
bounds, the text that is shown. Equations broadcast: parameters of shape (B, 1) against inputs of shape (n,) give (B,
n).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

COMPLEX_STEP = 1e-30
CUSTOM = "your own"  # the family of a law that names none


@dataclass(frozen=True)
class Param:
    """What is known of a parameter before any data: bounds (open), unit, where searches start, linear in the loss or
    not.

    `of` names the input a scale is measured in: searches then start around that input's values. `prior` is (centre,
    standard deviation) of what fits believe unless told otherwise (see `scaling.priors`).
    """

    lo: float = -math.inf
    hi: float = math.inf
    start: tuple[float, float] = (0.1, 1.0)
    linear: bool = False
    unit: str = "1"
    of: str = ""
    name: str = ""
    prior: tuple[float, float] | None = None


#: The loss that no size of model or data removes, 0 included: it stands for the entropy of the text.
Floor = Annotated[float, Param(lo=0.0, linear=True, unit="nats/token")]
#: An amplitude: positive, linear in the loss.
Scale = Annotated[float, Param(lo=0.0, linear=True, unit="nats/token x input^exponent")]
#: A size in the unit of the law's first input, inside a power: positive, not linear.
Size = Annotated[float, Param(lo=0.0, start=(1e-6, 1e6), unit="as the input")]
#: An exponent of a power law.
Exponent = Annotated[float, Param(lo=0.0, hi=3.0, start=(0.05, 1.2))]
#: Fraction of a memory that survives one step: 1 / (1 - value) is its length in steps.
Memory = Annotated[float, Param(lo=0.5, hi=1.0, start=(0.9, 0.9998))]

Equation = Callable[..., Any]
Gradient = Callable[..., tuple[Any, ...]]
#: function (*inputs, **params) -> value, derivatives by every parameter in order, and a function that gives the second
#: derivatives that are not 0 by pairs of names, each pair once
Derivatives = Callable[..., tuple[Any, tuple[Any, ...], Callable[[], dict[tuple[str, str], Any]]]]
#: parameters by keyword -> (ln A, alpha, ln B, beta)
Balance = Callable[..., tuple[Any, Any, Any, Any]]
Starts = Callable[[Mapping[str, Any], NDArray[np.float64]], list[dict[str, float]]]


Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Law:
    """A law as declared. `inputs` are columns of a table; a law of whole curves reads `schedule` first.

    balance   parameters -> (ln A, alpha, ln B, beta), where the loss is a rising function of A / N^alpha + B / D^beta
              and of nothing else: a budget's best size then has a closed form (see `scaling.optima`)
    predicts, unit  the column that the law is fitted to and its unit; `signed` when its values may be 0 or negative
    zero      inputs that may be 0; simplex: inputs that are shares of one whole and sum to 1
    ranges    input -> what the paper's runs covered; `ranges_for` the same for published sets of another range
    levels    input -> the values that it may have, for one that names a kind by a number
    hold      parameters that runs like the paper's do not determine beside the others: hold them with fix=
    example   coefficients to draw and test with where none are published; no result of anybody's
    symbols   input or parameter -> what it means
    ranked    whether `compare` takes it unasked: not a special case of another, nor too large for most tables
    noise     standard deviation of ln loss that priors are weighed against: a prior counts as half the square of its
              distance in standard deviations, times the square of `noise`
    """

    name: str
    equation: str
    cite: str
    function: Equation
    inputs: tuple[str, ...]
    params: tuple[Param, ...]
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    gradient: Gradient | None = None
    derivatives: Derivatives | None = None
    balance: Balance | None = None
    starts: Starts | None = None
    units: str = ""
    notes: str = ""
    family: str = CUSTOM
    instead: str = ""
    predicts: str = "loss"
    unit: str = "nats/token"
    signed: bool = False
    zero: tuple[str, ...] = ()
    simplex: tuple[str, ...] = ()
    ranges: Ranges = field(default_factory=dict)
    ranges_for: Mapping[str, Ranges] = field(default_factory=dict)
    levels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    hold: tuple[str, ...] = ()
    example: Mapping[str, float] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)
    ranked: bool = True
    noise: float = 1.0

    @property
    def kind(self) -> Literal["points", "curves"]:
        """`points`: one loss a row. `curves`: the loss after every step of a learning-rate schedule."""
        return "curves" if self.inputs[0] == "schedule" else "points"

    @property
    def weighs_sizes(self) -> bool:
        """Whether it is a loss of N and D alone, so that a budget has a best size."""
        return self.inputs == ("N", "D") and self.predicts.endswith("loss")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.params)

    def param(self, name: str) -> Param:
        return self.params[self.names.index(name)]

    def range_of(self, published: str = "") -> Ranges:
        """Input -> (least, greatest) of the runs behind a published set, by default the law's own."""
        return self.ranges_for.get(published, self.ranges)

    def coefficients(self) -> dict[str, float]:
        """The first published set, or the example where nothing is published."""
        return dict(next(iter(self.published.values()), self.example))

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        return self.function(*inputs, **params)

    def __repr__(self) -> str:
        return f"Law({self.name}: {self.equation})"


def law(
    *,
    cite: str,
    published: Mapping[str, Mapping[str, float]] | None = None,
    gradient: Gradient | None = None,
    derivatives: Derivatives | None = None,
    balance: Balance | None = None,
    starts: Starts | None = None,
    units: str = "",
    notes: str = "",
    family: str = CUSTOM,
    instead: str = "",
    predicts: str = "loss",
    unit: str = "nats/token",
    signed: bool = False,
    zero: tuple[str, ...] = (),
    simplex: tuple[str, ...] = (),
    ranges: Ranges | None = None,
    ranges_for: Mapping[str, Ranges] | None = None,
    levels: Mapping[str, tuple[float, ...]] | None = None,
    hold: tuple[str, ...] = (),
    example: Mapping[str, float] | None = None,
    symbols: Mapping[str, str] | None = None,
    ranked: bool = True,
    noise: float = 1.0,
) -> Callable[[Equation], Law]:
    """Declare a law from its equation; the docstring's first line is the equation as it is shown.

    What is not said here is said at `Law`; all but `cite` may be left out.

    gradient  function (*inputs, **params) -> derivatives by every parameter in order of declaration; without one the
              equation must be analytic and accept complex parameters (no abs, max or comparisons)
    derivatives  the same with values and second derivatives, in place of `gradient`: fits are then several times faster
    starts    function (inputs, loss) -> list of parameter dicts where searches begin, for laws whose amplitudes are
              not linear
    """

    def declare(function: Equation) -> Law:
        hints = get_type_hints(function, include_extras=True)
        inputs, params = [], []
        for name, argument in inspect.signature(function).parameters.items():
            if argument.kind is not inspect.Parameter.KEYWORD_ONLY:
                inputs.append(name)
                continue
            record = next((a for a in get_args(hints.get(name)) if isinstance(a, Param)), None)
            if record is None:
                raise TypeError(
                    f"law {function.__name__}: parameter {name} needs an annotation that holds a Param, such as "
                    "Floor, Scale, Size, Exponent or Annotated[float, Param(...)]"
                )
            params.append(replace(record, name=name))
        if not inputs or not params:
            raise TypeError(
                f"law {function.__name__} needs positional inputs (columns) and keyword-only parameters, as in def "
                "mylaw(N, D, *, E: Floor, A: Scale, alpha: Exponent)"
            )
        known = {*inputs, *(p.name for p in params)}
        for where, names in (
            ("zero", zero), ("simplex", simplex), ("ranges", ranges), ("levels", levels), ("hold", hold),
            ("example", example), ("symbols", symbols),
        ):  # fmt: skip
            unknown = set(names or ()) - (known if where != "symbols" else known | {predicts})
            if unknown:
                raise TypeError(
                    f"law {function.__name__}: {where} names {', '.join(sorted(unknown))}; the equation has "
                    f"{', '.join([*inputs, *(p.name for p in params)])}"
                )
        return Law(
            name=function.__name__,
            equation=(inspect.getdoc(function) or function.__name__).split("\n")[0],
            cite=cite,
            function=function,
            inputs=tuple(inputs),
            params=tuple(params),
            published=MappingProxyType({k: MappingProxyType(dict(v)) for k, v in (published or {}).items()}),
            gradient=gradient,
            derivatives=derivatives,
            balance=balance,
            starts=starts,
            units=units,
            notes=notes,
            family=family,
            instead=instead,
            predicts=predicts,
            unit=unit,
            signed=signed,
            zero=tuple(zero),
            simplex=tuple(simplex),
            ranges=MappingProxyType(dict(ranges or {})),
            ranges_for=MappingProxyType(dict(ranges_for or {})),
            levels=MappingProxyType(dict(levels or {})),
            hold=tuple(hold),
            example=MappingProxyType(dict(example or {})),
            symbols=MappingProxyType(dict(symbols or {})),
            ranked=ranked,
            noise=noise,
        )

    return declare


def value_and_gradient(
    law: Law, inputs: tuple[Any, ...], params: Mapping[str, NDArray], wanted: tuple[str, ...]
) -> tuple[NDArray, list[NDArray]]:
    """The law's values and their derivatives by the parameters `wanted`, each broadcast to the shape of the values.

    By the law's declared derivatives or gradient, else by complex step (Squire & Trapp 1998), exact to rounding.
    """
    if law.derivatives is not None:
        value, by_param, _ = law.derivatives(*inputs, **params)
        return value, _wanted(law, by_param, wanted, value.shape)
    value = np.asarray(law.function(*inputs, **params))
    if law.gradient is not None:
        return value, _wanted(law, law.gradient(*inputs, **params), wanted, value.shape)
    columns = {}
    for name in wanted:
        nudged = dict(params) | {name: params[name] + 1j * COMPLEX_STEP}
        columns[name] = np.broadcast_to(np.imag(law.function(*inputs, **nudged)) / COMPLEX_STEP, value.shape)
    return value, [columns[name] for name in wanted]


def _wanted(law: Law, by_param: tuple[Any, ...], wanted: tuple[str, ...], shape: tuple[int, ...]) -> list[NDArray]:
    columns = dict(zip(law.names, by_param, strict=True))
    chosen = (columns[name] for name in wanted)
    return [c if np.shape(c) == shape else np.broadcast_to(c, shape) for c in chosen]
