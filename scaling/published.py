"""Published coefficients by name: a law as a paper fitted it, to decide with before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest
from scaling.law import Law
from scaling.laws import LAWS


@dataclass(frozen=True, eq=False)
class Published:
    """A law and one of its published sets."""

    law: Law
    name: str

    @property
    def params(self) -> NDArray[np.float64]:
        """The coefficients in the order of the law's names, (1, p)."""
        values = self.law.published[self.name]
        return np.array([[values[name] for name in self.law.names]])

    def __str__(self) -> str:
        values = ", ".join(f"{k} = {v:.6g}" for k, v in self.law.published[self.name].items())
        return f"{self.law.name} with {self.name}: {values} ({self.law.cite})"


def find_published(text: str) -> Published:
    """The set of that name, as "besiroglu2024" or "chinchilla:besiroglu2024", of a law that weighs sizes.

    The law is said where two have a set of that name. Raises ScalingError with the nearest known name.
    """
    known = sets_that_weigh_sizes()
    found = [one for one in known if text in (one.name, f"{one.law.name}:{one.name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ScalingError(
            f"several laws have a set {text!r}: say {' or '.join(f'{f.law.name}:{f.name}' for f in found)}"
        )
    names = [name for one in known for name in (one.name, f"{one.law.name}:{one.name}")]
    raise ScalingError(f"no published set of a law of N and D is called {text!r}; {nearest(text, names)}")


def sets_that_weigh_sizes() -> list[Published]:
    """Every published set from which a budget's best size follows."""
    reads = [law for law in LAWS.values() if law.weighs_sizes or law.inputs == ("N", "D", "U")]
    return [Published(law, name) for law in reads for name in law.published]
