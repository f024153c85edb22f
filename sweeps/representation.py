"""How spread out hidden states are: matrix entropy and effective rank (Wei et al. 2024, arXiv:2401.17139), nuclear norm
and its bound by norms of columns (Li et al. 2024, arXiv:2410.10672), of all replicas at once.

All but the bound are functions of the singular values of the token matrix, which are the roots of the eigenvalues of
its (width, width) Gram matrix: one product and a small symmetric problem in place of a decomposition of all tokens.
Squaring halves the digits: a singular value is found to the root of the precision, relative to the largest. The Gram
matrix is summed in the number format of the states, and its eigenvalues are found in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sweeps.model import views
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run

#: The numbers found, in the order of the columns of a curve.
NAMES = ("matrix_entropy", "effective_rank", "nuclear_norm", "nuclear_norm_bound")


def spread(states: Tensor) -> dict[str, Tensor]:
    """The four numbers of hidden states (R, tokens, width), each (R,) float64.

    States are centred over tokens and every token is then scaled to length 1, as in the definitions; a token whose
    centred state is 0 stays 0. Entropy is in nats, at most ln min(tokens - 1, width), and the effective rank its exp.
    """
    unit = normalised(states)
    gram = torch.bmm(unit.transpose(1, 2), unit).double()
    eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0.0)  # rounding leaves some a little below
    share = eigenvalues / eigenvalues.sum(dim=1, keepdim=True)
    entropy = torch.special.entr(share).sum(dim=1)
    rank = min(states.shape[1:])
    norms = gram.diagonal(dim1=1, dim2=2).sqrt()
    return {
        "matrix_entropy": entropy,
        "effective_rank": entropy.exp(),
        "nuclear_norm": eigenvalues.sqrt().sum(dim=1),
        "nuclear_norm_bound": norms.topk(rank, dim=1).values.sum(dim=1),
    }


def normalised(states: Tensor) -> Tensor:
    """States (R, tokens, width) centred over tokens, every token then of length 1; in float32 at least."""
    wide = states if states.dtype == torch.float64 else states.float()
    return torch.nn.functional.normalize(wide - wide.mean(dim=1, keepdim=True), dim=2)


@torch.no_grad()
def measure(weights: Tensor, inputs: Tensor, run: Run) -> dict[str, Tensor]:
    """The four numbers of the last hidden states of weights (R, P) on inputs (R, B, ...), each (R,)."""
    regime = regime_of(run)
    return spread(regime.states(views(weights, regime.weights(run), run), inputs, run))
