"""trainer_state.json of Hugging Face's Trainer, with the model's config.json where it lies beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import MOST_STATE, files_below, flat, parse_json, read_small
from scaling.readers.log import Format, Log, log_of

STATE = "trainer_state.json"
OUTCOME = ("train_loss", "total_flos", "train_runtime")  # of the row that ends a finished run


def read_huggingface(path: Path) -> Log:
    """A trainer_state.json, or all in a folder; of checkpoints of one run, the last."""
    files = [f for f in files_below(path) if f.name == STATE] if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    states: dict[str, tuple[int, Path, dict[str, Any]]] = {}
    for file in files:
        record = parse_json(read_small(file, "a trainer_state.json", MOST_STATE), str(file))
        if not isinstance(record, dict) or not isinstance(record.get("log_history"), list):
            raise TableError(f"{file} has no log_history: it is no trainer_state.json of Hugging Face")
        folder = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
        run = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.name
        run = root.resolve().name if run == "." else run
        step = record.get("global_step") or 0
        if run not in states or step > states[run][0]:
            states[run] = (step, file, record)
    settings: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for run, (step, file, record) in states.items():
        history = [row for row in record["log_history"] if isinstance(row, dict) and "step" in row]
        last = history[-1] if history else {}
        ended = all(name in last for name in OUTCOME)
        planned = record.get("max_steps")
        done = planned and step >= planned
        settings[run] = _model(file.parent) | {
            "max_steps": planned,
            "status": "finished" if ended or done else "running",
        }
        if record.get("total_flos"):
            settings[run]["total_flos"] = record["total_flos"]
        rows[run] = [_row(row) for row in (history[:-1] if ended else history)]
    if not any(rows.values()):
        raise TableError(f"{path} has a log_history without a row: nothing was logged")
    fewer = len(files) - len(states)
    return log_of(settings, rows, [f"{fewer} earlier checkpoints of the same runs were left out"] if fewer else [])


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A logged row; `loss` is that of training, so that eval_loss is what is taken for the validation loss."""
    renamed = {"train_loss" if k == "loss" else k: v for k, v in row.items() if isinstance(v, int | float)}
    return {k: v for k, v in renamed.items() if not k.endswith(("_per_second", "_runtime"))}


def _model(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    return flat(parse_json(read_small(file, "a model's config"), str(file)), str(file)) if file.is_file() else {}


def _knows(path: Path, files: Sequence[Path]) -> bool:
    return any(file.name == STATE for file in files or [path])


HUGGINGFACE = Format(
    "huggingface", "trainer_state.json of Hugging Face's Trainer, or a folder of them", _knows, read_huggingface
)
