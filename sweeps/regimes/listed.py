"""The regimes there are, by the name that a grid has for them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from scaling.errors import ScalingError, nearest
from sweeps.regimes import autoregressive
from sweeps.regimes.regime import Regime, Settings
from sweeps.runs import Run

REGIMES: dict[str, Regime] = {
    one.name: one
    for one in (
        autoregressive.REGIME,
    )
}  # fmt: skip


def regime_of(run: Run) -> Regime:
    """The regime of `run`. ScalingError where there is none of that name."""
    if run.objective not in REGIMES:
        raise ScalingError(f"there is no objective {run.objective!r}; {nearest(run.objective, list(REGIMES))}")
    return REGIMES[run.objective]


def settings_of(run: Run) -> Any:
    """The settings that the regime of `run` alone reads, defaults filled in: an instance of its `settings`."""
    return _filled(run.objective, run.options)


@lru_cache(maxsize=1024)
def _filled(objective: str, options: tuple[tuple[str, Any], ...]) -> Settings:
    return REGIMES[objective].settings(**dict(options))
