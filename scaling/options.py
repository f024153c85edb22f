"""Values of command-line options: names, pairs and lists, as text to Python."""

from __future__ import annotations

import argparse


def names(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not (key.strip() and sign and value.strip()) for key, sign, value in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, separated by commas; got {text!r}")
    keys = [key.strip() for key, _, _ in pairs]
    repeated = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if repeated:
        raise argparse.ArgumentTypeError(f"{', '.join(repeated)} is given twice in {text!r}; name each once")
    return {key.strip(): value.strip() for key, _, value in pairs}


def numbers(text: str) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in names(text).items()}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, separated by commas; got {text!r}") from None


def floats(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas; got {text!r}") from None
