"""Texts that lie beside every Python that runs this package: its documentation, and headers in C.

They make corpora of several kinds of text that no grid has to bring along. Versions of Python and numpy differ in them,
so their digests do.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from scaling.errors import ScalingError, nearest
from sweeps.corpora.settings import DOCS, HEADERS

Patterns = tuple[str, ...]
Walk = Callable[[Path, Iterable[str]], Iterator[Path]]
Matches = Callable[[str, Patterns], bool]
#: Docstrings shorter than this in a whole module are labels, not text.
LEAST_CHARACTERS = 200


def installed(source: str, include: Patterns, walk: Walk, matches: Matches) -> dict[str, bytes]:
    """Contents by path of the texts of this name, those that `include` takes. ScalingError for a name there is not.

    walk, matches  how folders and patterns are read (`sweeps.corpora.files`)
    """
    if source == DOCS:
        return _docs(include, walk, matches)
    if source == HEADERS:
        return _headers(include, walk)
    raise ScalingError(f"there is no text {source!r}; {nearest(source, (DOCS, HEADERS))}")


def _docs(include: Patterns, walk: Walk, matches: Matches) -> dict[str, bytes]:
    """The topics of `help()`, from the language reference, as topics/NAME; docstrings of the standard library, a text a
    module, under the module's path: with equal fractions they fall on the side of the split that its source does."""
    from pydoc_data.topics import topics

    found = {path: text.encode() for name, text in sorted(topics.items()) if matches(path := f"topics/{name}", include)}
    root = Path(sysconfig.get_path("stdlib"))
    for module in walk(root, include or ("*.py",)):
        relative = module.relative_to(root).as_posix()
        if module.suffix == ".py" and relative != "pydoc_data/topics.py":
            text = docstrings(module.read_bytes())
            if len(text) >= LEAST_CHARACTERS:
                found[relative] = text.encode(errors="replace")
    return found


def docstrings(source: bytes) -> str:
    """All docstrings of a module, in the order of its lines; empty where it is no Python of this version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the escapes in old sources
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):  # the standard library has files that are wrong on purpose
            return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = sorted((node for node in ast.walk(tree) if isinstance(node, kinds)), key=lambda n: getattr(n, "lineno", 0))
    said = [ast.get_docstring(node) for node in nodes]
    return "".join(f"{text}\n\n" for text in said if text)


def _headers(include: Patterns, walk: Walk) -> dict[str, bytes]:
    """C headers of the running Python, where it has them, as python/PATH, and of numpy as numpy/PATH."""
    roots = {"python": Path(sysconfig.get_path("include")), "numpy": Path(np.get_include())}
    return {
        f"{name}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for name, root in roots.items()
        if root.is_dir()
        for path in walk(root, include or ("*.h",))
    }
