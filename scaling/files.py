"""Files written whole or not at all: a full disk leaves what was there before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` and move it there when it is whole. OSError names `path`.

    What is no plain file (a pipe, a device) is written to directly.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        write(target)
        return
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        write(partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text whole or not at all."""
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))
