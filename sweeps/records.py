"""What a sweep leaves on disk: one folder a run, and the two tables collected from them. Nothing here imports torch.

    OUT/corpus-<digest>.json   which text the runs saw; beside it tokenizer-<digest>.json where text is not bytes
    OUT/<key>/run.json         immutable, written before step 0: the Run and all that follows from it
    OUT/<key>/curve.csv        one row a logged step, appended
    OUT/<key>/token_losses.npy where a run asks for it: the final loss of every validation token
    OUT/<key>/final.json       written last, by rename: a run is done if and only if it exists
    OUT/.stacks/<stack>/       checkpoints (see `checkpoint`), and failure.txt of a stack that stopped on an error
    OUT/.leases/               who trains which stack (see `leases`)

State is read from these files and stored nowhere else. A row counts once its line is complete. Numbers are written so
that reading them gives the same float back; what is missing is empty, in a CSV, and null in JSON.
"""

from __future__ import annotations

import io
import json
import math
import os
import platform
import secrets
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.columns import CURVES, MEASURED
from scaling.errors import ScalingError
from sweeps import parametrization
from sweeps.counting import flops_per_token, parameter_counts, parameter_groups
from sweeps.regimes.listed import regime_of, settings_of
from sweeps.runs import SCHEMA_VERSION, Run, part_key
from sweeps.tokens import Tokens, manifest_record

#: Columns of every curve.csv; the folder says which run it is. Those of what else is measured follow.
CURVE_COLUMNS = tuple(name for name in CURVES if name != "run")
#: File in the folder of a run.
TOKEN_LOSSES = "token_losses.npy"


class RecordError(ScalingError, OSError):
    """A record that cannot be written or read; the message names its path and what to do."""


class DamagedError(RecordError):
    """A record that holds something else than was written."""


def open_run(
    out: str | os.PathLike[str],
    run: Run,
    *,
    stack: str,
    trunk: str,
    flops: float,
    flops_marginal: float,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Make the folder of `run` with its run.json and an empty curve, if they are not there; never changes a run.json.

    One that cannot be read any more is written anew, for the key of the run says which it was; `say` is told of it.

    flops, flops_marginal  training FLOP of the run alone, and with shared steps split among the runs that share them

    Raises RecordError where the run.json there was derived otherwise: by a version of this program that trains the
    same settings in another way.
    """
    folder = Path(out) / run.key
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    derived = _record(run)
    try:
        there = read_run(out, run.key) if (folder / "run.json").exists() else None
    except DamagedError:
        say(f"{folder / 'run.json'} is damaged: written again from the grid")
        there = None
    if there is None:
        record = derived | {"stack": stack, "trunk": trunk, "flops": flops, "flops_marginal": flops_marginal}
        _write_json(folder / "run.json", record | _provenance())
    else:
        for name in ("schema_version", "schedule", "parametrization", "parameters_by_group"):
            if there.get(name) != json.loads(json.dumps(derived[name])):
                raise RecordError(
                    f"{folder / 'run.json'} was written by another version of this program, whose {name} differs: its "
                    f"losses do not compare with new ones. Give another folder with --out"
                )
    path = folder / "curve.csv"
    with writing(path), suppress(FileExistsError), path.open("x") as file:  # another process may have begun it
        file.write(_header(curve_columns(run.measures)))


def curve_columns(measures: Iterable[str]) -> tuple[str, ...]:
    """Columns of the curve.csv of a run that is measured so."""
    return (*CURVE_COLUMNS, *(name for measure in measures for name in MEASURED[measure]))


def _columns_of(out: str | os.PathLike[str], key: str) -> tuple[str, ...]:
    """Columns of the curve of run `key`, as its first line says; as its run.json says where there is no such line."""
    path = Path(out) / key / "curve.csv"
    if path.exists():
        with reading(path), path.open() as file:
            columns = tuple(file.readline().rstrip("\n").split(","))
        if columns[: len(CURVE_COLUMNS)] == CURVE_COLUMNS:
            return columns
    return curve_columns(read_run(out, key)["run"].get("measures", ()))


def _header(columns: Iterable[str]) -> str:
    return ",".join(columns) + "\n"


def write_manifest(out: str | os.PathLike[str], tokens: Tokens) -> Path:
    """Write OUT/corpus-<digest>.json, the files of the corpus, and a tokenizer made for it, if they are not there."""
    path = Path(out) / f"corpus-{tokens.digest}.json"
    if not path.exists():
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        if tokens.tokenizer_json is not None:
            write_text(path.with_name(f"tokenizer-{tokens.tokenizer_digest}.json"), tokens.tokenizer_json)
        _write_json(path, manifest_record(tokens))
    return path


def read_manifest(out: str | os.PathLike[str], digest: str) -> dict[str, Any]:
    """What the manifest of the corpus with this digest says; empty where there is none."""
    path = Path(out) / f"corpus-{digest}.json"
    return _read_json(path) if path.exists() else {}


def append_rows(out: str | os.PathLike[str], key: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows (column -> value; None or absent is empty) to the curve of run `key`."""
    lines, columns = [], _columns_of(out, key)
    for row in rows:
        assert row.keys() <= set(columns), f"no such column of a curve: {sorted(row.keys() - set(columns))}"
        lines.append(",".join(cell(row.get(name)) for name in columns) + "\n")
    path = Path(out) / key / "curve.csv"
    with writing(path), path.open("a", newline="") as file:
        file.write("".join(lines))


def whole_rows(out: str | os.PathLike[str], key: str) -> list[tuple[int, str]]:
    """Step and line of the rows of run `key`, up to the first that is damaged; one that a kill left half written is."""
    path = Path(out) / key / "curve.csv"
    if not path.exists():
        return []
    with reading(path):
        lines = complete(path.read_text(errors="replace")).splitlines(True)[1:]
    rows, width = [], len(_columns_of(out, key))
    for line in lines:
        cells = line.split(",")
        if len(cells) != width or not cells[0].isdecimal():
            break
        rows.append((int(cells[0]), line))
    return rows


def truncate_rows(out: str | os.PathLike[str], key: str, last_step: int) -> None:
    """Keep the rows of run `key` up to `last_step`, included, and up to the first damaged one; -1 keeps the header."""
    kept = "".join(line for step, line in whole_rows(out, key) if step <= last_step)
    path = Path(out) / key / "curve.csv"
    write_text(path, _header(_columns_of(out, key)) + kept)
    for left in [*path.parent.glob("*.csv.*.tmp"), *path.parent.glob("*.npy.*.tmp")]:  # by a kill
        left.unlink(missing_ok=True)


def write_final(out: str | os.PathLike[str], key: str, final: Mapping[str, Any]) -> None:
    """Write final.json, after everything else of run `key` is safe on disk: the run is done."""
    folder = Path(out) / key
    curve = folder / "curve.csv"
    if curve.exists():
        with writing(curve), curve.open("rb+") as file:
            os.fsync(file.fileno())
    _write_json(folder / "final.json", dict(final))


def write_token_losses(out: str | os.PathLike[str], key: str, losses: NDArray[np.float32]) -> None:
    """Write the final loss of every validation token of run `key`, (sequences, tokens), before its final.json."""
    write_whole(Path(out) / key / TOKEN_LOSSES, lambda file: np.save(file, losses, allow_pickle=False))


def read_token_losses(out: str | os.PathLike[str], key: str) -> NDArray[np.float32] | None:
    """The final loss in nats of every validation token of run `key`, (sequences, tokens); None where it kept none."""
    path = Path(out) / key / TOKEN_LOSSES
    if not path.exists():
        return None
    with reading(path):
        content = path.read_bytes()
    try:
        losses = np.load(io.BytesIO(content), allow_pickle=False)
        if losses.ndim == 2 and losses.dtype == np.float32 and np.isfinite(losses).all():
            return np.asarray(losses)
        raise ValueError("no finite losses of tokens")
    except (ValueError, EOFError) as error:
        raise DamagedError(f"{path} is damaged ({error}): remove its folder and train the run again") from error


def is_done(out: str | os.PathLike[str], key: str, say: Callable[[str], None] = lambda text: None) -> bool:
    """Whether run `key` is done, finished or diverged. A damaged final.json does not count; `say` is told of it."""
    path = Path(out) / key / "final.json"
    if not path.exists():
        return False
    try:
        return "status" in _read_json(path)
    except DamagedError:
        say(f"{path} is damaged: the run is trained again")
        return False


def read_run(out: str | os.PathLike[str], key: str) -> dict[str, Any]:
    """What run.json of run `key` says."""
    record = _read_json(Path(out) / key / "run.json")
    if record.get("schema_version", 0) > SCHEMA_VERSION:
        raise RecordError(
            f"{Path(out) / key / 'run.json'} has schema_version {record['schema_version']}, this program knows up to "
            f"{SCHEMA_VERSION}: read it with the version of the program that wrote it"
        )
    return record


def read_final(out: str | os.PathLike[str], key: str) -> dict[str, Any] | None:
    """What final.json of run `key` says; None while the run is not done, DamagedError where it cannot be read."""
    path = Path(out) / key / "final.json"
    return _read_json(path) if path.exists() else None


def read_curve(out: str | os.PathLike[str], key: str) -> pd.DataFrame:
    """The complete rows of the curve of run `key`; also while it is being written."""
    path = Path(out) / key / "curve.csv"
    with reading(path):
        lines = complete(path.read_text()).splitlines()[1:] if path.exists() else []
    # Not pandas.read_csv: which of its versions read floats back exactly has changed.
    values, columns = [], _columns_of(out, key)
    for number, line in enumerate(lines, 2):
        try:
            values.append([float(cell) if cell else math.nan for cell in line.split(",")])
            if len(values[-1]) != len(columns):
                raise ValueError
        except ValueError:
            raise RecordError(
                f"line {number} of {path} is damaged: {line[:60]!r}; remove that line, or the folder to train it again"
            ) from None
    table = pd.DataFrame(values, columns=list(columns), dtype=float)
    return table.astype({name: int for name in ("step", "tokens") if not table[name].isna().any()})


def read_tail(out: str | os.PathLike[str], key: str, size: int = 1 << 16) -> list[dict[str, str]]:
    """The last complete rows of the curve of run `key`, as text: up to `size` bytes of them."""
    path = Path(out) / key / "curve.csv"
    if not path.exists():
        return []
    with reading(path), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        lines = complete(file.read().decode()).splitlines()[1:]  # the first is the header, or cut by the seek
    columns = _columns_of(out, key)
    return [dict(zip(columns, line.split(","), strict=True)) for line in lines]


def write_failure(out: str | os.PathLike[str], stack: str, reason: str, trace: str = "") -> None:
    """Keep why a stack, or a part of it, failed: the traceback, and as last line the reason."""
    path = Path(out) / ".stacks" / stack / "failure.txt"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{trace}\n{reason}\n" if trace else f"{reason}\n")


def read_failure(out: str | os.PathLike[str], stack: str, trunk: str) -> str | None:
    """Why the stack of a run, or the part with its trunk, failed: one line; None where it did not."""
    for key in (part_key(stack, trunk), stack):
        with suppress(FileNotFoundError):
            lines = (Path(out) / ".stacks" / key / "failure.txt").read_text().strip().splitlines()
            return lines[-1] if lines else "for no reason that could be written"
    return None


def clear_failures(out: str | os.PathLike[str], stack: str) -> None:
    """Forget that a stack, its parts, or what it is a part of failed: it is trained again."""
    for path in (Path(out) / ".stacks").glob("*/failure.txt"):
        if path.parent.name.startswith(stack) or stack.startswith(path.parent.name + "-"):
            path.unlink(missing_ok=True)


def run_keys(out: str | os.PathLike[str]) -> list[str]:
    """Keys of the runs in a folder, sorted; ScalingError where there are none."""
    folder = Path(out)
    if not folder.is_dir():
        raise ScalingError(f"no folder {folder}: give the one that `sweeps run GRID --out DIR` wrote")
    keys = sorted(path.parent.name for path in folder.glob("*/run.json"))
    if not keys:
        raise ScalingError(f"no runs in {folder}: give the folder that `sweeps run GRID --out DIR` wrote")
    return keys


def _record(run: Run) -> dict[str, Any]:
    """A run and all that follows from its fields."""
    lr = run.lr_per_step
    return {
        "schema_version": SCHEMA_VERSION,
        "key": run.key,
        "run": run.model_dump(mode="json"),
        "schedule": {
            "name": run.schedule,
            "steps": run.steps,
            "peak": run.lr,
            "options": run.schedule_options,
            "lr_sum": float(lr.sum(dtype="float64")),
            "lr_last": float(lr[-1]),
        },
        "tokens": run.tokens,
        "tokens_per_step": run.tokens_per_step,
        "parameters_by_group": parameter_groups(run),
        "parameters": parameter_counts(run),
        "flops_per_token": flops_per_token(run),
        "columns": settings_of(run).model_dump() | regime_of(run).row(run),
        "parametrization": {
            "groups": {
                name: {"init_std": g.init_std, "lr_factor": g.lr_factor, "weight_decay": run.weight_decay * g.decays}
                for name, g in regime_of(run).groups(run).items()
            },
            "output_multiplier": parametrization.output_multiplier(run),
        },
    }


@lru_cache(maxsize=1)
def _provenance() -> dict[str, Any]:
    """Versions of what trains, and the commit of this program if it runs from a git checkout."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "torch", "scaling-sweeps"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(Path(__file__).resolve().parent.parent)}


def _commit(checkout: Path) -> str | None:
    """Commit of the checkout this file lies in, "+" after it where files differ; None when installed elsewhere."""
    if not (checkout / ".git").exists():
        return None
    try:
        said = [
            subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return said[0].strip() + ("+" if said[1].strip() else "")


def cell(value: Any) -> str:
    """A value as CSV text: floats so that they read back exactly, missing as nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def complete(text: str) -> str:
    """Text up to its last line break: a line that a kill cut short does not count."""
    return text[: text.rfind("\n") + 1]


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    with reading(path):
        text = path.read_bytes()
    try:
        record = json.loads(text)
        if isinstance(record, dict):
            return record
        raise ValueError("no JSON object")
    except ValueError as error:  # not UTF-8, or not JSON
        raise DamagedError(f"{path} is damaged ({error}): run the same command again, and it is mended") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole: beside its place, flushed to disk, renamed, and the rename flushed too.

    Processes that write the same file at once do not disturb each other: the last one's stays.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        try:
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"cannot write {path}: {error.strerror or error}. What was written before is intact: mend the cause "
            f"(space, permissions) and run the same command again"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
