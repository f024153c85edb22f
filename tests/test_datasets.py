"""Published data sets: fetched from their address or a mirror, checked by hash, read as tables."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling import datasets as module
from scaling.cli import main
from scaling.datasets import DATASETS, File

#: Small files of our own in the shape of the published ones: the same columns, made-up numbers.
OURS: dict[str, Callable[[], bytes]] = {
    "besiroglu2024": lambda: _csv(
        **{"x": 1.0, "Model Size": np.geomspace(1e8, 1e9, 8), "Training FLOP": 6e20, "loss": np.linspace(3, 2, 8)}
    ),
    "luo2025": lambda: _csv(step=[2176, 2304, 2432], lr=3e-4, loss=[4.1, 4.0, 3.9]),
    "li2025_steplaw": lambda: _csv(lr=[1e-3, 2e-3], bs=64, loss=[2.5, 2.4], exp_name=["a", "b"], D=1e10, N=2e8),
    "li2025_misfitting": lambda: _csv(
        loss=[3.5, 3.0], N=9e7, N_no_emb=3e7, D=[1e9, 2e9], C=[5e17, 1e18], total_steps=10, current_steps=[5, 10]
    ),
    "clark2022": lambda: gzip.compress(
        _csv(
            hyper_id=[0, 0, 1], step=[0, 1000, 1000], loss_validation=[9.0, 2.5, 2.4], loss_c4=[9.0, 2.6, 2.5],
            num_experts=[1, 1, 8], dense_parameter_count=1e8,
        ),
        mtime=0,
    ),
}  # fmt: skip


def _csv(**columns: object) -> bytes:
    return pd.DataFrame(columns).to_csv(index=False).encode()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry with small files of our own in place of the published ones, and a folder that serves them."""
    root = tmp_path / "served" / "mirror"
    changed = {}
    for name, dataset in DATASETS.items():
        files = []
        for file in dataset.files:
            data = OURS[name]()
            place = root / dataset.repository / dataset.commit / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            files.append(File(file.path, hashlib.sha256(data).hexdigest(), len(data)))
        changed[name] = dataclasses.replace(dataset, files=tuple(files))
    monkeypatch.setattr(module, "DATASETS", changed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SCALING_DATASETS", str(tmp_path / "served"))
    return root


@pytest.fixture
def served(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The same files from a server on this machine, and what was asked of it; no mirror is named."""
    pytest.importorskip("pooch")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(small)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(module, "ADDRESS", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("SCALING_DATASETS")
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_set_is_read_from_a_mirror_with_what_laws_need(small: Path) -> None:
    needs = {"besiroglu2024": "chinchilla", "li2025_steplaw": "chinchilla", "li2025_misfitting": "chinchilla",
             "clark2022": "clark", "luo2025": "tissue_sizes"}  # fmt: skip
    for name in DATASETS:
        table = scaling.load(name)
        assert set(scaling.laws.find_law(needs[name]).inputs) - {"schedule"} <= set(table.columns) | {"lr"}, name
        assert "loss" in table and table.attrs["dataset"].paper in table.attrs["source"]
    assert needs.keys() == DATASETS.keys()


def test_what_is_no_final_loss_is_left_out(small: Path) -> None:
    assert scaling.load("li2025_misfitting")["D"].tolist() == [2e9]
    assert scaling.load("clark2022")[["N", "E", "loss"]].values.tolist() == [[1e8, 1, 2.5], [1e8, 8, 2.4]]
    assert scaling.load("besiroglu2024")["outlier"].tolist() == [1] * 5 + [0] * 3
    curves = scaling.load("luo2025")
    assert curves["run"].nunique() == 18 and set(curves["N"]) == {25e6, 100e6}
    lr = curves.attrs["schedules"].lr["25M-cosine_24000"]
    np.testing.assert_allclose(lr[[0, 1079, 2159, 2175]], [3e-4 / 2160, 1.5e-4, 3e-4, 3e-4], rtol=1e-12)


def test_a_file_is_downloaded_once_and_kept(served: list[str]) -> None:
    first = scaling.load("besiroglu2024")
    assert len(served) == 1 and served[0].endswith("data/svg_extracted_data.csv")
    again = scaling.load("besiroglu2024")
    assert len(served) == 1
    pd.testing.assert_frame_equal(pd.DataFrame(first), pd.DataFrame(again))


def test_a_download_that_is_not_the_published_file_is_refused(served: list[str], small: Path) -> None:
    file = next(small.rglob("svg_extracted_data.csv"))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(scaling.ScalingError, match="is not the published file: its SHA-256 is not"):
        scaling.load("besiroglu2024")


def test_a_mirror_s_file_that_is_not_the_published_one_is_refused(small: Path) -> None:
    file = next(small.rglob("svg_extracted_data.csv"))
    file.write_bytes(b"")
    with pytest.raises(scaling.ScalingError, match="is not the published file: its SHA-256 is e3b0c442"):
        scaling.load("besiroglu2024")


def test_without_a_network_the_error_says_what_to_do(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch")
    monkeypatch.delenv("SCALING_DATASETS")
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(scaling.ScalingError, match=r"cannot download .*set SCALING_DATASETS to a folder with mirror/"):
        scaling.load("besiroglu2024")


def test_a_set_that_is_missing_upstream_is_said(served: list[str], small: Path) -> None:
    next(small.rglob("dense_lr_bs_loss.csv")).unlink()
    with pytest.raises(scaling.ScalingError, match="cannot download"):
        scaling.load("li2025_steplaw")


def test_names_that_are_unknown_get_the_nearest() -> None:
    with pytest.raises(scaling.ScalingError, match="did you mean luo2025"):
        scaling.load("lou2025")


def test_every_record_is_complete_and_fixed() -> None:
    for dataset in DATASETS.values():
        assert re.fullmatch(r"[0-9a-f]{40}", dataset.commit)
        assert re.search(r"arXiv:\d{4}\.\d{5}", dataset.paper)
        assert dataset.licence and dataset.kind in ("runs", "curves")
        assert dataset.address == f"https://raw.githubusercontent.com/{dataset.repository}/{dataset.commit}"
        for file in dataset.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.size > 0
            assert not file.path.startswith("/") and ".." not in file.path


def test_the_command_lists_shows_and_writes(small: Path, tmp_path: Path, capsys) -> None:
    assert main(["datasets"]) == 0
    out = capsys.readouterr().out
    assert all(dataset.name in out and dataset.paper in out for dataset in DATASETS.values())
    assert main(["datasets", "luo2025"]) == 0
    assert "licence     MIT" in capsys.readouterr().out
    assert main(["datasets", "besiroglu2024", "-o", str(tmp_path / "t.csv")]) == 0
    assert "cite Besiroglu 2024" in capsys.readouterr().err
    assert len(scaling.read_table(tmp_path / "t.csv")) == 8
    assert main(["datasets", "--json"]) == 0
    assert {record["name"] for record in json.loads(capsys.readouterr().out)} == set(DATASETS)
    assert main(["datasets", "lou2025"]) == 1
    assert main(["datasets", "-o", "x"]) == 1


def test_the_published_points_give_the_published_fit(datasets: Path) -> None:
    # Besiroglu 2024, table 1: alpha 0.3478 (se 0.02), beta 0.3658 (0.02), E 1.8172 (0.03) on the 240 rows
    if not (datasets / "mirror").is_dir():
        pytest.skip("the folder of published measurements has no mirror")
    table = scaling.load("besiroglu2024")
    found = scaling.fit("chinchilla", table[table["outlier"] == 0])
    for name, value, within in (("alpha", 0.3478, 2e-3), ("beta", 0.3658, 2e-3), ("E", 1.8172, 5e-3)):
        assert found.params[name] == pytest.approx(value, abs=within)


def test_the_published_curves_are_those_of_the_tidy_copy(datasets: Path) -> None:
    if not (datasets / "mirror").is_dir():
        pytest.skip("the folder of published measurements has no mirror")
    table = scaling.load("luo2025")
    tidy = pd.read_csv(datasets / "luo2025_schedules.csv.gz")
    assert len(table) == len(tidy) - len(tidy[tidy["model"] == "400M"])
    ours = table[table["run"] == "25M-wsdcon_3"]
    theirs = tidy[(tidy["model"] == "25M") & (tidy["schedule"] == "wsdcon_3")]
    np.testing.assert_array_equal(ours["loss"], theirs["loss"])
