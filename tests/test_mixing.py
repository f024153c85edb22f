"""Mixtures of a grid: weights, shares and Dirichlet draws; what is refused, and why; texts that every Python has."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from scaling.errors import ScalingError
from sweeps.cli import main
from sweeps.corpora.installed import docstrings
from sweeps.corpora.settings import Source
from sweeps.grid import read_grid
from sweeps.mixing import draw
from sweeps.plan import build_plan
from sweeps.tokens import load

GRID = """# Does it mix?
context = 16
batch = 2
head_dim = 8
width = 16
depth = 1
steps = 10
lr = 0.01
val_sequences = 6

[corpus.sources.code]
source = "markov:symbols=8,tokens=7e3"

[corpus.sources.docs]
source = "markov:symbols=16,tokens=7e3"

[corpus.sources.rest]
source = "markov:symbols=4,tokens=7e3"

[[grid]]
name = "main"
"""


@pytest.fixture
def runs(tmp_path: Path):
    def read(mixture: str, text: str = GRID):
        (tmp_path / "grid.toml").write_text(f"{text}mixture = {mixture}\n")
        return read_grid(tmp_path / "grid.toml").runs

    return read


def test_drawn_mixtures_are_an_axis_of_one_stack_and_a_function_of_the_seed(runs):
    first = runs("{ dirichlet = 1.0, count = 12, seed = 3 }")
    assert len({run.mixture for run in first}) == 12
    assert [run.mixture for run in first] == [run.mixture for run in runs("{ dirichlet = 1.0, count = 12, seed = 3 }")]
    assert [run.mixture for run in runs("{ dirichlet = 1, count = 5, seed = 3 }")] == [r.mixture for r in first[:5]]
    assert not {run.mixture for run in first} & {run.mixture for run in runs("{ dirichlet = 1.0, count = 12 }")}
    plan = build_plan(first)
    assert (len(plan.stacks), len({plan.trunk[run.key] for run in first})) == (1, 12)


def test_drawn_mixtures_never_change():
    # Written down when they came: the keys of finished runs carry them.
    assert draw([1.0, 1.0, 1.0], 3, 0).tolist() == [
        [0.4633, 0.232, 0.3047],
        [0.0658, 0.0629, 0.8713],
        [0.8772, 0.0716, 0.0512],
    ]
    assert draw([0.3, 5.0], 2, 7).tolist() == [[0.0138, 0.9862], [0.047, 0.953]]


def test_drawn_shares_have_the_moments_of_the_distribution():
    concentrations = np.array([0.5, 1.5, 3.0])
    shares = draw(concentrations.tolist(), 20_000, 1)
    centre = concentrations / concentrations.sum()
    spread = centre * (1 - centre) / (concentrations.sum() + 1)
    np.testing.assert_allclose(shares.mean(axis=0), centre, atol=4 * np.sqrt(spread.max() / 20_000))
    np.testing.assert_allclose(shares.var(axis=0), spread, rtol=0.04)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    assert (shares >= 0).all() and np.allclose(shares * 10_000, np.round(shares * 10_000))
    assert np.isfinite(draw([0.05] * 3, 1000, 0)).all()


def test_a_number_draws_about_the_weights_of_the_corpus_and_a_table_leaves_others_out(runs):
    weighed = GRID.replace('tokens=7e3"\n\n[corpus.sources.docs]', 'tokens=7e3"\nweight = 8\n\n[corpus.sources.docs]')
    shares = [dict(run.mixture).get("code", 0.0) for run in runs("{ dirichlet = 40.0, count = 50 }", weighed)]
    assert 0.75 < np.mean(shares) < 0.85
    drawn = runs("{ dirichlet = { rest = 2, code = 1 }, count = 20 }")
    assert {name for run in drawn for name, _ in run.mixture} == {"code", "rest"}
    assert all([name for name, _ in run.mixture] in (["code", "rest"], ["code"], ["rest"]) for run in drawn)


def test_drawn_and_stated_mixtures_stand_in_one_list_and_cross_with_other_axes(runs):
    both = runs(
        "[{ dirichlet = 1.0, count = 3 }, { code = 1 }, { code = 0.5, docs = 0.25, rest = 0.25 }]\nseed = [0, 1]"
    )
    assert len(both) == 10
    assert both[-1].mixture == (("code", 0.5), ("docs", 0.25), ("rest", 0.25))


def test_whole_numbers_are_weights_and_fractions_are_shares(runs):
    (run,) = runs("{ code = 3.0, docs = 1 }")
    assert run.mixture == (("code", 0.75), ("docs", 0.25))
    (run,) = runs("{ code = 0.3333333, docs = 0.3333333, rest = 0.3333333 }")
    assert run.mixture[0][1] == pytest.approx(1 / 3, abs=1e-7)


MISTAKES = {
    "{ code = 0.5, docs = 0.4 }": "mixture: shares must sum to 1, and code = 0.5, docs = 0.4 sum to 0.9: mend them, or",
    "{ code = 0.5 }": "shares must sum to 1, and code = 0.5 sum to 0.5",
    "{ code = 1.5, docs = 1 }": "sum to 2.5",
    "{ code = -0.5, docs = 1.5 }": "mixture.code must be a weight from 0 up, got -0.5",
    "{ code = nan }": "mixture.code must be a weight from 0 up, got nan",
    "{ cod = 1 }": "there is no source 'cod'; did you mean code",
    "{ dirichlet = 1.0, count = 0 }": "count is how many mixtures are drawn, a whole number from 1 to 1000; got 0",
    "{ dirichlet = 1.0 }": "got nothing",
    "{ dirichlet = 1.0, count = 2.5 }": "got 2.5",
    "{ dirichlet = 1.0, count = 2, sed = 1 }": "unknown key 'sed' beside dirichlet; did you mean seed",
    "{ dirichlet = 1.0, count = 2, seed = -1 }": "mixture.seed must be a whole number from 0 up, got -1",
    "{ dirichlet = 0, count = 2 }": "mixture.dirichlet is a concentration for all sources, such as 1.0",
    "{ dirichlet = { docs = 1, cod = 1 }, count = 2 }": "mixture.dirichlet: there is no source 'cod'",
    "{ dirichlet = { code = -1 }, count = 2 }": "from 0.05 to 10000; got {'code': -1}",
    "{ dirichlet = {}, count = 2 }": "a table of one for each",
    "0.5": "mixture must be a table such as {code = 1} or {dirichlet = 1.0, count = 24}, got 0.5",
}  # fmt: skip


@pytest.mark.parametrize("mixture", MISTAKES)
def test_a_mixture_that_cannot_be_is_refused_by_the_plan_with_the_reason(runs, tmp_path, capsys, mixture):
    with pytest.raises(ScalingError) as caught:
        runs(mixture)
    assert MISTAKES[mixture] in str(caught.value)
    assert main(["plan", str(tmp_path / "grid.toml")]) == 1
    said = capsys.readouterr().err
    assert "[[grid]] 1 (main)" in said and said.count("\n") == 1


def test_losses_that_are_of_no_single_token_are_not_kept(runs):
    with pytest.raises(ScalingError, match=r"token_losses are kept where a loss is that of one token, .* of diffusion"):
        runs('{ code = 1 }\ntoken_losses = true\nobjective = "diffusion"')


def test_weights_of_a_corpus_that_are_shares_must_sum_to_1_too(runs):
    odd = GRID.replace('symbols=8,tokens=7e3"', 'symbols=8,tokens=7e3"\nweight = 0.5')
    with pytest.raises(ScalingError, match=r"corpus.sources: shares must sum to 1, and code.weight = 0.5, docs.weight"):
        runs("{ code = 1 }", odd)


def test_documentation_and_headers_lie_beside_every_python():
    docs, headers = load(Source("python:docs", ("topics/*", "json/*.py"))), load(Source("python:headers"))
    paths = {file.path for file in docs.manifest}
    assert "topics/assert" in paths and "json/decoder.py" in paths and len(docs.train) > 100_000
    module = (Path(sysconfig.get_path("stdlib")) / "json/decoder.py").read_bytes()
    text = next(docs for docs in [docstrings(module)])
    assert json.decoder.JSONDecoder.__doc__.split("\n")[0] in text and "def " not in text
    assert "numpy/numpy/ndarraytypes.h" in {file.path for file in headers.manifest} and len(headers.train) > 100_000
    assert load(Source("python:headers")).digest == headers.digest


def test_docstrings_fall_on_the_side_of_the_split_that_their_source_does():
    packages = ("email/*.py", "asyncio/*.py", "logging/*.py", "http/*.py")
    docs, code = (
        {file.path: file.split for file in load(Source(name, packages, 0.2)).manifest}
        for name in ("python:docs", "stdlib")
    )
    assert docs.keys() < code.keys() and {code[path] for path in docs} == {"train", "validation"}
    assert docs == {path: code[path] for path in docs}


def test_a_text_that_no_python_has_is_refused():
    with pytest.raises(ScalingError, match="there is no text 'python:doc'; did you mean python:docs"):
        load("python:doc")
    with pytest.raises(ScalingError, match=r"no text matching \*.rst beside this Python; leave `include` out"):
        load(Source("python:headers", ("*.rst",)))
    assert docstrings(b"print 'no python of this version'") == ""
