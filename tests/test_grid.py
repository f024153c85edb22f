"""Grids: what is read from them, and that every kind of mistake is said with its place, value and remedy."""

import re
from pathlib import Path

import pytest

from scaling.errors import ScalingError
from sweeps.counting import parameter_counts
from sweeps.grid import MAX_RUNS, changed, read_grid, shipped_grids, with_corpus, with_seeds_shifted
from sweeps.runs import Run

BASE = """# Does it work? Nobody knows.
head_dim = 16
lr = 0.01
depth = 1
steps = 100
[[grid]]
name = "main"
width = 32
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    return write


def test_lists_are_axes_and_axes_are_crossed(write):
    grid = read_grid(write(BASE + "seed = [0, 1, 2]\nlr = [0.01, 0.02]\n"))
    assert grid.question == "Does it work?"
    assert sorted((run.seed, run.lr) for run in grid.runs) == [(s, lr) for s in (0, 1, 2) for lr in (0.01, 0.02)]
    assert {run.group for run in grid.runs} == {"main"}


def test_a_block_overrides_what_stands_above_the_blocks_also_by_another_way_of_saying_it(write):
    text = BASE + 'lr = 0.5\ntokens = 20480\n[[grid]]\nname = "second"\nwidth = 64\naspect = 16\n'
    first, second = read_grid(write(text)).runs
    assert (first.lr, first.steps, first.depth) == (0.5, 10, 1)
    assert (second.lr, second.steps, second.depth) == (0.01, 100, 4)
    (run,) = read_grid(
        write(BASE.replace("depth = 1\nsteps = 100", "aspect = 8\ntokens = 1e5") + "depth = 3\nsteps = 7")
    ).runs
    assert (run.depth, run.steps) == (3, 7)


@pytest.mark.parametrize(
    ("knobs", "field", "value"),
    [
        ("aspect = 10", "depth", 3),
        ("aspect = 1000", "depth", 1),
        ("tokens = 1e5", "steps", 49),  # 1e5 / (16 * 128) = 48.8
        ("tokens_per_param = 2", "steps", 20),  # 2 * 20608 / 2048 = 20.1
        ("unique_tokens = 8200\nepochs = 4.5", "steps", 18),  # whole windows: 4.5 * 8192 / 2048
        ("compute = 1e10", "steps", 39),  # 1e10 / (6 * 20608 * 2048) = 39.49
        ("warmup_fraction = 0.1", "warmup", 10),
        ("warmup_tokens = 8192", "warmup", 4),
        ("cooldown_fraction = 0.25", "cooldown", 25),
        ("cooldown_tokens = 8192", "cooldown", 4),
        ("steps = 1e2", "steps", 100),
        ('schedule = "multistep"\nmilestones = [0.5, 0.75]', "milestones", (0.5, 0.75)),
        ('schedule = "cosine_restarts"\ncycles = 3', "cycles", 3),
        ('schedule = "rewarm"\nwarmup = 5\nagain_at = 0.4', "again_at", 0.4),
    ],
)
def test_derived_knobs_are_worked_out(write, knobs, field, value):
    (run,) = read_grid(write(BASE + knobs + "\n")).runs
    assert getattr(run, field) == value


def test_epochs_are_of_the_unique_tokens_that_are_said(write):
    with pytest.raises(ScalingError, match="epochs = 4 needs unique_tokens beside it"):
        read_grid(write(BASE + "epochs = 4\n"))
    with pytest.raises(ScalingError, match="tokens and epochs say the same thing twice"):
        read_grid(write(BASE + "unique_tokens = 4096\nepochs = 4\ntokens = 1e5\n"))
    grid = read_grid(write(BASE + "unique_tokens = [4096, 8192]\nepochs = [1, 2]\n"))
    assert [(run.unique_tokens, run.steps) for run in grid.runs] == [(4096, 2), (4096, 4), (8192, 4), (8192, 8)]


def test_a_setting_that_a_schedule_does_not_read_leaves_its_key_alone(write):
    grid = read_grid(write("# ?\ncooldown = 20\n" + BASE + 'schedule = ["cosine", "constant"]\n'))
    assert {run.cooldown for run in grid.runs} == {0}


def test_a_run_asked_for_twice_is_kept_once_in_its_first_block(write):
    grid = read_grid(write(BASE + '[[grid]]\nname = "again"\nwidth = [32, 48]\n'))
    assert [(run.width, run.group) for run in grid.runs] == [(32, "main"), (48, "again")]
    assert grid.repeated == 1


def test_a_milestone_axis_is_a_list_of_lists(write):
    grid = read_grid(write(BASE + 'schedule = "multistep"\nmilestones = [[0.5], [0.8, 0.9]]\n'))
    assert [run.milestones for run in grid.runs] == [(0.5,), (0.8, 0.9)]


def test_a_grid_without_blocks_is_one_block_named_after_its_file(write):
    (run,) = read_grid(write(BASE.replace('[[grid]]\nname = "main"\n', ""))).runs
    assert run.group == "grid"


MISTAKES = {
    "an unknown key": ("widht = 3", "[[grid]] 1 (main): unknown key 'widht'; did you mean width?"),
    "an unknown key above the blocks": (
        "ABOVE betta1 = 0.9",
        "above the blocks: unknown key 'betta1'; did you mean beta1",
    ),
    "a size that does not divide": ("width = 40", "width = 40 must be a multiple of head_dim = 16; nearest: 32 or 48"),
    "an odd head": ("head_dim = 1", "head_dim = 1 must be even"),
    "a negative learning rate": ("lr = -0.01", "lr = -0.01: must be greater than 0"),
    "an infinite learning rate": ("lr = inf", "lr = inf: must be a finite number"),
    "an empty axis": ("seed = []", "seed = []: an axis needs at least one value"),
    "text for a number": ('width = "32"', "width = '32': must be a whole number"),
    "a fraction for a count": ("width = 32.5", "width = 32.5: must be a whole number"),
    "a truth for a count": ("seed = true", "seed = True: must be a whole number"),
    "an unknown schedule": ('schedule = "cosin"', "did you mean cosine?"),
    "a value in an axis": ("lr = [0.1, 0]", "lr = 0: must be greater than 0"),
    "two ways of saying one thing": ("tokens = 1e5\nsteps = 3", "steps and tokens say the same thing twice"),
    "a fraction above 1": ("cooldown_fraction = 1.5", "cooldown_fraction = 1.5: must be less than or equal to 1"),
    "a warm-up that does not fit": (
        "warmup = 80\ncooldown = 30",
        "warmup = 80 and cooldown = 30 do not fit into steps = 100",
    ),
    "a setting nobody reads": ('schedule = "cosine"\ncooldown = 3', "cooldown is read by the schedule wsd only"),
    "a re-warming without room": (
        'schedule = "rewarm"\nwarmup = 20\nagain_at = 0.9',
        "must leave room for a warm-up of 20",
    ),
    "more cycles than updates": ('schedule = "cosine_restarts"\ncycles = 101', "cycles must lie between 1 and"),
    "falling milestones": ('schedule = "multistep"\nmilestones = [0.9, 0.8]', "must be rising fractions"),
    "a corpus in a block": ('corpus = "stdlib"', "corpus stands above the blocks"),
    "an unknown key of the corpus": ('ABOVE corpus = {source = "stdlib", inclde = []}', "did you mean include?"),
    "a corpus that is a number": ("ABOVE corpus = 3", "corpus must be 'stdlib', a folder, a glob"),
    "a validation fraction of 1": (
        'ABOVE corpus = {source = "x", validation = 1.0}',
        "corpus.validation must be a fraction",
    ),
    "too many runs": (f"seed = {list(range(200))}\nlr = {[i / 1e3 for i in range(1, 102)]}", f"more than {MAX_RUNS}"),
    "too many updates": ("steps = 10_000_000_000", "updates in 1 runs"),
    "one bracket": ("ABOVE grid = 3", "each begun by a line [[grid]] with two brackets"),
    "a second definition": ("width = 3\nwidth = 4", "not valid TOML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_names_its_place_and_remedy(write, mistake):
    lines, message = MISTAKES[mistake]
    if lines.startswith("ABOVE "):
        text = BASE.replace("head_dim", lines.removeprefix("ABOVE ") + "\nhead_dim", 1)
        if "grid = 3" in lines:
            text = text[: text.index("[[grid]]")]
    else:
        keys = {line.split(" = ")[0] for line in lines.splitlines()}
        kept = [line for line in BASE.splitlines() if line.split(" = ")[0] not in keys - {"seed"}]
        text = "\n".join(kept) + "\n" + lines + "\n"
    path = write(text)
    with pytest.raises(ScalingError) as caught:
        read_grid(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["width", "depth", "steps", "lr", "name"])
def test_what_every_run_needs_is_missed_by_name(write, missing):
    text = "\n".join(line for line in BASE.splitlines() if not line.startswith(f"{missing} "))
    with pytest.raises(ScalingError, match=rf"{missing}.* is missing"):
        read_grid(write(text))


@pytest.mark.parametrize("start", ["", "# No question.\n", "seed = 1 # Why?\n"])
def test_a_grid_asks_a_question(write, start):
    with pytest.raises(ScalingError, match="must begin with a comment that asks its question"):
        read_grid(write(start + BASE.split("\n", 1)[1]))


def test_a_missing_grid_names_the_nearest(tmp_path):
    with pytest.raises(ScalingError, match="did you mean demo"):
        read_grid("demmo")
    with pytest.raises(ScalingError, match="it is a folder"):
        read_grid(tmp_path)
    (tmp_path / "grid.toml").write_bytes(b"# \xff?\n")
    with pytest.raises(ScalingError, match="cannot read the grid"):
        read_grid(tmp_path / "grid.toml")


def test_a_corpus_is_found_relative_to_its_grid(write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    path = write(BASE.replace("head_dim", 'corpus = {source = "texts", include = ["*.md"]}\nhead_dim', 1))
    assert read_grid(path).source.source == str(tmp_path / "texts")


def test_a_changed_run_has_a_changed_key_and_schedule():
    run = Run(width=32, depth=1, steps=10, lr=0.1)
    before = run.key, len(run.lr_per_step)  # fills the caches that a plain copy would carry over
    other = changed(run, steps=20)
    assert (other.key != before[0], len(other.lr_per_step)) == (True, 20)


def test_seeds_shift_together_and_the_corpus_enters_every_key(write):
    grid = read_grid(write(BASE + "seed = [0, 5]\n"))
    assert [run.seed for run in with_seeds_shifted(grid, 100).runs] == [100, 105]
    assert not {run.key for run in grid.runs} & {run.key for run in with_corpus(grid, "abc").runs}


@pytest.mark.parametrize("name", shipped_grids())
def test_shipped_grids_can_be_read(name):
    assert read_grid(name).runs


def test_the_demo_is_what_it_says():
    from sweeps.plan import build_plan

    plan = build_plan(read_grid("demo").runs)
    fitted = [run for run in plan.runs if run.group != "held_out"]
    held = [run for run in plan.runs if run.group == "held_out"]

    def compute(run: Run) -> int:
        return parameter_counts(run)["matmul"] * run.tokens

    sizes = {run.width: {r.steps for r in fitted if r.width == run.width and r.schedule == "wsd"} for run in fitted}
    assert len([horizons for horizons in sizes.values() if len(horizons) >= 4]) >= 5
    assert sum(run.schedule == "cosine" for run in fitted) == 2
    smallest = min(fitted, key=compute)
    assert len({r.seed for r in fitted if compute(r) == compute(smallest)}) == 3
    assert min(map(compute, held)) >= 4 * max(map(compute, fitted))
    assert not {run.seed for run in held} & {run.seed for run in fitted}
    assert not {plan.trunk[run.key] for run in held} & {plan.trunk[run.key] for run in fitted}
    assert plan.flops_shared <= 2e12
    trunks = {}
    for run in fitted:
        if run.group == "wsd":
            trunks.setdefault(run.width, set()).add(plan.trunk[run.key])
    assert all(len(names) == 1 for names in trunks.values())


def test_a_base_depth_that_no_rule_reads_makes_no_second_run(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text("# Same?\nlr = 0.1\nwidth = 16\ndepth = 4\nsteps = 2\nbase_depth = [1, 2]\n")
    assert len(read_grid(path).runs) == 1
    path.write_text(path.read_text() + 'depth_rule = ["none", "completep"]\n')
    assert [(r.depth_rule, r.base_depth) for r in read_grid(path).runs] == [
        ("none", 2), ("completep", 1), ("completep", 2)
    ]  # fmt: skip


RATES = "# Rate?\nwidth = 16\ndepth = 1\nlr = 0.01\ncontext = 32\nbatch = 8\nsteps = 100\n"


def rate(tmp_path: Path, more: str, change: tuple[str, str] = ("", "")) -> float:
    path = tmp_path / "grid.toml"
    path.write_text(RATES.replace(*change) + more)
    (run,) = read_grid(path).runs
    return run.lr


def test_rules_for_batch_and_horizon_are_powers_written_into_the_run(tmp_path: Path) -> None:
    batch = "lr_batch_exponent = 0.5\nlr_batch_tokens = 256\n"
    assert rate(tmp_path, batch) == 0.01  # 8 * 32 tokens: the batch that lr is meant for
    assert rate(tmp_path, batch, ("batch = 8", "batch = 32")) == pytest.approx(0.02)
    horizon = "lr_horizon_exponent = -0.5\nlr_horizon_tokens = 25600\n"
    assert rate(tmp_path, horizon) == 0.01
    assert rate(tmp_path, horizon, ("steps = 100", "tokens = 102400")) == pytest.approx(0.005)
    both = batch + horizon  # 4 times the batch at as many updates are 4 times the tokens
    assert rate(tmp_path, both, ("batch = 8", "batch = 32")) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "more, said",
    [
        ("lr_batch_exponent = 0.5\n", "lr_batch_exponent needs lr_batch_tokens beside it: tokens of the batch"),
        ("lr_horizon_tokens = 1e5\n", "lr_horizon_tokens needs lr_horizon_exponent beside it"),
        ("lr_horizon_exponent = 30\nlr_horizon_tokens = 10\n", "multiplies lr by e^235 at 25600 tokens"),
        ("lr_batch_exponent = 0.5\nlr_batch_tokens = 0\n", "lr_batch_tokens = 0: must be greater than 0"),
    ],
)
def test_a_rule_that_is_none_is_refused(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ScalingError, match=re.escape(said)):
        rate(tmp_path, more)
