"""What others call our columns, and in which units they count: recognised, converted and said, or refused with choices.

A name is compared without its case, and with every sign that is no letter or digit as one underscore: `val/loss`,
`Val Loss` and `val_loss` are one. A unit may stand behind a name in brackets: `tokens (B)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scaling.errors import TableError, nearest

Tiers = Mapping[str, tuple[tuple[str, ...], ...]]
#: Our column, and the names that others give to it. Earlier groups are preferred; names within one mean the same, so a
#: table that has two of them with different values is ambiguous.
RUN_NAMES: Tiers = {
    "N": (
        ("params", "parameters", "n_params", "num_params", "n_parameters", "num_parameters", "model_size",
         "model_params", "model_parameters", "parameter_count", "num_model_params"),
        ("params_no_emb", "non_embedding_params", "num_params_non_embedding", "n_params_non_embedding"),
    ),
    "D": (
        ("tokens", "n_tokens", "num_tokens", "training_tokens", "train_tokens", "tokens_seen", "total_tokens",
         "num_tokens_seen", "tokens_trained", "consumed_tokens", "num_input_tokens_seen", "planned_tokens"),
    ),
    "C": (
        ("flops", "compute", "n_flops", "training_flops", "training_flop", "train_flops", "total_flops", "total_flos",
         "total_training_flops"),
    ),
    "loss": (
        ("final_loss", "final_val_loss", "final_validation_loss", "final_eval_loss"),
        ("val_loss", "validation_loss", "eval_loss", "valid_loss", "test_loss"),
    ),
    "run": (("run_id",), ("run_name",), ("name",), ("key",)),
    "status": (("state",), ("run_state",)),
}  # fmt: skip
CURVE_NAMES: Tiers = {
    "step": (("steps", "iter", "iteration", "global_step", "trainer_global_step", "train_global_step"), ("_step",)),
    "lr": (
        ("learning_rate", "lrs", "train_lr", "train_learning_rate", "lr_adamw", "lr_adam", "lr_sgd"),
        ("lr_adamw_pg1", "lr_adam_pg1"),
    ),
    "tokens": (RUN_NAMES["D"][0][1:],),
    "run": RUN_NAMES["run"],
    "loss": (
        RUN_NAMES["loss"][1],
        ("val_bits_per_byte", "val_bpb", "validation_bpb", "eval_bpb"),
        ("train_loss", "training_loss"),
    ),
    "N": RUN_NAMES["N"],
}
IN_BITS = CURVE_NAMES["loss"][1]
MAPPED = ("N", "D", "C", "tokens", "step", "loss")  # columns whose unit may stand in brackets behind a mapped name
#: Columns of which a first name is taken without a question.
NEVER_AMBIGUOUS = ("run", "status")
LARGE = {
    1e3: ("k", "thousand", "thousands"),
    1e6: ("m", "mio", "million", "millions"),
    1e9: ("b", "g", "bn", "billion", "billions"),
    1e12: ("t", "tn", "trillion", "trillions"),
    1e15: ("p", "peta"),
    1e18: ("e", "exa"),
    1e21: ("z", "zetta"),
}
DAY = 8.64e4  # seconds
LOSS_UNITS = {
    "nats": 1.0, "nat": 1.0, "nats/token": 1.0, "e": 1.0,
    "bits": np.log(2), "bit": np.log(2), "bits/token": np.log(2), "bits/byte": np.log(2), "bpb": np.log(2),
    "2": np.log(2), "base2": np.log(2), "base10": np.log(10),
}  # fmt: skip
PERPLEXITY = ("perplexity", "ppl")
LONGEST = 200  # characters of a name that may end in a unit
SUFFIX = re.compile(r"^(.*?)[\s_]*[(\[]\s*([^()\[\]]+?)\s*[)\]]$")


def plain(name: str) -> str:
    """A name without case and signs; W&B's own `_step` keeps its mark."""
    return name if name == "_step" else re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def _split(name: str) -> tuple[str, str]:
    """The plain name and the unit behind it in brackets, if any."""
    found = SUFFIX.match(name) if len(name) <= LONGEST else None
    return (plain(found[1]), found[2].strip()) if found else (plain(name), "")


def renamed(
    table: pd.DataFrame, mapping: Mapping[str, str], names: Tiers, units: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The table with our columns beside its own. `attrs["notes"]` gets what was read from where, in which unit.

    mapping  our name -> the table's, which need not be recognised
    units    our name -> unit, such as {"N": "M", "loss": "bits"}

    Raises TableError for a column that is not there, a unit that is none, and names that could be either of two.
    """
    units, source = dict(units or {}), table.attrs.get("source", "the table")
    notes: list[str] = []
    given = table.copy(deep=False)
    for ours, theirs in mapping.items():
        if theirs not in given:
            raise TableError(
                f"map asks for {ours} from a column {theirs!r}, which {source} does not have; "
                f"{nearest(theirs, map(str, given.columns))}"
            )
        table[ours] = given[theirs]
        behind = _split(str(theirs))[1]
        if behind and ours in MAPPED and ours not in units and _known(ours, behind):
            units[ours] = behind
    split = {str(c): _split(str(c)) for c in given.columns}
    for ours, tiers in names.items():
        if ours in table:
            continue
        found = _recognised(given, ours, tiers, split, str(source))
        if found is None:
            continue
        table[ours] = given[found]
        notes.append(f"{ours} read from column {found!r}{_instead(ours, tiers, split, found)}")
        name, behind = split[found]
        if behind and ours not in units and _known(ours, behind):
            units[ours] = behind
        elif name in IN_BITS and ours not in units:
            units[ours] = "bits"
    for ours, unit in units.items():
        if ours in table:
            table[ours] = converted(table[ours], ours, unit)
            notes.append(f"{ours} taken to be in {unit}{_what(ours, unit)}")
    table.attrs["notes"] = (*table.attrs.get("notes", ()), *notes)
    return table


def _recognised(
    table: pd.DataFrame, ours: str, tiers: Sequence[Sequence[str]], split: Mapping[str, tuple[str, str]], source: str
) -> str | None:
    """The column that is ours by its name, from the first group that has one."""
    own = [c for c, (name, unit) in split.items() if name == ours.lower() and (unit or len(ours) > 1)]
    for tier in (*([(ours.lower(),)] if own else []), *tiers):
        found = [c for name in tier for c, (known, unit) in split.items() if known == name and _fits(ours, unit, c)]
        if len(found) > 1 and ours not in NEVER_AMBIGUOUS and not _same(table, found):
            raise TableError(
                f"{ours} could be any of {', '.join(map(repr, found))} in {source}, which differ: say which, with "
                f"--map {ours}={found[0]}"
            )
        if found:
            return found[0]
    return None


def _instead(ours: str, tiers: Sequence[Sequence[str]], split: Mapping[str, tuple[str, str]], found: str) -> str:
    """Other counts of parameters that a table has: which is meant, its reader must know."""
    if ours != "N":
        return ""
    other = [c for tier in tiers[1:] for name in tier for c, (known, _) in split.items() if known == name != found]
    if not other or other[0] == found:
        return ""
    return f"; {other[0]!r} counts no embedding, and stays beside it: --map N={other[0]} takes it"


def _fits(ours: str, unit: str, column: str) -> bool:
    return column != ours and (not unit or _known(ours, unit))


def _same(table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether columns agree wherever two of them have a value."""
    values = [table[c] for c in columns]
    return all(((v == values[0]) | v.isna() | values[0].isna()).all() for v in values[1:])


def _known(ours: str, unit: str) -> bool:
    try:
        _factor(ours, unit)
    except TableError:
        return False
    return True


def converted(values: pd.Series, ours: str, unit: str) -> pd.Series:
    """A column of numbers in our unit. Cells that are no numbers stay, to be said later."""
    factor = _factor(ours, unit)
    numbers = pd.to_numeric(values, errors="coerce")
    if ours == "loss" and unit.lower() in PERPLEXITY:
        with np.errstate(invalid="ignore", divide="ignore"):
            result = np.log(numbers)
    else:
        result = numbers * factor
    return result.where(numbers.notna(), values) if numbers.isna().any() else result


def _factor(ours: str, unit: str) -> float:
    """What a number in `unit` is multiplied by."""
    word = unit.strip().lower().replace(" ", "")
    if ours == "loss":
        if word in PERPLEXITY:
            return 1.0
        if word in LOSS_UNITS:
            return float(LOSS_UNITS[word])
        raise TableError(f"loss has no unit {unit!r}; known: {', '.join([*LOSS_UNITS, *PERPLEXITY])}")
    word = word.removesuffix("tokens").removesuffix("params").removesuffix("parameters").removesuffix("steps")
    if ours == "C":
        if word in ("pf-days", "pfdays", "petaflop/s-days", "pflop/s-days"):
            return 1e15 * DAY
        word = re.sub(r"flops?$", "", word)
    if word == "":
        return 1.0
    for factor, words in LARGE.items():
        if word in words:
            return factor
    try:
        factor = float(word)
    except ValueError:
        factor = np.nan
    if not 0 < factor < np.inf:
        raise TableError(f"{ours} has no unit {unit!r}; say K, M, B, T, or a number to multiply by")
    return factor


def _what(ours: str, unit: str) -> str:
    if ours == "loss":
        if unit.lower() in PERPLEXITY:
            return ": its logarithm is taken"
        factor = _factor(ours, unit)
        return "" if factor == 1 else f": multiplied by {factor:.6g} to be in nats"
    return f": multiplied by {_factor(ours, unit):g}"
