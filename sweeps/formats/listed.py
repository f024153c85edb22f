"""The formats there are, and their names as a grid has them: none, one format, or zeros and levels as in 2:4+int4."""

from __future__ import annotations

from collections.abc import Iterable

from scaling.errors import ScalingError, nearest
from sweeps.formats import levels, sparse, uniform
from sweeps.formats.format import Family, Format, Grid, Zeros, made

NONE = "none"
FAMILIES: tuple[Family, ...] = (
    uniform.FAMILY,
    levels.FAMILY,
    sparse.FAMILY,
)  # fmt: skip
NAMES = tuple(name for family in FAMILIES for name in family.names)


#: Formats that were asked for: a plain dictionary, which compiled steps can be traced through.
_found: dict[str, Format] = {}


def format_of(name: str) -> Format | None:
    """The format of a name; None for "none". ScalingError where there is none of that name.

    Zeros come first: their survivors are rounded, at the scale that is best for what survives.
    """
    if name == NONE:
        return None
    if name not in _found:
        _found[name] = _read(name)
    return _found[name]


def _read(name: str) -> Format:
    parts = [_part(part, name) for part in name.split("+")]
    kinds = [type(part) for part in parts]
    if kinds not in ([Zeros], [Grid], [Zeros, Grid]):
        raise ScalingError(
            f"{name} must be one format, or zeros and then levels, as in 2:4+int4 or top50+ternary; it has "
            f"{' and then '.join('zeros' if kind is Zeros else 'levels' for kind in kinds)}"
        )
    zeros = next((part for part in parts if isinstance(part, Zeros)), None)
    grid = next((part for part in parts if isinstance(part, Grid)), None)
    return made(name, zeros, grid)


def gmse_of(name: str) -> float:
    """Mean squared error with which a format of this name stores a standard normal variable; 0 for "none"."""
    form = format_of(name)
    return 0.0 if form is None else form.gmse


def check(weights: str, activations: str, lengths: Iterable[int]) -> None:
    """ScalingError where vectors of these lengths cannot be stored in the two formats."""
    for field, name in (("weight_format", weights), ("activation_format", activations)):
        try:
            form = format_of(name)
            if form is None or form.zeros is None:
                continue
            if field == "activation_format":
                raise ScalingError(
                    "activations are turned before they are stored, so zeros would mean nothing in them; use intB, "
                    "fp4 or ternary, and zeros for weights"
                )
            for length in sorted(set(lengths)):
                form.zeros.check(length)
        except ScalingError as error:
            raise ScalingError(f"{field} = {name!r}: {error}") from None


def _part(part: str, name: str) -> Zeros | Grid:
    for family in FAMILIES:
        match = family.pattern.fullmatch(part)
        if match:
            return family.part(match)
    within = f" in {name!r}" if part != name else ""
    raise ScalingError(
        f"there is no format {part!r}{within}; {nearest(part, [*NAMES, *([NONE] if part == name else [])])}"
    )
