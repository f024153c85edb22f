"""Text of known entropy: the chain's rate against its text, as a corpus, and under a small sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scaling
from scaling.errors import ScalingError
from sweeps import tokens as corpora
from sweeps.grid import read_grid
from sweeps.markov import Markov, parse_markov
from sweeps.order import validation_sequences


def test_the_entropy_of_two_letters_is_the_formula_s():
    chain = Markov(symbols=2, tokens=6400)
    p = chain.transitions
    stay = p[1, 0] / (p[0, 1] + p[1, 0])
    binary = [-(q * np.log(q) + (1 - q) * np.log(1 - q)) for q in (p[0, 1], p[1, 0])]
    assert chain.entropy == pytest.approx(stay * binary[0] + (1 - stay) * binary[1], rel=1e-9)


def test_the_text_has_the_source_s_statistics():
    chain = Markov(symbols=8, concentration=0.3, tokens=640_000)
    text = np.stack([np.frombuffer(content, np.uint8) for content in chain.files().values()])
    # 640,000 tokens: the mean of -ln p has a standard error near 0.001
    assert chain.cross_entropy(text) == pytest.approx(chain.entropy, abs=0.004)
    letters, counts = np.unique(text, return_counts=True)
    np.testing.assert_allclose(counts / text.size, chain.stationary[: len(letters)], atol=0.006)
    assert chain.entropy < chain.letter_entropy


def test_the_entropy_of_counted_triples_gains_nothing_from_the_letter_before_the_last():
    chain = Markov(symbols=3, concentration=0.5, tokens=960_000)
    states = np.frombuffer(b"".join(chain.files().values()), np.uint8).astype(int)
    states = np.searchsorted(np.unique(states), states)
    triples = np.bincount(states[:-2] * 9 + states[1:-1] * 3 + states[2:], minlength=27).reshape(3, 3, 3)
    p = triples / triples.sum()
    conditional = -np.sum(p * np.log(p / p.sum(axis=2, keepdims=True)))
    assert conditional == pytest.approx(chain.entropy, abs=0.003)


def test_the_same_settings_give_the_same_corpus_and_others_another():
    first, again, other = (corpora.load(f"markov:symbols=4,tokens=12800,seed={seed}") for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert first.entropy == Markov(symbols=4, tokens=12800).entropy
    assert corpora.manifest_record(first)["entropy"] == first.entropy
    assert "entropy" not in corpora.manifest_record(corpora.load())


def test_the_text_is_the_same_on_every_machine():
    # the digest of the text of these settings when the source was written
    assert corpora.load("markov:symbols=4,tokens=12800").digest == "2be5f852b2ff"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("markov:symbol=4", "did you mean"),
        ("markov:symbols=four", "must be a number as in symbols=64"),
        ("markov:symbols=4.5", "must be a number"),
        ("markov:symbols=1", "2 to 64 symbols"),
        ("markov:tokens=10", "at least 6400 tokens"),
        ("markov:concentration=0", "concentration must lie"),
    ],
)
def test_mistakes_in_the_settings_are_said(source: str, says: str):
    with pytest.raises(ScalingError, match=says):
        parse_markov(source)


def test_other_corpora_are_no_markov_source():
    assert parse_markov("stdlib") is None and parse_markov("markovian/text") is None


def test_the_shipped_grid_of_known_entropy_states_it():
    grid = read_grid("entropy")
    chain = parse_markov(grid.source.source)
    assert chain is not None
    assert f"{chain.entropy:.4f} nats" in Path(grid.path).read_text()


def test_the_fitted_floor_covers_the_entropy_of_the_source():
    # the runs of the shipped grid (data/README.md), fitted by the power law plus constant of Henighan 2020
    grid = read_grid("entropy")
    chain = parse_markov(grid.source.source)
    assert chain is not None
    runs = scaling.read_table(Path(__file__).parents[1] / "data" / "entropy" / "runs.csv")
    assert set(runs["corpus"]) == {corpora.load(grid.source).digest}
    found = scaling.fit("power", runs, x="D")
    floor = scaling.bootstrap(found, 300).summary(level=0.9).loc["L_inf"]
    assert floor["lo"] < chain.entropy < floor["hi"]
    assert floor["hi"] - floor["lo"] < 0.006
    assert found.params["L_inf"] == pytest.approx(chain.entropy, abs=0.001)
    assert runs["loss"].min() > chain.entropy + 0.005  # the fit looks beyond its runs


@pytest.mark.slow
def test_a_small_model_comes_down_to_the_entropy_and_not_below(tmp_path: Path):
    from sweeps.cli import main

    (tmp_path / "grid.toml").write_text(
        "# Does a small model come down to the entropy of its source?\n"
        'corpus = { source = "markov:symbols=4,concentration=0.4,tokens=4e5", validation = 0.1 }\n'
        "context = 16\nbatch = 16\nwidth = 16\nhead_dim = 8\ndepth = 1\nlr = 0.01\nwarmup = 20\n"
        "cooldown_fraction = 0.3\nval_sequences = 1024\nevals_per_octave = 1\n"
        '[[grid]]\nname = "wsd"\ntokens = [8e3, 1.6e4, 3.2e4, 6.4e4]\n'
    )
    assert main(["run", str(tmp_path / "grid.toml"), "--out", str(tmp_path)]) == 0
    assert main(["collect", str(tmp_path), "-o", str(tmp_path)]) == 0
    grid = read_grid(tmp_path / "grid.toml")
    chain, tokens = parse_markov(grid.source.source), corpora.load(grid.source)
    assert chain is not None
    floor = chain.cross_entropy(validation_sequences(tokens, 16, 1024))  # of this validation text
    runs = scaling.read_table(tmp_path / "runs.csv").sort_values("D")
    excess = runs["loss"].to_numpy() - floor
    assert (excess > 0).all()
    assert excess[-1] < 0.2 * excess[0]
    assert excess[-1] < 0.01 * floor
