"""The regimes there are, by the name that a grid has for them."""

from __future__ import annotations

from scaling.errors import ScalingError, nearest
from sweeps.regimes import autoregressive, diffusion, encoder_decoder
from sweeps.regimes.regime import Regime, Settings, own
from sweeps.runs import Run

REGIMES: dict[str, Regime] = {
    one.name: one
    for one in (
        autoregressive.REGIME,
        diffusion.REGIME,
        encoder_decoder.REGIME,
    )
}  # fmt: skip


def regime_of(run: Run) -> Regime:
    """The regime of `run`. ScalingError where there is none of that name."""
    if run.objective not in REGIMES:
        raise ScalingError(f"there is no objective {run.objective!r}; {nearest(run.objective, list(REGIMES))}")
    return REGIMES[run.objective]


def settings_of(run: Run) -> Settings:
    """The settings that the regime of `run` alone reads, defaults filled in: an instance of its `settings`."""
    return own(regime_of(run).settings, run)
