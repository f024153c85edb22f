"""The files around the code agree with each other: versions, pins, scripts, what goes into the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scaling

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = [
    Requirement(text)
    for text in (*PROJECT["dependencies"], *(t for extra in PROJECT["optional-dependencies"].values() for t in extra))
]


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("asked", [a for a in ASKED if a.name != PROJECT["name"]], ids=str)
def test_every_requirement_is_pinned_within_its_range(asked: Requirement):
    assert asked.specifier.contains(_pins()[canonicalize_name(asked.name)])


def test_no_requirement_of_the_base_install_is_torch():
    assert not any(Requirement(text).name == "torch" for text in PROJECT["dependencies"])


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert scaling.__version__ == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## \[(Unreleased|{re.escape(version)})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(PROJECT["scripts"]))
def test_a_console_script_names_a_function(name: str):
    module, function = PROJECT["scripts"][name].split(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("package", ["scaling", "sweeps"])
def test_a_package_says_that_it_is_typed(package: str):
    assert (ROOT / package / "py.typed").exists()


def test_no_file_names_a_package_index():
    files = [ROOT / name for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run")]
    assert not [path.name for path in files if re.search(r"index-url|find-links|https?://", path.read_text())]


@pytest.mark.slow
def test_the_documentation_builds_without_a_broken_link(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Huber" in (tmp_path / "site" / "reference" / "index.html").read_text()
