"""What a grid says of its corpus: named sources, tokenizers, mixtures and caps; what is refused and why."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.errors import ScalingError
from sweeps.cli import main
from sweeps.collecting import collect, to_csv
from sweeps.counting import parameter_counts, parameter_groups
from sweeps.grid import read_grid, with_corpus
from sweeps.plan import build_plan
from sweeps.records import open_run, write_final, write_manifest
from sweeps.runs import Run
from sweeps.tokens import load

BASE = """# Does it work?
context = 16
batch = 2
head_dim = 8
val_sequences = 4
lr = 0.01
depth = 1
steps = 10
width = 16
"""
SOURCES = """
[corpus.sources.words]
source = "words"
weight = 3

[corpus.sources.letters]
source = "markov:symbols=8,tokens=7e3"
"""
BLOCK = '[[grid]]\nname = "main"\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "words").mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        (tmp_path / "words" / f"{i}.txt").write_text(" ".join(rng.choice(["one", "two", "three"], 200)))

    def write(text: str) -> Path:
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    return write


def test_a_corpus_of_bytes_leaves_every_key_as_it_was(write):
    (run,) = read_grid(write(BASE + BLOCK)).runs
    assert run.key == Run(width=16, depth=1, steps=10, lr=0.01, context=16, batch=2, head_dim=8, val_sequences=4).key
    assert (run.vocab, run.mixture, run.unique_tokens) == (256, (), None)


@pytest.mark.parametrize(("tokenizer", "vocab"), [("bytes", 256), ("bpe:300", 300), ("bpe:5000", 5056)])
def test_the_vocabulary_of_a_run_is_that_of_its_corpus_large_ones_rounded_up(write, tokenizer, vocab):
    text = BASE + f'corpus = {{source = "words", tokenizer = "{tokenizer}"}}\n'
    (run,) = read_grid(write(text + BLOCK)).runs
    assert run.vocab == vocab
    (own,) = read_grid(write(text + BLOCK + "vocab = 9999\n")).runs
    assert own.vocab == 9999


def test_tokens_per_parameter_count_the_vocabulary_of_the_corpus(write):
    text = BASE.replace("steps = 10", "tokens_per_param = 20")
    corpus = 'corpus = {source = "words", tokenizer = "bpe:2048"}\n'
    (run,) = read_grid(write(text + corpus + BLOCK)).runs
    assert run.tokens == pytest.approx(20 * parameter_counts(run)["matmul"], rel=1e-3)
    assert parameter_groups(run)["head"] == 2048 * 16


def test_weights_belong_to_the_runs_and_may_be_an_axis(write):
    block = BLOCK + "mixture = [{words = 1, letters = 1}, {letters = 2, words = 6}, {words = 5}]\n"
    grid = read_grid(write(BASE + SOURCES + BLOCK + block.replace("main", "axis")))
    assert [run.mixture for run in grid.runs] == [
        (("words", 0.75), ("letters", 0.25)),
        (("words", 0.5), ("letters", 0.5)),
        (("words", 1.0),),
    ]
    assert grid.repeated == 1, "weights in another unit and order are the same mixture"
    plan = build_plan(grid.runs)
    assert (len(plan.stacks), len({plan.trunk[run.key] for run in plan.runs})) == (1, 3)


def test_a_cap_is_an_axis_of_whole_windows_and_parts_trunks_but_not_stacks(write):
    plan = build_plan(read_grid(write(BASE + "unique_tokens = [1e2, 160, 2e2]\n" + BLOCK)).runs)
    assert [run.unique_tokens for run in plan.runs] == [96, 160, 192]
    assert (len(plan.stacks), len({plan.trunk[run.key] for run in plan.runs})) == (1, 3)


def test_runs_without_caps_and_mixtures_keep_their_stacks_and_trunks():
    # Names worked out by the version before caps and mixtures came: checkpoints and tables carry them.
    run = Run(width=16, depth=1, steps=10, lr=0.01)
    plan = build_plan([run])
    assert (plan.stacks[0].key, plan.trunk[run.key]) == ("w16-d1-634792a519", "w16-d1-s0-485aa476")


MISTAKES = {
    "a weight of 0": (SOURCES.replace("weight = 3", "weight = 0"), "words.weight must be a number above 0"),
    "a name with a comma": ('[corpus.sources."a,b"]\nsource = "words"\n', "letters, digits, _ or -, got 'a,b'"),
    "a key of the corpus that its sources say": (
        '[corpus]\nsource = "x"\n' + SOURCES,
        "unknown key 'source' in corpus, whose sources say the rest; did you mean sources",
    ),
    "sources that are no tables": ("[corpus]\nsources = 3\n", "each begun by a line [corpus.sources.NAME]"),
    "a tokenizer of one source": (
        SOURCES + 'tokenizer = "bytes"\n',
        "unknown key 'tokenizer' in corpus.sources.letters",
    ),
    "a tokenizer that is a number": ('corpus = {source = "words", tokenizer = 3}', "corpus.tokenizer must be text"),
    "an unknown format": ('corpus = {source = "words", format = "shard"}', "format must be one of text, rows, shards"),
    "a column of text": ('corpus = {source = "words", column = "text"}', 'say format = "rows" too'),
    "a vocabulary of text": ('corpus = {source = "words", vocab = 300}', "corpus.vocab is a whole number from 2 up"),
    "shards that nobody knows": ('corpus = {source = "words", format = "shards"}', "give vocab, 50257 for GPT-2's"),
    "a mixture of one source": ("mixture = {words = 1}", "mixture weighs the named sources of a corpus"),
    "an unknown source": (
        SOURCES + BLOCK + "mixture = {word = 1}",
        "[[grid]] 1 (main): mixture: there is no source 'word'; did you mean words?",
    ),
    "a negative weight": (SOURCES + BLOCK + "mixture = {words = -1}", "mixture.words must be a weight from 0 up"),
    "no weight at all": (SOURCES + BLOCK + "mixture = {words = 0}", "must give some source a weight above 0"),
    "a mixture that is a list of numbers": (SOURCES + BLOCK + "mixture = [0.5]", "mixture must be a table such as"),
    "a cap below a window": ("unique_tokens = 15", "unique_tokens = 15 must be at least context = 16"),
    "a cap of 0": ("unique_tokens = 0", "unique_tokens = 0: must be greater than 0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_names_its_place_and_remedy(write, mistake):
    lines, message = MISTAKES[mistake]
    path = write(BASE + lines + "\n" + ("" if BLOCK in lines else BLOCK))
    with pytest.raises(ScalingError) as caught:
        read_grid(path)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_plan_says_tokenizer_sources_and_epochs_and_refuses_a_cap_that_is_too_large(write, capsys):
    tokenizer = '[corpus]\ntokenizer = "bpe:280"\n'
    path = write(BASE.replace("steps = 10", "steps = 500") + tokenizer + SOURCES + BLOCK)
    assert main(["plan", str(path)]) == 0
    said = capsys.readouterr().out
    assert "bpe:280, 280 tokens, " in said and "bytes a token in the validation text" in said
    assert "sources     words " in said
    assert "reads the training text of the source 'words'" in said.replace("\n            ", " ")
    path = write(BASE + tokenizer + SOURCES + BLOCK + "unique_tokens = 1e6\n")
    assert main(["plan", str(path)]) == 1
    assert "asks for 750000 tokens of the source 'words', whose training text has" in capsys.readouterr().err


def test_a_plan_of_capped_runs_does_not_warn_of_what_was_asked_for(write, capsys):
    path = write(BASE.replace("steps = 10", "steps = 500") + 'corpus = "words"\nunique_tokens = 320\n' + BLOCK)
    assert main(["plan", str(path)]) == 0
    assert "note" not in capsys.readouterr().out


def test_collected_runs_know_their_unique_tokens_epochs_and_shares(write, tmp_path):
    others = "[[grid]]\nname = 'all'\n[[grid]]\nname = 'one'\nmixture = {words = 1}\n"
    grid = read_grid(write(BASE + SOURCES + BLOCK + "unique_tokens = 160\n" + others))
    tokens = load(grid.source)
    out = tmp_path / "out"
    write_manifest(out, tokens)
    for run in with_corpus(grid, tokens.digest).runs:
        open_run(out, run, stack="s", trunk="t", flops=1.0, flops_marginal=1.0)
        write_final(out, run.key, {"status": "finished", "loss": 2.0, "loss_se": 0.1, "bits_per_byte": 3.0,
                                    "loss_by_source": {"words": 1.5, "letters": 2.5}})  # fmt: skip
    runs = collect(out)[0].set_index("group")
    assert runs["U"].to_dict() == {"main": 160, "all": len(tokens.train), "one": tokens.parts[0].tokens}
    assert runs.loc["main", "epochs"] == 2.0
    assert runs["share_words"].to_dict() == {"main": 0.75, "all": 0.75, "one": 1.0}
    assert runs["share_letters"].to_dict() == {"main": 0.25, "all": 0.25, "one": 0.0}
    assert runs["epochs"].to_list() == (runs["D"] / runs["U"]).to_list()
    assert set(runs["loss_on_words"]) == {1.5} and set(runs["loss_on_letters"]) == {2.5}
    text = tmp_path / "runs.csv"
    text.write_text(to_csv(runs.reset_index()))
    table = scaling.read_table(text)
    assert {"N", "D", "U", "loss"} <= set(table.columns), "what a law of repeated data reads"
    assert pd.api.types.is_numeric_dtype(table["U"])
