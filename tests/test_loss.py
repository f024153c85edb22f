"""The chunked loss is the plain one, in value and gradient, in every number format, compiled too, and holds less."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sweeps import loss, model, starting
from sweeps.loss import (
    MOST_CHUNKS,
    WHOLE_BYTES,
    chunk_length,
    chunked_cross_entropy,
    fits_whole,
    whole_cross_entropy,
)
from tests.stacks import a_run

R, N, WIDTH, VOCAB = 3, 37, 6, 50


def inputs(dtype: torch.dtype, hidden: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, heads, targets, and weights of the losses that a reduction would give them."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(R, N, WIDTH, generator=draw, dtype=torch.float64).to(hidden or dtype)
    head = torch.randn(R, WIDTH, VOCAB, generator=draw, dtype=torch.float64).to(dtype)
    targets = torch.randint(VOCAB, (R, N), generator=draw)
    upstream = torch.randn(R, N, generator=draw, dtype=torch.float64)
    return x.requires_grad_(), head.requires_grad_(), targets, upstream


def both(function: Any, x: Tensor, head: Tensor, targets: Tensor, upstream: Tensor, *chunk: int) -> list[Tensor]:
    """Losses and the gradients of their weighted sum."""
    losses = function(x, head, targets, *chunk)
    return [losses.detach(), *torch.autograd.grad((losses * upstream.to(losses.dtype)).sum(), (x, head))]


@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 100])
@pytest.mark.parametrize("reduction", ["weighted", "mean", "one replica"])
def test_losses_and_gradients_are_those_of_the_plain_loss(chunk, reduction):
    x, head, targets, upstream = inputs(torch.float64)
    if reduction == "mean":
        upstream = torch.full_like(upstream, 1 / N)
    elif reduction == "one replica":
        upstream = upstream * torch.tensor([0.0, 1.0, 0.0]).view(3, 1)
    plain = both(whole_cross_entropy, x, head, targets, upstream)
    chunked = both(chunked_cross_entropy, x, head, targets, upstream, chunk)
    for one, other in zip(plain, chunked, strict=True):
        assert one.dtype == other.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    x, head, targets, _ = inputs(torch.float64)
    x, targets = x[:, :4].detach().requires_grad_(), targets[:, :4]
    assert torch.autograd.gradcheck(lambda x, head: chunked_cross_entropy(x, head, targets, 3), (x, head))


@pytest.mark.parametrize(("dtype", "hidden"), [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
def test_in_few_bits_the_error_is_that_of_the_plain_loss(dtype, hidden):
    x, head, targets, upstream = inputs(dtype, hidden)
    exact = both(whole_cross_entropy, *(t.detach().to(dtype).double().requires_grad_() for t in (x, head)),
                 targets, upstream)  # fmt: skip
    plain = both(whole_cross_entropy, x, head, targets, upstream)
    chunked = both(chunked_cross_entropy, x, head, targets, upstream, 5)
    for truth, one, other in zip(exact, plain, chunked, strict=True):
        assert one.dtype == other.dtype
        errors = [float((got.double() - truth).abs().max()) for got in (one, other)]
        # as large as the plain loss's, up to how roundings fall; one unit in the last place where that has none
        assert errors[1] <= 2 * errors[0] + torch.finfo(other.dtype).eps * float(truth.abs().max())


# torch's own tracing makes an instance of every autograd function that it meets, and warns of it
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_compiles_into_one_graph(dtype):
    x, head, targets, upstream = inputs(dtype)
    eager = both(chunked_cross_entropy, x, head, targets, upstream, 10)
    torch._dynamo.reset()
    compiled = torch.compile(chunked_cross_entropy, backend="aot_eager", fullgraph=True, dynamic=False)
    for one, other in zip(eager, both(compiled, x, head, targets, upstream, 10), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor):
                self.elements = max(self.elements, made.numel())
        return out


def test_no_more_logits_are_made_than_those_of_a_chunk():
    def largest(function: Any, *chunk: int) -> int:
        with Largest() as seen:
            both(function, *inputs(torch.float32), *chunk)
        return seen.elements

    assert largest(whole_cross_entropy) == R * N * VOCAB
    assert largest(chunked_cross_entropy, 7) == R * 7 * VOCAB


def test_logits_are_held_whole_where_they_are_few_and_chunks_are_not_many():
    for device in ("cpu", "cuda"):
        assert fits_whole(8, 2048, 256, torch.float32, device)
        most = WHOLE_BYTES[device] // 4  # losses of bfloat16 are in float32
        assert fits_whole(1, most, 1, torch.bfloat16, device)
        assert not fits_whole(1, most + 1, 1, torch.bfloat16, device)
        for shape, vocab in (((1, 16384, 64), 131072), ((16, 8192, 1024), 50304), ((64, 4096, 64), 131072)):
            chunk = chunk_length(shape, vocab, torch.bfloat16, device)
            assert shape[2] <= chunk <= shape[1] / 4
            assert -(-shape[1] // chunk) <= MOST_CHUNKS
        assert chunk_length((1, 200, 3), 2**30, torch.float32, device) == 7  # a thirty-second
        assert chunk_length((1, 7, 3), 2, torch.float32, device) == 7


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_model_learns_the_same_from_chunks(dtype, device, monkeypatch):
    run = a_run(dtype=dtype, vocab=40)
    flat = torch.stack([starting.initial(run.model_copy(update={"seed": seed})) for seed in range(2)])
    sequences = torch.randint(40, (2, 3, run.context + 1), generator=torch.Generator().manual_seed(0))
    flat, sequences = flat.to(device), sequences.to(device)

    def learn() -> list[Tensor]:
        weights = starting.leaves(flat, run)
        losses = model.losses(weights, sequences, run)
        assert losses.shape == (2, 3, run.context)
        return [losses.detach(), *torch.autograd.grad(losses.mean(), list(weights.values()))]

    whole = learn()
    monkeypatch.setitem(loss.WHOLE_BYTES, device, 0)
    monkeypatch.setitem(loss.CHUNK_BYTES, device, 10_000)
    assert chunk_length((2, 48, run.width), 40, model.DTYPES[dtype], device) in (16, 32)
    assert not fits_whole(2, 48, 40, model.DTYPES[dtype], device)
    tolerance = 1e-12 if dtype == "float64" else 2e-2  # a few roundings of eight bits
    for one, other in zip(whole, learn(), strict=True):
        scale = float(one.abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


def test_losses_without_gradients_are_chunked_too():
    x, head, targets, _ = inputs(torch.float32)
    with torch.no_grad(), Largest() as seen:
        losses = chunked_cross_entropy(x, head, targets, 7)
    assert seen.elements == R * 7 * VOCAB
    torch.testing.assert_close(losses, whole_cross_entropy(x, head, targets).detach())


def test_the_gradient_of_the_head_does_not_stall_over_many_chunks():
    # 1,024 equal tokens add 1,024 equal gradients; summed in bfloat16 they would stop at 256 of them
    x, head, targets, _ = inputs(torch.bfloat16)
    one = both(whole_cross_entropy, x[:, :1], head, targets[:, :1], torch.ones(R, 1))[2]
    many = x[:, :1].detach().expand(-1, 1024, -1).contiguous().requires_grad_(), head, targets[:, :1].expand(-1, 1024)
    summed = both(chunked_cross_entropy, *many, torch.ones(R, 1024), 1)[2]
    torch.testing.assert_close(summed.float(), 1024 * one.float(), rtol=1e-2, atol=1e-2)  # two roundings of 8 bits
