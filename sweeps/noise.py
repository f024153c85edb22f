"""Random numbers on the device that are a pure function of seeds: what an update draws does not depend on what came
before, on company, or on the device. The mixing is splitmix64 (Steele 2014, doi:10.1145/2660193.2660195)."""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def uniform(seeds: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1), float64, (*seeds.shape, count): the first `count` of the stream of each of `seeds`, int64."""
    z = seeds.unsqueeze(-1) + _signed(GOLDEN) * torch.arange(1, count + 1, device=seeds.device)  # products wrap around
    z = (z ^ _shifted(z, 30)) * _signed(MULTIPLIERS[0])
    z = (z ^ _shifted(z, 27)) * _signed(MULTIPLIERS[1])
    return _shifted(z ^ _shifted(z, 31), 11).double() * 2.0**-53


def _signed(word: int) -> int:
    """The 64-bit word as torch's integers have it."""
    return word - 2**64 if word >= 2**63 else word


def _shifted(z: Tensor, bits: int) -> Tensor:
    """z shifted right by `bits`, zeros coming in: torch's own shift repeats the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
