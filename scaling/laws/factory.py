"""Laws whose inputs or parameters are counted off, one a domain or one a format: a signature for their equation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def with_signature(
    equation: Callable[..., Any], name: str, shown: str, inputs: Sequence[str], params: Mapping[str, Any]
) -> Callable[..., Any]:
    """A function for `scaling.law.law`: inputs by position or name, parameters by name, annotated.

    equation  called as equation(inputs, params): a list of values in the order of `inputs`, and a dict of values
    shown     the equation in words, its docstring

    ValueError where an input, as a domain called c, has the name of a parameter.
    """
    both = sorted(set(inputs) & set(params))
    if both:
        raise ValueError(f"{', '.join(both)} is the name of a parameter of {name} too: give the input another one")

    def function(*values: Any, **named: Any) -> Any:
        given = dict(zip(inputs, values, strict=False)) | named
        return equation([given[i] for i in inputs], {p: given[p] for p in params})

    kinds = inspect.Parameter
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [kinds(i, kinds.POSITIONAL_OR_KEYWORD) for i in inputs]
        + [kinds(p, kinds.KEYWORD_ONLY, annotation=a) for p, a in params.items()]
    )
    function.__annotations__ = dict(params)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = shown
    return function


def checked_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """At least two different names that can stand in a signature; raises ValueError."""
    found = tuple(names)
    if len(found) < 2 or len(set(found)) < len(found) or not all(n.isidentifier() for n in found):
        raise ValueError(f"{what} must be two or more different names of letters, digits and _, got {found}")
    return found
