"""What all tests share: one thread, no display, the published datasets where they are, GPU tests only on a GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before numpy and torch are imported: the order of a sum, hence its last digits, depends on the number of threads, and
# tests run in as many processes as there are cores.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["MPLBACKEND"] = "Agg"

DATASETS = "SCALING_DATASETS"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests work out of corpora is not left in the user's cache."""
    os.environ["SWEEPS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def datasets() -> Path:
    """Folder of published measurements, named by the variable SCALING_DATASETS; skips where that is not set."""
    named = os.environ.get(DATASETS)
    if not named:
        pytest.skip(f"{DATASETS} is not set: the published datasets are not part of the repository")
    folder = Path(named)
    assert folder.is_dir(), f"{DATASETS} names {named}, which is not a folder"
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:  # asking for a device imports torch: two seconds that other tests need not wait
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none"))
