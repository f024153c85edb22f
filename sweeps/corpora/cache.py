"""What is worked out from a corpus once and kept between commands: hashes of large files, tokenizers, tokens.

It lies in the folder $SWEEPS_CACHE, or scaling-sweeps in the user's cache. All of it can be removed at any time, and
where nothing can be written, everything is worked out anew.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from scaling.errors import ScalingError


def cache_folder() -> Path:
    """Where things are kept."""
    own = os.environ.get("SWEEPS_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scaling-sweeps"


def keep(name: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file of the cache whole, beside its place and renamed, so that two processes do not meet in it."""
    path = cache_folder() / name
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                write(file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def needed(module: str, what: str) -> Any:
    """A library of the extra `data`. ScalingError that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ScalingError(
            f"{what} needs {module}, which is not installed: pip install 'scaling-sweeps[data]'"
        ) from None
