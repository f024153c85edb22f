"""What nanoGPT and nanochat print while they train.

nanoGPT   `step 2000: train loss 1.0, val loss 1.2` and `iter 10: loss 1.1, time 5.00ms, mfu 1.00%`
nanochat  `step 00010/01000 (1.00%) | loss: 3.1 | lrm: 1.00 | ...` and `Step 00250 | Validation bpb: 0.9`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import files_below, read_lines
from scaling.readers.log import Format, Log, log_of

NUMBER = r"([-+]?(?:[0-9][0-9.,]*(?:[eE][-+]?[0-9]+)?|nan|inf))"
ENDINGS = (".log", ".txt", ".out")
LONGEST = 500  # characters of a line that are looked at
LOOK = 5000  # lines in which a log must show itself
#: What a line says of a step: pattern, and the columns of its groups; the first group is the step.
STEPS = (
    (
        re.compile(rf"^step {NUMBER}: train loss {NUMBER}, val loss {NUMBER}"),
        ("step", "train_loss_evaluated", "val_loss"),
    ),
    (re.compile(rf"^iter {NUMBER}: loss {NUMBER}, time"), ("step", "train_loss")),
    (re.compile(rf"^step (\d+)/\d+ .*?\| loss: {NUMBER} \|.*?lrm: {NUMBER}"), ("step", "train_loss", "lr")),
    (re.compile(rf"^Step (\d+) \| Validation bpb: {NUMBER}"), ("step", "val_bits_per_byte")),
)
#: What a line says of a run: pattern, column, factor.
SETTINGS = (
    (re.compile(rf"^tokens per iteration will be: {NUMBER}"), "tokens_per_step", 1.0),
    (re.compile(rf"^number of parameters: {NUMBER}M"), "N", 1e6),
    (re.compile(rf"^Number of parameters: {NUMBER}"), "N_total", 1.0),
    (re.compile(rf"^total +: {NUMBER}$"), "N_total", 1.0),
    (re.compile(rf"^(?:wte|token_embedding) +: {NUMBER}$"), "N_embedding", 1.0),
    (re.compile(rf"^value_embeds +: {NUMBER}$"), "N_value_embeddings", 1.0),
    (re.compile(rf"^Total batch size {NUMBER} "), "tokens_per_step", 1.0),
    (re.compile(rf"^Total number of training tokens: {NUMBER}"), "planned_tokens", 1.0),
    (re.compile(rf"^(?:Calculated|Using user-provided) number of iterations.*?: {NUMBER}"), "planned_steps", 1.0),
    (re.compile(rf"^Total training FLOPs estimate: {NUMBER}"), "flops", 1.0),
)
OVERRIDING = re.compile(rf"^Overriding: (\w+) = {NUMBER}$")  # a setting of nanoGPT that is a number
PLANNED = re.compile(r"^step \d+/(\d+) ")


def read_printed(path: Path) -> Log:
    """A log, or all in a folder: one run a file, named by it."""
    files = [f for f in files_below(path) if _shows(f)] if path.is_dir() else [path]
    settings, rows = {}, {}
    notes: list[str] = []
    for file in files:
        run = file.relative_to(path).as_posix() if path.is_dir() else file.name
        run = run.removesuffix(file.suffix)
        settings[run], rows[run] = parse_printed(read_lines(file, "a log"))
        if not rows[run]:
            raise TableError(f"{file} has no line of nanoGPT or nanochat: step 2000: train loss .., val loss ..")
    counted = [kept for kept in settings.values() if "N" in kept]
    if any("N_total" not in kept for kept in counted):
        notes.append(
            "N is nanoGPT's own count, to 0.01M: all parameters but positions, the embedding serving as the head"
        )
    if any("N_total" in kept for kept in counted):
        notes.append("N is nanochat's total without the embeddings of tokens and values, its head included")
    if any("lr" in row for some in rows.values() for row in some):
        notes.append("lr is nanochat's lrm, the share of the peak learning rate")
    return log_of(settings, rows, notes)


def parse_printed(lines: Iterable[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings and rows out of the lines of one log."""
    settings: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for line in (line[:LONGEST] for line in lines):
        for pattern, columns in STEPS:
            if found := pattern.search(line):
                rows.append({c: _number(word) for c, word in zip(columns, found.groups(), strict=True)})
                if planned := PLANNED.search(line):
                    settings["planned_steps"] = float(planned[1])
                break
        else:
            if said := OVERRIDING.search(line):
                settings[said[1]] = _number(said[2])
            for pattern, name, factor in SETTINGS:
                if found := pattern.search(line):
                    settings[name] = _number(found[1]) * factor
    if {"N_total", "N_embedding"} <= settings.keys():
        settings["N"] = settings["N_total"] - settings["N_embedding"] - settings.get("N_value_embeddings", 0.0)
    return settings, [row for row in rows if row["step"] == row["step"]]


def _number(word: str) -> float:
    try:
        return float(word.replace(",", "").rstrip("."))
    except ValueError:
        return float("nan")


def _shows(file: Path) -> bool:
    """Whether one of the first lines is of a training."""
    if file.suffix not in ENDINGS:
        return False
    lines = (line[:LONGEST] for line, _ in zip(read_lines(file, "a log"), range(LOOK), strict=False))
    try:
        return any(pattern.search(line) for line in lines for pattern, _ in STEPS)
    except TableError:
        return False


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return any(_shows(file) for file in files or [path])


PRINTED = Format(
    "printed", "what nanoGPT or nanochat print: a .log, .txt or .out, or a folder of them", _knows, read_printed
)
