"""Data experts, models trained on one source each, mixed token by token: their loss, and the table it comes from.

The mixture of experts of Belenki 2025 (arXiv:2502.15950): its loss at any shares costs no training, and says much of
the loss of one model trained on sources in those shares.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.errors import TableError

Array = NDArray[np.float64]
#: Begins the columns of the table of experts, one an expert: its loss on every validation token.
LOSS_OF = "loss_of_"
#: Shares are worked through in blocks of so many probabilities: some tens of megabytes.
BLOCK = 4_000_000


def expert_mixture_loss(probabilities: Any, shares: Any) -> Any:
    """Loss in nats/token of experts mixed token by token: -mean ln sum_i share_i p_i (Belenki 2025, arXiv:2502.15950).

    probabilities (T, k): what each of k experts, one trained on each domain, gives the token that came; shares (k,).
    It is the probabilities that are averaged, not their logarithms.
    """
    return -np.mean(np.log(np.asarray(probabilities) @ np.asarray(shares)))


@dataclass(frozen=True, eq=False)
class Experts:
    """names: the k sources that experts were trained on; by validation source what they give its tokens, (T, k)."""

    names: tuple[str, ...]
    probabilities: Mapping[str, Array]


def mixed_losses(experts: Experts, shares: Any) -> dict[str, Array]:
    """Loss of the mixed experts on each validation source, (n,) in nats/token, at `shares` (n, k)."""
    shares = np.asarray(shares, float)
    out = {}
    for source, p in experts.probabilities.items():
        step = max(1, BLOCK // max(len(p), 1))
        parts = [-np.log(shares[i : i + step] @ p.T).mean(axis=1) for i in range(0, len(shares), step)]
        out[source] = np.concatenate(parts) if parts else np.zeros(0)
    return out


def losses_on(experts: Experts, shares: Any, sources: Sequence[str]) -> Array:
    """The same as one array (n, m), in the order of the m validation sources."""
    found = mixed_losses(experts, shares)
    return np.stack([found[source] for source in sources], axis=1)


def experts_on(experts: Experts, domains: Sequence[str]) -> Experts:
    """The experts on these domains, in their order. TableError where one is missing."""
    missing = sorted(set(domains) - set(experts.names))
    if missing:
        raise TableError(
            f"there are experts on {', '.join(experts.names)} and none on {', '.join(missing)}: train them too"
        )
    places = [experts.names.index(name) for name in domains]
    return Experts(tuple(domains), {name: p[:, places] for name, p in experts.probabilities.items()})


def read_experts(path: str | os.PathLike[str]) -> Experts:
    """A table of experts as `sweeps collect` writes it: a row a validation token, its `source`, and the loss of each
    expert on it in columns loss_of_NAME. TableError where it is none, or losses are missing."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(f"cannot read the table of experts {path}: {error}") from error
    names = tuple(name.removeprefix(LOSS_OF) for name in map(str, table.columns) if name.startswith(LOSS_OF))
    if "source" not in table or not names:
        raise TableError(
            f"a table of experts has a column source and columns {LOSS_OF}NAME; {path} has "
            f"{', '.join(map(str, table.columns[:8]))}: give the experts.csv of `sweeps collect -o`"
        )
    losses = table[[LOSS_OF + name for name in names]].to_numpy()
    if not np.issubdtype(losses.dtype, np.number) or not np.isfinite(losses).all() or (losses < 0).any():
        raise TableError(f"{path}: losses of tokens are numbers from 0 up, and some are missing or negative")
    sources = table["source"].to_numpy()
    return Experts(names, {str(name): np.exp(-losses[sources == name]) for name in dict.fromkeys(sources.tolist())})
