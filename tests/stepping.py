"""A few updates of a stack by hand, to hold ways of carrying them out to each other."""

from __future__ import annotations

import numpy as np
import torch
from torch._dynamo.utils import counters

from sweeps.engine import Engine, Mode, evaluate
from sweeps.feed import Feed
from sweeps.optim import empty_state
from sweeps.runs import Run
from sweeps.starting import initial
from sweeps.tokens import Tokens
from sweeps.train import on_device


def stepped(runs: list[Run], mode: Mode, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Losses and norms of four updates of two runs, and validation losses after them; compiled, without breaks."""
    counters.clear()
    state = empty_state(runs[0], 2, torch.device("cpu"))
    state.weights[:] = torch.stack([initial(run) for run in runs])
    state.alive[:] = True
    corpus, feed = on_device(tokens, runs[0], torch.device("cpu")), Feed(tokens)
    engine = Engine(runs[0], state, corpus.train, mode, 4)
    engine.set_runs(runs)
    draws = np.stack([feed.take(run, 0, 4) for run in runs], axis=1)
    engine.prepare(draws.shape[2:])
    engine.start(np.full((4, 2), 0.01), draws)
    assert not counters["graph_break"]
    return engine.finish(4), evaluate(engine, [0, 1], corpus.validation)[0]
