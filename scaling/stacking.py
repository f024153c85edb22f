"""stack(table) -> Stack: four regularised laws, weighted by how well each would have forecast the later runs.

A Stack holds the stacks that smaller budgets alone would have given, so that it can say what it would have missed. The
recipe and its constants come from a study on public tables (docs/calibration.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width, robust_sd, spread
from scaling.errors import ScalingError, TableError
from scaling.intervals import FEW, WEBB
from scaling.regularised import MEMBERS, Regularised, redraw, regularise
from scaling.rehearsal import AHEAD, PER_DECADE, expanding_cuts
from scaling.table import usable

Array = NDArray[np.float64]
AGE = 0.7  # a cut's errors count this much less with every later cut
RESAMPLES = 100
FAR, TOO_FAR = 30.0, 100.0  # multiples of the fitted compute: beyond, coverage was measured to fall; nothing is known
CAUTIOUS = 2.0 / 1.6448536  # the wider of the study's two widths: 2 standard deviations where 90% asks for 1.645


@dataclass(frozen=True, eq=False)
class Stack:
    """Regularised laws fitted to one table, and before that to its smaller budgets.

    table    one row a pair (N, D), the loss in `loss`
    earlier  stacks on the rows up to each cut in compute, oldest first; empty when the table cannot be rehearsed
    """

    table: pd.DataFrame
    laws: tuple[Regularised, ...]
    earlier: tuple[Stack, ...]
    dropped: pd.DataFrame
    notes: tuple[str, ...]
    resamples: int
    seed: int

    @cached_property
    def size(self) -> Array:
        """6 N D of every row, FLOP."""
        return 6 * self.table["N"].to_numpy() * self.table["D"].to_numpy()

    @property
    def reach(self) -> float:
        """The largest fitted compute, FLOP."""
        return float(self.size.max())

    @cached_property
    def missed(self) -> Array:
        """Median |ln predicted / observed| of each law (cuts, laws) on the rows beyond each cut."""
        log_loss = np.log(self.table["loss"].to_numpy())
        errors = []
        for past in self.earlier:
            ahead = self.size >= AHEAD * past.reach
            errors.append(np.median(np.abs(past.each(*self._at(ahead)) - log_loss[ahead]), axis=1))
        return np.array(errors).reshape(len(errors), len(self.laws))

    @cached_property
    def weights(self) -> Array:
        """Of each law, summing to one: the inverse square of its rehearsed error, recent cuts first; equal without."""
        ages = np.arange(len(self.missed))[::-1]
        score = (AGE**ages) @ self.missed + 1e-9 if len(ages) else np.ones(len(self.laws))
        weights = score**-2.0
        return np.asarray(weights / weights.sum())

    def each(self, N: Array, D: Array) -> Array:
        """ln of the loss under each law, (laws, m)."""
        return np.stack([law.log_loss(N, D) for law in self.laws])

    @cached_property
    def scatter(self) -> float:
        """Robust standard deviation of ln predicted / observed over the fitted rows."""
        centre = self.weights @ self.each(*self._at(slice(None)))
        return robust_sd(centre - np.log(self.table["loss"].to_numpy()))

    @cached_property
    def draws(self) -> Mapping[str, Array]:
        """Parameters (B, 1) of the first law under resampling by trunk, where runs share one, else by row."""
        rng = np.random.default_rng(self.seed)
        group = np.arange(len(self.table))
        if "trunk" in self.table and self.table["trunk"].notna().all():
            group = np.asarray(pd.factorize(self.table["trunk"])[0])
        count = int(group.max()) + 1
        base = self.laws[0]
        if count >= FEW or count == len(group):
            counts = rng.multinomial(count, np.full(count, 1 / count), self.resamples)
            return redraw(base, counts[:, group].astype(float))
        kick = rng.choice(np.concatenate([WEBB, -WEBB]), (self.resamples, count))[:, group]
        return redraw(base, shift=base.problem.residuals(base.u[None])[0] * (1 - kick))

    def forecast(self, N: Array, D: Array, level: float = 0.9, cautious: bool = False) -> pd.DataFrame:
        """Rows N, D, loss, lo, hi, beyond and the standard deviations of ln loss that make the interval.

        sd_parameters: the first law under resampling; sd_scatter: one run about the laws; sd_laws: the laws' forecasts
        about their mean; sd_distance: what laws were seen to drift with each decade beyond the data.
        """
        each = self.each(N, D)
        centre = self.weights @ each
        beyond = 6 * N * D / self.reach
        with np.errstate(all="ignore"):
            drawn = np.log(np.asarray(self.laws[0].member.law.function(N, D, **self.draws)))
        parts = {
            "sd_parameters": spread(np.broadcast_to(drawn, (self.resamples, len(N)))),
            "sd_scatter": np.full(len(N), self.scatter),
            "sd_laws": np.sqrt(((each - centre) ** 2).mean(0)),
            "sd_distance": PER_DECADE * np.maximum(np.log10(beyond), 0.0),
        }
        half = half_width(level) * (CAUTIOUS if cautious else 1.0) * np.sqrt(sum(sd**2 for sd in parts.values()))
        return pd.DataFrame(
            {"N": N, "D": D, "loss": np.exp(centre), "lo": np.exp(centre - half), "hi": np.exp(centre + half)}
            | {"beyond": beyond}
            | parts
        )

    def rehearsal(self, level: float = 0.9) -> pd.DataFrame:
        """What the earlier stacks forecast of this table: cut, fitted, N, D, beyond, loss, lo, hi, observed, error.

        error is ln(predicted / observed).
        """
        frames = []
        for past in self.earlier:
            ahead = self.size >= AHEAD * past.reach
            frame = past.forecast(*self._at(ahead), level=level)
            observed = self.table["loss"].to_numpy()[ahead]
            frames.append(
                frame.assign(
                    cut=past.reach,
                    fitted=len(past.table),
                    observed=observed,
                    error=np.log(frame["loss"] / observed),
                    inside=(frame["lo"] <= observed) & (observed <= frame["hi"]),
                )
            )
        columns = ["cut", "fitted", "N", "D", "beyond", "loss", "lo", "hi", "observed", "error", "inside"]
        return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)

    def summary(self) -> pd.DataFrame:
        """One row a law: weight, rehearsed error (median over cuts), parameters, and which the priors decide."""
        rows = []
        for i, law in enumerate(self.laws):
            missed = float(np.median(self.missed[:, i])) if len(self.missed) else np.nan
            params = {name: law.params.get(name, np.nan) for name in ("E", "alpha", "beta", "k")}
            rows.append(
                {"law": law.member.name, "weight": self.weights[i], "rehearsed_error": missed}
                | params
                | {"prior_dominated": ", ".join(law.prior_dominated)}
            )
        return pd.DataFrame(rows).set_index("law")

    def _at(self, rows: Any) -> tuple[Array, Array]:
        return self.table["N"].to_numpy()[rows], self.table["D"].to_numpy()[rows]

    def __repr__(self) -> str:
        shares = ", ".join(f"{law.member.name} {w:.2f}" for law, w in zip(self.laws, self.weights, strict=True))
        return f"Stack({len(self.table)} rows, {len(self.earlier)} cuts: {shares})"


def stack(table: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> Stack:
    """Four regularised laws of N and D on one table, weighted by rehearsal.

    Rows that cannot be used are dropped with reasons; rows of one (N, D) become their median. Raises TableError when
    the columns N, D, loss are missing or fewer rows are left than the simplest laws need.
    """
    if resamples < 2:
        raise ScalingError(f"a bootstrap needs at least 2 resamples, got {resamples}")
    if not table.index.is_unique:
        table = table.reset_index(drop=True)
    kept, dropped = usable(table, {"N": "N", "D": "D", "loss": "loss"}, "a forecast from a table")
    kept, notes = _one_a_pair(kept)
    if len(kept) < MEMBERS[0].free + 1:
        why = "; ".join(dict.fromkeys(dropped["reason"])) if len(dropped) else "that is all there is"
        raise TableError(
            f"a forecast from a table needs at least {MEMBERS[0].free + 1} different pairs (N, D); found {len(kept)} "
            f"({why})"
        )
    size = 6 * kept["N"].to_numpy() * kept["D"].to_numpy()
    stages: list[Stack] = []
    cuts = expanding_cuts(size, kept[["N", "D"]].to_numpy().T)
    for reach in [*cuts, np.inf]:
        part = kept[size <= reach]
        n, d, loss = (part[name].to_numpy() for name in ("N", "D", "loss"))
        laws = tuple(regularise(member, n, d, loss) for member in MEMBERS if len(part) > member.free)
        ready = tuple(s for s in stages if size[size <= reach].max() >= AHEAD * s.reach)
        stages.append(Stack(part, laws, ready, dropped, tuple(notes), resamples, seed))
    return stages[-1]


def _one_a_pair(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row for each (N, D): the median of its losses."""
    notes = list(table.attrs.get("notes", ()))
    repeated = table.duplicated(["N", "D"], keep=False)
    if repeated.any():
        medians = table.groupby(["N", "D"])["loss"].transform("median")
        pairs = len(table[repeated].drop_duplicates(["N", "D"]))
        table = table.assign(loss=medians).drop_duplicates(["N", "D"])
        notes.append(
            f"{int(repeated.sum())} rows share {pairs} pairs (N, D); each pair counts once, with its median loss. If "
            "they differ in a setting such as the learning rate, keep only the best of each pair"
        )
    table.attrs = {}
    return table.reset_index(drop=True), notes
