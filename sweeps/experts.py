"""Experts of a sweep, its runs on one source alone that kept the losses of validation tokens, and what they give mixed.

Experts whose settings are those of a run, seed and mixture apart, are that run's; where a folder has experts of one
kind only, they are everyone's on the same validation tokens.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.errors import ScalingError
from scaling.experts import LOSS_OF, Experts, mixed_losses
from sweeps.order import places_of_sources
from sweeps.records import read_final, read_token_losses

Record = Mapping[str, Any]
#: Fields of a run in which it may differ from its experts.
APART = ("mixture", "seed", "group", "token_losses")
#: Fields that decide which tokens are validated, in which order, and how they are predicted.
TOKENS = ("corpus", "context", "val_sequences", "objective", "options")


@dataclass(frozen=True, eq=False)
class Kind:
    """Experts of equal settings: the name of the source of each and its losses, (sequences, tokens)."""

    losses: Mapping[str, NDArray[np.float32]]
    places: Mapping[str, NDArray[np.int64]]  # validation source -> its sequences
    tokens: str

    @property
    def mixed(self) -> Experts:
        """These experts as their mixture reads them."""
        each = np.stack([losses.astype(float) for losses in self.losses.values()], axis=-1)
        p = np.exp(-each)
        return Experts(
            tuple(self.losses), {name: p[places].reshape(-1, p.shape[-1]) for name, places in self.places.items()}
        )


def find_experts(
    out: str | os.PathLike[str], records: Mapping[str, Record], texts: Mapping[str, Any]
) -> dict[str, Kind]:
    """The experts among the finished runs of a folder, by their settings; of several seeds the lowest.

    records, texts  run.json by key, and the manifest of each corpus by its digest
    """
    found: dict[str, dict[str, tuple[int, str]]] = defaultdict(dict)
    for key, record in records.items():
        run = record["run"]
        final = read_final(out, key) if run.get("token_losses") and len(run.get("mixture", ())) == 1 else None
        if final is not None and final["status"] == "finished":
            ((source, _),) = run["mixture"]
            kind, this = found[_settings(run)], (run["seed"], key)
            kind[source] = min(kind.get(source, this), this)
    kinds = {}
    for settings, keys in found.items():
        run = records[next(iter(keys.values()))[1]]["run"]
        names = [part["name"] for part in texts.get(run["corpus"], {}).get("sources", ())]
        losses = {
            name: values for name in names if name in keys
            if (values := read_token_losses(out, keys[name][1])) is not None
        }  # fmt: skip
        if losses:
            kinds[settings] = Kind(losses, places_of_sources(names, run["val_sequences"]), _tokens(run))
    return kinds


def losses_of_mixtures(records: Mapping[str, Record], kinds: Mapping[str, Kind]) -> dict[str, dict[str, float]]:
    """Run -> validation source -> loss in nats/token of the experts mixed in the run's shares; runs on a source without
    an expert are left out."""
    asked: dict[str, list[str]] = defaultdict(list)
    for key, record in records.items():
        settings = _settings(record["run"])
        if settings not in kinds and len(kinds) == 1:
            (settings,) = kinds
        if settings in kinds and kinds[settings].tokens == _tokens(record["run"]):
            mixture = dict(record["run"].get("mixture", ()))
            if mixture and mixture.keys() <= kinds[settings].losses.keys():
                asked[settings].append(key)
    out: dict[str, dict[str, float]] = {}
    for settings, keys in asked.items():
        kind = kinds[settings]
        shares = [[dict(records[key]["run"]["mixture"]).get(name, 0.0) for name in kind.losses] for key in keys]
        mixed = mixed_losses(kind.mixed, shares)
        out |= {key: {source: float(values[i]) for source, values in mixed.items()} for i, key in enumerate(keys)}
    return out


def experts_table(kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """One row a validation token: its source, and the loss of every expert on it. ScalingError unless the experts are
    of one kind."""
    if len(kinds) != 1:
        raise ScalingError(
            f"a table of experts is of runs on one source alone that have token_losses = true, are finished, and "
            f"differ in their source alone; there are {len(kinds)} kinds of them"
        )
    (kind,) = kinds.values()
    parts = []
    for source, places in kind.places.items():
        columns = {LOSS_OF + name: losses[places].reshape(-1) for name, losses in kind.losses.items()}
        parts.append(pd.DataFrame({"source": source, **columns}))
    return pd.concat(parts, ignore_index=True)


def _settings(run: Record) -> str:
    return json.dumps({name: value for name, value in run.items() if name not in APART}, sort_keys=True)


def _tokens(run: Record) -> str:
    return json.dumps([run.get(name) for name in TOKENS])
