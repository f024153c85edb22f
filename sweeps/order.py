"""Which windows of a corpus a run reads, and when: training order, mixtures, caps on unique tokens, validation.

An epoch of a source goes once through all its windows of `context` tokens, in an order and from a shift of its own. A
run on a mixture draws the source of every sequence, and each source has epochs of its own. All of it is a pure function
of the seed and the number of the update, so a cursor is one integer. Numbers are drawn from the raw stream of a bit
generator, which numpy promises never to change (NEP 19), unlike the methods of a Generator.

A run capped to U unique tokens reads U / context windows, cut at multiples of `context` and spread over the text by one
shuffle that no seed changes: the windows of a smaller cap are among those of a larger one. Their borders stay the same
in every epoch. With a mixture every source gives its share of the windows, so that all sources repeat equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from sweeps.runs import Run
from sweeps.tokens import Part, Tokens

Offsets = NDArray[np.int64]
#: Words that part the seeds of these streams from those of the epochs: the choice of sources, the windows of a cap,
#: what else is drawn for a sequence.
MIXTURE = 0x6D697874
UNIQUE = 0x756E6971
WORDS = 0x776F7264
#: Sequences whose sources are counted at once, to know how many of a source came before a step.
COUNTED = 2**16


def segment_offsets(tokens: Tokens, run: Run, first_step: int, count: int) -> Offsets:
    """Where the sequences of the updates first_step, first_step + 1, ... start in `tokens.train`: (count, batch).

    Each sequence is context + 1 tokens, the last only a target. Within an epoch of a source no window repeats; a batch
    may lie across the border of two epochs.
    """
    first, wanted = first_step * run.batch, count * run.batch
    if not run.mixture:
        return _windows(tokens.parts[0], run, 0, first, wanted).reshape(count, run.batch)
    weights = tuple(weight for _, weight in run.mixture)
    chosen = _sources(weights, run.seed, first, wanted)
    before = _drawn(weights, run.seed, first)
    out = np.empty(wanted, np.int64)
    for i, (name, _) in enumerate(run.mixture):
        places = np.flatnonzero(chosen == i)
        number = _number(tokens, name)
        out[places] = _windows(tokens.parts[number], run, number, int(before[i]), len(places))
    return out.reshape(count, run.batch)


def sequence_words(run: Run, first_step: int, count: int) -> NDArray[np.int64]:
    """A random word for every sequence of `segment_offsets`, (count, batch): the seed of what else it draws."""
    words = _raw([run.seed, 0, WORDS], first_step * run.batch, count * run.batch)
    return words.view(np.int64).reshape(count, run.batch)


def fixed_words(count: int) -> NDArray[np.uint64]:
    """Random words (count,) that are the same for all runs."""
    return _raw([0, 0, WORDS], 0, count)


def sources_of(tokens: Tokens, run: Run, first_step: int, count: int) -> NDArray[np.int64]:
    """The source of every sequence of `segment_offsets`, as an index into `tokens.parts`: (count, batch)."""
    starts = np.array([part.start for part in tokens.parts])
    return np.searchsorted(starts, segment_offsets(tokens, run, first_step, count), side="right") - 1


def unique_per_source(tokens: Tokens, run: Run) -> dict[str, int]:
    """Training tokens of every source that `run` can see: all of them, or its share of the cap."""
    names = [name for name, _ in run.mixture] or [tokens.parts[0].name]
    if run.unique_tokens is None:
        return {name: tokens.parts[_number(tokens, name)].tokens for name in names}
    return {name: _share(run, name) * run.context for name in names}


def epochs_per_source(tokens: Tokens, run: Run) -> dict[str, float]:
    """How often `run` goes through what it can see of every source, by its weights."""
    weights = dict(run.mixture) or {tokens.parts[0].name: 1.0}
    return {name: weights[name] * run.tokens / unique for name, unique in unique_per_source(tokens, run).items()}


def validation_sequences(tokens: Tokens, context: int, count: int) -> NDArray[np.integer]:
    """The fixed validation set, shape (count, context + 1): spread evenly over the validation text, no overlap.

    Every source has the same number of sequences, up to one, in the order of the sources (`validation_sources`).
    """
    _check_validation(tokens, context, count)
    starts = []
    for part, own in zip(tokens.parts, _validation_counts(tokens, count), strict=True):
        free = part.validation_tokens - (context + 1)
        starts.append(part.validation_start + np.arange(own) * free // max(own - 1, 1))
    return tokens.validation[np.concatenate(starts)[:, None] + np.arange(context + 1)]


def validation_sources(tokens: Tokens, count: int) -> NDArray[np.int64]:
    """The source of every validation sequence, as an index into `tokens.parts`: (count,)."""
    return np.repeat(np.arange(len(tokens.parts)), _validation_counts(tokens, count))


def sources_of_validation(tokens: Tokens, count: int) -> dict[str, NDArray[np.int64]]:
    """Name of a source -> places of its sequences in the validation set; empty for a corpus of one source."""
    return places_of_sources([part.name for part in tokens.parts if part.name], count)


def places_of_sources(names: Sequence[str], count: int) -> dict[str, NDArray[np.int64]]:
    """The same, of a corpus whose named sources these are in their order."""
    borders = _borders(len(names), count)
    return {name: np.arange(borders[i], borders[i + 1]) for i, name in enumerate(names)}


def check_run(tokens: Tokens, run: Run) -> None:
    """ScalingError where the corpus does not hold what `run` asks for: sequences, sources, tokens, vocabulary."""
    if run.vocab < tokens.vocab:
        raise ScalingError(
            f"vocab must be at least {tokens.vocab}, the number of tokens that the corpus {tokens.source!r} knows; "
            f"got {run.vocab}"
        )
    if not run.mixture and len(tokens.parts) > 1:
        raise ScalingError(
            f"the corpus {tokens.source!r} has {len(tokens.parts)} sources, and the run {run.key} no mixture of them"
        )
    for name in [name for name, _ in run.mixture] or [tokens.parts[0].name]:
        part = tokens.parts[_number(tokens, name)]
        have, what = part.tokens, _place(tokens, part)
        if have < 2 * run.context:
            raise ScalingError(
                f"the training text of {what} has {have} tokens, but two sequences of context = {run.context} need "
                f"{2 * run.context}: give more text, or lower context"
            )
        if run.unique_tokens is not None:
            share, there = _share(run, name), _all_windows(part, run.context)
            if share < 1:
                raise ScalingError(
                    f"unique_tokens = {run.unique_tokens} leaves {what} no window of context = {run.context}: raise "
                    f"it, or give the source more weight"
                )
            if share > there:
                raise ScalingError(
                    f"unique_tokens = {run.unique_tokens} asks for {share * run.context} tokens of {what}, whose "
                    f"training text has {there * run.context} in whole windows of context = {run.context}: lower it, "
                    f"or give more text"
                )
    _check_validation(tokens, run.context, run.val_sequences)


def _check_validation(tokens: Tokens, context: int, count: int) -> None:
    if count < len(tokens.parts):
        raise ScalingError(
            f"val_sequences = {count} gives no sequence to some of the {len(tokens.parts)} sources of the corpus "
            f"{tokens.source!r}: raise it"
        )
    for part, own in zip(tokens.parts, _validation_counts(tokens, count), strict=True):
        if part.validation_tokens < own * context + 1:
            raise ScalingError(
                f"the validation text of {_place(tokens, part)} has {part.validation_tokens} tokens, but "
                f"val_sequences = {own} sequences of context = {context} that do not overlap need "
                f"{own * context + 1}: give more text, or lower val_sequences or context"
            )


def _place(tokens: Tokens, part: Part) -> str:
    return f"the source {part.name!r}" if part.name else f"the corpus {tokens.source!r}"


def _validation_counts(tokens: Tokens, count: int) -> NDArray[np.int64]:
    """Validation sequences of each source: equal, up to one."""
    return np.diff(_borders(len(tokens.parts), count))


def _borders(sources: int, count: int) -> NDArray[np.int64]:
    """Where the validation sequences of each source begin, and the last ends: (sources + 1,)."""
    return np.arange(sources + 1) * count // max(sources, 1)


def _number(tokens: Tokens, name: str) -> int:
    names = [part.name for part in tokens.parts]
    if name not in names:
        raise ScalingError(f"the corpus {tokens.source!r} has no source {name!r}; it has {', '.join(names)}")
    return names.index(name)


def _windows(part: Part, run: Run, number: int, first: int, wanted: int) -> Offsets:
    """Starts of the windows `first`, `first` + 1, ... that are read of one source, over its epochs: (wanted,)."""
    context = run.context
    subset: NDArray[np.int64] | None = None
    if run.unique_tokens is None:
        windows = (part.tokens - context) // context  # as many as there are from the largest shift, in every epoch
    else:
        windows = _share(run, part.name)
        subset = _subset(_all_windows(part, context), windows)
    if windows < 1:
        raise ScalingError(f"a training text of {part.tokens} tokens holds no two sequences of context = {context}")
    out = np.empty(wanted, np.int64)
    epoch, inside = divmod(first, windows)
    done = 0
    while done < wanted:
        shift, order = _epoch(windows, context, run.seed, epoch, number)
        chosen = order[inside : inside + wanted - done].astype(np.int64)
        if subset is not None:
            shift, chosen = 0, subset[chosen]
        out[done : done + len(chosen)] = part.start + shift + context * chosen
        done += len(chosen)
        epoch, inside = epoch + 1, 0
    return out


@lru_cache(maxsize=256)  # one entry a seed in training; a quarter of a million windows are 1 MB
def _epoch(windows: int, context: int, seed: int, epoch: int, number: int) -> tuple[int, NDArray[np.int32]]:
    """Shift in tokens and order of the windows of one epoch of the source `number`."""
    raw = _raw([seed, epoch, number] if number else [seed, epoch], 0, windows + 1)
    return int(raw[0] % context), np.argsort(raw[1:], kind="stable").astype(np.int32)


@lru_cache(maxsize=16)
def _subset(there: int, wanted: int) -> NDArray[np.int64]:
    """Which of the windows there are belong to a cap of `wanted` windows: the first of one fixed shuffle."""
    return np.argsort(_raw([0, 0, UNIQUE], 0, there), kind="stable")[:wanted]


def _all_windows(part: Part, context: int) -> int:
    """Windows cut at multiples of `context`, each with the target of its last token."""
    return max(0, (part.tokens - 1) // context)


def _share(run: Run, name: str) -> int:
    """Windows of a capped run that the source `name` gives: by weight, and in sum exactly the cap."""
    assert run.unique_tokens is not None
    windows = run.unique_tokens // run.context
    if not run.mixture:
        return windows
    borders = np.round(np.cumsum([weight for _, weight in run.mixture]) * windows).astype(int)
    return int(np.diff(borders, prepend=0)[[source for source, _ in run.mixture].index(name)])


def _sources(weights: tuple[float, ...], seed: int, first: int, count: int) -> NDArray[np.int64]:
    """Which source each of the sequences `first`, `first` + 1, ... comes from: (count,)."""
    uniform = (_raw([seed, 0, MIXTURE], first, count) >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(np.cumsum(weights)[:-1], uniform, side="right")


def _drawn(weights: tuple[float, ...], seed: int, first: int) -> NDArray[np.int64]:
    """How many of the first `first` sequences come from each source: (sources,)."""
    block, rest = divmod(first, COUNTED)
    before = _blocks(weights, seed, 1 << block.bit_length())[block]
    return before + np.bincount(_sources(weights, seed, first - rest, rest), minlength=len(weights))


@lru_cache(maxsize=256)
def _blocks(weights: tuple[float, ...], seed: int, blocks: int) -> NDArray[np.int64]:
    """Sequences of each source before each block of COUNTED sequences: (blocks, sources)."""
    counts = [
        np.bincount(_sources(weights, seed, i * COUNTED, COUNTED), minlength=len(weights)) for i in range(blocks - 1)
    ]
    return np.cumsum([np.zeros(len(weights), np.int64), *counts], axis=0)


def _raw(seed: list[int], first: int, count: int) -> NDArray[np.uint64]:
    """Numbers `first`, `first` + 1, ... of a raw stream."""
    stream = np.random.PCG64(np.random.SeedSequence(seed))
    return stream.advance(first).random_raw(count) if first else stream.random_raw(count)
