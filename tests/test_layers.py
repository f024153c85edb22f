"""The layers hold: who may import whom, what loading costs, how long a file may be. Each rule is shown to bite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import layers

ROOT = Path(__file__).parents[1]
TREE = layers.read_tree(ROOT)


@pytest.fixture
def tree_of(tmp_path: Path):
    """A source tree from {"scaling/x.py": text}; package roots that are not given are empty."""

    def build(files: dict[str, str]) -> dict[str, layers.Module]:
        for name in {"scaling/__init__.py": "", "sweeps/__init__.py": ""} | files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files.get(name, ""))
        return layers.read_tree(tmp_path)

    return build


def test_the_tree_is_read_whole():
    assert {"scaling", "scaling.laws.hoffmann2022", "sweeps.runs", "sweeps.model"} <= TREE.keys()
    assert any(i.module == "torch" for i in TREE["sweeps.model"].imports)


@pytest.mark.parametrize("rule", [layers.direction, layers.package_roots, layers.torch_free, layers.cycles])
def test_the_packages_obey(rule):
    assert rule(TREE) == []


def test_every_file_can_be_read_in_one_sitting():
    folders = ("scaling", "sweeps", "tests", "benchmarks")
    assert layers.too_long(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("scaling/fit.py", "import torch"),
        ("scaling/fit.py", "def f():\n    from torch.nn import functional"),
        ("scaling/fit.py", "from sweeps.runs import Run"),
        ("scaling/fit.py", "if TYPE_CHECKING:\n    from sweeps import runs"),
        ("sweeps/plan.py", "from scaling import fitting"),
        ("sweeps/plan.py", "from scaling.fitting import fit"),
        ("sweeps/plan.py", "def f():\n    import scaling.fitting"),
        ("sweeps/plan.py", "def f():\n    from scaling.reporting.runs import runs_parts"),
        ("sweeps/reporting.py", "from scaling.reporting.runs import runs_parts"),
        ("sweeps/reporting.py", "def f():\n    from scaling.fitting import fit"),
    ],
)
def test_an_import_against_the_direction_is_found(tree_of, path, line):
    files = {"scaling/fitting.py": "", "scaling/reporting/runs.py": "", "sweeps/runs.py": "", path: line}
    assert len(layers.direction(tree_of(files))) == 1


def test_shared_leaves_may_be_imported(tree_of):
    leaves = {f"scaling/{name}.py": "" for name in ("columns", "schedule", "flops", "errors")}
    text = "from scaling import flops, columns, errors\nfrom scaling.schedule import wsd"
    assert layers.direction(tree_of(leaves | {"sweeps/plan.py": text})) == []


def test_the_report_of_a_sweep_may_reach_that_of_a_fit_inside_a_function(tree_of):
    files = {"scaling/reporting/runs.py": "", "scaling/reporting/__init__.py": ""}
    files["sweeps/reporting.py"] = "def f():\n    from scaling.reporting.runs import runs_parts"
    assert layers.direction(tree_of(files)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import scaling",
        "from scaling import fit",
        "from . import fit",
        "def f():\n    from scaling import fit",
        "from scaling import __version__",
        "from scaling.laws import chinchilla",
    ],
)
def test_an_import_through_a_package_root_is_found(tree_of, line):
    files = {
        "scaling/__init__.py": "from scaling.fitting import fit\n__version__ = '1'",
        "scaling/fitting.py": "def fit(): ...",
        "scaling/laws/__init__.py": "from scaling.laws.hoffmann2022 import chinchilla\nLAWS = {}",
        "scaling/laws/hoffmann2022.py": "chinchilla = 1",
        "scaling/report.py": line,
    }
    assert len(layers.package_roots(tree_of(files))) == 1


def test_a_submodule_and_what_a_package_itself_defines_may_be_imported(tree_of):
    files = {
        "scaling/laws/__init__.py": "LAWS: dict[str, int] = {}\ndef find_law(): ...",
        "scaling/report.py": "from scaling import laws\nfrom scaling.laws import LAWS, find_law\nfrom . import laws",
    }
    assert layers.package_roots(tree_of(files)) == []


@pytest.mark.parametrize(
    "files",
    [
        {"sweeps/plan.py": "import torch"},
        {"sweeps/plan.py": "def f():\n    import torch"},
        {"sweeps/plan.py": "from sweeps.model import x"},
        {"sweeps/plan.py": "from sweeps import slots", "sweeps/slots.py": "from sweeps.model import x"},
        {"sweeps/plan.py": "def f():\n    from sweeps import pool"},
        {"sweeps/commands/run.py": "from sweeps import pool"},
        {"sweeps/commands/run.py": "def f():\n    from sweeps import model"},
    ],
)
def test_torch_behind_a_planning_module_is_found(tree_of, files):
    heavy = {"sweeps/model.py": "import torch", "sweeps/pool.py": "from sweeps.model import x"}
    assert len(layers.torch_free(tree_of(heavy | files))) == 1


def test_the_command_line_may_reach_the_pool_inside_a_function(tree_of):
    files = {"sweeps/pool.py": "import torch", "sweeps/commands/run.py": "def f():\n    from sweeps.pool import run"}
    assert layers.torch_free(tree_of(files)) == []


def test_an_import_cycle_is_found_and_one_inside_a_function_is_none(tree_of):
    files = {
        "scaling/a.py": "from scaling.b import x",
        "scaling/b.py": "from scaling import c",
        "scaling/c.py": "import scaling.a",
    }
    assert layers.cycles(tree_of(files)) == ["scaling.a -> scaling.b -> scaling.c -> scaling.a"]
    files["scaling/c.py"] = "def f():\n    import scaling.a"
    assert layers.cycles(tree_of(files)) == []


def test_a_file_that_is_too_long_is_found(tmp_path):
    (tmp_path / "god.py").write_text("x = 1\n" * (layers.MAX_LINES + 1))
    (tmp_path / "man.py").write_text("x = 1\n" * layers.MAX_LINES)
    assert layers.too_long(sorted(tmp_path.iterdir())) == ["god.py has 451 lines, at most 450 are allowed"]


def _loaded_by(statement: str, *names: str) -> list[str]:
    code = f"import sys; {statement}; print(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_scaling_loads_nothing_that_is_not_used():
    heavy = ("torch", "matplotlib", "lmfit", "pandas", "scaling.fitting")
    assert _loaded_by("import scaling", *heavy) == []
    assert _loaded_by("import scaling; scaling.fit, scaling.read_table", *heavy) == ["pandas", "scaling.fitting"]


def test_every_name_of_the_interface_is_there():
    code = "import scaling; print(len([getattr(scaling, name) for name in scaling.__all__])); print(scaling.law)"
    count, law = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert int(count) > 40 and law.startswith("<function law")  # not the module of that name


def test_planning_loads_no_torch():
    modules = layers.planning(TREE)
    assert _loaded_by(f"import {', '.join(modules)}", "torch", "sweeps.runs") == ["sweeps.runs"]


def test_what_was_loaded_is_seen():
    assert _loaded_by("import sweeps.model", "torch") == ["torch"]
