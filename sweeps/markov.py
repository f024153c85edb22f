"""Text whose entropy is known exactly: a stationary Markov chain over a few letters, as a corpus.

The next letter depends on the last one alone, so that a model that sees one letter can reach the entropy rate at every
position of its context: no loss below it is possible on fresh text, and the excess is what the model has not learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest

Array = NDArray[np.float64]
NAME = "markov"
LETTERS = bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123)) + b"+-"
CHAINS = 64  # files: independent stretches, each begun from the stationary distribution
DOMAIN = 0x6D61726B  # parts the seeds of this source from those of batches and weights


@dataclass(frozen=True)
class Markov:
    """symbols   letters, 2 to 64; the chance of each after each is a uniform number to a power, rows then scaled to 1
    concentration  one over that power: small ones make rows of few likely letters, and the entropy low
    tokens    length of the text, training and validation together; seed of the matrix and of the text
    """

    symbols: int = 64
    concentration: float = 0.1
    tokens: int = 2_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.symbols <= len(LETTERS):
            raise ScalingError(f"a Markov source has 2 to {len(LETTERS)} symbols, got {self.symbols}")
        if not 0.01 <= self.concentration <= 100:
            raise ScalingError(f"the concentration must lie between 0.01 and 100, got {self.concentration:g}")
        if self.tokens < 100 * CHAINS or self.seed < 0:
            raise ScalingError(f"a Markov source needs at least {100 * CHAINS} tokens and a seed from 0 up, got {self}")

    @cached_property
    def transitions(self) -> Array:
        """Probability (symbols, symbols) of the next letter in each row."""
        uniform = _uniform([DOMAIN, self.seed, 0], self.symbols**2).reshape(self.symbols, self.symbols)
        rows = uniform ** (1 / self.concentration) + 1e-9
        return np.asarray(rows / rows.sum(axis=1, keepdims=True))

    @cached_property
    def stationary(self) -> Array:
        """Long-run share (symbols,) of each letter."""
        left = np.vstack([self.transitions.T - np.eye(self.symbols), np.ones(self.symbols)])
        share = np.linalg.lstsq(left, np.append(np.zeros(self.symbols), 1.0), rcond=None)[0]
        return np.asarray(np.maximum(share, 0) / np.maximum(share, 0).sum())

    @property
    def entropy(self) -> float:
        """Entropy rate in nats a token: the least loss on text of any length."""
        p = self.transitions
        return float(-np.sum(self.stationary[:, None] * p * np.log(p)))

    @property
    def letter_entropy(self) -> float:
        """Entropy in nats of letters taken one by one: the loss of a model that knows their shares and nothing else."""
        p = self.stationary[self.stationary > 0]
        return float(-np.sum(p * np.log(p)))

    def cross_entropy(self, text: NDArray[np.uint8]) -> float:
        """Mean loss in nats a token of the true source on a text's own steps; about `entropy`, with its chance."""
        place = np.zeros(256, int)
        place[list(LETTERS[: self.symbols])] = np.arange(self.symbols)
        states = place[text]
        return float(-np.mean(np.log(self.transitions[states[..., :-1], states[..., 1:]])))

    def files(self) -> dict[str, bytes]:
        """The text as independent stretches of equal length, by name; a pure function of the fields."""
        length = self.tokens // CHAINS
        uniform = _uniform([DOMAIN, self.seed, 1], length * CHAINS).reshape(length, CHAINS)
        steps, start = np.cumsum(self.transitions, axis=1), np.cumsum(self.stationary)
        states = np.empty((length, CHAINS), np.int64)
        last = self.symbols - 1
        states[0] = np.minimum(np.searchsorted(start, uniform[0], side="right"), last)
        for i in range(1, length):
            states[i] = np.minimum((steps[states[i - 1]] <= uniform[i][:, None]).sum(axis=1), last)
        letters = np.frombuffer(LETTERS, np.uint8)[states]
        return {f"{i:02}.txt": letters[:, i].tobytes() for i in range(CHAINS)}


def _uniform(seed: list[int], count: int) -> Array:
    """Numbers in [0, 1) from the raw stream, which numpy promises never to change (NEP 19)."""
    raw = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.asarray((raw >> np.uint64(11)).astype(float) * 2.0**-53)


def parse_markov(source: str) -> Markov | None:
    """The source that a corpus's name asks for, "markov" or "markov:symbols=32,tokens=1e6"; None for any other."""
    name, _, rest = source.partition(":")
    if name != NAME:
        return None
    kinds = {field.name: (float if field.name == "concentration" else int) for field in fields(Markov)}
    given: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        key, sign, value = (word.strip() for word in part.partition("="))
        if key not in kinds:
            raise ScalingError(f"the corpus {source!r}: unknown setting {key!r}; {nearest(key, kinds)}")
        try:
            number = float(value)
        except ValueError:
            number = np.nan
        if not sign or not np.isfinite(number) or (kinds[key] is int and number != int(number)):
            raise ScalingError(f"the corpus {source!r}: {key} must be a number as in {key}=64, got {value!r}")
        given[key] = kinds[key](number)
    return Markov(**given)  # type: ignore[arg-type]
