"""Muon for R replicas at once: momentum, orthogonalised, for the matrices inside of blocks; AdamW for all else.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/): a matrix moves along the orthogonal matrix nearest to
its Nesterov momentum, found by five Newton-Schulz steps. Queries, keys and values are orthogonalised apart, as there.
All matrices of equal shape, of all blocks and all replicas, go through one batch of products.

Learning rate. Liu et al. 2025 (arXiv:2502.16982, section 2.2) multiply the orthogonal matrix by 0.2 sqrt(max(A, B)),
A x B its shape: the root mean square of an update is then about AdamW's, and one learning rate and one weight decay
serve both. Orthogonal matrices of width m times that of the base have entries smaller by sqrt(m), so that rule alone,
with muP's 1 / m, would shrink the spectral norm of an update as m^-1/2. It should stay (Yang et al. 2023,
arXiv:2310.17813), so here the rule holds at the base width: the factor is 0.2 sqrt(max(A, B) / m), and at base width
exactly theirs. Decay is theirs too: learning rate times weight, without that factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from sweeps.model import DTYPES, Weight
from sweeps.optim import Settings, State, adamw, admit
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run

#: Coefficients and number of the Newton-Schulz steps (Jordan 2024): they bring singular values near 1, not to it.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
#: Added to the norm that a matrix is divided by (Jordan 2024).
NORM_EPS = 1e-7
#: Root mean square of AdamW's updates in units of the learning rate (Liu 2025, section 2.2).
ADAMW_RMS = 0.2


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the orthogonal factor of each of `matrices` (n, a, b): singular vectors stay, values go to about 1."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + NORM_EPS)
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = a * x + torch.bmm(b * gram + c * torch.bmm(gram, gram), x)
    return x.mT if tall else x


def moves(rows: Tensor, weights: Sequence[Weight], run: Run) -> Tensor:
    """What each of `weights`, whose momenta lie side by side in `rows` (R, n), moves along at learning rate 1, (R, n).

    The factors of parameter groups are left to the caller, 1 / m among them: this is sqrt(m) times 0.2 sqrt(max(A, B))
    times the orthogonal matrix.
    """
    groups = regime_of(run).groups(run)
    parts = [
        matrix
        for weight, row in zip(weights, rows.split([w.size for w in weights], dim=1), strict=True)
        for matrix in row.view(len(rows), *weight.shape).chunk(groups[weight.group].matrices, dim=2)
    ]
    shapes: dict[tuple[int, int], list[int]] = {}
    for i, part in enumerate(parts):
        shapes.setdefault((min(part.shape[1:]), max(part.shape[1:])), []).append(i)
    found: dict[int, Tensor] = {}
    for (short, long), places in shapes.items():
        wide = [parts[i] if parts[i].shape[1] == short else parts[i].mT for i in places]
        batch = torch.stack(wide, dim=1).view(-1, short, long).to(DTYPES[run.dtype])
        scale = ADAMW_RMS * math.sqrt(long * run.width / run.base_width)
        done = orthogonal(batch).to(rows.dtype).mul(scale).view(len(rows), len(places), short, long)
        for i, matrix in zip(places, done.unbind(1), strict=True):
            found[i] = matrix if parts[i].shape[1] == short else matrix.mT
    numbers = iter(range(len(parts)))
    joined = [
        torch.cat([found[next(numbers)] for _ in range(groups[weight.group].matrices)], dim=2) for weight in weights
    ]
    return torch.cat([matrix.flatten(1) for matrix in joined], dim=1)


def update_of(run: Run) -> Callable[[State, Tensor, Tensor, Tensor, Settings], Tensor]:
    """The update of `sweeps.optim.update` by Muon, for replicas shaped as `run`.

    The momentum of a matrix is its row in `State.first`; in `State.second` it has none.
    """
    groups = regime_of(run).groups(run)
    stretches = [
        (hidden, list(weights))
        for hidden, weights in groupby(
            regime_of(run).weights(run), key=lambda weight: groups[weight.group].matrices > 0
        )
    ]

    @torch.no_grad()
    def update(state: State, grad: Tensor, loss: Tensor, lr: Tensor, how: Settings) -> Tensor:
        norm, grad, rate = admit(state, grad, loss, lr, how)
        for hidden, weights in stretches:
            columns = slice(weights[0].start, weights[-1].start + weights[-1].size)
            if not hidden:
                adamw(state, grad, rate, how, columns)
                continue
            slow, here = state.first[:, columns], state.weights[:, columns]
            slow.lerp_(grad[:, columns], torch.where(state.alive, 1 - how.momentum, 0.0)[:, None])
            move = moves(torch.lerp(grad[:, columns], slow, how.momentum[:, None]), weights, run)
            here.addcmul_(here * how.decays[columns], (rate * how.weight_decay)[:, None], value=-1)
            here.addcmul_(move * how.lr_factor[columns], rate[:, None], value=-1)
        return norm

    return update
