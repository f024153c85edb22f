"""Corpora: the same files give the same tokens, and nothing leaks into validation."""

from pathlib import Path

import numpy as np
import pytest

from scaling.errors import ScalingError
from sweeps.corpora.settings import Source
from sweeps.tokens import Tokens, load, manifest_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty files in three folders, each of its own letter pattern."""
    for i in range(60):
        path = tmp_path / "texts" / f"part{i % 3}" / f"{i:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {i:02} says {i * 7919}. " * 5)
    return tmp_path / "texts"


def paths(tokens: Tokens, split: str) -> set[str]:
    return {file.path for file in tokens.manifest if file.split == split}


def test_a_folder_is_read_byte_for_byte_in_the_order_of_paths(folder):
    tokens = load(folder)
    for split, text in (("train", tokens.train), ("validation", tokens.validation)):
        assert text.tobytes() == b"".join((folder / path).read_bytes() for path in sorted(paths(tokens, split)))
    assert tokens.train.dtype == np.uint8
    assert (tokens.vocab, tokens.bytes_per_token) == (256, 1.0)


def test_the_split_depends_on_paths_alone_not_on_the_other_files(folder):
    before = load(Source(str(folder), validation=0.2))
    for i in range(60, 90):
        (folder / f"{i}.txt").write_text(f"more {i}")
    after = load(Source(str(folder), validation=0.2))
    assert paths(before, "validation") <= paths(after, "validation")
    assert paths(before, "train") <= paths(after, "train")
    assert before.digest != after.digest


def test_about_the_asked_fraction_of_files_is_for_validation(tmp_path):
    for i in range(2000):
        (tmp_path / f"{i}.txt").write_text(str(i))
    count = len(paths(load(Source(str(tmp_path), validation=0.1)), "validation"))
    assert abs(count - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)  # four standard deviations


def test_the_same_content_under_two_names_is_in_one_split(folder):
    for file in sorted(folder.rglob("*.txt")):
        (folder / f"copy-of-{file.name}").write_bytes(file.read_bytes())
    tokens = load(Source(str(folder), validation=0.3))
    contents = {split: {f.sha256 for f in tokens.manifest if f.split == split} for split in ("train", "validation")}
    assert contents["train"] and contents["validation"]
    assert not contents["train"] & contents["validation"]


def test_a_few_files_still_leave_one_for_validation(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name * 10)
    tokens = load(Source(str(tmp_path), validation=0.01))
    assert len(paths(tokens, "validation")) == len(paths(tokens, "train")) == 1


def test_the_digest_is_that_of_names_and_contents(folder):
    before = load(folder).digest
    assert load(folder).digest == before
    assert len(before) == 12
    file = folder / "part0" / "00.txt"
    text = file.read_text()
    file.write_text(text.replace("f", "g", 1))
    assert load(folder).digest != before
    file.write_text(text)
    assert load(folder).digest == before
    file.rename(folder / "part0" / "renamed.txt")
    assert load(folder).digest != before


def test_globs_and_patterns_choose_files(folder):
    (folder / "part0" / "notes.md").write_text("other")
    everything = load(folder)
    assert len(everything.manifest) == 61
    assert len(load(folder / "**" / "*.txt").manifest) == 60
    assert len(load(str(folder / "part1" / "*.txt")).manifest) == 20
    assert len(load(Source(str(folder), include=("part0/*", "01.txt"))).manifest) == 22


def test_what_is_not_text_is_left_out_and_counted(folder):
    (folder / "image.bin").write_bytes(b"a\0b")
    (folder / "empty.txt").write_bytes(b"")
    (folder / ".hidden").write_text("hidden")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.txt").write_text("cache")
    tokens = load(folder)
    assert (len(tokens.manifest), tokens.skipped) == (60, 2)


def test_the_standard_library_is_source_code_without_packages():
    tokens = load()
    assert 5e6 < len(tokens.train) < 1e8
    assert all(f.path.endswith(".py") and "site-packages" not in f.path for f in tokens.manifest)
    assert {"os.py", "json/decoder.py"} <= {f.path for f in tokens.manifest}
    assert 0.01 < len(tokens.validation) / len(tokens.train) < 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f / "nowhere", "there is no"),
        (lambda f: Source(str(f), include=("*.rst",)), "no text files matching \\*.rst"),
        (lambda f: Source(str(f / "*.txt"), include=("*.txt",)), "is a glob already"),
        (lambda f: f / "part0" / "00.txt", "at least two files.*split -b"),
        (lambda f: Source(str(f), validation=1.5), "between 0 and 1, got 1.5"),
    ],
)
def test_corpora_that_cannot_be_used_say_why(folder, make, message):
    with pytest.raises(ScalingError, match=message):
        load(make(folder))


def test_the_manifest_lists_every_file(folder):
    tokens = load(folder)
    record = manifest_record(tokens)
    assert record["digest"] == tokens.digest
    assert sum(file["bytes"] for file in record["files"]) == record["train_tokens"] + record["validation_tokens"]
