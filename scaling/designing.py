"""design_runs(source, target, flops) -> Design: the runs that shrink a forecast's interval most for their FLOP.

The law's Fisher information says what each run would teach (see `scaling.information`); a greedy choice and exchanges
say which to take. The law is not trusted alone: the choice keeps a least spread of sizes and horizons, and the interval
holds the drift that forecasts are known to have beyond their data, so that larger runs count for more than by the law.
"""

from __future__ import annotations

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
    prior_information,
    sensitivities,
    target_gradient,
)
from scaling.intervals import Draws, clusters
from scaling.lattice import Lattice
from scaling.published import Published
from scaling.rehearsal import PER_DECADE, budget
from scaling.run_choice import Chosen, Worth, cheap_spread, even_choice, exchanged, greedy

Array = NDArray[np.float64]
NOISE = 0.003  # sd of a run's ln loss where nothing is trained: a little above seed noise, .0014 at 3 nats
LEAST_NOISE = 0.002
SHARED = 0.5  # share of that variance that forks of one trunk have in common: a guess


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
    worth = _worth(source, fit, law, target, lattice, noise, shared, drift)
    nothing = np.zeros(lattice.D.shape, bool)
    seed = cheap_spread(worth, flops)
    found = min((exchanged(worth, greedy(worth, seed, flops, most, by), flops) for by in (True, False)),
                key=lambda chosen: float(worth.score(chosen)))  # fmt: skip
    found = exchanged(worth, greedy(worth, found, flops, most, False), flops)
    even = even_choice(lattice, flops)
    notes = [f"noise of a run's ln loss {worth.noise:.2%}, {shared:.0%} of its variance common to forks of a trunk"]
    if fit is None:
        notes.append(f"nothing trained: a wide prior about {source}")
    if target.C is not None and target.what == "loss":
        size = expected(source, Target("N_opt", C=target.C), lattice, found, noise=noise, shared=shared)["total"]
        notes.append(
            f"the best size there would be known to a standard deviation of {size:.0%}; --target N_opt asks for it"
        )
    if target.what == "N_opt":
        notes.append("the interval of a best size is that of the law's parameters: how laws drift there is not known")
    before = None if fit is None else worth.parts(nothing)
    return Design(
        lattice, found, _rows(lattice, found), target, flops, before, worth.parts(found),
        None if even is None else worth.parts(even), worth.noise, tuple(notes),
    )  # fmt: skip


def expected(
    source: Fit | Draws | Published, target: Target, lattice: Lattice, chosen: Chosen, *, noise: float | None = None,
    shared: float = SHARED, drift: float = PER_DECADE,
) -> dict[str, float]:  # fmt: skip
    """Standard deviations of ln target that a choice of the lattice's runs would leave: as in `Design.after`."""
    fit = source.fit if isinstance(source, Draws) else source if isinstance(source, Fit) else None
    law = source.law if isinstance(source, Published) else fit.law  # type: ignore[union-attr]
    return _worth(source, fit, law, target, lattice, noise, shared, drift).parts(chosen)


def _worth(
    source: Any,
    fit: Fit | None,
    law: Any,
    target: Target,
    lattice: Lattice,
    noise: float | None,
    shared: float,
    drift: float,
) -> Worth:
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
        if fit.fixed or fit.tied:
            said = ", ".join([*fit.fixed, *fit.tied])
            raise ScalingError(f"the fit holds {said}: fit it freely, so that runs have something to tell")
        known = known + grouped_information(held, clusters(fit), noise, shared)
        largest = float(budget(fit, fit.table).max())
    aimed = 6 * n * d if target.what == "loss" else 0.0
    return Worth(lattice, J, gradient, known, noise, shared, drift, aimed, largest)


def _noise_of(fit: Fit) -> float:
    """The residuals' robust standard deviation, raised by what the parameters took of it."""
    rows = len(fit.table)
    return float(fit.residual_sd * np.sqrt(rows / max(rows - len(fit.law.names), 1)))


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

    Raises ScalingError where `most_flops` do not reach it, and where a fit needs no runs to be that narrow.
    """
    found = design_runs(source, target, most_flops, lattice, **options)
    if found.before is not None and found.before["total"] <= sd:
        raise ScalingError(
            f"nothing needs to be trained: the fit leaves a standard deviation of {found.before['total']:.3g} of the "
            f"logarithm there, and {sd:.3g} was asked for"
        )
    if found.after["total"] > sd:
        raise ScalingError(
            f"{most_flops:.3g} FLOP leave a standard deviation of {found.after['total']:.3g} of the logarithm, above "
            f"the {sd:.3g} asked for: give more, or ask for less; what distance adds only a larger run takes away"
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
