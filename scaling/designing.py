"""design_runs(source, target, flops) -> Design: the runs that shrink a forecast's interval most for their FLOP.

The law's Fisher information says what each run would teach (see `scaling.information`); a greedy choice and exchanges
say which to take. The law is not trusted alone: the choice keeps a least spread of sizes and horizons, and the interval
holds the drift that forecasts are known to have beyond their data, so that larger runs count for more than by the law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.information import (
    Target,
    grouped_information,
    of_sums,
    prior_information,
    sensitivities,
    target_gradient,
    variance,
)
from scaling.intervals import Draws, clusters
from scaling.lattice import Lattice
from scaling.published import Published
from scaling.rehearsal import PER_DECADE, budget

Array = NDArray[np.float64]
Chosen = NDArray[np.bool_]
NOISE = 0.003  # sd of a run's ln loss where nothing is trained: a little above seed noise, .0014 at 3 nats
LEAST_NOISE = 0.002
SHARED = 0.5  # share of that variance that forks of one trunk have in common: a guess
RUNS, SIZES, SPAN, HORIZONS = 8, 4, 8.0, 3  # the least that a design holds: see `spread_enough`
SWAPS = 8  # passes of exchange


@dataclass(frozen=True, eq=False)
class Design:
    """Runs to train next, and the interval that they are expected to leave.

    runs      a row a run: width, depth, N, D, tokens_per_param, C (6 N D), flops (alone), flops_added (at the margin of
              the shorter runs of its shape)
    before, after, even   standard deviations of ln target as they are, with the runs, and with an even grid of the same
              price: parameters, scatter, distance, total; before and even may be None
    """

    lattice: Lattice
    chosen: Chosen
    runs: pd.DataFrame
    target: Target
    flops: float
    before: dict[str, float] | None
    after: dict[str, float]
    even: dict[str, float] | None
    noise: float
    notes: tuple[str, ...]

    def report(self, level: float = 0.9) -> str:
        """The runs and the intervals in words."""
        z = half_width(level)
        lines = [self.runs.to_string(index=False, formatters=dict.fromkeys(BIG, "{:.4g}".format)), ""]
        lines.append(f"{self.target}, {level:.0%} interval: parameters, scatter, distance, together")
        for name, sd in (("before", self.before), ("with these runs", self.after), ("with an even grid", self.even)):
            if sd is not None:
                parts = ", ".join(f"{z * sd[part]:.2%}" for part in ("parameters", "scatter", "distance"))
                lines.append(f"  {name:18} +-{z * sd['total']:.2%}  ({parts})")
        used, alone = self.runs["flops_added"].sum(), self.runs["flops"].sum()
        lines.append(f"{len(self.runs)} runs, {used:.3g} of {self.flops:.3g} FLOP ({alone:.3g} if none shared a trunk)")
        return "\n".join([*lines, *self.notes])


BIG = ["N", "D", "C", "flops", "flops_added", "tokens_per_param"]


@dataclass(frozen=True, eq=False)
class _Problem:
    """All that a choice is scored by."""

    lattice: Lattice
    J: Array  # (shapes, horizons, p)
    gradient: Array
    known: Array  # information held before
    noise: float
    shared: float
    drift: float
    aimed: float  # 6 N D of the target; 0 where distance does not count
    largest: float  # of the rows that are already there

    def score(self, chosen: Chosen) -> Array:
        """Variance of ln target left by choices (..., shapes, horizons), drift included."""
        return self.parameters(chosen) + self.distance(chosen) ** 2

    def parameters(self, chosen: Chosen) -> Array:
        """The part of the law's parameters."""
        products = np.einsum("...gh,ghi,ghj->...gij", chosen.astype(float), self.J, self.J)
        sums = np.einsum("...gh,ghi->...gi", chosen.astype(float), self.J)
        each = of_sums(products, sums, chosen.sum(-1).astype(float), self.noise, self.shared)
        return variance(self.known + each.sum(-3), self.gradient)

    def distance(self, chosen: Chosen) -> Array:
        """The standard deviation that drift adds beyond the largest run."""
        reach = np.maximum(np.where(chosen, self.lattice.C, 0.0).max((-1, -2)), self.largest)
        with np.errstate(divide="ignore"):
            decades = np.maximum(np.log10(self.aimed) - np.log10(reach), 0.0) if self.aimed else np.zeros(reach.shape)
        return np.asarray(self.drift * np.where(np.isfinite(decades), decades, 0.0))

    def price(self, chosen: Chosen) -> Array:
        return self.lattice.price(chosen).sum(-1)

    def parts(self, chosen: Chosen) -> dict[str, float]:
        parameters, distance = float(np.sqrt(self.parameters(chosen))), float(self.distance(chosen))
        scatter = self.noise if self.aimed else 0.0
        total = float(np.sqrt(parameters**2 + scatter**2 + distance**2))
        return {"parameters": parameters, "scatter": scatter, "distance": distance, "total": total}


def design_runs(
    source: Fit | Draws | Published, target: Target, flops: float, lattice: Lattice, *, noise: float | None = None,
    shared: float = SHARED, drift: float = PER_DECADE, most: int = 40,
) -> Design:  # fmt: skip
    """Runs of the lattice whose price is at most `flops` and that leave the target's interval narrow.

    source  a fit, whose rows count as trained; or published coefficients, with nothing trained and a wide prior about
            them
    noise   standard deviation of a run's ln loss; by default the fit's residuals', at least .002, or .003 without a fit
    shared  share of its variance that runs of one trunk have in common
    drift   standard deviation of ln loss gained with each decade beyond the largest run; 0 believes the law
    most    runs at most

    Raises ScalingError for a law that has no best size, and where the budget cannot buy the least spread.
    """
    fit = source.fit if isinstance(source, Draws) else source if isinstance(source, Fit) else None
    law = source.law if fit is None and isinstance(source, Published) else fit.law  # type: ignore[union-attr]
    if not law.weighs_sizes:
        raise ScalingError(
            f"a design needs a law of N and D alone that predicts a loss; {law.name} reads {', '.join(law.inputs)}"
        )
    if not (np.isfinite(flops) and flops > 0 and 0 <= shared < 1):
        raise ScalingError(f"flops must be above 0 and shared from 0 up to 1, got {flops:g} and {shared:g}")
    problem = _problem(source, fit, law, target, lattice, noise, shared, drift)
    nothing = np.zeros(lattice.D.shape, bool)
    seed = _seed(problem, flops)
    found = min((_exchanged(problem, _greedy(problem, seed, flops, most, by), flops) for by in (True, False)),
                key=lambda chosen: float(problem.score(chosen)))  # fmt: skip
    found = _exchanged(problem, _greedy(problem, found, flops, most, False), flops)
    even = even_choice(lattice, flops)
    notes = [f"noise of a run's ln loss {problem.noise:.2%}, {shared:.0%} of its variance common to forks of a trunk"]
    if fit is None:
        notes.append(f"nothing trained: a wide prior about {source}")
    if target.C is not None and target.what == "loss":
        size = expected(source, Target("N_opt", C=target.C), lattice, found, noise=noise, shared=shared)["total"]
        notes.append(
            f"the best size there would be known to a standard deviation of {size:.0%}; --target N_opt asks for it"
        )
    if target.what == "N_opt":
        notes.append("the interval of a best size is that of the law's parameters: how laws drift there is not known")
    before = None if fit is None else problem.parts(nothing)
    return Design(
        lattice, found, _rows(lattice, found), target, flops, before, problem.parts(found),
        None if even is None else problem.parts(even), problem.noise, tuple(notes),
    )  # fmt: skip


def expected(
    source: Fit | Draws | Published, target: Target, lattice: Lattice, chosen: Chosen, *, noise: float | None = None,
    shared: float = SHARED, drift: float = PER_DECADE,
) -> dict[str, float]:  # fmt: skip
    """Standard deviations of ln target that a choice of the lattice's runs would leave: as in `Design.after`."""
    fit = source.fit if isinstance(source, Draws) else source if isinstance(source, Fit) else None
    law = source.law if isinstance(source, Published) else fit.law  # type: ignore[union-attr]
    return _problem(source, fit, law, target, lattice, noise, shared, drift).parts(chosen)


def even_choice(lattice: Lattice, flops: float, sizes: int = 5) -> Chosen | None:
    """An even grid in logarithms: `sizes` shapes by four horizons, the largest shape as large as the budget allows.

    None where it allows no such grid.
    """
    best = None
    columns = np.unique(np.linspace(0, lattice.D.shape[1] - 1, 4).round().astype(int))
    for top in range(sizes - 1, len(lattice.shapes)):
        chosen = np.zeros(lattice.D.shape, bool)
        rows = np.unique(np.linspace(0, top, sizes).round().astype(int))
        chosen[np.ix_(rows, columns)] = True
        if lattice.price(chosen).sum() <= flops:
            best = chosen
    return best


def spread_enough(lattice: Lattice, chosen: Chosen) -> Any:
    """Whether choices (..., shapes, horizons) hold 8 runs, 4 sizes a factor of 8 apart and 3 numbers of tokens a
    parameter: what a forecast and its rehearsal ask for, whatever the law believes."""
    sizes, horizons = chosen.any(-1), chosen.any(-2)
    n = lattice.N
    top = np.where(sizes, n, -np.inf).max(-1)
    bottom = np.where(sizes, n, np.inf).min(-1)
    span = min(SPAN, float(n.max() / n.min()))
    return (
        (chosen.sum((-1, -2)) >= min(RUNS, chosen[..., :, :].shape[-1] * len(n)))
        & (sizes.sum(-1) >= min(SIZES, len(n)))
        & (top >= span * bottom * 0.999)
        & (horizons.sum(-1) >= min(HORIZONS, chosen.shape[-1]))
    )


def _problem(
    source: Any,
    fit: Fit | None,
    law: Any,
    target: Target,
    lattice: Lattice,
    noise: float | None,
    shared: float,
    drift: float,
) -> _Problem:
    params = source.params[0] if fit is None else np.array([fit.params[name] for name in law.names])
    if (params == 0).any():
        zero = ", ".join(name for name, value in zip(law.names, params, strict=True) if value == 0)
        raise ScalingError(
            f"the fit has {zero} at 0, so nothing can be said of runs that would tell it: fit a smaller law"
        )
    if noise is None:
        noise = NOISE if fit is None else max(_noise_of(fit), LEAST_NOISE)
    if not (np.isfinite(noise) and noise > 0):
        raise ScalingError(f"noise is a standard deviation of ln loss, above 0; got {noise}")
    gradient, n, d = target_gradient(law, params, target)
    shape = lattice.D.shape
    sizes = np.broadcast_to(lattice.N[:, None], shape)
    J = sensitivities(law, params, sizes.ravel(), lattice.D.ravel()).reshape(*shape, -1)
    known = prior_information(law, params, float(np.exp(np.log(sizes).mean())), float(np.exp(np.log(lattice.D).mean())))
    largest = 0.0
    if fit is not None:
        rows = (fit.table[fit.columns[name]].to_numpy(float) for name in ("N", "D"))
        held = sensitivities(law, params, *rows)
        if fit.fixed:
            raise ScalingError(
                f"the fit holds {', '.join(fit.fixed)}: fit it freely, so that runs have something to tell"
            )
        known = known + grouped_information(held, clusters(fit), noise, shared)
        largest = float(budget(fit, fit.table).max())
    aimed = 6 * n * d if target.what == "loss" else 0.0
    return _Problem(lattice, J, gradient, known, noise, shared, drift, aimed, largest)


def _noise_of(fit: Fit) -> float:
    """The residuals' robust standard deviation, raised by what the parameters took of it."""
    rows = len(fit.table)
    return float(fit.residual_sd * np.sqrt(rows / max(rows - len(fit.law.names), 1)))


def _seed(problem: _Problem, flops: float) -> Chosen:
    """A cheap choice with spread enough: the cheapest runs that add what it lacks, the span of sizes first."""
    lattice = problem.lattice
    n, alone, horizons = lattice.N, lattice.alone(), lattice.D.shape[1]
    order = np.argsort(alone, axis=None, kind="stable")
    chosen = np.zeros(lattice.D.shape, bool)
    chosen.flat[order[0]] = True
    first = n[int(order[0]) // horizons]
    far = np.maximum(n / first, first / n) >= min(SPAN, float(n.max() / n.min())) * 0.999
    lacks: list[Callable[[Any, Any], Any]] = [
        lambda row, column: far[row] & (not chosen[far].any()),
        lambda row, column: ~_held(chosen, 1)[row] & (_held(chosen, 1).sum() < min(SIZES, len(n))),
        lambda row, column: ~_held(chosen, 0)[column] & (_held(chosen, 0).sum() < min(HORIZONS, horizons)),
        lambda row, column: np.full(len(row), int(chosen.sum()) < min(RUNS, chosen.size)),
    ]
    for lacking in lacks:
        while not spread_enough(lattice, chosen):
            left = order[~chosen.ravel()[order]]
            useful = left[lacking(left // horizons, left % horizons)]
            if not len(useful):
                break
            chosen.flat[useful[0]] = True
    price = float(problem.price(chosen))
    if price > flops:
        raise ScalingError(
            f"the least spread of runs (4 sizes over a factor of 8, 3 horizons, 8 runs) costs {price:.3g} FLOP from "
            f"N = {n.min():.3g} up, and the budget is {flops:.3g}: allow smaller sizes or fewer tokens a parameter"
        )
    return chosen


def _held(chosen: Chosen, axis: int) -> Chosen:
    """Which shapes (axis 1) or horizons (axis 0) have a run."""
    return np.asarray(chosen.any(axis))


def _greedy(problem: _Problem, chosen: Chosen, flops: float, most: int, by_price: bool) -> Chosen:
    """Add runs one at a time: the one that lowers ln variance most, or most for each FLOP, while the budget lasts."""
    chosen = chosen.copy()
    while chosen.sum() < most:
        options, at = _with_each(chosen)
        if not len(at):
            break
        score, price = problem.score(options), problem.price(options)
        gain = np.log(float(problem.score(chosen))) - np.log(score)
        worth = np.where(price <= flops, gain / (price - float(problem.price(chosen)) if by_price else 1.0), -np.inf)
        best = int(np.argmax(worth))
        if not (np.isfinite(worth[best]) and gain[best] > 1e-4):
            break
        chosen.flat[at[best]] = True
    return chosen


def _exchanged(problem: _Problem, chosen: Chosen, flops: float) -> Chosen:
    """Take each run out and put the best in its place, while that narrows the interval, keeps the spread and can be
    paid."""
    chosen = chosen.copy()
    for _ in range(SWAPS):
        before = float(problem.score(chosen))
        for out in np.flatnonzero(chosen):
            without = chosen.copy()
            without.flat[out] = False
            options, _ = _with_each(without)
            fits = (problem.price(options) <= flops) & spread_enough(problem.lattice, options)
            if not fits.any():
                continue
            score = np.where(fits, problem.score(options), np.inf)
            best = int(np.argmin(score))
            if score[best] < float(problem.score(chosen)) * (1 - 1e-6):
                chosen = options[best]
        if float(problem.score(chosen)) > before * (1 - 1e-3):
            break
    return chosen


def _with_each(chosen: Chosen) -> tuple[Chosen, NDArray[np.int64]]:
    """The choice with each run that it lacks, and which that is."""
    at = np.flatnonzero(~chosen)
    options = np.repeat(chosen[None], len(at), 0)
    options.reshape(len(at), -1)[np.arange(len(at)), at] = True
    return options, at


def _rows(lattice: Lattice, chosen: Chosen) -> pd.DataFrame:
    rows = []
    alone = lattice.alone()
    for g, shape in enumerate(lattice.shapes):
        spent = 0.0
        for h in np.flatnonzero(chosen[g]):
            part = np.zeros(chosen.shape, bool)
            part[g, : h + 1] = chosen[g, : h + 1]
            price = float(lattice.price(part).sum())
            rows.append(
                {"width": shape.width, "depth": shape.depth, "N": float(shape.N), "D": float(lattice.D[g, h]),
                 "tokens_per_param": float(lattice.D[g, h] / shape.N), "C": float(lattice.C[g, h]),
                 "flops": float(alone[g, h]), "flops_added": price - spent}
            )  # fmt: skip
            spent = price
    return pd.DataFrame(rows)


def cheapest_design(
    source: Fit | Draws | Published, target: Target, lattice: Lattice, sd: float, most_flops: float, **options: Any
) -> Design:
    """The design of least budget, to 5%, whose expected interval is no wider than `sd` in ln target.

    Raises ScalingError where `most_flops` do not reach it.
    """
    found = design_runs(source, target, most_flops, lattice, **options)
    if found.after["total"] > sd:
        raise ScalingError(
            f"{most_flops:.3g} FLOP leave a standard deviation of {found.after['total']:.2%}, above {sd:.2%}: give more"
        )
    lo, hi = np.log(most_flops / 1e4), np.log(most_flops)
    while hi - lo > 0.05:
        middle = (lo + hi) / 2
        try:
            tried = design_runs(source, target, float(np.exp(middle)), lattice, **options)
        except ScalingError:
            lo = middle
            continue
        lo, hi = (lo, middle) if tried.after["total"] <= sd else (middle, hi)
        found = tried if tried.after["total"] <= sd else found
    return found
