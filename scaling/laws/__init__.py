"""Every law by its name, written out by hand: one file a paper."""

from __future__ import annotations

from scaling.errors import ScalingError, nearest
from scaling.law import CUSTOM, Law
from scaling.laws.henighan2020 import power
from scaling.laws.hoffmann2022 import chinchilla
from scaling.laws.joined import skaling
from scaling.laws.kaplan2020 import kaplan
from scaling.laws.li2025 import fsl
from scaling.laws.luo2025 import mpl, mpl_rises, mpl_tied
from scaling.laws.noise import ncl, ncl_sizes
from scaling.laws.tissue2024 import area_power, tissue, tissue_sizes

#: In the order in which they are listed.
FAMILIES = (
    "language models", "repeated data", "compressed formats", "encoder-decoder", "mixtures", "experts",
    "hyper-parameters", "transfer", "vocabulary", "distillation", "downstream", "representation",
    "learning-rate annealing", "theory", CUSTOM,
)  # fmt: skip
LAWS: dict[str, Law] = {law.name: law for law in (
    chinchilla, kaplan, power, skaling, ncl, ncl_sizes, tissue, tissue_sizes, mpl, mpl_rises, mpl_tied, fsl, area_power,
)}  # fmt: skip


def find_law(law: str | Law) -> Law:
    """The law of that name; a Law passes through. Raises ScalingError with the nearest known name."""
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        raise ScalingError(f"no law is called {law!r}; {nearest(law, LAWS)}")
    return LAWS[law]
