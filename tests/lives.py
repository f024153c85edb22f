"""Processes for tests that start and kill many: forked from one that has imported torch and done nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["sweeps.pool", "tests.stacks"])


class Life:
    """`function(*arguments)` in a process group of its own; `result` is what it returned."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._pipe, there = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_live, args=(there, function, arguments))
        self.process.start()
        there.close()
        assert self.process.pid is not None
        self.pid = self.process.pid
        assert self._pipe.poll(60) and self._pipe.recv() == "begun"

    def send(self, number: int) -> None:
        """Send a signal to the process and all that it has started."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.join()
        self._pipe.close()

    def result(self, seconds: float = 120.0) -> Any:
        """AssertionError if there is none: the process was killed, failed or takes too long."""
        try:
            assert self._pipe.poll(seconds), "no result in time"
            return self._pipe.recv()
        except EOFError:
            raise AssertionError("the process ended without a result") from None
        finally:
            self._pipe.close()
            self.process.join(10)


def _live(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # progress
    pipe.send("begun")
    pipe.send(function(*arguments))
