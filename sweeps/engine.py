"""One update of a stack over buffers that never move, so that the same step can be run, compiled or replayed.

Everything a segment of updates needs lies in tensors allocated once: learning rates and draws of all its updates, a
cursor that the step itself advances, a ring of metrics, weights and moments, settings. A step reads its row at the
cursor and writes in place; nothing in it waits for the device. Compiling and capturing are wrappers around that step:

    plain      operation by operation: where compiling would cost more than it saves, as on a CPU
    compiled   loss with gradient, and optimizer, by torch.compile: once a shape and length of the replica axis. What
               changes between segments is in tensors, so nothing is compiled again
    captured   the whole update as one CUDA graph, of what would otherwise be launched kernel by kernel
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scaling.errors import ScalingError
from sweeps import muon
from sweeps.compression import find_formats
from sweeps.model import master_dtype, views
from sweeps.optim import Settings, State, set_knobs, settings, update
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run

#: Updates before a capture, on its stream: libraries set themselves up in the first ones.
WARM_UPS = 3
#: Lengths of the replica axis that one function may be compiled for; torch's own limit of 8 is for slips.
LENGTHS = 32


@dataclass(frozen=True)
class Mode:
    """How updates are carried out. It changes results by rounding alone, so it is no field of a run.

    compile        "auto" compiles and captures on CUDA and does neither on a CPU
    micro_batches  parts an update's batch is worked through in, to save memory
    backend        torch.compile's; tests take one that needs no C++ compiler
    """

    compile: Literal["auto", "on", "off"] = "auto"
    micro_batches: int = 1
    backend: str = "inductor"

    def compiles(self, device: torch.device) -> bool:
        """Whether steps are compiled on `device`."""
        return self.compile == "on" or (self.compile == "auto" and device.type == "cuda")

    def captures(self, device: torch.device) -> bool:
        """Whether steps are captured on `device`."""
        return self.compiles(device) and device.type == "cuda"


#: What is best for the device.
DEFAULT = Mode()


def token_losses(run: Run) -> Callable[[Tensor, Tensor], Tensor]:
    """(weights (R, P), inputs (R, B, ...)) -> loss of every token predicted, (R, B, tokens)."""
    regime, weights = regime_of(run), regime_of(run).weights(run)
    find_formats(run)

    def losses(flat: Tensor, inputs: Tensor) -> Tensor:
        return regime.losses(views(flat, weights, run), inputs, run)

    return losses


def mean_losses(run: Run) -> Callable[[Tensor, Tensor], Tensor]:
    """(weights (R, P), inputs (R, B, ...)) -> mean loss over the tokens of each replica, (R,)."""
    losses = token_losses(run)
    return lambda flat, inputs: losses(flat, inputs).mean(dim=(1, 2))


def gradient(
    loss_of: Callable[[Tensor, Tensor], Tensor], flat: Tensor, inputs: Tensor, parts: int
) -> tuple[Tensor, Tensor]:
    """Losses (R,) and gradients (R, P) of all replicas, the batch in equal `parts` one after another.

    The sum over replicas is what is differentiated: no replica's gradient knows of another.
    """
    total: tuple[Tensor, Tensor] | None = None
    for part in inputs.chunk(parts, dim=1):
        leaf = flat.detach().requires_grad_()  # a new one each time: a leaf remembers the stream it was first used on
        loss = loss_of(leaf, part.contiguous())
        (grad,) = torch.autograd.grad(loss.sum(), [leaf])
        total = (loss.detach(), grad) if total is None else (total[0] + loss.detach(), total[1].add_(grad))
    assert total is not None
    return total if parts == 1 else (total[0] / parts, total[1].div_(parts))


@dataclass(frozen=True)
class Parts:
    """The two functions an update is made of, plain or compiled, and how many micro-batches it takes."""

    loss_of: Callable[[Tensor, Tensor], Tensor]
    change: Callable[[State, Tensor, Tensor, Tensor, Settings], Tensor]
    micro_batches: int = 1


def step(state: State, how: Settings, lr: Tensor, inputs: Tensor, parts: Parts) -> Tensor:
    """One update of every replica, in place; returns losses and norms of gradients, (2, R).

    lr (R,), inputs (R, B, ...). Nothing here waits for the device.
    """
    loss, grad = gradient(parts.loss_of, state.weights, inputs, parts.micro_batches)
    return torch.stack([loss, parts.change(state, grad, loss, lr, how)])


#: The optimizers by the names that runs have for them: run -> its update.
OPTIMIZERS: dict[str, Callable[[Run], Callable[[State, Tensor, Tensor, Tensor, Settings], Tensor]]] = {
    "adamw": lambda run: update,
    "muon": muon.update_of,
}


def plain_parts(run: Run) -> Parts:
    """An update of `run`, operation by operation."""
    return Parts(mean_losses(run), OPTIMIZERS[run.optimizer](run))


class Engine:
    """The step of one stack and the buffers it works on; `state` is updated in place."""

    def __init__(self, run: Run, state: State, text: Tensor, mode: Mode, steps: int) -> None:
        if run.batch % mode.micro_batches:
            raise ScalingError(
                f"micro-batches must divide the batch of {run.batch} sequences into equal parts, got "
                f"{mode.micro_batches}"
            )
        device, replicas = state.weights.device, len(state.count)
        self.run, self.state, self.text, self.mode = run, state, text, mode
        self.compiles, self.keys = mode.compiles(device), list[str]()
        self.how: Settings = settings([run] * replicas, device)
        self.cursor = torch.zeros(1, dtype=torch.int64, device=device)
        self.lr = torch.zeros(steps, replicas, dtype=master_dtype(run), device=device)
        self.draws: Tensor | None = None  # (steps, R, B, ...): allocated by `prepare`
        self.metrics = torch.zeros(steps, 2, replicas, dtype=master_dtype(run), device=device)
        self.back = torch.zeros_like(self.metrics, device="cpu", pin_memory=device.type == "cuda")
        wrapped = partial(compiled, mode=mode) if self.compiles else lambda function: function
        plain = plain_parts(run)
        self.parts = Parts(wrapped(plain.loss_of), wrapped(plain.change), mode.micro_batches)
        self.validation_of = wrapped(token_losses(run))
        self.graph: torch.cuda.CUDAGraph | None = None

    def step(self) -> None:
        """One update of every replica, at the cursor."""
        assert self.draws is not None
        lr, draws = self.lr.index_select(0, self.cursor)[0], self.draws.index_select(0, self.cursor)[0]
        inputs = regime_of(self.run).gather(self.text, draws, self.run)
        metrics = step(self.state, self.how, lr, inputs, self.parts)
        self.metrics.index_copy_(0, self.cursor, metrics[None])
        self.cursor.add_(1)

    def prepare(self, shape: Sequence[int]) -> None:
        """Make room for draws of `shape` (B, ...), compile and capture; needed once, and the state stays as it is.

        Compiling takes a few updates, in which no replica is alive.
        """
        device, (steps, replicas) = self.lr.device, self.lr.shape
        self.draws = torch.zeros(steps, replicas, *shape, dtype=torch.int64, device=device)
        if not self.compiles:
            return
        alive = self.state.alive.clone()
        self.state.alive.zero_()
        with quiet():
            self._wrap(device)
        self.state.alive.copy_(alive)
        _compiled.add(self._length(None))

    def start(self, lr: NDArray[np.float64], draws: NDArray[np.int64]) -> None:
        """Begin the updates with learning rates `lr` (count, R) and `draws` (count, R, B, ...), count <= steps.

        On CUDA this returns when they are queued; the host is then free until `finish`.
        """
        self._load(lr, draws)
        for _ in range(len(lr)):
            if self.graph is None:
                self.step()
            else:
                self.graph.replay()
        if self.lr.device.type == "cuda":
            self.back.copy_(self.metrics, non_blocking=True)
            self.done = torch.cuda.Event()
            self.done.record()

    def finish(self, count: int) -> NDArray[np.float64]:
        """Losses and norms of gradients of the `count` updates begun last, (count, 2, R). Waits for the device."""
        if self.lr.device.type == "cuda":
            self.done.synchronize()
        values = self.back if self.lr.device.type == "cuda" else self.metrics
        return values[:count].numpy().astype(np.float64)  # a copy: the next updates write over the ring

    def has_compiled(self, places: int | None = None) -> bool:
        """Whether nothing is left to compile: for updates, or for `evaluate` at so many places."""
        return not self.compiles or self._length(places) in _compiled

    def _length(self, places: int | None) -> tuple[str, int]:
        return ("update", self.lr.shape[1]) if places is None else ("evaluate", _filled(places))

    def set_runs(self, runs: Sequence[Run]) -> None:
        """Take the optimizer settings of `runs`, one a replica."""
        keys = [run.key for run in runs]
        if keys != self.keys:  # for most segments they are those of the one before
            set_knobs(self.how, runs)
            self.keys = keys

    def _load(self, lr: NDArray[np.float64], draws: NDArray[np.int64]) -> None:
        assert self.draws is not None
        for there, here in ((self.lr, lr), (self.draws, draws)):
            source = torch.from_numpy(np.ascontiguousarray(here)).to(there.dtype)
            if there.device.type == "cuda":
                source = source.pin_memory()  # torch keeps it until the copy is done
            there[: len(source)].copy_(source, non_blocking=True)
        self.cursor.zero_()

    def _wrap(self, device: torch.device) -> None:
        if self.mode.captures(device):
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self.cursor.zero_()
                    self.step()
            torch.cuda.current_stream(device).wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=stream):
                self.step()
        else:
            self.step()


def evaluate(engine: Engine, places: Sequence[int], inputs: Tensor) -> tuple[NDArray, NDArray, NDArray]:
    """Losses of the replicas at `places` on `inputs` (count, ...) and their standard errors over these, (len(places),)
    each, and the losses on each of the inputs, (len(places), count)."""
    parts, count = [part.mean(dim=2) for part in _losses(engine, places, inputs)], len(inputs)
    means = torch.cat(parts, dim=1)[: len(places), :count].double().cpu().numpy()
    spread = means.std(axis=1, ddof=1) / math.sqrt(count) if count > 1 else np.full(len(places), math.nan)
    return means.mean(axis=1), spread, means


def evaluate_tokens(engine: Engine, place: int, inputs: Tensor) -> NDArray[np.float32]:
    """Loss of the replica at `place` on every token predicted of `inputs` (count, ...): (count, tokens)."""
    parts = [part[0].float().cpu() for part in _losses(engine, [place], inputs)]
    return np.asarray(torch.cat(parts)[: len(inputs)].numpy())


def _losses(engine: Engine, places: Sequence[int], inputs: Tensor) -> Iterator[Tensor]:
    """Losses of the replicas at `places`, and maybe more, batch by batch of `inputs`: (places, batch, tokens) each.

    Where steps are compiled, places and inputs are filled up to few sizes, so that nothing is compiled again.
    """
    chosen, size = list(places), engine.run.batch
    if engine.compiles:
        chosen += chosen[:1] * (_filled(len(chosen)) - len(chosen))
        _compiled.add(("evaluate", len(chosen)))
        inputs = torch.cat([inputs, inputs[:1].expand(-len(inputs) % size, *inputs.shape[1:])])
    flat = engine.state.weights[chosen]
    for part in inputs.split(size):
        with torch.no_grad(), quiet():
            losses = engine.validation_of(flat, part.expand(len(chosen), *part.shape))
        yield losses


def _filled(places: int) -> int:
    """The next power of four: few sizes to compile for, and validation is a small part of the work."""
    return 4 ** math.ceil(math.log2(places) / 2)


#: What this process has compiled for, all of one shape: functions and lengths of the replica axis.
_compiled: set[tuple[str, int]] = set()
_shape: tuple[Any, ...] | None = None


def forget_other_shapes(run: Run) -> None:
    """Drop what was compiled in this process for runs of another shape than that of `run`."""
    global _shape
    if _shape is not None and _shape != run.shape:
        torch.compiler.reset()
        _compiled.clear()
    _shape = run.shape


def compiled(function: Callable[..., Any], mode: Mode) -> Callable[..., Any]:
    """`function` compiled for the shapes it is called with, as one graph."""
    import torch._dynamo.config

    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, LENGTHS)
    return torch.compile(function, fullgraph=True, dynamic=False, backend=mode.backend)


@contextmanager
def quiet() -> Iterator[None]:
    """Within, no warnings: torch's compiler warns of its own imports, and of float32 being what was asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
