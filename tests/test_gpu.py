"""What must hold on a CUDA device; skipped, and said so, where there is none. The same checks run on the CPU first, so
that a mistake in the checks themselves does not wait for a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeps.runs import Run
from sweeps.train import train_stack
from tests.stacks import a_run, a_text, curve, final, forked, opened

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def runs(dtype: str) -> list[Run]:
    """Two horizons off one trunk, another seed, another learning rate: 8-wide heads, every slot at its own step."""
    wsd = dict(dtype=dtype, warmup=5, cooldown=10)
    return [a_run(**wsd), a_run(**wsd, steps=30), a_run(**wsd, seed=3), a_run(**wsd, lr=0.02)]


def trained(out: Path, device: str, dtype: str) -> list[float]:
    stack = forked(*runs(dtype))
    assert train_stack(stack, a_text(), opened(out, stack), device=torch.device(device))
    return [final(out, run)["loss"] for run in stack.runs]


@pytest.mark.parametrize("device", DEVICES)
def test_float64_on_the_device_is_float64_on_the_cpu(device: str, tmp_path: Path) -> None:
    here, there = trained(tmp_path / "cpu", "cpu", "float64"), trained(tmp_path / device, device, "float64")
    # 50 updates amplify differences in the order of sums by some orders of magnitude over 1e-16
    assert there == pytest.approx(here, rel=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_low_precision_on_the_device_ends_where_float64_does(device: str, dtype: str, tmp_path: Path) -> None:
    exact, low = trained(tmp_path / "exact", "cpu", "float64"), trained(tmp_path / dtype, device, dtype)
    # another seed moves these losses by several percent
    assert low == pytest.approx(exact, rel=1e-3 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(device: str, tmp_path: Path) -> None:
    trained(tmp_path / "through", device, "float32")
    stack = forked(*runs("float32"))
    out = opened(tmp_path / "stopped", stack)
    asked = iter([False, False, False, True])
    where = torch.device(device)
    assert not train_stack(stack, a_text(), out, device=where, stopping=lambda: next(asked))
    assert train_stack(stack, a_text(), out, device=where)
    for run in stack.runs:
        rows = [curve(tmp_path / name, run) for name in ("through", "stopped")]
        kept = [[{k: v for k, v in row.items() if k != "seconds"} for row in part] for part in rows]
        assert kept[0] == kept[1]
