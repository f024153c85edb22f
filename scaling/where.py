"""Row filters as text, such as 'N > 1e7 and group != "held_out"': parsed, checked node by node, never evaluated as
code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import ScalingError, nearest

COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
#: What arithmetic may consist of.
SUMS = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.USub, ast.Name, ast.Load, ast.Constant, *ARITHMETIC)
LONGEST = 1000
ALLOWED = "columns, numbers, quoted text, + - * /, == != < <= > >=, in [..], and, or, not"


def select(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows of `table` for which `expression` holds; raises ScalingError on anything but comparisons of columns.

    Columns whose names are not words are written in backquotes: `val/loss` < 3.
    """
    value = np.asarray(_mask(table, expression))
    if value.ndim == 0 or value.shape == (len(table),):
        mask = np.broadcast_to(value, (len(table),))
    else:
        raise ScalingError(f"--where {expression!r} is not one true or false a row; it may hold {ALLOWED}")
    if mask.dtype != bool:
        raise ScalingError(f"--where {expression!r} gives numbers, not true or false; compare it with something")
    return table[mask]


def calculate(table: pd.DataFrame, expression: str) -> pd.Series:
    """A number for each row by arithmetic of columns and numbers, such as 'step * 524288'; ScalingError on all else.

    Cells of the named columns that are no numbers count as missing.
    """
    tree, names = _parsed(expression, "arithmetic")
    for node in ast.walk(tree):
        if not isinstance(node, SUMS):
            raise ScalingError(f"arithmetic may hold columns, numbers and + - * /; found {expression!r}")
    numbers = table.copy(deep=False)
    for name in named_in(expression):
        if name in numbers:
            numbers[name] = pd.to_numeric(numbers[name], errors="coerce").astype(float)
    try:
        value = _value(tree.body, numbers, names)
    except (TypeError, ArithmeticError) as error:
        raise ScalingError(f"cannot work out {expression!r}: {error}") from None
    if isinstance(value, str | bool):
        raise ScalingError(f"arithmetic gives numbers; {expression!r} does not")
    return pd.Series(value, index=table.index, dtype=float)


def named_in(expression: str) -> list[str]:
    """The columns that arithmetic names."""
    tree, names = _parsed(expression, "arithmetic")
    return [names.get(node.id, node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)]


def _mask(table: pd.DataFrame, expression: str) -> Any:
    tree, names = _parsed(expression, "the row filter")
    try:
        return _value(tree.body, table, names)
    except TypeError as error:
        raise ScalingError(f"the row filter {expression!r} compares text with numbers: {error}") from None
    except ArithmeticError as error:
        raise ScalingError(f"the row filter {expression!r} cannot be worked out: {error}") from None


def _parsed(expression: str, what: str) -> tuple[ast.Expression, dict[str, str]]:
    """The expression as a tree, and the columns that its words stand for."""
    if len(expression) > LONGEST:
        raise ScalingError(f"{what} may have {LONGEST} characters, this one has {len(expression)}")
    text, names = _unquote(expression)
    try:
        return ast.parse(text.strip(), mode="eval"), names
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        allowed = ALLOWED if what == "the row filter" else "columns, numbers and + - * /"
        raise ScalingError(f"cannot read {what} {expression!r}; it may hold {allowed}") from None


def _unquote(expression: str) -> tuple[str, dict[str, str]]:
    """Backquoted column names replaced by plain words, and what each stands for."""
    parts = expression.split("`")
    if len(parts) % 2 == 0:
        raise ScalingError(f"{expression!r} has a backquote without its partner")
    names = {f"_column_{i}": parts[i] for i in range(1, len(parts), 2)}
    return "".join(part if i % 2 == 0 else f"_column_{i}" for i, part in enumerate(parts)), names


def _value(node: ast.expr, table: pd.DataFrame, names: dict[str, str]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return node.value
        case ast.Name(id=name):
            name = names.get(name, name)
            if name not in table.columns:
                raise ScalingError(f"the expression names a column {name!r}; {nearest(name, map(str, table.columns))}")
            return table[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, table, names)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_truth(_value(operand, table, names)))
        case ast.BoolOp(op=op, values=values):
            terms = [_truth(_value(v, table, names)) for v in values]
            return reduce(np.logical_and if isinstance(op, ast.And) else np.logical_or, terms)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            sides = [_value(side, table, names) for side in (left, right)]
            if any(isinstance(side, str | list) for side in sides):
                raise ScalingError(f"a row filter may calculate with numbers and columns; found {ast.unparse(node)!r}")
            return ARITHMETIC[type(op)](*sides)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            terms, before = [], _value(left, table, names)
            for comparison, right in zip(ops, comparators, strict=True):
                after = _value(right, table, names)
                terms.append(_truth(_compare(comparison, before, after)))
                before = after
            return reduce(np.logical_and, terms)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, table, names) for item in items]
    raise ScalingError(f"a row filter may hold {ALLOWED}; found {ast.unparse(node)!r}")


def _compare(op: ast.cmpop, left: Any, right: Any) -> Any:
    if isinstance(op, ast.In | ast.NotIn):
        if not (isinstance(left, pd.Series) and isinstance(right, list)):
            raise ScalingError('`in` needs a column on its left and a list on its right: schedule in ["wsd", "cosine"]')
        found = left.isin(right)
        return ~found if isinstance(op, ast.NotIn) else found
    if type(op) not in COMPARE or isinstance(left, list) or isinstance(right, list):
        raise ScalingError(f"a row filter may hold {ALLOWED}")
    return COMPARE[type(op)](left, right)


def _truth(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype != bool:
        raise ScalingError("and, or and not join comparisons, such as N > 1e7; found a bare number or text")
    return array
