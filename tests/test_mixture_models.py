"""Models of mixtures: what they fit, that no score has seen what it is scored on, the optimum, and the command."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scaling.cli import main
from scaling.errors import ScalingError
from scaling.experts import Experts, experts_on, losses_on, read_experts
from scaling.laws.ye2024 import mixing
from scaling.mixture_models import MODELS, PENALTIES, refit
from scaling.mixture_optimum import optimal_mixture, rounded
from scaling.mixture_scores import compare_models, rank_correlations
from scaling.mixture_table import Mixtures, read_mixtures
from tests.example_files import mixtures

RNG = np.random.default_rng(5)
SHARES = np.vstack([np.eye(3), RNG.dirichlet(np.ones(3), 15)])


def bent(shares: np.ndarray) -> np.ndarray:
    """Losses on two sources by the law of Ye 2024, without noise."""
    law = mixing(("a", "b", "d"))
    params = [
        {"c": 2.0, "k": 1.0, "t_a": -2.0, "t_b": 0.4, "t_d": -0.3},
        {"c": 1.5, "k": 1.0, "t_a": 0.1, "t_b": -3.0, "t_d": -0.5},
    ]
    return np.stack([law.function(*shares.T, **p) for p in params], axis=1)


@pytest.fixture(scope="module")
def made() -> tuple[Mixtures, Experts]:
    """The tables of the help's examples, 0.2% of noise."""
    table, experts = mixtures()
    folder = Path(tempfile.mkdtemp())
    experts.to_csv(folder / "experts.csv", index=False)
    found = read_experts(folder / "experts.csv")
    return read_mixtures(table, experts=found), found


def test_each_model_gives_noiseless_data_of_its_own_kind_back() -> None:
    asked = RNG.dirichlet(np.ones(3), 20)
    weights = np.array([[2.0, 3.0], [4.0, 1.0], [2.5, 2.5]])
    for name in ("linear", "ridge"):
        found = MODELS[name].fit(SHARES, None, SHARES @ weights)(asked, None)
        np.testing.assert_allclose(found, asked @ weights, rtol=1e-9)
    np.testing.assert_allclose(MODELS["ye"].fit(SHARES, None, bent(SHARES))(asked, None), bent(asked), rtol=1e-6)
    mixed = 2 + np.sin(5 * SHARES[:, :2])
    there = 2 + np.sin(5 * asked[:, :2])
    both = 0.3 + mixed @ [[0.9, 0.1], [0.0, 1.1]] + SHARES[:, :1]
    found = MODELS["mde-ridge"].fit(SHARES, mixed, both)(asked, there)
    np.testing.assert_allclose(found, 0.3 + there @ [[0.9, 0.1], [0.0, 1.1]] + asked[:, :1], rtol=1e-9)
    np.testing.assert_array_equal(MODELS["mde"].fit(SHARES, mixed, both)(asked, there), there)


def test_the_ridge_s_penalty_is_the_one_of_least_leave_one_out_error() -> None:
    losses = SHARES @ np.array([[2.0], [3.0], [2.2]]) + 0.2 * RNG.standard_normal((18, 1))
    features = np.hstack([SHARES, RNG.standard_normal((18, 6))])

    def by_hand(x: np.ndarray, y: np.ndarray, penalty: float, at: np.ndarray, centre, scale) -> np.ndarray:
        # the scale stays that of all rows: it is part of the penalty
        z = np.column_stack([np.ones(len(x)), (x - centre) / scale])
        shrunk = np.diag([0.0] + [penalty * 18] * x.shape[1])
        return np.column_stack([np.ones(len(at)), (at - centre) / scale]) @ np.linalg.pinv(z.T @ z + shrunk) @ z.T @ y

    centre, scale = features.mean(axis=0), features.std(axis=0)
    errors = []
    for penalty in PENALTIES:
        left = [
            by_hand(np.delete(features, i, 0), np.delete(losses, i, 0), penalty, features[[i]], centre, scale)[0, 0]
            - losses[i, 0]
            for i in range(18)
        ]
        errors.append(np.mean(np.square(left)))
    best = PENALTIES[int(np.argmin(errors))]
    assert best > 0
    found = MODELS["mde-ridge"].fit(SHARES, features[:, 3:], losses)(SHARES, features[:, 3:])
    np.testing.assert_allclose(found, by_hand(features, losses, best, features, centre, scale), rtol=1e-6)


@pytest.mark.parametrize("name", ["ye", "ridge"])
def test_refits_at_once_are_the_fits_one_by_one(name: str) -> None:
    losses = bent(SHARES) * np.exp(0.01 * RNG.standard_normal((18, 2)))
    counts = RNG.multinomial(18, np.full(18, 1 / 18), 4)
    asked = RNG.dirichlet(np.ones(3), 5)
    for predict, count in zip(refit(MODELS[name], SHARES, None, losses, counts), counts, strict=True):
        rows = np.repeat(np.arange(18), count)
        alone = MODELS[name].fit(SHARES[rows], None, losses[rows])(asked, None)
        np.testing.assert_allclose(predict(asked, None), alone, rtol=1e-4)


def table_of(shares: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
    columns = {f"share_{n}": shares[:, i] for i, n in enumerate("abd")}
    return pd.DataFrame(columns | {f"loss_on_{n}": losses[:, i] for i, n in enumerate("ab")})


def test_no_prediction_has_seen_what_it_is_scored_on() -> None:
    shares = np.vstack([SHARES, SHARES[5]])  # the last is another run of a mixture that is there
    losses = bent(shares)
    plain = compare_models(read_mixtures(table_of(shares, losses)), repeats=3)
    odd = losses.copy()
    odd[[5, 18]] *= 3.0
    other = compare_models(read_mixtures(table_of(shares, odd)), repeats=3)
    for model in ("mean", "linear", "ridge", "ye"):
        for row in (2, 15):  # among those scored, which the three corners are not
            # the batch of refits starts from a fit to all: where they end differs by rounding
            np.testing.assert_allclose(plain.predicted[model][:, row], other.predicted[model][:, row], rtol=1e-4)
        if model != "ye":  # which two odd losses do not move: it is fitted by Huber's rule
            assert not np.allclose(plain.predicted[model][:, 0], other.predicted[model][:, 0], rtol=1e-3)
    assert plain.observed.shape == (16, 2)


def test_the_law_that_made_the_losses_wins_and_the_mean_ranks_nothing() -> None:
    losses = bent(SHARES) * np.exp(0.002 * RNG.standard_normal((18, 2)))
    scores = compare_models(read_mixtures(table_of(SHARES, losses)))
    assert scores.best == "ye"
    rows = scores.table[scores.table["loss"] == "target"].set_index("model")
    assert rows.loc["ye", "spearman"] > 0.95 and rows.loc["ye", "best"] > 0.9 and np.isnan(rows.loc["mean", "spearman"])
    assert (rows["mse_lo"] <= rows["mse"]).all() and (rows["mse"] <= rows["mse_hi"]).all()
    single = scores.table.set_index(["model", "loss"])["mse"]
    by_hand = np.mean((scores.predicted["ye"][:, :, 0] - scores.observed[:, 0]) ** 2)
    assert single["ye", "a"] == pytest.approx(by_hand)


def test_rank_correlations_of_resamples_are_those_of_repeated_rows() -> None:
    x, y = RNG.normal(size=20).round(1), RNG.normal(size=20).round(1)
    counts = RNG.multinomial(20, np.full(20, 0.05), 6)
    by_hand = [spearmanr(np.repeat(x, count), np.repeat(y, count))[0] for count in counts]
    np.testing.assert_allclose(rank_correlations(x, y, counts), by_hand, rtol=1e-12)
    assert np.isnan(rank_correlations(x, np.ones(20), counts)).all()


def test_mixed_experts_beat_what_knows_shares_alone_where_they_made_the_losses(made) -> None:
    found, _ = made
    scores = compare_models(found, repeats=3)
    rows = scores.table[scores.table["loss"] == "target"].set_index("model")
    assert scores.best == "mde-ridge" and rows.loc["mde-ridge", "rmse"] < 0.2 * rows.loc["ye", "rmse"]
    assert rows.loc["mde", "spearman"] > 0.98  # ranks well, and is off by a tenth
    assert rows.loc["mde", "rmse"] > 10 * rows.loc["mde-ridge", "rmse"]


def test_the_best_mixture_is_that_of_a_search_over_a_fine_lattice(made) -> None:
    found, experts = made
    scores = compare_models(found, ["ye", "mde-ridge"], weights={"code": 2, "docs": 1}, repeats=2)
    steps = np.array([[i, j, 50 - i - j] for i in range(51) for j in range(51 - i)]) / 50
    mixed = losses_on(experts_on(experts, found.domains), steps, found.sources)
    for model in ("ye", "mde-ridge"):
        best = optimal_mixture(found, scores, model, experts=experts, resamples=20, at={"code": 0.5, "docs": 0.5})
        target = MODELS[model].fit(found.shares, found.experts, found.losses)(steps, mixed) @ scores.weights
        expected = best.expected.set_index("mixture")["loss"]
        assert expected["best"] <= target.min() + 1e-12 and expected["best"] == pytest.approx(target.min(), rel=2e-3)
        assert expected["best"] <= expected.min()
        assert np.abs(best.shares["share"].to_numpy() - steps[target.argmin()]).max() < 0.05
        row = int(np.flatnonzero((steps == [0.5, 0.5, 0.0]).all(axis=1))[0])
        assert expected["asked"] == pytest.approx(target[row], rel=1e-12)
        assert (
            (best.shares["lo"] - 0.02 <= best.shares["share"]) & (best.shares["share"] <= best.shares["hi"] + 0.02)
        ).all()


def test_limits_hold_the_best_mixture_and_its_interval(made) -> None:
    found, _ = made
    scores = compare_models(found, ["ye"], repeats=1)
    best = optimal_mixture(found, scores, limits={"docs": (0.0, 0.2)}, resamples=20)
    assert (
        best.model == "ye" and best.shares["share"]["docs"] == pytest.approx(0.2) and best.shares["hi"]["docs"] <= 0.2
    )


@pytest.mark.slow
def test_new_runs_fall_into_their_intervals_as_often_as_promised() -> None:
    """Mixtures drawn from a law with noise: where another run at the best mixture comes out."""
    inside = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shares = np.vstack([np.eye(3), rng.dirichlet(np.ones(3), 20)])
        losses = bent(shares) * np.exp(0.01 * rng.standard_normal((23, 2)))
        found = read_mixtures(table_of(shares, losses))
        best = optimal_mixture(found, compare_models(found, ["ye"], repeats=2, resamples=10, seed=seed), resamples=40)
        at = best.shares["share"].to_numpy()[None]
        row = best.expected.iloc[0]
        inside.append(row["lo"] <= (bent(at) * np.exp(0.01 * rng.standard_normal((1, 2)))).mean() <= row["hi"])
    assert np.mean(inside) >= 0.8  # 90% are promised: of 20 fewer than 16 come with a chance of 4%


def test_shares_are_written_so_that_a_grid_takes_them(tmp_path: Path) -> None:
    for shares in RNG.dirichlet(np.ones(7), 50):
        assert abs(rounded(shares).sum() - 1) < 1e-9 and np.abs(rounded(shares) - shares).max() <= 1e-4


def test_a_table_with_rounded_shares_is_read_and_others_are_not() -> None:
    table = table_of(SHARES.round(3), bent(SHARES))
    np.testing.assert_allclose(read_mixtures(table).shares.sum(axis=1), 1, rtol=1e-12)
    table.loc[4, "loss_on_a"] = np.nan
    assert read_mixtures(table).dropped == ("1 rows without a share or a loss",)
    for wrong, said in (
        (table.assign(share_a=0.7), "sum to 1; .* the first has a 0.7"),
        (table.assign(share_a=-table["share_a"]), "from 0 up"),
        (table.drop(columns=["loss_on_a", "loss_on_b"]), r"there are 3 and 0"),
        (table.assign(loss_on_a=np.nan), "no run with all shares"),
    ):
        with pytest.raises(ScalingError, match=said):
            read_mixtures(wrong)


def test_mistakes_are_said_with_what_is_allowed(made) -> None:
    found, experts = made
    few = found.rows(np.arange(6))
    bare = read_mixtures(table_of(SHARES, bent(SHARES)))
    scores = compare_models(bare, ["ye", "mean"], repeats=1)
    for wrong, said in (
        (lambda: compare_models(few), "cross-validation in 5 parts needs as many mixtures, and there are 3"),
        (lambda: compare_models(bare, ["yee"]), "no model of mixtures 'yee'; did you mean ye"),
        (lambda: compare_models(bare, ["mde"]), "reads losses of mixed experts"),
        (lambda: compare_models(bare, weights={"c": 1.0}), "no loss on 'c'"),
        (lambda: compare_models(bare, weights={"a": -1.0}), "a number from 0 up, got a=-1"),
        (lambda: compare_models(bare, weights={"a": 0.0}), "some loss needs a weight"),
        (lambda: compare_models(bare, held=found), "must have the domains and losses"),
        (lambda: compare_models(bare, held=bare.rows(np.arange(3))), "two mixtures or more must be held out"),
        (lambda: compare_models(bare.rows(np.arange(4)), ["ye"], held=bare), "needs 5 mixtures to fit, got 4"),
        (lambda: optimal_mixture(bare, scores, "mean"), "ranks no mixtures; compared: ye, mean"),
        (lambda: optimal_mixture(found, compare_models(found, ["mde"], repeats=1)), "name one"),
        (lambda: optimal_mixture(bare, scores, at={"a": 0.5}), "sum to 0.5"),
        (lambda: optimal_mixture(bare, scores, at={"x": 1.0}), "no domain 'x'"),
        (lambda: optimal_mixture(bare, scores, limits={"a": (0.0, 0.1), "b": (0.0, 0.1), "d": (0, 0.1)}), "no mixture"),
        (lambda: read_mixtures(table_of(SHARES, bent(SHARES)), experts=experts), "none on a, b, d"),
    ):
        with pytest.raises(ScalingError, match=said):
            wrong()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table, experts = mixtures()
    table.to_csv(tmp_path / "mixtures.csv", index=False)
    experts.to_csv(tmp_path / "experts.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_says_the_same_as_text_and_as_json_and_draws(here: Path, capsys) -> None:
    line = ["mixture", "mixtures.csv", "--experts", "experts.csv", "--resamples", "20", "-o", "mixture.png"]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert (here / "mixture.png").stat().st_size > 20_000
    assert main([*line[:-2], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "mde-ridge" and record["mixture"] in said.splitlines()
    assert {row["model"] for row in record["scores"]} == set(MODELS)
    shares = [part.split(" = ")[1] for part in record["mixture"].split("{ ")[1].rstrip(" }").split(", ")]
    assert sum(map(float, shares)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hold", "seed == 7"], "holds out 0 of 33 rows"),
        (["--model", "mde"], "reads losses of mixed experts|was not compared"),
        (["--at", "code=0.4"], "sum to 0.4"),
        (["--experts", "mixtures.csv"], "a table of experts has a column source"),
        (["--shares", "part_"], "has columns part_NAME"),
        (["--resamples", "1"], "at least 2 resamples"),
    ],
)
def test_the_command_says_mistakes_in_one_line(here: Path, capsys, options: list[str], said: str) -> None:
    assert main(["mixture", "mixtures.csv", *options]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(said, err)


def test_public_mixtures_are_ranked_as_by_hand(datasets: Path) -> None:
    """RegMix's 512 mixtures of 17 domains (arXiv:2407.01492), 256 others held out: .902, which their own regression
    without a library gives too (tests/test_paper_data.py); Ye's 26 mixtures of 5: their law before lines."""
    table = pd.read_csv(datasets / "liu2024_regmix_1M.csv.gz")
    names = [name for name in table if name.startswith("w_") or name == "loss_pile_cc"]
    train, test = (
        read_mixtures(table[table["split"] == split][names], shares="w_", losses="loss_") for split in ("train", "test")
    )
    scores = compare_models(train, ["linear"], held=test, resamples=50)
    assert scores.table["spearman"].iloc[0] == pytest.approx(0.902, abs=0.002)
    table = pd.read_csv(datasets / "ye2024_mixinglaws.csv.gz")
    table = table[(table["exp"] == "5Mix") & (table["model"] == "70M") & (table["step"] == 30000)]
    table = table.dropna(axis=1).drop(columns="loss_overall", errors="ignore")
    table = table.drop(columns=[name for name in table if name == "w_github"])
    found = compare_models(read_mixtures(table, shares="w_", losses="loss_"), repeats=1)
    rows = found.table[found.table["loss"] == "target"].set_index("model")
    assert rows.loc["ye", "rmse"] < 0.6 * rows.loc["linear", "rmse"] and rows.loc["ye", "spearman"] > 0.8
