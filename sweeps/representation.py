"""How spread out hidden states are: matrix entropy and effective rank (Wei et al. 2024, arXiv:2401.17139), nuclear norm
and its bound by norms of columns (Li et al. 2024, arXiv:2410.10672), of all replicas at once.

All but the bound are functions of the singular values of the token matrix, which are the roots of the eigenvalues of
its (width, width) Gram matrix: one product and a small symmetric problem in place of a decomposition of all tokens.
Squaring halves the digits: a singular value is found to the root of the precision, relative to the largest. The Gram
matrix is summed in the number format of the states, in float32 at least, and its eigenvalues are found in float64.

On a CPU it is summed over pieces of tokens that stay in the cache, one triangle alone, which torch has no call for.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas
from threadpoolctl import ThreadpoolController
from torch import Tensor

from sweeps.model import views
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run

#: The numbers found, in the order of the columns of a curve.
NAMES = ("matrix_entropy", "effective_rank", "nuclear_norm", "nuclear_norm_bound")
#: Elements of a piece of tokens: among the fastest of 2**14 to 2**21 at width 1,024 on a Zen 4 core, in both formats.
PIECE = 2**18
#: States shorter than this are not brought to length 1.
LEAST = 1e-12


def spread(states: Tensor) -> dict[str, Tensor]:
    """The four numbers of hidden states (R, tokens, width), each (R,) float64.

    States are centred over tokens and every token is then scaled to length 1, as in the definitions; a token whose
    centred state is 0 stays 0. Entropy is in nats, at most ln min(tokens - 1, width), and the effective rank its exp.
    """
    wide = states if states.dtype == torch.float64 else states.float()
    eigenvalues, squares = (_by_blas if wide.device.type == "cpu" else _by_products)(wide)
    eigenvalues = eigenvalues.clamp(min=0.0)  # rounding leaves some a little below
    share = eigenvalues / eigenvalues.sum(dim=1, keepdim=True)
    entropy = torch.special.entr(share).sum(dim=1)
    rank = min(states.shape[1:])
    norms = squares.sqrt()
    return {
        "matrix_entropy": entropy,
        "effective_rank": entropy.exp(),
        "nuclear_norm": eigenvalues.sqrt().sum(dim=1),
        "nuclear_norm_bound": norms.topk(rank, dim=1).values.sum(dim=1),
    }


def normalised(states: Tensor) -> Tensor:
    """States (..., tokens, width) centred over tokens, every token then of length 1."""
    return torch.nn.functional.normalize(states - states.mean(dim=-2, keepdim=True), dim=-1, eps=LEAST)


def _by_products(states: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (R, width) and diagonal (R, width) of the Gram matrices of normalised states, float64."""
    unit = normalised(states)
    gram = torch.bmm(unit.transpose(1, 2), unit).double()
    sound = gram.isfinite().all(dim=(1, 2))  # eigenvalues of what is not finite are an error for all replicas
    values = torch.linalg.eigvalsh(torch.where(sound[:, None, None], gram, 0.0))
    return torch.where(sound[:, None], values, torch.nan), gram.diagonal(dim1=1, dim2=2)


def _by_blas(states: Tensor) -> tuple[Tensor, Tensor]:
    """The same on a CPU."""
    # on one thread: pieces are small, and threads that wait for each other after every one of them lose more than they
    # gain as soon as a core has other work
    with _libraries().limit(limits=1, user_api="blas"), np.errstate(all="ignore"):
        grams = np.stack([_triangle(one) for one in states.detach()]).astype(np.float64)
        squares = np.diagonal(grams, axis1=1, axis2=2)
        values = np.full(squares.shape, np.nan)
        sound = np.isfinite(squares).all(axis=1)  # a state that is not finite spoils its channel's square
        if sound.any():
            values[sound] = np.linalg.eigvalsh(grams[sound], UPLO="U")
    return torch.from_numpy(values), torch.from_numpy(squares.copy())


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _triangle(states: Tensor) -> NDArray[np.floating]:
    """The Gram matrix (width, width) of one replica's normalised states (tokens, width); nothing below the diagonal."""
    add = blas.dsyrk if states.dtype == torch.float64 else blas.ssyrk
    rows, mean, width = states.numpy(), states.mean(dim=0).numpy(), states.shape[1]
    gram = np.zeros((width, width), dtype=rows.dtype, order="F")
    size = max(1, PIECE // width)
    for start in range(0, len(rows), size):
        piece = rows[start : start + size] - mean
        length = np.sqrt(np.einsum("ij,ij->i", piece, piece))
        piece /= np.maximum(length, LEAST)[:, None]
        gram = add(1.0, piece.T, beta=1.0, c=gram, overwrite_c=True)
    return gram


@torch.no_grad()
def measure(weights: Tensor, inputs: Tensor, run: Run) -> dict[str, Tensor]:
    """The four numbers of the last hidden states of weights (R, P) on inputs (R, B, ...), each (R,)."""
    regime = regime_of(run)
    return spread(regime.states(views(weights, regime.weights(run), run), inputs, run))
