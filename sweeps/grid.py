"""Grids: a TOML file with a question, settings and axes becomes a list of runs, every derived knob worked out.

    # Does a longer horizon want a larger model?
    corpus = "stdlib"
    lr = 0.01
    aspect = 32                   # derived: depth = width / 32, at least 1
    warmup = 20

    [[grid]]
    name = "wsd"
    width = [32, 64, 128]         # a list is an axis; axes are crossed
    tokens = [4e5, 8e5]           # derived: steps = tokens / (batch * context)
    cooldown_fraction = 0.2       # derived: cooldown = 0.2 * steps

What stands above the blocks holds for all of them, unless a block says otherwise. Each mistake is an error that names
the file, the block, the key, the value, what is allowed, and the nearest known name.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from scaling.errors import ScalingError, nearest
from scaling.schedule import SCHEDULES
from sweeps.corpora.settings import STDLIB, Source, read_source
from sweeps.corpora.tokenizers import model_vocab
from sweeps.counting import parameter_counts
from sweeps.formats.listed import NONE, check as check_formats
from sweeps.mixing import read_mixtures
from sweeps.regimes.listed import REGIMES, regime_of
from sweeps.runs import Run

#: More than a sweep on small models should ever be: a slip of an axis, not a wish.
MAX_RUNS = 10_000
#: Updates of all runs together that a plan lays out as learning rates: 4 bytes each.
MAX_STEPS = 2**27
#: Beyond a factor of e to this power a rule for the learning rate is a slip, not a wish.
MOST_LOG_LR = 12.0


class Knobs(BaseModel):
    """Settings that stand for others: each is worked out for every run."""

    aspect: float = Field(gt=0, description="depth = width / aspect, rounded, at least 1")
    tokens: float = Field(gt=0, description="steps = tokens / (batch * context), rounded, at least 1")
    tokens_per_param: float = Field(gt=0, description="tokens = tokens_per_param * N")
    epochs: float = Field(gt=0, description="tokens = epochs * unique_tokens")
    compute: float = Field(gt=0, description="tokens = compute / (6 N), compute in FLOP")
    warmup_fraction: float = Field(ge=0, le=1, description="warmup = warmup_fraction * steps")
    warmup_tokens: float = Field(ge=0, description="warmup = warmup_tokens / (batch * context)")
    cooldown_fraction: float = Field(ge=0, le=1, description="cooldown = cooldown_fraction * steps")
    cooldown_tokens: float = Field(ge=0, description="cooldown = cooldown_tokens / (batch * context)")
    lr_batch_exponent: float = Field(
        description="lr is multiplied by (batch * context / lr_batch_tokens) to this power"
    )
    lr_batch_tokens: float = Field(gt=0, description="tokens of the batch that lr is meant for")
    lr_horizon_exponent: float = Field(description="lr is multiplied by (tokens / lr_horizon_tokens) to this power")
    lr_horizon_tokens: float = Field(gt=0, description="length of the run that lr is meant for, in tokens")


#: Ways of saying one thing: a table may use one of each set, and a block's replaces the one above the blocks.
EXCLUSIVE = (
    ("depth", "aspect"),
    ("steps", "tokens", "tokens_per_param", "epochs", "compute"),
    ("warmup", "warmup_fraction", "warmup_tokens"),
    ("cooldown", "cooldown_fraction", "cooldown_tokens"),
)
#: Halves of a rule for the learning rate: one says nothing without the other.
TOGETHER = (("lr_batch_exponent", "lr_batch_tokens"), ("lr_horizon_exponent", "lr_horizon_tokens"))
REQUIRED = (("width",), EXCLUSIVE[0], EXCLUSIVE[1], ("lr",))
#: Which schedules read a setting; others leave it at its default, so that it cannot make two keys of one run.
READ_BY = {
    "cooldown": ("wsd",),
    "cooldown_fraction": ("wsd",),
    "cooldown_tokens": ("wsd",),
    "cooldown_shape": ("wsd",),
    "lr_final": ("linear", "cosine", "wsd", "cosine_restarts", "rewarm"),
    "cycles": ("cosine_restarts",),
    "again_at": ("rewarm",),
    "again_to": ("rewarm",),
    "milestones": ("multistep",),
    "factor": ("multistep",),
}


def _adapter(info: FieldInfo) -> TypeAdapter[Any]:
    kind: Any = Annotated[info.annotation, info]
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


_MODELS: tuple[type[BaseModel], ...] = (*(one.settings for one in REGIMES.values()), Run)
#: Settings that one objective alone reads -> the objectives that do.
OPTIONS = {
    name: tuple(each for each, regime in REGIMES.items() if name in regime.settings.model_fields)
    for one in REGIMES.values()
    for name in one.settings.model_fields
}
_EVERY: tuple[type[BaseModel], ...] = (*_MODELS, Knobs)
_SETTINGS = {
    name: _adapter(info)
    for model in _EVERY
    for name, info in model.model_fields.items()
    if name not in ("group", "corpus", "options")
}
_LISTS = {"milestones", "measures"}  # one value of these is a list, an axis a list of lists
_WHOLE = {
    name for model in _MODELS for name, info in model.model_fields.items() if info.annotation in (int, int | None)
}


@dataclass(frozen=True)
class Grid:
    """A grid as read: its question, which text to train on, its runs, and how many were asked for more than once."""

    path: Path
    question: str
    source: Source
    runs: tuple[Run, ...]
    repeated: int


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Read a grid file, or a grid that comes with the program by its name. ScalingError for each kind of mistake.

    The runs have no corpus digest yet: `with_corpus` gives it once the text has been read.
    """
    where = find_grid(path)
    try:
        text = where.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScalingError(f"cannot read the grid {where}: {getattr(error, 'strerror', None) or error}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScalingError(f"{where} is not valid TOML: {error}") from error
    question = _question(where, text)
    source = read_source(where, document.pop("corpus", STDLIB))
    blocks = document.pop("grid", None)
    if blocks is None:
        blocks = [{"name": where.stem}]
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ScalingError(f"{where}: grid must be blocks, each begun by a line [[grid]] with two brackets")
    from_corpus: dict[str, list[Any]] = {"vocab": [model_vocab(source)], "mixture": [tuple(source.weights.items())]}
    shared = from_corpus | _axes(document, f"{where}, above the blocks", source)
    runs: dict[str, Run] = {}
    asked = 0
    for number, block in enumerate(blocks, 1):
        place = f"{where}, [[grid]] {number}"
        name = _name(block, place)
        for run in _cross(shared, _axes(block, f"{place} ({name})", source), name, f"{place} ({name})"):
            asked += 1
            if asked > MAX_RUNS:
                raise ScalingError(f"{where} asks for more than {MAX_RUNS} runs: shorten an axis or cut the grid up")
            runs.setdefault(run.key, run)
    for key in shared.keys() & OPTIONS.keys():
        if not any(run.objective in OPTIONS[key] for run in runs.values()):
            raise ScalingError(
                f"{where}, above the blocks: {key} is read by the objective {' or '.join(OPTIONS[key])} only, and no "
                f"run has it"
            )
    total = sum(run.steps for run in runs.values())
    if total > MAX_STEPS:
        raise ScalingError(
            f"{where} asks for {total:.3g} updates in {len(runs)} runs, at most {MAX_STEPS:.3g} can be planned at "
            f"once: larger batches, shorter runs, or several grids"
        )
    return Grid(where, question, source, tuple(runs.values()), asked - len(runs))


def with_corpus(grid: Grid, digest: str) -> Grid:
    """The grid on the text of this digest."""
    return replace(grid, runs=tuple(changed(run, corpus=digest) for run in grid.runs))


def with_seeds_shifted(grid: Grid, offset: int) -> Grid:
    """The grid with `offset` added to every seed: the same questions to other noise."""
    return replace(grid, runs=tuple(changed(run, seed=run.seed + offset) for run in grid.runs))


def changed(run: Run, **fields: Any) -> Run:
    """A run with some fields changed, validated, its derived values worked out anew."""
    return Run.model_validate(run.model_dump() | fields)


def shipped_grids() -> dict[str, Path]:
    """Grids that come with the program, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "grids").glob("*.toml"))}


def find_grid(name: str | os.PathLike[str]) -> Path:
    """The file of a grid: a path, or the name of one that comes with the program."""
    path, shipped = Path(name), shipped_grids()
    if path.is_file():
        return path
    if os.fspath(name) in shipped:
        return shipped[os.fspath(name)]
    if path.exists():
        raise ScalingError(f"the grid {path} must be a TOML file, it is a folder")
    here = [p.as_posix() for p in sorted(path.parent.glob("*.toml"))] if path.parent.is_dir() else []
    raise ScalingError(f"there is no grid file {path}; {nearest(os.fspath(name), [*shipped, *here])}")


def _question(where: Path, text: str) -> str:
    comment = itertools.takewhile(lambda line: line.startswith("#"), text.lstrip().splitlines())
    words = " ".join(" ".join(line.lstrip("# ") for line in comment).split())
    if "?" not in words:
        raise ScalingError(
            f"{where} must begin with a comment that asks its question, such as `# Does loss fall as a power of "
            f"width?`; it begins with {text.lstrip().splitlines()[0] if text.strip() else ''!r}"
        )
    return words[: words.index("?") + 1]


def _name(block: dict[str, Any], place: str) -> str:
    name = block.pop("name", None)
    if name is None:
        raise ScalingError(f"{place}: name is missing; it goes to the column `group` of the table of runs")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ScalingError(f"{place}: name must be letters, digits, _ . or -, got {name!r}")
    return name


def _axes(table: Mapping[str, Any], place: str, source: Source) -> dict[str, list[Any]]:
    """The settings of one table as axes, one value or more each, every value validated."""
    axes = {}
    for key, value in table.items():
        if key == "corpus":
            raise ScalingError(f"{place}: corpus stands above the blocks: a grid trains on one text")
        if key not in _SETTINGS:
            raise ScalingError(f"{place}: unknown key {key!r}; {nearest(key, [*_SETTINGS, 'name', 'corpus', 'grid'])}")
        is_axis = isinstance(value, list) and (key not in _LISTS or any(isinstance(v, list) for v in value))
        values = value if is_axis else [value]
        if not values:
            raise ScalingError(
                f"{place}: {key} = []: an axis needs at least one value; leave the key out for a default"
            )
        if key == "mixture":  # one value may stand for many mixtures
            axes[key] = [mixture for v in values for mixture in read_mixtures(v, source, place)]
        else:
            axes[key] = [_valid(key, v, place) for v in values]
    for ways in EXCLUSIVE:
        said = [key for key in ways if key in axes]
        if len(said) > 1:
            raise ScalingError(f"{place}: {' and '.join(said)} say the same thing twice: keep one")
    return axes


def _valid(key: str, value: Any, place: str) -> Any:
    if key in _LISTS and isinstance(value, list):
        value = tuple(value)
    if key in _WHOLE and isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e3 is a float in TOML
    try:
        return _SETTINGS[key].validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        rule = first["msg"].replace("Input should be a valid integer", "must be a whole number")
        rule = rule.replace("Input should be a valid", "must be a").replace("Input should be", "must be")
        rule = rule.replace("must be a tuple", f"must be a list, as in {key} = [...]")
        hint, wrong = "", first["input"]  # of a list, the part that is wrong
        if first["type"] == "literal_error" and isinstance(wrong, str):
            hint = "; " + nearest(wrong, re.findall(r"'([^']+)'", first["msg"]))
        shown = list(value) if isinstance(value, tuple) else value
        raise ScalingError(f"{place}: {key} = {shown!r}: {rule}{hint}") from error


def _cross(shared: Mapping[str, list[Any]], own: Mapping[str, list[Any]], name: str, place: str) -> Iterator[Run]:
    """All runs of one block."""
    replaced = {way for ways in EXCLUSIVE if own.keys() & set(ways) for way in ways}
    axes = {key: values for key, values in shared.items() if key not in replaced} | dict(own)
    for ways in REQUIRED:
        if not axes.keys() & set(ways):
            raise ScalingError(f"{place}: {' or '.join(ways)} is missing; say it here or above the blocks")
    for pair in TOGETHER:
        said = axes.keys() & set(pair)
        if len(said) == 1:
            (missing,) = set(pair) - said
            raise ScalingError(f"{place}: {said.pop()} needs {missing} beside it: {_described(missing)}")
    for what, readers in (("schedule", READ_BY), ("objective", OPTIONS)):
        there = axes.get(what, [Run.model_fields[what].default])
        for key in own.keys() & readers.keys():
            if not set(there) & set(readers[key]):
                raise ScalingError(
                    f"{place}: {key} is read by the {what} {' or '.join(readers[key])} only; this block has "
                    f"{' and '.join(there)}"
                )
    count = math.prod(len(values) for values in axes.values())
    if count > MAX_RUNS:
        crossed = " x ".join(f"{len(v)} {k}" for k, v in axes.items() if len(v) > 1)
        raise ScalingError(f"{place}: {crossed} are {count} runs, more than {MAX_RUNS}: shorten an axis")
    for values in itertools.product(*axes.values()):
        yield _run(dict(zip(axes, values, strict=True)), name, place)


def _run(settings: dict[str, Any], name: str, place: str) -> Run:
    """One run: the derived knobs worked out, and what only holds between settings checked."""
    schedule = settings.get("schedule", Run.model_fields["schedule"].default)
    settings = {k: v for k, v in settings.items() if k not in READ_BY or schedule in READ_BY[k]}
    if settings.get("depth_rule", Run.model_fields["depth_rule"].default) == "none":
        settings.pop("base_depth", None)  # nothing reads it: it cannot make two keys of one run
    if not settings.get("measures"):
        settings.pop("measures_share", None)  # nor this
    settings["options"] = _options(settings, place)
    knobs = {key: settings.pop(key) for key in Knobs.model_fields if key in settings}
    if "aspect" in knobs:
        settings["depth"] = max(1, round(settings["width"] / knobs["aspect"]))
    run = Run(**settings | {"steps": settings.get("steps", 1), "warmup": 0, "cooldown": 0, "group": name})
    per_step = run.tokens_per_step
    if run.unique_tokens is not None:
        settings["unique_tokens"] = run.unique_tokens // run.context * run.context
        if not settings["unique_tokens"]:
            raise ScalingError(
                f"{place}: unique_tokens = {run.unique_tokens} must be at least context = {run.context}: whole windows "
                f"are repeated"
            )
    if run.width % run.head_dim:
        below = run.width // run.head_dim * run.head_dim
        raise ScalingError(
            f"{place}: width = {run.width} must be a multiple of head_dim = {run.head_dim}; nearest: "
            f"{' or '.join(str(w) for w in (below, below + run.head_dim) if w)}"
        )
    if run.head_dim % 2:
        raise ScalingError(f"{place}: head_dim = {run.head_dim} must be even: rotary positions turn pairs")
    if len(set(run.measures)) < len(run.measures):
        raise ScalingError(f"{place}: measures = {list(run.measures)} names one twice: keep one")
    if "gradient_noise" in run.measures and run.batch % 2:
        raise ScalingError(f"{place}: gradient_noise needs an even batch, to halve it; got batch = {run.batch}")
    if run.token_losses and not regime_of(run).likelihoods:
        raise ScalingError(
            f"{place}: token_losses are kept where a loss is that of one token, as of the objective autoregressive; "
            f"those of {run.objective} are not"
        )
    try:
        regime_of(run).check(run)
        if (run.weight_format, run.activation_format) != (NONE, NONE):
            inside = (weight.shape[0] for weight in regime_of(run).weights(run) if weight.in_block)
            check_formats(run.weight_format, run.activation_format, inside)
    except ScalingError as error:
        raise ScalingError(f"{place}: {error}") from None
    n = parameter_counts(run)["matmul"]
    steps = run.steps
    unique = settings.get("unique_tokens")
    if "epochs" in knobs and unique is None:
        raise ScalingError(
            f"{place}: epochs = {knobs['epochs']:g} needs unique_tokens beside it, the text that is gone through; how "
            f"long all of the text is, a grid does not know: say tokens instead"
        )
    each = {"tokens": 1.0, "tokens_per_param": float(n), "epochs": float(unique or 0), "compute": 1 / (6.0 * n)}
    for knob in each.keys() & knobs.keys():  # one at most
        steps = max(1, round(knobs[knob] * each[knob] / per_step))
    for key in ("warmup", "cooldown"):
        if f"{key}_fraction" in knobs:
            settings[key] = round(knobs[f"{key}_fraction"] * steps)
        elif f"{key}_tokens" in knobs:
            settings[key] = round(knobs[f"{key}_tokens"] / per_step)
    settings["lr"] = _lr(run, steps, knobs, place)
    warmup, cooldown = settings.get("warmup", 0), settings.get("cooldown", 0)
    if warmup + cooldown > steps:
        raise ScalingError(
            f"{place}: warmup = {warmup} and cooldown = {cooldown} do not fit into steps = {steps} (width = "
            f"{run.width}, {steps * per_step} tokens): shorten them or lengthen the run"
        )
    milestones = settings.get("milestones", ())
    if any(not 0 < m < 1 for m in milestones) or list(milestones) != sorted(milestones):
        raise ScalingError(
            f"{place}: milestones = {list(milestones)} must be rising fractions of the run, between 0 and 1"
        )
    made = changed(run, **settings | {"steps": steps, "warmup": warmup, "cooldown": cooldown})
    if schedule in ("cosine_restarts", "rewarm"):
        try:
            SCHEDULES[schedule](steps, made.lr, **made.schedule_options)
        except ValueError as error:
            raise ScalingError(f"{place}: {error}") from None
    return made


def _options(settings: dict[str, Any], place: str) -> tuple[tuple[str, Any], ...]:
    """Take the settings that objectives alone read out of `settings`; those of this objective, defaults left out."""
    objective = settings.get("objective", Run.model_fields["objective"].default)
    if objective not in REGIMES:
        raise ScalingError(f"{place}: there is no objective {objective!r}; {nearest(objective, list(REGIMES))}")
    own = {key: settings.pop(key) for key in OPTIONS if key in settings}
    fields = REGIMES[objective].settings.model_fields
    return tuple(sorted((k, v) for k, v in own.items() if k in fields and v != fields[k].default))


def _lr(run: Run, steps: int, knobs: Mapping[str, float], place: str) -> float:
    """The peak learning rate of a run of `steps` updates, by the rules for batch and horizon."""
    lr = run.lr
    for name, tokens in (("batch", run.tokens_per_step), ("horizon", run.tokens_per_step * steps)):
        if f"lr_{name}_exponent" in knobs:
            log = math.log(tokens / knobs[f"lr_{name}_tokens"]) * knobs[f"lr_{name}_exponent"]
            if abs(log) > MOST_LOG_LR:
                raise ScalingError(
                    f"{place}: lr_{name}_exponent = {knobs[f'lr_{name}_exponent']:g} multiplies lr by e^{log:.3g} at "
                    f"{tokens} tokens: check lr_{name}_tokens = {knobs[f'lr_{name}_tokens']:g} and the exponent"
                )
            lr *= math.exp(log)
    return lr


def _described(knob: str) -> str:
    return str(Knobs.model_fields[knob].description)
