"""Every command is documented, and every example of its help runs."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.cli import main as scaling_main
from sweeps.cli import main as sweeps_main
from tests import cli_pages
from tests.example_files import write_files
from tests.examples import Wrong, commands, read_blocks
from tests.test_readme import DOCUMENTS

ROOT = Path(__file__).parents[1]
MAIN = {"scaling": scaling_main, "sweeps": sweeps_main}
COMMANDS = {one.name: one for name in MAIN for one in cli_pages.commands(name)}
EXAMPLES = list(dict.fromkeys(example for one in COMMANDS.values() for example in one.examples))
SCHEDULES = "done in tests/test_scheduling.py"
#: Examples that are only read by the parser, with the reason.
NOT_RUN = {
    "sweeps run demo --out out/demo": "trains for minutes: make demo runs it",
    "sweeps run grid.toml --out out/grid --device cuda --slots 64": "needs a CUDA device",
    "sweeps run grid.toml --out /shared/grid --no-wait": "writes outside of the folder",
    "scaling theory -o out": "half a minute: done in tests/test_theory.py",
    "scaling theory -a 1.5 -b 1.25 -o out": "half a minute: done in tests/test_theory.py",
    "sweeps coordinates --depths 2,4,8 --depth-rule completep -o out/coordinates": "trains as --widths does",
    "sweeps coordinates --widths 16,32,64 --off": "trains as --widths does, which runs",
    "scaling fit runs.csv": "a comparison, which runs, and a fit",
    "scaling schedule optimize curves-fit.json --steps 24000 --peak 3e-4 --warmup 2160": "runs with -o and --plot",
    "scaling schedule optimize curves-fit.json --steps 24000 --peak 1e-4,6e-4 --warmup 2160": f"seconds: {SCHEDULES}",
    "scaling schedule optimize family.json --flops 1e19 --tokens-per-step 2.6e5 --peak 3e-4 --warmup 0.02": (
        f"half a minute: {SCHEDULES}"
    ),
    "scaling watch OUT --follow 60": "goes on until the sweep ends",
    "scaling report runs.csv -o report.html": "runs with --at and --flops",
    "scaling report curves.csv --schedule cosine:steps=40000,peak=2e-4 -o curves.html": (
        "several laws of curves: tests/test_report_page.py makes a page of one"
    ),
    "sweeps plan demo --measure": "trains the stacks of the demo: tests/test_capacity.py measures a small run",
    "sweeps report out/demo -o out/demo/report.html": "runs with --no-fit; tests/test_sweeps_report.py fits",
    "sweeps collect out/demo | scaling fit chinchilla -": "runs on another folder",
    "scaling datasets luo2025 -o curves.csv": "downloads",
    "scaling read mlruns -o out": "a store of MLflow is made by its library in the tests of readers",
}


def _shown() -> set[str]:
    """Commands that the documents show, which tests/test_readme.py runs."""
    blocks = []
    for path in DOCUMENTS:
        with contextlib.suppress(Wrong):  # that test says so
            blocks += [block for block in read_blocks(path) if block.language == "console"]
    run = [block for block in blocks if block.says("not run") is None]
    return {" ".join(text.replace("\\\n", " ").split()) for block in run for text, _ in commands(block)}


HERE = [example for example in EXAMPLES if example not in {*NOT_RUN, *_shown()}]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples name, made once."""
    folder = tmp_path_factory.mktemp("examples")
    write_files(folder)
    with contextlib.chdir(folder):
        register = "scaling forecast runs.csv --at N=7e10,D=1.4e12 --run big --register forecasts.jsonl"
        assert MAIN["scaling"](shlex.split(register)[1:]) == 0
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(files, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("example", HERE)
def test_the_example_runs(example: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "|" in example:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        script = example
        for name in MAIN:  # the command's module, so that no installed script is needed
            script = script.replace(f"{name} ", f"{shlex.quote(sys.executable)} -m {name}.cli ", 1)
        there = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(["bash", "-o", "pipefail", "-c", script], env=there, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    name, *argv = shlex.split(example)
    assert MAIN[name](argv) == 0, capsys.readouterr().err
    for flag in ("-o", "--plot", "--register"):
        if flag in argv:
            assert Path(argv[argv.index(flag) + 1]).exists()


@pytest.mark.parametrize("example", NOT_RUN)
def test_an_example_that_is_not_run_is_one_and_its_options_exist(example: str) -> None:
    assert example in EXAMPLES
    name, *argv = shlex.split(example.partition("|")[0])
    cli_pages.PARSERS[name]().parse_args(argv)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_with_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.parser.description
    assert command.examples, f"{name} --help has no examples: give its subparser an epilog that begins with examples:"
    own = [example for example in command.examples if name in example or command.children]
    assert own, f"no example of {name} calls it"
    bare = [a.dest for a in command.parser._actions if not a.help and a.option_strings]
    assert not bare, f"options of {name} without help: {', '.join(bare)}"


@pytest.mark.parametrize("name", MAIN)
def test_the_page_of_the_command_line_is_made_from_its_parser(name: str) -> None:
    written = (ROOT / "docs" / "cli" / f"{name}.md").read_text(encoding="utf-8")
    assert written == cli_pages.page(name), "stale: run python -m tests.cli_pages docs"
    for command in cli_pages.commands(name):
        assert command.name == name or f"\n## {command.name}\n" in written


def test_an_example_is_read_as_it_is_typed() -> None:
    parser = cli_pages.argparse.ArgumentParser(
        epilog="examples:\n  a b \\\n     c   (why)\n  d 'e  f'    what it does\n"
    )
    assert cli_pages.Command("a", parser, ()).examples == ["a b c", "d 'e  f'"]
