"""Every example of the README and of the documentation runs, and prints what it is shown to print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling import schedule
from tests.examples import Wrong, commands, masked, read_blocks, run_blocks

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Besiroglu 2024 (arXiv:2404.10102), their fit of Chinchilla's Figure 4
E, A, B, ALPHA, BETA = 1.8172, 482.01, 2085.43, 0.3478, 0.3658
# Tissue 2024 (arXiv:2408.11029), the authors' example: 20k steps at a peak of 2e-4
L0, A1, ALPHA1, C1, MEMORY, PEAK, STEPS = 2.62779655, 0.42966514, 0.54984562, 0.41077247, 0.999, 2e-4, 20_000


def _runs(rng: np.random.Generator) -> pd.DataFrame:
    """36 runs on Chinchilla's law, with 0.3% of noise."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = (E + A * n**-ALPHA + B * d**-BETA) * np.exp(0.003 * rng.standard_normal(n.size))
    return pd.DataFrame({"run": [f"run{i:02}" for i in range(n.size)], "N": n, "D": d, "C": 6 * n * d, "loss": loss})


def _curves(rng: np.random.Generator) -> pd.DataFrame:
    """Three curves on the law of annealing, a row every 50 updates, with 0.2% of noise."""
    parts = []
    for name, lr in {
        "constant": schedule.constant(STEPS, PEAK),
        "cosine": schedule.cosine(STEPS, PEAK, final=0.1),
        "wsd": schedule.wsd(STEPS, PEAK, cooldown=4000),
    }.items():
        step = np.arange(49, STEPS, 50)
        loss = L0 + A1 * schedule.lr_area(lr) ** -ALPHA1 - C1 * schedule.annealing_sum(lr, MEMORY)
        noisy = loss[step] * np.exp(0.002 * rng.standard_normal(step.size))
        parts.append(pd.DataFrame({"run": name, "step": step, "lr": lr[step], "loss": noisy}))
    return pd.concat(parts)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples run: a runs.csv and a curves.csv stand there, and the data of the demo."""
    rng = np.random.default_rng(0)
    _runs(rng).to_csv(tmp_path / "runs.csv", index=False)
    _curves(rng).to_csv(tmp_path / "curves.csv", index=False)
    shutil.copytree(ROOT / "data" / "demo", tmp_path / "data" / "demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_of_a_document_run(document: Path, folder: Path):
    run_blocks(read_blocks(document), folder)


def test_the_readme_has_python_and_shell_examples_that_run():
    ours = [block.language for block in read_blocks(ROOT / "README.md") if block.says("not run") is None]
    assert "python" in ours
    assert "console" in ours or "sh" in ours


def test_every_make_target_that_a_document_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"(?:`|\$ |^)make ([a-z]+)", path.read_text(), re.M)}
    assert {"demo", "test"} <= named <= targets


# --- the mechanism itself ---


def _document(folder: Path, text: str) -> Path:
    path = folder / "document.md"
    path.write_text(text.replace("'''", "```"))
    return path


def _run(folder: Path, text: str) -> int:
    return run_blocks(read_blocks(_document(folder, text)), folder)


def test_python_blocks_share_a_namespace_and_commands_the_folder(folder: Path):
    python = "'''python\nimport pathlib\n'''\nwords\n'''python\npathlib.Path('made').write_text('2')\n'''"
    text = f"{python}\n'''console\n$ cat made\n2\n'''"
    assert _run(folder, text) == 3


def test_a_titled_block_is_written_and_not_run(folder: Path):
    assert _run(folder, "'''toml title=\"a.toml\"\nx = 1\n'''\n'''sh\ngrep 'x = 1' a.toml\n'''\n") == 1


def test_an_indented_block_is_run(folder: Path):
    with pytest.raises(Wrong, match="ZeroDivisionError"):
        _run(folder, "- item\n\n    '''python\n    1 / 0\n    '''\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'''python\nassert False, 'no'\n'''", "document.md:1: AssertionError: no"),
        ("a\n\n'''console\n$ true\n$ false\n'''", "document.md:3: exit status 1"),
        ("'''sh\nfalse\ntrue\n'''", "exit status 1"),
        ("'''console\n$ echo loss 3.1\nloss at 2.9\n'''", "not printed"),
        ("'''console\n$ echo a; echo b\nb\na\n'''", "not printed"),
        ("'''console\n$ echo a \\\n  b\na\n'''", "not printed"),
        ("'''console\nloss 2.9\n'''", "starts with a command"),
        ("'''python\nprint('a 1')\n'''\n<!-- output -->\n'''text\nb 1\n'''", "not printed"),
        ("'''\nplain\n'''", "must say what it holds"),
        ("'''bash\nls\n'''", "must say what it holds"),
        ("'''python\n1", "not closed"),
        ("<!-- not run -->\n'''python\n1\n'''", "needs its reason"),
        ("<!-- not run: -->\n'''python\n1\n'''", "needs its reason"),
        ("<!-- exits 3 -->\n'''console\n$ true\n'''", "exit status 0, not 3"),
        ("<!-- not run: slow -->\nwords\n'''python\n1 / 0\n'''", "ZeroDivisionError"),
    ],
)
def test_an_example_that_is_wrong_is_found(folder: Path, text: str, said: str):
    with pytest.raises(Wrong, match=re.escape(said)):
        _run(folder, text)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- not run: it would loop -->\n'''python\n1 / 0\n'''",
        "<!-- exits 3 -->\n'''console\n$ echo 'no such law' >&2; exit 3\nno such law\n'''",
        "<!-- output not compared: random -->\n'''console\n$ echo a\nb\n'''",
        "'''console\n$ printf 'loss  3.14e-5\\n\\nmore\\nend\\n'\nloss 2.9\n...\nend\n'''",
        "'''console\n$ echo a \\\n  b\na b\n'''",
        "'''python\nprint('a  1')\n'''\n<!-- output -->\n'''text\na 2.5\n'''",
        "'''text\nanything\n'''",
    ],
)
def test_an_example_that_is_right_passes(folder: Path, text: str):
    _run(folder, text)


def test_numbers_digests_and_spaces_do_not_count():
    assert masked("w16-s0-1a2b3c4d5e  N = 1.2e+07, -3.5%") == masked("w16-s0-ffffffff00 N =  9, 12.25%")
    assert masked("alpha 0.3") != masked("beta 0.3")


def test_a_command_goes_on_after_a_backslash(folder: Path):
    [block] = read_blocks(_document(folder, "'''console\n$ a \\\n  b \\\n  c\nout\n$ d\n'''"))
    assert commands(block) == [("a \\\n  b \\\n  c", ["out"]), ("d", [])]
