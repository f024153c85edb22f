"""The plain loop that benchmarks/engine.py measures against: nanoGPT's design, one model as an nn.Module.

Its architecture is that of sweeps/model.py, so that both do the same work.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweeps.model import NORM_EPS, rotation
from sweeps.runs import Run


class Block(nn.Module):
    def __init__(self, run: Run) -> None:
        super().__init__()
        w, hidden = run.width, round(run.mlp_ratio * run.width)
        self.head_dim = run.head_dim
        self.norm_attention, self.norm_mlp = (nn.RMSNorm(w, eps=NORM_EPS) for _ in range(2))
        self.norm_q, self.norm_k = (nn.RMSNorm(run.head_dim, eps=NORM_EPS) for _ in range(2))
        self.attention_in, self.attention_out = nn.Linear(w, 3 * w, bias=False), nn.Linear(w, w, bias=False)
        self.mlp_in, self.mlp_out = nn.Linear(w, hidden, bias=False), nn.Linear(hidden, w, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.attention_in(self.norm_attention(x)).view(batch, length, 3, -1, self.head_dim).unbind(2)
        q, k = self.norm_q(q.float()), self.norm_k(k.float())
        q, k = (t * cos + t.roll(self.head_dim // 2, -1) * sin for t in (q, k))
        q, k, v = (t.to(v.dtype).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        h = F.relu(self.mlp_in(self.norm_mlp(x)))
        return x + self.mlp_out(h * h)


class Plain(nn.Module):
    """The model of sweeps/model.py for one run, and its loss."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(run.vocab, run.width), nn.Linear(run.width, run.vocab, bias=False)
        self.blocks = nn.ModuleList(Block(run) for _ in range(run.depth))
        self.norm = nn.RMSNorm(run.width, eps=NORM_EPS)
        cos, sin = rotation(run.context, run.head_dim, torch.float32, torch.device("cpu"))
        self.register_buffer("cos", cos.view(run.context, 1, run.head_dim))
        self.register_buffer("sin", sin.view(run.context, 1, run.head_dim))

    def forward(self, sequences: Tensor) -> Tensor:
        x = self.embedding(sequences[:, :-1])
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), sequences[:, 1:].flatten())


def plain_step(run: Run, text: Tensor, compile_mode: str | None) -> Callable[[], Tensor]:
    """One update of the plain loop; compile_mode None does not compile."""
    device = text.device
    cuda = device.type == "cuda"
    torch.manual_seed(0)
    model = Plain(run).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = model if compile_mode is None else torch.compile(model, mode=compile_mode)
    window = torch.arange(run.context + 1, device=device)

    def step() -> Tensor:
        if cuda and compile_mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        starts = torch.randint(len(text) - run.context - 1, (run.batch, 1), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=run.dtype == "bfloat16"):
            loss = forward(text[starts + window].long())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step
