"""Weights and activations inside of blocks as their formats store them, for R replicas at once.

Embedding, gains, head and what attention mixes stay as they are, as in QuEST (Panferov 2025, arXiv:2502.05003). Every
vector that a product sums over has a scale of its own, so no replica, token or micro-batch knows of another.

Levels suit normal numbers. Weights nearly are; activations are not, least of all squares of a ReLU, all of which int1
would store as one number. So where activations are stored, both sides of a product are first turned by one orthogonal
matrix, which leaves the product as it is and makes sums of many numbers of each: the Hadamard transform of QuEST.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from sweeps.formats.format import stored
from sweeps.formats.listed import NONE, format_of
from sweeps.runs import Run


def find_formats(run: Run) -> None:
    """Find the best scales of the run's formats, once: the search is not to be traced into a compiled step."""
    for name in (run.weight_format, run.activation_format):
        format_of(name)


def weight_stored(weight: Tensor, run: Run) -> Tensor:
    """A matrix inside of blocks (R, in, out) as it is multiplied by: turned where activations are, then stored."""
    if run.weight_format == NONE and run.activation_format == NONE:
        return weight
    columns = weight.mT
    if run.activation_format != NONE:
        columns = turned(columns)
    form = format_of(run.weight_format)
    return (columns if form is None else stored(columns, form)).mT


def activation_stored(x: Tensor, run: Run) -> Tensor:
    """What such a matrix multiplies, x (R, n, in), turned and stored, where the run has a format for activations."""
    form = format_of(run.activation_format)
    return x if form is None else stored(turned(x), form)


def turned(x: Tensor) -> Tensor:
    """Vectors x (..., n), each turned by blocks of a Hadamard matrix of the largest power of two that divides n."""
    size = x.shape[-1] & -x.shape[-1]
    return (x.unflatten(-1, (-1, size)) @ hadamard(size, x.dtype, x.device)).flatten(-2)


def hadamard(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthogonal Hadamard matrix of a power of two, (size, size), symmetric (Sylvester's)."""
    # torch's compiler takes one constant a function, so a traced step makes the matrix anew: a few small operations
    return _made(size, dtype, device) if torch.compiler.is_compiling() else _kept(size, dtype, device)


def _made(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = torch.full((1, 1), size**-0.5, dtype=dtype, device=device)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


_kept = lru_cache(maxsize=64)(_made)
