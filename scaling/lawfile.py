"""Laws of a user's own file, for the command line. Reading such a file executes it: it is a program, not data."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaling.errors import ScalingError
from scaling.law import Law
from scaling.laws import LAWS


def laws_of_file(path: str) -> list[Law]:
    """Run the Python file and return the laws that it declares, in order.

    Raises ScalingError when there is no such file, when it fails, and when it declares no law or one whose name is
    taken.
    """
    if not Path(path).is_file():
        raise ScalingError(f"there is no file {path}; --law-file takes a Python file that declares laws")
    spec = importlib.util.spec_from_file_location("scaling_law_file", path)
    if spec is None or spec.loader is None:
        raise ScalingError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations are resolved through it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ScalingError(f"{path}, line {error.lineno}: {error.msg}") from None
    except Exception as error:  # whatever the user's code raises
        raise ScalingError(f"{path} failed: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[spec.name]
    known = set(map(id, LAWS.values()))
    found = list({id(v): v for v in vars(module).values() if isinstance(v, Law) and id(v) not in known}.values())
    if not found:
        raise ScalingError(f"{path} declares no law; put @scaling.law(cite=...) above a function of columns")
    taken = [law.name for law in found if law.name in LAWS]
    if taken:
        raise ScalingError(f"{path} declares {', '.join(taken)}, a name that is taken; choose another")
    return found


@contextmanager
def own_laws(path: str | None) -> Iterator[list[Law]]:
    """The laws of the file, known by name everywhere while the block runs; none without a path."""
    found = laws_of_file(path) if path else []
    LAWS.update({law.name: law for law in found})
    try:
        yield found
    finally:
        for law in found:
            LAWS.pop(law.name, None)


def blamed(error: BaseException, path: str | None) -> str | None:
    """What went wrong and where, when the error comes out of the user's law file; None when it does not."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if path and Path(frame.filename).resolve() == Path(path).resolve()]
    return f"{path}, line {mine[-1].lineno}: {type(error).__name__}: {error}" if mine else None
