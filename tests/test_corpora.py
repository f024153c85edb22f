"""Tokenizers, shards, rows and named sources: what is read, how long tokens are, what is refused and why."""

import base64
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaling.errors import ScalingError
from sweeps.corpora import shards, tokenizers
from sweeps.corpora.settings import Source
from sweeps.records import write_manifest
from sweeps.tokens import Tokens, load, manifest_record

WORDS = ["scale", "tokens", "loss", "law", "fit", "naïve", "Größe", "0.25", "\n"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty files of a few words in an order drawn from a seed."""
    rng = np.random.default_rng(0)
    (tmp_path / "texts").mkdir()
    for i in range(20):
        (tmp_path / "texts" / f"{i:02}.txt").write_text(" ".join(rng.choice(WORDS, 300)))
    return tmp_path / "texts"


def the_bytes(folder: Path, tokens: Tokens, split: str) -> bytes:
    return b"".join((folder / file.path).read_bytes() for file in tokens.manifest if file.split == split)


def decode(tokens: Tokens, ids: np.ndarray) -> bytes:
    from tokenizers import Tokenizer

    assert tokens.tokenizer_json is not None
    return Tokenizer.from_str(tokens.tokenizer_json).decode(ids.tolist()).encode()


def test_the_digest_of_bytes_is_that_of_the_first_version(tmp_path):
    # Worked out by the version before tokenizers came: finished runs carry it in their keys.
    for name, text in {"a": "one", "b": "two", "c": "three"}.items():
        (tmp_path / name).write_text(text)
    assert load(Source(str(tmp_path), include=("a", "b", "c"))).digest == "221d7634ca37"
    assert load(Source(str(tmp_path), include=("a", "b", "c"), tokenizer="bytes")).digest == "221d7634ca37"


def test_a_trained_encoding_stands_for_exactly_the_bytes_of_the_text(folder):
    tokens = load(Source(str(folder), tokenizer="bpe:280"))
    assert (tokens.vocab, tokens.train.dtype) == (280, np.uint16)
    for split, ids in (("train", tokens.train), ("validation", tokens.validation)):
        assert decode(tokens, ids) == the_bytes(folder, tokens, split)
    length = len(the_bytes(folder, tokens, "validation"))
    assert tokens.bytes_per_token == length / len(tokens.validation) > 1.5


def test_training_an_encoding_twice_gives_the_same_one(folder, monkeypatch, tmp_path):
    script = "import sys; from sweeps.tokens import Source, load; t = load(Source(sys.argv[1], tokenizer='bpe:400'));"
    made = []
    for i in range(2):  # in processes of their own: hash seeds differ
        monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / str(i)))
        command = [sys.executable, "-c", script + "print(t.tokenizer_digest, t.digest)", str(folder)]
        made.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert made[0] == made[1]


def test_an_encoding_is_trained_once_and_tokens_are_made_once(folder, cache, monkeypatch):
    first = load(Source(str(folder), tokenizer="bpe:280"))
    monkeypatch.setattr(tokenizers, "_pieces", lambda content: pytest.fail("worked out again"))
    again = load(Source(str(folder), tokenizer="bpe:280"))
    assert np.array_equal(first.train, again.train) and first.digest == again.digest
    monkeypatch.undo()
    monkeypatch.setenv("SWEEPS_CACHE", str(cache))
    for path in cache.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:20])  # damaged: made anew
    assert np.array_equal(load(Source(str(folder), tokenizer="bpe:280")).train, first.train)


def test_the_encoding_does_not_see_the_validation_text(folder):
    before = load(Source(str(folder), tokenizer="bpe:280"))
    (kept,) = (file.path for file in before.manifest if file.split == "validation")
    (folder / kept).write_text("zebra " * 300)
    after = load(Source(str(folder), tokenizer="bpe:280"))
    assert after.tokenizer_digest == before.tokenizer_digest
    assert after.digest != before.digest


def test_the_file_kept_beside_the_runs_gives_the_same_corpus_again(folder, tmp_path):
    tokens = load(Source(str(folder), tokenizer="bpe:280"))
    write_manifest(tmp_path / "out", tokens)
    (kept,) = (tmp_path / "out").glob("tokenizer-*.json")
    again = load(Source(str(folder), tokenizer=str(kept)))
    assert again.digest == tokens.digest
    assert np.array_equal(again.train, tokens.train)
    record = json.loads((tmp_path / "out" / f"corpus-{tokens.digest}.json").read_text())
    assert (record["tokenizer"], record["vocab"]) == ("bpe:280", 280)
    assert record["bytes_per_token"] == tokens.bytes_per_token
    assert kept.stem.removeprefix("tokenizer-") == record["tokenizer_digest"]


def test_the_digest_of_a_tokenizer_is_that_of_what_its_file_says(folder, tmp_path):
    tokens = load(Source(str(folder), tokenizer="bpe:280"))
    assert tokens.tokenizer_json is not None
    record = json.loads(tokens.tokenizer_json)
    path = tmp_path / "words.json"
    path.write_text(json.dumps(dict(reversed(record.items())), indent=3))
    assert load(Source(str(folder), tokenizer=str(path))).digest == tokens.digest
    record["pre_tokenizer"]["use_regex"] = False
    path.write_text(json.dumps(record))
    assert load(Source(str(folder), tokenizer=str(path))).digest != tokens.digest


def test_long_files_are_encoded_in_pieces_that_end_at_line_breaks(folder, monkeypatch):
    whole = load(Source(str(folder), tokenizer="bpe:280"))
    monkeypatch.setattr(tokenizers, "PIECE", 100)
    monkeypatch.setattr(tokenizers, "TOGETHER", 250)
    assert all(piece.endswith("\n") for piece in list(tokenizers._pieces(b"word " * 15 + b"\n" + b"x" * 70))[:-1])
    assert "".join(tokenizers._pieces("ä".encode() * 350)) == "ä" * 350
    (folder / "30.txt").write_text("no line break" * 50)
    pieces = load(Source(str(folder), tokenizer="bpe:280"))
    assert decode(pieces, pieces.train) == the_bytes(folder, pieces, "train")
    assert whole.digest != pieces.digest


def test_bytes_that_are_no_utf8_are_replaced_and_still_counted(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"caf\xe9 " * 50 + name.encode())
    tokens = load(Source(str(tmp_path), tokenizer="bpe:260"))
    assert "\N{REPLACEMENT CHARACTER}".encode() in decode(tokens, tokens.validation)
    assert tokens.bytes_per_token == 251 / len(tokens.validation)


def write_tiktoken(path: Path) -> Path:
    words = [bytes([i]) for i in range(256)] + [b"to", b"en", b"k", b"toke"]
    lines = [f"{base64.b64encode(word).decode()} {rank}" for rank, word in enumerate(dict.fromkeys(words))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_tiktoken_file_is_read(folder, tmp_path):
    tokens = load(Source(str(folder), tokenizer=str(write_tiktoken(tmp_path / "small.tiktoken"))))
    assert (tokens.vocab, tokens.tokenizer, tokens.tokenizer_json) == (259, "small.tiktoken", None)
    assert 256 in tokens.train and tokens.bytes_per_token > 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bpe:10", "'bpe:10' needs a size from 257"),
        ("bpe:many", "'bpe:many' needs a size from 257"),
        ("nowhere.json", "no tokenizer file 'nowhere.json'; a tokenizer is 'bytes', 'bpe:4096'"),
        ("tiktoken:gpt9", r"cannot get the tokenizer 'tiktoken:gpt9' \(Unknown encoding gpt9.* one of .*gpt2"),
        ("nowhere.tiktoken", "cannot read the tokenizer 'nowhere.tiktoken': No such file"),
        ("{}/00.txt", "is no tokenizer file of the tokenizers library"),
        ("{}/bad.tiktoken", "a line must be a token in base 64 and its rank"),
        ("{}/few.tiktoken", "has every single byte and the ranks from 0 up"),
    ],
)
def test_tokenizers_that_cannot_be_used_say_why(folder, name, message):
    (folder / "bad.tiktoken").write_text("not base64 at all\n")
    (folder / "few.tiktoken").write_text("YQ== 0\n")
    with pytest.raises(ScalingError, match=message):
        load(Source(str(folder), include=("*.txt",), tokenizer=name.format(folder)))


# --- shards ---


def write_llmc(path: Path, ids: np.ndarray, magic: int = shards.MAGIC, version: int = 1, count: int | None = None):
    head = np.zeros(shards.HEADER, "<i4")
    head[:3] = magic, version, len(ids) if count is None else count
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.tobytes() + ids.astype("<u2").tobytes())


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50257, 5000).astype(np.uint16)


def test_shards_of_nanogpt_are_mapped_as_they_are(tmp_path, ids):
    ids[:4000].tofile(tmp_path / "train.bin")
    ids[4000:].tofile(tmp_path / "val.bin")
    tokens = load(Source(str(tmp_path), format="shards", vocab=50257))
    assert isinstance(tokens.train, np.memmap)
    assert np.array_equal(tokens.train, ids[:4000]) and np.array_equal(tokens.validation, ids[4000:])
    assert (tokens.vocab, tokens.bytes_per_token, tokens.tokenizer) == (50257, None, "ids")


def test_shards_of_llmc_are_joined_in_order_without_their_headers(tmp_path, ids):
    write_llmc(tmp_path / "fineweb_train_000002.bin", ids[3000:4000])
    write_llmc(tmp_path / "fineweb_train_000001.bin", ids[:3000])
    write_llmc(tmp_path / "fineweb_val_000000.bin", ids[4000:])
    tokens = load(Source(str(tmp_path), format="shards", vocab=50257))
    assert np.array_equal(tokens.train, ids[:4000]) and np.array_equal(tokens.validation, ids[4000:])
    assert [(file.path[-10:], file.split) for file in tokens.manifest] == [
        ("000001.bin", "train"), ("000002.bin", "train"), ("000000.bin", "validation"),
    ]  # fmt: skip


def test_the_digest_of_shards_is_that_of_their_content_and_large_files_are_hashed_once(tmp_path, ids, monkeypatch):
    for name, part in (("train.bin", ids[:4000]), ("val.bin", ids[4000:])):
        part.tofile(tmp_path / name)
    spec = Source(str(tmp_path), format="shards", vocab=50257)
    first = load(spec).digest
    opened: list[str] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: (opened.append(self.name), real(self, *a, **k))[1])
    assert load(spec).digest == first
    assert opened.count("train.bin") == 1, "only its header is looked at"
    ids[5] ^= 1
    ids[:4000].tofile(tmp_path / "train.bin")
    assert load(spec).digest != first


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f, ids: (f / "train.bin").write_bytes(b"123"), "train.bin has 3 bytes: token ids of 16 bits need"),
        (lambda f, ids: (f / "train.bin").write_bytes(b""), "train.bin has 0 bytes"),
        (lambda f, ids: write_llmc(f / "train.bin", ids, version=7), "version 7 in its header, only 1 is known"),
        (lambda f, ids: write_llmc(f / "train.bin", ids, count=9999), "should hold 9999 ids .* cut short or damaged"),
        (lambda f, ids: write_llmc(f / "train.bin", ids[:0]), "has 1024 bytes: .* even number above 1024"),
        (lambda f, ids: np.array([1, 60000], "<u2").tofile(f / "val.bin"), "val.bin holds the token id 60000, .*50257"),
        (lambda f, ids: (f / "val.bin").unlink(), "no .bin file with val in its name; found train.bin"),
        (lambda f, ids: ids.tofile(f / "other.bin"), "other.bin is neither train nor val by its name"),
    ],
)  # fmt: skip
def test_damaged_shards_are_refused_by_name(tmp_path, ids, damage, message):
    folder = tmp_path / "shards"
    for name in ("train.bin", "val.bin"):
        write_llmc(folder / name, ids)
    load(Source(str(folder), format="shards", vocab=50257))
    damage(folder, ids)
    with pytest.raises(ScalingError, match=message):
        load(Source(str(folder), format="shards", vocab=50257))


def test_mapped_shards_go_to_another_process_by_name(tmp_path, ids):
    big = np.resize(ids, 200_000)
    for name in ("train.bin", "val.bin"):
        write_llmc(tmp_path / name, big)
    tokens = load(Source(str(tmp_path), format="shards", vocab=50257))
    sent = pickle.dumps(tokens)
    assert len(sent) < 5000
    there = pickle.loads(sent)
    assert np.array_equal(there.train, big) and there.parts == tokens.parts and there.digest == tokens.digest
    part = replace(tokens, train=tokens.train[5:])  # a part of a file goes by value
    assert np.array_equal(pickle.loads(pickle.dumps(part)).train, big[5:])


def test_a_pickle_beside_shards_is_never_opened(tmp_path, ids):
    for name in ("train.bin", "val.bin"):
        ids.tofile(tmp_path / name)
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 65}))
    with pytest.raises(ScalingError, match=r"nobody says how many token ids .* 50257 for GPT-2's"):
        load(Source(str(tmp_path), format="shards"))


def test_a_tokenizer_counts_the_bytes_of_shards(folder, tmp_path):
    text = load(Source(str(folder), tokenizer="bpe:280"))
    write_manifest(tmp_path / "out", text)
    (kept,) = (tmp_path / "out").glob("tokenizer-*.json")
    (tmp_path / "bin").mkdir()
    np.asarray(text.train).tofile(tmp_path / "bin" / "train.bin")
    np.asarray(text.validation).tofile(tmp_path / "bin" / "val.bin")
    tokens = load(Source(str(tmp_path / "bin"), format="shards", tokenizer=str(kept)))
    assert (tokens.vocab, tokens.bytes_per_token) == (280, text.bytes_per_token)
    assert np.array_equal(tokens.train, text.train)
    with pytest.raises(ScalingError, match="is trained on text, and shards have none"):
        load(Source(str(tmp_path / "bin"), format="shards", tokenizer="bpe:280"))


# --- rows ---


@pytest.fixture
def table() -> dict[str, list]:
    texts = [f"row {i} says {i * 7919}" for i in range(200)] + ["", None, "row 3 says 23757"]
    return {"text": texts, "score": list(range(203))}


def write_rows(path: Path, table: dict[str, list]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
    else:
        rows = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_rows_of_tables_are_text_split_by_their_content(tmp_path, table, name):
    tokens = load(Source(str(write_rows(tmp_path / name, table)), format="rows", validation=0.2))
    lines = {split: ids.tobytes().decode().splitlines() for split, ids in
             (("train", tokens.train), ("validation", tokens.validation))}  # fmt: skip
    texts = [text for text in table["text"] if text]
    assert sorted(lines["train"] + lines["validation"]) == sorted(texts)
    assert not set(lines["train"]) & set(lines["validation"]), "rows of equal text are on one side"
    assert lines["train"] == [text for text in texts if text in set(lines["train"])], "in the order of the table"
    assert abs(len(lines["validation"]) - 40) < 4 * np.sqrt(200 * 0.2 * 0.8)
    assert (tokens.skipped, len(tokens.manifest)) == (2, 2)


def test_rows_can_be_encoded(tmp_path, table):
    path = write_rows(tmp_path / "rows.parquet", table)
    tokens = load(Source(str(path), format="rows", tokenizer="bpe:280"))
    plain = load(Source(str(path), format="rows"))
    assert decode(tokens, tokens.train) == plain.train.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"column": "txet"}, "have no column 'txet'; did you mean text"),
        ({"column": "score"}, r"at least two rows .* has 0 in the column 'score' \(203 empty or no text\)"),
        ({"source": "nowhere.parquet"}, "there is no"),
        ({"include": ("*.md",)}, "rows are read from files of one kind, .parquet, .jsonl"),
    ],
)
def test_rows_that_cannot_be_used_say_why(tmp_path, table, changes, message):
    write_rows(tmp_path / "rows.parquet", table)
    with pytest.raises(ScalingError, match=message):
        load(replace(Source(str(tmp_path), format="rows"), **changes))


def test_a_damaged_table_is_refused_in_one_line(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"not parquet")
    with pytest.raises(ScalingError, match="cannot read the rows of ") as caught:
        load(Source(str(tmp_path), format="rows"))
    assert "\n" not in str(caught.value)


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    for spec in (Source(str(tmp_path), tokenizer="bpe:280"), Source(str(tmp_path), format="rows")):
        with pytest.raises(ScalingError, match=r"not installed: pip install 'scaling-sweeps\[data\]'"):
            load(spec)


# --- named sources ---


def mixture(folder: Path, tmp_path: Path, **changes) -> Source:
    other = tmp_path / "other"
    other.mkdir(exist_ok=True)
    for i in range(10):
        (other / f"{i}.txt").write_text(f"{i} 0123456789 " * 20)
    named = (("words", Source(str(folder)), 3.0), ("digits", Source(str(other)), 1.0))
    return replace(Source("words, digits", mixture=named), **changes)


def test_named_sources_lie_one_after_another_in_one_array(folder, tmp_path):
    spec = mixture(folder, tmp_path)
    tokens = load(spec)
    for part, (_, own, _) in zip(tokens.parts, spec.mixture, strict=True):
        alone = load(own)
        assert np.array_equal(tokens.train[part.start :][: part.tokens], alone.train)
        assert np.array_equal(tokens.validation[part.validation_start :][: part.validation_tokens], alone.validation)
    assert sum(part.tokens for part in tokens.parts) == len(tokens.train)
    assert {file.path.split("/")[0] for file in tokens.manifest} == {"words", "digits"}
    assert tokens.digest != load(replace(spec, mixture=spec.mixture[::-1])).digest
    assert tokens.digest == load(replace(spec, mixture=tuple((n, s, 1.0) for n, s, _ in spec.mixture))).digest
    assert [part["tokens"] for part in manifest_record(tokens)["sources"]] == [part.tokens for part in tokens.parts]


def test_one_encoding_is_trained_on_all_sources(folder, tmp_path):
    tokens = load(mixture(folder, tmp_path, tokenizer="bpe:300"))
    digits = tokens.train[tokens.parts[1].start :]
    assert len(decode(tokens, digits)) / len(digits) > 2, "digits are merged too"
    sizes = [
        len(decode(tokens, tokens.validation[p.validation_start :][: p.validation_tokens])) / p.validation_tokens
        for p in tokens.parts
    ]
    assert tokens.bytes_per_token == pytest.approx(sum(sizes) / 2, rel=1e-12)


def test_text_and_token_ids_need_a_common_tokenizer(folder, tmp_path, ids):
    (tmp_path / "bin").mkdir()
    for name in ("train.bin", "val.bin"):
        ids.tofile(tmp_path / "bin" / name)
    spec = mixture(folder, tmp_path)
    both = (*spec.mixture, ("ids", Source(str(tmp_path / "bin"), format="shards", vocab=50257), 1.0))
    with pytest.raises(ScalingError, match="has sources of text and of token ids: give the tokenizer of the ids"):
        load(replace(spec, mixture=both))
    with pytest.raises(ScalingError, match=r"holds the token id .* the vocabulary has 256 ids"):
        load(replace(spec, mixture=both, tokenizer="bytes"))
