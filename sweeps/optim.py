"""AdamW for R replicas at once: state is flat, (R, P), and every hyper-parameter has one value a replica.

Adam with bias correction (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) and decoupled weight decay (Loshchilov &
Hutter 2019, arXiv:1711.05101). Two choices differ between implementations, so here is ours:

- Decay multiplies a weight by 1 - lr * weight_decay with the replica's learning rate, without the factor of width of
  its parameter group: decay then does not fade with width as the muP factor 1 / m would make it.
- Epsilon is added to the square root of the bias-corrected second moment. It scales with depth alone, where a rule of
  depth is asked for (`sweeps/parametrization.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeps.model import master_dtype
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run

#: Fields of a run that each replica has to itself in the optimizer, by the names of `Settings`.
KNOBS = ("beta1", "beta2", "eps", "weight_decay", "clip", "momentum")


@dataclass(frozen=True)
class State:
    """What training changes, in place. A replica that is not alive stays as it is, whatever its gradient."""

    weights: Tensor  # (R, P)
    first: Tensor  # (R, P) running mean of the gradient
    second: Tensor  # (R, P) running mean of its square
    count: Tensor  # (R,) updates so far, as a float
    alive: Tensor  # (R,) bool: False once a loss or gradient was not finite, and for empty slots


@dataclass(frozen=True)
class Settings:
    """Optimizer settings of every replica, each (R,), and the rule of every parameter, each (P,)."""

    beta1: Tensor
    beta2: Tensor
    eps: Tensor
    weight_decay: Tensor
    clip: Tensor
    momentum: Tensor
    lr_factor: Tensor
    decays: Tensor
    eps_factor: Tensor


def empty_state(run: Run, replicas: int, device: torch.device) -> State:
    """Zeros for `replicas` replicas shaped as `run`, none alive."""
    last, dtype = regime_of(run).weights(run)[-1], master_dtype(run)
    size = last.start + last.size
    weights, first, second = torch.zeros(3, replicas, size, dtype=dtype, device=device)
    return State(
        weights,
        first,
        second,
        count=torch.zeros(replicas, dtype=dtype, device=device),
        alive=torch.zeros(replicas, dtype=torch.bool, device=device),
    )


def settings(runs: Sequence[Run], device: torch.device) -> Settings:
    """Settings of the replicas that train `runs` (all of one shape), in order."""
    dtype = master_dtype(runs[0])
    regime = regime_of(runs[0])
    rules, weights = regime.groups(runs[0]), regime.weights(runs[0])
    sizes = torch.tensor([weight.size for weight in weights])
    factor, decays, eps_factor = (
        torch.tensor([float(getattr(rules[weight.group], name)) for weight in weights], dtype=torch.float64)
        .repeat_interleave(sizes)
        .to(device, dtype)
        for name in ("lr_factor", "decays", "eps_factor")
    )
    knobs = {name: torch.zeros(len(runs), dtype=dtype, device=device) for name in KNOBS}
    how = Settings(**knobs, lr_factor=factor, decays=decays, eps_factor=eps_factor)
    set_knobs(how, runs)
    return how


def set_knobs(how: Settings, runs: Sequence[Run]) -> None:
    """Write the settings of other runs of the same shape into `how`, in place."""
    for name in KNOBS:
        tensor = getattr(how, name)
        tensor.copy_(torch.tensor([getattr(run, name) for run in runs], dtype=tensor.dtype))


@torch.no_grad()
def update(state: State, grad: Tensor, loss: Tensor, lr: Tensor, how: Settings) -> Tensor:
    """One AdamW update of all replicas, in place; returns the gradients' norms before clipping, (R,).

    grad is (R, P), loss and lr are (R,). A replica with a loss or gradient that is not finite ends here: its weights
    and moments stay as they are, and no operation mixes it with its neighbours.
    """
    norm, grad, rate = admit(state, grad, loss, lr, how)
    adamw(state, grad, rate, how, slice(None))
    return norm


def admit(state: State, grad: Tensor, loss: Tensor, lr: Tensor, how: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Clip every replica, and count those that go on; norms before (R,), clipped gradients (R, P), rates (R,).

    Gradient and rate of a replica that does not go on are 0.
    """
    norm = torch.linalg.vector_norm(grad, dim=1)
    state.alive.logical_and_(torch.isfinite(loss) & torch.isfinite(norm))
    alive = state.alive
    state.count.add_(alive)
    scale = torch.where(alive, (how.clip / norm).clamp(max=1.0), 0.0)
    rate = torch.where(alive, lr, 0.0)
    grad = torch.where(alive[:, None], grad, 0.0).mul_(scale[:, None])  # a weight of 0 alone would keep NaN
    return norm, grad, rate


def adamw(state: State, grad: Tensor, rate: Tensor, how: Settings, columns: slice) -> None:
    """Move some columns of the flat rows by AdamW; grad (R, P) and rate (R,) are those of `admit`, grad is used up."""
    weights, first, second = (rows[:, columns] for rows in (state.weights, state.first, state.second))
    grad, alive = grad[:, columns], state.alive
    first.lerp_(grad, torch.where(alive, 1 - how.beta1, 0.0)[:, None])
    second.lerp_(grad.square_(), torch.where(alive, 1 - how.beta2, 0.0)[:, None])
    count = state.count.clamp(min=1)
    first_correction, second_correction = 1 - how.beta1**count, 1 - how.beta2**count
    step = (second / second_correction[:, None]).sqrt_()
    step.addcmul_(how.eps_factor[columns], how.eps[:, None])
    torch.div(first, step, out=step).mul_((rate / first_correction)[:, None])
    weights.addcmul_(weights * how.decays[columns], (rate * how.weight_decay)[:, None], value=-1)
    weights.addcmul_(step, how.lr_factor[columns], value=-1)
