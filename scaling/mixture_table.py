"""A table of runs as trained mixtures: shares, losses by validation source, and losses of mixed experts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.columns import LOSS_ON as LOSS, MDE_ON as MIXED, SHARE_OF as SHARE
from scaling.errors import TableError
from scaling.experts import Experts, experts_on, losses_on

Array = NDArray[np.float64]
#: Shares that are rounded in a table still sum to 1; they are scaled to.
ROUNDED = 0.01


@dataclass(frozen=True, eq=False)
class Mixtures:
    """n trained mixtures of k domains with their losses on m validation sources.

    shares   (n, k), rows sum to 1
    losses   (n, m) in nats/token
    experts  losses of mixed experts on the same sources, (n, m); None where they are not known
    table    the rows that were used; dropped: others, with the reason
    """

    domains: tuple[str, ...]
    sources: tuple[str, ...]
    shares: Array
    losses: Array
    experts: Array | None
    table: pd.DataFrame
    dropped: tuple[str, ...]

    def rows(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Mixtures:
        """Some of them."""
        experts = None if self.experts is None else self.experts[which]
        return replace(
            self, shares=self.shares[which], losses=self.losses[which], experts=experts, table=self.table.iloc[which]
        )

    @property
    def corner(self) -> NDArray[np.bool_]:
        """Which are of one domain alone, as experts are: (n,)."""
        return np.asarray(self.shares.max(axis=1) > 1 - 1e-9)

    @property
    def groups(self) -> NDArray[np.int64]:
        """A number for each mixture, the same for runs of equal shares: (n,)."""
        return np.asarray(np.unique(self.shares.round(9), axis=0, return_inverse=True)[1]).reshape(-1)


def read_mixtures(
    table: pd.DataFrame, *, experts: Experts | None = None, shares: str = SHARE, losses: str = LOSS
) -> Mixtures:
    """The mixtures of a table of runs, as `sweeps collect` writes it.

    experts         of the same domains and validation sources; without them, columns mde_on_NAME are read if there are
    shares, losses  what names of columns begin with: shares of domains, losses on validation sources

    Rows without a share or a loss are dropped and `dropped` says so. TableError where there are no such columns, and
    where shares are negative or do not sum to 1.
    """
    names = [str(name) for name in table.columns]
    domains = tuple(name.removeprefix(shares) for name in names if name.startswith(shares))
    sources = tuple(name.removeprefix(losses) for name in names if name.startswith(losses))
    if len(domains) < 2 or not sources:
        raise TableError(
            f"a table of mixtures has columns {shares}NAME, two or more, and {losses}NAME, as `sweeps collect` writes "
            f"them for runs on several sources; there are {len(domains)} and {len(sources)}"
        )
    numbers = table[[*(shares + d for d in domains), *(losses + s for s in sources)]].apply(
        pd.to_numeric, errors="coerce"
    )
    whole = np.isfinite(numbers.to_numpy(float)).all(axis=1)
    dropped = [f"{int((~whole).sum())} rows without a share or a loss"] if not whole.all() else []
    table, values = table[whole], numbers[whole].to_numpy(float)
    r, loss = values[:, : len(domains)], values[:, len(domains) :]
    total = r.sum(axis=1)
    wrong = (r < 0).any(axis=1) | (np.abs(total - 1) > ROUNDED)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        said = ", ".join(f"{d} {v:g}" for d, v in zip(domains, r[first], strict=True))
        raise TableError(
            f"shares are from 0 up and sum to 1; {int(wrong.sum())} rows are not so, the first has {said} "
            f"(sum {total[first]:g})"
        )
    if not len(r):
        raise TableError("the table has no run with all shares and losses")
    r = r / total[:, None]
    mixed = None
    if experts is not None:
        own = experts_on(experts, domains)
        unseen = [name for name in sources if name not in own.probabilities]
        if unseen:
            raise TableError(f"the experts have no losses on the validation sources {', '.join(unseen)}")
        mixed = losses_on(own, r, sources)
    elif all(MIXED + name in table for name in sources):
        mixed = table[[MIXED + name for name in sources]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        if not np.isfinite(mixed).all():
            dropped.append("columns of mixed experts: they are empty for some runs")
            mixed = None
    return Mixtures(domains, sources, r, loss, mixed, table, tuple(dropped))
