"""Numbers of the papers through our own functions; the numbers are in tests/paper_checks/, one JSON a family."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.laws import LAWS

FOLDER = Path(__file__).parent / "paper_checks"
KINDS = ("published", "authors", "computed", "identity")
KEYS = {"name", "call", "set", "args", "pick", "over", "minus", "expected", "rtol", "kind", "source"}
CHECKS = [
    check | {"file": path.stem} for path in sorted(FOLDER.glob("*.json")) for check in json.loads(path.read_text())
]
EVERY = pytest.mark.parametrize("check", CHECKS, ids=[f"{c['file']}-{c['call']}-{c['name']}" for c in CHECKS])


def called(check: dict[str, Any], replaced: dict[str, Any] | None = None) -> Any:
    """What our function returns for a check's arguments, before anything is picked from it."""
    module, _, name = check["call"].rpartition(":")
    law, _, published = check.get("set", "").rpartition(":")
    named = dict(LAWS[law or name].published[published]) if published else {}
    named |= check.get("args", {}) | (replaced or {})
    named = {k: np.array(v) if isinstance(v, list) else v for k, v in named.items()}
    if module:
        return getattr(import_module(module), name)(**named)
    inputs = [named.pop(x) for x in LAWS[name].inputs]
    return LAWS[name](*inputs, **named)


def picked(value: Any, which: Any) -> Any:
    for step in which if isinstance(which, list) else [which]:
        value = value[step] if isinstance(step, int) or isinstance(value, dict) else getattr(value, step)
    return value


def found_by(check: dict[str, Any]) -> float:
    pick = check.get("pick", [])
    value = float(picked(called(check), pick))
    if "over" in check:
        value /= float(picked(called(check, check["over"]), pick))
    return value - check.get("minus", 0.0)


def digits(found: float, expected: float) -> float:
    """Decimal digits that agree, at most 16."""
    off = abs(found - expected) / abs(expected)
    return 16.0 if off < 1e-16 else -math.log10(off)


@EVERY
def test_our_functions_give_the_number(check: dict[str, Any]) -> None:
    found = found_by(check)
    agree = digits(found, check["expected"])
    print(
        f"{agree:5.1f} digits  {check['call']}: {check['name']}: {found:.9g}, {check['kind']} {check['expected']:.9g}"
    )
    assert found == pytest.approx(check["expected"], rel=check["rtol"])


@EVERY
def test_a_check_says_where_its_number_is_from(check: dict[str, Any]) -> None:
    assert set(check) - {"file"} <= KEYS
    assert check["kind"] in KINDS and check["source"] and check["name"] and check["rtol"] < 0.2


def test_a_wrong_number_would_be_seen() -> None:
    check = CHECKS[0] | {"expected": CHECKS[0]["expected"] * (1 + 3 * CHECKS[0]["rtol"])}
    assert found_by(check) != pytest.approx(check["expected"], rel=check["rtol"])
